"""Rows, put together by what may be compared: the numbers behind every table."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Any, TypeVar, get_args

from harness import statistics
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError
from harness.contracts.method import Fidelity, Track
from harness.contracts.row import Metrics, Row
from harness.contracts.suite import Suite
from harness.contracts.task import FRACTION, Scale
from harness.contracts.tuning import End
from harness.contracts.values import Plain, identifying, spell
from harness.report import _words as words
from harness.report._answers import (
    BASELINES,
    COUNTED,
    Baseline,
    ByModel,
    Priced,
    PricedRow,
    answers,
    usual_energy,
)
from harness.report._given import Given, given
from harness.report._labels import card_of, is_control, told_apart
from harness.results import TRUSTS, Trust
from harness.statistics import Comparison, Interval, Mean, Ranking, Share

Item = TypeVar("Item")
Key = TypeVar("Key")

# What lines of a table may differ in; text that a method reads is what it is given, as logits are.
FREE = {"method", "params", "unlabelled", "backend", "timesteps", "seed"}

TRACKS: tuple[Track, ...] = get_args(Track)
# Whom the methods of a track are set beside; the others beside the suite's baseline.
TRACK_BASELINES: Mapping[Track, str] = {"inherited": "weight_transfer", "conversion": "qcfs"}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cell without numbers, which is not a cell with the number 0."""

    method: str
    backend: str
    timesteps: int
    seed: int
    status: str
    error: str
    log_path: str | None
    cell_id: str


