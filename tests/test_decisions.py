"""Decisions over time: numbers derived by hand, laws, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.contracts.errors import SpecError
from harness.evaluation.decisions import (
    UNDECIDED,
    DecisionPolicy,
    decide,
    first_spikes,
    output_spikes,
    over_time,
)
from harness.meter import measure
from harness.statistics import wilson_interval
from tests.decided import Looped, cases, images, random_case

torch.set_num_threads(1)

UNDECIDED_TIES = DecisionPolicy(ties="undecided")

# Case 9. Four samples, three steps, two classes. Spikes of two output neurons, one a
# class, are the logits, so silence is a tie as well.
#   sample 0, label 0: class 0 fires at steps 1, 2              sums (1,0) (2,0) (2,0)
#   sample 1, label 1: class 0 at 1, class 1 at 2 and 3         sums (1,0) (1,1) (1,2)
#   sample 2, label 0: class 0 at 2, class 1 at 3               sums (0,0) (1,0) (1,1)
#   sample 3, label 1: class 0 at 3                             sums (0,0) (0,0) (1,0)
CASE_9 = np.array(
    [
        [[1, 0], [1, 0], [0, 0], [0, 0]],
        [[1, 0], [0, 1], [1, 0], [0, 0]],
        [[0, 0], [0, 1], [0, 1], [1, 0]],
    ],
    dtype=np.float64,
)
CASE_9_LABELS = np.array([0, 1, 0, 1])
CASE_9_SPIKES = CASE_9.sum(axis=2).T  # [N, T]


# Decisions


def test_case_9_ends_at_075_with_the_first_class_and_at_050_with_ties_undecided() -> None:
    # After step 3 samples 0 and 1 are right, sample 3 is wrong, and sample 2 is tied
    # between 0, its label, and 1.
    first_class, undecided = decide(CASE_9), decide(CASE_9, policy=UNDECIDED_TIES)
    assert first_class[-1].tolist() == [0, 1, 0, 0]
    assert undecided[-1].tolist() == [0, 1, UNDECIDED, 0]
    assert over_time(first_class, CASE_9_LABELS).accuracy[-1].value == 0.75
    assert over_time(undecided, CASE_9_LABELS).accuracy[-1].value == 0.50


def test_case_9_over_time_under_each_policy() -> None:
    # Ties undecided: step 1 decides 0, 1; step 2 decides 0, 2; step 3 all but 2.
    ties = decide(CASE_9, policy=UNDECIDED_TIES)
    assert ties.tolist() == [[0, 0, -1, -1], [0, -1, 0, -1], [0, 1, -1, 0]]
    # Silence undecided: sample 2 fires first at step 2, sample 3 at step 3; the tie of
    # sample 1 at step 2 is no silence and goes to the first class.
    silence = decide(CASE_9, policy=DecisionPolicy(silence="undecided"), spikes=CASE_9_SPIKES)
    assert silence.tolist() == [[0, 0, -1, -1], [0, 0, 0, -1], [0, 1, 0, 0]]


def test_a_silent_network_answers_with_its_biases_only_if_the_read_out_counts() -> None:
    biases = np.tile(np.array([0.1, 0.3]), (2, 1, 1))  # [T, N, K], no tie
    spikes = np.zeros((1, 2))
    assert decide(biases).tolist() == [[1], [1]]
    undecided = decide(biases, policy=DecisionPolicy(silence="undecided"), spikes=spikes)
    assert undecided.tolist() == [[UNDECIDED], [UNDECIDED]]


def test_decisions_follow_the_mean_and_not_the_last_step() -> None:
    logits = np.array([[[3.0, 0.0]], [[0.0, 1.0]]])
    assert decide(logits).tolist() == [[0], [0]]


def test_float32_ties_are_ties_of_the_numbers() -> None:
    # 2^24 + 1 rounds to 2^24 in float32, where class 0 would then tie with class 1.
    logits = np.array([[[2.0**24, 2.0**24]], [[0.0, 1.0]]], dtype=np.float32)
    assert decide(logits, policy=UNDECIDED_TIES)[-1].tolist() == [1]


# Over time

# Four steps, four samples, all of label 1.
PREDICTIONS = np.array(
    [
        [1, 0, 1, 0],
        [1, 0, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 0],
    ]
)
ONES = np.ones(4, dtype=np.int64)


def test_settling_and_cutoff_by_hand() -> None:
    found = over_time(PREDICTIONS, ONES)
    # Sample 3 settles at once, on the wrong class: its cutoff is T.
    assert found.settling_steps.tolist() == [1, 3, 3, 1]
    assert found.cutoff_steps.tolist() == [1, 3, 3, 4]
    assert found.mean_settling_steps == 2.0
    assert found.mean_cutoff_steps == 2.75


def test_a_sample_that_turns_wrong_at_the_end_has_cutoff_t() -> None:
    found = over_time(np.array([[1], [1], [0]]), np.array([1]))
    assert found.cutoff_steps.tolist() == found.settling_steps.tolist() == [3]


def test_a_sample_that_ends_undecided_has_not_settled() -> None:
    found = over_time(np.full((3, 1), UNDECIDED), np.array([0]))
    assert found.settling_steps.tolist() == found.cutoff_steps.tolist() == [3]
    assert found.accuracy[-1].correct == 0


def test_accuracy_by_step_area_and_intervals_by_hand() -> None:
    found = over_time(PREDICTIONS, ONES)
    assert [step.correct for step in found.accuracy] == [2, 1, 3, 3]
    assert found.area == (2 + 1 + 3 + 3) / 16
    assert found.accuracy[2].interval == wilson_interval(3, 4)


@settings(deadline=None, max_examples=50)
@given(case=cases)
def test_laws_of_time(case: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    logits, labels = case
    predictions = decide(logits)
    found, steps = over_time(predictions, labels), len(logits)
    assert min(step.value for step in found.accuracy) <= found.area + 1e-12
    assert found.area <= max(step.value for step in found.accuracy) + 1e-12
    assert np.all((found.settling_steps >= 1) & (found.settling_steps <= steps))
    right = predictions[-1] == labels
    # Who ends right settles when the decision becomes right for good; who ends wrong is at T.
    assert np.array_equal(found.cutoff_steps[right], found.settling_steps[right])
    assert np.all(found.cutoff_steps[~right] == steps)
    for sample, settled in enumerate(found.settling_steps):
        assert np.all(predictions[settled - 1 :, sample] == predictions[-1, sample])
        assert settled == 1 or predictions[settled - 2, sample] != predictions[-1, sample]
    if steps == 1:
        assert found.area == found.accuracy[0].value
        assert found.mean_settling_steps == found.mean_cutoff_steps == 1.0


@settings(deadline=None, max_examples=60)
@given(case=cases)
def test_undecided_is_never_right_and_policies_agree_without_ties_and_silence(
    case: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    logits, labels = case
    strict = DecisionPolicy(ties="undecided", silence="undecided")
    firing = np.ones((len(labels), len(logits)))
    # Normal numbers do not tie.
    assert np.array_equal(decide(logits), decide(logits, policy=strict, spikes=firing))
    coarse = logits.round()  # these do
    lenient, refused = decide(coarse), decide(coarse, policy=UNDECIDED_TIES)
    decided = refused != UNDECIDED
    assert np.array_equal(lenient[decided], refused[decided])
    assert np.all((lenient == labels).sum(axis=1) >= (refused == labels).sum(axis=1))


# First spikes


def test_first_spikes_count_the_silent_and_give_them_no_steps() -> None:
    first = first_spikes(CASE_9_SPIKES[:, :2])  # sample 3 fires at step 3 only
    assert first.spiking.tolist() == [True, True, True, False]
    assert first.steps.tolist() == [1, 1, 2]
    assert first.silent == 1
    assert first.mean_steps == pytest.approx(4 / 3, rel=1e-15)


def test_nobody_fires_gives_no_mean() -> None:
    first = first_spikes(np.zeros((3, 2)))
    assert first.silent == 3
    assert first.steps.tolist() == []
    assert first.mean_steps is None


def test_output_spikes_are_those_of_the_last_neurons() -> None:
    network = Looped()
    seen: list[Tensor] = []
    network.last.register_forward_hook(lambda _module, _given, made: seen.append(made))
    network(images())
    expected = seen[0].sum(dim=-1).T.numpy()  # [T, N, 8] -> [N, T]
    assert expected.any()
    assert np.array_equal(output_spikes(measure(network, images())), expected)


# What is refused

GOOD, _ = random_case(0, 3, 4, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: decide(np.zeros((0, 2, 3))), r"logits must be \[T, N, K\].*\(0, 2, 3\)"),
        (lambda: decide(np.zeros((2, 0, 3))), r"logits must be \[T, N, K\]"),
        (lambda: decide(np.zeros((2, 3))), "pass those of every step"),
        (lambda: decide(np.zeros((2, 3, 1))), "two classes"),
        (lambda: decide(np.zeros((2, 3, 2), dtype=bool)), "real numbers, got bool"),
        (lambda: decide(np.full((1, 1, 2), np.nan)), "2 of 2 logits are not finite.*diverged"),
        (lambda: decide(np.array([[[np.inf, 0.0]]])), "1 of 2 logits are not finite"),
        (lambda: DecisionPolicy(ties="last"), "ties must be first_class or undecided, got 'last'"),  # type: ignore[arg-type]  # what is refused
        (lambda: DecisionPolicy(silence="guess"), "silence must be read_out or undecided"),  # type: ignore[arg-type]  # what is refused
        (
            lambda: decide(GOOD, policy=DecisionPolicy(silence="undecided")),
            r"needs the spikes \[N, T\].*output_spikes",
        ),
        (
            lambda: decide(
                GOOD, policy=DecisionPolicy(silence="undecided"), spikes=np.ones((3, 4))
            ),
            r"spikes must be \[N, T\] = \[4, 3\], got shape \(3, 4\)",
        ),
        (lambda: over_time(np.zeros((0, 3), int), np.zeros(3, int)), "time goes first"),
        (lambda: over_time(np.zeros((2, 3), int), np.zeros(2, int)), r"\(2, 3\) and \(2,\)"),
        (lambda: over_time(np.zeros((2, 3)), np.zeros(3, int)), "predictions must be integer"),
        (lambda: over_time(np.zeros((2, 1), int), np.array([-1])), "kept for no decision"),
        (lambda: first_spikes(np.zeros((0, 3))), r"spikes must be \[N, T\]"),
        (lambda: first_spikes(-np.ones((1, 3))), "not negative"),
        (lambda: first_spikes(np.full((1, 3), np.nan)), "finite"),
        (
            lambda: output_spikes(measure(nn.Linear(6, 2), images())),
            "none of .* is a layer of neurons",
        ),
        (
            lambda: output_spikes(measure(Looped(), images()).summed()),
            "samples were summed; ask the ledger that measure returned",
        ),
    ],
)
def test_bad_input_is_refused_with_its_value_and_a_remedy(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        call()
