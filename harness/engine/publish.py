"""From finished cells to ``results/``: rows as evidence, leaderboards from rows alone."""

import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import product
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import discovery, report, results
from harness.contracts.cell import START, TEACHERS, Cell
from harness.contracts.errors import DataError, SpecError, StoreError
from harness.contracts.row import Row
from harness.contracts.suite import Suite
from harness.contracts.tuning import End, Tuning
from harness.data import catalogue
from harness.engine import freshness, grid, proofs, scoring
from harness.engine.compare import unlike
from harness.engine.folder import Teachers
from harness.engine.grid import STARTS, Axes
from harness.engine.packed import Arrays
from harness.engine.settings import Settings
from harness.engine.teachers import cell_of
from harness.engine.trust import trust_of, why_refused
from harness.evaluation import tracking
from harness.report import FIGURES
from harness.results import Published, Trust
from harness.store import PREDICTIONS, Store, changing


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What one's own rows are to those that are published.

    Attributes:
        added: Rows of cells that had none.
        replaced: Rows that stand in the place of another, each with why.
        left: Rows that change nothing, each with why.
    """

    added: list[Row] = field(default_factory=list)
    replaced: list[tuple[Row, str]] = field(default_factory=list)
    left: list[tuple[Row, str]] = field(default_factory=list)

    def lines(self, verbs: tuple[str, str, str] = ("added", "replaced", "left")) -> list[str]:
        """Return them in words, a line for all rows of one kind and reason."""
        kinds = ([(row, "") for row in self.added], self.replaced, self.left)
        return [
            f"{verb} {_counted([row for row, its in kind if its == why])}{why and f': {why}'}"
            for verb, kind in zip(verbs, kinds, strict=True)
            for why in dict.fromkeys(its for _, its in kind)
        ]


def _counted(rows: Sequence[Row]) -> str:
    methods = Counter(row.cell.method for row in rows)
    return f"{len(rows)} ({', '.join(f'{name} {count}' for name, count in methods.items())})"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What was written.

    Attributes:
        rows: Those that stand in the tables.
        mine: Of those that stand here, made or merged, how far to believe them, by cell.
        authors: Of those with their authors' constants where tuning chose others.
        files: Everything written.
        changes: What one's own rows are to those that are published.
        warnings: What a reader of the tables should know, a sentence each.
        refused: Rows that were left out, each with its file and what is wrong with it.
    """

    rows: tuple[Row, ...]
    mine: Mapping[str, Trust]
    authors: frozenset[str]
    files: tuple[Path, ...]
    changes: Changes
    warnings: tuple[str, ...]
    refused: tuple[str, ...]


def publish(
    suite: str,
    /,
    *,
    runs: Path | None,
    folder: Path,
    data_root: Path | None,
    page: bool = False,
    figures: report.Kind | None = None,
    claimed: bool = False,
) -> Publication:
    """Write rows and leaderboards of ``suite`` into ``folder / suite``, page and figures if asked.

    Rows of ``runs`` are added to those that are there; without ``runs``, tables alone are
    written anew. No row that is there is lost: one made here takes the place of another only
    where that is stale or says other numbers, and one without numbers, or of code that has
    moved, that of no fresh one with numbers. So what is reproduced changes no file. In the
    tables, and among what is added, are only rows of cells that the suite would ask for today:
    an old recipe's row answers another question. Timesteps, seeds and simulators beyond the
    suite's own grid are welcome. A row that cannot be read, or that the predictions beside it
    contradict, is refused by name; one that is ``claimed`` is added if that is asked for.
    """
    with changing(folder):
        found = _gathered(suite, runs, folder, data_root, claimed=claimed)
        if not found.rows:
            return _publication(found, (), ())
        return _written(found, suite, folder, page=page, figures=figures)


