"""The leaderboard for a reader who wants to know which method to take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness.energy import BREAK_EVENS
from harness.report import _words as words
from harness.report._groups import Contest, Failure, Group, Leaderboard, Setting
from harness.statistics import MIN_SEEDS_FOR_CLAIMS

# What the literature prints, under the convention by which our networks run: what stands
# before the first neuron is computed once.
_USUAL_ENERGY = "horowitz_45nm_fp32:cached"

# The artificial networks that a bill is compared with, by column.
_BASELINES = {
    "energy_ratio_ann": "dense",
    "energy_ratio_effective": "effective",
    "energy_ratio_twin": "quantised",
}
# Percentage points that an early exit may cost on the validation data.
_ALLOWED_DROP = "0.5"

_HOW_TO_READ = """\
Test accuracy in per cent after the last epoch, on a split fixed in advance: mean over
seeds ± half of its 95 % t interval. **Bold**: rank 1, the methods that noise cannot tell
from the best. A rank is one more than the number of methods that are clearly better,
paired by seed. *Within noise*: the 95 % interval of the paired difference includes 0. A
question mark: fewer than {seeds} seeds, provisional. *One seed ±*: half of the widest 95 %
Wilson interval of a single network over the test samples. A dash: unknown, never zero."""


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A column of a table; left out where it is unknown for every line."""

    title: str
    text: Callable[[Group], str]
    left: bool = False


