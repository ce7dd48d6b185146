"""The residual networks as SpikingJelly's own tutorials write them: multi-step layers.

The image is repeated for every step, every layer takes ``[T, N, ...]``, neurons keep a
state that is reset after each batch. Parameters are ordered as in our models.
"""

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from benchmarks._topology import PaddedPixels, blocks_of
from harness.contracts.neuron import NeuronSpec
from suites.models._resnet import ResNet

# What the suites of CIFAR train: v <- v/2 + x, a reset to zero outside of the gradient.
SPEC = NeuronSpec(scale_input=False)


def fire() -> nn.Module:
    """Return a layer of SpikingJelly's neurons that mean ``SPEC``."""
    node: nn.Module = neuron.LIFNode(
        tau=SPEC.tau,
        decay_input=SPEC.scale_input,
        v_threshold=SPEC.v_threshold,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(alpha=SPEC.surrogate.alpha),
        detach_reset=SPEC.detach_reset,
    )
    return node


class Block(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, pads: bool) -> None:
        super().__init__()
        self.conv1 = layer.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = layer.BatchNorm2d(outputs)
        self.conv2 = layer.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = layer.BatchNorm2d(outputs)
        self.fire1, self.fire2 = fire(), fire()
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs and pads:
            self.downsample = PaddedPixels((outputs - inputs) // 2)
        elif inputs != outputs:
            self.downsample = nn.Sequential(
                layer.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                layer.BatchNorm2d(outputs),
            )

    def forward(
        self,
        signal: Tensor,  # [T, N, C, H, W]
    ) -> Tensor:
        inner = self.fire1(self.bn1(self.conv1(signal)))
        spikes: Tensor = self.fire2(self.bn2(self.conv2(inner)) + self.downsample(signal))
        return spikes


class Network(nn.Module):
    """A residual topology in multi-step mode."""

    def __init__(self, topology: ResNet, *, classes: int) -> None:
        super().__init__()
        width = topology.widths[0]
        self.stem = nn.Sequential(
            layer.Conv2d(3, width, 3, padding=1, bias=False), layer.BatchNorm2d(width), fire()
        )
        pads = topology.shortcut == "pad"
        self.blocks = nn.Sequential(
            *(Block(*each, pads=pads) for each in blocks_of(topology)),
        )
        self.pool = nn.Sequential(layer.AdaptiveAvgPool2d((1, 1)), layer.Flatten())
        self.classifier = layer.Linear(topology.widths[-1], classes)
        functional.set_step_mode(self, "m")

    def forward(
        self,
        images: Tensor,  # [N, 3, H, W]
        timesteps: int,
    ) -> Tensor:
        """Return the logits ``[T, N, K]``."""
        signal = images.unsqueeze(0).repeat(timesteps, 1, 1, 1, 1)
        logits: Tensor = self.classifier(self.pool(self.blocks(self.stem(signal))))
        return logits


def forget(network: nn.Module) -> None:
    """Reset the state of all neurons, as after every batch."""
    functional.reset_net(network)
