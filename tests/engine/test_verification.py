"""Rows that somebody sent: contradicted ones are refused, the others believed as far as shown."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from harness import cli, discovery
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.ledger import Ledger
from harness.contracts.row import Metrics, Provenance, Row
from harness.contracts.task import MetricSpec, Scale, Score
from harness.contracts.unlabelled import UnlabelledText
from harness.data import catalogue
from harness.engine import bundle, grid, packed, scoring, trust, verification
from harness.engine.cell import weights_of
from harness.engine.freshness import fingerprints, standings
from harness.engine.grid import Axes
from harness.engine.merging import merge
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
from tests.report.rows import cell as toy_cell

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
        running = Running(
            student=student,
            samples=test,
            presentation=found.presentation(),
            device=CPU,
            precision=cell.recipe.precision,
            task=found.task,
        )
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
    "weights", [b"", b"\xff" * 64, b"\x02" + bytes(7) + b"{}", b"\x80\x04N.", b"{}"], ids=range(5)
)
def test_weights_that_fit_no_network_are_refused(tmp_path: Path, weights: bytes) -> None:
    found = again(question(replace(honest(), weights=weights), tmp_path))
    assert "its weights do not fit its model" in str(found.wrong)


def test_a_score_that_weights_do_not_reach_is_found(tmp_path: Path) -> None:
    metrics = honest().row.metrics
    assert metrics is not None
    better = replace(metrics, score=metrics.score + 1e-6, score_by_step=None)
    row = replace(honest().row, metrics=better)
    found = again(question(replace(honest(), row=row), tmp_path, samples=10_000))
    assert found.wrong == f"its weights score {metrics.score:.4f}"
    assert again(question(replace(honest(), row=row), tmp_path)).wrong is None, "of a part, unknown"


def test_counts_that_weights_do_not_cost_are_found(tmp_path: Path) -> None:
    ledger = honest().row.ledger
    assert ledger is not None
    plain = json.loads(json.dumps(ledger.to_plain()))
    name = next(name for name, layer in plain["layers"].items() if layer["counts"].get("spikes"))
    plain["layers"][name]["counts"]["spikes"][0] += 1
    row = replace(honest().row, ledger=Ledger.from_plain(plain))
    found = again(question(replace(honest(), row=row), tmp_path, samples=10_000))
    assert "its weights cost otherwise: spikes" in str(found.wrong)


# Other tasks than classes


class Places:
    """A point a sample: right within half a unit, in at least half of a group's samples."""

    metric = MetricSpec(name="within", title="points within half a unit")
    gives = frozenset[str]()

    def score(self, decisions: Any, targets: Any, groups: Any) -> Score:
        near = np.linalg.norm(decisions - targets, axis=-1) < 0.5
        units = [near[groups == unit].mean() for unit in np.unique(groups)]
        return Score(
            value=float(near.mean()),
            low=0.0,
            high=1.0,
            units=len(units),
            further={"worst": float(min(units))},
        )

    def alike(self, ours: Any, theirs: Any) -> Any:
        return np.linalg.norm(ours - theirs, axis=-1) < 1e-9


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> tuple[Row, dict[str, Any]]:
    """Return a row of 8 points in 2 groups with its decisions, 3 and then 6 of them right."""
    task = SimpleNamespace(card=SimpleNamespace(task="points"))
    monkeypatch.setattr(catalogue, "load", lambda _name: task)
    monkeypatch.setattr(discovery, "load", lambda _kind, _name: Places())
    labels = np.arange(16.0).reshape(8, 2)
    predictions = np.stack([labels, labels])
    predictions[0, 3:] += 9
    predictions[1, :2] += 9
    arrays = {"predictions": predictions, "labels": labels, "groups": np.arange(8) // 4}
    metrics = Metrics(
        metric="within",
        score=0.75,
        score_low=0.0,
        score_high=1.0,
        n_test=8,
        score_by_step=(0.375, 0.75),
        score_area=0.5625,
        further={"worst": 0.5},
        agreement=1.0,
        teacher_score=0.75,
    )
    return Row(cell=toy_cell("plain"), status="ok", metrics=metrics), arrays


def test_a_row_of_another_task_is_scored_by_it(points: tuple[Row, dict[str, Any]]) -> None:
    row, arrays = points
    metrics = row.metrics
    assert metrics is not None
    assert scoring.contradiction(row, arrays) is None
    assert scoring.disagreement(row, arrays, row, arrays) is None
    for change, words in (
        ({"score": 0.8, "score_by_step": (0.375, 0.8)}, "beside it give within 0.75"),
        ({"metric": "accuracy"}, "beside it give within 0.75"),
        ({"scale": Scale(higher_is_better=False)}, "but that of its task is Scale(unit='%', h"),
        ({"further": {"worst": 0.6}}, "further {'worst': 0.6}, but"),
        ({"further": {}}, "further {}, but"),
        ({"score_area": 0.6}, "score_area 0.6, but"),
        ({"score_low": 0.1}, "score_low 0.1, but"),
        ({"n_test": 9}, "n_test 9, but there are predictions of 8 samples"),
    ):
        wrong = scoring.contradiction(replace(row, metrics=replace(metrics, **change)), arrays)
        assert words in str(wrong)
    elsewhere = arrays | {"predictions": arrays["predictions"] + 0.25}
    assert "agreement 1.0, but" in str(scoring.disagreement(row, arrays, row, elsewhere))


def test_a_row_of_another_task_travels_and_is_scored_where_it_arrives(
    points: tuple[Row, dict[str, Any]], tmp_path: Path
) -> None:
    made = Provenance(weights_sha256=hashlib.sha256(b"w").hexdigest())
    sent = Sent(row=replace(points[0], provenance=made), weights=b"w", arrays=points[1])
    theirs, file, mine = sent.into(tmp_path / "theirs"), tmp_path / "it.zip", tmp_path / "mine"
    assert bundle.write("toy", theirs, file, weights=True).refused == ()
    with bundle.opened(file) as evidence:
        assert len(merge([evidence], mine).added) == 1
    for place in (file, mine):
        with bundle.opened(place) as evidence:
            assert [*evidence.rows.values()] == [sent.row]
            arrived = evidence.arrays(sent.row)
            assert arrived is not None
            assert arrived.keys() == sent.arrays.keys()
            for name, array in sent.arrays.items():
                np.testing.assert_array_equal(arrived[name], array, strict=True)
        found = the_only(place)
        assert found.level == "claimed"
        assert found.why.startswith("no suite 'toy', method 'plain', "), "nothing contradicts it"
        assert found.why.endswith("suites/datasets/squares.py, backends/alpha/")
    assert sent.row.metrics is not None
    better = replace(sent.row.metrics, score=0.8, score_by_step=(0.375, 0.8))
    lying = replace(sent, row=replace(sent.row, metrics=better)).into(tmp_path / "lying")
    assert "beside it give within 0.75" in the_only(lying).why
    with pytest.raises(StoreError, match=r"to be bundled; .* beside it give within 0\.75"):
        bundle.write("toy", lying, file)
    elsewhere = mine / "toy" / sent.row.cell_id / PREDICTIONS
    elsewhere.write_bytes(packed.to_npz(sent.arrays | {"groups": np.arange(8)}))
    assert "further {'worst': 0.5}, but" in the_only(mine).why


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("predictions", np.zeros((2, 8, 5))),
        ("predictions", np.zeros((3, 8, 2))),
        ("predictions", np.zeros(8)),
        ("labels", np.zeros((0, 2))),
        ("groups", np.zeros(3)),
    ],
)
def test_arrays_that_a_task_cannot_score_are_refused_in_words(
    points: tuple[Row, dict[str, Any]], name: str, array: Any
) -> None:
    row, arrays = points
    wrong = scoring.contradiction(row, arrays | {name: array})
    assert wrong is not None
    assert "\n" not in wrong


