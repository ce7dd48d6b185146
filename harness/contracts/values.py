"""Values that are checked when they are made: typed, finite, frozen, no unknown field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache, wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic.dataclasses import dataclass

from harness.contracts.errors import SpecError

Kind = TypeVar("Kind")
Fraction = Annotated[float, Field(ge=0, le=1)]
# strict: "3" is no 3 and True no 1; from JSON, lists still become tuples.
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(kind: type[Kind]) -> type[Kind]:
    """Make ``kind`` a frozen dataclass whose fields pydantic checks.

    Making one raises SpecError for a wrong type or choice, an unknown field or a number
    that is not finite; it names the field and what it was given.
    """
    made: Any = dataclass(frozen=True, kw_only=True, config=_CONFIG)(kind)
    checked: Callable[..., None] = made.__init__

    @wraps(checked)
    def __init__(self: Any, **given: Any) -> None:  # noqa: N807  it takes that one's place
        try:
            checked(self, **given)
        except ValidationError as error:
            raise SpecError(in_words(kind.__name__, error)) from None

    made.__init__ = __init__
    checked_kind: type[Kind] = made
    return checked_kind


def from_json(kind: type[Kind], text: str | bytes, /) -> Kind:
    """Return the ``kind`` that one JSON object describes.

    Raises:
        SpecError: If it does not; names the field and what it was given.
    """
    checked: Any = kind
    try:
        made: Kind = checked.__pydantic_validator__.validate_json(text)
    except ValidationError as error:
        raise SpecError(in_words(kind.__name__, error)) from None
    return made


def to_plain(made: Any, /) -> Any:
    """Return a value as JSON has it."""
    return type(made).__pydantic_serializer__.to_python(made, mode="json")


def in_words(name: str, error: ValidationError) -> str:
    """Return the first thing wrong, by field, with what it was given."""
    first, *others = error.errors(include_url=False)
    at = ".".join(map(str, (name, *first["loc"])))
    given = json.dumps(first["input"], default=repr)
    more = f"; and {len(others)} more" if others else ""
    if first["type"] == "value_error":  # a check of ours, which names the field itself
        return f"{first['msg'].removeprefix('Value error, ')}{more}"
    return f"{at}: {first['msg'][0].lower()}{first['msg'][1:]}, got {given[:80]}{more}"


def identifying(made: Any, /) -> dict[str, Any]:
    """Return the fields of a value by name, those of values within it too.

    A field added after rows were published says so, ``later``: it is left out where it has
    its default, so that what could not differ then keeps its name. One that is not compared
    is no part of what a value is.
    """
    return {
        item.name: _identifying(getattr(made, item.name))
        for item in fields(made)
        if item.compare
        and not (item.metadata.get("later") and getattr(made, item.name) == item.default)
    }


def _identifying(part: Any) -> Any:
    return _identifying_value(part) if hasattr(part, "__dataclass_fields__") else part


@lru_cache(maxsize=1024)  # many cells have one recipe, and all of them one neuron
def _identifying_value(made: Any) -> dict[str, Any]:
    return identifying(made)


def spell(name: str, params: Mapping[str, Any], /) -> str:
    """Return a name with some parameters, as ``logit_kd[temperature=2]``."""
    told = ", ".join(f"{key}={_short(item)}" for key, item in sorted(params.items()))
    return f"{name}[{told}]" if told else name


def _short(item: Any) -> str:
    return repr(item).removesuffix(".0") if isinstance(item, float) else str(item)


def _plain(given: Any) -> Any:
    """Return ``given`` with lists for tuples, copied, so that it equals itself after JSON."""
    if isinstance(given, dict):
        return {key: _plain(item) for key, item in given.items()}
    return [_plain(item) for item in given] if isinstance(given, list | tuple) else given


Plain = Annotated[dict[str, JsonValue], BeforeValidator(_plain)]
