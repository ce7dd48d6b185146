"""Rows, grouped by what may be compared: the numbers behind every table."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Any, TypeVar

from harness import statistics
from harness.contracts.errors import SpecError
from harness.contracts.record import Cell, Metrics, Row
from harness.statistics import Comparison, Interval, Mean

Item = TypeVar("Item")
Key = TypeVar("Key")

# What a cell may differ in and still be averaged over or set beside another.
_FREE = {"method", "params", "backend", "timesteps", "seed"}


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


@dataclass(frozen=True, kw_only=True)
class Group:
    """One line of a table: one method on one simulator at one T, over its seeds.

    Attributes:
        method: Its label; parameters are added where the method occurs with several.
        params: Of the method.
        backend: The simulator.
        timesteps: T.
        rows: Those with numbers, by seed.
        failures: The others.
        accuracy: Mean over seeds; None if no seed has a number.
        by_step: Likewise after each step; empty if unknown.
        gain: Over the baseline, seed by seed; None for the baseline itself, or without it.
        gain_p_holm: Its p of the t test, adjusted for the methods of its table.
        rank: One more than the number of methods that are clearly better.
    """

    method: str
    params: Mapping[str, Any]
    backend: str
    timesteps: int
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    accuracy: Mean | None
    by_step: tuple[Mean, ...] = ()
    gain: Comparison | None = None
    gain_p_holm: float | None = None
    rank: int | None = None

    @property
    def metrics(self) -> tuple[Metrics, ...]:
        """What each seed measured."""
        return tuple(row.metrics for row in self.rows if row.metrics is not None)

    @property
    def tried(self) -> tuple[int, ...]:
        """The seeds that were tried, those that ended without a number among them."""
        ended = [row.cell.seed for row in self.rows] + [gone.seed for gone in self.failures]
        return tuple(sorted(ended))

    def spikes_per_synapse(self) -> float | None:
        """Return accumulates an inference over the artificial network's synapses."""
        accumulates, dense = self.average("acs_per_sample"), self.average("dense_macs")
        return accumulates / dense if accumulates is not None and dense else None

    def by_seed(self) -> dict[int, float]:
        """Return the test accuracy of each seed that has one."""
        pairs = zip(self.rows, self.metrics, strict=True)
        return {row.cell.seed: metrics.test_accuracy for row, metrics in pairs}

    def average(self, column: str) -> float | None:
        """Return the mean of a column over the seeds that know it; None if none does."""
        known = [getattr(metrics, column) for metrics in self.metrics]
        return _mean_of_known(known)

    def average_of(self, column: str, key: str) -> float | None:
        """Return the mean of one entry of a column of mappings, likewise."""
        return _mean_of_known([getattr(metrics, column).get(key) for metrics in self.metrics])

    def timing(self, column: str) -> float | None:
        """Return the mean of a wall-clock column; None if it mixes kinds of machine."""
        kinds = {(at.device, at.cpu, at.gpu) for at in (row.provenance for row in self.rows)}
        return self.average(column) if len(kinds) == 1 else None

    def wilson(self) -> tuple[Interval, ...]:
        """Return the interval over test samples of each seed."""
        return tuple(Interval(one.accuracy_low, one.accuracy_high) for one in self.metrics)

    def outcome(self) -> str:
        """Return how many seeds have numbers, and how the others ended."""
        if not self.failures:
            return str(len(self.tried))
        ended = Counter(failure.status for failure in self.failures)
        words = (f"{count}/{len(self.tried)} {status}" for status, count in sorted(ended.items()))
        return ", ".join(words)


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The same method and T on two simulators."""

    method: str
    timesteps: int
    first: str
    second: str
    first_accuracy: float
    second_accuracy: float
    comparison: Comparison


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
    """What all groups of a section have in common, and the groups.

    Attributes:
        cell: Any of its cells; all but method, parameters, simulator, T and seed is shared.
        groups: By T, simulator and falling accuracy; those without a number last.
        contests: Simulators against each other.
        transfers: The same weights on other simulators.
        stability: Kendall's tau of the methods' order between energy models, by T,
            simulator and pair of models.
    """

    cell: Cell
    groups: tuple[Group, ...]
    contests: tuple[Contest, ...]
    transfers: tuple[Transfer, ...]
    stability: Mapping[tuple[int, str], Mapping[tuple[str, str], float | None]] = field(
        default_factory=dict
    )

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row with numbers."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def tables(self) -> dict[tuple[int, str], list[Group]]:
        """The groups by T and simulator, in order."""
        tables: dict[tuple[int, str], list[Group]] = defaultdict(list)
        for group in self.groups:
            tables[group.timesteps, group.backend].append(group)
        return dict(tables)


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """Everything that the tables say.

    Attributes:
        baseline: The method over which gains are counted.
        settings: One a section.
    """

    baseline: str
    settings: tuple[Setting, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Every cell without numbers."""
        groups = (group for setting in self.settings for group in setting.groups)
        return tuple(failure for group in groups for failure in group.failures)


