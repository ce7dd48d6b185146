"""The command line as a user types it: answers, mistakes, exit codes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import discovery, energy, results
from harness.cli import app
from harness.contracts.row import Row
from harness.contracts.values import to_plain
from harness.engine.compare import TIMES
from harness.engine.meaning import unmeant
from harness.engine.teachers import cell_of
from harness.report._answers import USUAL_ENERGY
from tests.projects import copied

ROOT = Path(__file__).resolve().parent.parent
NOTHING_PUBLISHED = ROOT / "nothing-published"


def harness(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    if words[0] in {"plan", "run", "report", "publish"} and "--results" not in words:
        words = (*words, "--results", str(NOTHING_PUBLISHED))
    variables = {name: value for name, value in os.environ.items() if name != "SNN_DISTILL_DATA"}
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=cwd,
        env=variables | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("words", [("--help",), ("list",), ("plan", "digits"), ("plan", "cifar10")])
def test_help_list_and_plan_import_neither_torch_nor_pandas(words: tuple[str, ...]) -> None:
    _runs_light(*words)


def _runs_light(*words: str) -> None:
    """Run the command line and fail if it imports anything heavy."""
    script = f"""
import sys
sys.argv = ["harness", *{words!r}]
from harness.cli import main
try:
    main()
except SystemExit as leaving:
    assert leaving.code in (0, None), leaving.code
