"""One flat record a line, which figures and the page read: per cent, picojoules, layers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from harness.contracts.ledger import Ledger
from harness.contracts.task import Scale
from harness.contracts.values import to_plain
from harness.report import _words as words
from harness.report._answers import PricedRow, usual_energy
from harness.report._board import Leaderboard, Line, Setting, is_reconstructed
from harness.report._budgets import pairs
from harness.statistics import Interval, Mean, rank_stability

Record = dict[str, Any]
# Of a provenance, what each cell has of its own; the rest is alike for most.
_OWN = ("weights_sha256", "log_path", "started_at", "ended_at")
_MEASURED = {
    "agreement": ("agreement", 100.0),
    "settling": ("mean_steps_to_decide", 1.0),
    "spikes": ("spikes_per_sample", 1.0),
    "rate": ("firing_rate", 1.0),
    "ac": ("acs_per_sample", 1.0),
    "mac": ("macs_per_sample", 1.0),
    "coverage": ("coverage", 1.0),
    "parameters": ("parameter_count", 1.0),
}
_TIMED = {
    "latency_ms": ("latency_ms_b1", 1.0),
    "train_s": ("train_seconds", 1.0),
    "memory_mb": ("peak_memory_bytes", 1e-6),
}


def energy_models(board: Leaderboard, /) -> list[str]:
    """Return the energy models with a total for any method, sorted."""
    return sorted(
        {name for setting in board.settings for line in setting.lines for name in line.energies}
    )


def further(board: Leaderboard, /) -> list[str]:
    """Return the names of the task's other metrics, of which lines have ``further_0`` and so on."""
    return list(dict.fromkeys(name for setting in board.settings for name in setting.further))


def lines(board: Leaderboard, /, *, energy_model: str | None = None) -> list[Record]:
    """Return a record a method, simulator and T, with arrays of its steps and layers.

    ``energies`` has one entry for each of ``energy_models``, ``energy_pj`` is that of
    ``energy_model`` or else the usual one; ``alike`` is shared by the simulators that say the
    same. None is unknown.
    """
    models = energy_models(board)
    usual = energy_model or usual_energy(models)
    other = further(board)
    found = []
    for setting in board.settings:
        rivals: dict[tuple[str, int], list[Line]] = {}
        for line in setting.lines:
            asked = rivals.setdefault((line.method, line.timesteps), [])
            asked.append(line)
            alike = next(one.cell_id for one in asked if one.evidence == line.evidence)
            others = [line.further.get(name) for name in other]
            found.append(
                _line(line, setting, models)
                | {
                    f"further_{place}": _scaled(mean.value, 100) if mean else None
                    for place, mean in enumerate(others)
                }
                | {"alike": alike, "energy_pj": _digits(line.energies.get(usual or ""))}
            )
    return found


def cells(board: Leaderboard, /) -> tuple[list[Record], list[Record]]:
    """Return a record a cell, and the provenances that they name by their place."""
    places: dict[str, int] = {}
    found = []
    for setting in board.settings:
        for line in setting.lines:
            found += [_cell(answer, line.cell_id, places) for answer in line.answers]
            found += [
                {"line": line.cell_id, "id": one.cell_id, "seed": one.seed, "status": one.status}
                | {"error": one.error, "log": one.log_path}
                for one in line.failures
            ]
    return found, [json.loads(text) for text in places]


def contests(board: Leaderboard, /) -> list[Record]:
    """Return a record a method, T and pair of simulators: their difference, in points or units."""
    tracks = {line.method: line.track for setting in board.settings for line in setting.lines}
    return [
        {
            "method": one.method,
            "label": _marked(one.method),
            "track": tracks.get(one.method.rpartition(", ")[0], tracks.get(one.method)),
            "T": one.timesteps,
            "pair": f"{one.first} - {one.second}",
            "dataset": setting.cell.dataset,
            "model": setting.cell.model,
            "budget": setting.cell.recipe_name,
            **_interval("difference", one.comparison.difference, one.scale),
        }
        for setting in board.settings
        for one in setting.contests
    ]


def ranks(board: Leaderboard, /) -> list[Record]:
    """Return a record a method: its mean rank and half a critical difference around it."""
    tracks = {line.method: line.track for setting in board.settings for line in setting.lines}
    return [
        {
            "method": method,
            "label": _marked(method),
            "track": tracks[method],
            "budget": budget,
            "rank": _digits(rank),
            "rank_low": _digits(rank - found.critical_difference / 2),
            "rank_high": _digits(rank + found.critical_difference / 2),
            "blocks": found.blocks,
            "p": _digits(found.p),
        }
        for budget, found in board.rankings.items()
        for method, rank in found.mean_ranks.items()
    ]


