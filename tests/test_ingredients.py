"""What a recipe's ingredients do to a training, and how what they buy is told."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import log_softmax

from benchmarks import ingredients
from benchmarks.ingredients import AS_IT_IS, INGREDIENTS, Ingredient, Outcome, Setting
from harness.contracts.cell import Cell
from harness.contracts.method import Progress
from harness.contracts.recipe import Recipe
from harness.training import Batch, Lesson, Student
from tests.engine.test_runs import _cells

SHORT = ("--suite", "digits", "--recipe", "short", "--epochs", "3", "--train-samples", "640")


def _setting(*, steps: int, samples: int = 4) -> Setting:
    lesson = Lesson(
        recipe=Recipe(epochs=1, batch_size=1),
        epochs=(),
        steps=steps,
        budget_samples=steps,
        teacher=None,
        device=torch.device("cpu"),
    )
    [cell] = _cells(1)
    return Setting(cell=cell, samples=samples, lesson=lesson)


def _one_weight() -> Student:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    return Student(network=network, timesteps=1, twin=lambda _: nn.Identity())


def _counting_up(student: Student, steps: int) -> Iterator[Progress]:
    """Add 1 to the only weight each step."""
    for step in range(steps):
        student.network.weight.data += 1
        yield Progress(samples=step + 1, budget=steps, loss=0.0)


def _weight(student: Student) -> float:
    return student.network.weight.item()


def test_alternating_shows_every_image_once_as_it_is_and_once_mirrored() -> None:
    of = _setting(steps=2, samples=64)
    images = torch.rand(64, 3, 2, 2)
    indices = torch.randperm(64)
    batch = Batch(
        stimulus=2 * images[indices], labels=indices, indices=indices, images=images[indices]
    )
    [even], [odd] = (list(ingredients.alternating(iter([batch]), epoch, of)) for epoch in (0, 1))
    for shown in (even, odd):
        assert torch.equal(shown.stimulus, 2 * shown.images)
        assert shown.drawn is shown.images, "a method has changed nothing"
    assert torch.equal(odd.images, even.images.flip(-1))
    turned = (even.images != batch.images).flatten(1).any(1)
    assert 16 < int(turned.sum()) < 48
    [again] = ingredients.alternating(iter([replace(batch)]), 2, of)
    assert torch.equal(again.images, even.images)


def test_lookahead_goes_back_half_of_the_way_every_fifth_step_and_at_the_end() -> None:
    student = _one_weight()
    ingredients.looking_ahead(student, _counting_up(student, 7), _setting(steps=7))
    # 0 to 5, back to 2.5, two more are 4.5, back to 3.5.
    assert _weight(student) == 3.5


def test_averaged_weights_are_an_exponential_mean_that_begins_with_the_first() -> None:
    student = _one_weight()
    ingredients.averaged(student, _counting_up(student, 100), _setting(steps=100))
    mean = 0.0
    for now in range(1, 101):
        mean += (now - mean) / 2  # a memory of two steps, a fiftieth of 100
    assert _weight(student) == pytest.approx(mean, rel=1e-6)


def test_smoothed_labels_share_a_tenth_of_the_probability() -> None:
    decided, target = torch.tensor([[1.0, 0.0, -2.0, 0.5]]), torch.tensor([2])
    logs = log_softmax(decided, 1)[0]
    by_hand = -(0.9 * logs[2] + 0.025 * logs.sum())
    assert torch.allclose(ingredients.Smoothed().supervised(decided, target), by_hand)


def test_steps_double_after_half_of_the_training() -> None:
    seen: list[int] = []

    class Network(nn.Module):
        def forward(self, _stimulus: Any, timesteps: int, _taps: Any) -> Any:
            seen.append(timesteps)
            return ingredients.Output(logits=torch.zeros(timesteps, 1, 2))

    of = _setting(steps=4)
    plain = Student(network=Network(), timesteps=6, twin=lambda _: nn.Identity())
    growing = ingredients.lengthening(plain, of)
    for _ in range(4):
        of.lesson.account.draw(1, "")
        growing(torch.zeros(1, 3, 2, 2))
    assert seen == [3, 3, 6, 6]
    assert ingredients.lengthening(replace(plain, timesteps=1), of).short.timesteps == 1  # type: ignore[attr-defined]  # it is of the kind that has it


def test_every_ingredient_trains_a_method_that_is_judged_on_validation_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INGREDIENTS, "nothing", Ingredient(what="another name"))
    # Digits have no flip, and no margin for crops of colour images.
    asked = [name for name, one in INGREDIENTS.items() if "augmentation" not in one.recipe]
    judged: list[Cell] = []
    real = ingredients.resolve
    monkeypatch.setattr(ingredients, "resolve", lambda cell: judged.append(cell) or real(cell))
    results = tmp_path / "outcomes.jsonl"
    words = [*SHORT, "--timesteps", "2", "--results", str(results), "--ingredients", *asked]
    assert ingredients.main([*words, "--seeds", "2000"]) == 0
    first = capsys.readouterr().out
    assert all(name in first for name in asked)
    assert {cell.judged for cell in judged} == {"validation"}
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    by_name = {line["ingredient"]: line["accuracy"] for line in lines}
    assert by_name["nothing"] == by_name[AS_IT_IS], "what changes nothing changes nothing"
    assert len(set(by_name.values())) > 3, "and the others do"

    judged.clear()
    assert ingredients.main([*words, "--seeds", "2000"]) == 0
    assert not judged, "what is done is not done twice"
    assert capsys.readouterr().out == first


def test_seeds_of_a_board_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ingredients.main([*SHORT, "--seeds", "0", "2000"])
    assert "the suite's board has the seed 0" in capsys.readouterr().err


def test_a_table_compares_over_common_seeds() -> None:
    [cell] = _cells(1)
    asked = replace(cell, seed=0).cell_id

    def outcome(name: str, seed: int, accuracy: float | None, seconds: float) -> Outcome:
        return Outcome(
            ingredient=name,
            asked=asked,
            method=cell.method,
            seed=seed,
            accuracy=accuracy,
            seconds=seconds,
        )

    outcomes = [
        outcome(AS_IT_IS, 1, 0.50, 10.0),
        outcome(AS_IT_IS, 2, 0.52, 10.0),
        outcome("lookahead", 1, 0.51, 12.0),
        outcome("lookahead", 2, 0.55, 13.0),
        outcome("lookahead", 3, 0.99, 99.0),
        outcome("no_flip", 1, 0.40, 5.0),
        outcome("averaged_weights", 1, None, 0.0),
        outcome("no_warmup", 1, 0.52, 10.0),
        outcome("no_warmup", 2, None, 0.0),
        replace(outcome("no_flip", 2, 0.9, 5.0), asked="of another recipe"),
    ]
    _, _, plain, warm, flip, averaged, ahead = ingredients.table([cell], outcomes)
    assert plain.split() == [AS_IT_IS, "51.00", "2"]
    # Differences of 1 and 3 points: t of one degree of freedom is 12.706, and their error 1.
    assert ahead.split() == ["lookahead", "68.33", "+2.00", "-10.71", "to", "+14.71", "2", "1.25"]
    assert averaged.split() == ["averaged_weights", "1", "diverged", "1"]
    assert warm.split()[:5] == ["no_warmup", "52.00,", "1", "diverged", "+2.00"]
    assert flip.split() == ["no_flip", "40.00", "-10.00", "one", "seed", "1", "0.50"]


def test_what_diverges_is_told_and_ends_no_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = Ingredient(what="a rate without measure", recipe={"learning_rate": 1e30})
    monkeypatch.setitem(INGREDIENTS, "wild", wild)
    words = [*SHORT, "--timesteps", "2", "--seeds", "2000", "--ingredients", "wild", AS_IT_IS]
    assert ingredients.main([*words, "--results", str(tmp_path / "outcomes.jsonl")]) == 0
    plain, diverged = capsys.readouterr().out.splitlines()[-2:]
    assert plain.startswith(AS_IT_IS)
    assert diverged.split() == ["wild", "1", "diverged", "1"]


def test_what_cannot_be_asked_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ingredients.main([*SHORT, "--methods", "durect"])
    assert "durect" in capsys.readouterr().err