def leaderboard(rows: Iterable[Row | Mapping[str, Any]], /, *, baseline: str) -> Leaderboard:
    """Return what ``rows`` say, and only what they say.

    Rows are averaged over seeds alone. Gains, ranks and simulators are compared seed by
    seed, over the seeds that both have.

    Raises:
        SpecError: If there is no row, a cell occurs twice, or a row is none.
    """
    found = [row if isinstance(row, Row) else Row.from_columns(row) for row in rows]
    if not found:
        raise SpecError("a leaderboard needs rows; run the suite first")
    counted = Counter(row.cell.cell_id for row in found)
    if twice := [cell for cell, count in counted.items() if count > 1]:
        raise SpecError(f"cell {min(twice)} has {counted[min(twice)]} rows; pass each cell once")
    by_setting = _by(found, lambda row: _canonical(_shared(row.cell)))
    return Leaderboard(
        baseline=baseline,
        settings=tuple(_setting(by_setting[key], baseline) for key in sorted(by_setting)),
    )


def _setting(rows: Sequence[Row], baseline: str) -> Setting:
    labels = _labels(rows)
    by_table = _by(rows, lambda row: (row.cell.timesteps, row.cell.backend))
    groups = tuple(
        group for key in sorted(by_table) for group in _table(by_table[key], labels, baseline)
    )
    setting = Setting(
        cell=min((row.cell for row in rows), key=lambda cell: cell.cell_id),
        groups=groups,
        contests=tuple(_contests(groups)),
        transfers=tuple(_transfers(rows)),
    )
    return replace(
        setting, stability={key: _stability(table) for key, table in setting.tables.items()}
    )


def _table(rows: Sequence[Row], labels: Mapping[str, str], baseline: str) -> list[Group]:
    by_method = _by(rows, lambda row: _answer(row.cell))
    groups = [_group(by_method[key], labels[key]) for key in sorted(by_method)]
    resolution = _resolution(groups)
    scores = {group.method: group.by_seed() for group in groups if group.rows}
    ranks = statistics.ranks_with_ties(scores, resolution=resolution)
    groups = [replace(group, rank=ranks.get(group.method)) for group in groups]
    bases = [group for group in groups if group.rows and group.rows[0].cell.method == baseline]
    if len(bases) == 1:
        groups = _with_gains(groups, bases[0], resolution)
    return sorted(groups, key=_falling_accuracy)


def _group(rows: Sequence[Row], label: str) -> Group:
    rows = sorted(rows, key=lambda row: row.cell.seed)
    cell = rows[0].cell
    metrics = [row.metrics for row in rows if row.metrics is not None]
    step = min((1 / one.n_test for one in metrics), default=0.0)
    curves = [one.accuracy_by_step for one in metrics if one.accuracy_by_step]
    return Group(
        method=label,
        params=cell.params,
        backend=cell.backend,
        timesteps=cell.timesteps,
        rows=tuple(row for row in rows if row.metrics is not None),
        failures=tuple(_failure(row, label) for row in rows if row.metrics is None),
        accuracy=_mean([one.test_accuracy for one in metrics], step),
        by_step=tuple(
            statistics.mean_over_seeds(values, resolution=step)
            for values in zip(*curves, strict=True)
        ),
    )


