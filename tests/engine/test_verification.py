"""Rows that somebody sent: contradicted ones are refused, the others believed as far as shown."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from harness import cli
from harness.contracts.cell import Cell
from harness.contracts.ledger import Ledger
from harness.contracts.row import Provenance, Row
from harness.engine import bundle, grid, packed, trust, verification
from harness.engine.cell import weights_of
from harness.engine.freshness import fingerprints, standings
from harness.engine.grid import Axes
from harness.engine.proofs import Proof, Verified, key_of
from harness.engine.reinference import again
from harness.engine.resolve import opened, resolve
from harness.engine.teachers import WEIGHTS, cell_of
from harness.engine.verification import Again, Finding, Question
from harness.evaluation.cost import Running
from harness.results import Published
from harness.store import PREDICTIONS, Store
from harness.training.lesson import computing
from tests.engine.evidence import metrics_of

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A row with what came with it."""

    row: Row
    weights: bytes
    arrays: packed.Arrays

    def into(self, runs: Path, *, weights: bool = True, predictions: bool = True) -> Path:
        folder = Store(runs).folder(self.row.cell)
        Store(runs).save(self.row)
        if predictions:
            (folder / PREDICTIONS).write_bytes(packed.to_npz(self.arrays))
        if weights:
            (folder / WEIGHTS).write_bytes(self.weights)
        return runs


@cache
def asked() -> Cell:
    axes = Axes(methods=("direct",), timesteps=(2,), seeds=(0,), backends=("norse",))
    (cell,) = grid.cells("digits", axes, Store(Path("nowhere")), Published())
    return cell


