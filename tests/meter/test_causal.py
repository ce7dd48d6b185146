"""Causal convolution and masked attention of spikes, counted by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from suites.models._spiking_oad import ByFrame, SpikingOad, hidden
from tests.meter.neurons import PlainNeuron


class Causal(nn.Module):
    """Three taps, two frames apart, over one channel; zeros before the first frame, or frames."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3, dilation=2, bias=False)

    def forward(self, frames: Tensor, earlier: Tensor | None = None) -> Tensor:
        padded = pad(frames, (4, 0)) if earlier is None else torch.cat([earlier, frames], dim=2)
        answer: Tensor = self.conv(padded)
        return answer


@pytest.mark.parametrize(("frame", "reached"), [(0, 3), (1, 3), (2, 2), (3, 2), (4, 1), (5, 1)])
def test_a_spike_reaches_its_own_frame_and_those_two_and_four_later(
    frame: int, reached: int
) -> None:
    spikes = torch.zeros(1, 1, 6)
    spikes[0, 0, frame] = 1
    measured = measure(Causal(), spikes)
    layer = measured.layers["conv"]
    assert layer.operand == "binary"
    assert layer.total.ac == reached * 2  # output channels
    # All frames: 3 + 3 + 2 + 2 + 1 + 1 taps, and 3 for each of 6 if the zeros count.
    assert layer.total.dense_valid == 12 * 2
    assert layer.total.dense_padded == 18 * 2


def test_a_chunk_pays_for_the_taps_on_its_own_outputs_alone() -> None:
    # Outputs at frames 4 and 5 of six read 0, 2, 4 and 1, 3, 5: each frame is read once.
    spikes = torch.ones(1, 1, 6)
    earlier, chunk = spikes[:, :, :4], spikes[:, :, 4:]
    network = Causal()
    measured = measure(network, chunk, call=lambda frames: network(frames, earlier))
    assert measured.total.ac == 6 * 2
    assert measured.total.dense_valid == 6 * 2


# Queries and keys of three frames in two dimensions, values in one; all are spikes.
QUERY = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
KEY = torch.tensor([[1.0, 1], [1, 0], [0, 1]])
VALUE = torch.tensor([[1.0], [0], [1]])
CAUSAL = SpikingOad(width=2, near=3, far=0, work=1)


class Attention(nn.Module):
    """``((Q K^T) o M) V``; the stimulus is ``Q``, ``K`` and ``V`` side by side."""

    def __init__(self, unseen: Tensor | None) -> None:
        super().__init__()
        self.unseen: Tensor | None
        self.register_buffer("unseen", unseen)

    def forward(self, signals: Tensor) -> Tensor:
        query, key, value = torch.split(signals, [2, 2, 1], dim=2)
        met = query @ key.mT
        if self.unseen is not None:
            met = met.masked_fill(self.unseen, 0)
        answer: Tensor = met @ value
        return answer


@pytest.mark.parametrize(
    ("unseen", "mixed"),
    [
        # Scores [[1,1,0],[2,1,1],[1,0,1]]. With them all, the first value meets three that are
        # not zero and the third two.
        (None, 3 + 2),
        # Of [[1,0,0],[2,1,0],[1,0,1]] the third value meets one.
        (hidden(CAUSAL, 3, 3, 0), 3 + 1),
    ],
)
def test_what_is_masked_is_not_mixed(unseen: Tensor | None, mixed: int) -> None:
    signals = torch.cat([QUERY, KEY, VALUE], dim=1)[None]
    measured = measure(Attention(unseen), signals)
    first, second = (layer.total for layer in measured.layers.values() if layer.kind == "product")
    # Two queries meet two keys in either dimension; which of them are masked is seen later.
    assert (first.and_ac, first.ac, first.mac) == (2 * 2 + 2 * 2, 0, 0)
    assert first.gated == 4 * 3  # spikes of queries, each opens a row of three
    assert (second.and_ac, second.ac, second.mac) == (0, mixed, 0)
    assert measured.total.mac == 0


def test_the_mask_itself_costs_nothing() -> None:
    signals = torch.cat([QUERY, KEY, VALUE], dim=1)[None]
    plain, masked = (
        measure(Attention(unseen), signals).total for unseen in (None, hidden(CAUSAL, 3, 3, 0))
    )
    assert (masked.compare, masked.residual_add, masked.function) == (
        plain.compare,
        plain.residual_add,
        plain.function,
    )


def test_neurons_whose_steps_are_frames_are_charged_a_step_a_frame() -> None:
    # 5 frames of 3 channels: 15 charges of two additions and a product, whatever the steps are.
    neuron = ByFrame(PlainNeuron(NeuronSpec()))
    measured = measure(neuron, torch.ones(2, 5, 3), call=lambda frames: neuron(frames[None]))
    total = measured.total
    assert (total.neuron_add, total.neuron_mul) == (2 * 15 * 2, 2 * 15)
