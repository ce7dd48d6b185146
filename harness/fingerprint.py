"""How a result goes stale: hashes of the code, versions, and the machine.

A row's identity says *what* was run and is stable across versions. Its fingerprint
says *with which code, data and libraries*, so that ``plan`` can name the part that moved.
Modules are read as tokens and not as syntax trees: trees differ between versions of
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
from itertools import chain
from keyword import kwlist
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

    Comments, docstrings and layout do not count; a change in any helper does.

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
    """Return in words how two environments or processors differ; empty if they do not."""
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


# It reads normalised text, in which a NUL ends a token, so no string can hold a match.
_IMPORT = re.compile(r"\0(?:from\0([\w.\0]+)\0)?import\0([\w.,*\0]+)\0")


def _imported(text: str, package: str) -> Iterator[str]:
    """Yield every name that is imported, be it a module or a value in one."""
    lines = (
        line for line in text.split("\n") if "\0import\0" in line
    )  # a search of it all is slow
    for base, names in chain.from_iterable(map(_IMPORT.findall, lines)):
        plain = [name.split("\0as\0")[0].replace("\0", "") for name in names.split("\0,\0")]
        if base:
            origin = resolve_name(base.replace("\0", ""), package)
            yield origin
            yield from (f"{origin}.{name}" for name in plain)
        else:
            yield from plain


def _normalised(source: str) -> str:
    """Return the statements of ``source``: depth, tokens, line feed, a NUL after each.

    Two sources that differ in comments, docstrings, blank lines, line breaks, spaces,
    quotes, trailing commas or brackets around a whole right-hand side give the same text,
    and sources of another meaning another one. The grammar is that of Python 3.11: a quote
    of an f-string's own kind inside its braces ends it.
    """
    told: list[str] = []
    widths = [0]
    for width, statement in _statements(source):
        if len(statement) == 1 and _is_plain_string(statement[0]):
            continue  # a docstring, or no more than one
        while widths[-1] > width:
            widths.pop()
        if widths[-1] < width:
            widths.append(width)
        told += [str(len(widths) - 1), *statement, "\n"]
    return "\0".join([*told, ""])


_TOKEN = re.compile(
    r"""
    [rbufRBUF]{0,2} (?:
        \"{3} (?: [^\\] | \\. )*? \"{3} | '{3} (?: [^\\] | \\. )*? '{3}
        | " (?: [^\\"\n] | \\. )* " | ' (?: [^\\'\n] | \\. )* '
    )
    | \#[^\n]* | \\\n                # a comment, a continued line
    | \n[ \t\f]*                     # a line break with the next line's indentation
    | \d[\w.]* | \w+ | [=!<>:]= | [^\s\w]
    """,
    re.DOTALL | re.VERBOSE,
)
_MARKS = frozenset("\n#\\([{}])")
# A bracket around everything after these means nothing, unless it is empty.
_BEFORE_WHOLE = frozenset(["=", "return", "yield", "import", "if", "elif", "while", "with"])
_KEYWORDS = frozenset(kwlist)
_AMBIGUOUS = frozenset(["match", "case"])  # names, or keywords before a tuple


def _statements(source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the indentation and the tokens of every logical line."""
    line: list[str] = []
    width = outermost = 0
    opened: list[int] = []  # where in the line each open bracket stands
    for token in _TOKEN.findall(f"{source}\n"):
        mark = token[0]
        if mark not in _MARKS:
            if token[-1] in "\"'":
                _add_string(line, token)
            else:
                line.append(token)
        elif mark == "\n" and not opened:
            if line:
                yield width, _unwrapped(line, outermost)
            line, outermost, width = [], 0, len(token) - 1
        elif mark in "([{":
            if not opened:
                outermost = len(line)
            opened.append(len(line))
            line.append(token)
        elif mark in ")]}":
            if opened and line[-1] == "," and _is_superfluous(line, opened[-1]):
                line.pop()
            del opened[-1:]
            line.append(token)


def _is_superfluous(line: list[str], start: int) -> bool:
    """Whether the comma at the end means nothing before the bracket opened at ``start`` closes."""
    before = line[start - 1] if start else ""
    is_name = before.isidentifier() and before not in _KEYWORDS
    follows_value = is_name or before == "import" or before[-1:] in {*")]}\"'"}
    is_display = line[start] == "[" and not follows_value
    is_call = line[start] == "(" and follows_value
    if line[start] == "{" or ((is_call or is_display) and before not in _AMBIGUOUS):
        return True  # no place where one comma makes a tuple
    depth = 0
    for part in line[start + 1 : -1]:
        depth += (part in "([{") - (part in ")]}")
        if (part == "," and not depth) or part == "lambda":
            return part == ","
    return False


def _unwrapped(line: list[str], outermost: int) -> list[str]:
    """Return a logical line without a bracket around its whole right-hand side or condition."""
    last = len(line) - 1 - (line[-1] == ":")
    wraps = line[outermost] == "(" and line[last] == ")" and line[outermost - 1] in _BEFORE_WHOLE
    if wraps and last > outermost + 1:
        return [*line[:outermost], *line[outermost + 1 : last], *line[last + 1 :]]
    return line


def _add_string(line: list[str], token: str) -> None:
    """Append a string in double quotes, joined to one just before it where that is safe."""
    if token.count("'") == 2 and token[-1] == "'" and '"' not in token:
        token = token.replace("'", '"')
    before, after = (_STRING.fullmatch(each) for each in (line[-1] if line else "", token))
    if before and after and not after[2][:1].isdigit():  # it might end an octal number
        plain = after[2] if before[1] else before[2]
        if before[1] == after[1] or not {*"{}"} & {*plain}:
            token = f'{before[1] or after[1]}"{before[2]}{after[2]}"'
            line.pop()
    line.append(token)


_STRING = re.compile(r'(f?)"([^"]*)"')


def _is_plain_string(token: str) -> bool:
    return token.lower().lstrip("rbu")[:1] in {'"', "'"}


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
