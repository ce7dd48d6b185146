"""A suite's cells, and the filters that choose among them. Imports no torch."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Literal, cast

from harness import discovery
from harness.contracts.cell import START, Cell
from harness.contracts.errors import SpecError
from harness.contracts.suite import Suite
from harness.contracts.tuning import Tuning
from harness.data import catalogue
from harness.engine.meaning import unmeant
from harness.engine.settings import Settings, points
from harness.engine.teachers import identity_of
from harness.results import Published
from harness.store import Store

Start = Literal["teacher"] | None
STARTS: Final[tuple[Start, ...]] = (None, "teacher")


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the user wants of a suite; None is all of it.

    Timesteps and seeds may lie outside the suite's grid: they replace the axis. With
    ``as_chosen``, learning rate and weights are those that tuning chose, where it did.
    ``start`` is whose weights students begin with, whatever their method; None leaves it to
    the method. ``shard`` ``(k, n)`` is every n-th cell in the order of identities, from the k-th.
    ``settings`` are axes of single methods: each is asked at all combinations of its values,
    which stand in the place of its defaults and of what tuning chose.
    """

    methods: tuple[str, ...] | None = None
    timesteps: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    backends: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    recipe: str | None = None
    as_chosen: bool = True
    start: Start = None
    shard: tuple[int, int] = (1, 1)
    settings: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bad := [steps for steps in self.timesteps or () if steps < 1]:
            raise SpecError(f"--timesteps must be at least 1, got {bad[0]}")
        if bad := [seed for seed in self.seeds or () if not 0 <= seed < 2**32]:
            raise SpecError(f"--seeds must be in [0, 2**32), got {bad[0]}")
        which, of = self.shard
        if of < 1:
            raise SpecError(f"--shard takes one of at least one part, got {which}/{of}")
        if not 1 <= which <= of:
            raise SpecError(f"--shard must be one of 1/{of} to {of}/{of}, got {which}/{of}")


def load_suite(name: str) -> Suite:
    """Return the suite of that name."""
    return cast(Suite, discovery.load("suites", name))


def cells(name: str, axes: Axes, store: Store, published: Published, /) -> list[Cell]:
    """Return the cells of suite ``name`` that ``axes`` choose.

    They come method by method within a seed, so that a run that is cut short has whole
    comparisons first. A method that nobody named and whose file cannot be read is left out
    (``unreadable``).

    Raises:
        UnknownPluginError: For a name that does not exist.
        SpecError: For a recipe that the suite has not.
        StoreError: If its teacher is to be imported and has not been.
    """
    suite = load_suite(name)
    recipe_name = _recipe_name(suite, name, axes.recipe)
    recipe = suite.recipes[recipe_name]
    card = catalogue.load(suite.dataset).card
    left_out = unreadable(name, axes)
    methods = [one for one in _methods(suite, axes) if one not in left_out]
    seeds = axes.seeds or suite.seeds
    grid = product(
        _known("models", axes.models or suite.models),
        axes.timesteps or suite.timesteps,
        _known("backends", axes.backends or suite.backends),
        methods,
    )
    if suite.encoder is not None:
        discovery.module_of("encoders", suite.encoder)
    text = suite.unlabelled
    _known("datasets", text.datasets if text else ())
    reading = [method for method in methods if text and _reads_unlabelled(method)]
    teacher = identity_of(suite, card.split, store, published)
    start = {START: axes.start} if axes.start else {}
    tuned = _tuned(suite.tuned_where(recipe_name), axes, published)
    tried_with = {seed for one in tuned.values() for seed in one.seeds}
    if both := tried_with & {*seeds}:
        raise SpecError(
            f"seed {min(both)} chose learning rates and weights of {name!r} and cannot judge "
            "them, too; take another, or --untuned"
        )

    defaults = {method: discovery.method_parameters(method) | start for method in methods}
    asked_at = {method: list(points(axes.settings.get(method, {}))) for method in methods}

    def chosen(method: str, model: str, point: dict[str, Any]) -> dict[str, Any]:
        one = tuned.get((method, model))
        return {
            "params": defaults[method] | (one.params if one else {}) | point,
            "recipe": one.recipe(recipe) if one else recipe,
            "spelt": tuple(point),
        }

    of_any_seed = [
        Cell(
            suite=name,
            protocol=suite.protocol,
            method=method,
            dataset=suite.dataset,
            split=card.split,
            model=model,
            teacher=teacher,
            backend=backend,
            timesteps=timesteps,
            seed=0,
            recipe_name=recipe_name,
            **chosen(method, model, point),
            neuron=suite.neuron,
            encoder=suite.encoder,
            unlabelled=text if method in reading else None,
        )
        for model, timesteps, backend, method in grid
        for point in asked_at[method]
    ]
    each = zip(*(cell.at_seeds(seeds) for cell in of_any_seed), strict=True)
    asked = [cell for of_a_seed in each for cell in of_a_seed]
    which, of = axes.shard
    if of == 1:
        return asked
    taken = set(sorted(cell.cell_id for cell in asked)[which - 1 :: of])
    return [cell for cell in asked if cell.cell_id in taken]


