"""The leaderboard for a reader who wants to know which method to take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NamedTuple

from harness.contracts.cell import TeacherIdentity
from harness.contracts.row import EarlyExit, Provenance
from harness.energy import BREAK_EVENS, BreakEven
from harness.report import _budgets as budgets
from harness.report import _words as words
from harness.report import claims
from harness.report._answers import BASELINES, USUAL_ENERGY, Baseline, exit_energy_pj, usual_energy
from harness.report._board import (
    TRACKS,
    Contest,
    Failure,
    Leaderboard,
    Line,
    Setting,
    Transfer,
    average,
    named,
)
from harness.report._words import Column, table
from harness.statistics import MIN_SEEDS_FOR_CLAIMS, critical_t

Group = Literal["backend", "model", "track"]

# Percentage points that an early exit may cost on the validation data.
_ALLOWED_DROP = "0.5"
_BASELINE_WORDS: Mapping[Baseline, str] = {
    "dense": "dense",
    "effective": "effective",
    "twin": "quantised",
}

_HOW_TO_READ = """\
Test accuracy in per cent after the last epoch, on a split fixed in advance: mean over seeds ±
half of its 95 % t interval; a line or cell that lacks seeds says how many of how many it has.
*Track*: what the student is given (docs/statistics.md); methods are compared within their track.
*Group*: no method of its track in the table is significantly better than those of group 1; group
2 likewise, without group 1; and so on. Significant: paired t tests over the common seeds of every
two methods, p adjusted by Holm over all pairs of the track, 5 %. Groups need two seeds, **bold**
is group 1 and needs {claims}. *Verdict*: on the paired difference to the track's baseline
({baselines}) alone, not adjusted; *within noise*: its 95 % interval includes 0; *p (Holm)*: of
that difference, adjusted for the track's methods in the table. A question mark: fewer than
{claims} seeds, provisional. *Wilson half-width*: of the widest 95 % Wilson interval of a single
network over the test samples (over videos or sequences, where the metric is of whole ones). *AC*,
*MAC*: accumulates and multiply-accumulates of a sample as they ran: what hears the same in every
step, before the first neurons, ran once (docs/metering.md). *Given*: what a student had beyond
labels and the budget. *Training (times)*, *energy (times)*: training time on the same kind of
machine (of simulators in one line, the mean of theirs), and energy estimate of a sample, over
those of `{suite}`. **†**: the method's loss is reconstructed, for its sources do not say all
(docs/methods.md). A dash: unknown, never zero. Times, layers and every row: leaderboard.html;
every digit: leaderboard.csv (docs/statistics.md has its columns)."""


def render(board: Leaderboard, /, *, command: str, group: Group | None = None) -> str:
    """Return the page; the same rows give the same bytes.

    Args:
        board: What it shows.
        command: What it says it is regenerated with.
        group: What has a table each, instead of T and simulator. Whom a method is set beside
            and which group it is in stays a matter of its track, T and simulator.
    """
    suites = sorted({setting.cell.suite for setting in board.settings})
    notes = _notes(board)
    parts = [
        f"# Leaderboard: {', '.join(map(words.text, suites))}",
        *([board.suite.caution] if board.suite.caution else []),
        _HOW_TO_READ.format(
            claims=MIN_SEEDS_FOR_CLAIMS,
            baselines=_baselines(board),
            suite=words.text(board.suite.baseline),
        ),
        supported(board),
        *(part for setting in board.settings for part in _section(setting, notes, group)),
        *_claims(board),
        *remarks(board),
        *_failures(board),
        *_notes_section(notes),
        f"## Regenerate\n\n```\n{command}\n```",
    ]
    return words.of_metric("\n\n".join(parts), board.metric, board.scale) + "\n"


def _baselines(board: Leaderboard) -> str:
    """Return the baselines of the tracks that are here."""
    tracks = {line.track: line.baseline for setting in board.settings for line in setting.lines}
    named = {track: f"`{words.text(tracks[track])}`" for track in TRACKS if track in tracks}
    if len(set(named.values())) == 1:
        return next(iter(named.values()))
    return ", ".join(f"{baseline} of {track}" for track, baseline in named.items())


def supported(board: Leaderboard, /) -> str:
    """Return what these data can tell and what they cannot, in sentences."""
    second = (
        "*(authors')*: a second entry, with the authors' constants at the suite's learning rate "
        "where tuning chose others; in no group, no comparison and no ranking."
    )
    less = f"Of {board.metric} less is better: a gain is what a method has less than its baseline."
    told = [power(board), budgets.sentence(board)]
    if not board.scale.higher_is_better:
        told.append(less)
    if any(line.authors for setting in board.settings for line in setting.lines):
        told.append(second)
    return " ".join(told)


def power(board: Leaderboard, /) -> str:
    """Return what these numbers of seeds and methods can tell apart, a sentence."""
    tables = [
        [line for line in lines if line.track == track and not line.authors]
        for setting in board.settings
        for lines in setting.tables.values()
        for track in TRACKS
    ]
    seeds = max((len(line.answers) for lines in tables for line in lines), default=0)
    if not seeds:
        return "Here is no number yet."
    if seeds < 2:
        return "Here is one seed, which tells no method from another: no groups, nothing bold."
    methods = max(sum(len(line.answers) > 1 for line in lines) for lines in tables)
    pairs = methods * (methods - 1) // 2
    told = f"Here are up to {seeds} seeds and {pairs} pairs a track and table"
    if not pairs:
        return f"{told}: nothing is compared."
    errors = critical_t(seeds, hypotheses=pairs)
    weak = (
        "Tests so weak leave far worse methods in group 1: there, order alone is no evidence."
        if seeds < MIN_SEEDS_FOR_CLAIMS
        else "Methods of one group are not shown to be equal."
    )
    least = f"{errors:,.0f}" if errors >= 1000 else f"{errors:.3g}"
    return f"{told}: a difference must first exceed {least} of its standard errors. {weak}"


def _section(setting: Setting, notes: Mapping[str, int], group: Group | None) -> Iterable[str]:
    cell = setting.cell
    marks = "".join(f" [{notes[note]}]" for note in _data_notes(setting))
    where = f"{words.text(cell.dataset)}, {words.text(cell.model)}"
    yield f"## {where}, training budget `{words.text(cell.recipe_name)}`{marks}"
    yield "\n".join(f"- {words.text(line)}" for line in circumstances(setting))
    simulators, setting = setting, setting.together
    yield "### At a glance"
    yield _overview(setting)
    headline = _headline(setting)
    for title, lines in _grouped(simulators if group == "backend" else setting, group):
        yield f"### {words.text(title)}"
        yield table(lines, [*((_T, _SIMULATOR) if group else ()), *_columns(headline)])
    if headline is not None:
        yield f"Spikes, operations and energy estimate are a sample's; energy is `{headline}`."
    yield from _further(setting)
    yield from _online(simulators)
    yield from _curves(setting)
    yield from _exits(setting)
    yield from _simulators(simulators)
    yield from _energies(setting, headline)
    yield from _break_evens(setting)


def _grouped(setting: Setting, group: Group | None) -> Iterable[tuple[str, list[Line]]]:
    """Yield each table's title and lines."""
    of: Mapping[Group, Callable[[Line], str]] = {
        "backend": lambda line: line.backend,
        "model": lambda _: setting.cell.model,
        "track": lambda line: line.track,
    }
    if group is None:
        for (timesteps, backend), lines in setting.tables.items():
            yield f"T = {timesteps}, {backend}", lines
        return
    found: dict[str, list[Line]] = {}
    for line in setting.lines:
        found.setdefault(of[group](line), []).append(line)
    titles = [each for each in TRACKS if each in found] if group == "track" else sorted(found)
    yield from ((title, found[title]) for title in titles)


