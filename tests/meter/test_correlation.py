"""Matching with a template, and what is computed once a sequence: counts derived by hand."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import CountingError
from harness.contracts.inputs import Classes, Pair
from harness.contracts.ledger import Ledger
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from harness.training.remembering import Remembered
from suites.models._siamese import correlate
from suites.models.siamfcpp import MODEL as PUBLISHED
from tests.meter.neurons import PlainNeuron

SEARCH = torch.tensor([[1.0, 0, 2], [0, 3, 0], [4, 0, 5]])
TEMPLATE = torch.tensor([[1.0, 0], [0, 2]])


class Matching(nn.Module):
    """Takes ``[N, 2, C, 3, 3]``: a template in the corner, and a search."""

    def forward(self, both: Tensor, timesteps: int = 1) -> Tensor:
        template, search = (
            each.unsqueeze(0).expand(timesteps, *each.shape) for each in (both[:, 0], both[:, 1])
        )
        return correlate(search, template[..., :2, :2])


def shown(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Return ``[N, 2, 1, 3, 3]``."""
    return torch.stack(
        [
            torch.stack([nn.functional.pad(template, (0, 1, 0, 1)), search])[:, None]
            for template, search in pairs
        ]
    )


def test_pairs_that_meet_and_are_not_zero_are_products() -> None:
    measured = measure(Matching(), shown((TEMPLATE, SEARCH)))
    counts = measured.layers["model"].total
    # y(0,0) and y(1,1) have two products each; y(0,1) and y(1,0) meet zeros alone.
    assert (counts.mac, counts.ac, counts.and_ac) == (4, 0, 0)
    # Corners reach one place of the kernel each, the middle all four.
    assert (counts.inputs_nonzero, counts.gated) == (5, 4 * 1 + 4)
    assert counts.dense_valid == counts.dense_padded == 4 * 4


def test_two_binary_signals_meet_for_an_and() -> None:
    counts = measure(Matching(), shown((TEMPLATE.sign(), SEARCH.sign()))).total
    assert (counts.mac, counts.and_ac) == (0, 4)
    # Spikes in one of them alone choose what is accumulated.
    assert measure(Matching(), shown((TEMPLATE, SEARCH.sign()))).total.ac == 4


def test_samples_steps_and_channels_are_told_apart() -> None:
    silent = torch.zeros(3, 3)
    both = shown((TEMPLATE, SEARCH), (TEMPLATE, silent))
    measured = measure(Matching(), both, call=lambda x: Matching()(x, 3))
    counts = measured.per_sample()
    assert counts["mac"].tolist() == [4 * 3, 0]
    assert counts["dense_valid"].tolist() == [16 * 3] * 2
    # Two channels, of which the second meets nothing.
    wide = torch.cat([both[:1], both[1:]], dim=2)
    assert measure(Matching(), wide).total.mac == 4


def test_a_kernel_that_mixes_channels_is_still_refused() -> None:
    def mixing(both: Tensor) -> Tensor:
        return nn.functional.conv2d(both[:, 1], both[:, 0, :, :2, :2])

    two = shown((TEMPLATE, SEARCH)).expand(1, 2, 2, 3, 3)
    with pytest.raises(CountingError, match="kernel is an activation"):
        measure(Matching(), two, call=mixing)