def _written(
    found: "_Gathered", suite: str, folder: Path, /, *, page: bool, figures: report.Kind | None
) -> Publication:
    """Write what was ``found``, and the boards from it."""
    before, standing = found.before, {row.cell_id for row in found.rows}
    kept = [row for row in before.rows.values() if row.cell_id not in standing]
    named = {row.cell_id for row in found.teachers}
    teachers = [*found.teachers, *(r for r in before.teachers.values() if r.cell_id not in named)]
    rows = sorted([*found.rows, *kept], key=_order)
    code = _code([*rows, *teachers], found.store, before)
    files = [
        *results.write(folder / suite, before, rows, teachers, code),
        *report.write_board(
            _board(suite, replace(found, trust={}, again=[])),  # once published, nobody's own
            folder / suite,
            command=f"nox -s leaderboard -- {suite}",
            page=page,
            figures=figures,
        ),
    ]
    asked = {cell.cell_id for cell in grid.cells(suite, Axes(), found.store, before)}
    missing = len(asked - {row.cell_id for row in rows})
    warnings = [*_warnings(found, suite)]
    if missing:
        warnings.append(f"{missing} cells of the suite have not been run")
    if kept:
        warnings.append(
            f"{len(kept)} published rows answer other questions than the suite asks today: they "
            "are kept and stand in no table"
        )
    return _publication(found, files, warnings)


def _sound(store: Store, suite: str, refused: list[str]) -> Iterator[Row]:
    """Yield the rows of ``suite`` made here; ``refused`` takes why others are left out."""
    damaged: list[StoreError] = []
    teachers = _teachers_in(store)
    for row in store.rows(suite, damaged=damaged):
        if wrong := contradiction(store, row, teachers):
            refused.append(wrong)
        else:
            yield row
    refused += map(str, damaged)


def _teachers_in(store: Store) -> Teachers:
    """Return the teachers of a folder of runs; of what is damaged they themselves are told."""

    def row_of(cell: Cell) -> Row | None:
        with suppress(StoreError):
            return store.load(cell)
        return None

    def arrays_of(row: Row) -> Arrays | None:
        with suppress(StoreError):
            return scoring.arrays_in(store.folder(row.cell) / PREDICTIONS, row)
        return None

    return Teachers(row_of, arrays_of)


def contradiction(store: Store, row: Row, teachers: Teachers | None = None, /) -> str | None:
    """Return how what ``store`` has beside ``row``, or ``verify`` found, contradicts it."""
    path = store.folder(row.cell) / PREDICTIONS
    wrong: str | None = why_refused(store, row)
    if not wrong and row.metrics is not None and row.cell.judged == "test":
        try:
            arrays = scoring.arrays_in(path, row)
        except StoreError as error:
            return str(error)
        if arrays is not None:
            wrong = (teachers or _teachers_in(store)).contradiction(row, arrays)
    if not wrong:
        return None
    return f"{path.with_name('row.json')}: {wrong}; delete it to run cell {row.cell_id} again"


