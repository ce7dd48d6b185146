"""Residual networks of two-convolution blocks, in three shortcut styles.

The topology is He et al.'s (CVPR 2016). The styles differ in where the sum stands:

========  ====================================  ==================================
standard  ``neuron(f(x) + x)``                  Zheng et al., AAAI 2021
sew       ``neuron(f(x)) + x``: spikes add up   Fang et al., NeurIPS 2021
ms        ``f(neuron(x)) + x``: currents do     Hu et al., arXiv 2112.08954
========  ====================================  ==================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Output
from suites.models._signal import (
    Activation,
    Layer,
    PadShortcut,
    Socket,
    Visit,
    add,
    averaged,
    conv3x3,
    hidden_layer,
    initialise,
    stage_of,
    through,
)

Style = Literal["standard", "sew", "ms"]
Shortcut = Literal["pad", "project"]
LARGE_PX = 128  # from this side on, the stem is the one for ImageNet


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A residual topology.

    Attributes:
        blocks: In each stage. Every stage but the first halves the resolution.
        widths: Channels of each stage; the stem has those of the first.
        style: Where the sum stands.
        shortcut: Across a change of shape: zero planes (option A) or a 1x1 convolution
            and a norm (option B).
        hidden: Width of a layer of neurons before the classifier; None for no such layer.
        classifier: The name of its parameters in the published checkpoints.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    style: Style = "standard"
    shortcut: Shortcut = "project"
    hidden: int | None = None
    classifier: Literal["fc", "linear"] = "fc"

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.widths):
            raise SpecError(
                f"ResNet.blocks and .widths must be equally long, got {self.blocks} "
                f"and {self.widths}"
            )

    def build(self, activation: Activation, /, *, input: Image, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot."""
        return _ResNetwork(self, activation, classes=output.classes, shape=input.shape)


class _Block(nn.Module):
    """Two convolutions and the way around them; where they meet is the style's."""

    def __init__(
        self, activation: Activation, inputs: int, outputs: int, *, stride: int, shortcut: Shortcut
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.activation1 = activation()
        self.activation2 = activation()
        self.downsample = _way_around(inputs, outputs, stride=stride, shortcut=shortcut)


def _way_around(inputs: int, outputs: int, *, stride: int, shortcut: Shortcut) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if shortcut == "pad":
        return PadShortcut((outputs - inputs) // 2)
    projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs))


class _StandardBlock(_Block):
    def forward(self, signal: Tensor, visit: Visit, *makes: str) -> Tensor:
        inner = visit.firing(self.activation1)
        return visit.fire(
            self.activation2,
            add(
                through(signal, self.conv1, self.bn1, inner, self.conv2, self.bn2),
                through(signal, self.downsample),
            ),
            *makes,
        )


class _SewBlock(_Block):
    def __init__(
        self, activation: Activation, inputs: int, outputs: int, *, stride: int, shortcut: Shortcut
    ) -> None:
        super().__init__(activation, inputs, outputs, stride=stride, shortcut=shortcut)
        # A projection makes currents of spikes; they fire again before they are added.
        projects = isinstance(self.downsample, nn.Sequential)
        self.activation_around = activation() if projects else None

    def forward(self, signal: Tensor, visit: Visit, *makes: str) -> Tensor:
        fires = visit.firing(self.activation1), visit.firing(self.activation2, *makes)
        inner = through(signal, self.conv1, self.bn1, fires[0], self.conv2, self.bn2, fires[1])
        around = through(signal, self.downsample)
        if self.activation_around is not None:
            around = visit.fire(self.activation_around, around)
        return add(inner, around)


class _MsBlock(_Block):
    def forward(self, signal: Tensor, visit: Visit, *makes: str) -> Tensor:  # noqa: ARG002  a sum has no membrane
        fires = visit.firing(self.activation1), visit.firing(self.activation2)
        inner = through(signal, fires[0], self.conv1, self.bn1, fires[1], self.conv2, self.bn2)
        return add(inner, through(signal, self.downsample))


_BLOCKS: dict[Style, type[_Block]] = {
    "standard": _StandardBlock,
    "sew": _SewBlock,
    "ms": _MsBlock,
}