def _tuned(recipe_name: str, axes: Axes, published: Published) -> dict[tuple[str, str], Tuning]:
    """Return what tuning chose, by method and model."""
    return {
        (one.method, one.model): one
        for one in published.tunings
        if one.recipe_name == recipe_name and axes.as_chosen
    }


def overruled(name: str, axes: Axes, published: Published, /) -> list[str]:
    """Return which settings stand in the place of a value that tuning chose, a sentence each."""
    suite = load_suite(name)
    tuned = _tuned(suite.tuned_where(_recipe_name(suite, name, axes.recipe)), axes, published)
    return [
        f"{method}.{key} on {model} is as set, not the {tuned[method, model].params[key]!r} that "
        "tuning chose; the learning rate stays the tuned one"
        for method, set_ in axes.settings.items()
        for model in axes.models or suite.models
        for key in set_
        if (method, model) in tuned and key in tuned[method, model].params
    ]


def unreadable(name: str, axes: Axes, /) -> dict[str, str]:
    """Return the methods of suite ``name`` that are left out, each with what is wrong.

    One that ``axes`` name is never left out: asking for its cells says what is wrong.
    """
    return {} if axes.methods else broken(_methods(load_suite(name), axes))


def broken(methods: Iterable[str], /) -> dict[str, str]:
    """Return those of ``methods`` whose file cannot be read, each with what is wrong."""
    found = {}
    for method in methods:
        try:
            discovery.method_parameters(method)
        except SpecError as error:
            found[method] = str(error)
    return found


def _methods(suite: Suite, axes: Axes) -> Sequence[str]:
    """Return the methods that were named, or all that mean the suite's task."""
    chosen = _known("methods", axes.methods or suite.methods or _meaning(suite.dataset))
    if absent := [method for method in axes.settings if method not in chosen]:
        raise SpecError(
            f"--set {absent[0]}: that method is not among those asked for; name it in --methods"
        )
    return chosen


def _reads_unlabelled(method: str) -> bool:
    card = discovery.method_card(method)
    return card is not None and card.reads_unlabelled


def _meaning(dataset: str) -> Iterator[str]:
    for method in discovery.names("methods"):
        try:
            if unmeant(method, dataset):
                continue
        except SpecError:  # a file that cannot be read, which ``unreadable`` tells
            pass
        yield method


def _known(kind: discovery.Kind, wanted: Iterable[str]) -> Sequence[str]:
    """Return ``wanted``, each of which exists."""
    chosen = list(wanted)
    for name in chosen:
        discovery.module_of(kind, name)
    return chosen


def _recipe_name(suite: Suite, name: str, wanted: str | None) -> str:
    if wanted is None:
        return next(iter(suite.recipes))
    if wanted in suite.recipes:
        return wanted
    near = difflib.get_close_matches(wanted, suite.recipes, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(suite.recipes)}"
    raise SpecError(f"suite {name!r} has no recipe {wanted!r}; {hint}")