@cache
def honest(*, of_teacher: bool = False) -> Sent:
    """Return what a cell that trained nothing gives: its first weights, judged and metered."""
    teacher = asked().teacher
    assert teacher is not None
    cell = cell_of(teacher) if of_teacher else asked()
    found = resolve(cell)
    with computing(cell.recipe.precision):
        student, test = found.student(CPU), opened(cell.dataset, None, cell.timesteps).test
        running = Running(student, test, found.presentation(), CPU, cell.recipe.precision)
        verdict, ledger = running.judged()
    arrays, weights = (
        {"predictions": verdict.predictions, "labels": verdict.labels},
        weights_of(student.network),
    )
    fps = fingerprints(cell)
    made = Provenance(
        train_fp=fps["train"],
        measure_fp=fps["measure"],
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    row = Row(
        cell=cell,
        status="ok",
        metrics=metrics_of(arrays),
        ledger=ledger.summed(),
        provenance=made,
    )
    return Sent(row=row, weights=weights, arrays=arrays)


def question(sent: Sent, folder: Path, *, samples: int = 64, seed: int = 0) -> Question:
    (folder / "w").write_bytes(sent.weights)
    arrays = packed.to_npz(sent.arrays)
    return Question(
        row=sent.row,
        weights=folder / "w",
        arrays=arrays,
        data_root=None,
        samples=samples,
        seed=seed,
    )


def found_in(runs: Path, **options: Any) -> dict[str, Finding]:
    """Return what is known of each row of a folder, by its method or ``teacher``."""
    settled = {"proofs": Verified(), "samples": 50, "seed": 0, "slots": 1, "timeout_s": 120.0}
    with bundle.opened(runs) as evidence:
        found: Iterator[Finding] = verification.verify(
            evidence, None, **settled | {"logs": runs.parent / "logs"} | options
        )
        return {one.row.cell.method + one.row.cell.suite[:1]: one for one in found}


def the_only(runs: Path, **options: Any) -> Finding:
    (found,) = found_in(runs, **options).values()
    return found


# Computed again


def test_what_weights_answer_again_bears_out_the_row(tmp_path: Path) -> None:
    assert again(question(honest(), tmp_path)) == Again(samples=64)
    samples = len(honest().arrays["labels"])
    assert again(question(honest(), tmp_path, samples=samples)) == Again(samples=samples)


def _deciding(change: Callable[[Any], Any]) -> Sent:
    predictions = honest().arrays["predictions"].copy()
    return replace(honest(), arrays={**honest().arrays, "predictions": change(predictions)})


def _flipped(places: slice, *, step: int = -1) -> Sent:
    def flip(predictions: Any) -> Any:
        predictions[step, places] = (predictions[step, places] + 1) % 10
        return predictions

    return _deciding(flip)


@pytest.mark.parametrize("step", [0, -1])
def test_a_decision_that_weights_do_not_make_is_found(tmp_path: Path, step: int) -> None:
    lying = _flipped(slice(7, 8), step=step)
    everything = question(lying, tmp_path, samples=10_000)
    assert "its weights decide 1 of 544 samples otherwise" in str(again(everything).wrong)


def test_samples_are_drawn_by_the_seed(tmp_path: Path) -> None:
    lying = _flipped(slice(0, 272))  # every second one is found, if it is drawn
    found = [again(question(lying, tmp_path, samples=1, seed=seed)).wrong for seed in range(12)]
    assert {None if wrong is None else wrong[:22] for wrong in found} == {
        None,
        "its weights decide 1 o",
    }


def test_rounding_decides_a_hundredth_of_float32_otherwise_and_nothing_of_float64(
    tmp_path: Path,
) -> None:
    narrow = replace(asked(), recipe=replace(asked().recipe, precision="float32"))
    row = replace(honest().row, cell=narrow, cell_id="", ledger=None)
    some, more = (replace(_flipped(slice(0, count)), row=row) for count in (5, 6))
    # Of 544, 5.44 may differ; untrained weights are the same numbers in either type.
    assert again(question(some, tmp_path, samples=544)).wrong is None
    assert "decide 6 of 544" in str(again(question(more, tmp_path, samples=544)).wrong)


def test_labels_that_are_not_those_of_the_data_are_found(tmp_path: Path) -> None:
    arrays = dict(honest().arrays)
    arrays["labels"] = arrays["predictions"][-1].copy()
    found = again(question(replace(honest(), arrays=arrays), tmp_path))
    assert "of its labels are not those of the data" in str(found.wrong)
    few = {name: one[..., :9] for name, one in honest().arrays.items()}
    found = again(question(replace(honest(), arrays=few), tmp_path))
    assert found.wrong == "it was tested on 9 samples, and here are 544"


@pytest.mark.parametrize(
    "weights", [b"", b"\xff" * 64, b"\x02" + bytes(7) + b"{}", b"\x80\x04N.", b"{}"]
)
def test_weights_that_fit_no_network_are_refused(tmp_path: Path, weights: bytes) -> None:
    found = again(question(replace(honest(), weights=weights), tmp_path))
    assert "its weights do not fit its model" in str(found.wrong)


def test_counts_that_weights_do_not_cost_are_found(tmp_path: Path) -> None:
    ledger = honest().row.ledger
    assert ledger is not None
    plain = json.loads(json.dumps(ledger.to_plain()))
    name = next(name for name, layer in plain["layers"].items() if layer["counts"].get("spikes"))
    plain["layers"][name]["counts"]["spikes"][0] += 1
    row = replace(honest().row, ledger=Ledger.from_plain(plain))
    found = again(question(replace(honest(), row=row), tmp_path, samples=10_000))
    assert "its weights cost otherwise: spikes" in str(found.wrong)


# Rows and what came with them


def test_an_honest_row_is_verified_in_a_process_of_its_own(tmp_path: Path) -> None:
    runs = honest().into(tmp_path / "runs")
    honest(of_teacher=True).into(runs)
    found = found_in(runs)
    assert {one.level for one in found.values()} == {"verified"}
    assert [one.samples for one in found.values()] == [50, 50]


def test_what_was_not_shown_is_claimed_with_the_reason(tmp_path: Path) -> None:
    row, made = honest().row, honest().row.provenance
    elsewhere = replace(row.cell, method="a_method_that_is_nowhere")
    cases: dict[str, tuple[Sent, dict[str, bool]]] = {
        "no weights came with it": (honest(), {"weights": False}),
        "no predictions came with it": (honest(), {"predictions": False}),
        "its training code is not what is here": (
            replace(honest(), row=replace(row, provenance=replace(made, train_fp="0" * 16))),
            {},
        ),
        "its training and measuring code is not": (
            replace(
                honest(), row=replace(row, provenance=replace(made, train_fp=None, measure_fp=None))
            ),
            {},
        ),
        "a_method_that_is_nowhere": (
            replace(honest(), row=replace(row, cell=elsewhere, cell_id="")),
            {},
        ),
        "no numbers of the test split": (
            replace(honest(), row=Row(cell=row.cell, status="failed", error="no luck")),
            {},
        ),
    }
    for number, (words, (sent, parts)) in enumerate(cases.items()):
        found = the_only(sent.into(tmp_path / str(number), **parts))
        assert found.level == "claimed", words
        assert words in found.why


def test_code_that_was_proved_to_mean_the_same_counts_as_what_is_here(tmp_path: Path) -> None:
    made = replace(honest().row.provenance, train_fp="0" * 16)
    row = replace(honest().row, provenance=made)
    proof = Proof(
        stage="train",
        fingerprint=fingerprints(row.cell)["train"],
        versions={},
        canaries=(key_of(row, "train"),),
    )
    runs = replace(honest(), row=row).into(tmp_path / "runs")
    assert the_only(runs, proofs=Verified((proof,))).level == "verified"


def test_what_contradicts_its_row_is_refused(tmp_path: Path) -> None:
    metrics = honest().row.metrics
    assert metrics is not None
    lying = _flipped(slice(0, 100))
    consistent = replace(lying, row=replace(lying.row, metrics=metrics_of(lying.arrays)))
    teacher = honest(of_teacher=True)
    taught = replace(honest().row.provenance, teacher_sha256=teacher.row.provenance.weights_sha256)
    praised = replace(metrics, agreement=0.999, teacher_accuracy=0.999)
    boasting = replace(honest(), row=replace(honest().row, metrics=praised, provenance=taught))
    assert "predictions beside it give" in the_only(lying.into(tmp_path / "a")).why
    assert "its weights decide" in the_only(consistent.into(tmp_path / "b")).why
    others = the_only(replace(honest(), weights=b"others").into(tmp_path / "c"))
    assert "holds other weights than its row" in others.why
    runs = boasting.into(tmp_path / "d")
    teacher.into(runs)
    found = found_in(runs)
    assert found["directd"].level == others.level == "refused"
    assert "agreement 0.999, but the predictions beside it give" in found["directd"].why
    assert "teacher_accuracy 0.999" in found["directd"].why
    assert found["directt"].level == "verified"


def test_a_row_that_takes_too_long_is_claimed_and_the_next_one_asked(tmp_path: Path) -> None:
    runs = honest().into(tmp_path / "runs")
    found = the_only(runs, timeout_s=0.01)
    assert found.level == "claimed"
    assert "ended as timeout after" in found.why


def test_the_command_line_notes_what_is_verified_and_tables_tell(tmp_path: Path) -> None:
    file = bundle.write(
        "digits", honest().into(tmp_path / "theirs"), tmp_path / "it.zip", weights=True
    ).path
    runs, cell = tmp_path / "runs", asked()
    places = ("--out", str(runs))
    assert CliRunner().invoke(cli.app, ("merge", str(file), *places)).exit_code == 0

    def standing() -> Any:
        (one,) = standings([cell], Store(runs), Published(), Verified(), data_root=None)
        return one.trust

    assert standing() == "claimed"
    ask = ("verify", str(file), *places, "--samples", "20", "--seed", "5")
    told = CliRunner().invoke(cli.app, ask)
    assert (told.exit_code, told.output) == (0, "1 verified (samples drawn with --seed 5)\n")
    assert standing() == "verified"
    assert trust.trust_of(Store(runs), honest().row) == "verified"
    board = ("report", "digits", *places, "--results", str(tmp_path / "none"))
    assert CliRunner().invoke(cli.app, (*board, "--no-page")).exit_code == 0
    (line,) = [
        line
        for line in (runs / "digits" / "leaderboard.md").read_text().splitlines()
        if "| direct" in line and "| verified" in line
    ]
    assert line
    plan = ("plan", "digits", "--methods", "direct", "--timesteps", "2", "--seeds", "0", *places)
    told = CliRunner().invoke(cli.app, (*plan, "--backends", "norse", "--results", "none"))
    assert f"{cell.cell_id} {cell.label}  verified" in told.output


def test_the_command_line_exits_with_1_where_a_row_is_contradicted(tmp_path: Path) -> None:
    lying = _flipped(slice(0, 100)).into(tmp_path / "lying")
    told = CliRunner().invoke(cli.app, ("verify", str(lying), "--out", str(tmp_path / "runs")))
    assert told.exit_code == 1
    assert told.output.startswith(f"refused   {asked().cell_id}")
    assert "1 refused (samples" in told.output
    assert not (tmp_path / "runs" / "checked").exists()
    bare = honest().into(tmp_path / "bare", weights=False)
    told = CliRunner().invoke(cli.app, ("verify", str(bare), "--out", str(tmp_path), "--json"))
    assert told.exit_code == 0
    assert json.loads(told.output)["why"] == "no weights came with it"
    told = CliRunner().invoke(cli.app, ("verify", str(bare), "--samples", "0"))
    assert "--samples must be positive, got 0" in str(told.exception)
