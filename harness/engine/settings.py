"""Parameters of methods that somebody sets: ``logit_kd.temperature=2,4,8``. Imports no torch."""

import re
from collections.abc import Iterable, Mapping
from itertools import product
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from harness import discovery
from harness.contracts.errors import SpecError

# By method and parameter, the values it is to be asked at.
Settings = Mapping[str, Mapping[str, tuple[Any, ...]]]
_FORM = re.compile(r"(?P<method>[^.=]+)\.(?P<name>[^.=]+)=(?P<values>.*)", re.DOTALL)
_LAX = ConfigDict(allow_inf_nan=False)


def settings_of(texts: Iterable[str], /) -> Settings:
    """Return what ``texts`` set, each ``METHOD.PARAMETER=VALUE,VALUE``.

    A parameter that is set twice has the values of both, and equal values count once.

    Raises:
        UnknownPluginError: For a method that does not exist.
        SpecError: For a parameter that the method has not, or a value that it cannot have.
    """
    found: dict[str, dict[str, tuple[Any, ...]]] = {}
    for text in texts:
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise SpecError(
                f"--set takes METHOD.PARAMETER=VALUES like logit_kd.temperature=2,4,8, got {text!r}"
            )
        method, name = form["method"], form["name"]
        values = [_value(method, name, part.strip()) for part in form["values"].split(",")]
        known = found.setdefault(method, {})
        known[name] = tuple(dict.fromkeys((*known.get(name, ()), *values)))
    return found


def points(axes: Mapping[str, tuple[Any, ...]], /) -> list[dict[str, Any]]:
    """Return every combination of the values of ``axes``; a single empty one of none."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _value(method: str, name: str, text: str) -> Any:
    """Return what ``text`` is as a value of the parameter."""
    kinds = discovery.parameter_kinds(method)
    if name not in kinds:
        known = f"there are: {', '.join(kinds)}" if kinds else "it has none"
        raise SpecError(f"{method} has no parameter {name!r}; {known}")
    kind = kinds[name]
    given = None if text == "None" else text
    try:
        return TypeAdapter(kind, config=_LAX).validate_python(given)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        raise SpecError(
            f"--set {method}.{name} takes {_in_words(kind)}, got {text!r}: "
            f"{said[0].lower()}{said[1:]}"
        ) from None


def _in_words(kind: Any) -> str:
    """Return a type without its bounds, which the error tells."""
    form, parts = get_origin(kind), get_args(kind)
    if form is Annotated:
        return _in_words(parts[0])
    if form in (Union, UnionType):
        return " | ".join(map(_in_words, parts))
    if form is Literal:
        return str(kind).removeprefix("typing.")
    return "None" if kind is NoneType else str(kind.__name__)
