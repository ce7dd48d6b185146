"""A network that is a list of nodes: what an imported file runs as."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.contracts.errors import HarnessError, SpecError
from harness.contracts.model import Output
from harness.engine.packed import one_line
from harness.exchange.tracing import INPUT, Shape
from harness.neurons.spiking import SpikingLayer

PENULTIMATE = "penultimate"
MEMBRANE = ".membrane"
Sources = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node to run.

    Attributes:
        name: Its own, and that of its module.
        sources: The nodes it is given the sum of.
    """

    name: str
    sources: tuple[str, ...]


class GraphNetwork(nn.Module):
    """Nodes in an order in which each comes after its sources; a ``Network`` of the contract.

    What does not depend on a neuron runs once for a static stimulus and not once a step. A tap
    is any node's answer by its name, ``x.membrane`` the membrane of the neurons ``x``, and
    ``penultimate`` what the last node is given.
    """

    def __init__(self, shape: Shape, parts: Mapping[str, nn.Module], steps: Sequence[Step]) -> None:
        """Run ``steps``, whose modules are ``parts``; the last one's answer is the logits."""
        super().__init__()
        self.shape = shape
        self.steps = tuple(steps)
        for name, part in parts.items():
            if hasattr(self, name):
                raise SpecError(f"a node may not be called {name!r}; rename it in the file")
            self.add_module(name, part)
        self._later = _later(self.steps)
        features = getattr(self.get_submodule(self.steps[-1].name), "in_features", 0)
        self.tap_channels = {PENULTIMATE: features}

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        """Answer ``stimulus``, ``[N, ...]`` or ``[T, N, ...]``, with logits ``[T, N, K]``.

        Raises:
            SpecError: If it has another shape, another number of steps, or no such tap.
        """
        signals: dict[Sources, Tensor] = {(INPUT,): self._signal(stimulus, timesteps)}
        taken: dict[str, Tensor] = {}
        for step, later in zip(self.steps, self._later, strict=True):
            signal = _added(signals, step.sources)
            if step is self.steps[-1] and PENULTIMATE in taps:
                taken[PENULTIMATE] = _held(signal, timesteps)
            answer = self._run(step.name, signal, timesteps, taps, taken)
            if step.name in taps:
                taken[step.name] = _held(answer, timesteps)
            signals[step.name,] = answer
            signals = {sources: signals[sources] for sources in signals.keys() & later}
        if unknown := set(taps) - taken.keys():
            names = ", ".join(step.name for step in self.steps)
            raise SpecError(f"no tap {min(unknown)!r}; there are: {names}, {PENULTIMATE}")
        return Output(logits=_held(answer, timesteps), taps=taken)

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits that follow from ``signal`` in the place of ``penultimate``."""
        if name != PENULTIMATE:
            raise SpecError(f"no way on from {name!r}; there is one from: {PENULTIMATE}")
        return self._run(self.steps[-1].name, signal, signal.shape[0], (), {})

    def _run(
        self,
        name: str,
        signal: Tensor,
        timesteps: int,
        taps: Sequence[str],
        taken: dict[str, Tensor],
    ) -> Tensor:
        part = self.get_submodule(name)
        if not isinstance(part, SpikingLayer):
            answer = _answer(name, part, signal.flatten(0, 1))
            return answer.view(*signal.shape[:2], *answer.shape[1:])
        record: list[Tensor] | None = [] if f"{name}{MEMBRANE}" in taps else None
        spikes: Tensor = part(_held(signal, timesteps), record)
        if record:
            taken[f"{name}{MEMBRANE}"] = record[0]
        return spikes

    def _signal(self, stimulus: Tensor, timesteps: int) -> Tensor:
        if timesteps < 1:
            raise SpecError(f"timesteps must be at least 1, got {timesteps!r}")
        static = stimulus.dim() == len(self.shape) + 1
        signal = stimulus.unsqueeze(0) if static else stimulus
        if tuple(signal.shape[2:]) != self.shape or (not static and len(signal) != timesteps):
            raise SpecError(
                f"the stimulus is {list(stimulus.shape)}; this graph takes {list(self.shape)} a "
                f"sample, static or in {timesteps} frames"
            )
        return signal


def _answer(
    name: str,
    part: nn.Module,
    signal: Tensor,  # [N, ...]
) -> Tensor:
    try:
        answer: Tensor = part(signal)
    except (HarnessError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, LookupError, ValueError) as error:
        raise SpecError(
            f"the node {name!r} cannot be given a signal {list(signal.shape[1:])}: "
            f"{one_line(error)}"
        ) from error
    return answer


def _held(
    signal: Tensor,  # [1, N, ...] or [T, N, ...]
    timesteps: int,
) -> Tensor:
    return signal if len(signal) == timesteps else signal.expand(timesteps, *signal.shape[1:])


def _later(steps: Sequence[Step]) -> tuple[frozenset[Sources], ...]:
    """Return for each step what is read after it, of nodes and of sums, so that memory is freed."""
    needed: set[Sources] = set()
    found = [frozenset(needed)]
    for step in reversed(steps[1:]):
        needed |= {step.sources[: count + 1] for count in range(len(step.sources))}
        needed |= {(source,) for source in step.sources}
        found.append(frozenset(needed))
    return tuple(reversed(found))


def _added(signals: dict[Sources, Tensor], sources: Sources) -> Tensor:
    """Return the sum from the left, and keep it, since the next sum may begin with it."""
    if sources not in signals:
        parts = _added(signals, sources[:-1]), signals[sources[-1:]]
        steps = max(map(len, parts))
        signals[sources] = _held(parts[0], steps) + _held(parts[1], steps)
    return signals[sources]
