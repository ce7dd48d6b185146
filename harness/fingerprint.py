"""How a result goes stale: hashes of the code, versions, and the machine.

A row's identity says *what* was run and is stable across versions. Its fingerprint
says *with which code, data and libraries*, so that ``plan`` can name the part that moved.
Modules are read as text and not as syntax trees: trees differ between versions of
Python and take three times as long. Imports no torch.
"""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import resolve_name
from pathlib import Path
from types import MappingProxyType

from harness.discovery import file_of, source_of

FIRST_PARTY = ("harness", "backends", "suites")
NUMERIC_PACKAGES = ("torch", "numpy", "kornia", "tonic", "scikit-learn")
ROOT = Path(__file__).resolve().parent.parent
CPUINFO = Path("/proc/cpuinfo")


def closure(roots: Iterable[str], /, *, stops: Collection[str] = ()) -> Mapping[str, str]:
    """Return the hash of every module that runs when ``roots`` do, by name.

    That is ``roots`` and everything first-party that they import, directly or not, also
    inside functions and for types alone; and the packages that hold a module. What a stage
    loads by name is no import: ``harness.engine.freshness`` names it among the roots.

    Comments, docstrings and blank lines do not count; a change in any helper does.

    Args:
        roots: Modules, in any order.
        stops: Modules or packages that are left out, and what only they import with them.
            A root is never left out.

    Raises:
        SpecError: If a root has no source file.
    """
    return _closure(frozenset(roots), frozenset(stops))


def of_closure(modules: Mapping[str, str], /) -> str:
    """Return one hash of a whole closure, 16 hexadecimal digits."""
    return _digest(f"{name} {hash_}" for name, hash_ in sorted(modules.items()))[:16]


def moved(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Return the modules in which two closures differ, in words, sorted."""
    return tuple(
        f"{name} (new)" if name not in then else f"{name} (gone)" if name not in now else name
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def versions(packages: Iterable[str] = ()) -> Mapping[str, str]:
    """Return the versions of Python and of the numerical libraries that are installed.

    Args:
        packages: More distributions that count: those of the simulator.
    """
    wanted = {name: installed(name) for name in sorted({*NUMERIC_PACKAGES, *packages})}
    return {"python": platform.python_version()} | {n: v for n, v in wanted.items() if v}


def processor() -> Mapping[str, str]:
    """Return the processor's architecture, model, instruction sets, and limits in force.

    Libraries choose their kernels by instruction set, and round differently with each.
    A limit is an environment variable that keeps a library from the widest one.
    """
    told = _cpuinfo()
    flags = told.get("flags", "").split()
    found = {
        "architecture": platform.machine(),
        "processor": told.get("model name", ""),
        "instructions": " ".join(name for name in _INSTRUCTIONS if name in flags),
    }
    limits = {name: os.environ.get(name, "") for name in _LIMITS}
    return {name: words for name, words in (found | limits).items() if words}


_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sse4_1")
_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return in words how two sets of versions differ; empty if they do not."""
    return "; ".join(
        f"made with {name} {then[name]}, here {now.get(name, 'without')}"
        if name in then
        else f"made without {name}, here {now[name]}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


@cache
def installed(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def of_lock() -> str | None:
    """Return the SHA-256 of the lock file, or None outside a checkout."""
    lock = ROOT / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Return the commit of this checkout and whether it has changes; None if unknown.

    A file that git neither knows nor ignores is a change: it may be the method that ran.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=normal"))
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


def _cpuinfo() -> Mapping[str, str]:
    """Return what Linux says of the last processor; nothing elsewhere."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


@cache
def _closure(roots: frozenset[str], stops: frozenset[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    waiting = [*roots]
    below = tuple(f"{stop}." for stop in stops)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found[module], needed = _read(module)
            waiting += [n for n in needed if n not in stops and not n.startswith(below)]
    return MappingProxyType(dict(sorted(found.items())))


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a module's normalised source, and the modules of ours it needs."""
    source = source_of(module)
    text = _normalised(source.read_text(encoding="utf-8"))
    own = {*FIRST_PARTY, module.partition(".")[0]}
    parent = module.rpartition(".")[0]
    package = module if source.name == "__init__.py" else parent
    named = {parent, *_imported(text, package)}
    # A name may also be a value in a module, which has no file of its own.
    here = {name for name in named if name.partition(".")[0] in own and file_of(name)}
    return _digest([text])[:8], tuple(here)


def _imported(text: str, package: str) -> Iterator[str]:
    """Yield every name that is imported, be it a module or a value in one."""
    for base, values, modules in _IMPORT.findall(text):
        listed = (values or modules).split(",")
        names = [name.split(" as ")[0].strip(" ()\\\n") for name in listed]
        if base:
            origin = resolve_name(base, package)
            yield origin
            yield from (f"{origin}.{name}" for name in names)
        else:
            yield from names


# Each alternative begins with a character, not a choice of them: that makes them fast.
_STRING = r'''
    """ (?: [^\\] | \\. )*? """ | \'\'\' (?: [^\\] | \\. )*? \'\'\'
    | " (?: [^\\"\n] | \\. )* " | ' (?: [^\\'\n] | \\. )* '
'''
_NAMES = r"import[ ] ( \([^)]*\) | (?: \\\n | [^\n;] )+ )"
# Strings are matched too, so that nothing is found inside one.
_IMPORT = re.compile(
    rf"{_STRING} | from[ ] ([\w.]+) [ ] {_NAMES} | {_NAMES}", re.DOTALL | re.VERBOSE
)
_PIECE = re.compile(
    rf'''
    : (?: [ ] | \#[^\n]* )*+ \n (?: \s | \#[^\n]* )*+  # what a docstring follows
        r?""" (?: [^\\"] | \\. | "(?!"") )*+ """ (?= [ ]* (?: \#[^\n]* )? \n )
    | {_STRING} | \\.
    | \n (?: [ ]*+ (?: \#[^\n]* )? \n )*+ | \#[^\n]* | [ ][ ]*+ (?= [\#\n] )
    ''',
    re.DOTALL | re.VERBOSE,
)


def _normalised(source: str) -> str:
    """Return ``source`` without comments, docstrings, blank lines and space before line breaks.

    Any other layout counts, since ``ruff format`` keeps it. The grammar is that of Python
    3.11: a quote of an f-string's own kind inside its braces ends it.
    """
    # The colon lets a module's docstring follow one, as every other does.
    return _PIECE.sub(_without_silence, f":\n{source}\n")


def _without_silence(piece: re.Match[str]) -> str:
    first = piece[0][0]
    return piece[0] if first in "\\\"'" else first.strip(" #")


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