def render(board: Leaderboard, /, *, command: str, remarks: Mapping[str, str]) -> str:
    """Return the page; the same rows give the same bytes."""
    suites = sorted({setting.cell.suite for setting in board.settings})
    notes = _notes(board)
    parts = [
        f"# Leaderboard: {', '.join(suites)}",
        _HOW_TO_READ.format(seeds=MIN_SEEDS_FOR_CLAIMS),
        *(part for setting in board.settings for part in _section(setting, board, notes)),
        *_remarks(board, remarks),
        *_failures(board),
        *_notes_section(notes),
        f"## Regenerate\n\n```\n{command}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _section(setting: Setting, board: Leaderboard, notes: Mapping[str, int]) -> Iterable[str]:
    cell = setting.cell
    marks = "".join(f" [{notes[note]}]" for note in _data_notes(setting))
    yield f"## {cell.dataset}, {cell.model}, recipe `{_name(cell.recipe)}`{marks}"
    yield "\n".join(f"- {line}" for line in _circumstances(setting))
    yield "### At a glance"
    yield _overview(setting)
    headline = _headline(setting)
    for (timesteps, backend), groups in setting.tables.items():
        yield f"### T = {timesteps}, {backend}"
        yield _table(groups, _columns(groups, board.baseline, headline))
    if headline is not None:
        yield f"Spikes, operations and energy are a sample's; energy is `{headline}`."
    yield from _curves(setting)
    yield from _exits(setting)
    yield from _simulators(setting)
    yield from _energies(setting)
    yield from _break_evens(setting)


def _circumstances(setting: Setting) -> Iterable[str]:
    """Yield what all lines of a section share."""
    cell, rows = setting.cell, setting.rows
    metrics = [row.metrics for row in rows if row.metrics is not None]
    at = [row.provenance for row in rows]
    yield f"Recipe `{_name(cell.recipe)}`: {_settings(cell.recipe, but=('name',))}"
    yield f"Neuron: {_settings(cell.neuron)}"
    teachers = [one.teacher_accuracy for one in metrics if one.teacher_accuracy is not None]
    accuracy = f", test accuracy {_range(teachers, words.percent)} %" if teachers else ""
    yield f"Teacher: {_teacher(cell.teacher)}{accuracy}"
    for note in sorted({where.teacher_note for where in at if where.teacher_note}):
        yield f"Teacher note: {note}"
    artificial = [one.ann_accuracy for one in metrics if one.ann_accuracy is not None]
    if artificial:
        ours = _range(artificial, words.percent)
        yield f"The student's topology as an artificial network: {ours} %"
    seeds = sorted({seed for group in setting.groups for seed in group.tried})
    yield f"Seeds: {', '.join(map(str, seeds)) or 'none'}"
    yield f"Test samples: {_range([one.n_test for one in metrics], str) or words.UNKNOWN}"
    versions = {(row.cell.backend, row.provenance.backend_version) for row in rows}
    simulators = sorted(f"{name} {version or ''}".strip() for name, version in versions)
    yield f"Simulators: {', '.join(simulators) or words.UNKNOWN}"
    machines = sorted({f"{where.gpu or where.cpu}, torch {where.torch}" for where in at})
    yield f"Ran on: {'; '.join(machines) or words.UNKNOWN}"


def _overview(setting: Setting) -> str:
    tables = setting.tables
    best: dict[str, float] = {}
    for groups in tables.values():
        for group in groups:
            value = group.accuracy.value if group.accuracy else 0.0
            best[group.method] = max(value, best.get(group.method, 0.0))
    head = ["method", *(f"T={steps} {backend}" for steps, backend in tables)]
    lines = []
    for method in sorted(best, key=lambda name: (-best[name], name)):
        found = [_only(groups, method) for groups in tables.values()]
        lines.append([method, *(_glance(group) for group in found)])
    return words.grid(head, lines, left=1)


def _only(groups: Sequence[Group], method: str) -> Group | None:
    return next((group for group in groups if group.method == method), None)


def _glance(group: Group | None) -> str:
    if group is None:
        return words.UNKNOWN
    if group.accuracy is None:
        return group.outcome()
    text = words.accuracy(group.accuracy, _widest_wilson(group))
    failed = f" ({group.outcome()})" if group.failures else ""
    return f"**{text}**{failed}" if group.rank == 1 else f"{text}{failed}"


def _headline(setting: Setting) -> str | None:
    """Return the energy model of the tables: the usual one, or else the first with a total."""
    metrics = [row.metrics for row in setting.rows if row.metrics is not None]
    priced = {name for one in metrics for name, pj in one.energy_pj.items() if pj is not None}
    return _USUAL_ENERGY if _USUAL_ENERGY in priced else min(priced, default=None)


def _columns(groups: Sequence[Group], baseline: str, headline: str | None) -> list[_Column]:
    ranks = [group.rank for group in groups]

    def rank(group: Group) -> str:
        if group.rank is None:
            return words.UNKNOWN
        return f"{group.rank}{'=' if ranks.count(group.rank) > 1 else ''}"

    def energy(group: Group) -> str:
        return words.energy(group.average_of("energy_pj", headline) if headline else None)

    def average(column: str, text: Callable[[float | None], str]) -> Callable[[Group], str]:
        return lambda group: text(group.average(column))

    return [
        _Column(title="rank", text=rank),
        _Column(title="method", text=lambda group: group.method, left=True),
        _Column(
            title="accuracy %",
            text=lambda group: words.accuracy(group.accuracy, _widest_wilson(group)),
        ),
        _Column(title="one seed ±", text=_one_seed),
        _Column(title=f"over {baseline}", text=lambda group: words.difference(group.gain)),
        _Column(title="verdict", text=lambda group: words.verdict(group.gain), left=True),
        _Column(title="agreement %", text=average("agreement", words.percent)),
        _Column(title="steps to decide", text=average("mean_steps_to_decide", words.figure)),
        _Column(title="spikes", text=average("spikes_per_sample", words.quantity)),
        _Column(title="AC", text=average("acs_per_sample", words.quantity)),
        _Column(title="MAC", text=average("macs_per_sample", words.quantity)),
        _Column(title="energy", text=energy),
        _Column(title="latency ms", text=lambda group: words.figure(group.timing("latency_ms_b1"))),
        _Column(title="train s", text=lambda group: words.figure(group.timing("train_seconds"))),
        _Column(title="seeds", text=Group.outcome, left=True),
    ]


def _table(groups: Sequence[Group], columns: Iterable[_Column]) -> str:
    texts = [(column, [column.text(group) for group in groups]) for column in columns]
    known = [(column, cells) for column, cells in texts if set(cells) != {words.UNKNOWN}]
    head = [column.title for column, _ in known]
    lines = [list(line) for line in zip(*(cells for _, cells in known), strict=True)]
    return words.grid(head, lines, lefts=[column.left for column, _ in known])


def _widest_wilson(group: Group) -> float:
    return max((interval.half_width for interval in group.wilson()), default=0.0)


def _one_seed(group: Group) -> str:
    half = 100 * _widest_wilson(group)
    return f"{half:.{words.decimals(half)}f}" if group.rows else words.UNKNOWN


def _curves(setting: Setting) -> Iterable[str]:
    """Yield the accuracies after each step, where there is more than one."""
    longest = max((len(group.by_step) for group in setting.groups), default=0)
    if longest < 2:
        return
    yield "### Accuracy % after each step"
    head = ["T", "simulator", "method", *(str(step + 1) for step in range(longest))]
    lines = [
        [
            str(group.timesteps),
            group.backend,
            group.method,
            *(words.percent(mean.value) for mean in group.by_step),
            *[""] * (longest - len(group.by_step)),
        ]
        for group in setting.groups
        if len(group.by_step) > 1
    ]
    yield words.grid(head, lines, lefts=[False, True, True, *[False] * longest])


def _exits(setting: Setting) -> Iterable[str]:
    """Yield what leaving early brings, where there is more than one step."""
    lines = [
        [str(group.timesteps), group.backend, group.method, rule, *_exit(group, rule)]
        for group in setting.groups
        for rule in sorted({rule for one in group.metrics for rule in one.early_exit})
    ]
    if not lines:
        return
    yield "### Leaving early"
    yield (
        f"Thresholds fitted on validation data for at most {_ALLOWED_DROP} points of accuracy lost "
        "there; accuracy, mean steps and mean energy (`horowitz_45nm_fp32:cached`) are the test "
        "split's, means over seeds. Rules: docs/latency.md."
    )
    head = ["T", "simulator", "method", "rule", "accuracy %", "all steps %", "steps", "energy"]
    yield words.grid(head, lines, lefts=[False, True, True, True, False, False, False, False])


def _exit(group: Group, rule: str) -> list[str]:
    """Return accuracy at the exit and after all steps, steps and energy, as texts."""
    known = [one for one in group.metrics if rule in one.early_exit]
    points = [one.early_exit[rule][_ALLOWED_DROP] for one in known]

    def mean(column: str) -> float | None:
        values = [point[column] for point in points]
        return None if None in values else fmean(value for value in values if value is not None)

    return [
        words.percent(mean("accuracy"), places=2),
        words.percent(fmean(one.test_accuracy for one in known), places=2),
        words.figure(mean("mean_steps")),
        words.energy(mean("mean_energy_pj")),
    ]


def _simulators(setting: Setting) -> Iterable[str]:
    """Yield how far the simulators are apart, trained and evaluated."""
    if setting.contests or setting.transfers:
        yield "### Simulators compared"
    if setting.contests:
        yield "Trained on either, paired by seed: same data order, same initial weights."
        head = ["T", "method", "first", "accuracy %", "second", "accuracy %", "first - second", ""]
        lines = [
            [
                str(one.timesteps),
                one.method,
                one.first,
                words.percent(one.first_accuracy, places=2),
                one.second,
                words.percent(one.second_accuracy, places=2),
                words.difference(one.comparison),
                _winner(one),
            ]
            for one in setting.contests
        ]
        lefts = [False, True, True, False, True, False, False, True]
        yield words.grid(head, lines, lefts=lefts)
    if setting.transfers:
        yield "Trained on one and evaluated, with the same weights, on another:"
        head = ["T", "trained on", "evaluated on", "differing decisions", "differing students"]
        lines = [
            [
                str(one.timesteps),
                one.trained_on,
                one.evaluated_on,
                f"{one.differing:,} of {one.decisions:,}",
                f"{one.cells_differing} of {one.cells}",
            ]
            for one in setting.transfers
        ]
        yield words.grid(head, lines, lefts=[False, True, True, False, False])


def _winner(one: Contest) -> str:
    names = {"better": f"{one.first} higher", "worse": f"{one.second} higher"}
    said = words.verdict(one.comparison)
    return names.get(said.rstrip("?"), said.rstrip("?")) + "?" * said.endswith("?")


def _energies(setting: Setting) -> Iterable[str]:
    """Yield what each energy model makes of each table."""
    headline = _headline(setting)
    if headline is None:
        return
    lines = [
        line
        for (timesteps, backend), groups in setting.tables.items()
        for line in _energy_lines(groups, setting.stability[timesteps, backend], headline)
    ]
    yield "### Energy under every model"
    yield (
        "Estimates, a sample; compare methods, not joules. The dense ANN multiplies every "
        "weight, the effective one skips zero activations, the quantised one has as many "
        "activation bits as T steps of spikes can tell apart. *Kendall's tau*: how alike this "
        f"model and `{headline}` order the methods, 1 is alike, -1 reversed. Models with no "
        "total for any method are left out."
    )
    over = [f"over {name} ANN" for name in _BASELINES.values()]
    head = ["T", "simulator", "model", "cheapest", "energy", *over, "Kendall's tau"]
    yield words.grid(head, lines, lefts=[False, True, True, True, *[False] * (len(over) + 2)])


def _energy_lines(
    groups: Sequence[Group], taus: Mapping[tuple[str, str], float | None], headline: str
) -> Iterable[list[str]]:
    models = {name for group in groups for one in group.metrics for name in one.energy_pj}
    for model in sorted(models):
        priced = {group.method: group.average_of("energy_pj", model) for group in groups}
        known = {method: pj for method, pj in priced.items() if pj is not None}
        if not known:
            continue
        ratios = [
            [group.average_of(baseline, model) for group in groups] for baseline in _BASELINES
        ]
        first, second = sorted((model, headline))
        yield [
            str(groups[0].timesteps),
            groups[0].backend,
            model,
            min(known, key=lambda method: (known[method], method)),
            _range(list(known.values()), words.energy),
            *(
                _range([ratio for ratio in each if ratio is not None], words.figure)
                or words.UNKNOWN
                for each in ratios
            ),
            "1" if model == headline else words.figure(taus.get((first, second))),
        ]


def _break_evens(setting: Setting) -> Iterable[str]:
    """Yield the spikes per synapse and where published thresholds put them."""
    lines = []
    for (timesteps, backend), groups in setting.tables.items():
        sigmas = [sigma for sigma in map(Group.spikes_per_synapse, groups) if sigma is not None]
        if sigmas:
            sides = [_range([min(sigmas), max(sigmas)], known.side) for known in BREAK_EVENS]
            lines.append([str(timesteps), backend, _range(sigmas, words.figure), *sides])
    if not lines:
        return
    yield (
        "Accumulates per synapse of the artificial network and inference, and on which side "
        "of the published break-even they lie; below, spiking pays:"
    )
    thresholds = [
        f"{known.source} ({_range([known.low, known.high], words.figure)})" for known in BREAK_EVENS
    ]
    head = ["T", "simulator", "per synapse", *thresholds]
    yield words.grid(head, lines, lefts=[False, True, False, *[True] * len(thresholds)])


def _remarks(board: Leaderboard, remarks: Mapping[str, str]) -> Iterable[str]:
    """Yield what is to be said of the methods that are here."""
    present = {row.cell.method for setting in board.settings for row in setting.rows}
    present |= {failure.method for failure in board.failures}
    lines = [f"- `{name}`: {text}" for name, text in sorted(remarks.items()) if name in present]
    if lines:
        yield "## Remarks"
        yield "\n".join(lines)


def _failures(board: Leaderboard) -> Iterable[str]:
    if not board.failures:
        return
    yield "## Without a number"
    yield "These cells count as what they are, not as zero, and are in no mean."
    alike: dict[tuple[str, str, int, str, str], list[Failure]] = defaultdict(list)
    for one in board.failures:
        alike[one.method, one.backend, one.timesteps, one.status, one.error].append(one)
    head = ["method", "simulator", "T", "seeds", "status", "reason", "log"]
    lines = [
        [
            method,
            backend,
            str(timesteps),
            ", ".join(str(one.seed) for one in ended),
            status,
            error,
            # Who was skipped did nothing that a log could tell.
            " ".join(one.log_path or words.UNKNOWN for one in ended if status != "skipped"),
        ]
        for (method, backend, timesteps, status, error), ended in alike.items()
    ]
    yield words.grid(head, lines, lefts=[True, True, False, True, True, True, True])


def _notes(board: Leaderboard) -> dict[str, int]:
    """Return every note with its number."""
    data = [note for setting in board.settings for note in _data_notes(setting)]
    energy = [
        sentence
        for setting in board.settings
        for row in setting.rows
        for sentence in (row.metrics.energy_assumptions if row.metrics else ())
    ]
    unique = dict.fromkeys([*data, *sorted(energy)])
    return {note: number for number, note in enumerate(unique, start=1)}


def _data_notes(setting: Setting) -> list[str]:
    return sorted({note for row in setting.rows for note in row.provenance.data_notes})


def _notes_section(notes: Mapping[str, int]) -> Iterable[str]:
    if notes:
        yield "## Notes"
        yield "\n".join(f"{number}. {note}" for note, number in notes.items())


def _name(recipe: Mapping[str, Any]) -> str:
    return str(recipe.get("name", words.UNKNOWN))


def _teacher(teacher: Mapping[str, Any] | None) -> str:
    if teacher is None:
        return "none"
    rest = {name: value for name, value in teacher.items() if name not in ("model", "dataset")}
    return f"{teacher.get('model', words.UNKNOWN)} ({_settings(rest) or 'no details'})"


def _settings(values: Mapping[str, Any], *, but: Sequence[str] = ()) -> str:
    """Return a mapping in one line, by name; what is off or empty is left out."""
    told = (
        f"{name} {_setting(value)}"
        for name, value in sorted(values.items())
        if name not in but and not (value is None or value is False or value in ([], {}))
    )
    return ", ".join(told)


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_settings(value)})"
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return "yes" if value is True else f"{value}"


def _range(values: Sequence[Any], text: Callable[[Any], str]) -> str:
    """Return the least and the most, or the one there is; empty if there is none."""
    if not values:
        return ""
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"
