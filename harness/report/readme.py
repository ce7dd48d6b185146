"""The parts of the README that follow from published results and suites.

``python -m harness.report.readme``, from the project's root, writes them anew between their
marks, ``<!-- board -->`` and ``<!-- /board -->``. Everything is read from
``results/digits/leaderboard.json`` and the suites, so that it takes a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from harness import discovery
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite
from harness.report import _words as words
from harness.report._answers import USUAL_ENERGY
from harness.report._budgets import Order
from harness.report._budgets import told as order_told
from harness.report._labels import is_control
from harness.report._words import Column, table
from harness.results import RESULTS
from harness.statistics import Interval, Mean
from harness.store import read_json, write_text

README = Path("README.md")
_BEST = 3  # methods of a track
_GIVEN = {
    "scratch": "from scratch",
    "inherited": "from the teacher's weights",
    "conversion": "conversion",
    "self": "from itself",
    "continuous": "spike times",
}
_Line = Mapping[str, Any]


def refreshed(text: str, root: Path, /) -> str:
    """Return a README with its generated parts made anew from ``root``.

    Raises:
        SpecError: If a part has no marks in it.
        StoreError: If the digits' leaderboard is not there or damaged.
    """
    for name, part in (("board", board(root)), ("budgets", budgets(root))):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise SpecError(f"no {begin} ... {end} in the README; put it there")
        text = f"{before}{begin}\n\n{part}\n\n{end}{after}"
    return text


def board(root: Path, /) -> str:
    """Return the digits' board in short: of each track the best, the baseline, the controls."""
    found = _leaderboard(root, "digits")
    lines = [line for line in found["settings"][0]["lines"] if not line["authors"]]
    suite = _suite("digits")
    baseline = suite.baseline
    simulators = sorted({line["backend"] for line in lines})
    by_method: dict[str, dict[int, _Line]] = {}
    for line in (line for line in lines if line["backend"] == simulators[0]):
        by_method.setdefault(line["method"], {})[line["timesteps"]] = line
    chosen = _chosen(by_method, baseline)
    last = max(line["timesteps"] for line in lines)
    steps = sorted({line["timesteps"] for line in lines})

    def at(step: int) -> Callable[[str], str]:
        return lambda name: _accuracy(by_method[name].get(step))

    columns = [
        Column("method", words.text, left=True),
        Column[str]("given", lambda name: _given(name, by_method[name]), left=True),
        *(Column(f"T = {step}", at(step)) for step in steps),
        Column[str](
            f"over {baseline}, T = {last}", lambda name: _over(by_method, name, baseline, last)
        ),
        Column[str](f"energy, T = {last}", lambda name: _energy(by_method[name].get(last))),
    ]
    seeds = sorted({seed for line in lines for seed in line["seeds_asked"]})
    told = (
        f"{len(by_method)} methods on {' and '.join(simulators)} at T = "
        f"{', '.join(map(str, steps))} with {len(seeds)} seeds, {_rows(root, 'digits')} rows in "
        "all. Test accuracy in per cent, mean ± half of the 95 % t interval over seeds, "
        f"on {simulators[0]}: of each kind the best {_BEST} at their best T, the baseline "
        f"`{baseline}` and the controls. *Given* is what the student starts from: only methods of "
        "one kind compare. The verdict is the paired t test's over seeds alone; beside better and "
        "worse stands its p, adjusted by Holm for all methods of the kind. "
        f"Energy is an estimate of a sample's by `{USUAL_ENERGY}` (docs/energy.md)."
    )
    remarks = [f"- `{name}`: {text}" for name, text in suite.remarks.items() if name in chosen]
    orders = [_order(one) for one in found["orders_over_budgets"]]
    return "\n\n".join([told, table(chosen, columns), "\n".join(remarks), " ".join(orders)])


def _order(told: Mapping[str, Any]) -> str:
    """Return what is told of an order of methods over two budgets."""
    interval = told["interval"] and Interval(*told["interval"])
    rest = {name: part for name, part in told.items() if name != "holds"}
    return order_told(Order(**{**rest, "interval": interval}))


def budgets(root: Path, /) -> str:
    """Return a line a suite: what it trains, how long, and what its rows can tell."""
    columns = (
        Column[str]("suite", lambda name: f"`{name}`", left=True),
        Column[str]("student", lambda name: ", ".join(_suite(name).models), left=True),
        Column[str]("budget", lambda name: _budget(_suite(name)), left=True),
        Column[str]("T", lambda name: ", ".join(map(str, _suite(name).timesteps)), left=True),
        Column[str]("seeds", lambda name: str(len(_suite(name).seeds))),
        Column[str]("published rows", lambda name: str(_rows(root, name) or "none")),
        Column[str](
            "what it can tell", lambda name: _worth(_suite(name), _rows(root, name)), left=True
        ),
    )
    return table(discovery.names("suites"), columns)