def circumstances(setting: Setting, /) -> Iterable[str]:
    """Yield what all lines of a section share."""
    cell = setting.cell
    metrics = [answer.metrics for answer in setting.answers]
    made = [answer.row.provenance for answer in setting.answers]
    rates: dict[float, list[str]] = {}
    for line in setting.lines:
        rates.setdefault(line.learning_rate, []).append(line.method)
    tuned = ["learning_rate"] if len(rates) > 1 else []
    yield f"Training budget {cell.recipe_name}: {_settings(cell.recipe, but=tuned)}"
    if not tuned:
        yield "Learning rate: one for all methods; the verb tune tries others on validation data"
    else:
        told = (f"{rate:g} {', '.join(sorted({*rates[rate]}))}" for rate in sorted(rates))
        yield f"Learning rate by method: {'; '.join(told)}"
    ends: dict[str, set[str]] = {}
    for line in setting.lines:
        if line.end is not None and not line.authors:
            ends.setdefault(f"the {line.end}, {line.learning_rate:g}, of", set()).add(line.method)
    if ends:
        told = (f"{end} {', '.join(sorted(ends[end]))}" for end in sorted(ends))
        yield (
            "At an end of the learning rates that tuning tried, so that one beyond it may be "
            f"better: {'; '.join(told)}"
        )
    yield f"Neuron: {_settings(cell.neuron) or 'none'}"
    encodings = sorted({where.encoding for where in made if where.encoding})
    yield f"Input encoding: {'; '.join(encodings) or cell.encoder or 'a constant current'}"
    teachers = [one.teacher_score for one in metrics if one.teacher_score is not None]

    def all_of(scores: Sequence[float]) -> str:
        return f"{_range(scores, lambda one: words.score(one, setting.scale))} {setting.scale.unit}"

    scored = f", test {setting.metric} {all_of(teachers)}" if teachers else ""
    yield f"Teacher: {_teacher(cell.teacher)}{scored}"
    for note in sorted({where.teacher_note for where in made if where.teacher_note}):
        yield f"Teacher note: {note}"
    artificial = [one.ann_score for one in metrics if one.ann_score is not None]
    if artificial:
        yield f"The student's topology as an artificial network: {all_of(artificial)}"
    yield f"Seeds: {_seeds(setting.lines)}"
    yield f"Test samples: {_range([one.n_test for one in metrics], str) or words.UNKNOWN}"
    versions = {
        f"{answer.row.cell.backend} {answer.row.provenance.backend_version or ''}".strip()
        for answer in setting.answers
    }
    yield f"Simulators: {', '.join(sorted(versions)) or words.UNKNOWN}"
    yield _ran_on(made)
    yield _precision(cell.recipe.precision)
    if (share := setting.rounding) is not None:
        low, high = (words.percent(end, places=0) for end in share.interval)
        yield (
            f"Rounding alone explains {words.percent(share.value, places=0)} % of the variance "
            f"over seeds ({low} to {high} %{', provisional' * share.provisional}): {share.runs} "
            "cells here that also ran with another number of threads"
        )


