"""What was chosen for a method by trials on validation data, and the trials."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Literal

from harness.contracts.recipe import Recipe
from harness.contracts.row import Status
from harness.contracts.values import Plain, value

End = Literal["lowest", "highest"]


@value
class Trial:
    """One point that was tried.

    Attributes:
        learning_rate: Of the recipe.
        params: Those of the method that were varied.
        cell_id: Of the row.
        status: How it ended.
        accuracy: On the validation split, in the task's metric; None without a number.
    """

    learning_rate: float
    params: Plain
    cell_id: str
    status: Status
    accuracy: float | None = None


@value
class Tuning:
    """The choice for one method, model and recipe, and how it came about.

    Attributes:
        method: A file under ``suites/methods/``.
        model: A file under ``suites/models/``.
        recipe_name: One of the suite's.
        seed: Of the trials, the first of ``repeats``; none of them is a board's.
        timesteps: At which it was tried. The choice holds for all.
        backend: On which; simulators give the same decisions.
        learning_rate: Chosen.
        params: Those of the method that were varied, as chosen.
        trials: In their order, those of one point together; the first point is the suite's recipe
            with the method's defaults.
        repeats: With how many seeds every point was tried; the best mean is chosen.
    """

    method: str
    model: str
    recipe_name: str
    seed: int
    timesteps: int
    backend: str
    learning_rate: float
    params: Plain = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    repeats: int = 1

    @property
    def points(self) -> int:
        """How many were tried."""
        return len(self.trials) // self.repeats

    @property
    def end(self) -> End | None:
        """Which end of several learning rates that were tried is the chosen one, if it is one."""
        tried = {trial.learning_rate for trial in self.trials}
        if len(tried) < 2:
            return None
        ends: dict[float, End] = {min(tried): "lowest", max(tried): "highest"}
        return ends.get(self.learning_rate)

    @property
    def seeds(self) -> range:
        """Of the trials of every point."""
        return range(self.seed, self.seed + self.repeats)

    def recipe(self, suites: Recipe, /) -> Recipe:
        """Return the suite's recipe with the learning rate that was chosen."""
        return replace(suites, learning_rate=self.learning_rate)
