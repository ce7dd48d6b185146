"""Rows made by hand, for tables whose every number is known."""

from typing import Any

from harness.contracts.cell import TEACHERS, Cell, TeacherIdentity
from harness.contracts.ledger import Ledger
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.row import EarlyExit, Elsewhere, Metrics, Provenance, Row, Status
from harness.contracts.suite import Suite, TeacherSpec
from harness.statistics import wilson_interval

N_TEST = 400
BUDGET = Recipe(epochs=3, batch_size=32, optimiser="adam")
TEACHER = TeacherIdentity(dataset="squares", model="tiny", recipe=BUDGET, seed=0, split="fixed-1")
SUITE = Suite(
    title="Squares",
    protocol=1,
    dataset="squares",
    models=("tiny",),
    teacher=TeacherSpec(model="tiny", recipe=BUDGET),
    recipes={"default": BUDGET},
    timesteps=(2,),
    seeds=(0, 1, 2),
)
PROCESSOR = {"processor": "a CPU", "instructions": "avx512f avx2"}


def cell(method: str, *, backend: str = "alpha", timesteps: int = 2, seed: int = 0) -> Cell:
    return Cell(
        suite="toy",
        protocol=1,
        method=method,
        params={"weight": 0.9},
        dataset="squares",
        split="fixed-1",
        model="tiny",
        teacher=TEACHER,
        backend=backend,
        timesteps=timesteps,
        seed=seed,
        recipe_name="default",
        recipe=BUDGET,
        neuron=NeuronSpec(),
    )


def spiking(spikes: int, *, timesteps: int = 2) -> Ledger:
    """Return 10 inputs, 5 neurons and 4 outputs, the first layer run once.

    A sample: 10 products by weights that are not zero, and 4 accumulates a spike. The
    artificial network multiplies 10 + 5 * 4 = 30 times. Under ``horowitz_45nm_fp32:cached``
    that is 10 * 4.6 + 3.6 * spikes pJ, against 30 * 4.6 = 138.
    """

    def at_once(count: int) -> list[int]:
        return [N_TEST * count] + [0] * (timesteps - 1)

    layers = {
        "first": {
            "kind": "linear",
            "operand": "analog",
            "steps": 1,
            "counts": {"mac": [N_TEST * 10], "dense_valid": [N_TEST * 10]},
        },
        "neurons": {
            "kind": "neuron",
            "operand": "binary",
            "steps": timesteps,
            "neurons": 5,
            "counts": {"spikes": at_once(spikes)},
        },
        "last": {
            "kind": "linear",
            "operand": "binary",
            "steps": timesteps,
            "counts": {"ac": at_once(4 * spikes), "dense_valid": [N_TEST * 20] * timesteps},
        },
    }
    return Ledger.from_plain({"samples": N_TEST, "steps": timesteps, "layers": layers})


def right(method: str, correct: int, *, spikes: int | None = None, **where: Any) -> Row:
    """Return the row of a cell that got ``correct`` of 400 samples right."""
    low, high = wilson_interval(correct, N_TEST)
    asked = cell(method, **where)
    accuracy = correct / N_TEST
    return Row(
        cell=asked,
        status="ok",
        metrics=Metrics(
            score=accuracy,
            score_low=low,
            score_high=high,
            n_test=N_TEST,
            teacher_score=0.99,
            agreement=0.9,
            score_by_step=tuple([accuracy / 2] * (asked.timesteps - 1) + [accuracy]),
            cross_backend={"gamma": Elsewhere(score=accuracy, differing=asked.seed)},
            latency_ms_b1=1.5,
            train_seconds=2.0,
        ),
        ledger=None if spikes is None else spiking(spikes, timesteps=asked.timesteps),
        provenance=Provenance(
            backend_version="1.0",
            device="cpu",
            processor=PROCESSOR,
            versions={"torch": "2.13.0"},
            data_notes=("one file differs",),
        ),
    )


def exiting(row: Row, *, correct: int, steps: int, spent: dict[str, dict[str, int]]) -> Row:
    """Return ``row`` with what one rule brings at half a point."""
    point = EarlyExit(threshold=0.9, correct=correct, samples=N_TEST, steps=steps, spent=spent)
    return with_metrics(row, early_exit={"margin": {"0.5": point}})


def with_metrics(row: Row, **changes: Any) -> Row:
    return Row(**{**vars_of(row), "metrics": Metrics(**{**vars_of(row.metrics), **changes})})


def with_cell(row: Row, **changes: Any) -> Row:
    asked = Cell(**{**vars_of(row.cell), **changes})
    return Row(**{**vars_of(row), "cell": asked, "cell_id": ""})


def with_provenance(row: Row, **changes: Any) -> Row:
    made = Provenance(**{**vars_of(row.provenance), **changes})
    return Row(**{**vars_of(row), "provenance": made})


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}


def teacher() -> Row:
    """Return the teacher's row: of 20 products in its last layer 8 are with zero."""
    layers = {
        name: {
            "kind": "linear",
            "operand": "analog",
            "steps": 1,
            "counts": {"mac": [N_TEST * macs], "dense_valid": [N_TEST * dense]},
        }
        for name, macs, dense in (("first", 10, 10), ("last", 12, 20))
    }
    asked = Cell(
        **{
            **vars_of(cell("direct")),
            **dict.fromkeys(("teacher", "backend", "neuron")),
            "suite": TEACHERS,
            "params": {},
            "timesteps": 1,
            "recipe_name": "teacher",
        }
    )
    return Row(
        cell=asked,
        status="ok",
        metrics=right("direct", 396, timesteps=1).metrics,
        ledger=Ledger.from_plain({"samples": N_TEST, "steps": 1, "layers": layers}),
    )


def wrong(method: str, status: Status, error: str, **where: Any) -> Row:
    return Row(
        cell=cell(method, **where),
        status=status,
        error=error,
        provenance=Provenance(log_path="toy/log.txt", processor=PROCESSOR),
    )


def board_rows() -> list[Row]:
    """Return three methods on two simulators, with a failure of each kind."""
    rows = []
    for backend, worse in (("alpha", 0), ("beta", 2)):
        for seed in range(3):
            where = {"backend": backend, "seed": seed}
            rows.append(right("direct", 360 + seed - worse, spikes=5, **where))
            gain = 12 + (seed == 1)
            rows.append(right("better", 360 + seed + gain - worse, spikes=4, **where))
            noise = (3, -2, 0)[seed]
            rows.append(right("noisy", 360 + seed + noise - worse, spikes=6, **where))
    rows[2] = wrong("noisy", "diverged", "loss is nan | after 3 steps", backend="alpha", seed=0)
    rows.append(wrong("broken", "timeout", "over 60 s", backend="alpha", seed=0))
    return rows