def _ran_on(made: Sequence[Provenance]) -> str:
    """Return which machines and which versions of which libraries made the rows."""
    kinds = {(at.gpu, at.cells_on_device, *at.processor.items()): at for at in made}
    machines = sorted({_machine(at) for at in kinds.values()})
    found: dict[str, set[str]] = {}
    for name, version in {item for where in made for item in where.versions.items()}:
        found.setdefault(name, set()).add(version)
    versions = [f"{name} {' and '.join(sorted(found[name]))}" for name in sorted(found)]
    several = f"{len(machines)} kinds of machine: " if len(machines) > 1 else ""
    told = ", ".join(versions) or "libraries unknown"
    return f"Ran on {several}{'; '.join(machines) or words.UNKNOWN}. With {told}"


def _machine(where: Provenance) -> str:
    """Return GPU and company there, the processor, its instruction sets and limits upon them."""
    limits = [
        f"{name} {text}"
        for name, text in sorted(where.processor.items())
        if name not in ("processor", "architecture", "instructions")
    ]
    sets = [where.processor.get("instructions", "instruction sets unknown"), *limits]
    gpu = [where.gpu] if where.gpu else []
    if where.cells_on_device is not None and where.cells_on_device > 1:
        gpu.append(f"up to {where.cells_on_device} cells at once on it")
    return ", ".join([*gpu, f"{where.cpu or 'unknown CPU'} ({'; '.join(sets)})"])