class Answers(tuple[PricedRow, ...]):  # noqa: SLOT001  what is computed is kept in its dict
    """The seeds of a line that have numbers; what follows from all of them is computed once."""

    @cached_property
    def metrics(self) -> tuple[Metrics, ...]:
        """What each seed measured."""
        return tuple(answer.metrics for answer in self)

    @cached_property
    def energies(self) -> dict[str, float]:
        """The mean energy estimate of a sample in pJ, by energy model that has one."""
        return self._by_model(lambda one: one.energies)

    @cached_property
    def ratios(self) -> dict[Baseline, dict[str, float]]:
        """The mean of that over the artificial network's, by baseline and energy model."""

        def over(baseline: Baseline) -> dict[str, float]:
            return self._by_model(lambda one: one.ratios[baseline])

        return {each: over(each) for each in BASELINES}

    @cached_property
    def further(self) -> dict[str, Mean]:
        """The mean over seeds of each of the task's other metrics, by name."""
        known = [one.further for one in self.metrics]
        names = [name for name in known[0] if all(name in one for one in known)] if known else []
        return {name: statistics.mean_over_seeds([one[name] for one in known]) for name in names}

    @cached_property
    def machines(self) -> frozenset[tuple[str | int | None, ...]]:
        """The kinds of machine that they ran on, and how much of each they had."""
        made = (answer.row.provenance for answer in self)
        return frozenset((at.device, at.cpu, at.gpu, at.threads, at.cells_on_device) for at in made)

    @cached_property
    def wilson(self) -> tuple[Interval, ...]:
        """The interval over test samples of each seed."""
        return tuple(Interval(one.score_low, one.score_high) for one in self.metrics)

    def average(self, figure: str) -> float | None:
        """Return the mean of a metric or count over seeds; None if any does not know it."""
        if figure not in self._averages:
            known = (
                [answer.figure(figure) for answer in self]
                if figure in COUNTED
                else [getattr(one, figure) for one in self.metrics]
            )
            self._averages[figure] = average(known)
        return self._averages[figure]

    @cached_property
    def by_seed(self) -> dict[int, float]:
        """The test score of each seed."""
        return {answer.row.cell.seed: answer.metrics.score for answer in self}

    @cached_property
    def _averages(self) -> dict[str, float | None]:
        return {}

    def _by_model(self, of: Callable[[Priced], Sequence[ByModel]]) -> dict[str, float]:
        known = [(one.priced, one.place) for one in self if one.priced]
        if not known or len(known) < len(self):
            return {}
        columns = zip(*(of(priced)[place] for priced, place in known), strict=True)
        means = zip(known[0][0].models, map(average, columns), strict=True)
        return {model: mean for model, mean in means if mean is not None}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table: one method on one simulator at one T, over its seeds.

    Attributes:
        method: Its name; parameters are added where the method occurs with several.
        file: That name without parameters.
        params: Of the method.
        learning_rate: The suite's, or what tuning chose for this method.
        track: What the student is given, as the method's card says.
        loss: Whether the method's loss is its authors', as the card says; None without a card.
        backend: The simulator.
        timesteps: T.
        asked: Seeds that the suite asks for, and any others that were tried.
        answers: Of the seeds with numbers, by seed.
        failures: The seeds that ended without.
        accuracy: Mean over seeds; None if no seed has a number.
        by_step: Likewise after each step; empty if unknown.
        baseline: Whose method that gain is over: the track's baseline.
        gain: How much better than the baseline, seed by seed; None for that itself, or without it.
        gain_p_holm: Its p of the t test, adjusted for the track's methods in its table.
        group: Within its track, see ``harness.statistics.significance_groups``; None below
            two seeds.
        mine: Whether a cell of it was made by whoever asks, not published.
        trust: How far the least trusted of its rows is to be believed.
        authors: Whether it has its authors' constants where tuning chose others: it stands
            beside the tuned entry, in no group and no ranking.
        end: Which end of the learning rates that tuning tried is its own, if it is one.
        best: Probability of the best mean of its track; None below six common seeds.
        given: What the student had beyond labels and the budget.
        cost: Training time over that of the suite's baseline on the same machine.
        energy_cost: Energy estimate of a sample over that baseline's, by the usual model.
    """

    method: str
    file: str
    params: Plain
    learning_rate: float
    track: Track
    loss: Fidelity | None
    backend: str
    timesteps: int
    asked: tuple[int, ...]
    answers: Answers
    failures: tuple[Failure, ...]
    accuracy: Mean | None
    given: Given
    by_step: tuple[Mean, ...] = ()
    baseline: str = ""
    gain: Comparison | None = None
    gain_p_holm: float | None = None
    group: int | None = None
    mine: bool = False
    trust: Trust = "published"
    authors: bool = False
    end: End | None = None
    best: float | None = None
    cost: float | None = None
    energy_cost: float | None = None

    @property
    def label(self) -> str:
        """The method, with how many of how many seeds its means are over if not all."""
        return _marked(self.method, len(self.answers), len(self.asked))

    @property
    def is_first(self) -> bool:
        """Whether enough seeds say that no method of its track is significantly better."""
        return self.group == 1 and len(self.answers) >= statistics.MIN_SEEDS_FOR_CLAIMS

    @property
    def whose(self) -> str:
        """Who made it: ``yours`` and ``merged`` rows stand beside ``published`` ones."""
        if not self.mine:
            return "published"
        return "merged" if self.trust in ("claimed", "verified") else "yours"

    @property
    def control(self) -> bool:
        """Whether its method is there to be compared with alone."""
        return is_control(self.file)

    @property
    def is_rated(self) -> bool:
        """Whether one would choose it: it is no control, and not the authors' second entry."""
        return not (self.authors or self.control)

    @property
    def metrics(self) -> tuple[Metrics, ...]:
        """What each seed measured."""
        return self.answers.metrics

    @property
    def energies(self) -> dict[str, float]:
        """The mean energy estimate of a sample in pJ, by energy model that has one."""
        return self.answers.energies

    @property
    def ratios(self) -> dict[Baseline, dict[str, float]]:
        """The mean of that over the artificial network's, by baseline and energy model."""
        return self.answers.ratios

    @property
    def further(self) -> dict[str, Mean]:
        """The mean over seeds of each of the task's other metrics, by name."""
        return self.answers.further

    def operations(self) -> float | None:
        """Return the synaptic operations of a sample: AC, MAC and products of two spikes."""
        return self._sum("acs_per_sample", "and_acs_per_sample", "macs_per_sample")

    def spikes_per_synapse(self) -> float | None:
        """Return accumulates an inference over the artificial network's synapses.

        Products of two activations are synapses of it, and of two spikes accumulates.
        """
        accumulates = self._sum("acs_per_sample", "and_acs_per_sample")
        dense = self.average("dense_macs")
        return accumulates / dense if accumulates is not None and dense else None

    @cached_property
    def evidence(self) -> tuple[Any, ...]:
        """All that it says but times, by which simulators agree or do not."""
        figures = [[one.figure(name) for name in COUNTED] for one in self.answers]
        metrics = [
            (one.score, one.further, one.score_by_step, one.agreement, one.mean_steps_to_decide)
            for one in self.metrics
        ]
        exits = [one.early_exit for one in self.metrics]
        ended = [(one.seed, one.status, one.error) for one in self.failures]
        judged = (
            self.asked,
            self.mine,
            self.trust,
            self.group,
            self.best,
            self.gain,
            self.gain_p_holm,
            self.energies,
        )
        return metrics, figures, exits, ended, judged

    @property
    def scale(self) -> Scale:
        """What numbers its scores are, and which are better."""
        return self.answers[0].metrics.scale if self.answers else FRACTION

    @property
    def merit(self) -> float:
        """Its mean score if more is better, else less that; below all without a number."""
        return self.scale.merit(self.accuracy.value) if self.accuracy else -math.inf

    @property
    def told(self) -> str:
        """Its mean score in the metric's unit, with its half-width."""
        return words.accuracy(self.accuracy, self.widest_wilson, self.scale)

    def by_seed(self) -> dict[int, float]:
        """Return the test score of each seed that has one."""
        return self.answers.by_seed

    def merits(self) -> dict[int, float]:
        """Return those as numbers that are higher for what is better."""
        return {seed: self.scale.merit(score) for seed, score in self.by_seed().items()}

    def average(self, figure: str) -> float | None:
        """Return the mean of a metric or count over seeds; None if any does not know it."""
        return self.answers.average(figure)

    def _sum(self, *figures: str) -> float | None:
        """Return the averages together; None if any is unknown."""
        found = [self.average(figure) for figure in figures]
        return None if None in found else sum(each for each in found if each is not None)

    @property
    def machines(self) -> frozenset[tuple[str | int | None, ...]]:
        """The kinds of machine that its seeds ran on, and how much of each they had."""
        return self.answers.machines

    @property
    def is_online(self) -> bool:
        """Whether it is told what a frame costs of a video that is shown frame by frame."""
        return self.average("operations_a_frame") is not None

    def timing(self, figure: str) -> float | None:
        """Return the mean of a wall-clock metric; None if it mixes kinds of machine."""
        return self.average(figure) if len(self.machines) == 1 else None

    @property
    def cell_id(self) -> str:
        """The identity of its first cell, by which a link finds it."""
        cells = [(one.row.cell.seed, one.row.cell_id) for one in self.answers]
        return min([*cells, *((one.seed, one.cell_id) for one in self.failures)])[1]

    def wilson(self) -> tuple[Interval, ...]:
        """Return the interval over test samples of each seed."""
        return self.answers.wilson

    @property
    def interval(self) -> Interval | None:
        """Over seeds, or over test samples for a single one; None without a number."""
        if self.accuracy is None:
            return None
        return self.accuracy.interval or self.wilson()[0]

    @property
    def widest_interval(self) -> Interval | None:
        """The widest interval over test samples; None without a number."""
        return max(self.wilson(), key=lambda interval: interval.half_width, default=None)

    @property
    def widest_wilson(self) -> float:
        """The half-width of the widest interval over test samples; 0 without a number."""
        widest = self.widest_interval
        return widest.half_width if widest else 0.0

    def outcome(self) -> str:
        """Return how many of how many seeds have numbers, and what became of the others."""
        ended = Counter(failure.status for failure in self.failures)
        told = [f"{count} {status}" for status, count in sorted(ended.items())]
        if missing := len(self.asked) - len(self.answers) - len(self.failures):
            told.append(f"{missing} missing")
        found = str(len(self.answers))
        return ", ".join([f"{found}/{len(self.asked)}", *told]) if told else found


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The same method and T on two simulators, over the seeds that both have.

    Attributes:
        is_complete: Whether those are all that were asked for.
        scale: What numbers the scores are.
    """

    method: str
    timesteps: int
    first: str
    second: str
    first_accuracy: float
    second_accuracy: float
    comparison: Comparison
    is_complete: bool
    scale: Scale

    @property
    def is_equal(self) -> bool:
        """Whether every seed has the same accuracy on both."""
        difference = self.comparison.difference
        return difference.value == 0 and not difference.deviation


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Trained on one simulator, evaluated on another, over all methods and seeds.

    Attributes:
        decisions: How many were compared.
        differing: How many of them differ.
        cells: How many students.
        cells_differing: How many students differ at all.
    """

    trained_on: str
    evaluated_on: str
    timesteps: int
    decisions: int
    differing: int
    cells: int
    cells_differing: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all lines of a section have in common, and the lines.

    Attributes:
        cell: Any of its cells; all but method, parameters, simulator, T and seed is shared.
        lines: By T, simulator and track, the best first; those without a number last.
        contests: Simulators against each other.
        transfers: The same weights on other simulators.
        rounding: How much of the variance over seeds is there in the same cells with another
            number of threads; None without six such cells.
    """

    cell: Cell
    lines: tuple[Line, ...]
    contests: tuple[Contest, ...]
    transfers: tuple[Transfer, ...]
    rounding: Share | None = None

    @cached_property
    def answers(self) -> tuple[PricedRow, ...]:
        """Every seed with numbers."""
        return tuple(answer for line in self.lines for answer in line.answers)

    @property
    def further(self) -> list[str]:
        """The names of the task's other metrics."""
        return list(dict.fromkeys(name for line in self.lines for name in line.further))

    @property
    def metric(self) -> str:
        """What the scores are, by name."""
        return next((answer.metrics.metric for answer in self.answers), "accuracy")

    @property
    def scale(self) -> Scale:
        """What numbers they are, and which are better."""
        return next((answer.metrics.scale for answer in self.answers), FRACTION)

    @cached_property
    def together(self) -> Setting:
        """The same with one line for all simulators, if they agree in all but time.

        Its training time over the baseline's is the mean of theirs; times in ms are to be read
        of each simulator's own line.
        """
        by_question = _by(self.lines, lambda line: (line.timesteps, line.method))
        named = ", ".join(sorted({line.backend for line in self.lines}))
        shared = [
            replace(lines[0], backend=named, cost=average([line.cost for line in lines]))
            for lines in by_question.values()
            if len({line.backend for line in lines}) == len(named.split(", "))
            and all(line.evidence == lines[0].evidence for line in lines)
        ]
        return replace(self, lines=tuple(shared)) if len(shared) == len(by_question) else self

    @cached_property
    def tables(self) -> dict[tuple[int, str], list[Line]]:
        """The lines by T and simulator, in order."""
        return _by(self.lines, lambda line: (line.timesteps, line.backend))

    @cached_property
    def stability(self) -> dict[tuple[int, str], dict[tuple[str, str], float | None]]:
        """Kendall's tau of the methods' order between energy models, by table and pair."""
        return {key: _stability(lines) for key, lines in self.tables.items()}


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """Everything that the tables say.

    Attributes:
        suite: What was asked.
        settings: One a section, budgets in the order in which the suite has them.
    """

    suite: Suite
    settings: tuple[Setting, ...]

    @property
    def metric(self) -> str:
        """What its scores are: a board is of one task."""
        return self.settings[0].metric if self.settings else "accuracy"

    @property
    def scale(self) -> Scale:
        """What numbers they are, and which are better."""
        return self.settings[0].scale if self.settings else FRACTION

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Every cell without numbers."""
        lines = (line for setting in self.settings for line in setting.lines)
        return tuple(failure for line in lines for failure in line.failures)

    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Mean ranks over data sets, students, T and seeds, by training budget.

        Simulators are averaged first, so that they count as one.
        """
        found: dict[str, dict[str, dict[tuple[int, int, int], list[float]]]] = {}
        for number, setting in enumerate(self.settings):
            budget = found.setdefault(setting.cell.recipe_name, {})
            for line in (line for line in setting.lines if not line.authors):
                blocks = budget.setdefault(line.method, {})
                for seed, merit in line.merits().items():
                    blocks.setdefault((number, line.timesteps, seed), []).append(merit)
        ranked = {
            budget: statistics.ranking(
                {
                    method: {block: fmean(values) for block, values in blocks.items()}
                    for method, blocks in methods.items()
                }
            )
            for budget, methods in found.items()
        }
        return {budget: ranks for budget, ranks in ranked.items() if ranks is not None}


