"""How a result goes stale: hashes of the code, the environment and the machine.

A row's identity says *what* was run and is stable across versions. Its fingerprint
says *with which code, data and libraries*, so that ``plan`` can name the part that moved.
"""

import ast
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.discovery import file_of, source_of

FIRST_PARTY = ("harness", "backends", "suites")
NUMERIC_PACKAGES = ("torch", "numpy", "kornia", "tonic", "scikit-learn")
ROOT = Path(__file__).resolve().parent.parent


def of_code(modules: Iterable[str]) -> str:
    """Return a hash of everything first-party that ``modules`` import, directly or not.

    Comments, docstrings and layout do not count; a change in any helper does.
    """
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in closure:
            closure.add(module)
            waiting.extend(_parsed(module)[1])
    return _digest(f"{module} {_parsed(module)[0]}" for module in sorted(closure))


def of_environment(packages: Iterable[str] = ()) -> str:
    """Return a hash of Python's and the numerical libraries' versions."""
    wanted = sorted({*NUMERIC_PACKAGES, *packages})
    return _digest([platform.python_version(), *(f"{name} {installed(name)}" for name in wanted)])


@cache
def installed(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def of_processor() -> str:
    """Return the class of this processor: architecture and widest instructions."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8") if info.exists() else ""
    known = ("amx_bf16", "avx512f", "avx2")
    widest = next((name for name in known if name in flags), "plain")
    return f"{platform.machine()}-{widest}"


@cache
def of_lock() -> str | None:
    """Return the SHA-256 of the lock file, or None outside a checkout."""
    lock = ROOT / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Return the commit of this checkout and whether it has changes; None if unknown."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*words: str) -> str:
    done = subprocess.run(  # noqa: S603  fixed words
        ["git", "-C", str(ROOT), *words],  # noqa: S607  whichever git the user has
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a module's normalised source, and what it imports of ours."""
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    imported = tuple(_first_party_imports(tree, module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and _docstring(node):
            node.body = node.body[1:]
    return _digest([ast.dump(tree)]), imported


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def _first_party_imports(tree: ast.Module, module: str) -> Iterator[str]:
    own = (*FIRST_PARTY, module.partition(".")[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        # A name may also be a value in a module, which has no file of its own.
        yield from (name for name in named if name.split(".")[0] in own and file_of(name))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