def _precision(precision: str) -> str:
    if precision == "float64":
        return "Precision float64: the same decisions are expected on every machine"
    return (
        f"Precision {precision}: on another machine rounding is another draw of the seed, so "
        "comparisons across machines are statistical"
    )


def _overview(setting: Setting) -> str:
    tables = setting.tables
    by_name: dict[str, list[Line]] = {}
    for line in setting.lines:
        by_name.setdefault(line.method, []).append(line)

    def place(name: str) -> tuple[bool, float, str]:
        """Return what sorts the best first, and behind those with all their seeds the others."""
        whole = any(not one.authors and len(one.answers) == len(one.asked) for one in by_name[name])
        return not whole, -max(one.merit for one in by_name[name]), name

    def glance(lines: Sequence[Line]) -> Callable[[str], str]:
        by_method = {line.method: line for line in lines}
        return lambda method: _glance(by_method.get(method))

    columns = [
        Column(f"T={steps} {backend}", glance(lines)) for (steps, backend), lines in tables.items()
    ]
    whose = Column[str]("whose", lambda name: _whose(by_name[name]), left=True)
    method = Column("method", named, left=True)
    return table(sorted(by_name, key=place), [whose, method, *columns])


def _whose(lines: Iterable[Line]) -> str:
    """Return who made what is no published row of these lines."""
    return " and ".join(sorted({line.whose for line in lines} - {"published"})) or words.UNKNOWN


def _glance(line: Line | None) -> str:
    if line is None:
        return words.UNKNOWN
    if line.accuracy is None:
        return line.outcome()
    text = line.told
    lacking = f" ({line.outcome()})" if len(line.answers) < len(line.asked) else ""
    return f"**{text}**{lacking}" if line.is_first else f"{text}{lacking}"


def _headline(setting: Setting) -> str | None:
    """Return the energy model of the tables; None where none has a total."""
    return usual_energy({model for line in setting.lines for model in line.energies})


def _trust(line: Line) -> str:
    """Return how far a line is to be believed, where somebody else made it elsewhere."""
    return line.trust if line.trust in ("claimed", "verified") else words.UNKNOWN


def _average(figure: str, text: Callable[[float | None], str]) -> Callable[[Line], str]:
    return lambda line: text(line.average(figure))


def _columns(headline: str | None) -> list[Column[Line]]:
    return [
        Column("whose", lambda line: _whose([line]), left=True),
        Column("trust", _trust, left=True),
        Column("track", lambda line: line.track, left=True),
        Column("group", _group),
        Column("method", lambda line: named(line.method), left=True),
        Column("accuracy %", lambda line: line.told),
        Column("Wilson half-width", _wilson),
        Column("over baseline", lambda line: words.difference(line.gain, line.scale)),
        Column("verdict", lambda line: words.verdict(line.gain), left=True),
        Column("p (Holm)", lambda line: words.figure(line.gain_p_holm)),
        Column("P(best)", lambda line: words.figure(line.best)),
        Column("agreement %", _average("agreement", words.percent)),
        Column("settling time (steps)", _average("mean_steps_to_decide", words.figure)),
        Column("spikes", _average("spikes_per_sample", words.quantity)),
        Column("firing rate", _average("firing_rate", words.figure)),
        Column("AC", _average("acs_per_sample", words.quantity)),
        Column("MAC", _average("macs_per_sample", words.quantity)),
        Column("energy estimate", lambda line: words.energy(line.energies.get(headline or ""))),
        Column("given", lambda line: words.text(str(line.given)) or words.UNKNOWN, left=True),
        Column("training (times)", lambda line: words.figure(line.cost)),
        Column("energy (times)", lambda line: words.figure(line.energy_cost)),
        Column("seeds", Line.outcome, left=True),
    ]


