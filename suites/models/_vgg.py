"""Plain stacks of 3x3 convolutions, each followed by a norm and a neuron.

Simonyan & Zisserman, ICLR 2015, with the norms and the short classifier that are
customary for small images. Stages end in max-pooling: of spikes it makes spikes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Output
from suites.models._signal import (
    Activation,
    Layer,
    Socket,
    Visit,
    averaged,
    conv3x3,
    hidden_layer,
    initialise,
    stage_of,
    through,
)


@dataclass(frozen=True, kw_only=True)
class VGG:
    """A plain topology.

    Attributes:
        widths: Channels of each convolution, stage by stage.
        side: The last maps are averaged down to ``side x side`` before they are flattened.
        hidden: Width of a layer of neurons before the classifier; None for no such layer.
    """

    widths: tuple[tuple[int, ...], ...]
    side: int = 1
    hidden: int | None = None

    def build(self, activation: Activation, /, *, input: Image, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot.

        Raises:
            SpecError: If images are too small for the poolings.
        """
        smallest = self.side * 2 ** len(self.widths)
        height, width = input.shape[1:]
        if min(height, width) < smallest:
            raise SpecError(
                f"this VGG halves the image {len(self.widths)} times and needs at least "
                f"{smallest} pixels a side, got {height} x {width}"
            )
        return _VggNetwork(self, activation, classes=output.classes, shape=input.shape)


class _Layer(nn.Module):
    """What ``through`` is given one by one, so that a layer's input goes before its neurons."""

    def __init__(self, activation: Activation, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv3x3(inputs, outputs)
        self.bn = nn.BatchNorm2d(outputs)
        self.activation = activation()


class _VggNetwork(nn.Module):
    """A realisation of a plain topology."""

    def __init__(
        self, topology: VGG, activation: Activation, *, classes: int, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.topology = topology
        inputs = shape[0]
        for stage, widths in enumerate(topology.widths, start=1):
            layers = []
            for outputs in widths:
                layers.append(_Layer(activation, inputs, outputs))
                inputs = outputs
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.pool = nn.MaxPool2d(2)
        features = inputs * topology.side**2
        self.hidden = None
        if topology.hidden is not None:
            self.hidden = hidden_layer(features, topology.hidden)
            self.activation_hidden = activation()
            features = topology.hidden
        self.fc = nn.Linear(features, classes)
        self.socket = _socket(topology, shape, features)
        self.tap_channels = self.socket.channels
        initialise(self)

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        visit = self.socket.visit(timesteps, taps)
        layers = self._onwards(visit, after=0)
        logits = through(self.socket.signal(stimulus, timesteps), *layers)
        return Output(logits=logits, taps=visit.taken)

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits that follow from ``signal`` in the place of the tap ``name``."""
        if name == "penultimate":
            return through(signal, self.fc)
        after = stage_of(name, stages=len(self.topology.widths))
        visit = self.socket.visit(signal.shape[0], ())
        return through(signal, self.pool, *self._onwards(visit, after=after))

    def _onwards(self, visit: Visit, *, after: int) -> Iterator[Layer]:
        """Yield all layers behind the pooling of stage ``after``; 0 is the stimulus."""
        for stage, widths in enumerate(self.topology.widths[after:], start=after + 1):
            for index, layer in enumerate(self.get_submodule(f"layer{stage}").children()):
                makes = ["stem"] if stage == 1 and index == 0 else []
                makes += [f"stage{stage}"] if index == len(widths) - 1 else []
                yield layer.get_submodule("conv")
                yield layer.get_submodule("bn")
                yield visit.firing(layer.get_submodule("activation"), *makes)
                yield visit.keeping(*makes)
            yield self.pool
        yield partial(averaged, side=self.topology.side)
        if self.hidden is not None:
            yield self.hidden
            yield visit.firing(self.activation_hidden, "penultimate")
        yield visit.keeping("penultimate")
        yield self.fc


def _socket(topology: VGG, shape: tuple[int, int, int], features: int) -> Socket:
    stages = {f"stage{stage}": widths[-1] for stage, widths in enumerate(topology.widths, start=1)}
    hidden = set() if topology.hidden is None else {"penultimate"}
    return Socket(
        shape=shape,
        channels={"stem": topology.widths[0][0], **stages, "penultimate": features},
        membranes=frozenset({"stem", *stages, *hidden}),
    )
