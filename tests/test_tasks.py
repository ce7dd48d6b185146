"""A task from outside: the page's own example, word for word; and what every method means."""

import ast
import json
import re
from pathlib import Path

import pytest

from harness import discovery
from tests.projects import ROOT, copied, python

PAGE = (ROOT / "docs" / "tasks.md").read_text()


def _block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found
    return found.group(1)


def _harness(*words: str, cwd: Path) -> str:
    return python("-m", "harness", *words, cwd=cwd, path=cwd)


def test_a_task_is_one_file_and_methods_that_do_not_mean_it_say_so(tmp_path: Path) -> None:
    project = copied(tmp_path)
    (project / "suites/tasks/point.py").write_text(_block("task"))
    (project / "suites/datasets/digits_centre.py").write_text(_block("dataset"))
    (project / "suites/digits_centre.py").write_text(_block("suite"))
    command = re.search(r"harness run (digits_centre .*)", PAGE)
    assert command
    _harness("run", *command.group(1).split(), cwd=project)
    rows = {
        told["cell"]["method"]: told
        for path in project.glob("runs/digits_centre/*/row.json")
        if (told := json.loads(path.read_text()))["cell"]["suite"] == "digits_centre"
    }
    learned = [rows[name]["metrics"] for name in ("direct", "logit_kd")]
    for metrics in learned:
        assert metrics["metric"] == "distance"
        assert metrics["scale"]["unit"] == "px"
        assert metrics["score"] < 0.4  # that of the mean of all centres is 0.466
        assert metrics["score_low"] < metrics["score"] < metrics["score_high"]
        assert [other["differing"] for other in metrics["cross_backend"].values()] == [0, 0]
    assert rows["tet"]["status"] == "skipped"
    assert "tet needs classes, which point on Image has not" in rows["tet"]["error"]
    told = _harness("report", "digits_centre", cwd=project)
    assert "distance px" in told


_OF_CLASSES = {
    *("cross_entropy", "softened_kl", "softened_kl_by_sample", "taught_share", "is_label"),
    *("stepwise_cross_entropy", "stepwise_kl"),
}


@pytest.mark.parametrize("name", discovery.names("methods"))
def test_a_method_with_a_loss_of_classes_of_its_own_says_that_it_needs_them(name: str) -> None:
    tree = ast.parse(discovery.source_of(discovery.module_of("methods", name)).read_text())
    imported = {
        item.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for item in node.names
    }
    card = discovery.method_card(name)
    assert card is not None
    assert "classes" in card.needs or not imported & _OF_CLASSES
