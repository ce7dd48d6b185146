"""Folders of runs made by hand, whose rows their predictions bear out."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import fingerprint
from harness.contracts.cell import Cell
from harness.contracts.row import Metrics, Provenance, Row
from harness.engine import packed
from harness.engine.teachers import WEIGHTS, cell_of
from harness.evaluation.decisions import over_time
from harness.store import PREDICTIONS, Store
from tests.report.rows import TEACHER, cell

MODULES = {"harness.a": "11111111", "suites.b": "22222222"}
CODE = fingerprint.of_closure(MODULES)
SAMPLES = 20
TEACHERS_CELL = cell_of(TEACHER)


def decided(seed: int, steps: int, samples: int = SAMPLES) -> dict[str, NDArray[np.int64]]:
    """Return what a network might have decided: better from step to step, never perfect."""
    drawn = np.random.default_rng(seed)
    labels = np.arange(samples) % 10
    wrong = drawn.random((steps, samples)) < np.linspace(0.6, 0.2, steps)[:, None]
    others = (labels + drawn.integers(1, 10, (steps, samples))) % 10
    return {"predictions": np.where(wrong, others, labels), "labels": labels}


def metrics_of(arrays: Mapping[str, NDArray[Any]], **others: Any) -> Metrics:
    """Return what follows from decisions."""
    found = over_time(arrays["predictions"], arrays["labels"])
    low, high = found.accuracy[-1].interval
    return Metrics(
        score=found.accuracy[-1].value,
        score_low=low,
        score_high=high,
        n_test=found.accuracy[-1].samples,
        score_by_step=tuple(step.value for step in found.accuracy),
        score_by_step_low=tuple(step.interval.low for step in found.accuracy),
        score_by_step_high=tuple(step.interval.high for step in found.accuracy),
        score_area=found.area,
        mean_steps_to_decide=found.mean_settling_steps,
        mean_cutoff_steps=found.mean_cutoff_steps,
        **others,
    )


def kept(
    runs: Path, of: Cell, *, draw: int = 0, weights: bytes | None = None, ended: str = "2026-01-01"
) -> Row:
    """Put a row of ``of`` with all that speaks for it into ``runs``; return it."""
    store, arrays = Store(runs), decided(draw, of.timesteps)
    made = Provenance(
        train_fp=CODE,
        ended_at=ended,
        gpu="a GPU",
        weights_sha256=None if weights is None else hashlib.sha256(weights).hexdigest(),
    )
    row = Row(cell=of, status="ok", metrics=metrics_of(arrays), provenance=made)
    store.keep_code(CODE, MODULES)
    store.save(row)
    (store.folder(of) / PREDICTIONS).write_bytes(packed.to_npz(arrays))
    if weights is not None:
        (store.folder(of) / WEIGHTS).write_bytes(weights)
    return row


def failed(runs: Path, of: Cell, *, ended: str = "2026-01-01") -> Row:
    """Put a row without numbers into ``runs``; return it."""
    row = Row(cell=of, status="failed", error="no luck", provenance=Provenance(ended_at=ended))
    Store(runs).save(row)
    return row


def machine(runs: Path, *seeds: int, ended: str = "2026-01-01") -> Path:
    """Return ``runs`` with rows of these seeds and their teacher, as one machine made them."""
    for seed in seeds:
        kept(runs, cell("plain", seed=seed), draw=seed, weights=b"student %d" % seed, ended=ended)
    kept(runs, TEACHERS_CELL, draw=99, weights=b"teacher", ended=ended)
    return runs


def files(root: Path) -> dict[str, bytes]:
    """Return every file under ``root`` but locks, by its place."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def without_metrics(row: Row) -> Row:
    """Return the row as if its cell had failed."""
    return replace(row, status="failed", error="no luck", metrics=None, ledger=None, cell_id="")
