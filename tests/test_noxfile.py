"""What sessions make of the words after ``--``, without nox."""

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.projects import ROOT

Asked = Callable[..., tuple[str, list[str], list[str]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    def marked(*given: Any, **_: Any) -> Any:
        return given[0] if given and callable(given[0]) else lambda session: session

    nox = ModuleType("nox")
    vars(nox).update(session=marked, parametrize=marked, Session=object, options=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nox", nox)
    monkeypatch.chdir(ROOT)
    spec = spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def of(*words: str) -> tuple[str, list[str], list[str]]:
        session = SimpleNamespace(name="leaderboard", posargs=list(words))
        found: tuple[str, list[str], list[str]] = module.asked(session)
        return found

    return of


@pytest.mark.parametrize(
    ("words", "suite", "options", "shared"),
    [
        ((), "digits", [], []),
        (("nmnist",), "nmnist", [], []),
        (("--sample", "40"), "digits", ["--sample", "40"], []),
        (
            ("--methods", "direct", "--out", "here"),
            "digits",
            ["--methods", "direct"],
            ["--out=here"],
        ),
        (
            ("nmnist", "--data-root=d", "--seeds", "0"),
            "nmnist",
            ["--seeds", "0"],
            ["--data-root=d"],
        ),
        # The value of an option is no suite, whatever it is called.
        (("--recipe", "digits"), "digits", ["--recipe", "digits"], []),
    ],
)
def test_the_first_word_is_the_suite_and_the_rest_are_options(
    asked: Asked, words: tuple[str, ...], suite: str, options: list[str], shared: list[str]
) -> None:
    assert asked(*words) == (suite, options, shared)


def test_a_word_that_is_no_suite_is_refused_with_those_there_are(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        asked("digit", "--seeds", "0")
    said = capsys.readouterr().err
    assert "must be a suite (cifar10, " in said
    assert "got 'digit'" in said