def decided(store: Store, row: Row, /) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what a row's network decided after the last step, and the labels, both ``[sample]``.

    Raises:
        StoreError: If they are not in ``store``, or not those that ``row`` is about.
    """
    path = store.folder(row.cell) / PREDICTIONS
    if not path.exists():
        raise StoreError(
            f"there is no {path}: published rows come without predictions; `run --again` makes them"
        )
    if wrong := contradiction(store, row):
        raise StoreError(wrong)
    arrays = scoring.arrays_in(path, row)
    assert arrays is not None
    return arrays["predictions"][-1], arrays["labels"]


def cautioned(suite: Suite, rows: Sequence[Row], /) -> Suite:
    """Return ``suite`` with what its board cannot support, where it says nothing itself.

    A board may do without if its baseline reached what the literature has for it.
    """
    known = suite.literature
    if suite.caution:
        return suite
    if known is None:
        words = (
            f"What the literature has for `{suite.baseline}` on this student and at this budget is "
            "not known here: whether it was trained as well as it can be is open."
        )
        return replace(suite, caution=words)
    found = [
        row.metrics.score
        for row in rows
        if row.metrics
        and (row.cell.method, row.cell.timesteps) == (suite.baseline, known.timesteps)
    ]
    if found and fmean(found) >= known.accuracy - known.margin:
        return suite
    reached = f"reached {100 * fmean(found):.2f} %" if found else "has no row"
    words = (
        f"`{suite.baseline}` {reached} at T = {known.timesteps}, where the literature has "
        f"{100 * known.accuracy:.2f} % ({known.where}): these rows support no order of methods."
    )
    return replace(suite, caution=words)


def beside(  # noqa: PLR0913  one option an output
    suite: str,
    /,
    *,
    runs: Path,
    folder: Path,
    data_root: Path | None,
    page: bool = False,
    figures: report.Kind | None = None,
    settings: Settings | None = None,
    baseline: str | None = None,
    group: report.Group | None = None,
) -> Publication:
    """Write leaderboards into ``runs / suite``: one's own rows, marked, beside the published ones.

    Which row stands for a cell is as in ``publish``; nothing in ``folder`` is changed. Rows of
    methods at ``settings`` stand in the tables, too. Methods are set beside ``baseline``
    instead of their tracks', and ``group`` has a table each.
    """
    settings = settings or {}
    found = _gathered(suite, runs, folder, data_root, settings)
    if not found.rows:
        return _publication(found, (), ())
    view = [*(("--baseline", baseline) if baseline else ()), *(("--group", group) if group else ())]
    board = _board(suite, found, baseline=baseline, settings=settings)
    pictures = _pictured(board, runs / suite, found.store, data_root) if page else []
    files = report.write_board(
        board,
        runs / suite,
        command=shlex.join(
            ["python", "-m", "harness", "report", suite, *_options(settings), *view]
        ),
        page=page,
        figures=figures,
        group=group,
    )
    files = [*pictures, *files]
    return _publication(found, files, tuple(_warnings(found, suite)))


def _pictured(
    board: report.Leaderboard, folder: Path, store: Store, data_root: Path | None
) -> list[Path]:
    """See that the picture of the boxes that a board shows lies in its folder, if it can be had.

    It is drawn where decisions and data lie, and never published: frames are their owners'.
    Return what was written.
    """
    from harness.report import boxes  # Pillow

    whose = boxes.shown(board)
    if whose is None:
        return []
    path = whose.path(folder / FIGURES)
    decided_in = store.folder(whose.row.cell) / PREDICTIONS
    if path.exists() and not (decided_in.exists() and _is_older(path, decided_in)):
        return []
    try:
        decisions, labels = decided(store, whose.row)
        test = catalogue.load(whose.row.cell.dataset).load(data_root).test
        boxes.draw(path, test, decisions, _overlaps(decisions, labels))
    except (DataError, SpecError, StoreError):
        return []  # the page says why there is none
    for older in set(path.parent.glob(boxes.PATTERN)) - {path}:
        older.unlink()
    return [path]


def _overlaps(decisions: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the overlap of each box ``[N, 4]``, or more columns, with its box or polygon."""
    of = tracking.overlaps if labels.shape[1] == 4 else tracking.polygon_overlaps
    return of(decisions[:, :4], labels)


def _options(settings: Settings) -> Iterator[str]:
    for method, axes in settings.items():
        for name, values in axes.items():
            yield f"--set={method}.{name}={','.join(map(str, values))}"


def _publication(found: "_Gathered", files: Iterable[Path], warnings: Iterable[str]) -> Publication:
    return Publication(
        rows=tuple(found.rows),
        mine=found.trust,
        authors=frozenset(found.authors),
        files=tuple(files),
        changes=found.changes,
        warnings=tuple(warnings),
        refused=tuple(found.refused),
    )


def joined(
    suite: str, /, *, runs: Path, folder: Path, data_root: Path | None
) -> report.Leaderboard | None:
    """Return the board of one's own and the published rows; None without any. Nothing is written.

    Which row stands for a cell is as in ``publish``.
    """
    found = _gathered(suite, runs, folder, data_root)
    return _board(suite, found) if found.rows else None


def _board(
    suite: str,
    found: "_Gathered",
    *,
    baseline: str | None = None,
    settings: Settings | None = None,
) -> report.Leaderboard:
    return report.leaderboard(
        found.rows,
        suite=cautioned(grid.load_suite(suite), found.rows),
        teachers=found.teachers,
        mine=found.trust,
        authors=found.authors,
        ends=found.ends,
        again=found.again,
        baseline=baseline,
        spelt={method: tuple(axes) for method, axes in (settings or {}).items()},
    )


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    """What a board is made from.

    Attributes:
        store: What was run here.
        before: What is published.
        stale: How many rows of those that the board is made from are.
        mine: Cells whose row stands here.
        trust: How far these are to be believed.
        authors: Those with their authors' constants where tuning chose others.
        ends: Those whose learning rate is at an end of those that tuning tried, and which.
        again: Of cells that were run here and are published, the rows of both.
        rows: Of the cells that the suite would ask for today, in the order of the board.
        teachers: Their rows.
        changes: What the rows made here are to the published.
        refused: What was left out, and why.
    """

    store: Store
    before: Published
    stale: int
    mine: set[str]
    trust: dict[str, Trust]
    authors: set[str]
    ends: dict[str, End]
    again: list[Row]
    rows: list[Row]
    teachers: list[Row]
    changes: Changes
    refused: list[str]


