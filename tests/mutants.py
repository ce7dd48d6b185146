"""Change one number or operator at a time, and see whether a test notices.

``python -m tests.mutants [FILE ...] [--sample N] [--seed S]``. Every numeric default and
operator of the files (all of ``suites/methods/`` and ``harness/training/`` unless given) is
changed in a copy of the project, and the tests that concern the file run on it: those that
import it, the file of its name first, then the laws of the methods that use it. A mutant that
no test notices is listed. Exit code 1: fewer were noticed than must be.

A process that has torch and the simulators, and nothing of the project, forks for each mutant,
which so takes seconds.
"""

import argparse
import ast
import compileall
import gc
import importlib
import os
import py_compile
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

from tests.projects import ROOT, copied

Kind = Literal["default", "operator"]
NOTICED: Mapping[Kind, float] = {"default": 0.9, "operator": 0.8}  # at least that share
PRELOADED = (
    "hypothesis.strategies",
    "kornia",
    "norse.torch",
    "pydantic.functional_validators",
    "spikingjelly.activation_based.neuron",
)
OPTIONS = ("-x", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist")
LAWS = "tests/methods/test_all.py"
MOST_METHODS = 3  # whose laws are asked about a module that many methods use
EXPLAINED = Path(__file__).with_name("mutants_explained.toml")
NOTHING_COLLECTED = 5  # pytest's exit code

_OTHER: Mapping[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,  # not the other way: `|` stands in annotations
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.USub: ast.UAdd,
}


@dataclass(frozen=True)
class Mutant:
    """One change: of which file, where, and the whole text that results."""

    file: str
    line: int
    kind: Kind
    change: str
    source: str


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of ``source``, each with one change."""
    for place in range(len(list(_sites(ast.parse(source))))):
        tree = ast.parse(source)
        site = list(_sites(tree))[place]
        before = ast.unparse(site.shown)
        site.mutate()
        yield Mutant(
            file=file,
            line=site.line,
            kind=site.kind,
            change=f"{before} -> {ast.unparse(site.shown)}",
            source=ast.unparse(tree),
        )


@dataclass(frozen=True)
class _Site:
    """A place to change, and what to show of it."""

    kind: Kind
    line: int
    shown: ast.AST
    mutate: Callable[[], None]


def _sites(tree: ast.Module) -> Iterator[_Site]:
    """Yield the places of ``tree``, in the same order for the same text."""
    for top in tree.body:
        if isinstance(top, ast.Assign) and ast.unparse(top.targets[0]) in {"CARD", "__all__"}:
            continue  # what a file says of itself is no code
        yield from _defaults(top)
        for node in ast.walk(top):
            if isinstance(node, ast.ClassDef):
                for statement in node.body:
                    yield from _defaults(statement)
            elif isinstance(node, ast.FunctionDef | ast.Lambda):
                given = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
                yield from (_number(node.args, value) for value in given if _is_number(value))
            yield from _operators(node)


def _defaults(statement: ast.AST) -> Iterator[_Site]:
    """Yield the number that ``statement`` gives a name, if it does."""
    if isinstance(statement, ast.Assign | ast.AnnAssign) and _is_number(statement.value):
        yield _number(statement, statement.value)


def _is_number(value: ast.AST | None) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, bool | int | float)


def _number(shown: ast.AST, value: ast.AST | None) -> _Site:
    assert isinstance(value, ast.Constant)

    def mutate() -> None:
        value.value = _another(value.value)

    return _Site("default", value.lineno, shown, mutate)


def _another(value: object) -> object:
    """Return a number near ``value``: what a slip of the finger would leave."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return 1.1 * value if value else 0.1
    raise TypeError(f"{value!r} is no number")


def _operators(node: ast.AST) -> Iterator[_Site]:
    """Yield the operators of ``node`` itself."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in _OTHER:
                yield _Site("operator", node.lineno, node, _in_list(node.ops, place))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _Site("operator", node.lineno, node, _negate(node))
    elif isinstance(node, ast.UnaryOp) and _is_number(node.operand):
        return  # -1 is a number
    elif (
        isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp)
        and type(node.op) in _OTHER
    ):
        yield _Site("operator", node.lineno, node, _exchange(node))


def _exchange(node: ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp) -> Callable[[], None]:
    def mutate() -> None:
        node.op = _OTHER[type(node.op)]()  # type: ignore[assignment]  # of the same family

    return mutate


def _in_list(operators: list[ast.cmpop], place: int) -> Callable[[], None]:
    def mutate() -> None:
        operators[place] = _OTHER[type(operators[place])]()  # type: ignore[call-overload]  # of the same family

    return mutate


def _negate(node: ast.UnaryOp) -> Callable[[], None]:
    def mutate() -> None:
        node.operand = ast.UnaryOp(ast.Not(), node.operand)

    return mutate


@cache
def _module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _imported(file: Path) -> frozenset[str]:
    """Return the modules of the project that ``file`` imports, through re-exports as well."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {_home(node.module, alias.name) for alias in node.names}
    return frozenset(found)


@cache
def _home(module: str, name: str) -> str:
    """Return the module that ``from module import name`` reads ``name`` in."""
    folder = ROOT.joinpath(*module.split("."))
    if (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists():
        return f"{module}.{name}"
    package = folder / "__init__.py"
    if not package.exists():
        return module
    for node in ast.walk(ast.parse(package.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module not in (None, module):
            names = {alias.asname or alias.name for alias in node.names}
            if name in names:
                return _home(str(node.module), name)
    return module


@cache
def _keys(file: Path) -> frozenset[str]:
    """Return the strings that are a key in ``file``: a table there may name methods."""
    keys = (
        key.value
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    )
    return frozenset(key for key in keys if isinstance(key, str))


def tests_of(file: str) -> tuple[list[str], list[str]]:
    """Return the test files that import ``file`` or name it, and the methods it is in.

    The namesakes of ``file`` come first.

    A method is in itself; of a module that many use, these are the first of them.
    """
    module, stem = _module_of(ROOT / file), Path(file).stem
    files = [
        each
        for each in sorted((ROOT / "tests").rglob("test_*.py"))
        if str(each.relative_to(ROOT)) != LAWS
        and (module in _imported(each) or (each.parent.name == "methods" and stem in _keys(each)))
    ]
    files.sort(key=lambda each: stem not in each.stem)
    methods = sorted((ROOT / "suites" / "methods").glob("[!_]*.py"))
    users = [each.stem for each in methods if module in {_module_of(each), *_imported(each)}]
    return [str(each.relative_to(ROOT)) for each in files], users[:MOST_METHODS]


def run_tests(project: Path, file: str, *, limit_s: int, log: Path) -> int:
    """Run what concerns ``file`` in a fork, and return pytest's exit code, 0 if nothing failed.

    A process that is still running after ``limit_s`` seconds is ended, which is a failure, too.
    """
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        return os.waitstatus_to_exitcode(status)
    try:
        signal.alarm(limit_s)
        _enter(project, log)
        files, methods = tests_of(file)
        options = [*OPTIONS, f"--rootdir={project}"]
        code = int(pytest.main([*options, *files])) if files else 0
        if code == 0 and methods:
            asked = " or ".join(f"[{name}] or [{name}-" for name in methods)
            code = int(pytest.main([*options, LAWS, "-k", f"({asked}) and not everywhere"]))
        os._exit(0 if code == NOTHING_COLLECTED else code)
    finally:
        os._exit(1)


def _enter(project: Path, log: Path) -> None:
    """Let this process see the copy of the project alone."""
    output = log.open("w", buffering=1, encoding="utf-8")
    sys.stdout = sys.stderr = output
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    os.chdir(project)
    os.environ["PYTHONPATH"] = str(project)
    sys.path[:] = [str(project), *(place for place in sys.path if place not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def judged(
    project: Path, mutants: Sequence[Mutant], explained: Mapping[tuple[str, str], str]
) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant, by files, and whether a test noticed it.

    Raises:
        SystemExit: If the tests of a file fail before anything is changed.
    """
    log = project / "log.txt"
    limits: dict[str, int] = {}
    for mutant in mutants:
        place = project / mutant.file
        if mutant.file not in limits:
            start = time.monotonic()
            if run_tests(project, mutant.file, limit_s=600, log=log):
                raise SystemExit(f"{log.read_text()}\n{mutant.file}: its tests fail as it is")
            taken_s = time.monotonic() - start
            limits[mutant.file] = 20 + round(4 * taken_s)
            count = sum(each.file == mutant.file for each in mutants)
            told = f"{count} mutants; unchanged, its tests take {taken_s:.0f} s"
            print(f"{mutant.file}: {told}", flush=True)
        original = place.read_text(encoding="utf-8")
        place.write_text(mutant.source, encoding="utf-8")
        try:
            noticed = run_tests(project, mutant.file, limit_s=limits[mutant.file], log=log) != 0
        finally:
            place.write_text(original, encoding="utf-8")
        if not noticed:
            reason = explained.get((mutant.file, mutant.change))
            said = f"explained ({reason})" if reason else "survived"
            print(f"{mutant.file}:{mutant.line}: {said}: {mutant.kind} {mutant.change}", flush=True)
        yield mutant, noticed


def report(outcomes: Sequence[tuple[Mutant, bool]], known: Mapping[tuple[str, str], str]) -> bool:
    """Print the score of each file and kind; return whether enough was noticed of each kind.

    Survivors that are explained do not count.
    """
    counts: dict[str, Counter[tuple[Kind, bool]]] = defaultdict(Counter)
    for mutant, noticed in outcomes:
        if noticed or (mutant.file, mutant.change) not in known:
            counts[mutant.file][mutant.kind, noticed] += 1
            counts["in all"][mutant.kind, noticed] += 1
    enough = True
    for file in [*(name for name in counts if name != "in all"), "in all"]:
        count, words = counts[file], []
        for kind, least in NOTICED.items():
            noticed, of = count[kind, True], count[kind, True] + count[kind, False]
            words.append(f"{kind}s {noticed} of {of}")
            enough = enough and (file != "in all" or noticed >= least * of)
        print(f"{file}: {', '.join(words)}")
    return enough


def explained() -> Mapping[tuple[str, str], str]:
    """Return the reasons why some mutants cannot be noticed, by file and change."""
    listed = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")).get("mutant", [])
    return {(each["file"], each["change"]): each["reason"] for each in listed}


def main() -> int:
    """Judge the mutants asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--sample", type=int, help="So many mutants, drawn by chance.")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folders = (ROOT / "suites" / "methods", ROOT / "harness" / "training")
    every = (each.relative_to(ROOT) for folder in folders for each in sorted(folder.rglob("*.py")))
    files = [str(Path(each)) for each in asked.files] or [str(each) for each in every]
    found = [each for file in files for each in mutants_of(file, (ROOT / file).read_text("utf-8"))]
    if asked.sample is not None and asked.sample < len(found):
        drawn = set(random.Random(asked.seed).sample(range(len(found)), asked.sample))  # noqa: S311  no secret
        found = [each for place, each in enumerate(found) if place in drawn]
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # or every fork would look through all of torch for garbage
    known = explained()
    outcomes: list[tuple[Mutant, bool]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            for outcome in judged(_copy(Path(folder)), found, known):
                outcomes.append(outcome)  # noqa: PERF402  what is judged counts, however it ends
    finally:
        enough = report(outcomes, known)
    return 0 if enough else 1


def _copy(project: Path) -> Path:
    """Copy the project with its tests, compiled so that a changed file is noticed by content."""
    copied(project)
    shutil.copytree(ROOT / "tests", project / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project)
    by_content = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(project, quiet=1, invalidation_mode=by_content)
    sys.dont_write_bytecode = True
    return project


if __name__ == "__main__":
    sys.exit(main())
