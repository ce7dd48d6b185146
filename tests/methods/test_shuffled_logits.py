"""A teacher whose answers are about other images: what is kept, and what is not."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
import torch

from harness import discovery
from harness.contracts.model import Output
from suites.methods.logit_kd import LogitKd
from suites.methods.shuffled_logits import METHOD, Shuffled, ShuffledLogits
from tests.methods.small import SAMPLES, lesson, student, teacher
from tests.methods.teaching_aids import Nobody


class _Told(Nobody):
    def __init__(self, logits: torch.Tensor) -> None:
        object.__setattr__(self, "told", logits)

    @property
    def logits(self) -> torch.Tensor:
        found: torch.Tensor = self.told  # type: ignore[attr-defined]  # set above
        return found


class _Counts(torch.nn.Module):
    """Answers the number of each sample."""

    def forward(self, stimulus: torch.Tensor, timesteps: int, taps: Sequence[str] = ()) -> Output:
        numbers = torch.arange(len(stimulus)).view(1, -1, 1).expand(timesteps, -1, 2)
        return Output(logits=numbers, taps=dict.fromkeys(taps, numbers))


def test_every_answer_is_given_once_about_some_sample_and_taps_stay() -> None:
    torch.manual_seed(0)
    found = Shuffled(_Counts())(torch.zeros(100, 1), 1, ["stage1"])
    assert sorted(found.logits[0, :, 0].tolist()) == list(range(100))
    assert found.logits[0, :, 0].tolist() != list(range(100))
    assert torch.equal(found.logits[..., 0], found.logits[..., 1])
    assert found.taps["stage1"][0, :, 0].tolist() == list(range(100))


def test_answers_are_shuffled_anew_at_every_step_by_the_methods_stream() -> None:
    def orders() -> list[torch.Tensor]:
        torch.manual_seed(7)
        network = Shuffled(_Counts())
        return [network(torch.zeros(100, 1), 1).logits for _ in range(2)]

    first, second = orders()
    assert not torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(orders(), (first, second), strict=True))


@pytest.mark.parametrize(
    "chosen", [{}, {"temperature": 2.0, "weight": 0.5}], ids=["default", "own"]
)
def test_it_is_logit_kd_from_the_shuffled_answers(chosen: dict[str, Any]) -> None:
    learner, course = student(), lesson(teacher())
    batch = next(iter(course))
    torch.manual_seed(3)
    order = torch.randperm(SAMPLES)
    answer = _Told(course.answer(batch).logits[order])
    expected = LogitKd(**chosen).loss(learner(batch.stimulus), answer, batch.labels).item()
    torch.manual_seed(3)
    told = next(iter(ShuffledLogits(**chosen).fit(learner, course))).loss
    assert told == pytest.approx(expected, rel=1e-6)


def test_its_parameters_are_those_of_logit_kd() -> None:
    assert asdict(METHOD) == asdict(LogitKd())  # type: ignore[call-overload]  # a dataclass


def test_it_is_a_control() -> None:
    card = discovery.method_card("shuffled_logits")
    assert card is not None
    assert card.control
