"""Rows made by hand, for tables whose every number is known."""

from typing import Any

from harness.contracts.record import Cell, Metrics, Provenance, Row, Status
from harness.statistics import wilson_interval

N_TEST = 400


def cell(method: str, *, backend: str = "alpha", timesteps: int = 2, seed: int = 0) -> Cell:
    return Cell(
        suite="toy",
        protocol=1,
        method=method,
        params={"weight": 0.9},
        dataset="squares",
        split="fixed-1",
        model="tiny",
        teacher={"dataset": "squares", "model": "big", "seed": 0},
        backend=backend,
        timesteps=timesteps,
        seed=seed,
        recipe={"name": "default", "epochs": 3, "batch_size": 32, "optimiser": "adam"},
        neuron={"kind": "lif", "tau": 2.0, "surrogate": {"name": "atan", "alpha": 2.0}},
        precision="float32",
    )


def right(method: str, correct: int, *, energy: float | None = None, **where: Any) -> Row:
    """Return the row of a cell that got ``correct`` of 400 samples right."""
    low, high = wilson_interval(correct, N_TEST)
    asked = cell(method, **where)
    accuracy = correct / N_TEST
    prices = {"horowitz_45nm_fp32:cached": energy, "other:book": 100.0, "none:book": None}
    return Row(
        cell=asked,
        status="ok",
        metrics=Metrics(
            test_accuracy=accuracy,
            accuracy_low=low,
            accuracy_high=high,
            n_test=N_TEST,
            teacher_accuracy=0.99,
            agreement=0.9,
            accuracy_by_step=tuple([accuracy / 2] * (asked.timesteps - 1) + [accuracy]),
            spikes_per_sample=1234.0,
            acs_per_sample=50_000.0,
            macs_per_sample=12_000.0,
            dense_macs=100_000,
            cross_backend={"gamma": {"test_accuracy": accuracy, "differing": asked.seed}},
            energy_pj=prices if energy is not None else {},
            energy_assumptions=("no memory",) if energy is not None else (),
            latency_ms_b1=1.5,
            train_seconds=2.0,
        ),
        provenance=Provenance(
            backend_version="1.0",
            device="cpu",
            cpu="a processor",
            torch="2.13.0",
            data_notes=("one file differs",),
        ),
    )


def wrong(method: str, status: Status, error: str, **where: Any) -> Row:
    return Row(
        cell=cell(method, **where),
        status=status,
        error=error,
        provenance=Provenance(log_path="toy/log.txt", cpu="a processor"),
    )


def board_rows() -> list[Row]:
    """Return three methods on two simulators, with a failure of each kind."""
    rows = []
    for backend, worse in (("alpha", 0), ("beta", 2)):
        for seed in range(3):
            where = {"backend": backend, "seed": seed}
            rows.append(right("direct", 360 + seed - worse, energy=500.0, **where))
            gain = 12 + (seed == 1)
            rows.append(right("better", 360 + seed + gain - worse, energy=400.0, **where))
            noise = (3, -2, 0)[seed]
            rows.append(right("noisy", 360 + seed + noise - worse, energy=600.0, **where))
    rows[2] = wrong("noisy", "diverged", "loss is nan | after 3 steps", backend="alpha", seed=0)
    rows.append(wrong("broken", "timeout", "over 60 s", backend="alpha", seed=0))
    return rows
