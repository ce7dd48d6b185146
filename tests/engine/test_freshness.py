"""What makes a row stale, what does not, and what proves that moved code means the same.

The five changes below were found by trial on the rows published before: text and names
made all of them stale, a price and an adapter that they quote made none.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness import fingerprint
from harness.contracts.row import Row
from harness.engine import freshness
from harness.engine.proofs import Verified
from harness.results import Published
from harness.store import read_row
from tests.projects import ROOT, copied

OLD = "0" * 16
CELLS = ("--methods", "direct,logit_kd,qcfs", "--timesteps", "2", "--seeds", "0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with a published board of six cells, two epochs each."""
    project = copied(tmp_path_factory.mktemp("made"))
    suite = project / "suites" / "digits.py"
    suite.write_text(re.sub(r"epochs=\d+", "epochs=2", suite.read_text()))
    told = harness(project, "run", "digits", *CELLS)
    assert "6 fresh" in harness(project, "plan", "digits", *CELLS), told
    harness(project, "publish", "digits", "--no-page")
    shutil.rmtree(project / "runs")
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """Return a copy of that, as somebody has it who has run nothing."""
    return shutil.copytree(made, tmp_path / "project")


def harness(project: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, f"{path} has changed: {before!r} is not in it"
    path.write_text(text.replace(before, after))


def states(project: Path) -> dict[str, str]:
    lines = harness(project, "plan", "digits", *CELLS, "--json").splitlines()
    told = [json.loads(line) for line in lines]
    return {f"{one['method']} {one['backend']}": f"{one['state']} {one['why']}" for one in told}


def test_what_is_published_is_trusted_and_run_again_only_when_asked(project: Path) -> None:
    assert set(states(project).values()) == {"published "}
    assert "6 published" in harness(project, "run", "digits", *CELLS, code=3)
    few = ("--methods", "direct", "--timesteps", "2", "--seeds", "0", "--backends", "norse")
    told = harness(project, "run", "digits", *few, "--again")
    assert "agreement with what is published: 1 of 1 accuracies identical" in told
    assert states(project)["direct norse"] == "fresh "
    assert "nothing to do" in harness(project, "run", "digits", *few, "--again", code=3)


def test_a_board_of_few_cells_takes_nothing_from_what_is_published(project: Path) -> None:
    before = {file.name: file.read_bytes() for file in project.glob("results/digits/*.jsonl")}
    few = ("--methods", "direct", "--timesteps", "1,2", "--seeds", "0", "--backends", "norse")
    harness(project, "run", "digits", *few, "--again")
    told = harness(project, "publish", "digits", "--no-page")
    assert "added 1 (direct 1)\nleft 1 (direct 1): as published\n7 rows -> " in told
    after = {file.name: file.read_bytes() for file in project.glob("results/digits/*.jsonl")}
    assert after.keys() == before.keys()
    assert [name for name in before if after[name] != before[name]] == ["direct.jsonl"]
    # What was reproduced stands as it was, to the byte; one row came in.
    assert set(before["direct.jsonl"].splitlines()) < set(after["direct.jsonl"].splitlines())


def test_text_a_renamed_function_and_a_renamed_file_are_proved_to_mean_the_same(
    project: Path,
) -> None:
    edit(project / "harness" / "discovery.py", "there are: {', '.join(known)}", "known: {known}")
    descent = project / "harness" / "training" / "descent.py"
    text = descent.read_text()
    assert "def share(" in text
    descent.write_text(re.sub(r"\bshare\b", "portion", text))
    (project / "harness" / "training" / "slots.py").rename(
        project / "harness" / "training" / "places.py"
    )
    for file in [*project.glob("harness/**/*.py"), *project.glob("suites/**/*.py")]:
        file.write_text(
            file.read_text().replace("harness.training.slots", "harness.training.places")
        )
    before = states(project)
    assert all(state.startswith("stale") for state in before.values())
    assert "training code moved: " in before["direct norse"]
    assert "harness.discovery" in before["direct norse"]
    assert "7 canaries: 7 same" in harness(project, "reverify", "digits")
    assert set(states(project).values()) == {"published "}
    harness(project, "reverify", "digits", code=3)


def test_a_price_changes_the_tables_and_no_row(project: Path) -> None:
    before = (project / "results" / "digits" / "leaderboard.md").read_text()
    rows = (project / "results" / "digits" / "direct.jsonl").read_bytes()
    edit(project / "harness" / "energy" / "_horowitz.py", "0.9", "9.9")
    assert set(states(project).values()) == {"published "}
    harness(project, "publish", "digits", "--no-page")
    assert (project / "results" / "digits" / "direct.jsonl").read_bytes() == rows
    assert (project / "results" / "digits" / "leaderboard.md").read_text() != before


def test_a_simulator_more_makes_no_row_stale_and_is_quoted_by_none(project: Path) -> None:
    sixth = project / "backends" / "sixth"
    shutil.copytree(project / "backends" / "reference", sixth)
    for file in sixth.glob("*.py"):
        text = file.read_text().replace("backends.reference", "backends.sixth")
        file.write_text(text.replace('name: str = "reference"', 'name: str = "sixth"'))
    assert set(states(project).values()) == {"published "}
    few = ("--methods", "direct", "--timesteps", "2", "--seeds", "0", "--backends")
    harness(project, "run", "digits", *few, "sixth")
    harness(project, "run", "digits", *few, "norse", "--again")
    rows = [json.loads(file.read_text()) for file in project.glob("runs/digits/*/row.json")]
    asked = {row["cell"]["backend"]: set(row["metrics"]["cross_backend"]) for row in rows}
    assert asked["norse"] == {"reference", "spikingjelly"}
    assert asked["sixth"] == {"norse", "reference", "spikingjelly"}
    # Its own code is its own cells' business: what it answers is measured, and by it trained.
    edit(sixth / "neuron.py", "if spec.kind", "if not spec.kind != spec.kind and spec.kind")
    assert set(states(project).values()) == {"fresh ", "published "}
    told = harness(project, "plan", "digits", *few, "sixth")
    assert "training code moved: backends.sixth.neuron" in told
    assert "measuring code moved: backends.sixth.neuron" in told


def test_an_adapter_that_moves_bits_makes_every_row_stale_that_used_or_quoted_it(
    project: Path,
) -> None:
    adapter = project / "backends" / "spikingjelly" / "neuron.py"
    edit(
        adapter,
        "v_threshold = torch.finfo(v.dtype).max if never_fires else spec.v_threshold",
        "v_threshold = torch.finfo(v.dtype).max if never_fires else 0.99 * spec.v_threshold",
    )
    harness(project, "reverify", "digits", code=1)
    found = states(project)
    assert "training code moved: backends.spikingjelly.neuron" in found["direct spikingjelly"]
    # Norse's rows quote what their weights answer on SpikingJelly.
    assert found["direct norse"] == "stale measuring code moved: backends.spikingjelly.neuron"
    assert all(state.startswith("stale") for state in found.values())


def test_a_changed_constant_is_found_by_every_canary_it_concerns(project: Path) -> None:
    edit(project / "harness" / "training" / "descent.py", "momentum=0.9,", "momentum=0.9001,")
    told = harness(project, "reverify", "digits", code=1)
    assert "train: losses, weights" in told
    assert all(state.startswith("stale training code moved") for state in states(project).values())


def test_a_stale_teacher_makes_its_cells_stale_and_says_so(project: Path) -> None:
    direct = project / "suites" / "methods" / "direct.py"
    edit(
        direct,
        "return answer.task.supervised(output.logits.mean(0), labels)",
        "return 1.5 * cross_entropy(output.logits.mean(0), labels)",
    )
    harness(project, "reverify", "digits", code=1)
    found = states(project)
    assert found["logit_kd norse"].startswith("stale its teacher is stale: training code moved: ")
    assert "suites.methods.direct" in found["logit_kd norse"]


def test_a_forged_proof_fails(project: Path) -> None:
    edit(project / "harness" / "training" / "descent.py", "momentum=0.9,", "momentum=0.8,")
    harness(project, "reverify", "digits", code=1)
    noted = project / "results" / "verified.jsonl"
    proofs = [json.loads(line) for line in noted.read_text().splitlines()]
    assert {proof["stage"] for proof in proofs} <= {"measure"}
    assert "moved" in harness(project, "reverify", "digits", "--sample", "2", code=1)


def test_other_versions_are_told_until_a_canary_was_computed_on_them(project: Path) -> None:
    rows = project / "results" / "digits" / "direct.jsonl"
    text, count = re.subn(r'"torch": "[^"]+"', '"torch": "2.11.0"', rows.read_text())
    assert count == 2
    rows.write_text(text)
    before = states(project)
    assert before["direct norse"].startswith("published made with torch 2.11.0, here 2.")
    assert before["qcfs norse"] == "published "
    assert "2 canaries: 2 same" in harness(project, "reverify", "digits")
    assert set(states(project).values()) == {"published "}


def test_zeroed_weights_of_a_teacher_are_refused(project: Path) -> None:
    few = ("--methods", "logit_kd", "--timesteps", "2", "--seeds", "0", "--backends", "norse")
    harness(project, "run", "digits", *few, "--again")
    [weights] = project.glob("runs/teachers/*/weights.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-400] + bytes(400))
    [row] = project.glob("runs/digits/*/row.json")
    row.unlink()
    told = harness(project, "run", "digits", *few, "--again", code=1)
    assert "holds other weights than its row is about" in told


def test_a_row_is_reproduced_in_every_number(project: Path) -> None:
    line = (project / "results" / "digits" / "qcfs.jsonl").read_text().splitlines()[0]
    told = harness(project, "reproduce", json.loads(line)["cell_id"])
    assert ": identical; score" in told


def test_modules_are_compared_once_for_all_rows_of_the_same_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [ROOT / "results" / "digits" / f"{name}.jsonl" for name in ("direct", "logit_kd")]
    rows = [
        replace(row, provenance=replace(row.provenance, train_fp=OLD))
        for row in (read_row(line) for file in files for line in file.read_bytes().splitlines())
    ]
    real, calls = fingerprint.moved, []

    def counted(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
        calls.append(now)
        return real(then, now)

    monkeypatch.setattr(fingerprint, "moved", counted)
    # Of the measuring code that made them nothing is known here.
    known = Published(code={OLD: {"backends.gone": "0"}})

    def stale(rows: list[Row]) -> dict[str, str]:
        return freshness.stale(rows, known, verified=Verified(), data_root=None)

    together = stale(rows)
    kinds = {(row.cell.method, row.cell.backend): row for row in rows}
    assert len(calls) == len(kinds) == 4 < len(rows)
    for row in kinds.values():
        assert together[row.cell_id] == stale([row])[row.cell_id]
        assert f"backends.{row.cell.backend} (new)" in together[row.cell_id]


def test_two_folders_are_compared_cell_by_cell(project: Path) -> None:
    tuning = project / "results" / "digits" / "tuning.jsonl"  # its trials are no rows
    tuning.write_text('{"cell_id": "0123456789abcdef"}\n')
    other = shutil.copytree(project / "results", project / "other")
    told = harness(project, "compare", "results", "other")
    assert told.strip() == ("agreement with results: 6 of 6 accuracies identical, 6 in every count")
    rows = other / "digits" / "direct.jsonl"
    first, *rest = rows.read_text().splitlines()
    row = json.loads(first)
    row["metrics"]["score"] -= 1 / 544
    row["metrics"]["score_by_step"][-1] = row["metrics"]["score"]
    rows.write_text("\n".join([json.dumps(row), *rest]))
    told = harness(project, "compare", "results", "other", "--json")
    found = json.loads(told)
    assert (found["common"], found["identical"]) == (6, 5)
    assert found["differences"][0]["cell_id"] == row["cell_id"]
    assert found["differences"][0]["half_width"] is None  # of one seed
    with_error = harness(project, "compare", "results", "nowhere", code=2)
    assert with_error == ""