def leaderboard(  # noqa: PLR0913  whatever is known of its rows
    rows: Iterable[Row],
    /,
    *,
    suite: Suite,
    teachers: Sequence[Row] = (),
    mine: Mapping[str, Trust] | None = None,
    authors: Collection[str] = (),
    ends: Mapping[str, End] | None = None,
    again: Iterable[Row] = (),
    baseline: str | None = None,
    spelt: Mapping[str, Collection[str]] | None = None,
) -> Leaderboard:
    """Return what ``rows`` say, and only what they say.

    Rows are averaged over seeds alone. Gains, groups and simulators are compared seed by
    seed, over the seeds that both have; gains and groups within a track, which the methods'
    cards say. Energies are priced here, from the rows' ledgers.

    Args:
        rows: Of one suite.
        suite: It names the baseline, the seeds asked for and the remarks.
        teachers: Their rows, for the baseline that skips zero activations.
        mine: How far each cell is to be believed whose row is no published one.
        authors: Of cells with their authors' constants where tuning chose others.
        ends: Of cells, which end of the learning rates that tuning tried theirs is.
        again: Further rows of the same cells: those that differ in threads alone tell what
            rounding does.
        baseline: The method that every track is set beside, instead of its own baseline.
        spelt: By method, parameters that its name says even where they do not differ.

    Raises:
        SpecError: If there is no row, a cell occurs twice, or ``baseline`` is on no line.
    """
    found = list(rows)
    if not found:
        raise SpecError("a leaderboard needs rows; run the suite first")
    counted = Counter(row.cell_id for row in found)
    if twice := [cell for cell, count in counted.items() if count > 1]:
        raise SpecError(f"cell {min(twice)} has {counted[min(twice)]} rows; pass each cell once")
    if baseline is not None:
        suite = replace(suite, baseline=baseline)
    beside = {track: baseline or baseline_of(track, suite) for track in TRACKS}
    redrawn = _by(again, lambda row: row.cell_id)
    priced = {answer.row.cell_id: answer for answer in answers(found, teachers)}
    by_setting = _by(found, _of_any_seed(_shared))
    budgets = list(suite.recipes)

    def place(key: str) -> tuple[int, str]:
        name = by_setting[key][0].cell.recipe_name
        return budgets.index(name) if name in budgets else len(budgets), key

    board = Leaderboard(
        suite=suite,
        settings=tuple(
            _setting(
                by_setting[key],
                priced,
                suite,
                beside,
                redrawn,
                mine=mine or {},
                authors=authors,
                ends=ends or {},
                spelt=spelt or {},
            )
            for key in sorted(by_setting, key=place)
        ),
    )
    if baseline is not None:
        require_line(board, baseline)
    return board


