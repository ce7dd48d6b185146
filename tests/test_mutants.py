"""Mutants: what is changed, which tests are asked, and what their answers amount to."""

from pathlib import Path

import pytest

from tests import mutants
from tests.mutants import Mutant

SOURCE = '''\
CARD = dict(accuracy=0.5 + 0.25)
SHARE = 0.5


class Method:
    """Has 1 + 1 parameters."""

    weight: float = 2.0
    by_step: bool = True
    name: str = "mean"

    def loss(self, error: float | None, *, power: int = 2) -> float:
        if error is None or not power:
            return -1 * self.weight
        return self.weight * error**power
'''
CHANGES = {
    ("default", 2, "SHARE = 0.55"),
    ("default", 8, "weight: float = 2.2"),
    ("default", 9, "by_step: bool = False"),
    ("default", 12, "self, error: float | None, *, power: int=3"),
    ("operator", 13, "error is not None"),
    ("operator", 13, "error is None and (not power)"),
    ("operator", 13, "not not power"),
    ("operator", 14, "-1 / self.weight"),
    ("operator", 15, "self.weight / error ** power"),
    ("operator", 15, "error * power"),
}


def test_every_default_and_operator_is_changed_once_and_nothing_else() -> None:
    found = list(mutants.mutants_of("method.py", SOURCE))
    said = [(each.kind, each.line, each.change.split(" -> ")[1]) for each in found]
    assert set(said) == CHANGES
    assert len(said) == len(CHANGES)


def test_a_mutant_holds_its_change_and_the_rest_as_it_was() -> None:
    (found,) = (each for each in mutants.mutants_of("method.py", SOURCE) if each.line == 2)
    assert "SHARE = 0.55" in found.source
    assert "weight: float = 2.0" in found.source
    assert found.change == "SHARE = 0.5 -> SHARE = 0.55"


def test_a_number_of_nothing_becomes_something() -> None:
    (found,) = mutants.mutants_of("method.py", "OFFSET = 0.0\n")
    assert found.change == "OFFSET = 0.0 -> OFFSET = 0.1"


def test_a_file_is_held_by_tests_that_import_it_its_namesake_first() -> None:
    files, methods = mutants.tests_of("suites/methods/sastc.py")
    assert files[0] == "tests/methods/test_sastc.py"
    assert "tests/methods/test_golden.py" in files  # imports it
    assert "tests/methods/test_constants.py" in files  # names it
    assert methods == ["sastc"]


def test_what_is_imported_through_its_package_is_found() -> None:
    files, methods = mutants.tests_of("harness/training/losses/divergence.py")
    assert "tests/methods/test_logit_snn.py" in files  # from harness.training import softened_kl
    assert len(methods) == mutants.MOST_METHODS


def _mutant(kind: mutants.Kind, change: str) -> Mutant:
    return Mutant(file="method.py", line=1, kind=kind, change=change, source=f"# {change}\n")


def test_the_file_is_as_it_was_after_each_mutant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "method.py"
    file.write_text("original")
    seen = []

    def run_tests(*_: object, **__: object) -> int:
        seen.append(file.read_text())
        return int("noticed" in seen[-1])

    monkeypatch.setattr(mutants, "run_tests", run_tests)
    chosen = [_mutant("default", "noticed"), _mutant("operator", "equal")]
    outcomes = list(mutants.judged(tmp_path, chosen, {}))
    assert seen == ["original", "# noticed\n", "# equal\n"]
    assert file.read_text() == "original"
    assert [noticed for _, noticed in outcomes] == [True, False]
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "method.py: 2 mutants; unchanged, its tests take 0 s",
        "method.py:1: survived: operator equal",
    ]


def test_tests_that_fail_already_judge_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.txt").write_text("1 failed")
    monkeypatch.setattr(mutants, "run_tests", lambda *_, **__: 1)
    with pytest.raises(SystemExit, match=r"1 failed\nmethod[.]py: its tests fail as it is"):
        list(mutants.judged(tmp_path, [_mutant("default", "any")], {}))


@pytest.mark.parametrize(
    ("kind", "noticed", "missed", "enough"),
    [
        ("default", 9, 1, True),
        ("default", 8, 1, False),
        ("operator", 4, 1, True),
        ("operator", 3, 1, False),
    ],
)
def test_enough_is_nine_defaults_of_ten_and_four_operators_of_five(
    kind: mutants.Kind, noticed: int, missed: int, *, enough: bool
) -> None:
    outcomes = [(_mutant(kind, "a"), True)] * noticed + [(_mutant(kind, "b"), False)] * missed
    assert mutants.report(outcomes, {}) == enough


def test_an_explained_survivor_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [(_mutant("operator", "a"), True), (_mutant("operator", "b"), False)]
    assert mutants.report(outcomes, {("method.py", "b"): "equal by symmetry"})
    assert "method.py: defaults 0 of 0, operators 1 of 1" in capsys.readouterr().out


def test_every_explanation_is_of_a_mutant_that_exists() -> None:
    existing = {
        (file, each.change)
        for file in {file for file, _ in mutants.explained()}
        for each in mutants.mutants_of(file, (mutants.ROOT / file).read_text(encoding="utf-8"))
    }
    assert set(mutants.explained()) <= existing


def test_tests_are_run_on_a_copy_in_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thing.py").write_text("ANSWER = 41\n")
    (tmp_path / "test_thing.py").write_text(
        "from thing import ANSWER\n\ndef test_thing():\n    assert ANSWER == 42\n"
    )
    monkeypatch.setattr(mutants, "tests_of", lambda _: (["test_thing.py"], []))
    log = tmp_path / "log.txt"
    assert mutants.run_tests(tmp_path, "thing.py", limit_s=60, log=log) == 1
    assert "1 failed" in log.read_text()
    mended = tmp_path / "mended"  # beside: Python may know the bytes of the first
    mended.mkdir()
    (mended / "test_thing.py").write_text((tmp_path / "test_thing.py").read_text())
    (mended / "thing.py").write_text("ANSWER = 6 * 7\n")
    assert mutants.run_tests(mended, "thing.py", limit_s=60, log=log) == 0, log.read_text()


def test_tests_that_hang_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_thing.py").write_text("def test_thing():\n    while True:\n        pass\n")
    monkeypatch.setattr(mutants, "tests_of", lambda _: (["test_thing.py"], []))
    assert mutants.run_tests(tmp_path, "thing.py", limit_s=1, log=tmp_path / "log.txt") != 0