class _ResNetwork(nn.Module):
    """A realisation of a residual topology."""

    def __init__(
        self, topology: ResNet, activation: Activation, *, classes: int, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.topology, self.style = topology, topology.style
        width, large = topology.widths[0], min(shape[1:]) >= LARGE_PX
        self.conv1 = _stem(shape[0], width, large=large)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        # The sums of the ms style are currents, so its neurons stand before every
        # convolution but the first, and once more at the end.
        sums_currents = topology.style == "ms"
        self.activation = None if sums_currents else activation()
        for stage in range(len(topology.widths)):
            self.add_module(f"layer{stage + 1}", _layer(topology, activation, stage))
        self.activation_last = activation() if sums_currents else None
        features = topology.widths[-1]
        self.hidden = None
        if topology.hidden is not None:
            self.hidden = hidden_layer(features, topology.hidden)
            self.activation_hidden = activation()
            features = topology.hidden
        self.add_module(topology.classifier, nn.Linear(features, classes))
        self.socket = _socket(topology, shape, features)
        self.tap_channels = self.socket.channels
        initialise(self)

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        visit = self.socket.visit(timesteps, taps)
        stem: list[Layer] = [self.conv1, self.bn1]
        if self.activation is not None:
            stem.append(visit.firing(self.activation, "stem"))
        signal = self.socket.signal(stimulus, timesteps)
        logits = self._onwards(
            through(signal, *stem, visit.keeping("stem"), self.pool), visit, after=0
        )
        return Output(logits=logits, taps=visit.taken)

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits that follow from ``signal`` in the place of the tap ``name``."""
        if name == "penultimate":
            return through(signal, self.get_submodule(self.topology.classifier))
        after = stage_of(name, stages=len(self.topology.blocks))
        return self._onwards(signal, self.socket.visit(signal.shape[0], ()), after=after)

    def _onwards(self, signal: Tensor, visit: Visit, *, after: int) -> Tensor:
        """Return the logits, given what stage ``after`` made; 0 is the pooled stem."""
        for stage, blocks in enumerate(self.topology.blocks[after:], start=after + 1):
            name = f"stage{stage}"
            for index, block in enumerate(self.get_submodule(f"layer{stage}").children(), start=1):
                signal = block(signal, visit, *([name] if index == blocks else []))
            visit.keep(name, signal)
        features = self.features(signal, visit)
        visit.keep("penultimate", features)
        return through(features, self.get_submodule(self.topology.classifier))

    def features(self, signal: Tensor, visit: Visit) -> Tensor:
        """Return what the classifier reads, ``[T, N, D]``."""
        if self.activation_last is not None:
            signal = visit.fire(self.activation_last, signal)
        pooled = through(signal, averaged)
        if self.hidden is None:
            return pooled
        return visit.fire(self.activation_hidden, through(pooled, self.hidden), "penultimate")


def _stem(inputs: int, outputs: int, *, large: bool) -> nn.Conv2d:
    if large:
        return nn.Conv2d(inputs, outputs, 7, stride=2, padding=3, bias=False)
    return conv3x3(inputs, outputs)


def _layer(topology: ResNet, activation: Activation, stage: int) -> nn.Sequential:
    block, outputs = _BLOCKS[topology.style], topology.widths[stage]
    inputs = topology.widths[max(stage - 1, 0)]
    return nn.Sequential(
        *(
            block(
                activation,
                outputs if index else inputs,
                outputs,
                stride=2 if stage and not index else 1,
                shortcut=topology.shortcut,
            )
            for index in range(topology.blocks[stage])
        )
    )


def _socket(topology: ResNet, shape: tuple[int, int, int], features: int) -> Socket:
    stages = {f"stage{stage}": width for stage, width in enumerate(topology.widths, start=1)}
    made_by_neurons = set() if topology.style == "ms" else {"stem", *stages}
    if topology.hidden is not None:
        made_by_neurons.add("penultimate")
    return Socket(
        shape=shape,
        channels={"stem": topology.widths[0], **stages, "penultimate": features},
        membranes=frozenset(made_by_neurons),
    )