def _group(line: Line) -> str:
    if line.group is None:
        return words.UNKNOWN
    return f"{line.group}{'?' * (len(line.answers) < MIN_SEEDS_FOR_CLAIMS)}"


def _wilson(line: Line) -> str:
    half = line.scale.factor * line.widest_wilson
    return f"{half:.{words.decimals(half)}f}" if line.answers else words.UNKNOWN


# Of anything that stands in one table. Any: a column of everything suits each of them.
_T = Column[Any]("T", lambda one: str(one.timesteps))
_SIMULATOR = Column[Any]("simulator", lambda one: words.text(one.backend), left=True)
_METHOD = Column[Any]("method", lambda one: named(one.label), left=True)


def _further(setting: Setting) -> Iterable[str]:
    """Yield the task's other metrics, where it has any."""

    def other(name: str) -> Column[Line]:
        return Column(
            f"{words.text(name)}, %",
            lambda line: words.accuracy(line.further.get(name), line.widest_wilson),
        )

    if setting.further:
        yield "### Other metrics of the task"
        yield table(setting.lines, [_T, _SIMULATOR, _METHOD, *map(other, setting.further)])


def _online(setting: Setting) -> Iterable[str]:
    """Yield what a frame costs where videos are shown frame by frame."""
    lines = [line for line in setting.lines if line.is_online]
    if not lines:
        return

    def milliseconds(figure: str) -> Callable[[Line], str]:
        return lambda line: words.figure(line.timing(figure))

    yield "### Frame by frame"
    yield (
        "What a network costs that is shown a test video a frame at a time and carries what is "
        "past, beside a window, which tells its newest frame anew from all that it shows: synaptic "
        "operations (AC, MAC and products of spikes) and median wall clock."
    )
    yield table(
        lines,
        [
            *(_T, _SIMULATOR, _METHOD),
            Column("operations a frame", _average("operations_a_frame", words.quantity)),
            Column("operations a window", _average("operations_a_window", words.quantity)),
            Column("ms a frame", milliseconds("latency_ms_frame")),
            Column("ms a window", milliseconds("latency_ms_b1")),
        ],
    )


def _curves(setting: Setting) -> Iterable[str]:
    """Yield the accuracies after each step, where there is more than one."""
    lines = [line for line in setting.lines if len(line.by_step) > 1]
    if not lines:
        return

    def after(step: int) -> Callable[[Line], str]:
        return lambda line: (
            words.score(line.by_step[step].value, line.scale) if step < line.timesteps else ""
        )

    longest = max(len(line.by_step) for line in lines)
    steps = [Column(str(step + 1), after(step)) for step in range(longest)]
    yield "### Accuracy % after each step"
    yield table(lines, [_T, _SIMULATOR, _METHOD, *steps])


class _Rule(NamedTuple):
    """What exiting early under one rule brings one line."""

    line: Line
    name: str
    points: Sequence[EarlyExit | None]  # by seed; None is unknown

    def mean(self, figure: Callable[[EarlyExit], float | None]) -> float | None:
        """Return the mean over seeds; None if any does not know it."""
        return average([None if point is None else figure(point) for point in self.points])


def _of_line(column: Column[Any]) -> Column[_Rule]:
    return Column(column.title, lambda rule: column.text(rule.line), left=column.left)


_EXITS: tuple[Column[_Rule], ...] = (
    *map(_of_line, (_T, _SIMULATOR, _METHOD)),
    Column("rule", lambda rule: rule.name, left=True),
    Column("accuracy %", lambda rule: _percent(rule.mean(lambda one: one.correct / one.samples))),
    Column("all steps %", lambda rule: _percent(rule.line.average("score"))),
    Column("steps", lambda rule: words.figure(rule.mean(lambda one: one.steps / one.samples))),
    Column("energy estimate", lambda rule: words.energy(rule.mean(_exit_energy_pj))),
)


def _percent(fraction: float | None) -> str:
    return words.percent(fraction, places=2)


