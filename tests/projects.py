"""Copies of the project, for tests that change it."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copied(into: Path) -> Path:
    """Copy the packages of the project into a folder and return it."""
    for package in ("harness", "backends", "suites"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, into / package, ignore=ignored)
    return into