def _failure(row: Row, label: str) -> Failure:
    return Failure(
        method=label,
        backend=row.cell.backend,
        timesteps=row.cell.timesteps,
        seed=row.cell.seed,
        status=row.status,
        error=row.error or "",
        log_path=row.provenance.log_path,
    )


def _with_gains(groups: Sequence[Group], base: Group, resolution: float) -> list[Group]:
    """Return the groups with their gain over ``base``, seed by seed."""
    gains = [None if group is base else _paired(group, base, resolution) for group in groups]
    tested = [(i, gain.p_t) for i, gain in enumerate(gains) if gain and gain.p_t is not None]
    adjusted = statistics.holm([p for _, p in tested])
    holm = {i: p for (i, _), p in zip(tested, adjusted, strict=True)}
    return [
        replace(group, gain=gain, gain_p_holm=holm.get(i))
        for i, (group, gain) in enumerate(zip(groups, gains, strict=True))
    ]


def _paired(ours: Group, theirs: Group, resolution: float) -> Comparison | None:
    first, second = ours.by_seed(), theirs.by_seed()
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    return statistics.compare_paired(
        [first[seed] for seed in common],
        [second[seed] for seed in common],
        resolution=resolution,
    )


def _contests(groups: Sequence[Group]) -> Iterable[Contest]:
    by_question = _by(groups, lambda group: (group.timesteps, group.method))
    for timesteps, method in sorted(by_question):
        answers = sorted(by_question[timesteps, method], key=lambda group: group.backend)
        for first, second in combinations(answers, 2):
            found = _paired(first, second, _resolution([first, second]))
            if found is not None and first.accuracy and second.accuracy:
                yield Contest(
                    method=method,
                    timesteps=timesteps,
                    first=first.backend,
                    second=second.backend,
                    first_accuracy=first.accuracy.value,
                    second_accuracy=second.accuracy.value,
                    comparison=found,
                )


def _transfers(rows: Sequence[Row]) -> Iterable[Transfer]:
    found: dict[tuple[int, str, str], list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row.metrics is None:
            continue
        for other, answer in row.metrics.cross_backend.items():
            key = row.cell.timesteps, row.cell.backend, other
            found[key].append((row.metrics.n_test, answer["differing"]))
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


def _stability(groups: Sequence[Group]) -> dict[tuple[str, str], float | None]:
    """Return how alike energy models order the methods of one table."""
    models = {name for group in groups for one in group.metrics for name in one.energy_pj}
    return statistics.rank_stability(
        {
            model: {group.method: group.average_of("energy_pj", model) for group in groups}
            for model in models
        }
    )


def _labels(rows: Sequence[Row]) -> dict[str, str]:
    """Return a name for each method and parameters; parameters only where they differ."""
    answers = {_answer(row.cell): row.cell for row in rows}
    by_method = _by(answers.values(), lambda cell: cell.method)
    return {key: _label(cell, by_method[cell.method]) for key, cell in answers.items()}


def _label(cell: Cell, rivals: Sequence[Cell]) -> str:
    differing = [
        f"{name}={value}"
        for name, value in sorted(cell.params.items())
        if any(rival.params.get(name) != value for rival in rivals)
    ]
    return f"{cell.method} ({', '.join(differing)})" if differing else cell.method


def _answer(cell: Cell) -> str:
    return _canonical({"method": cell.method, "params": cell.params})


def _shared(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in cell.columns().items() if name not in _FREE}


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _resolution(groups: Sequence[Group]) -> float:
    """Return the step in which accuracies come: one test sample."""
    return min((1 / one.n_test for group in groups for one in group.metrics), default=0.0)


def _mean(values: Sequence[float], resolution: float) -> Mean | None:
    return statistics.mean_over_seeds(values, resolution=resolution) if values else None


def _mean_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _falling_accuracy(group: Group) -> tuple[float, str]:
    return (-group.accuracy.value if group.accuracy else 1.0), group.method


def _by(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    grouped: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        grouped[key(item)].append(item)
    return dict(grouped)
