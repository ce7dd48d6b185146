"""Numbers in words: no more digits than are known, and a dash for the unknown."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.contracts.task import FRACTION, Scale
from harness.statistics import Comparison, Mean

_WILSON = re.compile(r"Wilson(?= half-width)|Wilson interval(?=\s+of\s+a\s+single)")
# Where our own text names the metric; fields and rules of accuracy are something else.
_ACCURACY = re.compile(
    r"(?:[Tt]est )?\b[Aa]ccuracy"
    r"(?= (?:%|\(%\)|in per cent|then|against|after each|is drawn|on the first))"
)
# Where it names the metric's unit, the metric's name before it.
_UNIT = r"(?<=\b{name} )(?:(\()%(?=\))|%|(in )per cent)|(?<=\b{name} then \()%"
_POINTS = re.compile(r"(?<=\()points(?=[,)])|(?<=in )percentage points")

UNKNOWN = "—"
# What Markdown would read as markup, HTML in it included; underscores within words are text.
_MARKUP = re.compile(r"([\\`*\[\]<>])")
Item = TypeVar("Item")


def decimals(half_width: float, /) -> int:
    """Return how many decimals a value known to ``half_width`` deserves.

    The Particle Data Group's rule: two digits of the uncertainty where they begin with
    10 to 35, else one, so that rounding never adds more than a seventh to it.
    """
    if half_width <= 0:
        return 4
    exponent = math.floor(math.log10(half_width))
    leading = half_width / 10.0**exponent
    # 9.5 and more round up to the 10 of the next power.
    exponent += leading >= 9.5
    digits = 2 if leading < 3.55 or leading >= 9.5 else 1
    return min(4, max(0, digits - 1 - exponent))


def percent(fraction: float | None, /, *, places: int = 1) -> str:
    """Return a fraction in per cent, without the sign."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.{places}f}"


def score(value: float | None, scale: Scale = FRACTION, /, *, places: int = 1) -> str:
    """Return a score without its unit: in per cent to so many places, or to three digits."""
    return percent(value, places=places) if scale.is_fraction else figure(value)


def accuracy(mean: Mean | None, single: float, scale: Scale = FRACTION, /) -> str:
    """Return a mean score in its unit with its half-width; ``single`` is one seed's."""
    if mean is None:
        return UNKNOWN
    half = scale.factor * (mean.interval.half_width if mean.interval else single)
    places = decimals(half)
    told = f"{scale.factor * mean.value:.{places}f}"
    return f"{told} ± {half:.{places}f}" if mean.interval else told


def of_metric(text: str, name: str, scale: Scale = FRACTION, /) -> str:
    """Return text of ours about accuracies as one about scores in the metric ``name``.

    Their intervals are no longer Wilson's, which are those of a fraction of samples.
    """
    if name == "accuracy":
        return text
    text = _WILSON.sub("interval", _ACCURACY.sub(name, text))
    if scale.is_fraction:
        return text
    unit = re.compile(_UNIT.format(name=re.escape(name)))
    text = unit.sub(lambda found: f"{found[1] or found[2] or ''}{scale.unit}", text)
    return _POINTS.sub(scale.unit, text)


def difference(found: Comparison | None, scale: Scale = FRACTION, /) -> str:
    """Return a mean difference in points, or in the metric's unit, with its half-width."""
    return UNKNOWN if found is None else points(found.difference, scale)


def points(mean: Mean, scale: Scale = FRACTION, /) -> str:
    """Return a mean of differences in points, or in the metric's unit, with its half-width."""
    value = scale.factor * mean.value
    if mean.interval is None:
        return f"{value:+z.1f}" if scale.is_fraction else f"{value:+.3g}"
    half = scale.factor * mean.interval.half_width
    return f"{value:+z.{decimals(half)}f} ± {half:.{decimals(half)}f}"


def verdict(found: Comparison | None, /) -> str:
    """Return what the difference amounts to; a question mark where seeds are too few."""
    if found is None:
        return UNKNOWN
    if found.verdict == "unknown":
        return "one seed"
    return f"{found.verdict}{'?' if found.provisional else ''}"


def quantity(value: float | None, /) -> str:
    """Return a count to three digits with its thousands as a letter."""
    return _scaled(value, ("", " k", " M", " G", " T"))


def energy(picojoules: float | None, /) -> str:
    """Return an energy to three digits in the unit that fits."""
    return _scaled(picojoules, (" pJ", " nJ", " µJ", " mJ", " J"))


def _scaled(value: float | None, units: Sequence[str]) -> str:
    """Return ``value`` in the largest of ``units``, each a thousand of the last, it fills."""
    if value is None:
        return UNKNOWN
    last = len(units) - 1
    power = next((n for n in range(last, 0, -1) if abs(value) >= 10.0 ** (3 * n)), 0)
    return f"{value / 10.0 ** (3 * power):.3g}{units[power]}"


def figure(value: float | None, /) -> str:
    """Return a plain number to three digits."""
    return UNKNOWN if value is None else f"{value:.3g}"


def text(words: str, /) -> str:
    """Return what somebody wrote, such as an error, so that Markdown shows it as it is."""
    return _MARKUP.sub(r"\\\1", words)


def visible(words: str, /) -> str:
    """Return ``words`` with what is no sign as its escape, as JSON has it; lines stay lines.

    Terminal escapes, marks that reverse the direction of writing, and lone surrogates, which
    no file can hold, are then seen and obeyed by nothing.
    """
    return words if words.isascii() and words.replace("\n", "").isprintable() else _escaped(words)


def _escaped(words: str) -> str:
    return "".join(
        char
        if char.isprintable() or char == "\n" or unicodedata.category(char) == "Zs"
        else re.sub("(....)", r"\\u\1", char.encode("utf-16-be", "surrogatepass").hex())
        for char in words
    )


def cell(words: str, /) -> str:
    """Return ``words`` as one cell of a Markdown table."""
    return " ".join(words.replace("|", "\\|").split())


@dataclass(frozen=True)
class Column(Generic[Item]):
    """A column of a table; left out where it is unknown on every line.

    Attributes:
        title: Its head.
        text: What it says of an item.
        left: Whether it is text, not figures.
    """

    title: str
    text: Callable[[Item], str]
    left: bool = False


def table(items: Iterable[Item], columns: Iterable[Column[Item]]) -> str:
    """Return a Markdown table with a line an item."""
    items = list(items)
    texts = [(column, [cell(column.text(item)) for item in items]) for column in columns]
    known = [(column, cells) for column, cells in texts if set(cells) != {UNKNOWN}]
    head = [column.title for column, _ in known]
    rule = ["---" if column.left else "---:" for column, _ in known]
    lines = zip(*(cells for _, cells in known), strict=True)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
