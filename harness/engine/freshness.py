"""Whether a row still says what its cell would say today. Imports no torch.

The fingerprint asks and a computation answers: a row whose code has the same fingerprint
is fresh; one whose code moved is fresh if its canary was computed again and came out the
same (``harness.engine.reverify``), and stale otherwise.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from harness import discovery, fingerprint
from harness.contracts.cell import Cell
from harness.contracts.errors import HarnessError, StoreError
from harness.contracts.row import Row, Stage
from harness.contracts.unlabelled import UnlabelledText
from harness.data import catalogue, unlabelled
from harness.engine.grid import load_suite
from harness.engine.proofs import Verified
from harness.engine.teachers import cell_of
from harness.engine.trust import trust_of
from harness.results import Published, Trust
from harness.store import Store

State = Literal["fresh", "published", "stale", "missing", "failed", "skipped", "damaged"]
# What a cell loads by name, which no import shows.
_LOADED = attrgetter("suite", "dataset", "model", "encoder", "method", "backend", "unlabelled")
# What no canary takes: it is held to the plain path by equality tests.
FAST_PATHS = (
    "harness.neurons.compiled",
    "harness.training.bfloat16",
    "harness.training.convolving",
    "harness.training.several",
)
_NAMES: Mapping[Stage, str] = {"train": "training code", "measure": "measuring code"}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a cell stands.

    Attributes:
        cell: Which.
        state: Whether there is anything to do.
        why: What moved, why the cell failed, or what a reader should know; may be empty.
        row: What is known of it, if anything is.
        trust: How far that is to be believed.
    """

    cell: Cell
    state: State
    why: str = ""
    row: Row | None = None
    trust: Trust | None = None

    @property
    def is_due(self) -> bool:
        """Whether a run has to run it."""
        return self.state in {"missing", "stale"}

    @property
    def has_failed(self) -> bool:
        """Whether its last attempt gave no numbers, though it should have."""
        return self.state in {"failed", "damaged"}


def closures(cell: Cell, /) -> Mapping[Stage, Mapping[str, str]]:
    """Return the modules of each stage of ``cell``, with their hashes."""
    return {stage: _closure(*roots) for stage, roots in _roots(cell).items()}


def _roots(cell: Cell) -> Mapping[Stage, tuple[str, ...]]:
    """Return what each stage of ``cell`` starts from.

    Plug-ins are loaded by name, which no import shows; so they are named here.
    """
    return _roots_of(*_LOADED(cell))


@cache
def _roots_of(  # noqa: PLR0917  what ``_LOADED`` names
    suite: str,
    dataset: str,
    model: str,
    encoder: str | None,
    method: str,
    backend: str | None,
    text: UnlabelledText | None,
) -> Mapping[Stage, tuple[str, ...]]:
    of_both = [
        discovery.module_of("datasets", dataset),
        discovery.module_of("models", model),
        discovery.module_of("tasks", catalogue.load(dataset).card.task),
        *([discovery.module_of("encoders", encoder)] if encoder else []),
        # It decides what is in a slot, of the trained network too.
        discovery.module_of("methods", method),
    ]
    simulator = [discovery.module_of("backends", backend)] if backend else []
    asked = load_suite(suite).witnesses if simulator else ()
    witnesses = [discovery.module_of("backends", name) for name in asked]
    read = [discovery.module_of("datasets", name) for name in text.datasets] if text else []
    return {
        "train": ("harness.engine.train", *of_both, *simulator, *read),
        "measure": ("harness.engine.measure", *of_both, *sorted({*simulator, *witnesses})),
    }


def fingerprints(cell: Cell, /) -> Mapping[Stage, str]:
    """Return the fingerprint of each stage, as the code of ``cell`` stands now."""
    return _fingerprints_of(*_LOADED(cell))


@cache
def _fingerprints_of(*loaded: Any) -> Mapping[Stage, str]:
    return {stage: _fingerprint(*roots) for stage, roots in _roots_of(*loaded).items()}


@cache
def _closure(*roots: str) -> Mapping[str, str]:
    return fingerprint.closure(roots, stops=FAST_PATHS)


@cache
def _fingerprint(*roots: str) -> str:
    return fingerprint.of_closure(_closure(*roots))


def remember(store: Store, cell: Cell, /) -> None:
    """Keep which modules the fingerprints of a row made now are of, to name what moves."""
    for code in closures(cell).values():
        store.keep_code(fingerprint.of_closure(code), code)