def _gathered(
    suite: str,
    runs: Path | None,
    folder: Path,
    data_root: Path | None,
    settings: Settings | None = None,
    *,
    claimed: bool = True,
) -> _Gathered:
    with TemporaryDirectory() as nothing:
        store = Store(runs or Path(nothing))
        before = results.published(suite, results=folder, strict=False)
        refused = list(map(str, before.damaged))
        own = list(_sound(store, suite, refused))
        own = [row for row in own if row.cell.judged == "test" and row.status != "machine"]
        stale = partial(
            freshness.stale, verified=proofs.read(folder, store.root), data_root=data_root
        )
        either = [*before.rows.values(), *own]
        broken = grid.broken(_known("methods", {row.cell.method for row in either}))
        refused += broken.values()
        readable = [row for row in either if row.cell.method not in broken]
        asked = _asked(suite, readable, store, before, settings or {})
        taught = _taught(row for row in readable if row.cell_id in asked)
        own_teachers = {
            row.cell_id: row
            for row in _sound(store, TEACHERS, refused)
            if row.cell_id in taught and row.status != "machine"
        }
        # What is asked no more, of a method that is gone, has no code to be held to.
        ours = [row for row in own if row.cell_id in asked] + [*own_teachers.values()]
        theirs = [row for row in before.rows.values() if row.cell_id in asked]
        their_teachers = [row for row in before.teachers.values() if row.cell_id in taught]
        old = stale([*theirs, *their_teachers], before)
        new = stale(ours, Published(teachers=own_teachers, code=_code(ours, store, before)))
        trusted = _trusted(store, own, own_teachers.values(), before)
        doubted = {cell_id for cell_id, level in trusted.items() if level == "claimed"}
        known, changes = _joined(own, before, old, new, asked, () if claimed else doubted)
        rows = sorted((row for row in known.values() if row.cell_id in asked), key=_order)
        mine = {row.cell_id for row in (*changes.added, *(row for row, _ in changes.replaced))}
        return _Gathered(
            store=store,
            before=before,
            stale=sum(row.cell_id in (new if row.cell_id in mine else old) for row in rows),
            mine=mine,
            trust={cell_id: level for cell_id, level in trusted.items() if cell_id in mine},
            authors=_authors(suite, rows, before.tunings),
            ends=_ends(suite, rows, before.tunings),
            again=[
                each
                for row in own
                if row.cell_id in before.rows
                for each in (row, before.rows[row.cell_id])
            ],
            rows=rows,
            teachers=_teachers(rows, before, old, own_teachers, new),
            changes=changes,
            refused=refused,
        )


_CLAIMED = "claimed: `verify` has not held it to its weights; `publish --claimed` takes it as it is"
_ELSEWHERE = (
    "answers another question than the suite asks (other method, parameters, recipe or data); "
    "constants that were tuned elsewhere count once `tune` has chosen them here, which takes no "
    "training where the trials were merged, too"
)


def _joined(
    own: Iterable[Row],
    before: Published,
    old: Mapping[str, str],
    new: Mapping[str, str],
    asked: Collection[str],
    doubted: Collection[str],
) -> tuple[dict[str, Row], Changes]:
    """Return the row that stands for each cell, and what those made here change.

    ``old`` and ``new`` say which of the published rows and of those made here are stale;
    ``doubted`` are not taken.
    """
    known, changes = dict(before.rows), Changes()
    for row in own:
        there = known.get(row.cell_id)
        if row.cell_id not in asked:
            changes.left.append((row, _ELSEWHERE))
        elif row.cell_id in doubted:
            changes.left.append((row, _CLAIMED))
        elif there is None:
            changes.added.append(row)
            known[row.cell_id] = row
        elif kept := _keeps(there, row, old.get(row.cell_id), new.get(row.cell_id)):
            changes.left.append((row, kept))
        else:
            changes.replaced.append((row, _why(there, row, old.get(row.cell_id))))
            known[row.cell_id] = row
    return known, changes


