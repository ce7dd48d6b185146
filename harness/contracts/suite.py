"""What is compared: frozen values, found by file name."""

from __future__ import annotations

from dataclasses import field

from harness.contracts.errors import SpecError
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.unlabelled import UnlabelledText
from harness.contracts.values import value


@value
class TeacherSpec:
    """Which artificial network a suite wants for a teacher.

    Attributes:
        model: A file under ``suites/models/``.
        recipe: How to train it, or None if it is imported.
        seed: Of its training.
        start: The SHA-256 of published weights that its training begins with, as ``teacher import
            FOLDER`` tells it; None begins with what the seed draws.
    """

    model: str
    recipe: Recipe | None = None
    seed: int = 0
    start: str | None = field(default=None, metadata={"later": True})

    def __post_init__(self) -> None:
        if self.start is not None and self.recipe is None:
            raise SpecError("TeacherSpec.start is what a training begins with: give a recipe, too")


@value
class Literature:
    """What the literature has for the baseline on this student, at this budget.

    Attributes:
        accuracy: A fraction.
        timesteps: At which.
        margin: How far below it a board's baseline may be, a fraction.
        where: Paper, table, architecture and budget.
    """

    accuracy: float
    timesteps: int
    margin: float
    where: str


@value
class Suite:
    """The questions. Methods and simulators are the answers, and are found.

    One file ``suites/<name>.py`` provides one, as ``SUITE``. It imports no torch.

    Attributes:
        title: One line.
        protocol: Raised when an old row may no longer stand beside a new one.
        dataset: A file under ``suites/datasets/``.
        models: Students, files under ``suites/models/``.
        teacher: The same for every method.
        recipes: By name; the first is the default.
        tuned_at: By recipe, the one whose trials choose its learning rates and weights; those
            that are not named have trials of their own.
        timesteps: The grid's axis T.
        seeds: The grid's axis seed.
        neuron: In every slot of every student.
        encoder: How static images become trains, a file under ``suites/encoders/``; None
            shows the normalised image as a constant current.
        unlabelled: What methods read that learn something before the task; None gives them its
            own training samples once more.
        methods: None means every method there is.
        baseline: The method over which gains are counted.
        remarks: By method, what a reader of the leaderboard must know of its numbers.
        backends: Simulators that compete here, if nobody asks for others.
        witnesses: Simulators that are asked what a cell's weights answer on them.
        caution: What no reader of the leaderboard may miss, its first line; empty if nothing.
        literature: What its baseline has to reach. Where none is known, or the baseline falls
            short of it, the board's first line says so.
    """

    title: str
    protocol: int
    dataset: str
    models: tuple[str, ...]
    teacher: TeacherSpec
    recipes: dict[str, Recipe]
    timesteps: tuple[int, ...]
    seeds: tuple[int, ...]
    neuron: NeuronSpec = field(default_factory=NeuronSpec)
    encoder: str | None = None
    tuned_at: dict[str, str] = field(default_factory=dict)
    unlabelled: UnlabelledText | None = None
    methods: tuple[str, ...] | None = None
    baseline: str = "direct"
    remarks: dict[str, str] = field(default_factory=dict)
    backends: tuple[str, ...] = ("norse", "spikingjelly")
    witnesses: tuple[str, ...] = ("norse", "reference", "spikingjelly")
    caution: str = ""
    literature: Literature | None = None

    def __post_init__(self) -> None:
        if not self.recipes:
            raise SpecError("Suite.recipes must name at least one recipe")
        for name in (*self.tuned_at, *self.tuned_at.values()):
            if name not in self.recipes:
                raise SpecError(f"Suite.tuned_at names {name!r}, which Suite.recipes has not")
        if bad := [steps for steps in self.timesteps if steps < 1]:
            raise SpecError(f"Suite.timesteps must be at least 1, got {bad[0]!r}")

    def tuned_where(self, recipe: str, /) -> str:
        """Return the recipe whose trials choose for ``recipe``."""
        return self.tuned_at.get(recipe, recipe)