def test_what_nobody_here_can_score_is_no_contradiction() -> None:
    row, arrays = honest().row, dict(honest().arrays)
    cell = replace(row.cell, dataset="a_data_set_of_theirs")
    assert row.metrics is not None
    theirs = replace(row.metrics, metric="mAP", score=0.9, score_high=1.0, score_by_step=None)
    unknown = replace(row, cell=cell, cell_id="", metrics=theirs)
    assert scoring.contradiction(unknown, arrays) is None
    lying = replace(unknown, metrics=replace(theirs, metric="accuracy"))
    assert "accuracy 0.9 of" in str(scoring.contradiction(lying, arrays))


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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"suite": "mine"}, "no suite 'mine' here; ask the sender for suites/mine.py"),
        ({"method": "mine"}, "no method 'mine' here; ask the sender for suites/methods/mine.py"),
        ({"model": "mine"}, "no model 'mine' here; ask the sender for suites/models/mine.py"),
        ({"dataset": "my"}, "no data set 'my' here; ask the sender for suites/datasets/my.py"),
        ({"encoder": "my"}, "no encoder 'my' here; ask the sender for suites/encoders/my.py"),
        ({"backend": "mine"}, "no simulator 'mine' here; ask the sender for backends/mine/"),
        (
            {"unlabelled": UnlabelledText(datasets=("sst2", "my"))},
            "no data set 'my' here; ask the sender for suites/datasets/my.py",
        ),
        (
            {"suite": "mine", "method": "\x1b"},
            (
                r"no suite 'mine', method '\x1b' here; "
                r"ask the sender for suites/mine.py, suites/methods/\u001b.py"
            ),
        ),
    ],
)
def test_what_is_not_here_is_to_be_asked_for(changes: dict[str, Any], words: str) -> None:
    row = replace(honest().row, cell=replace(asked(), **changes), cell_id="")
    assert verification._other_code(row, Verified()) == words


