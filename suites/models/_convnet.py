"""Two convolutions for images of a few pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Output
from suites.models._signal import Activation, Socket, conv3x3, initialise, stage_of, through


@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """A convolution at full and one at half resolution, then the classifier.

    Attributes:
        widths: Channels of the two.
    """

    widths: tuple[int, int]

    def build(self, activation: Activation, /, *, input: Image, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot."""
        return _ConvNetwork(self, activation, classes=output.classes, shape=input.shape)


class _ConvNetwork(nn.Module):
    """A realisation of a small topology."""

    def __init__(
        self,
        topology: ConvNet,
        activation: Activation,
        *,
        classes: int,
        shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        first, second = topology.widths
        self.conv1 = conv3x3(shape[0], first)
        self.bn1 = nn.BatchNorm2d(first)
        self.activation1 = activation()
        self.conv2 = conv3x3(first, second, stride=2)
        self.bn2 = nn.BatchNorm2d(second)
        self.activation2 = activation()
        self.flatten = nn.Flatten()
        height, width = shape[1:]
        features = second * math.ceil(height / 2) * math.ceil(width / 2)
        self.fc = nn.Linear(features, classes)
        self.socket = Socket(
            shape=shape,
            channels={"stem": first, "stage1": second, "penultimate": features},
            membranes=frozenset({"stem", "stage1"}),
        )
        self.tap_channels = self.socket.channels
        initialise(self)

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        visit = self.socket.visit(timesteps, taps)
        logits = through(
            self.socket.signal(stimulus, timesteps),
            self.conv1,
            self.bn1,
            visit.firing(self.activation1, "stem"),
            visit.keeping("stem"),
            self.conv2,
            self.bn2,
            visit.firing(self.activation2, "stage1"),
            visit.keeping("stage1"),
            self.flatten,
            visit.keeping("penultimate"),
            self.fc,
        )
        return Output(logits=logits, taps=visit.taken)

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits that follow from ``signal`` in the place of the tap ``name``."""
        if name != "penultimate":
            stage_of(name, stages=1)
            signal = through(signal, self.flatten)
        return through(signal, self.fc)
