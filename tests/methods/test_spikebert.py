"""Two stages, by hand: which blocks pair, and what a distance is."""

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Tokens
from harness.training import Student, Teacher
from suites.methods.spikebert import METHOD, _Matcher, _pairs
from suites.models._bert import Bert
from suites.models._spikformer_text import SpikformerText
from tests.methods.small import lesson, student, teacher


def student_of(vocabulary: int, width: int) -> Student:
    def build(activation: type[nn.Module]) -> nn.Module:
        return SpikformerText(blocks=1, width=width, heads=1, hidden=4).build(
            activation, input=Tokens(vocabulary=vocabulary, length=3), output=Classes(2)
        )

    return Student(network=build(nn.ReLU), timesteps=1, twin=build)  # type: ignore[arg-type]  # the test asks for no twin


def bert() -> Teacher:
    made = Bert(blocks=2, width=4, heads=2, hidden=8)
    network = made.build(nn.ReLU, input=Tokens(vocabulary=5, length=3), output=Classes(2))
    return Teacher(network=network, mean=(), std=())


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(2, 6, [1, 4]), (6, 12, [1, 3, 5, 7, 9, 11]), (3, 3, [1, 2, 3]), (4, 2, [1, 1, 2, 2])],
)
def test_blocks_learn_from_equally_spaced_ones_the_first_from_the_first(
    ours: int, theirs: int, expected: list[int]
) -> None:
    taps = [{f"stage{n}": 4 for n in range(1, many + 1)} for many in (ours, theirs)]
    assert [of for _, of in _pairs(*taps)] == [f"stage{n}" for n in expected]


def test_a_distance_leaves_padding_out_and_is_divided_by_the_batch() -> None:
    torch.manual_seed(0)
    matcher = _Matcher(student_of(5, 4), bert(), {"stage1": "stage1"})
    nn.init.zeros_(matcher.transforms["stage1"][1].weight)  # type: ignore[index,arg-type]  # a Sequential
    nn.init.ones_(matcher.transforms["stage1"][1].bias)  # type: ignore[index,arg-type]  # all answers are 1
    feature = torch.zeros(2, 4, 3, 1)  # 2 sentences of 3 places, of which 2 and 1 hold a token
    feature[0, :, :2] = 3.0
    feature[1, :, 0] = 2.0
    # (3 - 1)^2 twice and (2 - 1)^2 once, over 3 tokens, and over 2 sentences once more.
    assert matcher.distance("stage1", torch.rand(2, 4, 3, 1), feature).item() == pytest.approx(1.5)


def test_tables_of_one_width_are_compared_as_they_are() -> None:
    learner, guide = student_of(5, 4), bert()
    matcher = _Matcher(learner, guide, {"stage1": "stage1"})
    with torch.no_grad():
        matcher.tables[0].copy_(matcher.tables[1] + 0.5)
    assert matcher.embeddings().item() == pytest.approx(0.25)
    assert isinstance(matcher.widen, nn.Identity)
    assert isinstance(_Matcher(student_of(5, 2), guide, {"stage1": "stage1"}).widen, nn.Linear)


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="other vocabularies: 7 and 5 tokens"):
        _Matcher(student_of(7, 4), bert(), {"stage1": "stage1"})


def test_the_first_stage_is_a_pass_of_its_own_that_the_account_tells() -> None:
    course = lesson(teacher(), steps=2)
    list(METHOD.fit(student("convnet", method=METHOD), course))
    drawn = course.account.samples
    assert drawn["general distillation"] == drawn[""] > 0