def require_line(board: Leaderboard, method: str, /) -> None:
    """Insist that a line with a number is of ``method``, by its name on the board or in its file.

    Raises:
        SpecError: Names those that there are.
    """
    lines = [line for setting in board.settings for line in setting.lines]
    if not any(is_of(line, method) for line in lines):
        known = ", ".join(sorted({line.method for line in lines if line.answers}))
        raise SpecError(f"no line with a number is of {method!r}; there are: {known or 'none'}")


def average(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None if there is no value or one is unknown."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _setting(  # noqa: PLR0913  likewise
    rows: Sequence[Row],
    priced: Mapping[str, PricedRow],
    suite: Suite,
    beside: Mapping[Track, str],
    redrawn: Mapping[str, Sequence[Row]],
    *,
    mine: Mapping[str, Trust],
    authors: Collection[str],
    ends: Mapping[str, End],
    spelt: Mapping[str, Collection[str]],
) -> Setting:
    method = _of_any_seed(_method)
    methods = {row.cell_id: method(row) for row in rows}
    labels = _labels(rows, methods, authors, spelt)
    a_pass = _samples_a_pass(rows)
    by_line = _by(rows, lambda row: (row.cell.timesteps, _backend(row.cell), methods[row.cell_id]))
    lines = [
        replace(
            _line(by_line[key], labels[key[-1]], priced, suite, a_pass),
            mine=any(row.cell_id in mine for row in by_line[key]),
            trust=min(
                (mine.get(row.cell_id, "published") for row in by_line[key]), key=TRUSTS.index
            ),
            authors=any(row.cell_id in authors for row in by_line[key]),
            end=ends.get(by_line[key][0].cell_id),
        )
        for key in sorted(by_line)
    ]
    by_table = _by(lines, lambda line: (line.timesteps, line.backend))
    judged = [line for key in sorted(by_table) for line in _judged(by_table[key], suite, beside)]
    return Setting(
        cell=min((row.cell for row in rows), key=lambda cell: cell.cell_id),
        lines=tuple(judged),
        contests=tuple(_contests(judged)),
        transfers=tuple(_transfers(rows)),
        rounding=_rounding(judged, redrawn),
    )