def stability(board: Leaderboard, /) -> list[Record]:
    """Return a record a pair of energy models: Kendall's tau of their orders.

    Where all simulators agree there is one for all of them, which names none.
    """
    return [
        {
            "T": steps,
            **({"simulator": backend} if shown is setting else {}),
            "dataset": setting.cell.dataset,
            "model": setting.cell.model,
            "budget": setting.cell.recipe_name,
            "first": first,
            "second": second,
            "tau": _digits(tau),
        }
        for setting in board.settings
        for shown in [setting.together]
        for (steps, backend), taus in shown.stability.items()
        for (first, second), tau in taus.items()
        if tau is not None
    ]


def energies(lines: Iterable[Record], models: Sequence[str], /) -> list[Record]:
    """Return a record a line and energy model that has an estimate for it.

    Args:
        lines: What ``lines`` returned.
        models: What ``energy_models`` did.
    """
    shared = ("id", "alike", "method", "label", "name", "track", "budget", "simulator", "T")
    return [
        {name: line[name] for name in shared} | {"energy_model": model, "energy": energy}
        for line in lines
        for model, energy in zip(models, line["energies"], strict=True)
        if energy
    ]


def budgets(board: Leaderboard, /) -> list[Record]:
    """Return a record a method and T: its rank at the smallest and at the largest budget.

    Of settings that ask two budgets the same question, over the methods that have a number at
    both; simulators are averaged before, and ties share the mean of their places.
    """
    found = []
    for first, second in pairs(board):
        here, there = _scores(first), _scores(second)
        for steps in sorted({key[0] for key in here.keys() & there.keys()}):
            methods = sorted(name for at, name in here.keys() & there.keys() if at == steps)
            small = [here[steps, name] for name in methods]
            large = [there[steps, name] for name in methods]
            tau = rank_stability({"a": small, "b": large}).get(("a", "b"))
            found += [
                {
                    "method": name,
                    "label": _marked(name),
                    "track": _track(first, name),
                    "T": steps,
                    "dataset": first.cell.dataset,
                    "model": first.cell.model,
                    "first": first.cell.recipe_name,
                    "second": second.cell.recipe_name,
                    "rank_first": rank,
                    "rank_second": other,
                    "methods": len(methods),
                    "tau": None if tau is None else _digits(tau),
                }
                for name, rank, other in zip(methods, _ranks(small), _ranks(large), strict=True)
                if len(methods) > 2
            ]
    return found


def _scores(setting: Setting) -> dict[tuple[int, str], float]:
    found: dict[tuple[int, str], list[float]] = {}
    for line in setting.lines:
        if line.accuracy is not None and not line.authors:
            found.setdefault((line.timesteps, line.method), []).append(line.merit)
    return {key: fmean(values) for key, values in found.items()}


def _ranks(scores: Sequence[float]) -> list[float]:
    """Return places, 1 for the highest; those who tie share the mean of theirs."""
    return [
        sum(other > score for other in scores) + (1 + scores.count(score)) / 2 for score in scores
    ]


def _track(setting: Setting, method: str) -> str:
    return next(line.track for line in setting.lines if line.method == method)


def _line(line: Line, setting: Setting, models: Sequence[str]) -> Record:
    cell = setting.cell
    gain = line.gain.difference if line.gain else None
    return {
        "id": line.cell_id,
        "method": line.method,
        "file": line.file,
        "label": _marked(line.method),
        "name": f"{_marked(line.method)}, T={line.timesteps}",
        "whose": line.whose,
        "trust": line.trust,
        "rated": line.is_rated,
        "track": line.track,
        "loss": line.loss,
        "simulator": line.backend,
        "T": line.timesteps,
        "dataset": cell.dataset,
        "model": cell.model,
        "budget": cell.recipe_name,
        "params": json.dumps(line.params, sort_keys=True),
        "outcome": line.outcome(),
        "state": _state(line),
        "accuracy_text": line.told,
        **_accuracy(line),
        "group": line.group,
        "best": _digits(line.best),
        "baseline": line.baseline,
        "gain_text": words.difference(line.gain, line.scale),
        **_interval("gain", gain, line.scale),
        "verdict": words.verdict(line.gain),
        "p_holm": _digits(line.gain_p_holm),
        "given": str(line.given) or None,
        "cost": _digits(line.cost),
        "energy_cost": _digits(line.energy_cost),
        "synops": _digits(line.operations()),
        **{name: _scaled(line.average(figure), by) for name, (figure, by) in _MEASURED.items()},
        **{name: _scaled(line.timing(figure), by) for name, (figure, by) in _TIMED.items()},
        **_online(line),
        "energies": [_digits(line.energies.get(model)) for model in models],
        **_steps(line),
        **_layers([answer.row.ledger for answer in line.answers]),
    }