def _why(there: Row, row: Row, old: str | None) -> str:
    """Return in what ``row`` is better than the published one, or other."""
    moved = [f"the published is stale, {old.partition('; ')[0]}"] if old else []
    differing = [f"other {', '.join(names)}"] if (names := unlike(there, row)) else []
    return "; ".join([*moved, *differing])


def _keeps(there: Row, row: Row, old: str | None, new: str | None) -> str:
    """Return why a published row stands where ``row`` was made here; empty if it does not.

    ``old`` and ``new`` say what moved since each was made, None if nothing did.
    """
    if not unlike(there, row) and (old is None or new is not None):
        return "as published"
    if new is not None and old is None:
        return f"made by code that has moved since, {new.partition('; ')[0]}"
    # How long a machine takes and how much it holds says nothing of the cell.
    if there.metrics and not row.metrics and (old is None or row.status in ("timeout", "oom")):
        return f"ended here as {row.status}, and the published row has numbers"
    return ""


def outdated(suite: str, /, *, folder: Path, data_root: Path | None) -> list[str]:
    """Return the names of leaderboards in ``folder / suite`` that its rows do not give.

    They are made again beside copies of the rows; the files themselves stay as they are.

    Raises:
        StoreError: If nothing is published of it.
    """
    grid.load_suite(suite)
    there = folder / suite
    if not there.is_dir():
        raise StoreError(f"{folder} holds no rows of {suite}: there is no board to be out of date")
    with TemporaryDirectory() as made:
        again = Path(made)
        shutil.copytree(there, again / suite)
        for proof in folder.glob("*.jsonl"):
            shutil.copy(proof, again)
        page = (there / "leaderboard.html").exists()
        found = publish(suite, runs=None, folder=again, data_root=data_root, page=page)
        tables = [file.name for file in found.files if file.stem == "leaderboard"]
        return [name for name in tables if _bytes(there / name) != _bytes(again / suite / name)]


def _is_older(one: Path, other: Path) -> bool:
    return one.stat().st_mtime_ns < other.stat().st_mtime_ns


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _asked(
    suite: str, rows: Sequence[Row], store: Store, before: Published, settings: Settings
) -> set[str]:
    """Return the cells of ``rows`` that the suite, asked today, would ask for exactly so.

    As tuning chose, or with the authors' constants, which stand beside it. Methods of
    ``settings`` are asked at these, too.
    """
    tried_with = {seed for one in before.tunings for seed in one.seeds}
    seeds_of: dict[str, set[int]] = {name: set() for name in grid.load_suite(suite).recipes}
    for row in rows:
        seeds_of.get(row.cell.recipe_name, set()).add(row.cell.seed)
    each = _of_any_seed(rows)
    of_any_seed = set()
    for (recipe, own), start, as_chosen in product(seeds_of.items(), STARTS, (True, False)):
        cells = [cell for cell in each.values() if cell.recipe_name == recipe]
        axes = Axes(
            # A method, model or simulator may be no more.
            methods=_known("methods", {cell.method for cell in cells}),
            models=_known("models", {cell.model for cell in cells}),
            backends=_known("backends", {str(cell.backend) for cell in cells}),
            timesteps=tuple({cell.timesteps for cell in cells}),
            seeds=tuple(own - tried_with)[:1],
            recipe=recipe,
            start=start,
            as_chosen=as_chosen,
        )
        set_ = {name: settings[name] for name in settings if name in (axes.methods or ())}
        for one in (axes, replace(axes, methods=tuple(set_), settings=set_)):
            if cells and one.methods:
                of_any_seed |= {cell.around_seed for cell in grid.cells(suite, one, store, before)}
    return {
        row.cell_id
        for row in rows
        if row.cell.seed not in tried_with and row.cell.around_seed in of_any_seed
    }


