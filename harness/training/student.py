"""The network that learns, in the hands of a method."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec
from harness.neurons.carrying import carries, carrying
from harness.neurons.precision import widened


def no_simulator(spec: NeuronSpec) -> nn.Module:
    """Refuse to make neurons for an artificial network.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(f"this network runs on no simulator, so none can give it a {spec.kind}")


_USUAL = NeuronSpec()
AT_ONCE = 4096  # samples times steps: as many as a batch of 256 has in 16 steps


def in_time(stimulus: Tensor, /) -> bool:
    """Return whether a stimulus is frames ``[T, N, C, H, W]`` and not constant, ``[N, ...]``."""
    return stimulus.dim() == 5


@dataclass(frozen=True, kw_only=True)
class Student:
    """A spiking network and the number of steps it is simulated for.

    Attributes:
        network: Callable as ``harness.contracts.model.Network``.
        timesteps: How many steps one stimulus takes.
        twin: Builds the same topology with another activation and fresh weights.
        spec: The suite's neuron.
        neuron: Makes neurons of any other specification, on the student's simulator.
    """

    network: nn.Module
    timesteps: int
    twin: Callable[[Callable[[], nn.Module]], nn.Module]
    spec: NeuronSpec = _USUAL
    neuron: Callable[[NeuronSpec], nn.Module] = no_simulator

    def __call__(self, stimulus: Tensor, taps: Sequence[str] = ()) -> Output:
        """Answer ``stimulus``; logits and membranes leave reduced precision here.

        Without a gradient, neurons that can go on from call to call are simulated in parts
        of ``AT_ONCE``, with the same spikes and in the memory of a part.
        """
        samples = stimulus.shape[1 if in_time(stimulus) else 0]
        if samples * self.timesteps > AT_ONCE and self._in_parts(taps):
            at_once = max(1, AT_ONCE // samples)
            return Output(logits=torch.cat(list(self._parts(stimulus, at_once))))
        answer: Output = self.network(stimulus, self.timesteps, taps)
        return Output(logits=widened(answer.logits), taps=answer.taps)

    def _in_parts(self, taps: Sequence[str]) -> bool:
        plain = not (taps or self.network.training or torch.is_grad_enabled())
        return plain and carries(self.network)

    def _parts(self, stimulus: Tensor, at_once: int) -> Iterator[Tensor]:
        """Yield the logits of ``at_once`` steps after the other."""
        with carrying(self.network):
            for begin in range(0, self.timesteps, at_once):
                steps = min(at_once, self.timesteps - begin)
                frames = stimulus[begin : begin + steps] if in_time(stimulus) else stimulus
                yield widened(self.network(frames, steps, ()).logits)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return everything the optimiser may change."""
        return self.network.parameters()

    @property
    def tap_channels(self) -> Mapping[str, int]:
        """How many channels each tap has."""
        channels: Mapping[str, int] = self.network.tap_channels  # type: ignore[assignment]  # nn.Module types every attribute as Tensor or Module
        return channels

    @property
    def classes(self) -> int:
        """How many logits the classifier has."""
        device = next(self.parameters()).device
        nothing = torch.zeros(1, 1, self.tap_channels["penultimate"], device=device)
        with torch.no_grad():
            logits: Tensor = self.network.tail("penultimate", nothing)  # type: ignore[operator]  # nn.Module types every attribute as Tensor or Module
        return logits.shape[-1]
