"""A training step of ours beside the same step in SpikingJelly's and in Norse's own idiom.

The same residual network from the same weights, the same loss, batch, optimiser and
precision. Each peer's neuron is its own usual one, and ours is told to mean it, on that
peer's simulator, compiled and not. Before anything is timed, gradients in float32 must be
equal. All contenders take turns in one process; memory is measured in one process each.

    python -m benchmarks.peers [--model resnet18] [--timesteps 4] [--batch 32] [--threads 2]
        [--peers spikingjelly norse] [--precisions float32 bfloat16] [--method direct]
        [--device cpu] [--rounds 5] [--steps 1] [--no-memory] [--json FILE]
"""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from benchmarks import _networks
from benchmarks._processes import answer_of, growth_mb
from benchmarks._timing import LESS, MORE, TIMES_AS_FAST, alternating
from harness import discovery, fingerprint
from harness.contracts.backend import Backend
from harness.contracts.method import Method
from harness.contracts.model import Output
from harness.contracts.recipe import Precision, Recipe
from harness.neurons.activation import activation
from harness.training import Lesson, Student, bfloat16
from harness.training.convolving import by_products

PEERS = ("spikingjelly", "norse")
NATIVE, PLAIN, COMPILED = "native", "ours", "ours, compiled"
CONTENDERS = (NATIVE, PLAIN, COMPILED)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_CONVOLUTIONS = {"aten::convolution", "aten::convolution_backward", "_Product", "_ProductBackward"}
MANY_STEPS = 100_000  # more than anybody waits for: the schedule does not end
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained, and how.

    Attributes:
        model: A residual network of ``suites/models``.
        timesteps: ``T``.
        batch: Images of 32x32 pixels a step.
        method: Whose loss; ``logit_kd`` includes a teacher of the same topology.
        device: ``cpu`` or ``cuda``.
        threads: Of the processor.
    """

    model: str = "resnet18"
    timesteps: int = 4
    batch: int = 32
    method: str = "direct"
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One contender in one precision.

    Attributes:
        step_ms: Median over rounds.
        native_times: The native step's median over this one; more is better.
        convolutions_ms: What convolutions take of a step, forward and back, median of three;
            None on a GPU.
        memory_mb: What a step takes at its peak; None if it was not measured.
    """

    peer: str
    contender: str
    precision: Precision
    step_ms: float
    native_times: float
    convolutions_ms: float | None
    memory_mb: float | None


def native_of(peer: str) -> Any:
    """Return the module that writes the network as ``peer`` would."""
    return import_module(f"benchmarks._native_{peer}")


def topology_of(setting: Setting) -> Any:
    """Return the residual network that all contenders realise."""
    return discovery.load("models", setting.model)


def ours(peer: str, setting: Setting, *, compiled: bool = False, side_px: int = 32) -> nn.Module:
    """Return our network on the peer's simulator, with weights from a fixed seed.

    Norms start at a gain of 2: at 1, a current that is scaled leaves deep layers silent.
    """
    simulator = cast(Backend, discovery.load("backends", peer))
    neuron = activation(simulator, native_of(peer).SPEC, through_compiler=compiled)
    network = realised(setting, neuron, side_px=side_px)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 2.0)
    if compiled:
        by_products(network)
    return network


def realised(setting: Setting, neuron: Callable[[], nn.Module], *, side_px: int = 32) -> nn.Module:
    """Return the setting's topology with ``neuron()`` in its slots."""
    topology = topology_of(setting)
    return _networks.realised(topology, neuron, side_px=side_px, device=setting.device)


def native(peer: str, setting: Setting, like: nn.Module) -> nn.Module:
    """Return the peer's network with the weights of ``like``."""
    made = native_of(peer).Network(topology_of(setting), classes=_networks.CLASSES)
    network: nn.Module = made.to(setting.device)
    pairs = zip(network.state_dict().values(), like.state_dict().values(), strict=True)
    for value, ours in pairs:
        if value.shape != ours.shape:
            raise ValueError(f"{peer}: a parameter {tuple(value.shape)}, ours {tuple(ours.shape)}")
        value.copy_(ours)
    return network


def lesson_of(setting: Setting, precision: Precision) -> Lesson:
    """Return a lesson of the same batch, over and over."""
    return _networks.lesson_of(
        Recipe(epochs=1, batch_size=setting.batch, precision=precision, learning_rate=0.01),
        teacher=realised(setting, nn.ReLU),
        steps=MANY_STEPS,
        device=setting.device,
    )


