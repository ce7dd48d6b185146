"""The optimiser and its schedule, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from harness.contracts.recipe import Recipe
from harness.training.descent import GRID, optimiser_of

COSINE = [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]  # of 0, 1/4, 1/2, 3/4 pi


def recipe(**fields: object) -> Recipe:
    return Recipe(**{"epochs": 1, "batch_size": 4, "learning_rate": 0.5} | fields)  # type: ignore[arg-type]  # fields of several types


def rates(recipe: Recipe, *, steps: int) -> list[float]:
    """Return the learning rate of every step."""
    optimiser, schedule = optimiser_of(recipe, [nn.Linear(1, 1)], steps=steps)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_the_learning_rate_falls_with_a_cosine() -> None:
    assert rates(recipe(), steps=4) == pytest.approx([0.5 * share for share in COSINE])


def test_it_rises_first_if_the_recipe_warms_up() -> None:
    # Half of eight steps: 1/4, 2/4, 3/4 and 1, then the cosine over the other four.
    shares = [0.25, 0.5, 0.75, 1, *COSINE]
    assert rates(recipe(warmup=0.5), steps=8) == pytest.approx([0.5 * share for share in shares])


def test_a_single_step_is_taken_in_full() -> None:
    assert rates(recipe(), steps=1) == [0.5]
    assert rates(recipe(warmup=0.1), steps=1) == [0.5]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_what_has_one_axis_does_not_decay(kind: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    asked = recipe(optimiser=kind, weight_decay=0.125)
    optimiser, _ = optimiser_of(asked, [network, nn.Linear(2, 1)], steps=1)
    decay = {
        tuple(weight.shape): group["weight_decay"]
        for group in optimiser.param_groups
        for weight in group["params"]
    }
    assert decay == {(2, 1, 3, 3): 0.125, (1, 2): 0.125, (2,): 0, (1,): 0}
    assert isinstance(optimiser, torch.optim.SGD if kind == "sgd" else torch.optim.AdamW)


def test_the_first_step_has_the_momentum_of_nesterov() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    optimiser, _ = optimiser_of(recipe(weight_decay=0.0), [layer], steps=1)
    layer.weight.grad = torch.full((1, 1), 0.25)
    optimiser.step()
    # g + 0.9 g, at a rate of 1/2.
    assert layer.weight.item() == pytest.approx(1 - 0.5 * 1.9 * 0.25)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_with_float64_alone_a_step_ends_on_the_grid(precision: str) -> None:
    layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(layer.weight, 1 / 3)
    asked = recipe(precision=precision, weight_decay=0.0)
    optimiser, _ = optimiser_of(asked, [layer], steps=1)
    layer.weight.grad = torch.zeros(1, 1, dtype=torch.float64)
    optimiser.step()
    places = layer.weight.item() / 2**-22
    assert places.is_integer() == (precision == "float64")
    assert abs(layer.weight.item() - 1 / 3) <= 2**-23
    assert GRID == 2**-22
