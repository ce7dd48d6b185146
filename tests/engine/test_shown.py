"""What ``show`` tells people: short, within a terminal, and as ``plan`` says it."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import cli, discovery, energy, results
from harness.contracts.errors import UnknownPluginError
from harness.contracts.row import Row
from harness.engine import freshness, proofs
from harness.engine.shown import aligned, told
from harness.engine.trust import note_sources
from harness.report._words import quantity
from harness.store import PREDICTIONS, Store
from tests.engine.evidence import failed, kept
from tests.report.rows import cell

ROOT = Path(__file__).parents[2]
PUBLISHED, NOWHERE = ROOT / "results", ROOT / "nowhere"


def said(name: str, runs: Path = NOWHERE, published: Path = NOWHERE) -> dict[str, str]:
    """Return what is told of ``name`` by heading, and see that a terminal has room for it."""
    found: dict[str, str] = {}
    lines = told(name, runs=runs, published=published, data_root=None)
    for part in "\n".join(lines).split("\n\n"):
        indent = len(re.match(r"(\S+ )*\S*  +", part)[0])
        heading = ""
        for line in part.splitlines():
            heading, words = line[:indent].strip() or heading, line[indent:]
            assert len(line) <= 80 or " " not in words, line
            found[heading] = f"{found.get(heading, '')} {words}".strip()
    return found


def published_row() -> Row:
    rows = results.published("digits", results=PUBLISHED).rows.values()
    return next(row for row in rows if row.metrics and row.cell.method == "logit_kd")


def test_a_cell_is_told_in_a_few_lines_as_plan_tells_it(tmp_path: Path) -> None:
    row = published_row()
    metrics, ledger, made = row.metrics, row.ledger, row.provenance
    assert metrics is not None
    assert ledger is not None
    found = said(row.cell_id, tmp_path, PUBLISHED)
    assert len(told(row.cell_id, runs=tmp_path, published=PUBLISHED, data_root=None)) <= 17
    assert found["cell"] == f"{row.cell_id}, {row.cell.label}"
    low, high = 100 * metrics.score_low, 100 * metrics.score_high
    assert found["accuracy"] == (
        f"{100 * metrics.score:.2f} % ({low:.2f} to {high:.2f}) on 544 test samples"
    )
    assert f"alike on {100 * (metrics.agreement or 0):.2f} %" in found["teacher"]
    assert found["T"] == f"{row.cell.timesteps} on {row.cell.backend} {made.backend_version}"
    assert found["a sample"].startswith(f"{quantity(ledger.spikes_per_sample)} spikes, ")
    assert f"{quantity(ledger.acs_per_sample)} AC, " in found["a sample"]
    assert f" ms (IQR {metrics.latency_ms_b1_iqr:.3g}) for a batch of one" in found["latency"]
    assert str(made.cpu) in found["made"]
    assert found["commit"].startswith(f"{str(made.git_sha)[:12]}, with")
    known, proven = results.published("digits", results=PUBLISHED), proofs.read(PUBLISHED, tmp_path)
    (one,) = freshness.standings([row.cell], Store(tmp_path), known, proven, data_root=None)
    assert found["state"].partition(";")[0] == one.state
    assert found["trust"] == one.trust == "published"
    assert "file" not in found


def test_a_teacher_is_told_with_the_suite_that_it_was_published_for(tmp_path: Path) -> None:
    (teacher, *_) = results.published("digits", results=PUBLISHED).teachers.values()
    found = said(teacher.cell_id, tmp_path, PUBLISHED)
    assert found["trust"] == "published"
    assert "T" not in found


def test_what_lies_beside_a_row_and_who_made_it_is_told(tmp_path: Path) -> None:
    row = kept(tmp_path, cell("plain"), weights=b"w")
    found = said(row.cell_id, tmp_path)
    folder = Store(tmp_path).folder(row.cell)
    assert (
        found["file"].replace(" ", "") == f"{folder / PREDICTIONS}{folder / 'weights.safetensors'}"
    )
    # A suite without a file has no code to be held to.
    assert found["state"].startswith("unknown: no suite 'toy', method 'plain', ")


def test_a_row_that_was_merged_is_claimed(tmp_path: Path) -> None:
    row = published_row()
    Store(tmp_path).save(row)
    assert said(row.cell_id, tmp_path)["trust"] == "here"
    note_sources(Store(tmp_path), row, ["a.zip"])
    assert said(row.cell_id, tmp_path)["trust"] == "claimed"


def test_a_cell_without_numbers_says_why_and_obeys_nothing(tmp_path: Path) -> None:
    row = failed(tmp_path, cell("plain"))
    assert said(row.cell_id, tmp_path)["status"] == "failed: no luck"
    assert "accuracy" not in said(row.cell_id, tmp_path)
    assert aligned([("a", "\x1b[1m b\n c")]) == [r"a  \u001b[1m b c"]


def test_a_method_is_told_with_its_parameters_and_claims() -> None:
    found = said("kdsnn")
    assert found["parameter"].startswith("variant = 'feature' feature_weight = 0.002, tuned ")
    assert found["claim"].startswith("93.41 % on cifar10, ResNet-18, teacher PyramidNet-18, T = 4:")
    assert found["uses"] == "features, logits of a teacher"
    assert said("direct")["uses"] == "no teacher"


def test_a_suite_is_told_with_its_grid_recipes_neuron_and_caution() -> None:
    found = said("digits")
    assert (found["T"], found["seeds"]) == ("1, 2, 4", "0, 1, 2, 3, 4")
    assert found["recipe"].startswith(
        "short: 6 epochs, batch 64, sgd at 0.1, decay 0.0005, float64"
    )
    assert found["neuron"] == "lif, tau 2, threshold 1, reset to zero, atan of sharpness 2"
    assert found["caution"].startswith("A smoke test: ")
    assert found["title"] == "Digits 8x8", "the data set has the same name"
    assert "shape 1, 8, 8; mean 0.3048" in found["input"]


@pytest.mark.parametrize("kind", discovery.KINDS)
def test_whatever_is_listed_fits_a_terminal(kind: discovery.Kind) -> None:
    for name in discovery.names(kind):
        assert said(name)


def test_energy_models_too_and_what_is_not_there_is_said() -> None:
    assert said("devices:loihi_davies_2018")["source"] == "Davies et al. 2018, table 2"
    assert all(map(said, energy.model_names()))
    with pytest.raises(UnknownPluginError, match="did you mean logit_kd"):
        said("logit_dk")


def test_machines_are_told_everything(tmp_path: Path) -> None:
    row = published_row()
    ask = ("show", row.cell_id, "--out", str(tmp_path), "--results", str(PUBLISHED))
    plain = CliRunner().invoke(cli.app, (*ask, "--json"))
    assert json.loads(plain.output) == json.loads(row.to_json())
    short = CliRunner().invoke(cli.app, ask)
    assert short.output.splitlines() == told(
        row.cell_id, runs=tmp_path, published=PUBLISHED, data_root=None
    )
