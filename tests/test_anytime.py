"""Time metrics: numbers derived by hand, laws, and what is refused."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.contracts.errors import CountingError, SpecError
from harness.contracts.ledger import Measurement
from harness.contracts.neuron import NeuronSpec
from harness.energy import bill, model_names
from harness.evaluation.anytime import (
    UNDECIDED,
    Accuracy,
    DecisionPolicy,
    Rule,
    accuracy_at_first_spike,
    apply,
    category_prices,
    counts_by_step,
    decide,
    energy_by_step,
    exit_curve,
    first_spikes,
    fit_thresholds,
    model_energy_by_step,
    output_spikes,
    over_time,
)
from harness.meter import measure
from harness.statistics import wilson_interval
from tests.meter.neurons import PlainNeuron

torch.set_num_threads(1)

RULES: tuple[Rule, ...] = ("margin", "confidence", "entropy")
NEVER = {"margin": 2.0, "confidence": 2.0, "entropy": -1.0}
ALWAYS = {"margin": 0.0, "confidence": 0.0, "entropy": 10.0}
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


def random_case(
    seed: int, steps: int, samples: int, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    # The truth is 1 above the noise, so that accuracy grows with the steps.
    truth = np.eye(classes)[labels]
    return truth + 2 * draw.normal(size=(steps, samples, classes)), labels


cases = st.builds(
    random_case,
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.integers(1, 30),
    st.integers(2, 5),
)


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
    assert over_time(ties, CASE_9_LABELS).undecided == (2, 2, 1)
    # Silence undecided: sample 2 fires first at step 2, sample 3 at step 3; the tie of
    # sample 1 at step 2 is no silence and goes to the first class.
    silence = decide(CASE_9, policy=DecisionPolicy(silence="undecided"), spikes=CASE_9_SPIKES)
    assert silence.tolist() == [[0, 0, -1, -1], [0, 0, 0, -1], [0, 1, 0, 0]]
    assert over_time(silence, CASE_9_LABELS).undecided == (2, 1, 0)


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


def test_steps_to_share_of_its_own_or_of_another_accuracy() -> None:
    assert over_time(PREDICTIONS, ONES).steps_to_share == 3  # 0.75 >= 0.99 * 0.75
    assert over_time(PREDICTIONS, ONES, reference=0.5).steps_to_share == 1
    assert over_time(PREDICTIONS, ONES, reference=0.8).steps_to_share is None  # 0.75 < 0.792
    assert over_time(PREDICTIONS, ONES, share=0.5).steps_to_share == 1  # 0.5 >= 0.375
    assert over_time(PREDICTIONS, ONES + 1).steps_to_share is None  # there is nothing to reach


def test_rounding_of_the_share_asks_for_no_sample_more() -> None:
    # 90 % of 10 in 100 are 9 in 100, though in floats 0.9 * 0.1 > 0.09.
    assert 0.9 * (10 / 100) > 9 / 100
    predictions = np.stack([np.arange(100) < 9, np.arange(100) < 10]).astype(np.int64)
    found = over_time(predictions, np.ones(100, dtype=np.int64), share=0.9)
    assert found.steps_to_share == 1


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


def test_accuracy_at_the_first_spike_by_hand() -> None:
    # Case 9: first spikes at steps 1, 1, 2, 3 decide 0, 0, 0, 0; labels 0, 1, 0, 1.
    first = first_spikes(CASE_9_SPIKES)
    assert accuracy_at_first_spike(first, decide(CASE_9), CASE_9_LABELS) == Accuracy(
        correct=2, samples=4
    )
    # What a later step decides does not count: step 1 was right.
    later = np.array([[1], [0]])
    assert accuracy_at_first_spike(first_spikes(np.ones((1, 2))), later, np.array([1])).correct == 1
    # Within two steps sample 3 is silent, which is wrong, not absent.
    first = first_spikes(CASE_9_SPIKES[:, :2])
    found = accuracy_at_first_spike(first, decide(CASE_9[:2]), np.array([0, 0, 1, 0]))
    assert found == Accuracy(correct=2, samples=4)


# Early exit


def logits_of(probabilities: list[list[list[float]]]) -> NDArray[np.float64]:
    """Return single-step logits whose running mean has these probabilities, ``[T, N, K]``."""
    means = np.log(np.array(probabilities))
    sums = means * np.arange(1, len(means) + 1)[:, None, None]
    return np.diff(sums, axis=0, prepend=0.0)


# Sample 0 (label 0) is sure and right at once; sample 1 (label 1) is wrong, then right;
# sample 2 (label 0) is right until the last step.
EXIT_CASE = logits_of(
    [
        [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]],
        [[0.9, 0.1], [0.2, 0.8], [0.8, 0.2]],
        [[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]],
    ]
)
EXIT_LABELS = np.array([0, 1, 0])
COSTS = np.array([[1.0, 2, 3], [10, 20, 30], [100, 200, 300]])  # cumulative, [N, T]


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize(
    ("rule", "threshold"),
    # Between 0.7 and 0.8: margins there are 0.4 and 0.6, and entropies fall with p.
    [("confidence", 0.75), ("margin", 0.5), ("entropy", (entropy(0.7) + entropy(0.8)) / 2)],
)
def test_each_rule_exits_where_the_probabilities_say(rule: Rule, threshold: float) -> None:
    exits = apply(rule, threshold, EXIT_CASE, EXIT_LABELS, cumulative_costs=COSTS)
    assert exits.steps.tolist() == [1, 2, 2]
    assert exits.predictions.tolist() == [0, 1, 0]
    assert exits.accuracy == Accuracy(correct=3, samples=3)
    assert exits.costs is not None
    assert exits.costs.tolist() == [1, 20, 200]
    assert exits.point.mean_steps == pytest.approx(5 / 3, rel=1e-15)
    assert exits.point.mean_cost == pytest.approx(221 / 3, rel=1e-15)


def test_a_score_that_just_reaches_the_threshold_exits() -> None:
    # Logits (0, 0) have margin 0, confidence 1/2 and entropy ln 2 without rounding.
    level = np.zeros((2, 1, 2))
    for rule, threshold in (("margin", 0.0), ("confidence", 0.5), ("entropy", math.log(2))):
        assert apply(rule, threshold, level, np.array([0])).steps.tolist() == [1]  # type: ignore[arg-type]  # a str of RULES
    assert apply("margin", 1e-9, level, np.array([0])).steps.tolist() == [2]


def test_margin_is_between_the_two_largest() -> None:
    # Sorted 0.5, 0.3, 0.2: the margin is 0.2, neither 0.3 nor 0.1.
    logits = logits_of([[[0.3, 0.5, 0.2]], [[0.3, 0.5, 0.2]]])
    assert apply("margin", 0.19, logits, np.array([1])).steps.tolist() == [1]
    assert apply("margin", 0.21, logits, np.array([1])).steps.tolist() == [2]


def test_an_undecided_sample_does_not_exit() -> None:
    exits = apply("margin", 0.0, CASE_9, CASE_9_LABELS, policy=UNDECIDED_TIES)
    # Sample 2 is first decided at step 2, sample 3 at step 3.
    assert exits.steps.tolist() == [1, 1, 2, 3]
    assert exits.predictions.tolist() == [0, 0, 0, 0]


def test_fitting_by_hand() -> None:
    # Confidences before the last step: 0.9 0.6 0.7 / 0.9 0.8 0.8. After all steps
    # samples 0 and 1 are right, 2 of 3. Thresholds and what they give:
    #   0, 0.6: all exit at 1, right 0 and 2, mean 1.   0.7: steps 1 2 1, all right.
    #   0.8: 1 2 2, all right.   0.9: 1 3 3, right 0, 1 (the confidence 0.9 of sample 1 at 3).
    found = fit_thresholds(EXIT_CASE, EXIT_LABELS, rule="confidence")
    assert found.full == Accuracy(correct=2, samples=3)
    assert [round(point.threshold, 9) for point in found.curve] == [0, 0.6, 0.7, 0.8, 0.9, 2]
    assert [round(3 * point.mean_steps) for point in found.curve] == [3, 3, 4, 5, 7, 9]
    assert [point.accuracy.correct for point in found.curve] == [2, 2, 3, 3, 2, 2]
    # Of equals in steps and accuracy, the more patient.
    assert found.chosen[0.0] == found.curve[1]


def test_an_allowed_drop_is_in_percentage_points() -> None:
    # Of 200 samples all are right at step 2; at step 1 one is wrong, as sure as the rest.
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    logits = logits_of([[right] * 199 + [wrong], [right] * 200])
    found = fit_thresholds(
        logits, np.zeros(200, dtype=np.int64), rule="margin", allowed_drops=(0.0, 0.4, 0.5)
    )
    assert {drop: point.mean_steps for drop, point in found.chosen.items()} == {
        0.0: 2.0,
        0.4: 2.0,
        0.5: 1.0,
    }


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=60)
@given(case=cases)
def test_an_unreachable_threshold_is_the_whole_run_and_a_trivial_one_the_first_step(
    rule: Rule, case: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    logits, labels = case
    decided = over_time(decide(logits), labels)
    never = apply(rule, NEVER[rule], logits, labels)
    always = apply(rule, ALWAYS[rule], logits, labels)
    assert np.all(never.steps == len(logits))
    assert never.accuracy == decided.accuracy[-1]
    assert np.all(always.steps == 1)
    assert always.accuracy == decided.accuracy[0]


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=60)
@given(case=cases, seed=st.integers(0, 1000))
def test_steps_and_costs_grow_with_patience_and_agree(
    rule: Rule, case: tuple[NDArray[np.float64], NDArray[np.int64]], seed: int
) -> None:
    logits, labels = case
    each = np.random.default_rng(seed).integers(0, 9, (len(labels), len(logits)))
    costs = each.cumsum(axis=1)
    found = fit_thresholds(logits, labels, rule=rule)
    thresholds = [point.threshold for point in found.curve]
    assert thresholds == sorted(thresholds, reverse=rule == "entropy")
    curve = exit_curve(rule, thresholds, logits, labels, cumulative_costs=costs)
    for one, more in pairwise(curve):
        assert one.mean_steps <= more.mean_steps
        assert one.mean_cost is not None
        assert more.mean_cost is not None
        assert one.mean_cost <= more.mean_cost
    # Whoever never exits pays for everything; a cost of 1 a step is the number of steps.
    assert curve[-1].mean_cost == each.sum() / len(labels)
    assert curve[0].mean_cost == each[:, 0].sum() / len(labels)
    counted = np.ones_like(each).cumsum(axis=1)
    for point in exit_curve(rule, thresholds, logits, labels, cumulative_costs=counted):
        assert point.mean_cost == point.mean_steps


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=60)
@given(case=cases)
def test_a_fit_keeps_its_promise_on_validation_and_needs_no_more_than_all_steps(
    rule: Rule, case: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    logits, labels = case
    found = fit_thresholds(logits, labels, rule=rule, allowed_drops=(0.0, 5.0, 100.0))
    for drop, point in found.chosen.items():
        # 8/20 - 5/100 is more than 7/20 in floats; 30 samples are 1/30 apart.
        enough = found.full.value - drop / 100 - 1e-9
        assert point.accuracy.value >= enough
        assert apply(rule, point.threshold, logits, labels).point == point
        rivals = [rival.mean_steps for rival in found.curve if rival.accuracy.value >= enough]
        assert point.mean_steps == min(rivals)
    assert found.chosen[100.0].mean_steps == 1.0
    assert found.chosen[100.0].mean_steps <= found.chosen[5.0].mean_steps
    assert found.chosen[5.0].mean_steps <= found.chosen[0.0].mean_steps <= len(logits)


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=60)
@given(case=cases, seed=st.integers(0, 1000))
def test_the_order_of_samples_does_not_matter(
    rule: Rule, case: tuple[NDArray[np.float64], NDArray[np.int64]], seed: int
) -> None:
    logits, labels = case
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled, relabelled = logits[:, order], labels[order]
    assert np.array_equal(decide(shuffled), decide(logits)[:, order])
    one, other = over_time(decide(logits), labels), over_time(decide(shuffled), relabelled)
    assert (one.accuracy, one.area) == (other.accuracy, other.area)
    assert np.array_equal(one.cutoff_steps[order], other.cutoff_steps)
    found = fit_thresholds(logits, labels, rule=rule)
    assert fit_thresholds(shuffled, relabelled, rule=rule) == found
    threshold = found.chosen[0.5].threshold
    assert np.array_equal(
        apply(rule, threshold, shuffled, relabelled).steps,
        apply(rule, threshold, logits, labels).steps[order],
    )


@pytest.mark.parametrize("rule", RULES)
def test_nothing_of_the_test_set_enters_thresholds_or_exits(rule: Rule) -> None:
    validation, truth = random_case(0, 5, 60, 4)
    test, labels = random_case(1, 5, 80, 4)
    found = fit_thresholds(validation, truth, rule=rule)
    threshold = found.chosen[0.0].threshold
    exits = apply(rule, threshold, test, labels)
    permuted = apply(rule, threshold, test, np.random.default_rng(2).permutation(labels))
    # Labels move the accuracy alone; judging left the thresholds as they were.
    assert np.array_equal(exits.steps, permuted.steps)
    assert np.array_equal(exits.predictions, permuted.predictions)
    assert exits.accuracy != permuted.accuracy
    assert fit_thresholds(validation, truth, rule=rule) == found


@pytest.mark.parametrize("rule", RULES)
def test_one_step_leaves_nothing_to_choose(rule: Rule) -> None:
    logits, labels = random_case(0, 1, 20, 3)
    found = fit_thresholds(logits, labels, rule=rule)
    assert all(point.mean_steps == 1.0 for point in found.curve)
    assert {point.accuracy for point in found.curve} == {found.full}


def test_huge_logits_neither_overflow_nor_exit_wrongly() -> None:
    logits = np.array([[[1e300, -1e300, 0.0]], [[0.0, 0.0, 0.0]]])
    assert apply("confidence", 1.0, logits, np.array([0])).steps.tolist() == [1]
    assert apply("entropy", 0.0, logits, np.array([0])).steps.tolist() == [1]
    assert apply("margin", 1.0, logits, np.array([0])).steps.tolist() == [1]


# Energy by step


class Looped(nn.Module):
    """A static image, encoded once, then four steps of neurons, read out in each."""

    def __init__(self, *, steps: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        spec = NeuronSpec(kind="lif", tau=2.0, scale_input=False)
        self.steps = steps
        self.encoder = nn.Linear(6, 8)
        self.hidden = PlainNeuron(spec)
        self.middle = nn.Linear(8, 8)
        self.last = PlainNeuron(spec)
        self.read_out = nn.Linear(8, 3)
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        current = self.encoder(image)
        spikes = self.hidden(current.expand(self.steps, *current.shape))
        spikes = self.last(self.middle(spikes))
        answer: Tensor = self.read_out(spikes)
        return answer


def images(samples: int = 5) -> Tensor:
    return torch.rand(samples, 6, generator=torch.Generator().manual_seed(1))


def metered(*, steps: int = 4) -> Measurement:
    return measure(Looped(steps=steps), images())


class EveryStep(Looped):
    """The same, but the encoder runs anew in every step."""

    def forward(self, image: Tensor) -> Tensor:
        current = self.encoder(image.expand(self.steps, *image.shape))
        answer: Tensor = self.read_out(self.last(self.middle(self.hidden(current))))
        return answer


BY_OPERATION = [name for name in model_names() if name.startswith(("horowitz", "yan"))]


@pytest.mark.parametrize("network", [Looped, EveryStep])
@pytest.mark.parametrize("name", BY_OPERATION)
def test_energy_by_step_adds_up_to_the_bill(name: str, network: Callable[[], nn.Module]) -> None:
    measured = measure(network(), images())
    energies = model_energy_by_step(measured, name)
    assert energies.shape == (5, 4)
    total = bill(measured, name).total_pj
    assert total is not None
    # At most 13 categories x 20 cells are added, each sum rounding by 2^-53.
    assert float(energies.sum(axis=1).mean()) == pytest.approx(total, rel=300 * 2**-53)


@pytest.mark.parametrize("network", [Looped, EveryStep])
def test_counts_by_step_are_exactly_those_of_the_encoding(
    network: Callable[[], nn.Module],
) -> None:
    measured = measure(network(), images())
    per_step = counts_by_step(measured, encode="per_step")
    cached = counts_by_step(measured, encode="cached")
    for category, table in per_step.items():
        assert table.sum() == getattr(measured.encoding.per_step, category)
        assert cached[category].sum() == getattr(measured.encoding.cached, category)
    # Analog input: 6 x 8 products a sample, once or in each of 4 steps.
    assert cached["mac"].tolist() == [[48, 0, 0, 0]] * 5
    assert per_step["mac"].tolist() == [[48] * 4] * 5


def test_both_ways_to_encode_cost_the_same_at_every_step_under_one_convention() -> None:
    once, anew = measure(Looped(), images()), measure(EveryStep(), images())
    for name in ("horowitz_45nm_fp32:cached", "horowitz_45nm_fp32:per_step"):
        assert np.array_equal(model_energy_by_step(once, name), model_energy_by_step(anew, name))


def test_cached_counts_of_a_run_are_its_own_tally() -> None:
    measured = metered()
    counts = counts_by_step(measured, encode="cached")
    assert all(np.array_equal(counts[name], table) for name, table in measured.tally().items())


def test_prices_of_one_and_two_give_whole_numbers_exactly() -> None:
    measured = metered()
    energies = energy_by_step(measured, {"mac": 2.0, "ac": 1.0}, encode="cached")
    total = measured.encoding.cached
    assert energies.sum() == 2 * total.mac + total.ac
    assert energies[:, 0].sum() >= 2 * 48 * 5


def test_exiting_early_saves_what_would_have_run_later_and_not_the_encoding() -> None:
    measured = metered()
    energies = model_energy_by_step(measured, "horowitz_45nm_fp32:cached")
    with torch.no_grad():
        logits = Looped()(images()).numpy()
    labels = np.zeros(5, dtype=np.int64)
    first = apply("margin", 0.0, logits, labels, cumulative_costs=energies.cumsum(axis=1)).point
    whole = apply("margin", 2.0, logits, labels, cumulative_costs=energies.cumsum(axis=1)).point
    assert first.mean_cost is not None
    assert whole.mean_cost is not None
    assert first.mean_cost == pytest.approx(energies[:, 0].mean(), rel=1e-12)
    assert whole.mean_cost == pytest.approx(energies.sum() / 5, rel=1e-12)
    assert 48 * 4.6 <= first.mean_cost < whole.mean_cost


def test_a_sample_costs_alone_what_it_costs_in_a_batch() -> None:
    together = model_energy_by_step(metered(), "horowitz_45nm_fp32:cached_with_neurons")
    for sample in range(5):
        alone = measure(Looped(), images()[sample : sample + 1])
        energies = model_energy_by_step(alone, "horowitz_45nm_fp32:cached_with_neurons")
        assert np.array_equal(energies[0], together[sample])


def test_one_step_has_no_convention() -> None:
    measured = metered(steps=1)
    names = ("horowitz_45nm_fp32:cached", "horowitz_45nm_fp32:per_step")
    one, other = (model_energy_by_step(measured, name) for name in names)
    assert one.shape == (5, 1)
    assert np.array_equal(one, other)


def test_output_spikes_are_those_of_the_last_neurons() -> None:
    network = Looped()
    seen: list[Tensor] = []
    network.last.register_forward_hook(lambda _module, _given, made: seen.append(made))
    network(images())
    expected = seen[0].sum(dim=-1).T.numpy()  # [T, N, 8] -> [N, T]
    assert expected.any()
    assert np.array_equal(output_spikes(measure(network, images())), expected)


def test_prices_are_those_of_the_price_book() -> None:
    prices = category_prices("horowitz_45nm_fp32:cached")
    assert prices == {"ac": 0.9, "and_ac": 0.9, "mac": pytest.approx(4.6)}


# What is refused

GOOD, LABELS = random_case(0, 3, 4, 3)


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
        (
            lambda: over_time(np.zeros((2, 1), int), np.array([0]), reference=90.0),
            r"reference must be a fraction in \(0, 1\], got 90.0",
        ),
        (
            lambda: over_time(np.zeros((2, 1), int), np.array([0]), share=0.0),
            "share must be a fraction",
        ),
        (lambda: first_spikes(np.zeros((0, 3))), r"spikes must be \[N, T\]"),
        (lambda: first_spikes(-np.ones((1, 3))), "not negative"),
        (lambda: first_spikes(np.full((1, 3), np.nan)), "finite"),
        (
            lambda: accuracy_at_first_spike(
                first_spikes(np.ones((2, 3))), np.zeros((3, 4), int), np.zeros(4, int)
            ),
            "first spikes of 2 samples do not fit",
        ),
        (lambda: apply("hope", 0.5, GOOD, LABELS), "margin, confidence, entropy, got 'hope'"),  # type: ignore[arg-type]  # what is refused
        (lambda: apply("margin", math.nan, GOOD, LABELS), "must be finite, got nan"),
        (lambda: apply("entropy", -math.inf, GOOD, LABELS), "-1.0 never exits"),
        (lambda: apply("margin", 0.5, GOOD, LABELS + 3), "labels must be classes, 0 to 2"),
        (lambda: apply("margin", 0.5, GOOD, LABELS[:2]), "time goes first"),
        (
            lambda: apply("margin", 0.5, GOOD, LABELS, cumulative_costs=np.ones((3, 4))),
            r"cumulative costs must be \[N, T\] = \[4, 3\]",
        ),
        (
            lambda: apply(
                "margin", 0.5, GOOD, LABELS, cumulative_costs=np.array([[3.0, 2, 1]] * 4)
            ),
            r"must not decrease.*cumsum",
        ),
        (
            lambda: fit_thresholds(GOOD, LABELS, rule="margin", allowed_drops=(-1.0,)),
            "percentage points, 0 to 100, got -1.0",
        ),
        (
            lambda: fit_thresholds(GOOD, LABELS, rule="margin", allowed_drops=()),
            "needs a drop and two quantiles",
        ),
        (
            lambda: fit_thresholds(GOOD, LABELS, rule="margin", quantiles=1),
            "needs a drop and two quantiles",
        ),
        (lambda: energy_by_step(metered(), {"acs": 1.0}, encode="cached"), "no category 'acs'.*ac"),
        (
            lambda: energy_by_step(metered(), {"ac": math.nan}, encode="cached"),
            "price of ac must be finite and not negative, got nan",
        ),
        (
            lambda: model_energy_by_step(metered(), "spikingjelly_simple:per_step"),
            "prices more than operations.*weights",
        ),
        (
            lambda: output_spikes(measure(nn.Linear(6, 2), images())),
            "none of .* is a layer of neurons",
        ),
    ],
)
def test_bad_input_is_refused_with_its_value_and_a_remedy(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        call()


def test_a_partial_measurement_has_no_energy_by_step() -> None:
    class Sorting(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            spectrum: Tensor = torch.fft.fft(image).real
            return spectrum

    measured = measure(Sorting(), images(), allow_partial=True)
    assert measured.uncounted
    with pytest.raises(CountingError, match=r"uncounted: .*fft"):
        energy_by_step(measured, {"ac": 1.0}, encode="cached")


def test_frames_that_pause_in_the_middle_have_no_cached_steps() -> None:
    # Steps 0 and 1 differ, 2 repeats 1: two of three are computed, and which is not kept.
    network = nn.Sequential(nn.Linear(6, 8), PlainNeuron(NeuronSpec(kind="if")))
    frames = torch.stack([images(2), images(4)[2:], images(4)[2:]])
    measured = measure(network, frames, batch_axis=1, time_axis=0)
    assert counts_by_step(measured, encode="per_step")["mac"].tolist() == [[48] * 3] * 2
    with pytest.raises(CountingError, match="per_step"):
        counts_by_step(measured, encode="cached")
