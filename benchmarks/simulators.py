"""Simulators side by side: what they can mean, what theirs would answer, speed and memory.

    python -m benchmarks.simulators --write docs/simulators.md

Every adapter means the same neuron, so the speeds are of equal work. Simulators take turns under
the same load; on a GPU a time ends when the GPU has finished.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor

from benchmarks._own_neurons import OWN
from benchmarks._processes import answer_of, growth_mb
from benchmarks._timing import alternating
from harness import discovery, fingerprint
from harness.cli.simulators import remedy
from harness.contracts.backend import Backend
from harness.contracts.neuron import Kind, NeuronSpec, Reset
from harness.neurons.conformance import CONSTANTS, SAMPLES, STEPS, SURROGATES, deviations_of

TIMESTEPS = (1, 4, 16)
NEURONS = (2**12, 2**15, 2**18)
SPEC = NeuronSpec()
FORMS = tuple(
    replace(form, reset=reset)
    for form in (NeuronSpec(kind="if"), NeuronSpec(), NeuronSpec(scale_input=False))
    for reset in get_args(Reset)
)
NOT_TAKEN = Path(__file__).with_name("simulators_page.md")


def load(name: str) -> Backend:
    return cast(Backend, discovery.load("backends", name))


def here() -> list[str]:
    """Return the simulators that are installed."""
    return [name for name in discovery.names("backends") if remedy(name) is None]


def current_of(timesteps: int, neurons: int, device: str) -> Tensor:
    """Return a random current ``[T, neurons]`` under which about a third of the steps fire."""
    drawn = torch.randn(timesteps, neurons, generator=torch.Generator().manual_seed(0))
    return (0.8 + 1.5 * drawn).to(device)


def differing(name: str, form: NeuronSpec) -> tuple[int, int] | None:
    """Return how many spikes of the simulator's own layer are not the contract's, of how many.

    On the currents of the laws, in float32, for all of their constants; None if it has no such
    neuron. The contract is the reference's, held to the exact neuron.
    """
    wrong = spikes = 0
    for tau, v_threshold in CONSTANTS:
        spec = replace(form, tau=tau, v_threshold=v_threshold)
        current = v_threshold * current_of(STEPS, SAMPLES, "cpu")
        with torch.no_grad():
            found = OWN[name](spec, current)
            if found is None:
                return None
            expected = load("reference").neuron(spec)(current)
        wrong += int((found != expected).sum())
        spikes += int(expected.sum())
    return wrong, spikes


def action_of(name: str, current: Tensor, *, backward: bool) -> Callable[[], None]:
    """Return one pass of a layer; on a GPU it ends when the GPU has finished."""
    neuron = load(name).neuron(SPEC).to(current.device)

    def forward() -> None:
        with torch.no_grad():
            neuron(current)
        _finish(current)

    def both() -> None:
        leaf = current.detach().requires_grad_()
        neuron(leaf).backward(current)
        _finish(current)

    return both if backward else forward


def _finish(current: Tensor) -> None:
    if current.is_cuda:
        torch.cuda.synchronize(current.device)


def times_ms(
    timesteps: int, neurons: int, device: str, *, backward: bool, rounds: int
) -> Mapping[str, float]:
    """Return the median of every simulator's alternating passes; each warms up twice.

    On the processor it is the time this process computed, in all threads, which other work on the
    machine does not lengthen much.
    """
    current = current_of(timesteps, neurons, device)
    actions = {name: action_of(name, current, backward=backward) for name in here()}
    for action in (*actions.values(), *actions.values()):
        action()
    clock = time.perf_counter if current.is_cuda else time.process_time
    taken = alternating(actions, rounds, clock)
    return {name: 1000 * statistics.median(seconds) for name, seconds in taken.items()}


def memory_mb(name: str, timesteps: int, neurons: int, device: str) -> float | None:
    """Return the peak of a forward and backward pass over what lay there before."""
    current = current_of(timesteps, neurons, device)
    # Compiles and starts what is started once: its memory is not the pass'.
    action_of(name, current_of(timesteps, 64, device), backward=True)()
    action = action_of(name, current, backward=True)
    if current.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return growth_mb(action)


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _head(*cells: str, right: int = 0) -> Iterator[str]:
    yield _row(*cells)
    yield _row(*(["---"] * (len(cells) - right) + ["---:"] * right))


def what_they_mean() -> Iterator[str]:
    """Yield the table of what each adapter answers ``unsupported`` to, and its deviations."""
    yield from _head("simulator", "version", "neurons", "resets", "surrogates", "deviations")
    for name in discovery.names("backends"):
        if how := remedy(name):
            yield _row(name, f"not installed: `{how}`", "", "", "", "")
            continue
        backend = load(name)
        kinds = [k for k in get_args(Kind) if _means(backend, replace(SPEC, kind=k))]
        resets = [r for r in get_args(Reset) if _means(backend, replace(SPEC, reset=r))]
        shapes = [s.name for s in SURROGATES if _means(backend, replace(SPEC, surrogate=s))]
        declared = [f"`{law}`: {why}" for law, why in deviations_of(name).items()]
        lists = (", ".join(each) for each in (kinds, resets, shapes))
        yield _row(name, backend.version, *lists, "; ".join(declared) or "none")


def _means(backend: Backend, spec: NeuronSpec) -> bool:
    return backend.unsupported(spec) is None


def what_theirs_answer() -> Iterator[str]:
    """Yield the table of spikes that their own layers make otherwise."""
    words = [f"{f.kind}{'' if _scaled(f) else ', unscaled'}, {f.reset}" for f in FORMS]
    yield from _head("simulator", *words, right=len(words))
    for name in filter(fingerprint.installed, OWN):
        counts = [differing(name, form) for form in FORMS]
        yield _row(name, *("—" if each is None else f"{each[0]} of {each[1]}" for each in counts))


def _scaled(form: NeuronSpec) -> bool:
    return form.kind == "if" or form.scale_input


def how_fast(device: str, rounds: int) -> Iterator[str]:
    """Yield the table of speeds, in milliseconds and in times as slow as the fastest."""
    names = here()
    yield from _head("T", "neurons", "pass", *names, right=len(names))
    for timesteps, neurons, backward in product(TIMESTEPS, NEURONS, (False, True)):
        found = times_ms(timesteps, neurons, device, backward=backward, rounds=rounds)
        fastest = min(found.values())
        cells = (f"{found[name]:.2f} ({found[name] / fastest:.1f}x)" for name in names)
        yield _row(timesteps, neurons, "and back" if backward else "forward", *cells)
        print(f"T {timesteps}, {neurons} neurons done", file=sys.stderr, flush=True)


def how_much_memory(device: str) -> Iterator[str]:
    """Yield the table of memory, each number from a process of its own."""
    names = here()
    yield from _head("T", "neurons", *names, right=len(names))
    neurons = NEURONS[-1]
    for timesteps in TIMESTEPS[1:]:
        asked = (f"--device={device}", f"--peak={timesteps}", f"--neurons={neurons}")
        found = [
            json.loads(answer_of("benchmarks.simulators", *asked, f"--of={name}").splitlines()[-1])
            for name in names
        ]
        yield _row(timesteps, neurons, *("" if mb is None else f"{mb:.0f}" for mb in found))


def page(device: str, rounds: int) -> Iterator[str]:
    """Yield the lines of the page."""
    yield """# Simulators

