"""Copies of the project, for tests that change it, and Python in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copied(into: Path) -> Path:
    """Copy the packages of the project into a folder and return it."""
    for package in ("harness", "backends", "suites"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, into / package, ignore=ignored)
    return into


def python(*words: str, cwd: Path, path: Path | None = None) -> str:
    """Run Python in a folder, with ``path`` to import from, and return what it said."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path or "")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