def fast_fingerprint(cell: Cell, device: str, devices: int = 1, /) -> str | None:
    """Return that of the fast paths which a run of ``cell`` takes, or None if it takes none."""
    alone = device == "cpu" and devices == 1
    plain = alone and not cell.recipe.compiled and cell.recipe.precision != "bfloat16"
    return None if plain else _fast()


def data_fingerprint(
    dataset: str, data_root: Path | None, text: UnlabelledText | None = None, /
) -> str | None:
    """Return that of the data, and of ``text``; None without either, as ``no_data`` explains."""
    return _data(dataset, data_root, text)[0]


def no_data(dataset: str, data_root: Path | None, text: UnlabelledText | None = None, /) -> str:
    """Return why data or ``text`` is not here, by names and sizes, and the remedy; else nothing."""
    fingerprint, why = _data(dataset, data_root, text)
    nowhere = "here, and neither --data-root nor SNN_DISTILL_DATA says where to look"
    place = f"whole under {data_root}" if data_root else nowhere
    return "" if fingerprint else f"{dataset} is not {place}: {why}"


@cache
def _data(
    dataset: str, data_root: Path | None, text: UnlabelledText | None
) -> tuple[str | None, str]:
    try:
        if text is not None:
            return unlabelled.fingerprint(dataset, data_root, text), ""
        return catalogue.load(dataset).provenance(data_root).fingerprint, ""
    except HarnessError as error:
        return None, str(error)


def has_moved(row: Row, verified: Verified, /) -> bool:
    """Return whether code or libraries are others than made ``row`` or were proved alike."""
    return bool(stages_moved(row, verified) or _libraries_moved(row, verified))


def stages_moved(row: Row, verified: Verified, /) -> list[Stage]:
    """Return the stages whose code is another than made ``row`` or was proved alike."""
    then = {"train": row.provenance.train_fp, "measure": row.provenance.measure_fp}
    return [
        stage
        for stage, now in fingerprints(row.cell).items()
        if then[stage] != now and not verified.holds(row, stage, now)
    ]


def _libraries_moved(row: Row, verified: Verified) -> str:
    """Return which versions are others than those of ``row``, unless it was proved on them."""
    now = fingerprint.versions(discovery.packages_of(row.cell.backend))
    then = row.provenance.versions
    # Of rows of the first schema only some are known.
    told = fingerprint.differences(then, {name: now[name] for name in then if name in now})
    return told if told and not verified.covers(row, now) else ""


def standings(
    cells: Iterable[Cell],
    store: Store,
    published: Published,
    verified: Verified,
    /,
    *,
    data_root: Path | None,
) -> list[Standing]:
    """Return how every cell stands: by its own row here, else by the published one."""
    begun = cache(store.begun)

    def row_of(cell: Cell) -> Row | None:
        return store.load(cell) if cell.cell_id in begun(cell.suite) else None

    here = _Judge(
        row_of=row_of,
        code_of=store.code,
        trust_of=partial(trust_of, store),
        own=True,
        verified=verified,
        data_root=data_root,
    )
    there = _judge_of(published, verified, data_root)
    return [_standing(cell, here, there) for cell in cells]


def stale(
    rows: Iterable[Row], published: Published, /, *, verified: Verified, data_root: Path | None
) -> dict[str, str]:
    """Return which of ``rows``, with no others than ``published``, are stale, and what moved."""
    judge = _judge_of(published, verified, data_root)
    judged = [judge.judged(row) for row in rows]
    return {one.cell.cell_id: one.why for one in judged if one.state == "stale"}


