"""Laws of the record: what a cell is called, and that no row can lie about its outcome."""

import hashlib
import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.errors import SpecError
from harness.contracts.record import Cell, Metrics, Provenance, Row, Status

CELL = Cell(
    suite="toy",
    protocol=1,
    method="plain",
    params={"weight": 0.9, "taps": ("a", "b")},
    dataset="squares",
    split="fixed-1",
    model="tiny",
    teacher=None,
    backend="oracle",
    timesteps=2,
    seed=0,
    recipe={"name": "default", "epochs": 3},
    neuron={"kind": "lif", "tau": 2.0},
    precision="float32",
)
METRICS = Metrics(test_accuracy=0.9, accuracy_low=0.8, accuracy_high=0.95, n_test=100)
ROW = Row(cell=CELL, status="ok", metrics=METRICS)

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def test_identity_is_the_canonical_json_written_out_by_hand() -> None:
    assert CELL.identity() == (
        '{"backend":"oracle","dataset":"squares","method":"plain","model":"tiny",'
        '"neuron":{"kind":"lif","tau":2.0},"params":{"taps":["a","b"],"weight":0.9},'
        '"precision":"float32","protocol":1,"recipe":{"epochs":3,"name":"default"},"seed":0,'
        '"split":"fixed-1","suite":"toy","teacher":null,"timesteps":2}'
    )


def test_cell_id_is_the_start_of_the_sha256_of_the_identity() -> None:
    digest = hashlib.sha256(CELL.identity().encode()).hexdigest()
    assert CELL.cell_id == digest[:16]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("suite", "toys"),
        ("protocol", 2),
        ("method", "other"),
        ("params", {"weight": 0.8, "taps": ("a", "b")}),
        ("dataset", "circles"),
        ("split", "fixed-2"),
        ("model", "small"),
        ("teacher", {"model": "big"}),
        ("backend", "another"),
        ("timesteps", 3),
        ("seed", 1),
        ("recipe", {"name": "default", "epochs": 4}),
        ("neuron", {"kind": "lif", "tau": 2.5}),
        ("precision", "bfloat16"),
    ],
)
def test_every_part_of_a_question_changes_its_name(name: str, other: Any) -> None:
    changes: dict[str, Any] = {name: other}
    assert replace(CELL, **changes).cell_id != CELL.cell_id


@given(params=st.dictionaries(st.text(max_size=5), plain, max_size=4))
@settings(max_examples=50, deadline=None)
def test_order_of_keys_and_a_trip_through_json_keep_the_name(params: dict[str, Any]) -> None:
    cell = replace(CELL, params=params)
    backwards = replace(CELL, params=dict(reversed(params.items())))
    assert backwards.cell_id == cell.cell_id
    assert Cell(**json.loads(cell.identity())) == cell


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_cell_refuses_numbers_that_are_none(bad: float) -> None:
    with pytest.raises(SpecError, match=r"Cell\.params\.deep\[1\] must be finite"):
        replace(CELL, params={"deep": [0.0, bad]})


def test_a_cell_refuses_what_json_would_bend() -> None:
    with pytest.raises(SpecError, match="keys must be strings"):
        replace(CELL, params={1: "one"})  # type: ignore[dict-item]  # the mistake under test
    with pytest.raises(SpecError, match="plain JSON value, got set"):
        replace(CELL, params={"a": {1}})
    with pytest.raises(SpecError, match="timesteps must be at least 1, got 0"):
        replace(CELL, timesteps=0)


def test_a_cell_does_not_change_when_its_makers_mapping_does() -> None:
    params = {"taps": ["a"]}
    cell = replace(CELL, params=params)
    before = cell.cell_id
    params["taps"].append("b")
    assert cell.cell_id == before


