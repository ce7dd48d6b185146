"""Self-distillation in time and space: hand-worked losses, causality, and its extra."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from suites.methods import tssd
from suites.methods.tssd import Tssd, early_stage
from tests.methods.small import EVENTS, SAMPLES, Kind, lesson, student

# Logits (0, x) give odds 1 : e^x. Own steps: the first of two, x = 0; all: x = ln 3 on average.
LOGITS = torch.tensor([[[0.0, 0.0]], [[0.0, 2 * math.log(3)]]])  # [2 T = 2, N = 1, K = 2]
WEAK = torch.tensor([[[0.0, -math.log(3)]]])  # [T = 1, N, K]
LABEL = torch.tensor([0])
FROM_LONGER = 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)  # KL((1/4, 3/4) || (1/2, 1/2))
INTO_WEAK = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)  # KL((1/2, 1/2) || (3/4, 1/4))
INTO_SECOND = 0.1 * math.log(0.4) + 0.9 * math.log(1.2)  # KL((1/10, 9/10) || (1/4, 3/4))


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (3.0, 0.0), (0.0, 3.0), (2.0, 5.0)])
def test_the_three_terms_are_weighed_and_added(alpha: float, beta: float) -> None:
    found = Tssd(temperature=1.0, alpha=alpha, beta=beta).loss(LOGITS, WEAK, LABEL)
    # The labels are asked of the own steps alone, which find both classes equally likely.
    assert found.item() == pytest.approx(
        math.log(2) + alpha * FROM_LONGER + beta * INTO_WEAK, rel=1e-6
    )


@pytest.mark.parametrize(
    ("method", "into"),
    [(Tssd(), (INTO_WEAK + INTO_SECOND) / 2), (Tssd(by_step=False), FROM_LONGER)],
)
def test_the_weak_classifier_is_guided_step_by_step_or_on_average(
    method: Tssd, into: float
) -> None:
    # Of two own steps the network says 1 : 1 and 1 : 9, on average 1 : 3; the weak classifier
    # 3 : 1 and 1 : 3, on average 1 : 1.
    weak = torch.tensor([[[0.0, -math.log(3)]], [[0.0, math.log(3)]]])
    found = replace(method, temperature=1.0, beta=5.0).loss(LOGITS, weak, LABEL)
    assert found.item() == pytest.approx(math.log(4) + 5 * into, rel=1e-6)


def test_temperature_softens_and_its_square_restores_the_gradient() -> None:
    # By default alpha and beta are 1 and the temperature 2: nobody has published any of them.
    found = Tssd().loss(2 * LOGITS, 2 * WEAK, LABEL)
    assert found.item() == pytest.approx(math.log(2) + 4 * (FROM_LONGER + INTO_WEAK), rel=1e-6)


def test_a_target_gets_no_gradient() -> None:
    logits, weak = LOGITS.clone().requires_grad_(), WEAK.clone().requires_grad_()
    loss = Tssd(temperature=1.0, alpha=1.0, beta=1.0).loss(logits, weak, LABEL)
    ours, theirs = torch.autograd.grad(loss, (logits, weak))
    # With targets held, cross-entropy gives own - label and a divergence taught - target.
    own, longer = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    label, early = torch.tensor([1.0, 0.0]), torch.tensor([0.75, 0.25])
    assert torch.allclose(ours[0, 0], (own - label) + (own - longer), atol=1e-6)
    assert torch.equal(ours[1], torch.zeros(1, 2))  # the step beyond its own is only listened to
    assert torch.allclose(theirs[0, 0], early - own, atol=1e-6)


@pytest.mark.parametrize("kind", ["convnet", "vgg", "resnet"])
def test_what_is_said_first_does_not_depend_on_how_long_it_goes_on(kind: Kind) -> None:
    learner = student(kind)
    stimulus = 10 * next(iter(lesson(None))).stimulus  # strong enough to reach the last neurons
    learner.network.eval()
    with torch.no_grad():
        short, long = learner.network(stimulus, 2).logits, learner.network(stimulus, 5).logits
    assert torch.equal(long[:2], short)
    assert not torch.equal(long[2], short[1])  # it does go on


def test_a_simulation_as_long_as_the_students_has_nothing_to_teach_it() -> None:
    def trained(alpha: float, stretch: int) -> torch.Tensor:
        torch.manual_seed(0)
        learner = student()
        list(Tssd(alpha=alpha, stretch=stretch).fit(learner, lesson(None)))
        return learner.network.get_parameter("fc.weight")

    # Its divergence is 0 in exact arithmetic; in float32 the gradient is rounding.
    assert torch.allclose(trained(0.0, stretch=1), trained(5.0, stretch=1), atol=1e-5)
    assert not torch.allclose(trained(0.0, stretch=2), trained(5.0, stretch=2), atol=1e-5)


def test_the_students_own_length_is_as_before() -> None:
    learner = student(timesteps=2)
    list(Tssd().fit(learner, lesson(None)))
    assert learner.timesteps == 2


def test_a_train_of_frames_cannot_be_simulated_longer() -> None:
    course = lesson(None, timesteps=2, shape=EVENTS)
    with pytest.raises(UnsupportedError, match=r"takes 4 steps.*train of 2"):
        list(Tssd().fit(student(timesteps=2, shape=EVENTS), course))


def test_the_weak_classifier_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    before: list[torch.Tensor] = []
    original = tssd.WeakClassifier

    def kept(channels: int, classes: int) -> nn.Module:
        made.append(original(channels, classes))
        before.extend(weight.detach().clone() for weight in made[0].parameters())
        return made[0]

    monkeypatch.setattr(tssd, "WeakClassifier", kept)
    list(Tssd().fit(student("resnet"), lesson(None, steps=1)))
    after = list(made[0].parameters())
    assert len(after) == 2
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_weak_classifier_reads_averages() -> None:
    weak = tssd.WeakClassifier(1, 1)
    maps = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert torch.allclose(weak(maps), 0.25 * weak.weight + weak.bias)


def test_the_weak_classifier_reads_its_own_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, rate: torch.Tensor) -> torch.Tensor:
            seen.append(rate.detach())
            return self.scale * torch.zeros(len(rate), 3)

    monkeypatch.setattr(tssd, "WeakClassifier", lambda *_: Reading())
    list(Tssd(stretch=4).fit(student(timesteps=2), lesson(None, steps=1)))
    # Spikes of two steps, one after another, of the eight that were simulated.
    assert len(seen[0]) == 2 * SAMPLES
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}


def test_by_default_the_longer_simulation_is_twice_as_long() -> None:
    with pytest.raises(UnsupportedError, match=r"takes 6 steps"):
        list(
            Tssd().fit(student(timesteps=3, shape=EVENTS), lesson(None, timesteps=3, shape=EVENTS))
        )


@pytest.mark.parametrize(
    ("kind", "stage"), [("convnet", "stem"), ("vgg", "stage1"), ("resnet", "stage1")]
)
def test_the_early_stage_is_the_one_before_the_last(kind: Kind, stage: str) -> None:
    learner = student(kind)
    assert early_stage(learner) == stage
    assert learner.classes == 3


def test_a_network_without_an_early_stage_is_refused() -> None:
    learner = student()
    learner.network.tap_channels = {"stem": 4, "penultimate": 4}  # type: ignore[assignment]  # nn.Module types every attribute as Tensor or Module
    with pytest.raises(UnsupportedError, match="needs a tap of spikes before the last stage"):
        Tssd().fit(learner, lesson(None))
