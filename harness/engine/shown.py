"""What ``show`` tells people: of a cell its outcome in short, of a plug-in what it says of itself.

Lines are of 80 columns; ``harness.engine.show.about`` has everything, for machines.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from harness import discovery, results
from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.errors import HarnessError, StoreError
from harness.contracts.method import Claim
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.row import Metrics, Provenance, Row
from harness.contracts.suite import TeacherSpec
from harness.engine import freshness, packed, proofs
from harness.engine.forecast import in_words
from harness.engine.grid import load_suite
from harness.engine.show import meant, named
from harness.engine.teachers import WEIGHTS
from harness.engine.verification import absent
from harness.report._words import figure, quantity, visible
from harness.results import Published
from harness.store import PREDICTIONS, Store

Pairs = Iterator[tuple[str, str]]
_WIDTH = 80
_COMMIT = 12  # characters that tell one from another


def told(name: str, /, *, runs: Path, published: Path, data_root: Path | None) -> list[str]:
    """Return what is known of ``name``, a line each.

    Raises:
        UnknownPluginError: If no cell, plug-in or energy model is called so.
        StoreError: If several cells begin so.
    """
    row = meant(name, runs=runs, published=published)
    if row is not None:
        return aligned(_of_row(row, runs, published, data_root))
    known = named(name, runs=runs, published=published)
    parts = [aligned(_of_kind(kind, name, known[kind])) for kind in known if kind != "name"]
    return "\n\n".join("\n".join(lines) for lines in parts).splitlines()


def aligned(pairs: Iterable[tuple[str, str]], /) -> list[str]:
    """Return words under their headings' column; what has no heading goes on with the last."""
    pairs = [*pairs]
    indent = max(len(heading) for heading, _ in pairs) + 2
    lines: list[str] = []
    for heading, words in pairs:
        wrapped = textwrap.wrap(
            " ".join(visible(words).split()),
            _WIDTH - indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        begun = [heading, *[""] * (len(wrapped) - 1)]
        lines += [f"{a:{indent}}{b}" for a, b in zip(begun, wrapped or [""], strict=True)]
    return [line.rstrip() for line in lines]


def _of_row(row: Row, runs: Path, published: Path, data_root: Path | None) -> Pairs:
    cell, metrics, made = row.cell, row.metrics, row.provenance
    yield "cell", f"{row.cell_id}, {cell.label}"
    yield "suite", f"{cell.suite}, recipe {cell.recipe_name}: {_recipe(cell.recipe)}"
    yield "status", row.status + (f": {row.error}" if row.error else "")
    if metrics is not None:
        yield from _scores(metrics, cell.judged)
    if cell.backend is not None:
        yield "T", f"{cell.timesteps} on {cell.backend} {made.backend_version or ''}"
    if row.ledger is not None:
        yield (
            "a sample",
            (
                f"{quantity(row.ledger.spikes_per_sample)} spikes, "
                f"{quantity(row.ledger.acs_per_sample)} AC, "
                f"{quantity(row.ledger.macs_per_sample)} MAC"
            ),
        )
    if metrics is not None:
        yield from _times(metrics, made)
    yield from _made(made)
    yield from _standing(row, runs, published, data_root)
    yield from _files(Store(runs), row)


def _scores(metrics: Metrics, judged: str) -> Pairs:
    low, high = (metrics.scale.factor * end for end in (metrics.score_low, metrics.score_high))
    held = f"{metrics.scale.told(metrics.score)} ({low:.2f} to {high:.2f})"
    yield metrics.metric, f"{held} on {metrics.n_test} {judged} samples"
    if metrics.teacher_score is not None:
        agreed = metrics.agreement
        alike = "" if agreed is None else f"; they decide alike on {100 * agreed:.2f} %"
        yield "teacher", f"{metrics.scale.told(metrics.teacher_score)}{alike}"


def _times(metrics: Metrics, made: Provenance) -> Pairs:
    where = made.gpu or made.device or "an unknown device"
    if metrics.latency_ms_b1 is not None:
        spread = f" (IQR {figure(metrics.latency_ms_b1_iqr)})"
        yield "latency", f"{figure(metrics.latency_ms_b1)} ms{spread} for a batch of one on {where}"
    if metrics.train_seconds is not None:
        spared = metrics.spared_seconds
        of_others = f", {in_words(spared)} of them for a teacher's kept answers" if spared else ""
        yield "training", f"{in_words(metrics.train_seconds)}{of_others}"


def _made(made: Provenance) -> Pairs:
    threads = f", {made.threads} thread{'s' * (made.threads > 1)}" if made.threads else ""
    where = f"on {made.cpu or 'an unknown processor'}{f', {made.gpu}' if made.gpu else ''}"
    yield "made", f"{made.ended_at or 'at an unknown time'} {where}{threads}"
    changed = {None: "", True: ", with changes", False: ", without changes"}[made.git_dirty]
    yield "commit", f"{(made.git_sha or 'unknown')[:_COMMIT]}{changed}"


def _standing(row: Row, runs: Path, published: Path, data_root: Path | None) -> Pairs:
    """Yield how the row's cell stands, as ``plan`` says it, and how far to believe it."""
    try:
        if words := absent(row.cell):
            yield "state", f"unknown: {words}"
            return
        known, proven = _known(row.cell, published), proofs.read(published, runs)
        (one,) = freshness.standings([row.cell], Store(runs), known, proven, data_root=data_root)
    except HarnessError as error:  # such as a plug-in that cannot be read
        yield "state", f"unknown: {packed.one_line(error)}"
        return
    other = "by another row than this" if one.row not in (None, row) else ""
    told = "; ".join(filter(None, (one.state, other, one.why)))
    yield "state", textwrap.shorten(told, 2 * _WIDTH, placeholder=" ...; `plan` has all")
    if one.trust is not None:
        yield "trust", one.trust


def _known(cell: Cell, published: Path) -> Published:
    """Return the published rows among which ``cell``'s is, if it has one."""
    suites = discovery.names("suites") if cell.suite == TEACHERS else (cell.suite,)
    one_row = partial(results.published, results=published, strict=False, saying=cell.cell_id)
    found = (one for one in map(one_row, suites) if cell.cell_id in {**one.rows, **one.teachers})
    return next(found, Published())


def _files(store: Store, row: Row) -> Pairs:
    """Yield what lies beside the row, and its log."""
    log = row.provenance.log_path
    with suppress(StoreError):  # a suite that no folder can be called after
        kept = [store.folder(row.cell) / name for name in (PREDICTIONS, WEIGHTS)]
        found = [path for path in (*kept, *([store.root / log] if log else [])) if path.is_file()]
        yield from (("file", str(path)) for path in found)


def _of_kind(kind: str, name: str, described: Mapping[str, Any]) -> Pairs:
    if kind == "method":
        yield from _of_method(name)
    elif kind == "suite":
        yield from _of_suite(name)
    else:
        yield kind, name
        yield from ((key.replace("_", " "), _plainly(value)) for key, value in described.items())


def _of_method(name: str) -> Pairs:
    card = discovery.method_card(name)
    yield "method", f"{name}: {card.title}" if card else name
    if card:
        yield "citation", card.citation
        yield "track", card.track
        yield "loss", card.loss
        yield "setting", card.setting
    for key, value in discovery.method_parameters(name).items():
        tuned = ", tuned beside the learning rate" if card and key == card.weight else ""
        yield "parameter", f"{key} = {value!r}{tuned}"
    if not card:
        return
    learns = " that learns meanwhile" if card.teacher_learns else ""
    uses = f"{', '.join(card.signals) or 'nothing'} of a teacher{learns}"
    yield "uses", uses if card.uses_teacher else "no teacher"
    if card.needs:
        yield "needs", ", ".join(card.needs)
    if card.reads_unlabelled:
        yield "reads", "unlabelled text, if the suite names one"
    for heading, phrases in (
        ("extra", card.extras),
        ("reconstructed", card.reconstructed),
        ("differs", card.departures),
        ("claim", map(_claim, card.claims)),
    ):
        yield from ((heading, phrase) for phrase in phrases)


def _claim(claim: Claim) -> str:
    steps = f"T = {claim.timesteps}" if claim.timesteps else "T not said"
    epochs = f", {claim.epochs} epochs" if claim.epochs else ""
    return (
        f"{100 * claim.accuracy:.2f} % on {claim.dataset}, {claim.architecture}, {steps}{epochs}: "
        f"{claim.where} {claim.url}"
    )


def _of_suite(name: str) -> Pairs:
    suite = load_suite(name)
    yield "suite", f"{name}: {suite.title}"
    if suite.caution:
        yield "caution", suite.caution
    yield "data set", suite.dataset
    yield "students", ", ".join(suite.models)
    yield "teacher", _teacher(suite.teacher)
    yield "T", ", ".join(map(str, suite.timesteps))
    yield "seeds", ", ".join(map(str, suite.seeds))
    yield "methods", ", ".join(suite.methods) if suite.methods else "all that mean its task"
    yield "baseline", suite.baseline
    yield "simulators", ", ".join(suite.backends)
    yield "witnesses", ", ".join(suite.witnesses)
    for recipe_name, recipe in suite.recipes.items():
        tuned = suite.tuned_where(recipe_name)
        theirs = f"; tuned as {tuned}" if tuned != recipe_name else ""
        yield "recipe", f"{recipe_name}: {_recipe(recipe)}{theirs}"
    yield "neuron", _neuron(suite.neuron)
    yield "encoder", suite.encoder or "none: samples are shown as their data set says"
    if suite.unlabelled is not None:
        yield "unlabelled", str(suite.unlabelled)
    if suite.literature is not None:
        known = suite.literature
        yield (
            "literature",
            f"{100 * known.accuracy:.2f} % at T = {known.timesteps}: {known.where}",
        )
    if suite.remarks:
        yield "remarks", f"on {', '.join(suite.remarks)}: the board and --json have them"


def _teacher(asked: TeacherSpec) -> str:
    if asked.recipe is None:
        return f"{asked.model}, imported"
    start = f", from the weights {asked.start}" if asked.start else ""
    return f"{asked.model}, seed {asked.seed}: {_recipe(asked.recipe)}{start}"


def _recipe(recipe: Recipe) -> str:
    augmented = f", {' and '.join(recipe.augmentation)}" if recipe.augmentation else ""
    samples = f" of {recipe.train_samples} samples" if recipe.train_samples else ""
    warmed = f" after {100 * recipe.warmup:g} % warm-up" if recipe.warmup else ""
    epochs = f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}{samples}"
    rate = f"{recipe.optimiser} at {recipe.learning_rate:g}{warmed}"
    return (
        f"{epochs}, batch {recipe.batch_size}, {rate}, decay {recipe.weight_decay:g}{augmented}, "
        f"{recipe.precision}{', compiled' if recipe.compiled else ''}"
    )


def _neuron(neuron: NeuronSpec) -> str:
    leak = "" if neuron.kind == "if" else f", tau {neuron.tau:g}"
    reset = "to zero" if neuron.reset == "zero" else "by subtraction"
    surrogate = f"{neuron.surrogate.name} of sharpness {neuron.surrogate.alpha:g}"
    unusual = "" if neuron.scale_input else ", its current not divided by tau"
    through = "" if neuron.detach_reset else ", a gradient through the reset"
    return (
        f"{neuron.kind}{leak}{unusual}, threshold {neuron.v_threshold:g}, reset {reset}{through}, "
        f"{surrogate}"
    )


def _plainly(value: Any) -> str:
    """Return a value of JSON in words."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plainly(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        items = [*map(_plainly, value)]
        return ("; " if any(" " in item for item in items) else ", ").join(items) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
