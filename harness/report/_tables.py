"""The leaderboard for programs: every digit, one line or object a method, simulator and T."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from harness.contracts.task import FRACTION
from harness.contracts.values import identifying, to_plain
from harness.report import claims
from harness.report._answers import COUNTED, PricedRow
from harness.report._board import Contest, Leaderboard, Line, Setting, recipe_of
from harness.report._budgets import orders
from harness.statistics import Comparison, Mean, Share

SCHEMA_VERSION = 5

_AVERAGED = (
    "teacher_score",
    "ann_score",
    "agreement",
    "mean_steps_to_decide",
    "parameter_count",
    "train_samples",
)
_TIMED = (
    "latency_ms_b1",
    "latency_ms_b1_iqr",
    "throughput_sps",
    "train_seconds",
    "peak_memory_bytes",
)
# Of videos that are shown frame by frame alone.
_ONLINE = ("operations_a_frame", "operations_a_window")
_ONLINE_TIMED = ("latency_ms_frame", "latency_ms_frame_iqr")
_MEAN = ("mean", "deviation", "low", "high", "n")
_COMPARISON = (*_MEAN, "verdict", "provisional", "p_t")


def to_json(board: Leaderboard, /, *, command: str) -> str:
    """Return everything that the tables rest on; the same rows give the same bytes."""
    whole = {
        "schema_version": SCHEMA_VERSION,
        "baseline": board.suite.baseline,
        "command": command,
        "settings": [_setting(setting) for setting in board.settings],
        "orders_over_budgets": [vars(order) | {"holds": order.holds} for order in orders(board)],
        "claims": [claims.to_plain(one) for one in claims.of_board(board)],
        "failures": [vars(failure) for failure in board.failures],
    }
    return f"{_laid_out(whole, depth=4)}\n"


def to_csv(board: Leaderboard, /) -> str:
    """Return one line a method, simulator and T, all digits; empty is unknown."""
    lines = [
        {**_identity(setting), **_flat_line(line)}
        for setting in board.settings
        for line in setting.lines
    ]
    columns = dict.fromkeys(name for line in lines for name in line)
    text = StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _laid_out(part: Any, *, depth: int) -> str:
    """Return JSON with an entry a line, ``depth`` levels down: a line of a table on one."""
    if depth and isinstance(part, dict):
        items = (f"{json.dumps(k)}: {_laid_out(part[k], depth=depth - 1)}" for k in sorted(part))
        return "{\n" + ",\n".join(items) + "\n}"
    if depth and isinstance(part, list):
        return "[\n" + ",\n".join(_laid_out(item, depth=depth - 1) for item in part) + "\n]"
    return _encoded(part)


_encoded = json.JSONEncoder(sort_keys=True, allow_nan=False, ensure_ascii=False).encode


def _setting(setting: Setting) -> dict[str, Any]:
    return {
        "shared": _shared(setting),
        "lines": [_line(line) for line in setting.lines],
        "simulators": [_contest(contest) for contest in setting.contests],
        "transfers": [vars(transfer) for transfer in setting.transfers],
        "energy_rank_stability": [
            {"timesteps": timesteps, "backend": backend, "models": list(pair), "kendall_tau": tau}
            for (timesteps, backend), taus in setting.stability.items()
            for pair, tau in taus.items()
            if tau is not None
        ],
        "rounding_share": setting.rounding and _share(setting.rounding),
        "data_notes": sorted({n for a in setting.answers for n in a.row.provenance.data_notes}),
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    counted = {"runs": share.runs, "provisional": share.provisional}
    return {"value": share.value, "low": low, "high": high, **counted}


def _shared(setting: Setting) -> dict[str, Any]:
    cell = setting.cell
    return {
        "suite": cell.suite,
        "protocol": cell.protocol,
        "dataset": cell.dataset,
        "split": cell.split,
        "model": cell.model,
        "teacher": cell.teacher and cell.teacher.identity(),
        "recipe": {"name": cell.recipe_name, **recipe_of(cell)},
        "neuron": cell.neuron and identifying(cell.neuron),
        "encoder": cell.encoder,
        **({} if setting.scale == FRACTION else {"scale": to_plain(setting.scale)}),
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "method": line.method,
        "params": line.params,
        "learning_rate": line.learning_rate,
        "mine": line.mine,
        "trust": line.trust,
        "authors": line.authors,
        "track": line.track,
        "loss": line.loss,
        "baseline": line.baseline,
        "backend": line.backend,
        "timesteps": line.timesteps,
        "seeds_asked": list(line.asked),
        "outcome": line.outcome(),
        "group": line.group,
        "score": _mean(line.accuracy),
        **(
            {"further": {name: _mean(mean) for name, mean in line.further.items()}}
            if line.further
            else {}
        ),
        "single_seeds": [_seed(answer) for answer in line.answers],
        "score_by_step": [_mean(step) for step in line.by_step],
        "gain": _comparison(line.gain),
        "gain_p_holm": line.gain_p_holm,
        "probability_of_best": line.best,
        "training_over_baseline": line.cost,
        "energy_over_baseline": line.energy_cost,
        "given": {name: part for name, part in vars(line.given).items() if part != ""},
        **_measured(line),
        "energy_pj": line.energies,
        "energy_over_artificial": line.ratios,
    }


def _seed(answer: PricedRow) -> dict[str, Any]:
    metrics = answer.metrics
    return {
        "seed": answer.row.cell.seed,
        "cell_id": answer.row.cell_id,
        "score": metrics.score,
        "interval": {"low": metrics.score_low, "high": metrics.score_high},
        "n_test": metrics.n_test,
    }


def _identity(setting: Setting) -> dict[str, Any]:
    cell = setting.cell
    names = ("suite", "protocol", "dataset", "split", "model", "encoder")
    return {name: getattr(cell, name) for name in names} | {
        "precision": cell.recipe.precision,
        "recipe": cell.recipe_name,
        "teacher": cell.teacher and cell.teacher.model,
        "metric": setting.metric,
        "unit": setting.scale.unit,
    }


def _flat_line(line: Line) -> dict[str, Any]:
    """Return a line as flat columns; those of energies are where there is an estimate."""
    versions = sorted({answer.row.provenance.backend_version or "" for answer in line.answers})
    widest = line.widest_interval
    return {
        "backend": line.backend,
        "backend_version": " ".join(versions),
        "timesteps": line.timesteps,
        "method": line.method,
        "params": json.dumps(line.params, sort_keys=True),
        "learning_rate": line.learning_rate,
        "mine": line.mine,
        "trust": line.trust,
        "authors": line.authors,
        "track": line.track,
        "loss": line.loss,
        "baseline": line.baseline,
        "group": line.group,
        "seeds_asked": len(line.asked),
        "outcome": line.outcome(),
        **_flat("score", _mean(line.accuracy), _MEAN),
        **_each_further(line),
        "score_by_seed": " ".join(f"{seed}:{value!r}" for seed, value in line.by_seed().items()),
        "widest_interval_low": widest.low if widest else None,
        "widest_interval_high": widest.high if widest else None,
        **_flat("gain", _comparison(line.gain), _COMPARISON),
        "gain_p_holm": line.gain_p_holm,
        "probability_of_best": line.best,
        "training_over_baseline": line.cost,
        "energy_over_baseline": line.energy_cost,
        "given": str(line.given),
        "score_by_step": " ".join(f"{mean.value!r}" for mean in line.by_step),
        **_measured(line),
        **{f"energy_pj {model}": pj for model, pj in line.energies.items()},
        **{
            f"energy_over_{baseline} {model}": ratio
            for baseline, ratios in line.ratios.items()
            for model, ratio in ratios.items()
        },
    }


def _each_further(line: Line) -> dict[str, Any]:
    found = [_flat(name, _mean(mean), _MEAN) for name, mean in line.further.items()]
    return {column: value for columns in found for column, value in columns.items()}


def _measured(line: Line) -> dict[str, float | None]:
    averaged = {name: line.average(name) for name in (*_AVERAGED, *COUNTED)}
    company = [answer.row.provenance.cells_on_device for answer in line.answers]
    most = max((cells for cells in company if cells is not None), default=None)
    told: dict[str, float | None] = {} if most is None else {"cells_on_device": most}
    if line.is_online:
        averaged |= {name: line.average(name) for name in _ONLINE}
        told |= {name: line.timing(name) for name in _ONLINE_TIMED}
    return averaged | {name: line.timing(name) for name in _TIMED} | told


def _contest(contest: Contest) -> dict[str, Any]:
    rest = {
        name: value for name, value in vars(contest).items() if name not in ("comparison", "scale")
    }
    return rest | {"difference": _comparison(contest.comparison)}


def _comparison(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        **(_mean(found.difference) or {}),
        "verdict": found.verdict,
        "provisional": found.provisional,
        "p_t": found.p_t,
    }


def _flat(prefix: str, values: Mapping[str, Any] | None, names: Iterable[str]) -> dict[str, Any]:
    return {f"{prefix}_{name}": (values or {}).get(name) for name in names}


def _mean(mean: Mean | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    known = (mean.value, mean.deviation, *(mean.interval or (None, None)), mean.n)
    return dict(zip(_MEAN, known, strict=True))