def _exit_energy_pj(point: EarlyExit) -> float | None:
    return exit_energy_pj(point, USUAL_ENERGY)


def _exits(setting: Setting) -> Iterable[str]:
    """Yield what early exits bring, where there is more than one step."""
    rules = [
        _Rule(line, name, [one.early_exit.get(name, {}).get(_ALLOWED_DROP) for one in line.metrics])
        for line in setting.lines
        for name in sorted({name for one in line.metrics for name in one.early_exit})
    ]
    if not rules:
        return
    yield "### Early exit"
    yield (
        f"Thresholds fitted on validation data for at most {_ALLOWED_DROP} points of accuracy lost "
        f"there; accuracy, mean steps and mean energy estimate (`{USUAL_ENERGY}`) are the test "
        "split's, means over seeds. Rules: docs/latency.md."
    )
    yield table(rules, _EXITS)


def _winner(one: Contest) -> str:
    names = {"better": f"{one.first} higher", "worse": f"{one.second} higher"}
    said = words.verdict(one.comparison)
    return names.get(said.rstrip("?"), said.rstrip("?")) + "?" * said.endswith("?")


_CONTEST: tuple[Column[Contest], ...] = (
    _T,
    Column("method", lambda one: named(one.method), left=True),
    Column("first", lambda one: one.first, left=True),
    Column("accuracy %", lambda one: words.score(one.first_accuracy, one.scale, places=2)),
    Column("second", lambda one: one.second, left=True),
    Column("accuracy %", lambda one: words.score(one.second_accuracy, one.scale, places=2)),
    Column("first - second", lambda one: words.difference(one.comparison, one.scale)),
    Column("", _winner, left=True),
)
_TRANSFER: tuple[Column[Transfer], ...] = (
    _T,
    Column("trained on", lambda one: one.trained_on, left=True),
    Column("evaluated on", lambda one: one.evaluated_on, left=True),
    Column("differing decisions", lambda one: f"{one.differing:,} of {one.decisions:,}"),
    Column("differing students", lambda one: f"{one.cells_differing} of {one.cells}"),
)


def _simulators(setting: Setting) -> Iterable[str]:
    """Yield how far the simulators are apart, trained and evaluated."""
    if setting.contests or setting.transfers:
        yield "### Simulators compared"
    if setting.contests:
        differing = [one for one in setting.contests if not (one.is_equal and one.is_complete)]
        equal, of = len(setting.contests) - len(differing), len(setting.contests)
        yield (
            "Trained on either, paired by seed: same data order, same initial weights. "
            f"{equal} of {of} comparisons are equal in every seed."
        )
        if differing:
            yield table(differing, _CONTEST)
    if setting.transfers:
        yield "Trained on one and evaluated, with the same weights, on another:"
        yield table(setting.transfers, _TRANSFER)


class _Estimate(NamedTuple):
    """What one energy model makes of one table."""

    timesteps: int
    backend: str
    model: str
    lines: Sequence[Line]  # with an estimate, of those that one would choose
    of: int  # how many these are
    tau: str

    def cheapest(self) -> str:
        """Return the method with the least energy estimate."""
        line = min(self.lines, key=lambda line: (line.energies[self.model], line.method))
        return named(line.label)

    def over(self, baseline: Baseline) -> str:
        """Return the range of the ratios to an artificial network."""
        known = [line.ratios[baseline].get(self.model) for line in self.lines]
        return _range([one for one in known if one is not None], words.figure) or words.UNKNOWN