def _samples_a_pass(rows: Iterable[Row]) -> float | None:
    """Return the training samples that the budget's passes see, each."""
    seen = [
        row.metrics.train_samples / row.cell.recipe.epochs
        for row in rows
        if row.metrics and row.metrics.train_samples and row.cell.recipe.epochs
    ]
    return max(seen, default=None)


def _rounding(lines: Sequence[Line], redrawn: Mapping[str, Sequence[Row]]) -> Share | None:
    """Return rounding's share, on the one simulator where most cells were drawn again.

    Simulators share seeds and often all numbers, so that they are no draws of their own.
    """
    by_backend: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        found = by_backend.setdefault(line.backend, {})
        pairs = [pair for one in line.answers if (pair := _pair(one.row, redrawn))]
        found[f"{line.method} {line.timesteps}"] = pairs
    counted = {name: sum(map(len, found.values())) for name, found in by_backend.items()}
    most = max(sorted(counted), key=counted.__getitem__)
    return statistics.rounding_share(
        by_backend[most], resolution=resolution_of([one for line in lines for one in line.metrics])
    )


def _pair(row: Row, redrawn: Mapping[str, Sequence[Row]]) -> tuple[float, float] | None:
    """Return the accuracies of a row and of its cell with another number of threads."""
    others = [
        (one.provenance.threads, one.metrics.score)
        for one in redrawn.get(row.cell_id, ())
        if one.metrics and _differ_in_threads(row, one)
    ]
    if not others or row.metrics is None:
        return None
    return row.metrics.score, min(others)[1]


