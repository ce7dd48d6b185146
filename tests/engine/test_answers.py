"""Kept logits are found by who may have them, by nobody else, and change no number."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.contracts.cell import Cell
from harness.contracts.row import Row
from harness.contracts.values import to_plain
from harness.engine import answers, cell, grid
from harness.engine.compare import TIMES
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.teachers import cell_of
from harness.results import Published
from harness.store import Store

CPU = torch.device("cpu")


def _cell(method: str = "logit_kd", seed: int = 0, **recipe: Any) -> Cell:
    axes = Axes(methods=(method,), timesteps=(2,), seeds=(seed,), backends=("norse",))
    found = grid.cells("digits", axes, Store(Path("nowhere")), Published())[0]
    assert found.teacher is not None
    assert found.teacher.recipe is not None
    short = {"epochs": 1, "train_samples": 128}
    teacher = replace(found.teacher, recipe=replace(found.teacher.recipe, **short))
    return replace(found, teacher=teacher, recipe=replace(found.recipe, **(short | recipe)))


def _order(asked: Cell, runs: Path) -> Order:
    conditions = Conditions(
        runs=runs, data_root=None, device="cpu", threads=1, deterministic=True, command=""
    )
    return Order(cell=asked, conditions=conditions, log_path=runs / "log.txt")


def _run(asked: Cell, runs: Path) -> Row:
    row = cell.run(_order(asked, runs), lambda _: None)
    Store(runs).save(row)
    return row


def _numbers(row: Row) -> Any:
    plain = to_plain(row)
    plain.pop("provenance")
    return {**plain, "metrics": {k: v for k, v in plain["metrics"].items() if k not in TIMES}}


def test_another_method_reads_what_the_first_has_kept_and_no_number_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _cell("logit_kd"), _cell("hta_kl")
    assert first.teacher is not None
    teacher = cell_of(first.teacher)
    for runs in (tmp_path / "shared", tmp_path / "alone"):
        _run(teacher, runs)
    _run(first, tmp_path / "shared")
    (kept,) = (tmp_path / "shared" / answers.FOLDER).glob("*.safetensors")
    assert load_file(kept)["logits"].shape == (2, 64, 10)
    asked: list[int] = []
    given = answers.Answers
    monkeypatch.setattr(
        answers, "Answers", lambda *a, **k: asked.append("known" in k) or given(*a, **k)
    )
    shared, alone = (_run(second, tmp_path / place) for place in ("shared", "alone"))
    assert asked == [True, False]
    assert _numbers(shared) == _numbers(alone)
    assert shared.metrics is not None
    assert alone.metrics is not None
    assert alone.metrics.spared_seconds == 0
    assert shared.metrics.spared_seconds == float(load_file(kept)["seconds"])
    assert shared.metrics.train_seconds is not None
    assert 0 < shared.metrics.spared_seconds < shared.metrics.train_seconds


def test_the_address_changes_with_all_that_logits_depend_on_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    def address(asked: Cell, sha256: str = "a", **conditions: Any) -> str:
        order = _order(asked, tmp_path)
        order = replace(order, conditions=replace(order.conditions, **conditions))
        assert asked.teacher is not None
        return answers._address(order, asked.teacher, sha256, CPU)

    plain = address(_cell())
    assert address(_cell("hta_kl", learning_rate=0.9, weight_decay=0.0, warmup=0.5)) == plain
    others = [
        address(_cell(seed=1)),
        address(_cell(batch_size=32)),
        address(_cell(epochs=2)),
        address(_cell(precision="float32")),
        address(_cell(), "b"),
        address(_cell(), threads=2),
    ]
    assert len({plain, *others}) == 7


def test_what_is_no_longer_kept_whole_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_address", lambda *_: "a")
    kept, teacher = tmp_path / answers.FOLDER / "a.safetensors", _cell().teacher
    assert teacher is not None
    given = answers.answers_of(_order(_cell(), tmp_path), teacher, "", CPU)

    def is_known() -> bool:
        return given(None, 1)._known  # type: ignore[arg-type]  # nobody asks the teacher

    assert not is_known()
    assert not kept.exists()
    answers._keep(kept, torch.zeros(1, 4, 8), None)
    assert is_known()
    kept.write_bytes(b"")
    assert not is_known()


def test_a_lesson_whose_logits_would_be_too_many_holds_none_of_them_and_no_number_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _cell()
    assert asked.teacher is not None
    for runs in (tmp_path / "kept", tmp_path / "not"):
        _run(cell_of(asked.teacher), runs)
    kept = _run(asked, tmp_path / "kept")
    monkeypatch.setattr(answers, "_LARGEST", 2 * 64 * 10 * 8 - 1)
    made: list[Any] = []
    given = answers._Unkept
    monkeypatch.setattr(answers, "_Unkept", lambda *a: made.append(given(*a)) or made[-1])
    assert _numbers(_run(asked, tmp_path / "not")) == _numbers(kept)
    assert [one._table for one in made] == [None]
    assert not [*(tmp_path / "not").glob(f"{answers.FOLDER}/*")]
    # Too many for any memory: 300,000 steps of a thousand classes.
    large = _cell(batch_size=10**5)
    order = _order(replace(large, dataset="imagenet"), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(answers, "_address", lambda *_: "a")
    many = answers.answers_of(order, asked.teacher, "", CPU)(object(), 300_000)  # type: ignore[arg-type]  # nobody asks it
    logits = torch.zeros(10, 1000)
    assert torch.equal(many.at(torch.tensor([0]), lambda: logits), logits)
    many.finish()


def test_another_cell_may_throw_away_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Path.glob
    monkeypatch.setattr(
        Path, "glob", lambda folder, pattern: [*there(folder, pattern), tmp_path / "gone"]
    )
    answers._keep(tmp_path / "mine.safetensors", torch.zeros(1, 4, 8), None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_the_oldest_go_where_there_are_too_many_and_the_largest_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = torch.zeros(2, 4, 8)  # 256 bytes, and a header
    for age, name in enumerate(("young", "old")):
        answers._keep(tmp_path / f"{name}.safetensors", table, None)
        os.utime(tmp_path / f"{name}.safetensors", (1000 - age, 1000 - age))
    size = (tmp_path / "old.safetensors").stat().st_size
    monkeypatch.setattr(answers, "_TOGETHER", 2 * size)
    answers._keep(tmp_path / "new.safetensors", table, None)
    assert {path.stem for path in tmp_path.iterdir()} == {"young", "new"}
    monkeypatch.setattr(answers, "_LARGEST", 255)
    answers._keep(tmp_path / "large.safetensors", table, None)
    assert not (tmp_path / "large.safetensors").exists()