class Tracker(nn.Module):
    """A template through a layer and neurons, once a sequence, times what is searched."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Linear(3, 5)
        self.neuron = PlainNeuron(NeuronSpec(kind="if", reset="subtract"))
        self.remembered = Remembered()
        nn.init.ones_(self.seen.weight)
        nn.init.zeros_(self.seen.bias)

    def forward(self, both: Tensor, timesteps: int = 1) -> Tensor:
        """Take ``[N, 2, 3]``."""
        weights = [*self.seen.parameters()]
        (template,) = self.remembered(both[:, 0], timesteps, weights, self._work(timesteps))
        search = self._fired(both[:, 1], timesteps)
        return template * search

    def _work(self, timesteps: int) -> Callable[[Tensor], Sequence[Tensor]]:
        return lambda value: (self._fired(value, timesteps),)

    def _fired(self, value: Tensor, timesteps: int) -> Tensor:
        current = self.seen(value)
        fired: Tensor = self.neuron(current.unsqueeze(0).expand(timesteps, *current.shape))
        return fired


FIRST = torch.tensor([0.5, 0.5, 0.0])  # a current of 1 in each of 5 neurons
SECOND = torch.tensor([1.0, 0.0, 0.0])
NONE = torch.zeros(3)


def tracked(network: Tracker, timesteps: int) -> Ledger:
    """Meter four frames of two sequences."""
    frames = [(FIRST, FIRST), (FIRST, NONE), (SECOND, SECOND), (SECOND, SECOND)]
    stimuli = [torch.stack(pair)[None] for pair in frames]
    return measure(network, stimuli, call=lambda both: network(both, timesteps))


@pytest.mark.parametrize("timesteps", [1, 2, 3])
def test_a_template_is_counted_once_a_sequence_and_a_search_in_every_frame(timesteps: int) -> None:
    network = Tracker().eval()
    for _ in range(2):
        with torch.no_grad():  # what is remembered from before is in no count
            network(torch.stack([FIRST, FIRST])[None], timesteps)
        measured = tracked(network, timesteps)
        template, search = measured.layers["remembered.seen"], measured.layers["seen"]
        # Of FIRST two values, of SECOND one, x 5; the second frame of each needs no template.
        assert template.per_sample()["mac"].tolist() == [10, 0, 5, 0]
        assert template.per_sample()["dense_valid"].tolist() == [15, 0, 15, 0]
        assert template.per_sample()["bias_add"].tolist() == [5, 0, 5, 0]
        assert search.per_sample()["mac"].tolist() == [10, 0, 5, 5]
        # A current of 1 fires 5 neurons in every step.
        fired = measured.layers["remembered.neuron"].per_sample()["spikes"].tolist()
        assert fired == [5 * timesteps, 0, 5 * timesteps, 0]
        per_sample = measured.layers["neuron"].per_sample()["spikes"].tolist()
        assert per_sample == [5 * timesteps, 0, 5 * timesteps, 5 * timesteps]
        assert (measured.samples, measured.steps) == (4, timesteps)


def test_what_is_remembered_is_what_would_be_computed_anew() -> None:
    layer, remembered, calls = nn.Linear(3, 5), Remembered().eval(), []

    def work(value: Tensor) -> Sequence[Tensor]:
        calls.append(value)
        return (layer(value),)

    def asked(value: Tensor, key: int = 0) -> int:
        """Return how often there was work so far, if the answer is right."""
        with torch.no_grad():
            (found,) = remembered(value, key, [*layer.parameters()], work)
            assert torch.equal(found, layer(value))
        return len(calls)

    assert [asked(FIRST), asked(FIRST.clone()), asked(SECOND), asked(SECOND, 1)] == [1, 1, 2, 3]
    assert asked(SECOND, 1) == 3
    with torch.no_grad():
        layer.weight.mul_(0.25)  # in place
    assert asked(SECOND, 1) == 4
    layer.load_state_dict(nn.Linear(3, 5).state_dict())
    assert asked(SECOND, 1) == 5
    layer.weight.data = layer.weight.data * 0.25  # exchanged
    assert asked(SECOND, 1) == 6
    assert asked(SECOND.expand(2, 3), 1) == 7  # another shape
    remembered.forget()
    assert asked(SECOND.expand(2, 3), 1) == 8


def test_nothing_is_remembered_where_something_learns() -> None:
    network = Tracker()
    both = torch.stack([FIRST, SECOND])[None]
    for training, gradient in ((True, False), (False, True)):
        network.train(training)
        with torch.set_grad_enabled(gradient):
            network(both)
        assert network.remembered._last is None


def test_nothing_is_remembered_of_frozen_weights_which_are_a_teachers() -> None:
    network = Tracker().eval().requires_grad_(requires_grad=False)
    with torch.no_grad():
        network(torch.stack([FIRST, SECOND])[None])
    assert network.remembered._last is None


# Table of the published sizes: layer, millions of products of template and of search.
PRODUCTS = {
    "backbone.layers.0.0": (121, 753),
    "backbone.layers.1.0": (384, 2925),
    "backbone.layers.2.0": (88, 906),
    "backbone.layers.3.0": (85, 1194),
    "backbone.layers.4.0": (32, 694),
}


def test_the_published_network_has_the_published_products() -> None:
    pair = Pair(template=(3, 127, 127), search=(3, 303, 303))
    network = PUBLISHED.build(nn.ReLU, input=pair, output=Classes(1)).eval()
    found = measure(network, torch.zeros(1, 6, 303, 303), call=lambda x: network(x).logits).layers
    dense = {name: layer.total.dense_valid for name, layer in found.items()}
    for name, (template, search) in PRODUCTS.items():
        assert (round(dense[f"remembered.{name}"] / 1e6), round(dense[name] / 1e6)) == (
            template,
            search,
        )
    adjusted = [f"{branch}.of_{side}.0" for branch in ("classed", "placed") for side in ("search",)]
    assert round(sum(dense[name] for name in adjusted) / 1e6) == 797
    matched = [dense[f"{branch}.correlation"] for branch in ("classed", "placed")]
    # 256 channels x 23 x 23 places x 4 x 4.
    assert matched == [256 * 23 * 23 * 16] * 2
    head = sum(dense[name] for name in dense if ".convolutions." in name)
    assert round(head / 1e6) == 1287
