"""``export`` and ``import`` as they are typed: files out, verdicts in, mistakes in one line."""

import errno
import hashlib
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from harness.cli import app
from harness.contracts.cell import Cell
from harness.contracts.dataset import Samples
from harness.contracts.errors import HarnessError, SpecError, StoreError, UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.contracts.row import Metrics, Provenance, Row
from harness.engine import grid
from harness.engine.cell import weights_of
from harness.engine.grid import Axes
from harness.engine.measure import quality
from harness.engine.resolve import resolve
from harness.engine.teachers import WEIGHTS
from harness.exchange import judging
from harness.exchange.comparing import Evidence, compare
from harness.exchange.nir_export import to_nir, write
from harness.exchange.nir_import import read
from harness.exchange.stored import shown_to, student_of
from harness.results import Published
from harness.store import PREDICTIONS, Store
from tests.exchange.networks import lively
from tests.exchange.test_onnx import needs_onnx


def typed(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def cell_of(method: str, timesteps: int = 2) -> Cell:
    axes = Axes(methods=(method,), timesteps=(timesteps,), seeds=(0,), backends=("norse",))
    (cell,) = grid.cells("digits", axes, Store(Path("nowhere")), Published())
    return cell


@pytest.fixture
def cell() -> Cell:
    return cell_of("direct")


@pytest.fixture
def runs(cell: Cell, tmp_path: Path) -> Path:
    """A folder in which the cell was run, with weights that were not trained."""
    network, _ = lively("digits_convnet")
    store, weights = Store(tmp_path), weights_of(network)
    store.save(
        Row(
            cell=cell,
            status="ok",
            metrics=Metrics(score=0.5, score_low=0.4, score_high=0.6, n_test=544),
            provenance=Provenance(weights_sha256=hashlib.sha256(weights).hexdigest()),
        )
    )
    (store.folder(cell) / WEIGHTS).write_bytes(weights)
    return tmp_path


def test_a_file_is_float32_unless_it_is_asked_for_otherwise(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    asked = ("export", cell.cell_id, "--runs", runs, "--to", "nir", "--out")
    for kind, options in {"<f4": (), "<f8": ("--precision", "float64")}.items():
        typed(*asked, tmp_path / "a.nir", *options)
        nodes = read(tmp_path / "a.nir").nodes.values()
        assert {node.weight.dtype.str for node in nodes if hasattr(node, "weight")} == {kind}


@needs_onnx
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnxruntime_runs_what_is_exported_of_a_float64_recipe(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    import onnxruntime

    file = tmp_path / "student.onnx"
    typed("export", cell.cell_id, "--runs", runs, "--to", "onnx", "--out", file)
    given = {"stimulus": np.zeros((1, 1, 8, 8), np.float32)}
    (logits,) = onnxruntime.InferenceSession(file).run(["logits"], given)
    assert logits.shape == (2, 1, 10)


@needs_onnx
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_file_of_onnx_says_how_it_is_to_be_used(
    cell: Cell, runs: Path, tmp_path: Path, few: Samples
) -> None:
    import onnxruntime

    file = tmp_path / "student.onnx"
    told = typed("export", cell.cell_id, "--runs", runs, "--to", "onnx", "--out", file)
    session = onnxruntime.InferenceSession(file)
    said = session.get_modelmeta().custom_metadata_map
    assert said["readout"] == "the mean of logits over axis 0, the steps"
    assert said["inputs"] == "(pixels in [0, 1] - mean) / std by channel"
    assert (said["timesteps"], said["samples"]) == ("2", "1")
    words = "inputs (pixels in [0, 1] - mean) / std by channel, mean [0.3048], std [0.3756]; T = 2"
    assert f"{words}; batch of 1" in told
    mean, std = json.loads(said["mean"]), json.loads(said["std"])
    shown = ((few.inputs / 255 - mean) / std).astype(np.float32)
    decided = [
        session.run(None, {"stimulus": one[None]})[0].mean(0).argmax(-1).item() for one in shown
    ]
    _, _, student = student_of(cell.cell_id, runs=runs, published=runs)
    student.network.float()
    presentation = judging.presentation_of("digits")
    ours = judging.judge(student, "digits", presentation=presentation).verdict
    assert decided == ours.predictions[-1].tolist()
    assert len(set(decided)) > 1  # or anything would decide so


def test_both_formats_say_in_the_same_words_how_samples_are_shown(cell: Cell) -> None:
    plain = shown_to(resolve(cell))
    assert plain == {
        "timesteps": 2,
        "inputs": "(pixels in [0, 1] - mean) / std by channel",
        "mean": [0.3048],
        "std": [0.3756],
    }
    spikes = shown_to(resolve(replace(cell, encoder="poisson", seed=3)))
    assert spikes == {
        "timesteps": 2,
        "inputs": "spikes of encoder, of pixels in [0, 1]",
        "encoder": "poisson",
        "encoder_seed": 3,
    }
    axes = Axes(methods=("direct",), timesteps=(2,), seeds=(0,), backends=("norse",))
    (events, *_) = grid.cells("events_quick", axes, Store(Path("nowhere")), Published())
    # Frames are counts times 2^-8, and their deviation is that.
    frames = shown_to(resolve(events))
    assert frames["inputs"] == "(events / 256 - mean) / std by channel"
    assert frames["std"] == [2**-8, 2**-8]


def test_an_export_that_cannot_be_written_leaves_the_file_that_was_there(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "student.nir"
    asked = ("export", cell.cell_id, "--runs", runs, "--to", "nir", "--out", file)
    typed(*asked)
    before = file.read_bytes(), sorted(tmp_path.iterdir())
    full = patch("harness.store.os.fsync", side_effect=OSError(errno.ENOSPC, "no space left"))
    with full, pytest.raises(StoreError, match=r"cannot write .*student.nir: no space left"):
        typed(*asked)
    assert (file.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_other_readers_are_said_to_reset_to_zero(cell: Cell, runs: Path, tmp_path: Path) -> None:
    asked = ("export", cell.cell_id, "--runs", runs, "--to", "nir", "--out", tmp_path / "a.nir")
    assert "reset to zero" not in typed(*asked)
    with with_neurons(cell, runs, NeuronSpec(reset="subtract")):
        assert "other readers than this one reset to zero" in typed(*asked)


def with_neurons(cell: Cell, runs: Path, spec: NeuronSpec) -> Any:
    """Let a cell's student have other neurons."""
    found, row, student = student_of(cell.cell_id, runs=runs, published=runs)
    network, _ = lively("digits_convnet", spec)
    other = found, row, replace(student, network=network)
    return patch("harness.exchange.stored.student_of", return_value=other)


def test_an_export_says_what_fits_a_chip_and_why_the_rest_does_not(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.nir"
    asked = ("export", cell.cell_id, "--runs", runs, "--to", "nir", "--out", file)
    assert "dynapcnn" not in typed(*asked)
    refused = typed(*asked, "--check", "dynapcnn").splitlines()
    assert refused[1:] == ["dynapcnn: activation2 is a LIF, which the chip has not"]
    assert refused[0].startswith("direct digits_convnet norse T=2 seed=0: 8 nodes, ")
    told = json.loads(typed(*asked, "--check", "dynapcnn", "--json"))["dynapcnn"]
    assert told == {"fits": False, "lines": ["activation2 is a LIF, which the chip has not"]}
    file.unlink()
    with with_neurons(cell, runs, NeuronSpec(kind="if", reset="zero")):
        fits = typed(*asked, "--check", "dynapcnn").splitlines()
    # 8 inputs, 16 outputs and kernels of 3x3 in 16 words; 16 maps of 4x4.
    place = "conv2 on core 0: 2048 of 16384 kernel, 256 of 65536 neuron and 16 of 1024 bias words"
    assert fits[1:] == [f"dynapcnn: {place}"]
    assert file.exists()
    with pytest.raises(SpecError, match="--check is for --to nir"):
        typed(*asked[:4], "--to", "onnx", "--out", file, "--check", "dynapcnn")


@pytest.mark.usefixtures("few")
def test_the_page_rehearses_a_student_on_the_chip(
    cell: Cell, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path("docs/exchange.md").read_text(encoding="utf-8")
    (code,) = (part.split("```")[0] for part in page.split("```python\n")[1:])
    monkeypatch.chdir(tmp_path)
    with with_neurons(cell, runs, NeuronSpec(kind="if", reset="zero")):
        typed("export", cell.cell_id, "--runs", runs, "--to", "nir", "--out", "student.nir")
    exec(code, {})  # noqa: S102  our own page
    weights = read(Path("on_chip.nir")).nodes["conv2"].weight
    assert np.array_equal(weights, np.round(weights))
    told = typed("import", "on_chip.nir", "--dataset", "digits", "--timesteps", 2)
    assert "on 20 test samples" in told


@pytest.mark.usefixtures("few")
def test_a_student_of_an_encoder_is_shown_its_spikes_again(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "student.nir"
    found = resolve(replace(cell, encoder="poisson", seed=3))
    _, _, student = student_of(cell.cell_id, runs=runs, published=runs)
    graph = to_nir(student.network, (1, 8, 8), shown=shown_to(found))
    write(graph, file)
    said = read(file).metadata
    assert judging.presentation_of("digits", said=said, timesteps=2) == found.presentation()
    asked = ("--dataset", "digits", "--timesteps", 2, "--precision", "float64", "--json")
    back = json.loads(typed("import", file, *asked))
    constant = json.loads(typed("import", file, *asked, "--mean", 0, "--std", 1))
    # A train of spikes is accumulated, a constant image multiplied.
    assert "mac" not in back["counts"]
    assert constant["counts"]["mac"] > 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"mean": "grey"}, "mean in the file's metadata are no numbers: 'grey'"),
        ({"std": [0.0]}, "std is divided by and must be positive"),
        ({"mean": [0.1, 0.2]}, "digits has 1 channels, and --mean 2 numbers"),
        ({"encoder": "morse"}, "morse"),
        ({"encoder": "poisson", "encoder_seed": "x"}, "encoder_seed in the file's metadata are no"),
        ({"encoder": "poisson"}, "encoder_seed"),
    ],
)
def test_what_a_file_says_of_its_input_is_not_believed_unseen(
    said: dict[str, Any], words: str
) -> None:
    with pytest.raises(HarnessError, match=words):
        judging.presentation_of("digits", said=said, timesteps=2)


def test_a_student_goes_out_and_comes_back(
    cell: Cell, runs: Path, tmp_path: Path, few: Samples
) -> None:
    file = tmp_path / "student.nir"
    told = typed(
        "export", cell.cell_id[:12], "--to", "nir", "--out", file, "--runs", runs, "--json"
    )
    assert json.loads(told)["cell_id"] == cell.cell_id
    assert json.loads(told)["file_bytes"] == file.stat().st_size
    asked = ("--dataset", "digits", "--timesteps", 2, "--precision", "float64", "--json")
    back = json.loads(typed("import", file, *asked))
    assert back == json.loads(typed("import", "nir", file, *asked))
    elsewhere = json.loads(typed("import", file, *asked, "--backend", "spikingjelly"))
    assert elsewhere["counts"] == back["counts"]
    assert back["n_test"] == len(few)
    accuracy = f"{100 * back['score']:.2f}"
    words = typed("import", file, *asked[:-1], "--claims", accuracy)
    assert f"{accuracy} % on 20 test samples" in words
    assert f"\nas claimed: {accuracy} %\n" in words
    assert "horowitz_45nm_fp32:cached: " in words


def remember(cell: Cell, runs: Path) -> tuple[Row, judging.Judged]:
    """Write down, as a run does, what the cell decides in float64 and what that costs."""
    _, row, student = student_of(cell.cell_id, runs=runs, published=runs)
    presentation = judging.presentation_of("digits")
    judged = judging.judge(student, "digits", presentation=presentation, precision="float64")
    row = replace(row, metrics=Metrics(**quality(judged.verdict)), ledger=judged.ledger.summed())
    Store(runs).save(row)
    decided = {"predictions": judged.verdict.predictions, "labels": judged.verdict.labels}
    np.savez(Store(runs).folder(cell) / PREDICTIONS, **decided)
    return row, judged


COMPARED = ("--dataset", "digits", "--timesteps", 2, "--precision", "float64", "--cell")


@pytest.mark.usefixtures("few")
def test_an_imported_network_is_compared_with_a_cell_sample_by_sample(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    (row, _), file = remember(cell, runs), tmp_path / "a.nir"
    places = ("--runs", runs, "--results", runs / "none")
    typed("export", cell.cell_id, "--to", "nir", "--out", file, "--precision", "float64", *places)
    same = typed("import", file, *COMPARED, cell.cell_id[:12], *places)
    assert f"against cell {cell.cell_id}: 0 of 20 decide otherwise; counts equal\n" in same
    moved = [*map(str, ("import", file, *COMPARED, cell.cell_id, *places, "--mean", "0.6"))]
    done = CliRunner().invoke(app, moved)
    assert done.exit_code == 1, done.output
    assert "counts differ: ac " in done.output
    told = json.loads(CliRunner().invoke(app, [*moved, "--json"]).output)
    assert told["compared"]["differing"] > 0
    assert told["compared"]["counts"]["ac"][1] == row.ledger.total.ac
    assert told["compared"]["counts"]["ac"][0] == told["counts"]["ac"]


@pytest.mark.usefixtures("few")
def test_a_decision_that_differs_after_an_early_step_alone_is_seen(cell: Cell, runs: Path) -> None:
    row, judged = remember(cell, runs)
    decided, labels = judged.verdict.predictions.copy(), judged.verdict.labels
    decided[0, 3] = (decided[0, 3] + 1) % 10  # and the last step decides as before
    found = compare(judged, Evidence(row=row, predictions=decided, labels=labels))
    assert (found.differing, found.samples, found.counts) == (1, 20, {})
    assert found.line() == "1 of 20 decide otherwise; counts equal"
    assert not found.is_equal
    uncounted = Evidence(row=replace(row, ledger=None), predictions=decided, labels=labels)
    assert compare(judged, uncounted).line().endswith("counts of the cell are not known")
    with pytest.raises(SpecError, match="test labels here are not those of cell"):
        compare(judged, Evidence(row=row, predictions=decided, labels=labels[::-1]))


@pytest.mark.usefixtures("few")
def test_without_a_cell_s_own_decisions_it_is_said_how_to_make_them(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    remember(cell, runs)
    file, places = tmp_path / "a.nir", ("--runs", runs, "--results", runs / "none")
    typed("export", cell.cell_id, "--to", "nir", "--out", file, *places)
    elsewhere = [3 if word == 2 else word for word in COMPARED]
    with pytest.raises(SpecError, match="compare with --dataset digits --timesteps 2"):
        typed("import", file, *elsewhere, cell.cell_id, *places)
    predictions = Store(runs).folder(cell) / PREDICTIONS
    np.savez(predictions, predictions=np.zeros((2, 20), int), labels=np.zeros(20, int))
    with pytest.raises(StoreError, match=r"predictions.npz contradicts its row: .*run its cell ag"):
        typed("import", file, *COMPARED, cell.cell_id, *places)
    predictions.unlink()
    with pytest.raises(StoreError, match=r"no predictions of direct .*python -m harness run digit"):
        typed("import", file, *COMPARED, cell.cell_id, *places)
    for name in ("nothing", ""):
        with pytest.raises(StoreError, match=f"no row '{name}' under"):
            typed("import", file, *COMPARED, name, *places)


@pytest.mark.usefixtures("few")
def test_a_file_says_for_how_many_steps_its_student_was_trained(
    cell: Cell, runs: Path, tmp_path: Path
) -> None:
    file, note = tmp_path / "a.nir", "note: its student was trained for T = 2, and --timesteps is 3"
    typed("export", cell.cell_id, "--to", "nir", "--out", file, "--runs", runs)
    assert note not in typed("import", file, "--dataset", "digits", "--timesteps", 2)
    assert note in typed("import", file, "--dataset", "digits", "--timesteps", 3)
    graph = read(file)
    for said in (None, "two", [2, 3]):
        graph.metadata = {} if said is None else graph.metadata | {"timesteps": said}
        write(graph, file)
        assert "note" not in typed("import", file, "--dataset", "digits", "--timesteps", 3)


@pytest.mark.usefixtures("few")
def test_a_network_of_others_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs_here.py").write_text(
        "from torch import nn\n"
        "from spikingjelly.activation_based import neuron\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), neuron.IFNode(),\n"
        "                         nn.Linear(20, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(import_module("theirs_here").make().state_dict(), tmp_path / "w.pt")
    told = typed(
        *("import", "checkpoint", tmp_path / "w.pt", "--module", "theirs_here:make"),
        *("--dataset", "digits", "--timesteps", 3, "--claims", "99.9", "--mean", "0.5"),
        *("--std", "0.5"),
    )
    assert "\nnot as claimed: 99.9 %\n" in told
    assert "neuron_add 60.0" in told  # 20 integrators, 3 steps


def test_mistakes_are_one_line(cell: Cell, runs: Path, tmp_path: Path) -> None:
    out = ("--to", "nir", "--out", tmp_path / "a.nir")
    with pytest.raises(StoreError, match="no row 'nothing'"):
        typed("export", "nothing", *out, "--runs", runs, "--results", tmp_path / "none")
    with pytest.raises(SpecError, match="--dt is for --to nir"):
        typed("export", cell.cell_id, "--to", "onnx", *out[2:], "--runs", runs, "--dt", 1)
    with pytest.raises(SpecError, match="seconds is none"):
        typed("export", cell.cell_id, *out, "--runs", runs, "--dt", 0)
    (tmp_path / "a.onnx").write_bytes(b"onnx")
    with pytest.raises(
        SpecError, match=r"`import` reads NIR, .*onnxruntime\.InferenceSession runs"
    ):
        typed("import", tmp_path / "a.onnx", "--dataset", "digits", "--timesteps", 1)
    with pytest.raises(SpecError, match="no file"):
        typed("import", tmp_path / "none.nir", "--dataset", "digits", "--timesteps", 1)
    typed("export", cell.cell_id, *out, "--runs", runs)
    with pytest.raises(SpecError, match="timesteps must be at least 1, got 0"):
        typed("import", out[3], "--dataset", "digits", "--timesteps", 0)
    with pytest.raises(SpecError, match=r"dt is what a step lasts, .* got 0"):
        typed("import", out[3], "--dataset", "digits", "--timesteps", 1, "--dt", 0)
    with pytest.raises(SpecError, match="numbers like"):
        typed("import", out[3], "--dataset", "digits", "--timesteps", 1, "--mean", "a")
    with pytest.raises(SpecError, match=r"is there and is no file; name another"):
        typed("export", cell.cell_id, *out[:3], tmp_path, "--runs", runs)
    with pytest.raises(SpecError, match=r"there is no folder .*none; make it first"):
        typed("export", cell.cell_id, *out[:3], tmp_path / "none" / "a.nir", "--runs", runs)
    with pytest.raises(SpecError, match=r"--std is divided by and must be positive, got \[-1.0\]"):
        typed("import", out[3], "--dataset", "digits", "--timesteps", 1, "--std", -1)
    weights = Store(runs).folder(cell) / WEIGHTS
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(StoreError, match="holds other weights than its row is about"):
        typed("export", cell.cell_id, *out, "--runs", runs)
    weights.unlink()
    with pytest.raises(StoreError, match="make them: python -m harness run digits") as found:
        typed("export", cell.cell_id, *out, "--runs", runs)
    command = str(found.value).split("python -m harness run ")[1].split(" (")[0]
    asked = typed("plan", *command.replace("--again", "").split(), "--results", tmp_path, "--json")
    assert cell.cell_id in asked


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("ann2snn", "NIR has no ScaledIntegrator"),
        ("kd_bntt", "tells steps apart"),
        ("kl_low_latency", "NIR has no DietNeuron"),
        ("ttfs", "NIR has no node for activation1, a FirstSpike"),
    ],
)
def test_a_method_with_neurons_or_norms_of_its_own_is_refused(method: str, words: str) -> None:
    timesteps = 1 if method == "ttfs" else 2  # first spikes have no others
    student = resolve(cell_of(method, timesteps)).student(torch.device("cpu"))
    with pytest.raises(UnsupportedError, match=words):
        to_nir(student.network, (1, 8, 8))
