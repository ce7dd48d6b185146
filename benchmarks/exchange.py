"""What becomes of one trained network in other tools: ``docs/exchange.md``, with its numbers.

    python -m benchmarks.exchange [--out FOLDER] [--page FILE]

A digits student is trained as its cell says, written as NIR and read by every importer that is
installed; then as ONNX. An importer that is not installed, or fails, stands there with why.
"""

import argparse
import contextlib
import io
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._timing import alternating
from harness.contracts.cell import Cell
from harness.contracts.neuron import NeuronSpec
from harness.data.streaming import unaugmented
from harness.engine import grid
from harness.engine.grid import Axes
from harness.engine.packed import one_line
from harness.engine.resolve import opened, resolve
from harness.engine.train import train
from harness.evaluation.decisions import decide
from harness.exchange import dynapcnn
from harness.exchange.foreign import reset
from harness.exchange.judging import neurons_of, presentation_of
from harness.exchange.nir_export import to_nir
from harness.exchange.nir_import import from_nir
from harness.exchange.nir_neurons import DT_S
from harness.exchange.onnx_export import NEEDS, to_onnx
from harness.exchange.stored import student_of
from harness.fingerprint import installed
from harness.results import published
from harness.store import Store
from harness.training.lesson import computing
from harness.training.slots import put_in_slots

