"""Plug-ins by folder: a file's name is its public name.

Listing imports no plug-in and loading imports one, so a broken neighbour cannot
matter. Third parties hook in by entry points in the group ``snn_distill_bench.<kind>``.
What a method file says of itself is read from its source, so that planning needs no torch.
"""

import ast
import difflib
import importlib
import re
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal

from harness.contracts.errors import HarnessError, SpecError, UnknownPluginError
from harness.contracts.method import Claim, MethodCard

Kind = Literal[
    "suites", "methods", "models", "datasets", "tasks", "encoders", "backends", "engines"
]


_PACKAGES: Mapping[Kind, str] = {
    "suites": "suites",
    "methods": "suites.methods",
    "models": "suites.models",
    "datasets": "suites.datasets",
    "tasks": "suites.tasks",
    "encoders": "suites.encoders",
    "backends": "backends",
    "engines": "harness.engine.engines",
}
KINDS: tuple[Kind, ...] = tuple(_PACKAGES)


def _attribute(kind: Kind) -> str:
    """Return what a file of ``kind`` must provide: ``SUITE``, ``METHOD`` and so on."""
    return kind.removesuffix("s").upper()


@cache
def _modules(kind: Kind) -> Mapping[str, str]:
    """Return the module of every plug-in of ``kind`` by public name."""
    package = _PACKAGES[kind]
    found = find_spec(package)
    places = found.submodule_search_locations if found else None
    modules = {
        module.name: f"{package}.{module.name}"
        for module in iter_modules(places)
        if module.ispkg == (kind == "backends") and not module.name.startswith("_")
    }
    for point in entry_points(group=f"snn_distill_bench.{kind}"):
        modules[point.name] = point.module
    return dict(sorted(modules.items()))


def names(kind: Kind) -> tuple[str, ...]:
    """Return the public names of ``kind``, sorted, without importing any of them."""
    return tuple(_modules(kind))


def module_of(kind: Kind, name: str) -> str:
    """Return the import path of one plug-in.

    Raises:
        UnknownPluginError: Names the nearest known ones.
    """
    known = _modules(kind)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
    raise UnknownPluginError(f"no {name!r} among the {kind}; {hint}")


def load(kind: Kind, name: str) -> object:
    """Import the one plug-in that is wanted and return its value.

    Raises:
        UnknownPluginError: If no file or entry point has that name.
        SpecError: If the file does not provide what its folder promises, or cannot be
            imported; names file and line.
        ModuleNotFoundError: If a simulator's packages are not installed.
    """
    path = module_of(kind, name)
    try:
        module = importlib.import_module(path)
    except (HarnessError, MemoryError):
        raise
    except Exception as error:
        if kind == "backends" and isinstance(error, ModuleNotFoundError):
            raise
        raise _broken(source_of(path), error) from error
    attribute = _attribute(kind)
    if not hasattr(module, attribute):
        raise SpecError(f"{path} must provide {attribute}; see CONTRIBUTING.md")
    return getattr(module, attribute)


def source_of(module: str) -> Path:
    """Return the file of ``module``, without importing it.

    Raises:
        SpecError: If there is none.
    """
    found = file_of(module)
    if found is None:
        raise SpecError(f"{module} has no source file to read")
    return found


@cache
def file_of(module: str) -> Path | None:
    """Return the file of ``module``, or None; neither it nor a parent is imported.

    ``importlib``'s own search imports every parent, and with it torch.
    """
    parent, _, name = module.rpartition(".")
    if not parent:
        found = find_spec(name)
        return Path(found.origin) if found and found.origin else None
    package = file_of(parent)
    if package is None or package.name != "__init__.py":
        return None
    choices = (package.parent / name / "__init__.py", package.with_name(f"{name}.py"))
    return next((choice for choice in choices if choice.exists()), None)


def method_card(name: str) -> MethodCard | None:
    """Return what a method file says of itself, or None if it says nothing."""
    node = _assigned(_tree("methods", name), "CARD")
    return None if node is None else _value(node, name)


def method_parameters(name: str) -> dict[str, Any]:
    """Return the parameters of ``METHOD``: its fields' literal defaults and its arguments.

    Raises:
        SpecError: If they cannot be read from the source alone.
    """
    return _parameters("methods", name)


