"""What ``perf_gate`` times, run in a process that sees one commit of the project alone.

    python -P _gate_work.py     with that commit's root as working folder and PYTHONPATH

Started by its path, so that the same lines time both commits. Each line of input is a name;
each line of output is how many seconds it took, or why it did not work.
"""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from harness.contracts.inputs import Classes, Image

Action = Callable[[], object]


def step() -> Action:
    """Return a training step: ResNet-20, T 2, 16 CIFAR-sized images, float32, no teacher."""
    import torch

    from harness import discovery
    from harness.contracts.neuron import NeuronSpec
    from harness.contracts.recipe import Recipe
    from harness.training import Batch, Lesson, Student

    torch.set_num_threads(1)
    model: Any = discovery.load("models", "resnet20")
    simulator: Any = discovery.load("backends", "spikingjelly")
    method: Any = discovery.load("methods", "direct")
    network = model.build(
        lambda: simulator.neuron(NeuronSpec(scale_input=False)),
        input=Image(shape=(3, 32, 32)),
        output=Classes(10),
    ).to(memory_format=torch.channels_last)
    images = torch.rand(16, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.arange(16) % 10
    batch = Batch(stimulus=images, labels=labels, indices=torch.arange(16), images=images)
    many = 100_000
    lesson = Lesson(
        recipe=Recipe(epochs=1, batch_size=16),
        epochs=((batch for _ in range(many)),),
        steps=many,
        budget_samples=16 * many,
        teacher=None,
        device=torch.device("cpu"),
    )
    student = Student(network=network, timesteps=2, twin=lambda _: network)
    return partial(next, iter(method.fit(student, lesson)))


def neurons() -> Action:
    """Return a layer of SpikingJelly's neurons, T 4, a quarter of a million, there and back."""
    import torch

    from harness import discovery
    from harness.contracts.neuron import NeuronSpec

    torch.set_num_threads(1)
    simulator: Any = discovery.load("backends", "spikingjelly")
    layer = simulator.neuron(NeuronSpec())
    current = torch.randn(4, 16, 16, 32, 32)

    def there_and_back() -> None:
        shown = current.clone().requires_grad_()
        layer(shown).backward(current)

    return there_and_back


def meter() -> Action:
    """Return a counted evaluation: ResNet-20, T 2, 8 images."""
    import torch

    from harness import discovery
    from harness.contracts.neuron import NeuronSpec
    from harness.meter import measure

    torch.set_num_threads(1)
    model: Any = discovery.load("models", "resnet20")
    simulator: Any = discovery.load("backends", "spikingjelly")
    network = model.build(
        lambda: simulator.neuron(NeuronSpec()),
        input=Image(shape=(3, 32, 32)),
        output=Classes(10),
    ).eval()
    images = torch.rand(8, 3, 32, 32)
    return lambda: measure(network, images, call=lambda x: network(x, timesteps=2).logits)


def plan() -> Action:
    """Return ``harness plan digits``, over what the commit publishes."""
    return lambda: command("plan", "digits")


def cell() -> Action:
    """Return a digits cell of ``direct``, of another seed each time, in an empty store."""
    folder, seeds = tempfile.mkdtemp(prefix="perf-gate-"), count(1000)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    asked = ("--methods=direct", "--timesteps=1", "--backends=spikingjelly", "--jobs=1")

    def once() -> None:
        where = (f"--out={folder}/runs", f"--results={folder}/none")
        command("run", "digits", *asked, f"--seeds={next(seeds)}", *where)

    return once


def command(*words: str) -> None:
    """Run the command line of this commit."""
    command_line = [sys.executable, "-P", "-m", "harness", *words]
    subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


WORK: Mapping[str, Callable[[], Action]] = {
    "step": step,
    "neurons": neurons,
    "meter": meter,
    "plan": plan,
    "cell": cell,
}


def insist_on_this_commit() -> None:
    """Raise if ``harness`` would come from elsewhere: both sides would time the same code."""
    import harness

    found = Path(harness.__file__).resolve()
    if not found.is_relative_to(Path.cwd().resolve()):
        raise RuntimeError(f"harness comes from {found}, not from {Path.cwd()}")


def serve(work: Mapping[str, Callable[[], Action]], asked: TextIO, answers: TextIO) -> None:
    """Answer every name with the seconds of one run; the first time, warm up before."""
    ready: dict[str, Action] = {}
    for name in map(str.strip, asked):
        try:
            if name not in ready:
                ready[name] = work[name]()
                ready[name]()
            begun = time.perf_counter()
            ready[name]()
            answer: dict[str, Any] = {"seconds": time.perf_counter() - begun}
        except Exception as error:  # noqa: BLE001  the other side is still to be told
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    # What the work prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    insist_on_this_commit()
    serve(WORK, sys.stdin, answers)


if __name__ == "__main__":
    main()