def _energies(setting: Setting, headline: str | None) -> Iterable[str]:
    """Yield what each energy model makes of each table."""
    if headline is None:
        return
    yield "### Energy estimates under every model"
    yield (
        "A sample's, priced from the rows' counts when this page was made; compare methods, not "
        "joules. Over the methods that are no controls and not worse than their track's baseline; "
        "*priced*: how many of them the model has a price for. The dense ANN multiplies every "
        "weight, the effective one skips zero activations and accumulates integers such as summed "
        "events, the quantised one has as many activation bits as T steps of spikes can tell "
        "apart. "
        f"*Kendall's tau*: how alike this model and `{headline}` order the methods, 1 is alike, "
        "-1 reversed. Models with no total for any method are left out."
    )
    chosen = {key: [*filter(_is_worth, lines)] for key, lines in setting.tables.items()}
    estimates = [
        _Estimate(
            *key,
            model,
            [line for line in lines if model in line.energies],
            len(lines),
            _tau(setting, key, model, headline),
        )
        for key, lines in chosen.items()
        for model in sorted({model for line in lines for model in line.energies})
    ]

    def over(baseline: Baseline) -> Callable[[_Estimate], str]:
        return lambda one: one.over(baseline)

    yield table(
        estimates,
        [
            _T,
            _SIMULATOR,
            Column("model", lambda one: one.model, left=True),
            Column("priced", lambda one: f"{len(one.lines)} of {one.of}"),
            Column("cheapest", _Estimate.cheapest, left=True),
            Column(
                "energy estimate",
                lambda one: _range([line.energies[one.model] for line in one.lines], words.energy),
            ),
            *(Column(f"over {_BASELINE_WORDS[each]} ANN", over(each)) for each in BASELINES),
            Column("Kendall's tau", lambda one: one.tau),
        ],
    )


def _is_worth(line: Line) -> bool:
    """Return whether one would ask what a line costs: no control, no worse than its baseline."""
    worse = line.gain is not None and line.gain.verdict == "worse"
    return line.is_rated and bool(line.answers) and not worse


def _tau(setting: Setting, key: tuple[int, str], model: str, headline: str) -> str:
    first, second = sorted((model, headline))
    return "1" if first == second else words.figure(setting.stability[key].get((first, second)))


class _Density(NamedTuple):
    """The spikes a synapse sees in the lines of one table."""

    timesteps: int
    backend: str
    sigmas: Sequence[float]


def _break_evens(setting: Setting) -> Iterable[str]:
    """Yield the spikes per synapse and where published thresholds put them."""
    densities = [
        _Density(
            *key, [sigma for line in lines if (sigma := line.spikes_per_synapse()) is not None]
        )
        for key, lines in setting.tables.items()
    ]
    if not (known := [one for one in densities if one.sigmas]):
        return

    def side(threshold: BreakEven) -> Callable[[_Density], str]:
        return lambda one: _range([min(one.sigmas), max(one.sigmas)], threshold.side)

    yield (
        "Accumulates, products of two spikes among them, per synapse of the artificial network "
        "and inference, and on which side of the published break-even they lie; below, spiking "
        "pays:"
    )
    yield table(
        known,
        [
            _T,
            _SIMULATOR,
            Column("per synapse", lambda one: _range(one.sigmas, words.figure)),
            *(
                Column(
                    f"{each.source} ({_range([each.low, each.high], words.figure)})",
                    side(each),
                    left=True,
                )
                for each in BREAK_EVENS
            ),
        ],
    )


def _claims(board: Leaderboard) -> Iterable[str]:
    """Yield what the papers of the methods here claim, and what of it was run on these data."""
    held = claims.of_board(board)
    if not held:
        return
    yield "## Claims against reproduced"
    yield claims.summary(held)
    if here := claims.on_data(held):
        yield claims.explanation()
        yield claims.to_markdown(here)
    if elsewhere := claims.off_data(held):
        yield elsewhere


def remarks(board: Leaderboard, /) -> Iterable[str]:
    """Yield what is to be said of the methods that are here."""
    lines = (line for setting in board.settings for line in setting.lines)
    present = {line.file for line in lines}
    remarks = sorted(board.suite.remarks.items())
    if told := [f"- `{name}`: {text}" for name, text in remarks if name in present]:
        yield "## Remarks"
        yield "\n".join(told)