def parameter_kinds(name: str) -> dict[str, Any]:
    """Return the types of a method's parameters, as its file annotates them, bounds included.

    What an annotation says by a name that the file imports has the type of its default.

    Raises:
        SpecError: If they cannot be read from the source alone.
    """
    defaults, tree = method_parameters(name), _tree("methods", name)
    annotated = {
        line.target.id: line.annotation
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    return {key: _kind(annotated[key], tree, type(default)) for key, default in defaults.items()}


@cache
def _kinds() -> Mapping[str, Any]:
    import pydantic  # without it Python can still hash and list what is here

    from harness.contracts.values import Fraction

    bounded = ("PositiveFloat", "NonNegativeFloat", "PositiveInt", "NonNegativeInt")
    plain = {kind.__name__: kind for kind in (float, int, bool, str)}
    return {**plain, **{name: getattr(pydantic, name) for name in bounded}, "Fraction": Fraction}


def _kind(node: ast.expr, tree: ast.Module, otherwise: Any) -> Any:
    """Return the type that an annotation means, or ``otherwise``."""
    found = otherwise
    match node:
        case ast.Constant(value=None):
            found = None
        case ast.Name(id=word) if word in _kinds():
            found = _kinds()[word]
        case ast.Name(id=word) if (alias := _assigned(tree, word)) is not None:
            found = _kind(alias, tree, otherwise)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            found = _kind(left, tree, otherwise) | _kind(right, tree, otherwise)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            items = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            found = Literal[tuple(ast.literal_eval(item) for item in items)]
    return found


def task_gives(name: str) -> tuple[str, ...]:
    """Return what methods may need of a task: the literal ``gives`` in its file.

    Raises:
        SpecError: If its file has none.
    """
    for node in _tree("tasks", name).body:
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            match line:
                case ast.AnnAssign(target=ast.Name(id="gives"), value=ast.Tuple() as given):
                    return tuple(ast.literal_eval(given))
    raise SpecError(
        f"suites/tasks/{name}.py must say gives: ClassVar = ('what', ...), as a literal"
    )


def encoder_words(name: str) -> str:
    """Return what an encoder says of itself, for the row's ``encoding``.

    Raises:
        SpecError: If it says nothing, or what it says cannot be read from the source alone.
    """
    words = _parameters("encoders", name).get("words")
    if not isinstance(words, str):
        raise SpecError(f"suites/encoders/{name}.py must have a field words: str = '...'")
    return words


def _parameters(kind: Kind, name: str) -> dict[str, Any]:
    """Return the literal fields of the one value that a plug-in's file provides."""
    tree = _tree(kind, name)
    match _assigned(tree, _attribute(kind)):
        case ast.Call(func=ast.Name(id=made), args=[], keywords=given):
            pass
        case _:
            raise SpecError(
                f"suites/{kind}/{name}.py must say {_attribute(kind)} = "
                "ClassName(field=literal, ...)"
            )
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == made]
    fields = {
        line.target.id: _value(line.value, name)
        for node in classes
        for line in node.body
        if isinstance(line, ast.AnnAssign) and line.value and isinstance(line.target, ast.Name)
    }
    return fields | {str(word.arg): _value(word.value, name) for word in given}


@cache
def packages_of(backend: str | None) -> tuple[str, ...]:
    """Return the distributions a simulator needs: its folder's ``requirements.txt``."""
    if backend is None:
        return ()
    listed = source_of(module_of("backends", backend)).with_name("requirements.txt")
    if not listed.exists():
        return ()
    lines = listed.read_text(encoding="utf-8").splitlines()
    return tuple(m.group() for line in lines if (m := re.match(r"[A-Za-z0-9._-]+", line)))


@cache
def _tree(kind: Kind, name: str) -> ast.Module:
    source = source_of(module_of(kind, name))
    try:
        return ast.parse(source.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:  # ValueError: no UTF-8, or a null character
        raise _broken(source, error) from error


def _broken(source: Path, error: Exception) -> SpecError:
    """Return what says in one line where a plug-in's file went wrong, and how."""
    file, line = str(source), 0
    if isinstance(error, SyntaxError) and error.lineno:
        # What is parsed without a name is the source itself.
        file = file if error.filename in (None, "<unknown>") else str(error.filename)
        return SpecError(f"{file} line {error.lineno}: {type(error).__name__}: {error.msg}")
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == file:
            line = frame.lineno or 0
    words = (str(error).splitlines() or [""])[0]
    return SpecError(f"{file}{f' line {line}' if line else ''}: {type(error).__name__}: {words}")


def _assigned(tree: ast.Module, target: str) -> ast.expr | None:
    """Return the expression that the module assigns to ``target``."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ) if name == target:
                return value
    return None


def _value(node: ast.expr, name: str) -> Any:
    """Return a literal, a tuple of such, or a card built of literals."""
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, name) for item in node.elts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        made = {"MethodCard": MethodCard, "Claim": Claim}.get(node.func.id)
        if made is not None:
            return made(**{str(word.arg): _value(word.value, name) for word in node.keywords})
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise SpecError(
            f"suites/methods/{name}.py line {node.lineno}: {ast.unparse(node)!r} is no literal; "
            "parameters and cards are read without importing"
        ) from None