def our_step(network: nn.Module, setting: Setting, precision: Precision) -> Step:
    """Return the harness' own step: each call asks the method for one more."""
    method = cast(Method, discovery.load("methods", setting.method))
    student = Student(
        network=network,
        timesteps=setting.timesteps,
        twin=lambda neuron: realised(setting, neuron),
    )
    progress = iter(method.fit(student, lesson_of(setting, precision)))
    return lambda: next(progress)


def native_step(peer: str, network: nn.Module, setting: Setting, precision: Precision) -> Step:
    """Return the loop that the peer's users write, one turn a call."""
    method: Any = discovery.load("methods", setting.method)
    lesson = lesson_of(setting, precision)
    recipe, batch = lesson.recipe, next(iter(lesson))
    images = batch.images.contiguous()
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    forget = native_of(peer).forget

    def step() -> float:
        network.train()
        optimiser.zero_grad()
        with torch.autocast(setting.device, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(images, setting.timesteps)
            error = method.loss(Output(logits=logits.float()), lesson.answer(batch), batch.labels)
        error.backward()
        optimiser.step()
        forget(network)
        return float(error.item())

    return step


def steps_of(peer: str, setting: Setting, precision: Precision) -> dict[str, Step]:
    """Return a step of every contender, all from the same weights."""
    plain = ours(peer, setting)
    return {
        NATIVE: native_step(peer, native(peer, setting, plain), setting, precision),
        PLAIN: our_step(plain, setting, precision),
        COMPILED: our_step(ours(peer, setting, compiled=True), setting, precision),
    }


def gradients_apart(
    peer: str, setting: Setting, *, dtype: torch.dtype = torch.float32, compiled: bool = False
) -> float:
    """Return how far our gradient is from the native one, relative to its length.

    On four images of 8x8 pixels: of millions of membranes, rounding would carry some over
    the threshold, and a spike more is another gradient. On the processor: on CUDA,
    convolutions in float32 round to TF32.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        few = replace(setting, batch=4, device="cpu")
        batch = _networks.batch_of(few.batch, side_px=8)
        network = ours(peer, few, compiled=compiled, side_px=8)
        theirs = native(peer, few, network)
        answers: tuple[Tensor, Tensor] = (
            network(batch.images, few.timesteps).logits,
            theirs(batch.images.contiguous(), few.timesteps),
        )
        for logits in answers:
            cross_entropy(logits.mean(0), batch.labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    finally:
        torch.set_default_dtype(before)
    return _apart(network, theirs)


def _apart(one: nn.Module, other: nn.Module) -> float:
    first, second = (
        torch.cat([_gradient(weight).flatten() for weight in network.parameters()])
        for network in (one, other)
    )
    return float((first - second).norm() / second.norm())


def _gradient(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        raise ValueError("a parameter has no gradient; the loss does not depend on it")
    return weight.grad


def hold_gradients(peer: str, setting: Setting) -> None:
    """Insist on equal gradients.

    Raises:
        ValueError: Says by how much they differ.
    """
    for compiled in (False, True):
        apart = gradients_apart(peer, setting, compiled=compiled)
        if not apart <= TOLERANCE[torch.float32]:
            raise ValueError(
                f"the gradients of {peer} and {COMPILED if compiled else PLAIN} differ by "
                f"{apart:.1e}, relative; they are not the same network"
            )


def measure(
    peer: str,
    setting: Setting,
    precision: Precision,
    *,
    rounds: int,
    steps: int = 1,
    memory: bool = True,
) -> Iterator[Measured]:
    """Time all contenders by turns, ``steps`` at a time; first, each warms up."""
    contenders = steps_of(peer, setting, precision)

    def several(step: Step) -> Step:
        def run() -> None:
            for _ in range(steps):
                step()
            if setting.device == "cuda":
                torch.cuda.synchronize()

        return run

    actions = {name: several(step) for name, step in contenders.items()}
    for _ in range(2):  # the first compiles, the second finds what it left
        for action in actions.values():
            action()
    taken = alternating(actions, rounds)
    of_native = statistics.median(taken[NATIVE])
    convolved = {
        name: statistics.median(convolving_ms(step) for _ in range(3))
        for name, step in contenders.items()
        if setting.device == "cpu"
    }
    del contenders, actions
    for name in CONTENDERS:
        median = statistics.median(taken[name])
        yield Measured(
            peer=peer,
            contender=name,
            precision=precision,
            step_ms=1000 * median / steps,
            native_times=of_native / median,
            convolutions_ms=convolved.get(name),
            memory_mb=_memory(peer, name, setting, precision) if memory else None,
        )


def convolving_ms(step: Step) -> float:
    """Return how long a step convolves on the processor, by products too."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    spent_us = sum(float(one.cpu_time_total) for one in seen.events() or () if _convolves(one))
    return spent_us / 1000


def _convolves(event: Any) -> bool:
    """Return whether an event is a convolution, and no part of one."""
    parent = event.cpu_parent
    while parent is not None and parent.name not in _CONVOLUTIONS:
        parent = parent.cpu_parent
    return parent is None and event.name in _CONVOLUTIONS


def _memory(peer: str, contender: str, setting: Setting, precision: Precision) -> float | None:
    said = answer_of(
        "benchmarks.peers",
        *(f"--{name}={value}" for name, value in asdict(setting).items()),
        f"--peers={peer}",
        f"--precisions={precision}",
        f"--peak-of={contender}",
    )
    found: float | None = json.loads(said.splitlines()[-1])
    return found


def peak(peer: str, contender: str, setting: Setting, precision: Precision) -> float | None:
    """Return the memory that a step takes in this process, over what lies there before, in MB."""
    step = steps_of(peer, setting, precision)[contender]
    small = replace(setting, batch=2)
    steps_of(peer, small, precision)[contender]()  # compiles; its memory is not the step's
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return growth_mb(lambda: (step(), step()))


def table(found: Sequence[Measured]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield (
        f"| peer | contender | precision | ms, {LESS} | of which convolutions "
        f"| {TIMES_AS_FAST} | MB, {LESS} |"
    )
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    for one in found:
        known = (one.convolutions_ms, one.memory_mb)
        convolutions, memory = ("" if each is None else f"{each:.0f}" for each in known)
        yield (
            f"| {one.peer} | {one.contender} | {one.precision} | {one.step_ms:.1f} "
            f"| {convolutions} | {one.native_times:.2f} | {memory} |"
        )


def where(setting: Setting) -> str:
    """Return the device in words."""
    if setting.device == "cuda":
        return torch.cuda.get_device_name()
    here = fingerprint.processor()
    return (here.get("processor") or platform.processor()) + (
        "" if bfloat16.is_native() else "; without bfloat16, which ours multiplies as float32"
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    usual = Setting()
    parser.add_argument("--model", default=usual.model)
    parser.add_argument("--timesteps", type=int, default=usual.timesteps)
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--method", default=usual.method, choices=("direct", "logit_kd"))
    parser.add_argument("--device", default=usual.device)
    parser.add_argument("--threads", type=int, default=usual.threads)
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="a round; more than 1 on a GPU")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parsed(arguments)
    setting = Setting(**{name: getattr(asked, name) for name in asdict(Setting())})
    torch.set_num_threads(setting.threads)
    if asked.peak_of:
        print(json.dumps(peak(asked.peers[0], asked.peak_of, setting, asked.precisions[0])))
        return 0
    found: list[Measured] = []
    for peer in asked.peers:
        hold_gradients(peer, setting)
        for precision in asked.precisions:
            found += measure(
                peer,
                setting,
                precision,
                rounds=asked.rounds,
                steps=asked.steps,
                memory=not asked.no_memory,
            )
            print(f"{peer} {precision} done", file=sys.stderr, flush=True)
    print(f"{setting} on {where(setting)}; medians of {asked.rounds} alternating rounds\n")
    print("\n".join(table(found)))
    if asked.json:
        told: Mapping[str, object] = {
            "setting": asdict(setting),
            "where": where(setting),
            "torch": torch.__version__,
            "rows": [asdict(one) for one in found],
        }
        asked.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 0


class Peers:
    """ResNet-20, T 2, 8 images, one thread: the native step's time over ours."""

    params = (list(PEERS), list(PRECISIONS), [PLAIN, COMPILED])
    param_names = ("peer", "precision", "contender")
    version = "1"
    unit = f"times as fast as the native step, {MORE}"

    def setup_cache(self) -> dict[tuple[str, str, str], float]:
        """Measure all at once: the compiler is asked once and all take turns."""
        setting = Setting(model="resnet20", timesteps=2, batch=8)
        torch.set_num_threads(setting.threads)
        return {
            (peer, precision, one.contender): one.native_times
            for peer, precision in product(PEERS, PRECISIONS)
            for one in measure(peer, setting, precision, rounds=5, memory=False)
        }

    setup_cache.timeout = 1800  # type: ignore[attr-defined]  # asv reads it there

    def track_step(
        self, found: dict[tuple[str, str, str], float], peer: str, precision: str, contender: str
    ) -> float:
        return found[peer, precision, contender]


if __name__ == "__main__":
    sys.exit(main())