def _authors(suite: str, rows: Sequence[Row], tunings: Iterable[Tuning]) -> set[str]:
    """Return the cells of learning rate and parameters by default, where tuning chose others."""
    recipes = grid.load_suite(suite).recipes
    chosen = _chosen(suite, tunings)
    parameters = cache(discovery.method_parameters)

    def is_theirs(cell: Cell) -> bool:
        one = chosen(cell)
        defaults = parameters(cell.method)
        own = {name: part for name, part in cell.params.items() if name != START}
        plain = own == defaults and cell.recipe == recipes[cell.recipe_name]
        return (
            one is not None
            and plain
            and (own, cell.recipe)
            != (
                own | one.params,
                one.recipe(recipes[cell.recipe_name]),
            )
        )

    theirs = {key for key, cell in _of_any_seed(rows).items() if is_theirs(cell)}
    return {row.cell_id for row in rows if row.cell.around_seed in theirs}


def _ends(suite: str, rows: Iterable[Row], tunings: Iterable[Tuning]) -> dict[str, End]:
    """Return the cells at the learning rate that tuning chose, if it is an end of those tried."""
    chosen = _chosen(suite, tunings)
    return {
        row.cell_id: one.end
        for row in rows
        if (one := chosen(row.cell))
        and one.end
        and one.learning_rate == row.cell.recipe.learning_rate
    }


def _chosen(suite: str, tunings: Iterable[Tuning]) -> Callable[[Cell], Tuning | None]:
    """Return what tells by which choice of tuning a cell would go."""
    asked = grid.load_suite(suite)
    known = {(one.method, one.model, one.recipe_name): one for one in tunings}
    return lambda cell: known.get((cell.method, cell.model, asked.tuned_where(cell.recipe_name)))


def _of_any_seed(rows: Iterable[Row]) -> dict[tuple[str, str], Cell]:
    """Return one cell of those that differ in the seed alone, by what they share."""
    return {row.cell.around_seed: row.cell for row in rows}


def _known(kind: discovery.Kind, names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names & set(discovery.names(kind))))


def _order(row: Row) -> tuple[object, ...]:
    cell = row.cell
    return cell.method, cell.recipe_name, cell.model, cell.backend, cell.timesteps, cell.seed


def _teachers(
    rows: Sequence[Row],
    before: Published,
    old: Mapping[str, str],
    own: Mapping[str, Row],
    new: Mapping[str, str],
) -> list[Row]:
    """Return the row of each teacher that ``rows`` name, published or made here.

    ``old`` and ``new`` say which of these are stale.
    """
    named = {row.provenance.teacher_sha256 for row in rows} - {None}
    found = {
        name: [
            ((bool(row.metrics), row.provenance.weights_sha256 in named, name not in stale), row)
            for known, stale in ((before.teachers, old), (own, new))
            if (row := known.get(name)) is not None
        ]
        for name in sorted(_taught(rows))
    }
    # Of two with numbers, the one that the rows learnt from, and of equal weights the fresh one.
    return [max(each, key=itemgetter(0))[1] for each in found.values() if each]


def _taught(rows: Iterable[Row]) -> set[str]:
    """Return the cells of the teachers that ``rows`` name."""
    taught = (cell.teacher for cell in _of_any_seed(rows).values())
    return {cell_of(teacher).cell_id for teacher in taught if teacher}


def _trusted(
    store: Store, own: Iterable[Row], teachers: Iterable[Row], before: Published
) -> dict[str, Trust]:
    """Return how far each of ``own`` is to be believed: no further than who taught it."""
    published = {row.provenance.weights_sha256 for row in before.teachers.values()}
    claimed = {
        row.provenance.weights_sha256 for row in teachers if trust_of(store, row) == "claimed"
    } - {*published, None}
    return {
        row.cell_id: "claimed" if row.provenance.teacher_sha256 in claimed else trust_of(store, row)
        for row in own
    }


def _code(rows: Sequence[Row], store: Store, before: Published) -> dict[str, Mapping[str, str]]:
    """Return the modules of each fingerprint that ``rows`` carry."""
    made = [row.provenance for row in rows]
    fps = {fp for one in made for fp in (one.train_fp, one.measure_fp) if fp}
    known = {fp: store.code(fp) or before.code.get(fp) for fp in sorted(fps)}
    return {fp: modules for fp, modules in known.items() if modules}


def _warnings(found: _Gathered, suite: str) -> Iterator[str]:
    claimed = sum(level == "claimed" for level in found.trust.values())
    if claimed:
        yield (
            f"{claimed} rows are claimed, merged from other machines; `python -m harness verify` "
            "holds rows to their weights"
        )
    if found.stale:
        yield f"{found.stale} rows are stale; `python -m harness plan {suite}` says what moved"