def _differ_in_threads(row: Row, other: Row) -> bool:
    """Return whether two rows of a cell were made alike but for a known number of threads."""
    here, there = row.provenance, other.provenance
    if None in (here.threads, there.threads) or here.threads == there.threads:
        return False
    alike = ("train_fp", "device", "cpu", "gpu", "versions", "backend_version")
    return all(getattr(here, name) == getattr(there, name) for name in alike)


def _line(
    rows: Sequence[Row],
    label: str,
    priced: Mapping[str, PricedRow],
    suite: Suite,
    samples_a_pass: float | None,
) -> Line:
    rows = sorted(rows, key=lambda row: row.cell.seed)
    cell = rows[0].cell
    found = Answers(priced[row.cell_id] for row in rows if row.cell_id in priced)
    measured = [answer.metrics for answer in found]
    step = resolution_of(measured)
    curves = [curve for answer in found if (curve := answer.metrics.score_by_step)]
    scores = [answer.metrics.score for answer in found]
    card = card_of(cell.method)
    return Line(
        method=label,
        file=cell.method,
        params=cell.params,
        learning_rate=cell.recipe.learning_rate,
        track="inherited" if cell.starts_from_teacher else card.track if card else TRACKS[0],
        loss=card.loss if card else None,
        backend=_backend(cell),
        timesteps=cell.timesteps,
        asked=tuple(sorted({*suite.seeds, *(row.cell.seed for row in rows)})),
        answers=found,
        failures=tuple(_failure(row, label) for row in rows if row.cell_id not in priced),
        accuracy=statistics.mean_over_seeds(scores, resolution=step) if scores else None,
        given=given(
            card,
            cell,
            measured,
            recipe=suite.recipes.get(cell.recipe_name),
            samples_a_pass=samples_a_pass,
        ),
        by_step=tuple(
            statistics.mean_over_seeds(values, resolution=step)
            for values in zip(*curves, strict=True)
            if len(curves) == len(found)
        ),
    )


def _failure(row: Row, label: str) -> Failure:
    return Failure(
        method=label,
        backend=_backend(row.cell),
        timesteps=row.cell.timesteps,
        seed=row.cell.seed,
        status=row.status,
        error=row.error or "",
        log_path=row.provenance.log_path,
        cell_id=row.cell_id,
    )


def is_reconstructed(label: str, /) -> bool:
    """Return whether the loss of the method that a label names is not its authors'."""
    found = re.match(r"\w+", label)
    card = card_of(found[0]) if found else None
    return card is not None and card.loss == "reconstructed"


def named(label: str, /) -> str:
    """Return a method as Markdown, marked if its loss is reconstructed."""
    return f"{words.text(label)}{' †' * is_reconstructed(label)}"


