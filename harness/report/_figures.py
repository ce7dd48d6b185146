"""Figures: one specification each, drawn on the page by Vega and into files by vl-convert.

Each reads a named table of records, which the page exchanges as its filters move. Strokes and
text are ``currentColor``, so that one figure suits a bright and a dark page; colours are those of
Okabe and Ito, which the colour-blind tell apart, and shapes say the same once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import altair as alt
import vl_convert

from harness.contracts.method import Track
from harness.contracts.task import FRACTION, Scale
from harness.report import _records as records
from harness.report._board import Leaderboard
from harness.report._records import Record
from harness.report._words import of_metric

Format = Literal["svg", "png", "pdf"]
Source = Literal["lines", "contests", "ranks", "stability", "energies", "budgets"]

_WIDTH, _HEIGHT = 720, 400
_RIGHT = ("right", "top-right", "bottom-right")
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999")
_TRACKS = list(get_args(Track))
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross"]
_OFF_THE_FRONT = ("top-right", "bottom-right", "right", "left", "top", "bottom")
_INK = "currentColor"
_LETTER = 5.2  # pixels of width at 9 pixels of height, on the wide side


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure.

    Attributes:
        name: Of its file.
        title: What it shows.
        caption: How to read it.
        source: The table of records it reads.
        spec: In Vega, without data.
        needs: What a record must know to be drawn.
        longest: Whether a file of it shows the lines of the largest T alone.
        least: The width in pixels below which it is no longer read, and is scrolled.
    """

    name: str
    title: str
    caption: str
    source: Source
    spec: Mapping[str, Any]
    needs: tuple[str, ...]
    longest: bool = False
    least: int = 300


@cache
def figures(scale: Scale = FRACTION, /) -> tuple[Figure, ...]:
    """Return every figure there is, of scores that are such numbers."""
    up = _Upwards(scale)
    return (
        _trade_off(
            up, "energy", "energy estimate a sample (J, log scale)", "energy_pj", unit=1e-12
        ),
        _trade_off(
            up,
            "operations",
            "synaptic operations a sample (AC, MAC, products of spikes; log scale)",
            "synops",
        ),
        _trade_off(up, "latency", "latency of one sample (s, log scale)", "latency_ms", unit=1e-3),
        _over_timesteps(up),
        _anytime(up),
        _ranks(),
        _rates(),
        _simulators(),
        _gain_against_cost(),
        _budgets(),
        _energies(),
        _energy_models(),
    )


def tables(board: Leaderboard, /, *, energy_model: str | None = None) -> dict[Source, list[Record]]:
    """Return the records of every source, energies by ``energy_model`` or the usual one."""
    lines = records.lines(board, energy_model=energy_model)
    return {
        "lines": lines,
        "energies": records.energies(lines, records.energy_models(board)),
        "budgets": records.budgets(board),
        "contests": records.contests(board),
        "ranks": records.ranks(board),
        "stability": records.stability(board),
    }


def chosen(figure: Figure, found: Mapping[Source, Sequence[Record]], /) -> list[Record]:
    """Return the records that a file of ``figure`` shows.

    Simulators that agree are shown once, the suite's first budget alone unless the figure is about
    budgets, and of a table of several T the largest where the figure would be too full.

    Args:
        figure: One of ``figures()``.
        found: What ``tables`` returned.
    """
    rows = list(found[figure.source])
    if figure.source in ("lines", "energies"):
        rows = [one for one in rows if one["id"] == one["alike"]]
    if figure.source != "budgets":
        rows = [one for one in rows if one["budget"] == rows[0]["budget"]]
    if figure.source == "stability":
        first = min((one.get("simulator", "") for one in rows), default="")
        rows = [one for one in rows if one.get("simulator", "") == first]
    if figure.longest:
        longest = max((one["T"] for one in rows), default=0)
        rows = [one for one in rows if one["T"] == longest]
    return rows


