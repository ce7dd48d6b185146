"""A comment leaves a fingerprint as it is; a change in any helper moves it."""

import sys
from pathlib import Path

import pytest

from harness import discovery, fingerprint


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a first-party package ``mine`` whose ``entry`` imports ``helper``."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "entry.py").write_text(
        "def run():\n    from mine import helper\n    return helper.x\n"
    )
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "stranger.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def _hash() -> str:
    fingerprint._parsed.cache_clear()
    discovery.file_of.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]
    return fingerprint.of_code(["mine.entry"])


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    before = _hash()
    (package / "helper.py").write_text('"""Now with words."""\n\n\nx  =  1  # one\n')
    assert _hash() == before


def test_a_change_in_a_helper_counts_even_if_it_is_imported_late(package: Path) -> None:
    before = _hash()
    (package / "helper.py").write_text("x = 2\n")
    assert _hash() != before


def test_a_module_that_nobody_imports_does_not_count(package: Path) -> None:
    before = _hash()
    (package / "stranger.py").write_text("y = 2\n")
    assert _hash() == before


def test_the_environment_counts_by_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint.of_environment(["norse"])
    monkeypatch.setattr(fingerprint, "installed", lambda name: f"{name} 0")
    assert fingerprint.of_environment(["norse"]) != before