def baseline_of(track: Track, suite: Suite, /) -> str:
    """Return the method over which the gains of a track are counted."""
    return TRACK_BASELINES.get(track, suite.baseline)


def _judged(lines: Sequence[Line], suite: Suite, beside: Mapping[Track, str]) -> list[Line]:
    """Return the lines of one table with groups, gains and costs: by track, in order."""
    resolution = resolution_of([one for line in lines for one in line.metrics])
    lines = _with_costs(lines, suite.baseline)
    by_track = _by(lines, lambda line: line.track)
    judged = []
    for track in sorted(by_track, key=TRACKS.index):
        name = beside[track]
        base = _only([line for line in lines if is_of(line, name)])
        ours = [replace(line, baseline=name) for line in by_track[track]]
        ours = _with_groups(ours, resolution)
        judged += _with_gains(ours, base, resolution) if base else ours
    return sorted(judged, key=lambda line: (TRACKS.index(line.track), *_best_first(line)))


def is_of(line: Line, method: str, /) -> bool:
    """Return whether a line has numbers of ``method``, by its name on the board or in its file."""
    if not line.answers:
        return False
    cell = line.answers[0].row.cell
    plain = cell.method == method and not (cell.starts_from_teacher or line.authors)
    return plain or line.method == method != cell.method


def _only(lines: Sequence[Line]) -> Line | None:
    """Return the one line there is; of a method with several parameters none is the baseline."""
    return lines[0] if len(lines) == 1 else None


def _with_costs(lines: Sequence[Line], baseline: str) -> list[Line]:
    """Return the lines with training time, energy and parameters beside the baseline's.

    Times are set beside each other where machines are alike.
    """
    usual = usual_energy({model for line in lines for model in line.energies}) or ""
    base = _only([line for line in lines if is_of(line, baseline)])
    seconds = base.timing("train_seconds") if base else None

    def cost(line: Line) -> float | None:
        mine = line.timing("train_seconds")
        alike = base is not None and line.machines == base.machines
        return mine / seconds if alike and mine is not None and seconds else None

    def energy_cost(line: Line) -> float | None:
        mine, theirs = line.energies.get(usual), base and base.energies.get(usual)
        return mine / theirs if mine is not None and theirs else None

    def with_parameters(line: Line) -> Given:
        mine = line.average("parameter_count")
        theirs = base.average("parameter_count") if base else None
        more = None if mine is None or theirs is None else mine - theirs
        return replace(line.given, more_parameters=more)

    return [
        replace(line, cost=cost(line), energy_cost=energy_cost(line), given=with_parameters(line))
        for line in lines
    ]


def _with_groups(lines: Sequence[Line], resolution: float) -> list[Line]:
    """Return the lines of one track with their groups and probabilities of being best."""
    scores = {line.method: line.merits() for line in lines if line.answers and not line.authors}
    groups = statistics.significance_groups(scores, resolution=resolution)
    best = statistics.probability_of_best(scores)
    return [
        replace(line, group=groups.get(line.method), best=best.get(line.method)) for line in lines
    ]


def _with_gains(lines: Sequence[Line], base: Line, resolution: float) -> list[Line]:
    """Return the lines with their gain over ``base``, seed by seed."""
    scores = base.merits()
    gains = [
        None
        if line.authors or (line.method, line.backend) == (base.method, base.backend)
        else statistics.compare_common(line.merits(), scores, resolution=resolution)
        for line in lines
    ]
    tested = [(i, gain.p_t) for i, gain in enumerate(gains) if gain and gain.p_t is not None]
    adjusted = statistics.holm([p for _, p in tested])
    holm = {i: p for (i, _), p in zip(tested, adjusted, strict=True)}
    return [
        replace(line, gain=gain, gain_p_holm=holm.get(i))
        for i, (line, gain) in enumerate(zip(lines, gains, strict=True))
    ]


def _contests(lines: Sequence[Line]) -> Iterable[Contest]:
    by_question = _by(lines, lambda line: (line.timesteps, line.method))
    for timesteps, method in sorted(by_question):
        rivals = sorted(by_question[timesteps, method], key=lambda line: line.backend)
        for first, second in combinations(rivals, 2):
            ours, theirs = first.by_seed(), second.by_seed()
            common = sorted(ours.keys() & theirs.keys())
            if not common:
                continue
            mine, others = [ours[seed] for seed in common], [theirs[seed] for seed in common]
            step = resolution_of([*first.metrics, *second.metrics])
            asked = {*first.asked, *second.asked}
            yield Contest(
                method=_marked(method, len(common), len(asked)),
                is_complete=len(common) == len(asked),
                scale=first.scale,
                timesteps=timesteps,
                first=first.backend,
                second=second.backend,
                first_accuracy=fmean(mine),
                second_accuracy=fmean(others),
                comparison=statistics.compare_paired(mine, others, resolution=step),
            )