@pytest.mark.parametrize("status", ["failed", "timeout", "oom", "diverged", "skipped"])
def test_a_run_without_a_number_has_a_reason_and_no_number(status: Status) -> None:
    row = Row(cell=CELL, status=status, error="out of luck")
    assert row.columns()["test_accuracy"] is None
    assert row.columns()["energy_pj"] is None
    with pytest.raises(SpecError, match="needs an error"):
        Row(cell=CELL, status=status)
    with pytest.raises(SpecError, match="has no metrics"):
        Row(cell=CELL, status=status, error="out of luck", metrics=METRICS)
    lie = json.dumps(json.loads(row.to_json()) | {"test_accuracy": 0.0})
    with pytest.raises(SpecError, match="not 'ok' and yet has test_accuracy"):
        Row.from_json(lie)


def test_an_ok_row_has_numbers_and_no_reason() -> None:
    with pytest.raises(SpecError, match="needs metrics"):
        Row(cell=CELL, status="ok")
    with pytest.raises(SpecError, match="has no error"):
        Row(cell=CELL, status="ok", metrics=METRICS, error="fine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_accuracy": math.nan}, "Metrics.test_accuracy must be finite"),
        ({"test_accuracy": None}, "needs a finite test_accuracy"),
        ({"test_accuracy": 90.0, "accuracy_high": 95.0}, "accuracies are fractions"),
        ({"accuracy_low": 0.91}, "an interval holds its estimate"),
        ({"n_test": 0}, "n_test must be at least 1"),
        ({"energy_pj": {"a": math.inf}}, r"Metrics\.energy_pj\.a must be finite"),
        ({"accuracy_by_step": (0.5, math.nan)}, r"accuracy_by_step\[1\] must be finite"),
    ],
)
def test_metrics_refuse_what_is_no_measurement(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(METRICS, **changes)


def test_a_row_survives_its_file_byte_for_byte() -> None:
    metrics = replace(
        METRICS,
        accuracy_by_step=(0.7, 0.9),
        layers={"spikes_by_layer": {"conv": 1.5}},
        energy_pj={"book": 1.25, "other": None},
        energy_assumptions=("no memory",),
    )
    provenance = Provenance(device="cpu", data_notes=("one file differs",), git_dirty=False)
    row = Row(cell=CELL, status="ok", metrics=metrics, provenance=provenance)
    line = row.to_json()
    assert "\n" not in line
    assert Row.from_json(line) == row
    assert Row.from_json(line).to_json() == line


def test_unknown_is_null_and_never_zero() -> None:
    columns = json.loads(ROW.to_json())
    assert columns["teacher_accuracy"] is None
    assert columns["peak_memory_bytes"] is None
    assert 0 not in [value for name, value in columns.items() if name != "seed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version 2, this harness reads 1; read it with"),
        ({"cell_id": "0" * 16}, "it was edited: run its cell again"),
        ({"seed": 7}, "it was edited: run its cell again"),
        ({"colour": "red"}, "unknown columns colour; it was written by a newer harness"),
        ({"status": "splendid"}, "status must be one of"),
    ],
)
def test_a_row_that_is_not_ours_is_refused_with_a_remedy(
    change: dict[str, Any], message: str
) -> None:
    columns = json.loads(ROW.to_json()) | change
    if "status" in change:
        columns["test_accuracy"] = None
        columns = {k: v for k, v in columns.items() if k not in vars(METRICS)}
    with pytest.raises(SpecError, match=message):
        Row.from_columns(columns)


def test_a_line_that_is_no_row_is_refused() -> None:
    with pytest.raises(SpecError, match="row is no JSON"):
        Row.from_json("{half")
    with pytest.raises(SpecError, match="no JSON object"):
        Row.from_json("[1]")
    columns = json.loads(ROW.to_json())
    del columns["method"]
    with pytest.raises(SpecError, match="row lacks method"):
        Row.from_columns(columns)


def test_the_record_needs_nothing_but_the_standard_library() -> None:
    script = (
        "import sys, harness.contracts.record;"
        "print([m for m in ('torch', 'pandas', 'scipy', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
