"""The README's tables are those of the published rows, and its examples run as written."""

import csv
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from harness import discovery, results
from harness.contracts.errors import SpecError, StoreError
from harness.report.readme import board, budgets, refreshed
from tests.projects import ROOT, copied, python

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """Return the code after the mark ``name``."""
    found = re.search(rf"<!-- {name} -->\n```(?:python)?\n(.*?)```", README, flags=re.DOTALL)
    assert found, name
    return found[1]


def test_the_tables_are_those_of_the_published_rows() -> None:
    assert refreshed(README, ROOT) == README, "python -m nox -s report writes them anew"


def test_the_board_follows_the_rows_and_an_unknown_number_is_a_dash(tmp_path: Path) -> None:
    source = json.loads((ROOT / "results/digits/leaderboard.json").read_text())
    setting = source["settings"][0]
    source["settings"] = [setting]
    by_method = {"direct": None, "logit_kd": 0.75, "supersnn": 0.5, "dkd": 0.25, "tet": 0.125}
    lines = [
        {**line, "score": _mean(accuracy), "gain": None, "energy_pj": {}}
        for method, accuracy in by_method.items()
        for line in setting["lines"]
        if (line["method"], line["timesteps"], line["backend"]) == (method, 1, "norse")
    ]
    # A second entry is no method of its own, however good.
    lines.append({**lines[1], "method": "logit_kd (authors')", "authors": True})
    folder = tmp_path / "results" / "digits"
    folder.mkdir(parents=True)
    setting["lines"] = lines
    (folder / "leaderboard.json").write_text(json.dumps(source))
    (folder / "direct.jsonl").write_text("{}\n" * 3)
    (folder / "teachers.jsonl").write_text("{}\n")
    told = board(tmp_path)
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| ")][2:]
    # Three of a kind and the baseline, which has no number here; the fourth is left out.
    assert [row[0].removeprefix("| ") for row in rows] == ["logit_kd", "supersnn", "dkd", "direct"]
    assert [row[2].strip("| ") for row in rows] == ["75.0 ± 1.0", "50.0 ± 1.0", "25.0 ± 1.0", "—"]
    assert "5 methods on norse at T = 1 with 5 seeds, 3 rows in all." in told
    assert "- `ttfs`" not in told
    assert "(96 steps) to `long` (384)" in told


def _mean(accuracy: float | None) -> dict[str, float] | None:
    if accuracy is None:
        return None
    interval = {"low": accuracy - 0.01, "high": accuracy + 0.01}
    return {"mean": accuracy, "deviation": 0.01, "n": 5, **interval}


def test_every_column_of_the_tables_for_programs_is_explained() -> None:
    text = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    table = text.partition("## Columns of `leaderboard.csv`")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([\w ]+)`", table))
    ends = {name.removeprefix("X") for name in told if name.startswith("X_")}
    found: set[str] = set()
    for file in ROOT.glob("results/*/leaderboard.csv"):
        with file.open(encoding="utf-8") as lines:
            found |= set(next(csv.reader(lines)))
    others = {name for name in found if any(name.endswith(end) for end in ends)}
    models = {name.partition(" ")[0] + " MODEL" for name in found if name.startswith("energy_")}
    rest = found - others - {name for name in found if name.partition(" ")[0] + " MODEL" in told}
    assert models <= told | {"energy_over_baseline MODEL"}
    assert not rest - told


def test_every_suite_has_its_budget_and_says_what_its_rows_tell(tmp_path: Path) -> None:
    lines = budgets(tmp_path).splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == list(discovery.names("suites"))
    assert all("| none | Nothing yet: " in line for line in lines)
    published = [line for line in budgets(ROOT).splitlines() if line.startswith("| `digits` |")]
    assert "A smoke test" in published[0]
    assert "`short`: 6 epochs" in published[0]


def test_the_command_for_cifar_runs_what_is_published() -> None:
    command = README.partition("nox -s leaderboard -- cifar10_speedrun")[2]
    [asked] = re.findall(r"--methods ([a-z0-9_,]+)", command.partition("```")[0])
    rows = results.published("cifar10_speedrun", results=ROOT / "results").rows.values()
    assert asked.split(",") == sorted({row.cell.method for row in rows})


def test_a_readme_without_marks_or_a_board_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no <!-- board -->"):
        refreshed("# A title\n", ROOT)
    with pytest.raises(StoreError, match=r"harness publish digits"):
        refreshed(README, tmp_path)


def test_the_lock_holds_the_torch_that_the_project_takes() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [bounds] = [one for one in wanted if re.match(r"torch\b", one)]
    locked = re.search(r"^torch==([0-9.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    low, high = (
        _version(part) for part in re.fullmatch(r"torch>=([\d.]+),<([\d.]+)", bounds).groups()
    )  # type: ignore[union-attr]  # else the test fails
    assert low <= _version(locked[1]) < high
    # No newer minor version than the tested one.
    assert high == (_version(locked[1])[0], _version(locked[1])[1] + 1)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_the_meters_example_runs_and_its_total_is_that_of_its_parts() -> None:
    names: dict[str, object] = {}
    exec(block("meter"), names)  # noqa: S102  the README's own code
    cost, layers = names["cost"], names["layers"]
    # 64 x 32 multiplies in the first layer; of the second, those whose input is not zero.
    assert layers.mac["0"] == 8 * 64 * 32  # type: ignore[attr-defined]
    assert 0 < layers.mac["2"] <= 8 * 32 * 10  # type: ignore[attr-defined]
    expected = (layers.mac.sum() / 8) * (0.9 + 3.7)  # type: ignore[attr-defined]
    assert cost.total_pj == pytest.approx(expected, rel=1e-12)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with what the example of the README left."""
    folder = copied(tmp_path_factory.mktemp("readme"))
    shutil.copytree(ROOT / "results" / "digits", folder / "results" / "digits")
    return folder


@pytest.fixture(scope="module")
def told(project: Path) -> list[str]:
    return [_shell(project, line) for line in block("run").splitlines()]


def _shell(project: Path, line: str) -> str:
    command, *words = line.split()
    assert command == "python"
    return python(*words, cwd=project)


def test_the_example_says_what_the_readme_says(told: list[str]) -> None:
    assert _timeless(told[0]) == _timeless(block("output"))


def _timeless(text: str) -> list[str]:
    """Return the lines without seconds, in an order that no number of cores changes."""
    lines = [re.sub(r"in [0-9.]+ s.*", "in s", line).rstrip() for line in text.splitlines()]
    return sorted(line for line in lines if line)


def test_the_examples_report_marks_whose_row_is_whose_and_publishes_nothing(
    project: Path, told: list[str]
) -> None:
    for text in (told[1], (project / "runs/digits/leaderboard.md").read_text()):
        mine = [line for line in text.replace("\\", "").splitlines() if "yours" in line]
        assert any("logit_kd[temperature=2]" in line for line in mine)
        assert not any("temperature=4]" in line for line in mine)
    assert (project / "runs/digits/leaderboard.html").stat().st_size < 5e6
    for file in (ROOT / "results" / "digits").glob("*.*"):
        assert (project / "results/digits" / file.name).read_bytes() == file.read_bytes()


def test_a_trained_student_is_loaded_back_as_the_readme_says(
    project: Path, told: list[str]
) -> None:
    assert told
    (project / "load.py").write_text(block("load") + "print(verdict.score.value)\n")
    accuracy = float(_shell(project, "python load.py"))
    assert accuracy > 0.9
