"""SiamFC++ (Xu et al., AAAI 2020): one backbone for template and search, matched by channel.

Whatever its size, a network answers ``[T, N, P, 6]`` as ``harness.training.losses.boxes`` says:
at ``P`` points, eight pixels of the search apart, around its centre.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Pair
from harness.contracts.model import Output
from harness.training.losses.boxes import STRIDE_PX
from harness.training.remembering import Remembered
from suites.models._signal import Activation, Socket, Visit, initialise, through

_PRIOR = 0.01  # of a point to show the target, at the start (Lin et al., ICCV 2017, section 4.1)
TEMPLATE, SEARCH = "template", "search"


@dataclass(frozen=True, kw_only=True)
class SiamFCpp:
    """A stack of convolutions without padding, two of which a pooling follows.

    The neurons stand after all of them but the last, whose norm's current is matched. Matching
    and head have real values, and the head's own ReLUs are the same in every realisation. A
    spiking network is matched in every step, so that it answers in every one; the paper of the
    spiking student is silent about more steps than one, which it deploys.

    Attributes:
        widths: Channels of the convolutions.
        kernels: Their sides; the first has stride 2.
        head: Convolutions of 3x3 in each branch of the head.
    """

    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    head: int
    takes: ClassVar = Pair

    def build(self, activation: Activation, /, *, input: Pair, output: Classes) -> nn.Module:  # noqa: ARG002  boxes have no classes
        """Return the topology with ``activation()`` in every slot.

        Raises:
            SpecError: If the crops are too small for it.
        """
        return _SiamNetwork(self, activation, input)

    def side_after(self, side: int) -> int:
        """Return the side of the feature of a crop of ``side`` pixels."""
        for place, kernel in enumerate(self.kernels):
            side = (side - kernel) // (2 if place == 0 else 1) + 1
            if place < 2:
                side = math.ceil((side - 3) / 2) + 1
        return side


class _Backbone(nn.Module):
    """Convolution, norm and neurons, time after time."""

    def __init__(self, topology: SiamFCpp, activation: Activation, inputs: int) -> None:
        super().__init__()
        widths = (inputs, *topology.widths)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, kernel, stride=1 if place else 2, bias=False),
                nn.BatchNorm2d(after),
            )
            for place, (before, after, kernel) in enumerate(
                zip(widths, widths[1:], topology.kernels, strict=False)
            )
        )
        self.activations = nn.ModuleList(activation() for _ in topology.widths[1:])
        # Of spikes: binary stays binary.
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)

    def forward(
        self,
        images: Tensor,  # [N, C, H, W]
        visit: Visit,
    ) -> Tensor:
        """Return the last current, ``[T, N, C', h, w]``."""
        signal = images.unsqueeze(0)
        for place, (layer, neuron) in enumerate(zip(self.layers, self.activations, strict=False)):
            after: list[nn.Module] = [self.pool] if place < 2 else []
            signal = through(signal, layer, visit.firing(neuron), *after)
        return through(signal, self.layers[-1])


class _Branch(nn.Module):
    """Both sides' adjustment, matching, and the head's convolutions, for one kind of answer."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.of_template, self.of_search = (
            nn.Sequential(nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width))
            for _ in range(2)
        )
        # A norm on the last alone, as in the authors' code.
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, 3, bias=place + 1 < depth) for place in range(depth)
        )
        self.norm = nn.BatchNorm2d(width)

    def forward(
        self,
        template: Tensor,  # [T, N, C, h, w], adjusted
        search: Tensor,  # [T, N, C, H, W]
    ) -> Tensor:
        """Return what answers are read from, ``[T, N, C, M, M]``."""
        matched = correlate(through(search, self.of_search), template)
        for place, convolution in enumerate(self.convolutions):
            last = place + 1 == len(self.convolutions)
            matched = through(matched, convolution, *([self.norm] if last else []), relu)
        return matched


def correlate(
    search: Tensor,  # [T, N, C, H, W]
    template: Tensor,  # [T, N, C, h, w]
) -> Tensor:
    """Return each channel of ``search`` matched with the same of ``template``.

    ``y_c(i, j) = sum_kl x_c(i + k, j + l) z_c(k, l)``, ``[T, N, C, H - h + 1, W - w + 1]``.
    """
    steps, samples, channels = search.shape[:3]
    groups = steps * samples * channels
    kernels = template.reshape(groups, 1, *template.shape[3:])
    matched = conv2d(search.reshape(1, groups, *search.shape[3:]), kernels, groups=groups)
    return matched.view(steps, samples, channels, *matched.shape[2:])


class _SiamNetwork(nn.Module):
    """A realisation of the topology."""

    def __init__(self, topology: SiamFCpp, activation: Activation, pair: Pair) -> None:
        super().__init__()
        channels, side_px = pair.template[0], pair.template[-1]
        width = topology.widths[-1]
        self.pair = pair
        self.grid = (
            topology.side_after(pair.search[-1])
            - topology.side_after(side_px)
            + 1
            - 2 * topology.head
        )
        if topology.side_after(side_px) < 3 or self.grid < 1:
            raise SpecError(
                f"a template of {side_px} and a search of {pair.search[-1]} pixels are too small "
                f"for {len(topology.kernels)} convolutions without padding"
            )
        self.backbone = _Backbone(topology, activation, channels)
        self.classed, self.placed = (_Branch(width, topology.head) for _ in range(2))
        self.scores, self.offsets = (
            nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
            for outputs in (2, 4)
        )
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))
        self.remembered = Remembered()
        self.socket = Socket(
            shape=pair.search, channels={TEMPLATE: width, SEARCH: width}, membranes=frozenset()
        )
        self.tap_channels = self.socket.channels
        initialise(self)
        self.redraw()

    @torch.no_grad()
    def redraw(self) -> None:
        """Begin with the prior of few positive points, and offsets as they are."""
        prior = self.scores[1].bias
        assert isinstance(prior, nn.Parameter)
        prior[0] = math.log(_PRIOR / (1 - _PRIOR))
        self.scale.fill_(1)
        self.shift.fill_(0)

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        channels, height, width = self.pair.template
        if stimulus.dim() != 4 or tuple(stimulus.shape[1:]) != (
            2 * channels,
            *self.pair.search[1:],
        ):
            raise SpecError(
                f"the stimulus is {list(stimulus.shape)}; this network was built for "
                f"[N, {2 * channels}, {self.pair.search[1]}, {self.pair.search[2]}]: a template "
                "in the upper left corner and a search"
            )
        visit = self.socket.visit(timesteps, taps)
        shown = stimulus[:, :channels, :height, :width].contiguous()
        weights = [*self.backbone.parameters(), *self.backbone.buffers()]
        for branch in (self.classed, self.placed):
            weights += [*branch.of_template.parameters(), *branch.of_template.buffers()]
        feature, classed, placed = self.remembered(shown, timesteps, weights, self._seen(visit))
        visit.keep(TEMPLATE, feature)
        search = self.backbone(stimulus[:, channels:], visit)
        visit.keep(SEARCH, search)
        scores = through(self.classed(classed, search), self.scores)
        offsets = through(self.placed(placed, search), self.offsets)
        answer = torch.cat([scores, self.scale * offsets + self.shift], dim=2)  # [T, N, 6, M, M]
        return Output(logits=answer.flatten(3).transpose(2, 3), taps=visit.taken)

    def _seen(self, visit: Visit) -> Callable[[Tensor], Sequence[Tensor]]:
        """Return what makes of a template all that a search is matched with."""

        def seen(shown: Tensor) -> Sequence[Tensor]:
            feature = self.backbone(shown, visit)
            adjusted = (
                through(feature, branch.of_template) for branch in (self.classed, self.placed)
            )
            return (feature, *adjusted)

        return seen

    def tail(self, name: str, signal: Tensor, /) -> Tensor:  # noqa: ARG002  the contract's
        """Refuse: what follows a feature of the search depends on the template, too.

        Raises:
            SpecError: Always.
        """
        raise SpecError(f"no way on from {name!r}: a match needs template and search")


__all__ = ["SEARCH", "STRIDE_PX", "TEMPLATE", "SiamFCpp", "correlate"]
