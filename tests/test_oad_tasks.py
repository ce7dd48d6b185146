"""What teaches and judges answers for frames, and the transport of their tokens, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from harness import discovery
from harness.contracts.errors import SpecError
from harness.training.losses.divergence import softened_kl
from harness.training.losses.frames import FrameLosses, known_entropy
from harness.training.losses.transport import squared_distances, transport_cost
from suites.datasets import epic100_oad, thumos14_oad, thumos14_simulated
from suites.datasets._events_splits import split
from suites.methods.ot_kd_oad import METHOD, OtKdOad
from suites.models._oad_transformer import OadTransformer
from suites.models._spiking_oad import SpikingOad
from suites.tasks import epic_anticipation
from suites.tasks.action_anticipation import ONE_SECOND, ActionAnticipation
from suites.tasks.online_action_detection import OnlineActionDetection, judged, shown

AHEAD = 2
LOSSES = FrameLosses(ahead=AHEAD)


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_frames_of_one_class_are_taught_by_cross_entropy() -> None:
    decided, target = logits(3, 5, 4), torch.randint(4, (3, 5), generator=torch.manual_seed(0))
    expected = cross_entropy(decided.flatten(0, 1), target.flatten())
    assert torch.allclose(known_entropy(decided, target[..., None]), expected, rtol=1e-14)


def test_frames_without_a_class_teach_nothing() -> None:
    decided = logits(1, 3, 4).requires_grad_()
    target = torch.tensor([[[2], [-1], [0]]])
    loss = known_entropy(decided, target)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert decided.grad is not None
    assert not decided.grad[0, 1].any()
    told = log_softmax(decided[0], dim=-1)
    assert loss.item() == pytest.approx(-(told[0, 2] + told[2, 0]).item() / 2)
    assert known_entropy(decided, torch.full((1, 3, 1), -1)).item() == 0


def test_a_frame_of_two_classes_is_taught_both() -> None:
    decided = logits(1, 1, 4)
    told = log_softmax(decided[0, 0], dim=-1)
    loss = known_entropy(decided, torch.tensor([[[1, 3]]]))
    assert loss.item() == pytest.approx(-(told[1] + told[3]).item())  # of one frame, a sum


@pytest.mark.parametrize("answered", [2 + AHEAD, 4 + AHEAD])
def test_a_network_that_answers_other_frames_than_are_labelled_is_refused(answered: int) -> None:
    target = torch.zeros(2, 3 + AHEAD, 1, dtype=torch.int64)
    words = f"answers {answered} frames of a window, and the data set labels {3 + AHEAD}; take"
    with pytest.raises(SpecError, match=words):
        LOSSES.supervised(logits(2, answered, 4), target)


def test_what_is_ahead_weighs_half_and_is_averaged_by_itself() -> None:
    decided = logits(2, 3 + AHEAD, 4)
    target = torch.randint(4, (2, 3 + AHEAD, 1), generator=torch.manual_seed(0))
    target[0, :2] = -1  # so that averages over all frames are others
    seen, ahead = (
        known_entropy(decided[:, part], target[:, part]) for part in (slice(3), slice(3, None))
    )
    assert LOSSES.supervised(decided, target).item() == pytest.approx((seen + ahead / 2).item())
    heavier = replace(LOSSES, ahead_weight=2.0).supervised(decided, target)
    assert heavier.item() == pytest.approx((seen + 2 * ahead).item())


def test_divergence_is_averaged_over_frames() -> None:
    ours, theirs = logits(2, 3, 4), logits(2, 3, 4).flip(0)
    by_frame = [
        softened_kl(ours[n, f][None], theirs[n, f][None], temperature=4.0)
        for n in range(2)
        for f in range(3)
    ]
    found = LOSSES.divergence(ours, theirs, temperature=4.0)
    assert found.item() == pytest.approx((sum(by_frame) / 6).item())
    assert LOSSES.divergence(ours, ours, temperature=4.0).item() == pytest.approx(0, abs=1e-12)


# Decisions and scores.

DETECTION = OnlineActionDetection(ahead=AHEAD)


def test_decisions_are_softmax_of_the_mean_so_far_of_the_newest_and_those_ahead() -> None:
    raw = logits(2, 1, 4 + AHEAD, 3).numpy()
    found = judged(raw, ahead=AHEAD)
    assert found.shape == (2, 1, 1 + AHEAD, 3)
    for step in range(2):
        mean = torch.from_numpy(raw[: step + 1, :, 3:].mean(0))  # frame 3 of 0 to 3 is the newest
        assert np.allclose(found[step], mean.softmax(-1).numpy(), rtol=1e-12)


def test_a_class_is_shown_by_its_number_and_none_by_minus_one() -> None:
    found = shown(np.array([[0, 2], [-1, -1], [1, -1]]), classes=3)
    assert found.tolist() == [[True, False, True], [False] * 3, [False, True, False]]


def told(newest: list[int], *, ahead: list[list[int]] | None = None) -> NDArray[np.int64]:
    """Return targets of windows of two frames, ``[N, 2 + AHEAD, 1]``."""
    rows = ahead or [[-1] * AHEAD] * len(newest)
    return np.array([[-1, each, *row] for each, row in zip(newest, rows, strict=True)])[..., None]


def test_the_score_is_of_the_newest_frame_without_background() -> None:
    # Class 1 in frames 0 and 2; scores order them first and third of four known frames.
    targets = told([1, 0, 1, 0, -1])
    probabilities = np.zeros((5, 1 + AHEAD, 2))
    probabilities[:, 0, 1] = [0.9, 0.8, 0.7, 0.1, 0.95]  # the last is ambiguous
    score = DETECTION.score(probabilities, targets, np.array([0, 0, 1, 1, 1]))
    assert score.value == pytest.approx((1 + 2 / 3) / 2)
    # Two negatives for two positives: calibrated is the same.
    assert score.further == {"mcAP": pytest.approx(score.value)}
    assert score.units == 2
    assert score.low <= score.value <= score.high


def test_anticipation_is_scored_by_how_long_before() -> None:
    targets = told([1, 0], ahead=[[0, 1], [1, 0]])
    probabilities = np.zeros((2, 1 + AHEAD, 2))
    probabilities[:, :, 1] = [[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]]
    score = DETECTION.score(probabilities, targets, None)
    # One frame ahead the action is called second, two ahead first.
    assert score.further == {
        "mcAP": 1,
        "mAP 0.25 s ahead": 1 / 2,
        "mAP 0.50 s ahead": 1,
        "anticipation mAP": 3 / 4,
    }
    assert score.units == 2


def test_networks_are_alike_where_the_newest_frames_class_is() -> None:
    ours = np.zeros((2, 1 + AHEAD, 3))
    theirs = ours.copy()
    ours[:, 0, 1], theirs[0, 0, 1], theirs[1, 0, 2] = 1, 1, 1
    theirs[:, 1, 2] = 5  # what is ahead does not count
    assert DETECTION.alike(ours, theirs).tolist() == [True, False]


def test_anticipation_is_judged_one_second_before_by_the_action_that_begins() -> None:
    task = ActionAnticipation()
    raw = np.zeros((1, 2, 3 + task.ahead, 7))
    raw[0, 0, 2 + ONE_SECOND, 6] = 5  # the first sample says 6, of the frame in a second
    decided = task.decide(raw)
    assert decided.shape == (1, 2, 7)
    targets = np.full((2, 3 + task.ahead, 1), -1)
    targets[:, 2 + ONE_SECOND] = 6
    score = task.score(decided[0], targets, np.array([3, 3]))
    # The second says nothing: of equal scores the first five classes stand first.
    assert (score.value, score.units) == (1 / 2, 1)
    assert task.alike(decided[0], decided[0, ::-1]).tolist() == [False, False]


# The method.


def test_tokens_of_one_frame_each_pay_for_the_time_between_them() -> None:
    method = OtKdOad(time_weight=2.0, rate_hz=4.0)
    ours, theirs = logits(3, 5, 6), logits(3, 5, 6).flip(0)
    seconds = torch.arange(5, dtype=torch.float64) / 4
    costs = squared_distances(ours, theirs) + 2 * (seconds[:, None] - seconds) ** 2
    expected = transport_cost(costs, smoothing=0.05, iterations=50).mean()
    assert torch.allclose(method.transport(ours, theirs), expected, rtol=1e-12)


def test_without_time_the_order_of_tokens_does_not_matter_and_with_it_it_does() -> None:
    # Tokens are far apart, so each goes to its own, wherever that stands.
    tokens = 30 * torch.eye(6, dtype=torch.float64).unsqueeze(0)
    turned = tokens.flip(1)
    free, timed = replace(METHOD, time_weight=0.0), replace(METHOD, time_weight=1.0)
    assert free.transport(tokens, turned).item() == pytest.approx(
        free.transport(tokens, tokens).item(), abs=1e-9
    )
    # Turned round, frame i goes to 5 - i: (5 - 2 i)^2 / 16 square seconds, on average 35/48.
    assert timed.transport(tokens, turned).item() == pytest.approx(35 / 48, abs=1e-6)
    assert timed.transport(tokens, tokens).item() == pytest.approx(0, abs=1e-6)


def test_memories_of_other_lengths_have_no_time_term() -> None:
    ours, theirs = logits(2, 5, 3), logits(2, 4, 3)
    free = replace(METHOD, time_weight=0.0)
    assert torch.equal(METHOD.transport(ours, theirs), free.transport(ours, theirs))


def test_transport_rises_over_the_first_fifth_of_the_steps() -> None:
    weights = [*replace(METHOD, transport_weight=1.0, ramp=0.2).transport_weights(20)]
    assert weights == [0.25, 0.5, 0.75, *[1.0] * 17]


# What belongs together.


@pytest.mark.parametrize(
    ("data", "student", "teacher"),
    [
        (thumos14_simulated, "spiking_oad", "oad_transformer"),
        (thumos14_simulated, "spiking_oad_frames", "oad_transformer"),
        (thumos14_oad, "spiking_oad_512", "oad_transformer_mat"),
        (epic100_oad, "spiking_oad_epic", "oad_transformer_epic"),
    ],
)
def test_networks_answer_for_the_frames_that_a_data_set_asks_about(
    data: object, student: str, teacher: str
) -> None:
    card, shape = data.CARD, data.SHAPE  # type: ignore[attr-defined]  # modules of one layout
    task = discovery.load("tasks", card.task)
    for name in (student, teacher):
        model = discovery.load("models", name)
        assert isinstance(model, SpikingOad | OadTransformer)
        assert (model.work, model.ahead) == (shape.work, task.ahead)
    student_model = discovery.load("models", student)
    if not student_model.frames_are_steps:
        # A window holds all that its answers depend on, so chunks answer as it does.
        assert student_model.reach + shape.work <= card.input.length
    teacher_model = discovery.load("models", teacher)
    before = card.input.length - shape.work
    assert before % (teacher_model.stride * teacher_model.groups) == 0


def test_epics_videos_for_test_are_the_published_ones() -> None:
    published = split("epic100_oad")["test"]
    assert len(published) == len(set(published)) == epic100_oad.TEST_VIDEOS
    assert published == sorted(published)


def test_the_reach_of_a_student_by_hand() -> None:
    # Three taps each, 1, 2 and 4 frames apart: 14 back; then 7 near and two of 8 beyond.
    assert SpikingOad(width=8, blocks=1, far=2, work=8).reach == 14 + 7 + 16
    assert SpikingOad(width=8, blocks=2, far=0, near=1, dilations=(1,), work=8).reach == 2
    assert math.isclose(thumos14_simulated.CARD.input.rate_hz, 4.0)  # type: ignore[union-attr]  # it is Features


def test_a_frame_task_needs_an_action_among_what_is_judged() -> None:
    with pytest.raises(SpecError, match="no frame of 2"):
        DETECTION.score(np.zeros((2, 1 + AHEAD, 3)), told([0, 0]), None)


# Verbs and nouns of EPIC.

# Twelve actions of six verbs and seven nouns.
VERB = np.arange(12) // 2
NOUN = np.array([0, 1, 2, 3, 4, 5, 6, 0, 2, 2, 3, 4])


def told_actions(*samples: dict[int, float]) -> NDArray[np.float64]:
    """Return probabilities ``[N, 12]``."""
    probabilities = np.zeros((len(samples), 12))
    for row, sample in enumerate(samples):
        probabilities[row, [*sample]] = [*sample.values()]
    return probabilities


def begins(*actions: int) -> NDArray[np.int64]:
    """Return targets of which one second ahead each of ``actions`` begins."""
    targets = np.full((len(actions), 3 + EPIC.ahead, 1), -1)
    targets[:, 2 + ONE_SECOND, 0] = actions
    return targets


EPIC = epic_anticipation.EpicAnticipation()


def test_verbs_and_nouns_have_the_sum_of_their_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"verb": (VERB, 6), "noun": (NOUN, 7)}
    monkeypatch.setattr(epic_anticipation, "parts_of_actions", lambda: listed)
    decisions = told_actions(
        # Action 11 is seventh; verb 5 has .1 + .05 and is first, noun 4 has .12 + .05, too.
        {0: 0.12, 2: 0.12, 4: 0.12, 6: 0.12, 8: 0.12, 10: 0.1, 11: 0.05},
        {11: 1.0},
        # Action 9 is seventh; verbs 0 to 3 are before its verb 4, and six nouns before its noun 2.
        {0: 0.2, 1: 0.2, 3: 0.2, 4: 0.1, 5: 0.1, 6: 0.1, 9: 0.06, 10: 0.04},
        # Nothing for verb 4 or noun 2, and five other verbs; of nouns without any the first is 1.
        {0: 0.2, 3: 0.2, 4: 0.2, 6: 0.2, 10: 0.2},
    )
    score = EPIC.score(decisions, begins(11, 11, 9, 9), None)
    assert score.value == (1 / 2 + 0) / 2
    assert score.further == {
        "verb recall@5": (2 / 2 + 1 / 2) / 2,
        "noun recall@5": (2 / 2 + 0 / 2) / 2,
    }
    plain = ActionAnticipation().score(decisions, begins(11, 11, 9, 9), None)
    assert score == replace(plain, further=score.further)


def test_epics_actions_are_distinct_verbs_with_nouns() -> None:
    (verb, verbs), (noun, nouns) = epic_anticipation.parts_of_actions().values()
    assert len(verb) == len(noun) == epic100_oad.ACTIONS
    assert len({*zip(verb.tolist(), noun.tolist(), strict=True)}) == epic100_oad.ACTIONS
    assert (verb.min(), verb.max()) == (0, verbs - 1)
    # Seven nouns are in no annotation of training or validation.
    assert 0 <= noun.min() <= noun.max() < nouns
    assert epic100_oad.CARD.task == "epic_anticipation"


def test_verbs_of_other_actions_are_refused() -> None:
    with pytest.raises(SpecError, match="about 12 actions, and EPIC-KITCHENS-100 has 3806"):
        EPIC.score(told_actions({11: 1.0}), begins(11), None)