def _online(line: Line) -> Record:
    """Return what a frame costs, where videos are shown frame by frame."""
    if not line.is_online:
        return {}
    return {
        "frame_operations": _digits(line.average("operations_a_frame")),
        "frame_ms": _digits(line.timing("latency_ms_frame")),
    }


def _marked(label: str) -> str:
    """Return a method as figures name it, marked if its loss is reconstructed."""
    return f"{label}{' †' * is_reconstructed(label)}"


def _state(line: Line) -> str:
    if not line.answers:
        return "without a number"
    return "complete" if len(line.answers) == len(line.asked) else "some missing"


def _accuracy(line: Line) -> Record:
    """Return the mean with the interval over seeds, or over test samples for a single seed."""
    mean, interval = line.accuracy, line.interval
    if mean is None or interval is None:
        return dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high"))
    # An interval over seeds knows no bounds, and a figure must not show more than all.
    scale = line.scale
    most = math.inf if scale.most is None else scale.most
    bounded = Interval(max(scale.least, interval.low), min(most, interval.high))
    return {
        "accuracy": _scaled(mean.value, scale.factor),
        "accuracy_low": _scaled(bounded.low, scale.factor),
        "accuracy_high": _scaled(bounded.high, scale.factor),
    }


def _steps(line: Line) -> Record:
    """Return the accuracies after each step, as arrays; empty for a single step."""
    means = line.by_step if line.timesteps > 1 else ()
    return {
        "step": list(range(1, len(means) + 1)),
        "step_accuracy": [_scaled(mean.value, line.scale.factor) for mean in means],
    }


def _layers(ledgers: Sequence[Ledger | None]) -> Record:
    """Return what each layer did for a sample, as arrays: means over seeds."""
    known = [ledger for ledger in ledgers if ledger is not None]
    if not known or len(known) < len(ledgers):
        return {"layer": [], "layer_kind": [], "layer_rate": [], "layer_ac": [], "layer_mac": []}
    names = [name for name, one in known[0].layers.items() if not one.folded]
    return {
        "layer": names,
        "layer_kind": [known[0].layers[name].kind for name in names],
        "layer_rate": [_rate(known, name) for name in names],
        **{f"layer_{category}": _counts(known, names, category) for category in ("ac", "mac")},
    }


def _rate(ledgers: Sequence[Ledger], name: str) -> float | None:
    found = [ledger.layers[name] for ledger in ledgers if name in ledger.layers]
    if not all(layer.neurons for layer in found) or "spikes" in ledgers[0].not_counted:
        return None
    return _digits(fmean(layer.rate() for layer in found))


def _counts(ledgers: Sequence[Ledger], names: Iterable[str], category: str) -> list[float | None]:
    if any(category in ledger.not_counted for ledger in ledgers):
        return [None for _ in names]
    per_sample = [
        [ledger.layers[name].sums().get(category, 0) / ledger.samples for name in names]
        for ledger in ledgers
        if all(name in ledger.layers for name in names)
    ]
    return [_digits(fmean(values)) for values in zip(*per_sample, strict=True)]


def _cell(answer: PricedRow, line: str, places: dict[str, int]) -> Record:
    row, metrics = answer.row, answer.metrics
    made = {name: part for name, part in to_plain(row.provenance).items() if part not in (None, [])}
    own = {name: made.pop(name, None) for name in _OWN}
    text = json.dumps(made, sort_keys=True)
    return {
        "line": line,
        "id": row.cell_id,
        "seed": row.cell.seed,
        "status": row.status,
        "accuracy": _scaled(metrics.score, metrics.scale.factor),
        "low": _scaled(metrics.score_low, metrics.scale.factor),
        "high": _scaled(metrics.score_high, metrics.scale.factor),
        "weights": (own["weights_sha256"] or "")[:16],
        "log": own["log_path"],
        "started": own["started_at"],
        "made": places.setdefault(text, len(places)),
    }


def _interval(name: str, mean: Mean | None, scale: Scale) -> Record:
    if mean is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    low, high = mean.interval or (None, None)
    return {
        name: _scaled(mean.value, scale.factor),
        f"{name}_low": _scaled(low, scale.factor),
        f"{name}_high": _scaled(high, scale.factor),
    }


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else _digits(by * value)


def _digits(value: float | None) -> float | None:
    """Return five digits, which is more than any of these is known to, and short to write."""
    return None if value is None else float(f"{value:.5g}")
