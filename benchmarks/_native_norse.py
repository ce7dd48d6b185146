"""The residual networks in Norse's own idiom: ``Lift`` over time in a ``SequentialState``.

A lifted layer runs once a step. Norms alone see all steps at once: a lifted norm would have
statistics a step, which is another network. Parameters are ordered as in our models.
"""

from norse.torch import LIFBoxCell, Lift, SequentialState
from norse.torch.functional.lif_box import LIFBoxParameters
from torch import Tensor, nn, tensor

from benchmarks._topology import PaddedPixels, blocks_of
from harness.contracts.neuron import NeuronSpec, Surrogate
from suites.models._resnet import ResNet

# What Norse's LIF-box is: current scaled, reset to zero within the gradient, SuperSpike with
# a sharpness of 1 (it takes an ``alpha`` and does not use it).
SPEC = NeuronSpec(detach_reset=False, surrogate=Surrogate(name="superspike", alpha=1.0))
DT_S = 1e-3


def fire() -> nn.Module:
    """Return a layer of Norse's neurons that mean ``SPEC``."""
    told = LIFBoxParameters(
        tau_mem_inv=tensor(1 / (SPEC.tau * DT_S)), v_th=tensor(SPEC.v_threshold)
    )
    lifted: nn.Module = Lift(LIFBoxCell(told, dt=DT_S))
    return lifted


class AllSteps(nn.Module):
    """A layer that sees all steps of all samples together."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self,
        signal: Tensor,  # [T, N, ...]
    ) -> Tensor:
        value: Tensor = self.layer(signal.flatten(0, 1))
        return value.view(*signal.shape[:2], *value.shape[1:])


def convolved(inputs: int, outputs: int, *, side: int = 3, stride: int = 1) -> list[nn.Module]:
    """Return a convolution and its norm."""
    convolution = nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)
    return [Lift(convolution), AllSteps(nn.BatchNorm2d(outputs))]


class Block(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, pads: bool) -> None:
        super().__init__()
        self.inner = SequentialState(
            *convolved(inputs, outputs, stride=stride), fire(), *convolved(outputs, outputs)
        )
        self.fire = fire()
        self.around: nn.Module = nn.Identity()
        if inputs != outputs and pads:
            self.around = PaddedPixels((outputs - inputs) // 2)
        elif inputs != outputs:
            self.around = nn.Sequential(*convolved(inputs, outputs, side=1, stride=stride))

    def forward(
        self,
        signal: Tensor,  # [T, N, C, H, W]
    ) -> Tensor:
        inner, _ = self.inner(signal)
        spikes: Tensor
        spikes, _ = self.fire(inner + self.around(signal))
        return spikes


class Network(nn.Module):
    """A residual topology, lifted layer by layer."""

    def __init__(self, topology: ResNet, *, classes: int) -> None:
        super().__init__()
        width = topology.widths[0]
        self.stem = SequentialState(*convolved(3, width), fire())
        pads = topology.shortcut == "pad"
        self.blocks = nn.Sequential(
            *(Block(*each, pads=pads) for each in blocks_of(topology)),
        )
        self.pool = Lift(nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()))
        self.classifier = Lift(nn.Linear(topology.widths[-1], classes))

    def forward(
        self,
        images: Tensor,  # [N, 3, H, W]
        timesteps: int,
    ) -> Tensor:
        """Return the logits ``[T, N, K]``."""
        signal = images.unsqueeze(0).repeat(timesteps, 1, 1, 1, 1)
        (spikes, _), _ = self.stem(signal)
        logits: Tensor = self.classifier(self.pool(self.blocks(spikes)))
        return logits


def forget(network: nn.Module) -> None:
    """Do nothing: Norse's state is an argument, and new with every batch."""
