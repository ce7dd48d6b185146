"""What a student brings along before its first step, on networks whose answer is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.engine import grid
from harness.engine.probing import probe_cell
from harness.evaluation.probe import Shown, probe
from harness.neurons.spiking import SpikingNeuron
from harness.results import Published
from harness.store import Store
from tests.methods.small import STATIC, student

SAMPLES = 60


class Fixed(SpikingNeuron):
    """Fires in every fourth place."""

    def forward(self, current: Tensor, _record: list[Tensor] | None = None) -> Tensor:
        return (torch.arange(current.numel()) % 4 == 0).to(current).view(current.shape)


class Network(nn.Module):
    """Shows the stimulus' mean to the classifier, or nothing."""

    def __init__(self, *, blind: bool) -> None:
        super().__init__()
        self.fc, self.neuron, self.blind = nn.Linear(1, 2), Fixed(student().spec), blind

    def forward(self, stimulus: Tensor, timesteps: int = 1, _taps: object = ()) -> Output:
        seen = stimulus.mean((1, 2, 3), keepdim=True).flatten(1)
        last = (0 * seen if self.blind else seen).expand(timesteps, -1, -1)
        self.neuron(stimulus)
        return Output(logits=self.fc(last), taps=dict.fromkeys(("penultimate",), last))


def _shown(seed: int) -> list[Shown]:
    """Return two batches whose brightness tells the class, 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(2):
        labels = torch.randint(2, (SAMPLES,), generator=generator)
        noise = torch.rand(SAMPLES, 1, 4, 4, generator=generator)
        batches.append((noise + 3 * labels.view(-1, 1, 1, 1), labels))
    return batches


def _probed(*, blind: bool):  # type: ignore[no-untyped-def]  # noqa: ANN202
    torch.manual_seed(0)
    learner = replace(student(timesteps=2), network=Network(blind=blind))
    return probe(learner, _shown(0), _shown(1))


def test_features_that_tell_the_class_are_found_and_blind_ones_are_at_chance() -> None:
    sees, blind = _probed(blind=False), _probed(blind=True)
    assert sees.linear_accuracy == 1.0
    assert not sees.at_chance
    assert blind.linear_accuracy <= blind.chance
    assert blind.at_chance
    labels = torch.cat([labels for _, labels in _shown(1)])
    assert sees.chance == max(labels.float().mean(), 1 - labels.float().mean())


def test_gradients_of_batches_alike_point_the_same_way_and_neurons_tell_their_rate() -> None:
    found = _probed(blind=False)
    assert found.gradient_cosine["fc.weight"] > 0.9
    assert found.firing_rate == {"neuron": 0.25}
    assert _probed(blind=True).gradient_cosine == {}  # nothing came through to any weight


@pytest.mark.parametrize("kind", ["convnet", "resnet"])
def test_a_student_is_left_as_it_was(kind: str) -> None:
    learner = student(kind)  # type: ignore[arg-type]  # one of the kinds
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    images = torch.rand(16, *STATIC)
    probe(learner, [(images, torch.arange(16) % 3)] * 2, [(images, torch.arange(16) % 3)])
    after = learner.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.grad is None for weight in learner.parameters())
    assert not any(module._forward_hooks for module in learner.network.modules())


@pytest.mark.parametrize(("suite", "gives"), [("tracking_quick", "boxes"), ("oad_quick", "frames")])
def test_what_decides_no_classes_is_refused(suite: str, gives: str) -> None:
    asked = grid.cells(suite, grid.Axes(), Store(Path("nothing")), Published())[0]
    with pytest.raises(UnsupportedError, match=f"has no classes to tell apart: .* gives {gives}"):
        probe_cell(asked, None)