heavy = {{"torch", "pandas", "scipy", "sklearn", "rich.progress"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "digit"), "no 'digit' among the suites; did you mean digits"),
        (("run", "digits", "--methods", "logit_dk"), "did you mean logit_kd or "),
        (("run", "digits", "--models", "digits_convent"), "did you mean digits_convnet"),
        (("run", "digits", "--backends", "nrose"), "did you mean norse?"),
        (("run", "digits", "--recipe", "shrot"), "no recipe 'shrot'; did you mean short?"),
        (("run", "digits", "--timesteps", "0"), "--timesteps must be at least 1, got 0"),
        (("run", "digits", "--timesteps", "two"), "--timesteps takes whole numbers"),
        (("run", "digits", "--seeds", "-1"), "--seeds must be in [0, 2**32), got -1"),
        (
            ("run", "digits", "--seeds", "4294967296"),
            "--seeds must be in [0, 2**32), got 4294967296",
        ),
        (("run", "digits", "--shard", "1/0"), "--shard takes one of at least one part, got 1/0"),
        (
            ("run", "digits", "--set", "logit_kd.temprature=2"),
            "logit_kd has no parameter 'temprature'; there are: temperature, weight",
        ),
        (("plan", "digits", "--set", "logit_dk.weight=2"), "did you mean logit_kd or "),
        (("report", "digits", "--set", "logit_kd.weight"), "METHOD.PARAMETER=VALUES like"),
        (("run", "digits", "--timeout", "0"), "--timeout must be positive"),
        (("run", "digits", "--timeout", "2d"), "--timeout takes a time like 90s, 14m or 2h"),
        (("run", "digits", "--jobs", "-1"), "--jobs must be positive"),
        (("list", "method"), "there is no kind 'method'"),
        (("show", "nothing_like_it"), "or energy model 'nothing_like_it'; `list` has their names"),
        (("show", "logit_dk"), "did you mean logit_kd"),
        (("merge", "a" * 300), "File name too long"),
        (("run", "digits", "--jobs", "9" * 5000), "--jobs takes a number"),
        (("show", "horowitz_45nm_fp32"), "did you mean horowitz_45nm_fp32:cached"),
        (("conform", "nrose"), "did you mean norse?"),
        (("run", "cifar10_speedrun"), "teacher import FILE --model resnet20 --dataset cifar10"),
    ],
)
def test_a_users_mistake_is_one_line_with_a_remedy(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    out: tuple[str, ...] = (
        () if words[0] in {"list", "conform"} else ("--out", str(tmp_path / "runs"))
    )
    done = harness(*words, *out)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def _parts(command: Any, *path: str) -> Iterator[tuple[str, str | None]]:
    """Yield every argument and option of a verb and those below it, with its help."""
    for part in command.params:
        yield " ".join((*path, part.name)), part.help
    for name, verb in getattr(command, "commands", {}).items():
        yield from _parts(verb, *path, name)


def test_every_argument_and_option_says_what_it_is() -> None:
    told = dict(_parts(typer.main.get_command(app)))
    assert told["plan suite"] == "One of `list suites`."
    assert not [name for name, words in told.items() if not words]


def test_the_energy_model_that_is_taken_by_default_is_named() -> None:
    words = dict(_parts(typer.main.get_command(app)))["pareto energy_model"]
    assert USUAL_ENERGY in str(words)


def test_list_and_show_speak_to_machines() -> None:
    assert "digits" in json.loads(harness("list", "suites", "--json").stdout)["suites"]
    shown = json.loads(harness("show", "logit_kd", "--json").stdout)
    assert shown["method"]["params"] == {"temperature": 4.0, "weight": 1.0}


def test_energy_models_are_listed_and_show_their_prices_and_source() -> None:
    listed = json.loads(harness("list", "energies", "--json").stdout)["energies"]
    assert listed == [*energy.model_names()]
    told = json.loads(harness("show", "horowitz_45nm_int8:cached", "--json").stdout)["energy"]
    assert told["source"] == "M. Horowitz, ISSCC 2014, 45 nm, 0.9 V"
    # 0.03 pJ to add, 0.2 pJ to multiply.
    assert told["pj_an_operation"] == {"cached": {"mac": 0.23, "ac": 0.03, "and_ac": 0.03}}
    # Memory is priced, which no operation tells.
    assert energy.described("lemaire_2022:bus64")["pj_an_operation"] is None


def test_report_without_rows_says_so(tmp_path: Path) -> None:
    done = harness("report", "digits", "--out", str(tmp_path))
    assert done.returncode == 3
    assert "holds rows of digits; run the suite first" in done.stderr
    assert not done.stdout


SMALL = ("--methods", "direct", "--timesteps", "4", "--backends", "spikingjelly")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "nmnist is not here, and neither --data-root nor SNN_DISTILL_DATA says where to look"),
        (("--data-root", "there"), "nmnist is not whole under there: the data root there is no f"),
        (
            ("--data-root", "docs"),
            "nmnist is not whole under docs: no N-MNIST under docs: Train or T",
        ),
    ],
)
def test_without_its_data_a_run_begins_no_cell(
    given: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    places = ("--out", str(tmp_path / "runs"), "--results", str(tmp_path), *given)
    planned = harness("plan", "nmnist", *SMALL, *places)
    assert planned.returncode == 0
    assert planned.stderr.startswith(said)
    assert "get N-MNIST from https://" in planned.stderr
    for verb in ("run", "tune"):
        ran = harness(verb, "nmnist", *SMALL, *places)
        assert ran.returncode == 2
        assert ran.stderr.endswith(f"error: {planned.stderr}")
        assert planned.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_sample_of_no_rows_is_refused() -> None:
    told = harness("reverify", "digits", "--sample", "0")
    assert told.returncode == 2
    assert told.stderr == "error: --sample must be positive, got 0; leave it out for the default\n"


@pytest.mark.parametrize("verb", ["reproduce", "reverify"])
def test_without_its_data_no_row_is_called_other_than_it_was(verb: str) -> None:
    row = next(iter(results.published("nmnist").rows.values()))
    told = harness(verb, *((row.cell_id,) if verb == "reproduce" else ("nmnist", "--sample", "1")))
    assert told.returncode == 2
    assert told.stderr.startswith("error: nmnist is not here, and neither --data-root nor")
    assert told.stdout == ""


def test_a_cluster_may_have_the_data_that_is_not_here(tmp_path: Path) -> None:
    far = ("--engine", "ray", "--address", "127.0.0.1:1", "--out", str(tmp_path))
    ran = harness("run", "nmnist", *SMALL, *far)
    assert ran.returncode == 2  # it got as far as the cluster, which is not there
    assert "nmnist" not in ran.stderr


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the runs of two digits cells, trained through the command line."""
    out = tmp_path_factory.mktemp("digits") / "runs"
    done = harness("run", "digits", *CELLS, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return out


CELLS = ("--methods", "direct,logit_kd", "--timesteps", "2", "--seeds", "0", "--backends", "norse")


def test_planning_finished_cells_imports_neither_torch_nor_pandas(digits: Path) -> None:
    # Their fingerprints follow the imports of every module that made them.
    _runs_light("plan", "digits", "--out", str(digits))


def test_a_second_run_does_nothing_and_says_so(digits: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in digits.rglob("*")}
    done = harness("run", "digits", *CELLS, "--out", str(digits))
    assert done.returncode == 3
    assert "nothing to do: 2 cells: 2 fresh" in done.stdout
    assert {file: file.stat().st_mtime_ns for file in digits.rglob("*")} == before


def test_the_same_command_twice_gives_identical_metrics(digits: Path, tmp_path: Path) -> None:
    done = harness("run", "digits", *CELLS, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for row in digits.glob("digits/*/row.json"):
        again = tmp_path / row.relative_to(digits)
        assert _metrics(again) == _metrics(row)
        weights = row.with_name("weights.safetensors")
        assert again.with_name("weights.safetensors").read_bytes() == weights.read_bytes()


def _metrics(file: Path) -> str:
    row = Row.from_json(file.read_bytes())
    told = to_plain(row.metrics)
    assert row.ledger is not None
    measured = {name: value for name, value in told.items() if name not in TIMES}
    return json.dumps([measured, row.ledger.to_plain(), to_plain(row.canary)], sort_keys=True)


def test_a_row_is_complete_and_honest(digits: Path) -> None:
    rows = [Row.from_json(file.read_bytes()) for file in digits.glob("digits/*/row.json")]
    assert {row.cell.method for row in rows} == {"direct", "logit_kd"}
    for row in rows:
        metrics, ledger, canary, made = row.metrics, row.ledger, row.canary, row.provenance
        assert metrics is not None
        assert ledger is not None
        assert canary is not None
        assert metrics.n_test == 544
        assert metrics.score_low < metrics.score < metrics.score_high
        assert metrics.score_by_step is not None
        assert len(metrics.score_by_step) == 2
        assert metrics.score_by_step[-1] == metrics.score
        assert metrics.mean_steps_to_decide is not None
        assert 1 <= metrics.mean_steps_to_decide <= 2
        assert metrics.teacher_score is not None
        assert metrics.teacher_score > 0.98
        assert ledger.spikes_per_sample > 0
        assert (ledger.samples, ledger.steps, ledger.coverage) == (544, 2, 1)
        assert metrics.train_samples == row.cell.recipe.epochs * (1074 // 64) * 64
        assert {each.differing for each in metrics.cross_backend.values()} == {0}
        assert len(canary.losses) == 4
        assert made.train_fp != made.measure_fp
        assert made.fast_fp is None
        assert made.threads == 1
        assert made.processor["architecture"]
        weights = digits / "digits" / row.cell_id / "weights.safetensors"
        assert made.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert (digits / str(made.log_path)).exists()


def test_a_damaged_row_is_named(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "runs")
    file = next(iter((tmp_path / "runs").glob("digits/*/row.json")))
    file.write_text(file.read_text()[:100])
    done = harness("plan", "digits", *CELLS, "--out", str(tmp_path / "runs"))
    assert done.returncode == 1  # the others are told all the same
    assert f"damaged   {file.parent.name}" in done.stdout
    assert f"{file}: " in done.stdout
    assert "delete it to run its cell again" in done.stdout


def test_a_teacher_is_trained_once_and_shared(digits: Path) -> None:
    [file] = digits.glob("teachers/*/row.json")
    teacher = Row.from_json(file.read_bytes())
    assert teacher.cell.backend is None
    assert teacher.metrics is not None
    assert teacher.metrics.score > 0.98
    for row in map(Row.from_json, (f.read_bytes() for f in digits.glob("digits/*/row.json"))):
        assert row.cell.teacher is not None
        assert cell_of(row.cell.teacher) == teacher.cell
        assert row.provenance.teacher_sha256 == teacher.provenance.weights_sha256


def test_a_leaderboard_comes_out(digits: Path, tmp_path: Path) -> None:
    done = harness(
        *("publish", "digits", "--no-page", "--out", str(digits), "--results", str(tmp_path))
    )
    assert done.returncode == 0, done.stderr
    meant = [one for one in discovery.names("methods") if not unmeant(one, "digits")]
    cells = 3 * 2 * 5 * len(meant)  # T, simulators, seeds
    assert f"{cells - 2} cells of the suite have not been run" in done.stderr
    table = (tmp_path / "digits" / "leaderboard.md").read_text()
    assert "logit_kd" in table
    lines = (tmp_path / "digits" / "direct.jsonl").read_text().splitlines()
    assert [Row.from_json(line).cell.method for line in lines] == ["direct"]


def test_a_stale_cell_is_explained_and_run_again(digits: Path, tmp_path: Path) -> None:
    project = copied(tmp_path / "project")
    words = ("plan", "digits", *CELLS, "--out", str(digits))
    method = project / "suites" / "methods" / "logit_kd.py"
    method.write_text(method.read_text() + "\n# A comment changes nothing.\n")
    assert "stale" not in harness(*words, cwd=project).stdout
    method.write_text(
        method.read_text().replace(
            "answer.task.supervised(mean, labels) +",
            "0.9 * answer.task.supervised(mean, labels) +",
        )
    )
    told = harness(*words, cwd=project).stdout
    assert told.count("stale") == 2  # one cell, and the summary
    assert "training code moved: suites.methods.logit_kd" in told


def test_a_simulator_that_is_not_here_is_listed_and_asked_for_in_one_line(tmp_path: Path) -> None:
    project = copied(tmp_path)
    folder = shutil.copytree(project / "backends" / "reference", project / "backends" / "absent")
    (folder / "requirements.txt").write_text("no-such-simulator>=1\n")
    here = {"PYTHONPATH": str(project)}
    how = "not installed: pip install 'no-such-simulator>=1'"
    assert f"absent ({how})" in harness("list", "backends", cwd=project, **here).stdout
    cell = ("--methods", "direct", "--timesteps", "2", "--seeds", "0", "--backends", "absent")
    planned = harness("plan", "digits", *cell, cwd=project, **here)
    assert planned.returncode == 0
    assert planned.stderr == f"absent is {how}\n"
    ran = harness("run", "digits", *cell, cwd=project, **here)
    assert ran.returncode == 2
    assert ran.stderr == f"error: absent is {how}\n"
    assert not (project / "runs").exists()


def test_names_may_be_repeated_or_stand_between_commas() -> None:
    commas = harness("plan", "digits", "--methods=direct,logit_kd", "--seeds=0,1", "--json")
    repeated = harness(
        "plan",
        "digits",
        "--methods=direct",
        "--methods=logit_kd",
        "--seeds=0",
        "--seeds=1",
        "--json",
    )
    assert commas.stdout == repeated.stdout
    assert {json.loads(line)["method"] for line in commas.stdout.splitlines()} == {
        "direct",
        "logit_kd",
    }


def test_the_page_about_methods_is_for_methods() -> None:
    page = harness("list", "methods", "--markdown")
    assert page.stdout.startswith("# Methods\n")
    refused = harness("list", "suites", "--markdown")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--markdown is for `list methods`, got 'suites'" in refused.stderr
