"""``export`` and ``import`` as they are typed: files out, verdicts in, mistakes in one line."""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from typer.testing import CliRunner

from harness.cli import app
from harness.contracts.cell import Cell
from harness.contracts.dataset import Samples
from harness.contracts.errors import SpecError, StoreError, UnsupportedError
from harness.contracts.row import Metrics, Provenance, Row
from harness.engine import grid
from harness.engine.cell import weights_of
from harness.engine.grid import Axes
from harness.engine.resolve import resolve
from harness.engine.teachers import WEIGHTS
from harness.exchange.nir_export import to_nir
from harness.results import Published
from harness.store import Store
from tests.exchange.networks import lively


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


def test_a_student_goes_out_and_comes_back(
    cell: Cell, runs: Path, tmp_path: Path, few: Samples
) -> None:
    file = tmp_path / "student.nir"
    told = typed("export", cell.cell_id, "--to", "nir", "--out", file, "--runs", runs, "--json")
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
    assert f"verified: {accuracy} %" in words
    assert "horowitz_45nm_fp32:cached: " in words


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
    assert "claimed: 99.9 %, and this is another than claimed" in told
    assert "neuron_add 60.0" in told  # 20 integrators, 3 steps


def test_mistakes_are_one_line(cell: Cell, runs: Path, tmp_path: Path) -> None:
    out = ("--to", "nir", "--out", tmp_path / "a.nir")
    with pytest.raises(StoreError, match="no row 'nothing'"):
        typed("export", "nothing", *out, "--runs", runs, "--results", tmp_path / "none")
    with pytest.raises(SpecError, match="--dt is for --to nir"):
        typed("export", cell.cell_id, "--to", "onnx", *out[2:], "--runs", runs, "--dt", 1)
    with pytest.raises(SpecError, match="seconds is none"):
        typed("export", cell.cell_id, *out, "--runs", runs, "--dt", 0)
    with pytest.raises(SpecError, match="no file"):
        typed("import", tmp_path / "none.nir", "--dataset", "digits", "--timesteps", 1)
    typed("export", cell.cell_id, *out, "--runs", runs)
    with pytest.raises(SpecError, match="timesteps must be at least 1, got 0"):
        typed("import", out[3], "--dataset", "digits", "--timesteps", 0)
    with pytest.raises(SpecError, match=r"dt is what a step lasts, .* got 0"):
        typed("import", out[3], "--dataset", "digits", "--timesteps", 1, "--dt", 0)
    with pytest.raises(SpecError, match="numbers like"):
        typed("import", out[3], "--dataset", "digits", "--timesteps", 1, "--mean", "a")
    with pytest.raises(StoreError, match=r"cannot write .*; name a file in a folder where you may"):
        typed("export", cell.cell_id, *out[:3], tmp_path, "--runs", runs)
    refused = patch("harness.exchange.onnx_export.to_onnx", side_effect=IsADirectoryError("it is"))
    with refused, pytest.raises(StoreError, match=r"cannot write .*: it is; name a file in"):
        typed("export", cell.cell_id, "--to", "onnx", *out[2:], "--runs", runs)
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
