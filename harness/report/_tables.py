"""The leaderboard for programs: every digit, one line or object a group."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from harness.report._groups import Contest, Group, Leaderboard, Setting
from harness.statistics import Comparison, Interval, Mean

SCHEMA_VERSION = 1

_AVERAGED = (
    "teacher_accuracy",
    "ann_accuracy",
    "agreement",
    "mean_steps_to_decide",
    "parameter_count",
    "spikes_per_sample",
    "firing_rate",
    "macs_per_sample",
    "acs_per_sample",
    "dense_macs",
    "coverage",
    "train_samples",
)
_TIMED = (
    "latency_ms_b1",
    "latency_ms_b1_iqr",
    "throughput_sps",
    "train_seconds",
    "peak_memory_bytes",
)
_MEAN = ("mean", "deviation", "low", "high", "n")
_COMPARISON = (*_MEAN, "verdict", "provisional", "p_t", "p_sign_flip")


def to_json(board: Leaderboard, /, *, command: str) -> str:
    """Return everything that the tables rest on; the same rows give the same bytes."""
    whole = {
        "schema_version": SCHEMA_VERSION,
        "baseline": board.baseline,
        "command": command,
        "settings": [_setting(setting) for setting in board.settings],
        "failures": [vars(failure) for failure in board.failures],
    }
    return json.dumps(whole, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def to_csv(board: Leaderboard, /) -> str:
    """Return one line a group, all digits; empty is unknown."""
    lines = [
        {**_identity(setting), **_line(group)}
        for setting in board.settings
        for group in setting.groups
    ]
    columns = dict.fromkeys(name for line in lines for name in line)
    text = StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _setting(setting: Setting) -> dict[str, Any]:
    return {
        "shared": _shared(setting),
        "groups": [_group(group) for group in setting.groups],
        "simulators": [_contest(contest) for contest in setting.contests],
        "transfers": [vars(transfer) for transfer in setting.transfers],
        "energy_rank_stability": [
            {"timesteps": timesteps, "backend": backend, "models": list(pair), "kendall_tau": tau}
            for (timesteps, backend), taus in setting.stability.items()
            for pair, tau in taus.items()
            if tau is not None
        ],
        "data_notes": sorted({n for row in setting.rows for n in row.provenance.data_notes}),
    }


def _shared(setting: Setting) -> dict[str, Any]:
    cell = setting.cell
    return {
        "suite": cell.suite,
        "protocol": cell.protocol,
        "dataset": cell.dataset,
        "split": cell.split,
        "model": cell.model,
        "teacher": cell.teacher,
        "recipe": cell.recipe,
        "neuron": cell.neuron,
        "precision": cell.precision,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "method": group.method,
        "params": group.params,
        "backend": group.backend,
        "timesteps": group.timesteps,
        "seeds_tried": list(group.tried),
        "outcome": group.outcome(),
        "rank": group.rank,
        "test_accuracy": _mean(group.accuracy),
        "single_seeds": [_seed(group, index) for index in range(len(group.rows))],
        "accuracy_by_step": [_mean(step) for step in group.by_step],
        "gain": _comparison(group.gain),
        "gain_p_holm": group.gain_p_holm,
        **_measured(group),
        "energy_pj": _mapping(group, "energy_pj"),
        "energy_ratio_ann": _mapping(group, "energy_ratio_ann"),
    }


def _seed(group: Group, index: int) -> dict[str, Any]:
    row, metrics = group.rows[index], group.metrics[index]
    return {
        "seed": row.cell.seed,
        "cell_id": row.cell.cell_id,
        "test_accuracy": metrics.test_accuracy,
        "wilson": _interval(group.wilson()[index]),
        "n_test": metrics.n_test,
    }


def _identity(setting: Setting) -> dict[str, Any]:
    shared = _shared(setting)
    names = ("suite", "protocol", "dataset", "split", "model", "precision")
    teacher = setting.cell.teacher or {}
    return {name: shared[name] for name in names} | {
        "recipe": setting.cell.recipe.get("name"),
        "teacher": teacher.get("model"),
    }


def _line(group: Group) -> dict[str, Any]:
    """Return a group as flat columns, the same for every group."""
    versions = sorted({row.provenance.backend_version or "" for row in group.rows})
    return {
        "backend": group.backend,
        "backend_version": " ".join(versions),
        "timesteps": group.timesteps,
        "method": group.method,
        "params": json.dumps(group.params, sort_keys=True),
        "rank": group.rank,
        "seeds_tried": len(group.tried),
        "outcome": group.outcome(),
        **_flat("test_accuracy", _mean(group.accuracy), _MEAN),
        "test_accuracy_by_seed": _joined(
            f"{seed}:{value!r}" for seed, value in group.by_seed().items()
        ),
        "wilson_low": min((interval.low for interval in group.wilson()), default=None),
        "wilson_high": max((interval.high for interval in group.wilson()), default=None),
        **_flat("gain", _comparison(group.gain), _COMPARISON),
        "gain_p_holm": group.gain_p_holm,
        "accuracy_by_step": _joined(f"{mean.value!r}" for mean in group.by_step),
        **_measured(group),
        **{f"energy_pj {name}": pj for name, pj in _mapping(group, "energy_pj").items()},
        **{f"energy_ratio_ann {n}": r for n, r in _mapping(group, "energy_ratio_ann").items()},
    }


def _measured(group: Group) -> dict[str, float | None]:
    averaged = {name: group.average(name) for name in _AVERAGED}
    return averaged | {name: group.timing(name) for name in _TIMED}


def _mapping(group: Group, column: str) -> dict[str, float | None]:
    names = sorted({name for metrics in group.metrics for name in getattr(metrics, column)})
    return {name: group.average_of(column, name) for name in names}


def _contest(contest: Contest) -> dict[str, Any]:
    rest = {name: value for name, value in vars(contest).items() if name != "comparison"}
    return rest | {"difference": _comparison(contest.comparison)}


def _comparison(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        **(_mean(found.difference) or {}),
        "verdict": found.verdict,
        "provisional": found.provisional,
        "p_t": found.p_t,
        "p_sign_flip": found.p_sign_flip,
    }


def _flat(prefix: str, values: Mapping[str, Any] | None, names: Iterable[str]) -> dict[str, Any]:
    return {f"{prefix}_{name}": (values or {}).get(name) for name in names}


def _mean(mean: Mean | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    low, high = mean.interval or (None, None)
    return {
        "mean": mean.value,
        "deviation": mean.deviation,
        "low": low,
        "high": high,
        "n": mean.n,
    }


def _interval(interval: Interval) -> Mapping[str, float]:
    return {"low": interval.low, "high": interval.high}


def _joined(texts: Iterable[str]) -> str:
    return " ".join(texts)