STEPS = 16
RESULTS = Path("results")
AFTER = (1, 4, 16)
CELL = ("--methods=direct", "--timesteps=4", "--seeds=0", "--backends=norse")
NEURONS: Mapping[str, NeuronSpec] = {
    "LIF, to zero (the suite's)": NeuronSpec(),
    "LIF, to zero, unscaled": NeuronSpec(scale_input=False),
    "LIF, subtract": NeuronSpec(reset="subtract"),
    "IF, to zero": NeuronSpec(kind="if"),
    "IF, subtract": NeuronSpec(kind="if", reset="subtract"),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a network did.

    Attributes:
        logits: ``[T, N, K]``.
        spikes: Of the first layer, ``[T, N, ...]``.
        membrane: Of the first layer after its reset, in thresholds, likewise.
    """

    logits: Tensor
    spikes: Tensor
    membrane: Tensor


Run = Callable[[Any, Tensor], Seen]  # a graph of NIR and images [N, C, H, W]


@dataclass(frozen=True, kw_only=True)
class Importer:
    """Somebody's ``from_nir``.

    Attributes:
        name: As the table has it.
        package: That it is in.
        run: What it makes of a graph.
        dt_s: The step for which the graph is written.
    """

    name: str
    package: str
    run: Run
    dt_s: float = DT_S


def step_by_step(
    net: Any, images: Tensor, look: Callable[[Any, Any], tuple[Tensor, Tensor]], neuron: nn.Module
) -> Seen:
    """Call ``net`` with its state once a step; ``look`` reads the first layer's answer."""
    found: list[tuple[Tensor, Tensor]] = []
    logits, state = [], None
    with neuron.register_forward_hook(lambda module, _, said: found.append(look(module, said))):
        for _ in range(STEPS):
            answer, state = net(images, state)
            logits.append(answer)
    spikes, membranes = zip(*found, strict=True)
    return Seen(
        logits=torch.stack(logits), spikes=torch.stack(spikes), membrane=torch.stack(membranes)
    )


def one_by_one(run: Callable[[Tensor], Seen], images: Tensor) -> Seen:
    """Run samples without an axis for them: these importers flatten that too."""
    seen = [run(image) for image in images]
    return Seen(
        logits=torch.stack([one.logits for one in seen], dim=1),
        spikes=torch.stack([one.spikes for one in seen], dim=1),
        membrane=torch.stack([one.membrane for one in seen], dim=1),
    )


def first(net: nn.Module, *kinds: type[nn.Module]) -> nn.Module:
    return next(module for module in net.modules() if isinstance(module, kinds))


def norse(graph: Any, images: Tensor) -> Seen:
    import norse.torch as norse_torch
    from norse.torch.module.iaf import IAFCell
    from norse.torch.module.lif_box import LIFBoxCell

    net = norse_torch.from_nir(graph, ignore_warnings=True, dt=DT_S)
    neuron: Any = first(net, IAFCell, LIFBoxCell)

    def look(_: Any, said: Any) -> tuple[Tensor, Tensor]:
        return said[0], said[1].v / neuron.p.v_th

    def run(image: Tensor) -> Seen:
        return step_by_step(net, image, look, neuron)

    return one_by_one(run, images)


def spikingjelly(graph: Any, images: Tensor) -> Seen:
    from spikingjelly.activation_based import base
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    net = import_from_nir(graph, dt=DT_S)
    inner = first(net, base.MemoryModule)
    neuron = next(module for module in net.children() if inner in module.children())
    threshold: Any = inner.v_threshold
    return step_by_step(net, images, lambda _, said: (said[0], _v(said[1]) / threshold), neuron)


def _v(state: Any) -> Tensor:
    return next(part for part in state if isinstance(part, Tensor))


def snntorch(graph: Any, images: Tensor) -> Seen:
    import snntorch as theirs
    from snntorch.import_nir import import_from_nir

    with contextlib.redirect_stdout(io.StringIO()):
        net = import_from_nir(deepcopy(graph))
    neuron = first(net, theirs.Leaky)

    def look(module: Any, said: Any) -> tuple[Tensor, Tensor]:
        return said, module.mem / module.threshold

    def run(image: Tensor) -> Seen:
        reset(net)
        return step_by_step(net, image, look, neuron)

    return one_by_one(run, images)


def sinabs(graph: Any, images: Tensor) -> Seen:
    import sinabs.layers
    import sinabs.nir

    net = sinabs.nir.from_nir(graph, num_timesteps=STEPS)
    neuron: Any = first(net, sinabs.layers.StatefulLayer)
    neuron.record_states = True
    spikes: list[Tensor] = []
    # Samples first, then steps, in one axis.
    shown = images.repeat_interleave(STEPS, 0)
    with neuron.register_forward_hook(lambda _module, _given, said: spikes.append(said)):
        logits = net(shown)[0]

    def timed(value: Tensor) -> Tensor:
        return value.reshape(len(images), STEPS, *value.shape[1:]).transpose(0, 1)

    membrane = neuron.recordings["v_mem"].transpose(0, 1) / neuron.spike_threshold
    return Seen(logits=timed(logits), spikes=timed(spikes[0]), membrane=membrane)


def sinabs_one_number(graph: Any, images: Tensor) -> Seen:
    """Give Sinabs one number a layer, which its importer can compare with 0."""
    graph = deepcopy(graph)
    for node in graph.nodes.values():
        for part in ("tau", "r", "v_leak", "v_threshold", "v_reset"):
            if hasattr(node, part):
                setattr(node, part, getattr(node, part).reshape(-1)[:1].astype(np.float32))
    return sinabs(graph, images)


def ours(graph: Any, images: Tensor) -> Seen:
    net = from_nir(graph, neurons_of("reference"))
    name = next(step.name for step in net.steps if hasattr(net.get_submodule(step.name), "spec"))
    spec: Any = net.get_submodule(name).spec
    said = net(images.to(next(net.parameters()).dtype), STEPS, taps=(name, f"{name}.membrane"))
    spikes, before = said.taps[name], said.taps[f"{name}.membrane"]
    after = before - spikes * (before if spec.reset == "zero" else spec.v_threshold)
    return Seen(logits=said.logits, spikes=spikes, membrane=after / spec.v_threshold)


IMPORTERS = (
    Importer(name="this harness, float32", package="torch", run=ours),
    Importer(name="Norse", package="norse", run=norse),
    Importer(name="SpikingJelly", package="spikingjelly", run=spikingjelly),
    Importer(name="snnTorch", package="snntorch", run=snntorch),
    Importer(name="Sinabs", package="sinabs", run=sinabs),
    Importer(
        name="Sinabs, one number a layer, dt 1", package="sinabs", run=sinabs_one_number, dt_s=1.0
    ),
)


def drift(network: nn.Module, student: Any, images: Tensor, labels: Any) -> Iterator[str]:
    """Yield the lines of the drift table."""
    yield (
        "| neuron | importer | decisions that differ after "
        + ", ".join(map(str, AFTER))
        + (
            " steps | spikes of the first layer that differ | largest membrane error, thresholds "
            "| accuracy after " + f"{STEPS} |"
        )
    )
    yield "|---|---|---|---|---|---|"
    for words, spec in NEURONS.items():
        put_in_slots(student, partial(neurons_of("reference"), spec))
        network.double().eval()
        truth = ours(to_nir(network, tuple(images.shape[1:])), images)
        network.float()
        for importer in IMPORTERS:
            told = line(importer, network, images, labels, truth)
            yield f"| {words} | {importer.name} | {told} |"


def line(importer: Importer, network: nn.Module, images: Tensor, labels: Any, truth: Seen) -> str:
    if installed(importer.package) is None:
        return f"not installed: pip install {importer.package} | | |"
    graph = to_nir(network, tuple(images.shape[1:]), dt_s=importer.dt_s)
    try:
        seen = importer.run(graph, images)
    except Exception as error:  # noqa: BLE001  whatever it raises is what the table is to say
        return f"fails: {type(error).__name__}: {one_line(error)[:70]} | | |"
    decided, right = decide(seen.logits.numpy()), decide(truth.logits.numpy())
    differ = ", ".join(str(int((decided[t - 1] != right[t - 1]).sum())) for t in AFTER)
    spikes = float((seen.spikes != truth.spikes).float().mean())
    apart = float((seen.membrane - truth.membrane).abs().amax())
    accuracy = 100 * float((decided[-1] == labels).mean())
    return f"{differ} of {len(labels)} | {100 * spikes:.3g} % | {apart:.2g} | {accuracy:.2f} %"


def ties() -> Iterator[str]:
    """Yield the lines about a membrane that meets its threshold exactly."""
    import nir

    yield "| importer | spikes, threshold as we write it | spikes, threshold 1 as a plain number |"
    yield "|---|---|---|"
    for importer in IMPORTERS[:4]:
        counts = []
        for threshold in (np.nextafter(np.float32(1), np.float32(0)), np.float32(1)):
            one = np.ones((1, 1, 1))
            lif = nir.LIF(
                tau=2 * DT_S * one,
                r=one,
                v_leak=0 * one,
                v_threshold=np.full((1, 1, 1), threshold, np.float32),
            )
            convolution = nir.Conv2d((1, 1), one[None], 1, 0, 1, 1, np.zeros(1))
            graph = nir.NIRGraph.from_list(convolution, lif)
            try:
                # v <- v + (x - v) / 2 from 0 with x = 2: at once at the threshold, in every step.
                seen = importer.run(graph, 2 * torch.ones(1, 1, 1, 1))
                counts.append(f"{int(seen.spikes.sum())} of {STEPS}")
            except Exception as error:  # noqa: BLE001  as above
                counts.append(f"fails: {type(error).__name__}: {one_line(error)[:60]}")
        yield f"| {importer.name} | {' | '.join(counts)} |"


def onnx(network: nn.Module, images: Tensor) -> Iterator[str]:
    """Yield the lines about ONNX: the same decisions, and what they cost."""
    if missing := [name for name in (*NEEDS, "onnxruntime") if find_spec(name) is None]:
        yield f"Not measured: {', '.join(missing)} not installed."
        return
    yield (
        "| steps | operators | bytes | decisions that differ | onnxruntime, ms, one sample "
        "| Norse here | SpikingJelly here | reference here | export, s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for steps in AFTER:
        yield from _onnx(network, images, steps)


def _onnx(network: nn.Module, images: Tensor, steps: int) -> Iterator[str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    shape = tuple(images.shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        many, single = Path(folder) / "many.onnx", Path(folder) / "one.onnx"
        to_onnx(network, shape, many, timesteps=steps, samples=len(images))
        begun = time.perf_counter()
        written = to_onnx(network, shape, single, timesteps=steps)
        export_s = time.perf_counter() - begun
        all_at_once = onnxruntime.InferenceSession(many, options)
        session = onnxruntime.InferenceSession(single, options)
        (theirs,) = all_at_once.run(None, {"stimulus": images.numpy()})
        one = images[:1].numpy()
        here: dict[str, nn.Module] = {
            name: from_nir(to_nir(network, shape), neurons_of(name))
            for name in ("norse", "spikingjelly", "reference")
        }
        calls: dict[str, Callable[[], object]] = {
            name: partial(net, images[:1], steps) for name, net in here.items()
        }
        calls = {"onnx": partial(session.run, None, {"stimulus": one})} | calls
        times = fastest_ms(calls)
    right = decide(here["reference"](images, steps).logits.numpy())[-1]
    differ = int((decide(theirs)[-1] != right).sum())
    took = " | ".join(f"{each:.3g}" for each in times)
    yield (
        f"| {steps} | {written.nodes} | {written.file_bytes} | {differ} of {len(images)} "
        f"| {took} | {export_s:.1f} |"
    )


def fastest_ms(calls: Mapping[str, Callable[[], object]]) -> list[float]:
    """Return the fastest pass of each in milliseconds, by turns, after a warm-up.

    Not the median: what else a machine does only adds, and here to all of them.
    """
    alternating(calls, 3)
    return [1e3 * min(taken) for taken in alternating(calls, 50).values()]


def chips(cell: Cell, images: Tensor, labels: Any) -> Iterator[str]:
    """Yield the lines about a student of integrators with the integers of DYNAP-CNN."""
    with torch.enable_grad(), computing(cell.recipe.precision):
        found = resolve(replace(cell, neuron=NeuronSpec(kind="if", reset="subtract")))
        splits = opened("digits", None, cell.timesteps)
        trained = train(found, splits, None, torch.device("cpu"), lambda _: None)
    graph = to_nir(trained.student.network.eval(), tuple(images.shape[1:]))
    _, lines = dynapcnn.told(graph)
    yield "```"
    yield from (f"dynapcnn: {line}" for line in lines)
    yield "```"
    yield ""
    yield "| steps | accuracy, float64 | accuracy, 8-bit weights | decisions that differ |"
    yield "|---|---|---|---|"
    exact, rounded = (
        decide(ours(each, images).logits.numpy()) for each in (graph, dynapcnn.quantised(graph))
    )
    for steps in AFTER:
        right, found_there = exact[steps - 1], rounded[steps - 1]
        accuracies = [100 * float((each == labels).mean()) for each in (right, found_there)]
        differ = int((right != found_there).sum())
        told = " | ".join(f"{each:.2f} %" for each in accuracies)
        yield f"| {steps} | {told} | {differ} of {len(labels)} |"


def versions() -> str:
    simulators = ("norse", "spikingjelly", "snntorch", "sinabs")
    names = ("torch", "nir", "nirtorch", *simulators, "onnx", "onnxscript", "onnxruntime")
    return ", ".join(f"{name} {installed(name) or 'not installed'}" for name in names)


def trained(out: Path) -> tuple[Cell, Any]:
    """Return the cell and its student, after training it."""
    command = [sys.executable, "-m", "harness", "run", "digits", *CELL, f"--out={out}", "--again"]
    subprocess.run(command, check=False)  # noqa: S603  3 is: nothing to do
    axes = Axes(methods=("direct",), timesteps=(4,), seeds=(0,), backends=("norse",))
    (cell,) = grid.cells("digits", axes, Store(out), published("digits", results=RESULTS))
    _, _, student = student_of(cell.cell_id, runs=out, published=RESULTS)
    return cell, student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where cells are run")
    parser.add_argument("--page", type=Path, default=Path("docs/exchange.md"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    cell, student = trained(asked.out)
    test = opened("digits", None, STEPS).test
    shown = presentation_of("digits").begin("evaluation")
    (whole,) = unaugmented(test, len(test), torch.device("cpu"), "float32")
    images = shown(whole[0])
    network = student.network.float()
    sections = {
        "ties": list(ties()),
        "onnx": list(onnx(deepcopy(network), images)),
        "chips": list(chips(cell, images, test.labels)),
        "drift": list(drift(network, student, images, test.labels)),
    }
    words = TEMPLATE.read_text(encoding="utf-8").replace("{cell}", cell.cell_id)
    words = words.replace("{versions}", versions()).replace("{steps}", str(STEPS))
    for name, lines in sections.items():
        words = words.replace(f"{{{name}}}", "\n".join(lines))
    asked.page.write_text(words, encoding="utf-8")
    print(f"-> {asked.page}")


TEMPLATE = Path(__file__).with_name("exchange_page.md")

if __name__ == "__main__":
    main()
