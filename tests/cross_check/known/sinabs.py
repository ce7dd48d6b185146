"""Sinabs 3.1.3."""

import torch
from torch import Tensor, nn

from harness.meter import measure
from tests.cross_check import tools
from tests.cross_check.known import Known
from tests.cross_check.networks import generic, linear

SPIKES = torch.tensor([[1.0, 0.0, 1.0]])
TERNARY = torch.tensor([[1.0, 0.0, -1.0]])
ANALOG = torch.tensor([[0.5, 0.0, 2.0]])


def pooled() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 1, 1, bias=False)), torch.ones(1, 1, 6, 6)


def upsampling() -> tuple[nn.Module, Tensor]:
    layer = generic(nn.ConvTranspose2d(1, 4, 2, stride=2, bias=False))
    return nn.Sequential(layer), torch.ones(1, 1, 2, 2)


def in_time() -> tuple[nn.Module, Tensor]:
    layer = generic(nn.Conv1d(1, 5, 2, bias=False))
    return nn.Sequential(layer), SPIKES.unsqueeze(1)


def of_same_size() -> tuple[nn.Module, Tensor]:
    layer = generic(nn.Conv2d(1, 2, 3, padding="same", bias=False))
    return nn.Sequential(layer), torch.eye(4)[None, None]


def of_analyzer(network: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        return float(tools.analyzed(network, inputs).get_model_statistics()["synops"])


KNOWN = (
    Known(
        name="operations of ternary spikes [1, 0, -1], 5 outputs",
        truth=10,
        says=0,
        theirs=lambda: tools.sinabs(linear(), TERNARY).ac,
        ours=lambda: measure(linear(), TERNARY).total.ac,
        reason="adds values up, and these cancel",
    ),
    Known(
        name="operations of scaled spikes [.75, 0, .75], 5 outputs",
        truth=10,
        says=7.5,
        theirs=lambda: tools.sinabs(linear(), 0.75 * SPIKES).ac,
        ours=lambda: measure(linear(), 0.75 * SPIKES).total.ac,
        reason="adds values up",
    ),
    Known(
        name="operations of analog [.5, 0, 2], 5 outputs",
        truth=10,
        says=12.5,
        theirs=lambda: tools.sinabs(linear(), ANALOG).ac,
        ours=lambda: measure(linear(), ANALOG).total.mac,
        reason="adds values up",
    ),
    Known(
        name="operations of 36 averaged spikes, in SNNAnalyzer.get_model_statistics",
        truth=36,  # each in one average, which reaches one output
        says=9,
        theirs=lambda: of_analyzer(*pooled()),
        ours=lambda: measure(*pooled()).total.ac,
        reason="forgets the area of the pooling, which its layer statistics mind",
    ),
    Known(
        name="operations of ConvTranspose2d",
        truth=64,  # 4 pixels x 4 channels x 2 x 2 taps
        says=0,
        theirs=lambda: tools.sinabs(*upsampling()).ac,
        ours=lambda: measure(*upsampling()).total.ac,
        reason="knows Conv2d and Linear",
    ),
    Known(
        name="operations of Conv1d(1, 5, 2) on [1, 0, 1]",
        truth=10,  # a spike at either end reaches one position of 5 channels
        says=0,
        theirs=lambda: tools.sinabs(*in_time()).ac,
        ours=lambda: measure(*in_time()).total.ac,
        reason="knows Conv2d and Linear",
    ),
    Known(
        name="operations of a layer in a container in a container",
        truth=10,
        says=0,
        theirs=lambda: tools.sinabs(nn.Sequential(linear()), SPIKES).ac,
        ours=lambda: measure(nn.Sequential(linear()), SPIKES).total.ac,
        reason="hooks the children of the network only",
    ),
    # Fan-out of the diagonal of 4 x 4: 4 at the corners, 9 inside; 2 channels.
    Known(
        name="operations of Conv2d(1, 2, 3, padding='same') on eye(4)",
        truth=2 * (4 + 9 + 9 + 4),
        says=TypeError,
        theirs=lambda: tools.sinabs(*of_same_size()).ac,
        ours=lambda: measure(*of_same_size()).total.ac,
        reason="gives the word to a layer that needs a number",
    ),
)