def render(
    figure: Figure,
    rows: Sequence[Record],
    kind: Format,
    /,
    *,
    metric: str = "accuracy",
    scale: Scale = FRACTION,
) -> bytes:
    """Return a figure with its records as a file, on white."""
    spec = json.loads(of_metric(json.dumps(_filled(figure, rows)), metric, scale))
    if kind == "svg":
        return str(vl_convert.vega_to_svg(spec)).encode()
    if kind == "pdf":
        return bytes(vl_convert.vega_to_pdf(spec))
    return bytes(vl_convert.vega_to_png(spec, scale=2))


def _filled(figure: Figure, rows: Sequence[Record]) -> dict[str, Any]:
    """Return a figure in Vega with its records and its names in their places, on white."""
    spec = dict(figure.spec)
    spec["data"] = [
        {**one, "values": list(rows)} if one["name"] == figure.source else one
        for one in spec["data"]
    ]
    spec["legends"] = legends(figure, rows)
    spec["background"] = "white"
    spec["marks"] = [
        _placed(spec, one) if one.get("name") == "names" else one for one in spec["marks"]
    ]
    return spec


def legends(figure: Figure, rows: Iterable[Record], /) -> list[dict[str, Any]]:
    """Return a figure's legends in Vega: of tracks those alone that it draws, in their colours."""
    there = {one.get("track") for one in _drawn(figure, rows)}
    shown = [track for track in _TRACKS if track in there]
    return [
        {**one, "values": shown} if one.get("title") == "track" else one
        for one in figure.spec.get("legends", ())
    ]