def _failures(board: Leaderboard) -> Iterable[str]:
    if not board.failures:
        return
    alike: dict[tuple[str, str, int, str, str], list[Failure]] = {}
    for one in board.failures:
        key = one.method, one.backend, one.timesteps, one.status, one.error
        alike.setdefault(key, []).append(one)
    columns: list[Column[list[Failure]]] = [
        Column("method", lambda ended: named(ended[0].method), left=True),
        Column("simulator", lambda ended: words.text(ended[0].backend), left=True),
        Column("T", lambda ended: str(ended[0].timesteps)),
        Column("seeds", lambda ended: ", ".join(str(one.seed) for one in ended), left=True),
        Column("status", lambda ended: ended[0].status, left=True),
        Column("reason", lambda ended: words.text(ended[0].error), left=True),
        Column("log", _logs, left=True),
    ]
    yield "## Without a number"
    yield "These cells count as what they are, not as zero, and are in no mean."
    yield table(alike.values(), columns)


def _logs(ended: Sequence[Failure]) -> str:
    # Who was skipped did nothing that a log could tell.
    return " ".join(
        words.text(one.log_path or words.UNKNOWN) for one in ended if one.status != "skipped"
    )


def _notes(board: Leaderboard) -> dict[str, int]:
    """Return every note with its number: of the data, and of the energy in the tables."""
    data = [note for setting in board.settings for note in _data_notes(setting)]
    energy = {note for setting in board.settings for note in _energy_notes(setting)}
    unique = dict.fromkeys([*data, *sorted(energy)])
    return {note: number for number, note in enumerate(unique, start=1)}


def _data_notes(setting: Setting) -> list[str]:
    return sorted({note for answer in setting.answers for note in answer.row.provenance.data_notes})


def _energy_notes(setting: Setting) -> Iterable[str]:
    """Yield what the model of the tables, and its variants, take for granted."""
    file = (_headline(setting) or "").partition(":")[0]
    priced = {id(one.priced): one.priced for one in setting.answers if one.priced}.values()
    for model, assumptions in {item for one in priced for item in one.assumptions.items()}:
        if model.partition(":")[0] == file:
            yield from (f"{model}: {text}" for text in assumptions)


def notes_of(board: Leaderboard, /) -> list[str]:
    """Return what is to be known of the data and of the energy in the tables, a sentence each."""
    return list(_notes(board))


def _notes_section(notes: Mapping[str, int]) -> Iterable[str]:
    if notes:
        yield "## Notes"
        yield "\n".join(f"{number}. {words.text(note)}" for note, number in notes.items())


def _teacher(teacher: TeacherIdentity | None) -> str:
    if teacher is None:
        return "none"
    return f"{teacher.model} ({_settings(teacher, but=('model', 'dataset'))})"


def _seeds(lines: Sequence[Line]) -> str:
    """Return the seeds that ran, and which the suite asks for if there are others."""
    asked = {seed for line in lines for seed in line.asked}
    failed = {failure.seed for line in lines for failure in line.failures}
    ran = {seed for line in lines for seed in line.by_seed()} | failed
    told, wanted = (", ".join(map(str, sorted(seeds))) for seeds in (ran, asked))
    return told if ran == asked else f"{told}, of {wanted}"


def _settings(value: Any, *, but: Sequence[str] = ()) -> str:
    """Return a value's fields in one line, by name; what is off, as it usually is, is left out."""
    known = {} if value is None else {item.name: item for item in fields(value)}
    given = {name: getattr(value, name) for name in known}
    usual = {name: item.default for name, item in known.items()}
    told = (
        f"{name} {_setting(part)}"
        for name, part in sorted(given.items())
        if name not in but and not _is_off(part, usual[name])
    )
    return ", ".join(told)


def _is_off(part: Any, usual: Any) -> bool:
    return part is None or part == () or (part is False and usual is not True)


def _setting(part: Any) -> str:
    if is_dataclass(part):
        return f"({_settings(part)})"
    if isinstance(part, tuple):
        return " + ".join(map(str, part))
    return {True: "yes", False: "no"}[part] if isinstance(part, bool) else f"{part}"


def _range(values: Sequence[Any], text: Callable[[Any], str]) -> str:
    """Return the least and the most, or the one there is; empty if there is none."""
    if not values:
        return ""
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"
