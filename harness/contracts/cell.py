"""What is asked: one method, on one simulator, with one student, at one T, for one seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import field, fields, replace
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.contracts.errors import SpecError
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.unlabelled import UnlabelledText
from harness.contracts.values import Plain, identifying, spell, value

TEACHERS = "teachers"  # the suite that teachers are cells of
START = "start_from"  # the parameter that is the harness's, of any method: whose weights come first
LABELS_ALONE = "direct"  # the method without a teacher: how teachers learn, what others must beat


@value
class TeacherIdentity:
    """Which trained artificial network teaches.

    Attributes:
        dataset: What it knows.
        model: A file under ``suites/models/``.
        recipe: How it is trained, or None if it is imported.
        seed: Of its training.
        split: The identity of the split it is trained on.
        weights_sha256: Of an imported one, which nothing else identifies.
        start_sha256: Of published weights that its training began with.
    """

    dataset: str
    model: str
    recipe: Recipe | None = None
    seed: int | None = None
    split: str | None = None
    weights_sha256: str | None = None
    start_sha256: str | None = field(default=None, metadata={"later": True})

    def __post_init__(self) -> None:
        trained = None not in (self.recipe, self.seed, self.split)
        if trained == (self.weights_sha256 is not None) or (self.start_sha256 and not trained):
            raise SpecError(
                "TeacherIdentity is of a trained network (recipe, seed, split) or of an imported "
                f"one (weights_sha256), got {self!r}"
            )

    def identity(self) -> dict[str, Any]:
        """Return what makes this teacher this teacher."""
        return {name: part for name, part in identifying(self).items() if part is not None}

    def is_of(self, cell: Cell, /) -> bool:
        """Return whether ``cell`` is the one that this teacher is."""
        if (cell.suite, cell.dataset, cell.model) != (TEACHERS, self.dataset, self.model):
            return False
        if self.weights_sha256 is not None:
            return cell.recipe_name == f"imported {self.weights_sha256}"
        began = cell.params.get(START)
        ours = (self.recipe, self.seed, self.split, self.start_sha256)
        return (cell.recipe, cell.seed, cell.split, began) == ours


@value
class Cell:
    """One question of a suite, answered by one method on one simulator.

    A teacher is a cell too: of ReLU, on no simulator, of the suite ``teachers``.

    Attributes:
        suite: A file under ``suites/``, or ``teachers``.
        protocol: The suite's; raised when old rows may no longer stand beside new ones.
        method: A file under ``suites/methods/``.
        params: The method's parameters, all of them, defaults included. One that begins with
            its teacher's weights where it would not by itself has ``start_from="teacher"``, too,
            and a teacher that begins with published ones their SHA-256.
        dataset: A file under ``suites/datasets/``.
        split: The identity of its fixed split.
        model: The student, a file under ``suites/models/``.
        teacher: What identifies the teacher, or None if the suite has none.
        backend: A folder under ``backends/``; None for an artificial network.
        timesteps: T, at least 1.
        seed: Of initial weights, data order and augmentation.
        recipe_name: Of the suite's recipes.
        recipe: The training budget.
        neuron: In every slot; None for an artificial network.
        encoder: A file under ``suites/encoders/``, or None for a constant current.
        unlabelled: What its method reads before it learns the task; None gives it the training
            samples once more, if it reads any.
        judged: The split that the numbers are of; a trial of the tuning has the validation's.
        spelt: The parameters that its label spells out, because somebody set them; who reads
            a row back does not know, and nothing depends on it.
    """

    suite: str
    protocol: int
    method: str
    params: Plain
    dataset: str
    split: str
    model: str
    teacher: TeacherIdentity | None
    backend: str | None
    timesteps: int
    seed: int
    recipe_name: str
    recipe: Recipe
    neuron: NeuronSpec | None
    encoder: str | None = field(default=None, metadata={"later": True})
    unlabelled: UnlabelledText | None = field(default=None, metadata={"later": True})
    judged: Literal["test", "validation"] = field(default="test", metadata={"later": True})
    spelt: Annotated[tuple[str, ...], Field(exclude=True)] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise SpecError(f"Cell.timesteps must be at least 1, got {self.timesteps!r}")
        if self.seed < 0:
            raise SpecError(f"Cell.seed must not be negative, got {self.seed!r}")
        if (self.backend is None) != (self.neuron is None):
            raise SpecError(
                f"a cell has a simulator and a neuron or neither, got {self.backend!r} "
                f"and {self.neuron!r}"
            )

    def at_seeds(self, seeds: Iterable[int], /) -> Iterator[Cell]:
        """Yield the same question for each seed; nothing else is checked or spelt again."""
        before, after = self.around_seed
        begun, rest = hashlib.sha256(before.encode()), after.encode()
        for seed in seeds:
            if type(seed) is not int or seed < 0:
                yield replace(self, seed=seed)  # which says what is wrong
                continue
            digest = begun.copy()
            digest.update(b"%d%b" % (seed, rest))
            made = object.__new__(Cell)
            made.__dict__.update(self.__dict__, seed=seed, cell_id=digest.hexdigest()[:16])
            yield made

    def identity(self) -> str:
        """Return the canonical JSON: keys sorted, no whitespace, floats by ``repr``."""
        before, after = self.around_seed
        return f"{before}{self.seed}{after}"

    @cached_property
    def around_seed(self) -> tuple[str, str]:
        """The canonical JSON before the seed, and what follows it: alike for all its seeds."""
        between = _around(tuple([getattr(self, name) for name in _SHARED]))
        start, backend, params, seed, end = between
        before = (start, _canonical(self.backend), backend, _canonical(self.params), params)
        return "".join(before), f"{seed}{self.timesteps}{end}"

    @cached_property
    def cell_id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over ``identity``."""
        return hashlib.sha256(self.identity().encode()).hexdigest()[:16]

    @property
    def starts_from_teacher(self) -> bool:
        """Whether the student is given the teacher's weights before its method is."""
        return self.params.get(START) == "teacher"

    @property
    def starts_from_published(self) -> str | None:
        """The SHA-256 of the published weights that a teacher's training begins with."""
        return str(self.params[START]) if self.suite == TEACHERS and START in self.params else None

    @property
    def label(self) -> str:
        """What people call it."""
        if self.suite == TEACHERS:
            return f"teacher {self.model} seed={self.seed}"
        spelt = {name: self.params[name] for name in self.spelt}
        method = spell(self.method, spelt) if spelt else self.method
        method = f"{method} from teacher" if self.starts_from_teacher else method
        name = f"{method} {self.model} {self.backend} T={self.timesteps} seed={self.seed}"
        if self.judged == "test":
            return name
        return f"trial {name} rate={self.recipe.learning_rate:g}"


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
# Suites of many thousand cells are named before anything runs: most of it is spelt once.
_FREE = ("backend", "params", "seed", "timesteps")  # in alphabetical order
_SHARED = tuple(item.name for item in fields(Cell) if item.compare and item.name not in _FREE)
_LATER = {item.name: item.default for item in fields(Cell) if item.metadata.get("later")}


@lru_cache(maxsize=1024)
def _around(shared: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the canonical JSON of a cell with these parts, cut where the others stand in it."""
    what = dict(zip(_SHARED, shared, strict=True))
    told = {name: part for name, part in what.items() if part != _LATER.get(name, ...)}
    recipe, teacher = told["recipe"], told["teacher"]
    told["recipe"] = {"name": told.pop("recipe_name"), **identifying(recipe)}
    told["precision"] = recipe.precision
    told["teacher"] = None if teacher is None else teacher.identity()
    told["neuron"] = None if told["neuron"] is None else identifying(told["neuron"])
    if "unlabelled" in told:
        told["unlabelled"] = identifying(told["unlabelled"])
    texts, between = {name: _canonical(part) for name, part in told.items()}, ["{"]
    for place, name in enumerate(sorted([*texts, *_FREE])):
        between[-1] += f"{',' * bool(place)}{_canonical(name)}:"
        if name in texts:
            between[-1] += texts[name]
        else:
            between.append("")
    between[-1] += "}"
    return tuple(between)