Generated by `python -m nox -s simulators`: do not edit. Every simulator here means the one neuron
of `harness/contracts/neuron.py`, by its own step and an adapter, in float64, float32 and bfloat16
(whose membrane is float32), and is held to the laws of `python -m harness conform NAME`.
"""
    yield from what_they_mean()
    yield f"""
## Theirs as they come

How many decisions a simulator's own layer takes otherwise than the contract, and beside how many
spikes, on random currents of the laws (T = {STEPS}, {SAMPLES} neurons, {len(CONSTANTS)} pairs of
time constant and threshold). — where it has no such neuron. Spyx answers a step late; its leaky
neuron and snnTorch's subtract after the leak; Sinabs' and Rockpool's fire as often in a step as
the threshold fits in. BrainPy's is told to train and to go by Euler's method: otherwise it leaks
by exp(-1/tau), or its reset is always to a value. Its integrator leaks, and never fires.
"""
    yield from what_theirs_answer()
    yield "\n" + NOT_TAKEN.read_text(encoding="utf-8").rstrip()
    clock = "times of computing, of all threads"
    if device != "cpu":
        clock = "wall-clock times that end when the GPU has finished"
    yield f"""
## Speed

A layer of `{SPEC.kind}` neurons in float32, torch {torch.__version__},
{where(device)}:
medians of {rounds} passes by turns, in milliseconds, and times as slow as the fastest. They are
{clock}, beside a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.
JAX's time has the way there and back in it, and not its compilation (a second for a new shape).
"""
    yield from how_fast(device, rounds)
    yield """
## Memory

The peak of one pass forward and back over what the process held before, in MB.
"""
    yield from how_much_memory(device)


def where(device: str) -> str:
    """Return the device in words."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{fingerprint.processor().get('processor') or 'a processor'}, one thread"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--neurons", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--of", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.of:
        print(json.dumps(memory_mb(asked.of, asked.peak, asked.neurons, asked.device)))
        return 0
    text = "\n".join(page(asked.device, asked.rounds)) + "\n"
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