def _leaderboard(root: Path, suite: str) -> Mapping[str, Any]:
    path = root / RESULTS / suite / "leaderboard.json"
    found = read_json(path)
    if found is None:
        raise StoreError(f"there is no {path}; `python -m harness publish {suite}` writes it")
    return found


def _suite(name: str) -> Suite:
    return cast(Suite, discovery.load("suites", name))


def _rows(root: Path, suite: str) -> int:
    """Return how many rows are published of ``suite``, teachers not counted."""
    files = (root / RESULTS / suite).glob("*.jsonl")
    others = {"teachers.jsonl", "tuning.jsonl"}
    return sum(len(file.read_bytes().splitlines()) for file in files if file.name not in others)


def _chosen(by_method: Mapping[str, Mapping[int, _Line]], baseline: str) -> list[str]:
    ordered = sorted(by_method, key=lambda name: (-_best(by_method[name]), name))
    competing = [name for name in ordered if not is_control(name)]
    of_track = {
        track: [name for name in competing if _track(by_method[name]) == track][:_BEST]
        for track in _GIVEN
    }
    shown = {baseline, *(name for names in of_track.values() for name in names)}
    return [name for name in ordered if name in shown or is_control(name)]


def _track(lines: Mapping[int, _Line]) -> str:
    return str(next(iter(lines.values()))["track"])


def _given(method: str, lines: Mapping[int, _Line]) -> str:
    return "control" if is_control(method) else _GIVEN[_track(lines)]


def _best(lines: Mapping[int, _Line]) -> float:
    """Return the highest mean of any T; below all where there is no number."""
    means = [_mean(line["score"]) for line in lines.values()]
    return max((mean.value for mean in means if mean), default=-1.0)


def _mean(told: Mapping[str, Any] | None) -> Mean | None:
    if told is None:
        return None
    low, high = told["low"], told["high"]
    interval = None if low is None else Interval(low, high)
    return Mean(value=told["mean"], deviation=told["deviation"], interval=interval, n=told["n"])


def _accuracy(line: _Line | None) -> str:
    return words.UNKNOWN if line is None else words.accuracy(_mean(line["score"]), 0.0)


def _over(by_method: Mapping[str, Mapping[int, _Line]], name: str, baseline: str, step: int) -> str:
    """Return the gain over the suite's baseline, with its verdict, where that is the track's."""
    line = by_method[name].get(step)
    if line is None or line["gain"] is None or line["baseline"] != baseline:
        return words.UNKNOWN
    gain = line["gain"]
    half = 100 * (gain["high"] - gain["low"]) / 2
    places = words.decimals(half)
    verdict = gain["verdict"]
    if verdict in ("better", "worse"):
        verdict = f"{verdict}, p {words.figure(line['gain_p_holm'])}"
    return f"{100 * gain['mean']:+.{places}f} ± {half:.{places}f}, {verdict}"


def _energy(line: _Line | None) -> str:
    return words.UNKNOWN if line is None else words.energy(line["energy_pj"].get(USUAL_ENERGY))


def _budget(suite: Suite) -> str:
    return "; ".join(f"`{name}`: {_spent(one)}" for name, one in suite.recipes.items())


def _spent(recipe: Recipe) -> str:
    if recipe.epochs == 0:
        return "nothing is trained"
    many = "epoch" if recipe.epochs == 1 else "epochs"
    of = f" of {recipe.train_samples:,} samples" if recipe.train_samples else ""
    return f"{recipe.epochs} {many}{of}"


def _worth(suite: Suite, rows: int) -> str:
    """Return in a sentence what the rows of ``suite`` are good for."""
    if not rows:
        return "Nothing yet: nobody has published a row."
    if suite.caution:
        return f"{suite.caution.partition('. ')[0].rstrip('.')}."
    if suite.literature is None:
        return "No figure of the literature is known for this student and budget."
    known = suite.literature
    return f"`{suite.baseline}` should reach {100 * known.accuracy:.1f} % at T = {known.timesteps}."


def main() -> None:
    """Write the README's generated parts anew, in the working folder."""
    write_text(README, refreshed(README.read_text(encoding="utf-8"), Path()))


if __name__ == "__main__":
    main()
