"""What is compared: frozen values, found by file name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.contracts.errors import SpecError
from harness.contracts.neuron import NeuronSpec

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How much is trained and with what, the same for every method of a suite.

    Attributes:
        epochs: Passes over the training samples.
        batch_size: Samples a step.
        optimiser: ``sgd`` (Nesterov momentum 0.9) or ``adam``.
        learning_rate: At the peak; cosine to zero.
        warmup: Fraction of the steps that rise linearly to the peak.
        weight_decay: On weights; none on biases, norms and neuron parameters.
        augmentation: Names of ``harness.data.augmentation``, in order.
        train_samples: Use only so many, the first of a fixed shuffle; None is all.
        precision: Of forward and backward; weights and optimiser stay float32.
        compiled: Whether neurons run through ``torch.compile``.
    """

    epochs: int
    batch_size: int
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.1
    warmup: float = 0.0
    weight_decay: float = 5e-4
    augmentation: tuple[str, ...] = ()
    train_samples: int | None = None
    precision: Precision = "float32"
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if not value > 0:
                raise SpecError(f"Recipe.{name} must be positive, got {value!r}")
        if self.train_samples is not None and self.train_samples < 1:
            raise SpecError(f"Recipe.train_samples must be positive, got {self.train_samples!r}")


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """Which artificial network teaches.

    Attributes:
        model: A file under ``suites/models/``.
        recipe: How to train it, or None if it is imported.
        seed: Of its training.
    """

    model: str
    recipe: Recipe | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
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
        timesteps: The grid's axis T.
        seeds: The grid's axis seed.
        neuron: In every slot of every student.
        encoder: How static images become trains, a file under ``suites/encoders/``; None
            shows the normalised image as a constant current.
        methods: None means every method there is.
        baseline: The method over which gains are counted.
        notes: By method, what a reader of the leaderboard must know of its numbers.
        left_out_backends: Simulators that do not compete here.
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
    methods: tuple[str, ...] | None = None
    baseline: str = "direct"
    notes: Mapping[str, str] = field(default_factory=dict)
    left_out_backends: tuple[str, ...] = ("reference",)

    def __post_init__(self) -> None:
        if not self.recipes:
            raise SpecError("Suite.recipes must name at least one recipe")
        if bad := [steps for steps in self.timesteps if steps < 1]:
            raise SpecError(f"Suite.timesteps must be at least 1, got {bad[0]!r}")
