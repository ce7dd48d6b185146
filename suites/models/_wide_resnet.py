"""Wide residual networks of Zagoruyko & Komodakis (BMVC 2016), neurons before convolutions.

A block is ``f(x) + x`` with ``f`` norm, neuron, convolution, twice; where the shape changes, the
way around is a 1x1 convolution of what the first neuron answers. What flows between blocks
are currents.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Output
from suites.models._signal import (
    Activation,
    Socket,
    Visit,
    add,
    averaged,
    conv3x3,
    initialise,
    stage_of,
    through,
)

_STEM, _STAGES = 16, 3


@dataclass(frozen=True, kw_only=True)
class WideResNet:
    """A wide residual topology of three stages, for small images.

    Attributes:
        depth: Convolutions in its longest path with the classifier, ``6 n + 4`` for ``n``
            blocks a stage.
        widening: Of the stages' 16, 32 and 64 channels.
    """

    depth: int
    widening: int

    def __post_init__(self) -> None:
        if self.depth < 10 or (self.depth - 4) % 6:
            raise SpecError(f"WideResNet.depth must be 6 n + 4 with n from 1 on, got {self.depth}")

    @property
    def blocks(self) -> int:
        """In each stage."""
        return (self.depth - 4) // 6

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(_STEM * self.widening * 2**stage for stage in range(_STAGES))

    def build(self, activation: Activation, /, *, input: Image, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot."""
        return _WideNetwork(self, activation, classes=output.classes, shape=input.shape)


class _Block(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, activation: Activation, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.activation1 = activation()
        self.conv1 = conv3x3(inputs, outputs, stride=stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.activation2 = activation()
        self.conv2 = conv3x3(outputs, outputs)
        self.projection = None
        if inputs != outputs:
            self.projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, signal: Tensor, visit: Visit) -> Tensor:
        """Return the sum of both ways, ``[T, N, C, H, W]``."""
        fired = visit.fire(self.activation1, through(signal, self.bn1))
        inner = through(fired, self.conv1, self.bn2, visit.firing(self.activation2), self.conv2)
        around = signal if self.projection is None else through(fired, self.projection)
        return add(inner, around)


class _WideNetwork(nn.Module):
    """A realisation of a wide residual topology."""

    style = "preactivation"

    def __init__(
        self,
        topology: WideResNet,
        activation: Activation,
        *,
        classes: int,
        shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(shape[0], _STEM)
        inputs = _STEM
        for stage, outputs in enumerate(topology.widths):
            blocks = []
            for index in range(topology.blocks):
                stride = 2 if stage and not index else 1
                blocks.append(_Block(activation, inputs, outputs, stride=stride))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn_last = nn.BatchNorm2d(inputs)
        self.activation_last = activation()
        self.fc = nn.Linear(inputs, classes)
        stages = {f"stage{stage}": width for stage, width in enumerate(topology.widths, start=1)}
        self.socket = Socket(
            shape=shape,
            channels={"stem": _STEM, **stages, "penultimate": inputs},
            membranes=frozenset(),
        )
        self.tap_channels = self.socket.channels
        initialise(self)

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        visit = self.socket.visit(timesteps, taps)
        signal = through(self.socket.signal(stimulus, timesteps), self.conv1)
        visit.keep("stem", signal)
        return Output(logits=self._onwards(signal, visit, after=0), taps=visit.taken)

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits that follow from ``signal`` in the place of the tap ``name``."""
        if name == "penultimate":
            return through(signal, self.fc)
        after = stage_of(name, stages=_STAGES)
        return self._onwards(signal, self.socket.visit(signal.shape[0], ()), after=after)

    def _onwards(self, signal: Tensor, visit: Visit, *, after: int) -> Tensor:
        """Return the logits, given what stage ``after`` made; 0 is the stem."""
        for stage in range(after + 1, _STAGES + 1):
            for block in self.get_submodule(f"layer{stage}").children():
                signal = block(signal, visit)
            visit.keep(f"stage{stage}", signal)
        last = visit.firing(self.activation_last)
        features = through(signal, self.bn_last, last, averaged)
        visit.keep("penultimate", features)
        return through(features, self.fc)
