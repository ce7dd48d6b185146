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
from harness.evaluation.decisions import decide, first_spikes, over_time
from harness.meter import measure
from harness.statistics import wilson_interval
from tests.decided import Looped, cases, images
from tests.energy.ledgers import random_ledger

torch.set_num_threads(1)

# Case 9. Four samples, three steps, two classes.
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


# Decisions


def test_case_9_gives_ties_and_silence_to_the_first_class() -> None:
    # After step 3 samples 0 and 1 are right, sample 3 is wrong, and sample 2 is tied
    # between 0, its label, and 1.
    assert decide(CASE_9).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert over_time(decide(CASE_9), CASE_9_LABELS).accuracy[-1].value == 0.75
    # Of three that are equal the first, whatever the last step added.
    assert decide(np.array([[[0.0, 2.0, 2.0]], [[2.0, 0.0, 0.0]]])).tolist() == [[1], [0]]


def test_decisions_follow_the_mean_and_not_the_last_step() -> None:
    logits = np.array([[[3.0, 0.0]], [[0.0, 1.0]]])
    assert decide(logits).tolist() == [[0], [0]]


def test_float32_ties_are_ties_of_the_numbers() -> None:
    # 2^24 + 1 rounds to 2^24 in float32, where class 0 would then tie with class 1.
    logits = np.array([[[2.0**24, 2.0**24]], [[0.0, 1.0]]], dtype=np.float32)
    assert decide(logits)[-1].tolist() == [1]


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


# First spikes


def test_first_spikes_count_the_silent_and_give_them_no_steps() -> None:
    ledger = random_ledger(0, samples=4, steps=2)
    # Case 9 without its last step: sample 3 has not fired.
    ledger.layers["neurons"].tally["spikes"][:] = CASE_9[:2].sum(axis=2).T
    first = first_spikes(ledger)
    assert first.spiking.tolist() == [True, True, True, False]
    assert first.steps.tolist() == [1, 1, 2]
    assert first.silent == 1
    assert first.mean_steps == pytest.approx(4 / 3, rel=1e-15)


def test_nobody_fires_gives_no_mean() -> None:
    ledger = random_ledger(0, samples=3)
    ledger.layers["neurons"].tally["spikes"][:] = 0
    first = first_spikes(ledger)
    assert first.silent == 3
    assert first.steps.tolist() == []
    assert first.mean_steps is None


def test_first_spikes_are_those_of_the_last_neurons() -> None:
    network = Looped()
    seen: list[Tensor] = []
    network.last.register_forward_hook(lambda _module, _given, made: seen.append(made))
    network(images())
    fired = seen[0].sum(dim=-1).T.numpy() > 0  # [T, N, 8] -> [N, T]
    assert fired.any()
    ledger = measure(network, images())
    found = first_spikes(ledger)
    assert np.array_equal(found.spiking, fired.any(axis=1))
    assert np.array_equal(found.steps, fired[found.spiking].argmax(axis=1) + 1)
    ledger.layers["last"].tally["spikes"][:] = 0
    assert first_spikes(ledger).silent == 5  # whatever the layers before it do


# What is refused


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
        (lambda: over_time(np.zeros((0, 3), int), np.zeros(3, int)), "time goes first"),
        (lambda: over_time(np.zeros((2, 3), int), np.zeros(2, int)), r"\(2, 3\) and \(2,\)"),
        (
            lambda: first_spikes(measure(nn.Linear(6, 2), images())),
            "none of .* is a layer of neurons",
        ),
        (
            lambda: first_spikes(measure(Looped(), images()).summed()),
            "samples were summed; ask the ledger that measure returned",
        ),
    ],
)
def test_bad_input_is_refused_with_its_value_and_a_remedy(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        call()
