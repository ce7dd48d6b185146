"""CONTRIBUTING's method is one file of a dozen lines, and it runs as written."""

import json
import re
import shutil
from pathlib import Path

from tests.projects import ROOT, copied, python


def test_the_example_method_is_a_dozen_lines_and_one_file_is_all_it_takes(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert found
    source = found.group(1)
    code = [line for line in source.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 12

    copied(tmp_path)
    (tmp_path / "suites" / "methods" / "logit_mse.py").write_text(source)

    listed = _harness("list", "methods", "--json", cwd=tmp_path)
    assert "logit_mse" in json.loads(listed)["methods"]
    _harness(
        *("run", "digits", "--methods", "logit_mse", "--timesteps", "1", "--seeds", "0"),
        *("--backends", "reference", "--out", str(tmp_path / "runs")),
        cwd=tmp_path,
    )
    [row] = (tmp_path / "runs").glob("digits/*/row.json")
    told = json.loads(row.read_text())
    assert told["status"] == "ok"
    assert told["cell"]["params"] == {"weight": 1.0}
    # Ten classes: far above chance means that it learned.
    assert told["metrics"]["score"] > 0.5

    # Without a CARD yet, the laws are collected all the same.
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    laws = ("-m", "pytest", "--collect-only", "-q", "tests/methods/test_all.py", "-k", "logit_mse")
    collected = python(*laws, cwd=tmp_path, path=tmp_path)
    assert "test_every_weight_learns[logit_mse]" in collected


def test_the_example_simulator_obeys_the_laws_and_one_folder_is_all_it_takes(
    tmp_path: Path,
) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    backend, neuron = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[1:3]
    copied(tmp_path)
    folder = tmp_path / "backends" / "mine"
    folder.mkdir()
    (folder / "__init__.py").write_text(backend)
    (folder / "neuron.py").write_text(neuron)

    assert "mine" in json.loads(_harness("list", "backends", "--json", cwd=tmp_path))["backends"]
    lines = _harness("conform", "mine", "--json", cwd=tmp_path).splitlines()
    outcomes = {one["name"]: one for one in map(json.loads, lines)}
    assert all(one["passed"] for one in outcomes.values())
    assert [name for name, one in outcomes.items() if not one["cases"]] == [
        "tau_gradient_is_the_oracles"
    ]
    _harness(
        *("run", "digits", "--methods", "direct", "--timesteps", "1", "--seeds", "0"),
        *("--backends", "mine", "--out", str(tmp_path / "runs")),
        cwd=tmp_path,
    )
    [row] = (tmp_path / "runs").glob("digits/*/row.json")
    told = json.loads(row.read_text())
    assert told["status"] == "ok"
    elsewhere = told["metrics"]["cross_backend"]
    assert set(elsewhere) >= {"reference"}
    assert not any(one["differing"] for one in elsewhere.values())


def test_the_example_suite_asks_with_its_neuron(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(r"<!-- suite -->\n```python\n(.*?)```", text, flags=re.DOTALL)
    assert found
    copied(tmp_path)
    (tmp_path / "suites" / "digits_subtract.py").write_text(found[1])
    asked = ("--methods", "direct", "--seeds", "0", "--backends", "norse")
    planned = _harness("plan", "digits_subtract", "--json", *asked, cwd=tmp_path).splitlines()
    assert {json.loads(line)["timesteps"] for line in planned} == {3}
    _harness("run", "digits_subtract", *asked, "--out", str(tmp_path / "runs"), cwd=tmp_path)
    [row] = (tmp_path / "runs").glob("digits_subtract/*/row.json")
    told = json.loads(row.read_text())
    assert (told["status"], told["cell"]["neuron"]["reset"]) == ("ok", "subtract")
    # 97.8 % at T = 4 with the other reset: it learns with this one, too.
    assert told["metrics"]["score"] > 0.9


def _harness(*words: str, cwd: Path) -> str:
    return python("-m", "harness", *words, cwd=cwd, path=cwd)