def test_a_task_that_is_not_here_is_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    known = discovery.names
    none = {"tasks": ()}
    monkeypatch.setattr(discovery, "names", lambda kind: none.get(kind, known(kind)))
    why = verification._other_code(honest().row, Verified())
    assert why == (
        "no task 'classification' here; ask the sender for suites/tasks/classification.py"
    )


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
    praised = replace(metrics, agreement=0.999, teacher_score=0.999)
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
    assert "teacher_score 0.999" in found["directd"].why
    assert found["directt"].level == "verified"


def taking_too_long(_question: Any, _send: Any) -> bool:
    time.sleep(600)
    return True


def test_a_row_that_takes_too_long_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = verification._job
    monkeypatch.setattr(verification, "_job", lambda *of: replace(job(*of), work=taking_too_long))
    runs = honest().into(tmp_path / "runs")
    found = the_only(runs, timeout_s=0.5)
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


def test_what_was_refused_is_neither_merged_nor_told_nor_published(tmp_path: Path) -> None:
    forged = _flipped(slice(0, 100))
    row = replace(forged.row, metrics=metrics_of(forged.arrays))
    lying = replace(forged, row=row).into(tmp_path / "lying")
    runs, published = tmp_path / "runs", tmp_path / "results"
    places = ("--out", str(runs), "--results", str(published))

    def told(*words: str) -> Any:
        return CliRunner().invoke(cli.app, words)

    publish = ("publish", "digits", *places, "--no-page")
    assert told("merge", str(lying), "--out", str(runs)).exit_code == 0
    # Claimed: it is published by name alone.
    assert "left 1 (direct 1): claimed: `verify` has not" in told(*publish).output
    assert not (published / "digits" / "direct.jsonl").exists()
    assert told("verify", str(lying), *places).exit_code == 1
    for words in (publish, (*publish, "--claimed"), ("report", "digits", *places, "--no-page")):
        found = told(*words)
        assert found.exit_code != 0
        assert "`verify` refused it: its weights decide 100 of 544" in found.output
    again = told("merge", str(lying), "--out", str(runs))
    assert again.exit_code == 1
    assert f"cell {asked().cell_id}" in again.output
    assert "`verify` refused it: its weights decide 100 of 544" in again.output
    shutil.rmtree(runs / "refused")
    assert told(*publish, "--claimed").exit_code == 0
    assert (published / "digits" / "direct.jsonl").exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = CliRunner().invoke(
        cli.app, ("verify", str(honest().into(tmp_path / "it")), "--out", str(tmp_path / "file"))
    )
    assert isinstance(told.exception, StoreError)
    assert "file/verify/seed" in str(told.exception)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parameter_count": 5}, "it has 3842 parameters, not 5"),
        ({"silent_samples": 500}, "silent_samples 500, and its weights give"),
        ({"first_spike_steps": 0.5}, "first_spike_steps 0.5, and its weights give"),
    ],
)
def test_a_figure_that_weights_do_not_bear_out_is_found(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    sent = honest()
    # Untrained, it is silent.
    true: dict[str, Any] = {"parameter_count": 3842, "silent_samples": 544}
    for figures, wrong in ((true, None), (true | change, words)):
        assert sent.row.metrics is not None
        row = replace(sent.row, metrics=replace(sent.row.metrics, **figures))
        said = again(question(replace(sent, row=row), tmp_path, samples=10_000)).wrong
        assert (said is None) == (wrong is None), said
        assert str(wrong) in str(said)


def test_the_command_line_exits_with_1_where_a_row_is_contradicted(tmp_path: Path) -> None:
    lying = _flipped(slice(0, 100)).into(tmp_path / "lying")
    told = CliRunner().invoke(cli.app, ("verify", str(lying), "--out", str(tmp_path / "runs")))
    assert told.exit_code == 1
    assert told.output.startswith(f"refused   {asked().cell_id}")
    assert "1 refused (samples" in told.output
    assert not (tmp_path / "runs" / "checked").exists()
    assert (tmp_path / "runs" / "verify" / "seed").exists()
    bare = honest().into(tmp_path / "bare", weights=False)
    told = CliRunner().invoke(cli.app, ("verify", str(bare), "--out", str(tmp_path), "--json"))
    assert told.exit_code == 0
    assert json.loads(told.output)["why"] == "no weights came with it"
    told = CliRunner().invoke(cli.app, ("verify", str(bare), "--samples", "0"))
    assert "--samples must be positive, got 0" in str(told.exception)
    told = CliRunner().invoke(cli.app, ("verify", str(bare), "--seed", "-1"))
    assert isinstance(told.exception, SpecError)
    assert "--seed must not be negative, got -1" in str(told.exception)