def _placed(spec: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names where they overlap neither a point nor each other, the highest first.

    vl-convert has no canvas, without which Vega's label transform does not run.
    """
    centred = {key: part for key, part in names.items() if key != "transform"}
    at_points = {"x": {"field": "x"}, "y": {"field": "y"}}
    centred["encode"] = {"update": {**names["encode"]["update"], **at_points}}
    marks = [centred if one is names else one for one in spec["marks"]]
    scene = vl_convert.vega_to_scenegraph({**spec, "marks": marks})
    items = _items(scene["scenegraph"], "names")
    height = spec["height"]
    taken = [_Box(one["x"] - 4, one["y"] - 4, one["x"] + 4, one["y"] + 4) for one in items]
    placed = []
    for one in sorted(items, key=lambda item: (item["y"], item["x"])):
        for align, box in _places(one, names["transform"][0]["anchor"]):
            inside = box.left >= 0 and box.right <= _WIDTH and box.top >= 0 and box.bottom <= height
            if inside and not any(map(box.overlaps, taken)):
                taken.append(box)
                x = box.left if align == "left" else box.right
                placed.append({"x": x, "y": box.bottom - 2, "align": align, "text": one["text"]})
                break
    encode = {name: {"field": name} for name in ("x", "y", "align", "text")}
    plain = {name: names["encode"]["update"][name] for name in ("fontSize", "fill")}
    return {
        "type": "group",
        "name": "names",
        "data": [{"name": "placed", "values": placed}],
        "marks": [
            {"type": "text", "from": {"data": "placed"}, "encode": {"update": {**encode, **plain}}}
        ],
    }


class _Box(NamedTuple):
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        """Return whether they have a point in common."""
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)


def _places(item: Mapping[str, Any], sides: Iterable[str]) -> Iterable[tuple[str, _Box]]:
    """Yield how the text of an item may be aligned and where it may stand, by preference."""
    x, y, width, height = item["x"], item["y"], _LETTER * len(item["text"]), 10
    for side in sides:
        align = "right" if "left" in side else "left"
        middle = "right" not in side and "left" not in side
        left = x - width / 2 if middle else x + 5 if align == "left" else x - 5 - width
        below = 5 if side.startswith("bottom") else -5 - height if side.startswith("top") else -5
        yield align, _Box(left, y + below, left + width, y + below + height)


def _items(node: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the items of the mark of that name, wherever it is in a scene."""
    if node.get("name") == name:
        return list(node["items"])
    return [found for child in node.get("items", ()) for found in _items(child, name)]


def is_empty(figure: Figure, rows: Iterable[Record], /) -> bool:
    """Return whether no record has all that the figure draws."""
    return not any(_drawn(figure, rows))


def _drawn(figure: Figure, rows: Iterable[Record]) -> Iterator[Record]:
    """Yield the records that have all that the figure draws."""
    for one in rows:
        if all(one.get(name) not in (None, []) for name in figure.needs):
            yield one


@dataclass(frozen=True)
class _Upwards:
    """How scores are drawn so that what is better is higher: by what is missing of the best."""

    scale: Scale

    def error(self, field: str = "accuracy") -> str:
        """Return in Vega's words a number that is lower for what is better."""
        if not self.scale.higher_is_better:
            return f"datum.{field}"
        return f"{100 * self.is_fraction} - datum.{field}"

    def errors(self) -> dict[str, str]:
        """Return those of the mean and the ends of its interval, and what is said of a point."""
        ends = {f"error_{end}": self.error(f"accuracy_{end}") for end in ("low", "high")}
        return {"error": self.error(), **ends, "spoken": _spoken("datum.accuracy_text")}

    def axis(self, field: str = "error") -> alt.Y:
        """Return the axis of scores; of fractions, by the logarithm of 1 % and the error."""
        alike: dict[str, Any] = {"reverse": True, "nice": False, "zero": False, "padding": 8}
        told = self.error("value")
        if self.is_fraction:
            scale = alt.Scale(type="symlog", constant=1, **alike)
            axis = alt.Axis(values=alt.ExprRef(_TICKS), labelExpr=told, labelOverlap="greedy")
        else:
            scale, axis = alt.Scale(**alike), alt.Axis(labelExpr=f"format({told}, '~g')")
        axis.aria = False  # its numbers are errors, and every point says its own
        return alt.Y(f"{field}:Q", title="test accuracy (%)", scale=scale, axis=axis)

    def caption(self) -> str:
        """Return how points are read."""
        logarithm = (
            "; accuracy is drawn by the logarithm of a point plus the error, so that 99 and 98 % "
            "are about as far apart as 80 and 70"
        )
        return (
            "Points are means over seeds, bars their 95 % intervals (over test samples for one "
            f"seed){logarithm * self.is_fraction}. A ring marks your own. "
        )

    @property
    def is_fraction(self) -> bool:
        """Whether they are told in per cent."""
        return self.scale.is_fraction


_FRONT = (
    "The line is the Pareto front: nothing is both cheaper and more accurate, but for controls, "
    "entries with their authors' constants and, where cost is time, networks of spike times, which "
    "stand beside it. "
)


def _trade_off(up: _Upwards, name: str, title: str, field: str, *, unit: float = 1.0) -> Figure:
    """Return accuracy against a cost, ``unit`` times a field, with the Pareto front of both."""
    base = (
        alt.Chart(alt.NamedData("lines"))
        .transform_filter(f"isValid(datum.accuracy) && datum.{field} > 0")
        .transform_calculate(**up.errors(), price=f"datum.{field} * {unit}")
    )
    log = alt.Scale(type="log", nice=False, padding=24)
    x = alt.X("price:Q", title=title, scale=log, axis=_told("~s"))
    front = _front(base, "price", x, up, is_time=field == "latency_ms")
    bars = _intervals(base, x, up, opacity=0.35)
    price = alt.Tooltip("price:Q", title=title, format=".4~s")
    points = _points(base.properties(name="points"), x, up, price, size=55, opacity=0.9)
    yours = _yours(base, x, up.axis())
    return Figure(
        name=name,
        needs=("accuracy", field),
        title=f"Accuracy against {title.partition(' (')[0]}",
        caption=up.caption()
        + _FRONT
        + "Names stand where there is room; point at a mark for others.",
        source="lines",
        spec=_compiled(alt.layer(front, bars, points, yours), named="name", sides=_OFF_THE_FRONT),
    )


def _intervals(base: alt.Chart, x: alt.X, up: _Upwards, *, opacity: float) -> alt.Chart:
    """Return a bar over the interval of every mean."""
    bars: alt.Chart = base.mark_rule(opacity=opacity, aria=False).encode(
        x=x, y=up.axis("error_low"), y2="error_high", color=_colour()
    )
    return bars


def _points(base: alt.Chart, x: alt.X, up: _Upwards, *more: alt.Tooltip, **looks: Any) -> alt.Chart:
    """Return a point for every mean, which says its own and shows ``more`` beside it."""
    points: alt.Chart = base.mark_point(filled=True, **looks).encode(
        x=x,
        y=up.axis(),
        description="spoken:N",
        color=_colour(),
        shape=_shape(),
        tooltip=_tooltip(*more),
    )
    return points


def _front(base: alt.Chart, field: str, x: alt.X, up: _Upwards, *, is_time: bool) -> alt.Chart:
    """Return the line through all that nothing is both cheaper and more accurate than."""
    rated = "datum.rated && datum.track != 'continuous'" if is_time else "datum.rated"
    cheapest_first: list[alt.SortField | dict[str, str]] = [
        alt.SortField(field),
        alt.SortField("error"),
    ]
    # The best so far, and the best before: two windows, for Vega's minimum over none is NaN.
    front: alt.Chart = (
        base.transform_filter(rated)
        .transform_window(sort=cheapest_first, frame=[None, 0], best="min(error)")
        .transform_window(sort=cheapest_first, before="lag(best)")
        .transform_filter("!isValid(datum.before) || datum.best < datum.before")
        .mark_line(interpolate="step-after", color=_INK, opacity=0.6, strokeWidth=1, aria=False)
        .encode(x=x, y=up.axis())
    )
    return front


def _over_timesteps(up: _Upwards) -> Figure:
    base = (
        alt.Chart(alt.NamedData("lines"))
        .transform_filter("isValid(datum.accuracy)")
        .transform_calculate(**up.errors())
    )
    x = alt.X(
        "T:Q",
        title="timesteps T (log scale)",
        scale=alt.Scale(type="log", base=2, nice=False, padding=60),
        axis=alt.Axis(values=alt.ExprRef(_POWERS), format="d"),
    )
    detail = ["method:N", "simulator:N", "dataset:N", "model:N", "budget:N"]
    front = _front(base, "T", x, up, is_time=True)
    lines = base.mark_line(opacity=0.5, strokeWidth=1, aria=False).encode(
        x=x, y=up.axis(), color=_colour(), detail=detail
    )
    bars = _intervals(base, x, up, opacity=0.25)
    points = _points(base.properties(name="points"), x, up, size=40)
    return Figure(
        name="timesteps",
        needs=("accuracy",),
        title="Accuracy against timesteps",
        caption=up.caption() + _FRONT,
        source="lines",
        spec=_compiled(
            alt.layer(front, lines, bars, points), named="label", sides=("right", "left")
        ),
    )


def _anytime(up: _Upwards) -> Figure:
    base = (
        alt.Chart(alt.NamedData("lines"))
        .transform_flatten(["step", "step_accuracy"])
        .transform_filter("isValid(datum.step_accuracy)")
        .transform_calculate(
            error=up.error("step_accuracy"),
            spoken=_spoken("format(datum.step_accuracy, '.2f')", "' after step ' + datum.step"),
        )
    )
    x = alt.X(
        "step:Q",
        title="steps seen",
        axis=alt.Axis(values=alt.ExprRef(_WHOLE_STEPS), format="d"),
        scale=alt.Scale(padding=_ROOM, nice=False, zero=False),
    )
    lines = base.mark_line(opacity=0.6, strokeWidth=1, aria=False).encode(
        x=x, y=up.axis(), color=_colour(), detail=["id:N"]
    )
    seen = alt.Tooltip("step:Q", title="steps seen")
    then = alt.Tooltip("step_accuracy:Q", title="accuracy then (%)", format=".2f")
    points = _points(base, x, up, seen, then, size=30)
    ends = (
        base.transform_filter("datum.step == datum.T")
        .properties(name="points")
        .mark_point(opacity=0, aria=False)
        .encode(x=x, y=up.axis())
    )
    return Figure(
        name="anytime",
        needs=("step",),
        title="Accuracy after each step",
        caption="One pass, stopped after 1, 2, ... T steps; means over seeds."
        f"{' Accuracy is drawn by the logarithm of the error.' * up.is_fraction}",
        source="lines",
        spec=_compiled(alt.layer(lines, points, ends), named="label", sides=_RIGHT),
        longest=True,
    )


def _ranks() -> Figure:
    base = alt.Chart(alt.NamedData("ranks"))
    y = alt.Y("label:N", title=None, sort=alt.EncodingSortField("rank", op="mean"))
    x = alt.X("rank:Q", title="mean rank (1 is best)", scale=alt.Scale(domainMin=0))
    bars = base.mark_rule(strokeWidth=3, opacity=0.45, clip=True).encode(
        x=alt.X("rank_low:Q", title="mean rank (1 is best)", scale=alt.Scale(domainMin=0)),
        x2="rank_high",
        y=y,
        color=_colour(),
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x,
        y=y,
        color=_colour(),
        shape=_shape(),
        tooltip=[
            alt.Tooltip("method:N"),
            alt.Tooltip("rank:Q", title="mean rank", format=".2f"),
            alt.Tooltip("blocks:Q", title="blocks ranked"),
            alt.Tooltip("p:Q", title="p of Friedman's test", format=".2g"),
        ],
    )
    return Figure(
        name="ranks",
        needs=("rank",),
        title="Critical differences of mean ranks",
        caption="Ranks over data sets, students, T and seeds; a bar is one critical difference "
        "(Nemenyi, 5 %) long. Methods whose bars do not overlap differ significantly. Blocks that "
        "share a data set are draws of training alone: what differs, differs on these data. Of all "
        "tracks together; only methods of one colour were given alike.",
        source="ranks",
        spec=_compiled(alt.layer(bars, points).properties(height=alt.Step(15))),
    )


def _rates() -> Figure:
    chart = (
        alt.Chart(alt.NamedData("lines"))
        .transform_flatten(["layer", "layer_rate"])
        .transform_filter("isValid(datum.layer_rate)")
        .transform_window(place="row_number()", groupby=["id"])
        .mark_rect()
        .encode(
            x=alt.X("place:O", title="spiking layer, from the input", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("name:N", title=None, sort=alt.EncodingSortField("layer_rate", op="mean")),
            color=alt.Color(
                "layer_rate:Q",
                title="spikes a neuron and step",
                scale=alt.Scale(scheme="viridis"),
                legend=_LEGEND,
            ),
            tooltip=[
                alt.Tooltip("name:N", title="method"),
                alt.Tooltip("layer:N"),
                alt.Tooltip("layer_rate:Q", title="spikes a neuron and step", format=".3f"),
            ],
        )
        .properties(height=alt.Step(14))
    )
    return Figure(
        name="rates",
        needs=("layer",),
        title="Firing rates by layer",
        caption="Spikes a neuron and step, means over samples and seeds.",
        source="lines",
        spec=_compiled(chart),
        longest=True,
    )


def _simulators() -> Figure:
    base = alt.Chart(alt.NamedData("contests")).encode(
        y=alt.Y("label:N", title=None, sort=alt.EncodingSortField("difference", op="mean")),
        yOffset=alt.YOffset("T:O"),
        color=alt.Color("T:O", scale=alt.Scale(range=list(_COLOURS)), legend=_LEGEND),
    )
    title = "accuracy on the first simulator less that on the second (points)"
    bars = base.mark_rule(opacity=0.5, strokeWidth=2).encode(
        x=alt.X("difference_low:Q", title=title), x2="difference_high"
    )
    points = base.mark_point(filled=True, size=25, opacity=1).encode(
        x=alt.X("difference:Q", title=title),
        shape=alt.Shape("T:O", legend=None),
        tooltip=[
            alt.Tooltip("method:N"),
            alt.Tooltip("T:O"),
            alt.Tooltip("pair:N", title="simulators"),
            alt.Tooltip("difference:Q", title="difference (points)", format=".3f"),
        ],
    )
    return Figure(
        name="simulators",
        needs=("difference",),
        title="Agreement between simulators",
        caption="Trained on either, paired by seed; bars are 95 % intervals, never narrower than "
        "what rounding to a test sample hides. On the line: no difference.",
        source="contests",
        spec=_compiled(alt.layer(bars, points).properties(height=alt.Step(7))),
    )


def _gain_against_cost() -> Figure:
    base = alt.Chart(alt.NamedData("lines")).transform_filter(
        "isValid(datum.gain) && datum.cost > 0"
    )
    x = alt.X(
        "cost:Q",
        title="training time over the suite baseline's (log scale)",
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=_told("~g"),
    )
    scale = alt.Scale(type="symlog", constant=1)
    title = "gain over the track's baseline (points, symlog scale)"
    bars = base.mark_rule(opacity=0.35).encode(
        x=x,
        y=alt.Y("gain_low:Q", title=title, scale=scale),
        y2="gain_high",
        color=_colour(),
    )
    points = (
        base.properties(name="points")
        .mark_point(filled=True, size=55, opacity=0.9)
        .encode(
            x=x,
            y=alt.Y("gain:Q", title=title, scale=scale),
            color=_colour(),
            shape=_shape(),
            tooltip=_tooltip(
                alt.Tooltip("baseline:N"),
                alt.Tooltip("gain_text:N", title="gain (points)"),
                alt.Tooltip("cost:Q", title="training time, times the baseline's", format=".3~g"),
            ),
        )
    )
    yours = _yours(base, x, alt.Y("gain:Q", title=title, scale=scale))
    return Figure(
        name="gain_cost",
        needs=("gain", "cost"),
        title="Gain against cost",
        caption="Paired differences to the track's baseline with 95 % intervals, against training "
        "time on the same kind of machine over that of the suite's baseline.",
        source="lines",
        spec=_compiled(alt.layer(bars, points, yours), named="name"),
        longest=True,
    )


def _budgets() -> Figure:
    base = alt.Chart(alt.NamedData("budgets")).transform_filter("isValid(datum.rank_first)")
    scale = alt.Scale(zero=False, nice=False, padding=24, reverse=True)
    whole = alt.Axis(tickMinStep=1)
    small = "rank at the smallest budget (1 is best)"
    x = alt.X("rank_first:Q", title=small, scale=scale, axis=whole)
    large = "rank at the largest budget (1 is best)"
    y = alt.Y("rank_second:Q", title=large, scale=scale, axis=whole)
    alike = base.mark_line(color=_INK, opacity=0.4, strokeDash=[4, 4], strokeWidth=1).encode(
        x=x, y=alt.Y("rank_first:Q", title=large, scale=scale)
    )
    points = (
        base.properties(name="points")
        .mark_point(filled=True, size=55, opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=_colour(),
            shape=_shape(),
            tooltip=[
                alt.Tooltip("method:N"),
                alt.Tooltip("T:Q"),
                alt.Tooltip("first:N", title="smallest budget"),
                alt.Tooltip("rank_first:Q", title="rank there"),
                alt.Tooltip("second:N", title="largest budget"),
                alt.Tooltip("rank_second:Q", title="rank there"),
            ],
        )
    )
    told = (
        base.transform_aggregate(
            tau="mean(tau)", count="max(methods)", groupby=["model", "T", "first", "second"]
        )
        .transform_window(place="row_number()")
        .transform_calculate(
            told="datum.model + ', T = ' + datum.T + ', ' + datum.first + ' to ' + datum.second"
            " + ': tau ' + (isValid(datum.tau) ? format(datum.tau, '.2f') : 'unknown')"
            " + ' over ' + datum.count + ' methods'",
            down="4 + 12 * (datum.place - 1)",
        )
        .mark_text(align="left", baseline="top", fontSize=10, color=_INK)
        .encode(x=alt.value(4), y=alt.Y("down:Q", scale=None, title=large), text="told:N")
    )
    return Figure(
        name="budgets",
        needs=("rank_first", "rank_second"),
        title="Rank at one budget against rank at another",
        caption="Ranks of mean accuracy among the methods that have a number at both budgets. On "
        "the line: the same rank. Kendall's tau: 1 is the same order, 0 none, -1 reversed.",
        source="budgets",
        spec=_compiled(alt.layer(alike, points, told), named="label"),
        longest=True,
    )


def _energies() -> Figure:
    chart = (
        alt.Chart(alt.NamedData("energies"))
        .transform_filter("datum.energy > 0")
        .transform_calculate(log="log(datum.energy)")
        .transform_joinaggregate(middle="mean(log)", groupby=["energy_model", "T"])
        .transform_calculate(over="exp(datum.log - datum.middle)")
        .mark_rect()
        .encode(
            x=alt.X("energy_model:N", title=None, axis=_every(-60)),
            y=alt.Y("name:N", title=None, sort=alt.EncodingSortField("over", op="mean")),
            color=alt.Color(
                "over:Q",
                title="over the geometric mean",
                scale=alt.Scale(type="log", scheme="blueorange", domainMid=1),
                legend=_LEGEND,
            ),
            tooltip=[
                alt.Tooltip("name:N", title="method"),
                alt.Tooltip("energy_model:N", title="energy model"),
                alt.Tooltip("energy:Q", title="energy estimate a sample (pJ)", format=".4~g"),
                alt.Tooltip("over:Q", title="over the geometric mean", format=".3~g"),
            ],
        )
        .properties(height=alt.Step(14))
    )
    return Figure(
        name="energies",
        needs=("energy",),
        title="Energy models side by side",
        caption="A sample's energy estimate under every model, over the geometric mean of the "
        "methods shown: columns that are alike order the methods alike. How alike two are, is in "
        "the stability of the ranking.",
        source="energies",
        spec=_compiled(chart),
        longest=True,
        least=1000,
    )


def _energy_models() -> Figure:
    base = (
        alt.Chart(alt.NamedData("stability"))
        .transform_aggregate(tau="mean(tau)", groupby=["first", "second"])
        .encode(
            x=alt.X("first:N", title=None, axis=_every(-60)),
            y=alt.Y("second:N", title=None, sort="descending", axis=_every(0)),
        )
    )
    squares = base.mark_rect().encode(
        color=alt.Color(
            "tau:Q",
            title="Kendall's tau",
            scale=alt.Scale(scheme="blueorange", domain=[-1, 1], reverse=True),
            legend=_LEGEND,
        ),
        tooltip=[
            alt.Tooltip("first:N", title="energy model"),
            alt.Tooltip("second:N", title="and"),
            alt.Tooltip("tau:Q", title="Kendall's tau", format=".2f"),
        ],
    )
    # White on dark blue is read on either page, and nothing else is in the middle of the scale.
    text = base.mark_text(fontSize=8).encode(
        text=alt.Text("tau:Q", format=".2f"),
        color=alt.condition("abs(datum.tau) > 0.6", alt.value("white"), alt.value("black")),
    )
    chart = alt.layer(squares, text).properties(height=alt.Step(15))
    return Figure(
        name="energy_models",
        needs=("tau",),
        title="Energy models: stability of the ranking",
        caption="How alike two energy models order the methods: 1 alike, 0 unrelated, -1 reversed.",
        source="stability",
        spec=_compiled(chart),
        least=1000,
    )


def _yours(base: alt.Chart, x: alt.X, y: alt.Y) -> alt.Chart:
    """Return rings around one's own points."""
    mine = base.transform_filter("datum.whose == 'yours'")
    rings: alt.Chart = mine.mark_point(filled=False, size=190, color=_INK, opacity=1, aria=False)
    return rings.encode(x=x, y=y)


# Where scores lie close together, few of the last would be left.
_TICKS = (
    "span(domain('y')) < 5 ? sequence(0, 100, 0.5) : span(domain('y')) < 15 ? sequence(0, 100) : "
    f"{[0, 0.5, 1, 2, 3, 5, *range(10, 100, 5), 99]}"
)
# Where all have one T, every tick would stand in its place.
_POWERS = (
    f"domain('x')[0] < domain('x')[1] ? {[2**power for power in range(13)]} : [domain('x')[0]]"
)
_ROOM = 100  # for names, on both sides of the steps
# Whole numbers a power of two apart, at most 16 of them, and none in that room.
_BETWEEN = "pow(2, max(0, ceil(log(span(domain('x')) / 16) / LN2)))"
_LAST = f"domain('x')[1] - span(domain('x')) * {_ROOM} / {_WIDTH}"
_WHOLE_STEPS = f"sequence({_BETWEEN}, {_LAST} + 0.5, {_BETWEEN})"
_LEGEND = alt.Legend(orient="top", columns=3, symbolOpacity=1)


def _every(angle: int) -> alt.Axis:
    return alt.Axis(labelAngle=angle, labelLimit=240, labelOverlap=False)


def _told(form: str) -> alt.Axis:
    """Return a logarithmic axis all of whose labels may stand, as far as there is room.

    Given a format instead, Vega leaves out those that begin with a large digit: between 90 and
    91 all of them.
    """
    told = f"format(datum.value, '{form}')"
    return alt.Axis(labelExpr=told, labelOverlap="greedy", labelSeparation=6)


def _colour() -> alt.Color:
    return alt.Color(
        "track:N", scale=alt.Scale(domain=_TRACKS, range=list(_COLOURS[:5])), legend=_LEGEND
    )


def _shape() -> alt.Shape:
    return alt.Shape("track:N", scale=alt.Scale(domain=_TRACKS, range=_SHAPES), legend=_LEGEND)


def _spoken(value: str, *more: str) -> str:
    """Return in Vega's words what a screen reader says of a point."""
    whose = "datum.method + ', T = ' + datum.T + ', ' + datum.simulator"
    return " + ".join([whose, *more, "': accuracy (%) '", value])


def _tooltip(*more: alt.Tooltip) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("method:N"),
        alt.Tooltip("T:Q"),
        alt.Tooltip("simulator:N"),
        alt.Tooltip("accuracy_text:N", title="accuracy (%)"),
        *more,
    ]


def _compiled(
    chart: alt.LayerChart | alt.FacetChart | alt.Chart,
    *,
    named: str | None = None,
    sides: Sequence[str] = (*_RIGHT, "left", "top", "bottom"),
) -> dict[str, Any]:
    """Return a chart in Vega, with names at its ``points`` where they overlap nothing.

    Vega-Lite has no such labels; Vega's label transform leaves out what has no room.
    """
    sized = chart if named is None else chart.properties(height=_HEIGHT)
    spec = sized.properties(width=_WIDTH).configure(
        background="transparent",
        font="system-ui, sans-serif",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelColor=_INK,
            titleColor=_INK,
            domainColor=_INK,
            tickColor=_INK,
            gridOpacity=0.25,
            titleFontWeight="normal",
            labelOverlap=True,
        ),
        legend=alt.LegendConfig(labelColor=_INK, titleColor=_INK, titleFontWeight="normal"),
    )
    vega: dict[str, Any] = vl_convert.vegalite_to_vega(spec.to_json())
    if named is not None:
        vega["marks"].append(_names(named, sides))
    return vega


def _names(field: str, sides: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "text",
        "name": "names",
        "from": {"data": "points_marks"},
        "interactive": False,
        "encode": {
            "update": {
                "text": {"field": f"datum.{field}"},
                "fontSize": {"value": 9},
                "fill": {"value": _INK},
            }
        },
        "transform": [
            {
                "type": "label",
                "size": {"signal": "[width, height]"},
                "anchor": list(sides),
                "offset": [3],
                "padding": 60 if "top" not in sides else 0,
            }
        ],
    }