def _standing(cell: Cell, here: "_Judge", there: "_Judge") -> Standing:
    own = here.standing(cell)
    if not own.is_due or there.row_of(cell) is None:
        return own
    public = there.standing(cell)
    if public.state == "fresh":
        return replace(public, state="published")
    return public if own.row is None else own


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """Judges rows of one place, with the teachers of that place."""

    row_of: Callable[[Cell], Row | None]
    code_of: Callable[[str], Mapping[str, str] | None]
    trust_of: Callable[[Row], Trust]
    own: bool
    verified: Verified
    data_root: Path | None
    _teachers: dict[str, Standing] = field(default_factory=dict)
    _differing: dict[tuple[str, str], str] = field(default_factory=dict)

    def standing(self, cell: Cell) -> Standing:
        """Return how ``cell`` stands here."""
        try:
            row = self.row_of(cell)
            if row is None:
                return Standing(cell=cell, state="missing")
            return replace(self.judged(row), cell=cell, trust=self.trust_of(row))
        except StoreError as error:
            return Standing(cell=cell, state="damaged", why=str(error))

    def judged(self, row: Row) -> Standing:
        """Return how the cell of ``row`` stands by it."""
        cell = row.cell
        if moved := [*self._moved(row), *self._moved_teacher(row)]:
            return Standing(cell=cell, state="stale", why="; ".join(moved), row=row)
        if row.status == "machine":
            return Standing(cell=cell, state="missing", why=f"machine: {row.error}", row=row)
        if row.status == "skipped":
            return Standing(cell=cell, state="skipped", why=str(row.error), row=row)
        if row.status != "ok":
            why = f"{row.status}: {row.error}"
            return Standing(cell=cell, state="failed", why=why, row=row)
        return Standing(cell=cell, state="fresh", why="; ".join(self._to_tell(row)), row=row)

    def _moved(self, row: Row) -> Iterable[str]:
        """Yield what is not as it was when ``row`` was made, so that it may say another thing."""
        for stage in stages_moved(row, self.verified):
            then = row.provenance.train_fp if stage == "train" else row.provenance.measure_fp
            yield f"{_NAMES[stage]} moved{self._between(then, stage, row.cell) if then else ''}"
        here = data_fingerprint(row.cell.dataset, self.data_root, row.cell.unlabelled)
        if here is not None and here != row.provenance.data_fp:
            yield "data changed"

    def _between(self, then: str, stage: Stage, cell: Cell) -> str:
        """Return the modules in which the code of ``then`` is another than now, in words."""
        both = then, fingerprints(cell)[stage]
        if both not in self._differing:
            known = self.code_of(then)
            modules = fingerprint.moved(known, closures(cell)[stage]) if known else ()
            self._differing[both] = f": {_few(modules)}" if modules else ""
        return self._differing[both]

    def _moved_teacher(self, row: Row) -> Iterable[str]:
        if row.cell.teacher is None:
            return
        cell = cell_of(row.cell.teacher)
        if cell.cell_id not in self._teachers:
            self._teachers[cell.cell_id] = self.standing(cell)
        teacher = self._teachers[cell.cell_id]
        if teacher.state in {"stale", "damaged"}:
            yield f"its teacher is {teacher.state}: {teacher.why}"
        # Published teachers may come from another machine, whose rounding is another.
        elif (
            self.own
            and row.status == "ok"
            and teacher.row is not None
            and row.provenance.teacher_sha256 != teacher.row.provenance.weights_sha256
        ):
            yield "its teacher was made again and has other weights"

    def _to_tell(self, row: Row) -> Iterable[str]:
        """Yield what does not make a row stale, and yet must be seen."""
        if told := _libraries_moved(row, self.verified):
            yield told
        if row.provenance.fast_fp not in (None, _fast()):
            yield "made by fast paths that have moved since"
        if data_fingerprint(row.cell.dataset, self.data_root, row.cell.unlabelled) is None:
            yield "its data is not here to be compared"
        yield from _unusual(row)


def _unusual(row: Row) -> Iterable[str]:
    """Yield under what other conditions than usual ``row`` was made: they are in no identity."""
    made = row.provenance
    if made.device not in (None, "cpu"):
        yield f"made on {made.gpu or made.device}"
    if made.threads not in (None, 1):
        yield f"made with {made.threads} threads"
    if made.deterministic is False:
        yield "made by kernels that may vary"


def _judge_of(published: Published, verified: Verified, data_root: Path | None) -> _Judge:
    known = {**published.rows, **published.teachers}
    return _Judge(
        row_of=lambda cell: known.get(cell.cell_id),
        code_of=published.code.get,
        trust_of=lambda _row: "published",
        own=False,
        verified=verified,
        data_root=data_root,
    )


@cache
def _fast() -> str:
    return fingerprint.of_closure(fingerprint.closure(FAST_PATHS))


def _few(modules: tuple[str, ...]) -> str:
    more = f" and {len(modules) - 3} more" if len(modules) > 3 else ""
    return f"{', '.join(modules[:3])}{more}"