def _transfers(rows: Sequence[Row]) -> Iterable[Transfer]:
    found: dict[tuple[int, str, str], list[tuple[int, int]]] = defaultdict(list)
    for cell, metrics in ((row.cell, row.metrics) for row in rows if row.metrics):
        for other, answer in metrics.cross_backend.items():
            key = cell.timesteps, _backend(cell), other
            asked = metrics.cross_backend_samples or metrics.n_test
            found[key].append((asked, answer.differing))
    for (timesteps, here, there), counts in sorted(found.items()):
        yield Transfer(
            trained_on=here,
            evaluated_on=there,
            timesteps=timesteps,
            decisions=sum(samples for samples, _ in counts),
            differing=sum(differing for _, differing in counts),
            cells=len(counts),
            cells_differing=sum(differing > 0 for _, differing in counts),
        )


def _stability(lines: Sequence[Line]) -> dict[tuple[str, str], float | None]:
    """Return how alike energy models order the methods of one table, authors' constants apart."""
    lines = [line for line in lines if not line.authors]
    models = {model for line in lines for model in line.energies}
    return statistics.rank_stability(
        {model: [line.energies.get(model) for line in lines] for model in models}
    )


def _marked(method: str, found: int, asked: int) -> str:
    """Return the method, with how many of how many seeds if some are not in the mean."""
    return method if found == asked else f"{method}, {found}/{asked} seeds"


def _labels(
    rows: Sequence[Row],
    methods: Mapping[str, str],
    authors: Collection[str],
    spelt: Mapping[str, Collection[str]],
) -> dict[str, str]:
    """Return a name for each method and parameters; parameters where they differ, or as told."""
    found = {methods[row.cell_id]: row.cell for row in rows if row.cell_id not in authors}
    by_method = _by(found.values(), lambda cell: cell.method)
    labels = {
        key: spell(
            cell.method, told_apart(cell, by_method[cell.method], spelt.get(cell.method, ()))
        )
        for key, cell in found.items()
    }
    theirs = {methods[row.cell_id]: row.cell for row in rows if row.cell_id in authors}
    return labels | {
        key: f"{cell.method} (authors'{', from teacher' * cell.starts_from_teacher})"
        for key, cell in theirs.items()
    }


def _backend(cell: Cell) -> str:
    return cell.backend or "none"


def _method(cell: Cell) -> str:
    rate = cell.recipe.learning_rate
    read = {"unlabelled": str(cell.unlabelled)} if cell.unlabelled else {}
    asked = {"method": cell.method, "params": cell.params, "learning_rate": rate}
    return _canonical(asked | read)


def _of_any_seed(spelt: Callable[[Cell], str]) -> Callable[[Row], str]:
    """Return what ``spelt`` says of a row's cell, once for cells that differ in the seed alone."""
    known: dict[tuple[str, str], str] = {}

    def of(row: Row) -> str:
        if (but_seed := row.cell.around_seed) not in known:
            known[but_seed] = spelt(row.cell)
        return known[but_seed]

    return of


def _shared(cell: Cell) -> str:
    shared = {k: part for k, part in identifying(cell).items() if k not in FREE}
    return _canonical(shared | {"recipe": recipe_of(cell)})


def recipe_of(cell: Cell, /) -> dict[str, Any]:
    """Return a cell's recipe but for the learning rate, which is tuned for each method."""
    return {k: part for k, part in identifying(cell.recipe).items() if k != "learning_rate"}


_canonical = json.JSONEncoder(sort_keys=True).encode


def resolution_of(metrics: Iterable[Metrics], /) -> float:
    """Return the step in which accuracies come: one test sample; 0 of what is no fraction."""
    return min((1 / one.n_test for one in metrics if one.scale == FRACTION), default=0.0)


def _best_first(line: Line) -> tuple[float, str]:
    return -line.merit, line.method


def _by(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    grouped: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        grouped[key(item)].append(item)
    return dict(grouped)
