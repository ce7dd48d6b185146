"""Early exits: numbers derived by hand, laws, and what is refused."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from harness.contracts.errors import SpecError
from harness.contracts.ledger import CATEGORIES, Encode
from harness.contracts.neuron import NeuronSpec
from harness.energy import bill, model_names, operations_pj
from harness.evaluation.cost import early_exits
from harness.evaluation.decisions import Accuracy, accuracy_of, decide, over_time
from harness.evaluation.early_exit import ExitPoint, Rule, Thresholds, apply, fit_thresholds, spent
from harness.evaluation.evaluate import Verdict
from harness.meter import measure
from suites.tasks.classification import TASK
from tests.decided import EveryStep, Looped, cases, images, random_case
from tests.energy.ledgers import random_ledger
from tests.meter.neurons import PlainNeuron

torch.set_num_threads(1)

RULES: tuple[Rule, ...] = get_args(Rule)
NEVER = {"margin": 2.0, "confidence": 2.0, "entropy": -1.0}
ALWAYS = {"margin": 0.0, "confidence": 0.0, "entropy": 10.0}


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


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_the_documented_example_runs() -> None:
    page = Path(__file__).parents[1] / "docs" / "latency.md"
    code = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    ledger = random_ledger(0)
    logits, labels = random_case(samples=ledger.samples, steps=ledger.steps, classes=3, seed=0)
    shown = {"test_logits": logits, "validation_logits": logits, "ledger": ledger}
    exec(code, shown | {"test_labels": labels, "validation_labels": labels})  # noqa: S102  our own page


@pytest.mark.parametrize(
    ("rule", "threshold"),
    # Between 0.7 and 0.8: margins there are 0.4 and 0.6, and entropies fall with p.
    [("confidence", 0.75), ("margin", 0.5), ("entropy", (entropy(0.7) + entropy(0.8)) / 2)],
)
def test_each_rule_exits_where_the_probabilities_say(rule: Rule, threshold: float) -> None:
    exits = apply(rule, threshold, EXIT_CASE, EXIT_LABELS)
    assert exits.steps.tolist() == [1, 2, 2]
    assert exits.accuracy == Accuracy(correct=3, samples=3)
    assert exits.point.mean_steps == pytest.approx(5 / 3, rel=1e-15)


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
    assert found.cheapest(0.0) == found.curve[1]


def test_an_allowed_drop_is_in_percentage_points() -> None:
    # Of 200 samples all are right at step 2; at step 1 one is wrong, as sure as the rest.
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    logits = logits_of([[right] * 199 + [wrong], [right] * 200])
    found = fit_thresholds(logits, np.zeros(200, dtype=np.int64), rule="margin")
    assert [found.cheapest(drop).mean_steps for drop in (0.0, 0.4, 0.5)] == [2.0, 2.0, 1.0]


def test_seven_of_a_thousand_samples_are_a_drop_of_07_points_in_floats_too() -> None:
    assert 0.7 / 100 * 1000 < 7  # the premise
    point = ExitPoint(threshold=2.0, accuracy=Accuracy(correct=900, samples=1000), mean_steps=2.0)
    for correct, steps in ((893, 1.0), (892, 2.0)):
        accuracy = Accuracy(correct=correct, samples=1000)
        early = ExitPoint(threshold=0.0, accuracy=accuracy, mean_steps=1.0)
        assert Thresholds(curve=(early, point)).cheapest(0.7).mean_steps == steps


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
def test_more_patience_takes_more_steps_and_more_operations(
    rule: Rule, case: tuple[NDArray[np.float64], NDArray[np.int64]], seed: int
) -> None:
    logits, labels = case
    steps, samples, _ = logits.shape
    ledger = random_ledger(seed, samples=samples, steps=steps)
    thresholds = [point.threshold for point in fit_thresholds(logits, labels, rule=rule).curve]
    assert thresholds == sorted(thresholds, reverse=rule == "entropy")
    exits = [apply(rule, threshold, logits, labels) for threshold in thresholds]
    for one, more in pairwise(exits):
        assert np.all(one.steps <= more.steps)
        assert all(
            count <= spent(ledger, more.steps)["cached"].get(category, 0)
            for category, count in spent(ledger, one.steps)["cached"].items()
        )


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=60)
@given(case=cases)
def test_a_fit_keeps_its_promise_on_validation_and_needs_no_more_than_all_steps(
    rule: Rule, case: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> None:
    logits, labels = case
    found = fit_thresholds(logits, labels, rule=rule)
    chosen = {drop: found.cheapest(drop) for drop in (0.0, 5.0, 100.0)}
    for drop, point in chosen.items():
        # 8/20 - 5/100 is more than 7/20 in floats; 30 samples are 1/30 apart.
        enough = found.full.value - drop / 100 - 1e-9
        assert point.accuracy.value >= enough
        assert apply(rule, point.threshold, logits, labels).point == point
        rivals = [rival.mean_steps for rival in found.curve if rival.accuracy.value >= enough]
        assert point.mean_steps == min(rivals)
    assert chosen[100.0].mean_steps == 1.0
    assert chosen[100.0].mean_steps <= chosen[5.0].mean_steps
    assert chosen[5.0].mean_steps <= chosen[0.0].mean_steps <= len(logits)


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
    threshold = found.cheapest(0.5).threshold
    assert np.array_equal(
        apply(rule, threshold, shuffled, relabelled).steps,
        apply(rule, threshold, logits, labels).steps[order],
    )


@pytest.mark.parametrize("rule", RULES)
def test_nothing_of_the_test_set_enters_thresholds_or_exits(rule: Rule) -> None:
    validation, truth = random_case(0, 5, 60, 4)
    test, labels = random_case(1, 5, 80, 4)
    found = fit_thresholds(validation, truth, rule=rule)
    threshold = found.cheapest(0.0).threshold
    exits = apply(rule, threshold, test, labels)
    permuted = apply(rule, threshold, test, np.random.default_rng(2).permutation(labels))
    # Labels move the accuracy alone; judging left the thresholds as they were.
    assert np.array_equal(exits.steps, permuted.steps)
    decided = decide(test)[exits.steps - 1, np.arange(80)]
    assert exits.accuracy == accuracy_of(decided == labels)
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


# What ran until the exit

BY_OPERATION = [name for name in model_names() if name.startswith(("horowitz", "yan"))]
NETWORKS = pytest.mark.parametrize("network", [Looped, EveryStep])


def test_what_ran_until_the_exit_by_hand() -> None:
    ledger = measure(Looped(), images())
    # Analog input: 6 x 8 products a sample, once or in each of 4 steps; exits at 1 and 3.
    found = spent(ledger, np.array([1, 1, 1, 1, 3]))
    assert (found["cached"]["mac"], found["per_step"]["mac"]) == (5 * 48, (4 + 3) * 48)
    spikes = ledger.tally()["spikes"]
    assert found["cached"]["spikes"] == spikes[:4, 0].sum() + spikes[4, :3].sum()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), samples=st.integers(1, 9), steps=st.integers(1, 5))
def test_a_mean_of_energies_is_the_energy_of_all_counts(
    seed: int, samples: int, steps: int
) -> None:
    ledger = random_ledger(seed, samples=samples, steps=steps)
    exits = np.random.default_rng(seed).integers(1, steps + 1, samples)
    for name in ("cached", "per_step"):
        tables = ledger.tally(name)
        energies = 4.6 * tables["mac"] + 0.9 * (tables["ac"] + tables["and_ac"])
        by_sample = [energies[one, :exit_].sum() for one, exit_ in enumerate(exits)]
        found = operations_pj(spent(ledger, exits), f"horowitz_45nm_fp32:{name}")
        assert found is not None
        # At most 3 products and sums a cell and each, rounding by 2^-53.
        assert found / samples == pytest.approx(
            np.mean(by_sample), rel=(6 * samples * steps + 9) * 2**-53
        )


@NETWORKS
@pytest.mark.parametrize("name", BY_OPERATION)
def test_who_never_exits_pays_the_bill(name: str, network: Callable[[], nn.Module]) -> None:
    ledger = measure(network(), images())
    found = operations_pj(spent(ledger, np.full(5, 4)), name)
    total = bill(ledger, name).total_pj
    assert found is not None
    assert total is not None
    # 32 products and sums, each rounding by 2^-53, and as many in the bill.
    assert found / 5 == pytest.approx(total, rel=128 * 2**-53)


@NETWORKS
def test_counts_by_step_are_exactly_those_of_the_encoding(
    network: Callable[[], nn.Module],
) -> None:
    ledger = measure(network(), images())
    for encode in get_args(Encode):
        for category in CATEGORIES:
            sums = getattr(getattr(ledger.encoding, encode), category)
            assert ledger.tally(encode)[category].sum() == sums
    assert ledger.tally("cached")["mac"].tolist() == [[48, 0, 0, 0]] * 5
    assert ledger.tally("per_step")["mac"].tolist() == [[48] * 4] * 5


def test_both_ways_to_encode_are_the_same_at_every_step_under_one_convention() -> None:
    once, anew = measure(Looped(), images()), measure(EveryStep(), images())
    for encode in get_args(Encode):
        for category, table in once.tally(encode).items():
            assert np.array_equal(table, anew.tally(encode)[category]), category


def test_cached_counts_of_a_run_that_caches_are_its_own() -> None:
    ledger = measure(Looped(), images())
    cached = ledger.tally("cached")
    assert all(np.array_equal(cached[name], table) for name, table in ledger.tally().items())


def test_a_sample_costs_alone_what_it_costs_in_a_batch() -> None:
    together = measure(Looped(), images())
    for sample in range(5):
        alone = measure(Looped(), images()[sample : sample + 1])
        for encode in get_args(Encode):
            for category, table in alone.tally(encode).items():
                assert np.array_equal(table[0], together.tally(encode)[category][sample])


def test_one_step_has_no_convention() -> None:
    found = spent(measure(Looped(steps=1), images()), np.ones(5, np.int64))
    assert found["cached"] == found["per_step"]


def test_frames_that_pause_are_cached_at_the_steps_that_pause() -> None:
    # Of sample 0 and 1 steps 0 and 1 differ, and step 2 repeats step 1.
    network = nn.Sequential(nn.Linear(6, 8), PlainNeuron(NeuronSpec(kind="if")))
    frames = torch.stack([images(2), images(4)[2:], images(4)[2:]])
    ledger = measure(network, frames, batch_axis=1, time_axis=0)
    assert ledger.tally("per_step")["mac"].tolist() == [[48] * 3] * 2
    assert ledger.tally("cached")["mac"].tolist() == [[48, 48, 0]] * 2


def test_the_columns_of_early_exits() -> None:
    network = Looped()
    with torch.no_grad():
        logits = network(images()).numpy()
    labels = np.array([0, 1, 2, 0, 1])
    verdict, ledger = Verdict(task=TASK, logits=logits, labels=labels), measure(network, images())
    columns = early_exits(verdict, verdict, ledger)
    assert columns["first_spike_steps"] is not None
    assert columns["silent_samples"] == 0
    assert set(columns["early_exit"]) == set(RULES)
    for rule, drops in columns["early_exit"].items():
        assert set(drops) == {"0", "0.5", "1"}
        for said in drops.values():
            exits = apply(rule, said.threshold, logits, labels)
            assert (said.correct, said.samples) == (exits.accuracy.correct, 5)
            assert said.steps == exits.steps.sum()
            assert said.spent == spent(ledger, exits.steps)
    single = Verdict(task=TASK, logits=logits[:1], labels=labels)
    assert early_exits(single, single, measure(Looped(steps=1), images()))["early_exit"] == {}


# What is refused

GOOD, LABELS = random_case(0, 3, 4, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: apply("margin", 0.5, GOOD.mean(axis=0), LABELS), "pass those of every step"),
        (lambda: fit_thresholds(GOOD * np.nan, LABELS, rule="margin"), "not finite.*diverged"),
        (
            lambda: spent(random_ledger(0).summed(), np.ones(5, np.int64)),
            "samples were summed, all 5 of them; ask the ledger that measure returned",
        ),
        (lambda: spent(random_ledger(0), np.ones(4, np.int64)), r"exits of \(4,\) samples"),
    ],
)
def test_bad_input_is_refused_with_its_value_and_a_remedy(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        call()


def test_what_rounding_moves_decides_no_exit_and_changes_no_threshold() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 50, 3)), rng.integers(3, size=50)
    moved = logits * (1 + 1e-15 * rng.choice([-1, 1], size=logits.shape))
    for rule in get_args(Rule):
        fitted, again = (fit_thresholds(each, labels, rule=rule) for each in (logits, moved))
        assert fitted == again
        threshold = fitted.cheapest(1.0).threshold
        beside = np.nextafter(threshold, 2 * threshold + 1)
        steps = apply(rule, threshold, logits, labels).steps
        assert (apply(rule, float(beside), moved, labels).steps == steps).all()
