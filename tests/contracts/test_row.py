"""Laws of the record: what a cell is called, and that no row can lie about its outcome."""

import hashlib
import json
import lzma
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.cell import Cell, TeacherIdentity
from harness.contracts.errors import SpecError
from harness.contracts.ledger import Ledger
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.row import EarlyExit, Elsewhere, Metrics, Provenance, Row, Status
from harness.contracts.task import Scale
from harness.contracts.unlabelled import UnlabelledText
from harness.contracts.values import to_plain
from harness.energy import panel

CELL = Cell(
    suite="toy",
    protocol=1,
    method="plain",
    params={"weight": 0.9, "taps": ["a", "b"]},
    dataset="squares",
    split="fixed-1",
    model="tiny",
    teacher=None,
    backend="oracle",
    timesteps=2,
    seed=0,
    recipe_name="default",
    recipe=Recipe(epochs=3, batch_size=8),
    neuron=NeuronSpec(),
)
METRICS = Metrics(score=0.9, score_low=0.8, score_high=0.95, n_test=100)
ROW = Row(cell=CELL, status="ok", metrics=METRICS)
OLD = Path(__file__).parents[1] / "data" / "schema_1.jsonl.xz"
RESULTS = Path(__file__).parents[2] / "results"

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def test_identity_is_the_canonical_json_written_out_by_hand() -> None:
    assert CELL.identity() == (
        '{"backend":"oracle","dataset":"squares","method":"plain","model":"tiny",'
        '"neuron":{"detach_reset":true,"kind":"lif","reset":"zero","scale_input":true,'
        '"surrogate":{"alpha":2.0,"name":"atan"},"tau":2.0,"v_threshold":1.0},'
        '"params":{"taps":["a","b"],"weight":0.9},"precision":"float32","protocol":1,'
        '"recipe":{"augmentation":[],"batch_size":8,"compiled":false,"epochs":3,'
        '"learning_rate":0.1,"name":"default","optimiser":"sgd","precision":"float32",'
        '"train_samples":null,"warmup":0.0,"weight_decay":0.0005},"seed":0,'
        '"split":"fixed-1","suite":"toy","teacher":null,"timesteps":2}'
    )


@given(
    params=st.dictionaries(st.text(max_size=5), plain, max_size=3),
    seed=st.integers(0, 10**9),
    encoder=st.none() | st.text(max_size=5),
    text=st.none() | st.builds(UnlabelledText, datasets=st.just(("circles", "squares"))),
    judged=st.sampled_from(["test", "validation"]),
    words=st.text(max_size=5),
)
@settings(max_examples=50, deadline=None)
def test_identity_is_canonical_json_whatever_a_cell_holds(
    params: dict[str, Any],
    seed: int,
    encoder: str | None,
    text: UnlabelledText | None,
    judged: Any,
    words: str,
) -> None:
    teacher = TeacherIdentity(dataset="squares", model=words, weights_sha256="ab")
    cell = replace(
        CELL, params=params, seed=seed, encoder=encoder, judged=judged, method=words, suite=words
    )
    cell = replace(cell, unlabelled=text)
    for one in (cell, replace(cell, teacher=teacher), replace(cell, backend=None, neuron=None)):
        told = json.loads(one.identity())
        assert json.dumps(told, sort_keys=True, separators=(",", ":")) == one.identity()
        assert (told["params"], told["seed"], told["method"]) == (one.params, seed, words)
        assert told.get("encoder") == encoder
        assert told.get("unlabelled") == (text and to_plain(text))
        assert told.get("judged", "test") == judged
        assert "judged" not in told or judged != "test"
        assert told["teacher"] == (one.teacher and one.teacher.identity())
        assert told["backend"] == one.backend


def test_cell_id_is_the_start_of_the_sha256_of_the_identity() -> None:
    assert CELL.cell_id == hashlib.sha256(CELL.identity().encode()).hexdigest()[:16]


@pytest.mark.parametrize("seed", [0, 1, 10**9])
def test_a_cell_at_another_seed_is_the_one_that_is_made_with_it(seed: int) -> None:
    assert CELL.cell_id, "what is remembered of one seed must not be told of another"
    (found, other), made = CELL.at_seeds([seed, 3]), replace(CELL, seed=seed)
    assert (found, found.identity(), found.cell_id) == (made, made.identity(), made.cell_id)
    (again,) = found.at_seeds([3])
    assert again.cell_id == other.cell_id == replace(CELL, seed=3).cell_id
    assert replace(found, timesteps=9).cell_id == replace(made, timesteps=9).cell_id
    assert CELL.cell_id == replace(CELL).cell_id


@pytest.mark.parametrize("other", [{"timesteps": 9}, {"backend": "other"}, {"params": {"seed": 3}}])
def test_cells_share_what_is_around_their_seed_if_they_differ_in_it_alone(
    other: dict[str, Any],
) -> None:
    assert replace(CELL, seed=3).around_seed == CELL.around_seed
    assert replace(CELL, **other).around_seed != CELL.around_seed


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", None])
def test_a_cell_is_at_no_seed_that_is_none(seed: Any) -> None:
    with pytest.raises(SpecError, match=r"Cell\.seed"):
        list(CELL.at_seeds([0, seed]))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("suite", "toys"),
        ("protocol", 2),
        ("method", "other"),
        ("params", {"weight": 0.8, "taps": ["a", "b"]}),
        ("dataset", "circles"),
        ("split", "fixed-2"),
        ("model", "small"),
        ("teacher", TeacherIdentity(dataset="squares", model="big", weights_sha256="ab")),
        ("backend", "another"),
        ("timesteps", 3),
        ("seed", 1),
        ("recipe_name", "other"),
        ("recipe", replace(CELL.recipe, precision="bfloat16")),
        ("neuron", NeuronSpec(tau=2.5)),
        ("encoder", "poisson"),
    ],
)
def test_every_part_of_a_question_changes_its_name(name: str, other: Any) -> None:
    assert replace(CELL, **{name: other}).cell_id != CELL.cell_id


@given(params=st.dictionaries(st.text(max_size=5), plain, max_size=4))
@settings(max_examples=50, deadline=None)
def test_order_of_keys_and_a_trip_through_json_keep_the_name(params: dict[str, Any]) -> None:
    cell = replace(CELL, params=params)
    backwards = replace(CELL, params=dict(reversed(params.items())))
    assert backwards.cell_id == cell.cell_id
    assert Row.from_json(replace(ROW, cell=cell, cell_id="").to_json()).cell == cell


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": {"deep": [0.0, math.inf]}}, r"Cell\.params\.deep.*finite"),
        ({"params": {1: "one"}}, r"Cell\.params.*valid string"),
        ({"params": {"a": {1}}}, r"Cell\.params\.a"),
        ({"timesteps": 0}, "timesteps must be at least 1, got 0"),
        ({"timesteps": True}, r"Cell\.timesteps.*valid integer, got true"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"backend": None}, "a simulator and a neuron or neither"),
        ({"neuron": {"tau": 2.0}}, r"Cell\.neuron.*instance of NeuronSpec"),
    ],
)
def test_a_cell_refuses_what_it_cannot_mean(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(CELL, **changes)


def test_a_value_refuses_a_field_it_has_not() -> None:
    with pytest.raises(SpecError, match=r"Recipe\.colour: unexpected keyword argument, got"):
        Recipe(epochs=1, batch_size=1, colour="red")  # type: ignore[call-arg]  # the mistake under test


def test_a_cell_does_not_change_when_its_makers_mapping_does() -> None:
    taps = ["a"]
    cell = replace(CELL, params={"taps": taps})
    before = cell.identity()
    taps.append("b")
    assert cell.identity() == before


def test_a_teacher_is_trained_or_imported_and_never_both() -> None:
    with pytest.raises(SpecError, match=r"trained network .* or of an imported"):
        TeacherIdentity(dataset="squares", model="big")
    with pytest.raises(SpecError, match=r"trained network .* or of an imported"):
        TeacherIdentity(
            dataset="squares",
            model="big",
            recipe=CELL.recipe,
            seed=0,
            split="fixed-1",
            weights_sha256="ab",
        )


@pytest.mark.parametrize("status", ["failed", "timeout", "oom", "diverged", "skipped"])
def test_a_run_without_a_number_has_a_reason_and_no_number(status: Status) -> None:
    row = Row(cell=CELL, status=status, error="out of luck")
    assert "metrics" not in json.loads(row.to_json())
    with pytest.raises(SpecError, match="needs an error"):
        Row(cell=CELL, status=status)
    with pytest.raises(SpecError, match="has no metrics"):
        Row(cell=CELL, status=status, error="out of luck", metrics=METRICS)


def test_an_ok_row_has_numbers_and_no_reason() -> None:
    with pytest.raises(SpecError, match="needs metrics"):
        Row(cell=CELL, status="ok")
    with pytest.raises(SpecError, match="has no error"):
        Row(cell=CELL, status="ok", metrics=METRICS, error="fine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": math.nan}, r"Metrics\.score.*finite"),
        ({"score": None}, r"Metrics\.score.*valid number"),
        ({"score": 90.0}, r"Metrics\.score must lie in 0 to 1, as accuracy does; got 90\.0"),
        ({"score_low": 0.91}, "an interval holds its estimate"),
        ({"n_test": 0}, r"Metrics\.n_test.*or equal to 1, got 0"),
        ({"agreement": 7.0}, r"Metrics\.agreement.*or equal to 1, got 7\.0"),
        ({"score_by_step": (0.5, math.nan)}, r"score_by_step\.1.*finite"),
        ({"score_by_step": (1.2, 0.9)}, r"score_by_step must lie in 0 to 1.* got 1\.2"),
        ({"score_by_step": (0.5, 0.8)}, r"score_by_step must end with score 0\.9"),
        ({"train_seconds": -1.0}, r"Metrics\.train_seconds.*or equal to 0, got -1"),
        ({"silent_samples": -1}, r"Metrics\.silent_samples.*or equal to 0, got -1"),
    ],
)
def test_metrics_refuse_what_is_no_measurement(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(METRICS, **changes)


def test_parts_of_metrics_refuse_what_is_no_measurement() -> None:
    with pytest.raises(SpecError, match=r"correct must be at most its 10 samples, got 11"):
        EarlyExit(threshold=0.5, correct=11, samples=10, steps=12)
    with pytest.raises(SpecError, match=r"cross_backend\.norse\.score must lie in 0 to 1.* got 7"):
        replace(METRICS, cross_backend={"norse": Elsewhere(score=7.0, differing=0)})


PIXELS = Scale(unit="px", higher_is_better=False, most=None)
APART = {"metric": "distance", "scale": PIXELS, "score_by_step": None, "score_low": 3.0}


def test_a_metric_of_another_scale_has_its_bounds_and_survives_its_file() -> None:
    far = replace(METRICS, **APART, score=3.5, score_high=4.0, teacher_score=120.0)
    row = replace(ROW, metrics=far)
    assert Row.from_json(row.to_json()) == row
    assert json.loads(row.to_json())["metrics"]["scale"] == {
        "unit": "px",
        "higher_is_better": False,
        "least": 0.0,
        "most": None,
    }
    assert "scale" not in json.loads(ROW.to_json())["metrics"]
    with pytest.raises(SpecError, match=r"teacher_score must lie in 0 to infinity, as distance"):
        replace(far, teacher_score=-0.1)
    with pytest.raises(SpecError, match="accuracy is a fraction; give a metric of another scale"):
        replace(far, metric="accuracy")


def test_a_scale_refuses_bounds_and_units_that_tables_would_tell_wrong() -> None:
    with pytest.raises(SpecError, match=r"a metric in % is a fraction.* from 0.0 to 100.0"):
        Scale(most=100.0)
    with pytest.raises(SpecError, match=r"least < most, got 2.0 and 1.0"):
        Scale(unit="px", least=2.0)
    with pytest.raises(SpecError, match=r"Scale\.unit"):
        Scale(unit="<b>px</b>", most=None)


def test_a_rows_metrics_are_of_its_steps_and_its_ledgers_samples() -> None:
    with pytest.raises(SpecError, match=r"score_by_step must have 2 steps, got 1"):
        replace(ROW, metrics=replace(METRICS, score_by_step=(0.9,)))
    ledger = Ledger.from_plain({"samples": 99, "steps": 2, "layers": {}})
    with pytest.raises(SpecError, match=r"n_test must be the ledger's 99 samples, got 100"):
        replace(ROW, ledger=ledger)
    # A tracker is asked nothing about the frames that it is started on, and of no others.
    tracked = replace(METRICS, metric="success")
    assert replace(ROW, ledger=ledger, metrics=tracked).ledger is not None
    with pytest.raises(SpecError, match=r"n_test must be the ledger's 99 samples, got 98"):
        replace(ROW, ledger=ledger, metrics=replace(tracked, n_test=98))


def test_a_row_survives_its_file_byte_for_byte() -> None:
    point = EarlyExit(threshold=0.5, correct=9, samples=10, steps=12, spent={"cached": {"ac": 3}})
    metrics = replace(
        METRICS,
        score_by_step=(0.7, 0.9),
        early_exit={"margin": {"0": point}},
        cross_backend={"oracle": Elsewhere(score=0.9, differing=0)},
    )
    made = Provenance(device="cpu", data_notes=("one file differs",), git_dirty=False)
    row = Row(cell=CELL, status="ok", metrics=metrics, provenance=made)
    line = row.to_json()
    assert "\n" not in line
    assert Row.from_json(line) == row
    assert Row.from_json(line).to_json() == line


def test_unknown_is_left_out_and_never_zero() -> None:
    told = json.loads(ROW.to_json())
    assert told["metrics"].keys() == {"metric", "score", "score_low", "score_high", "n_test"}
    assert Row.from_json(ROW.to_json()).metrics == METRICS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 4}, r"Row\.schema_version: input should be 3, got 4"),
        ({"cell_id": "0" * 16}, "it was edited: run its cell again"),
        ({"cell": json.loads(ROW.to_json())["cell"] | {"seed": 7}}, "it was edited"),
        ({"colour": "red"}, r"Row\.colour: unexpected keyword argument"),
        ({"status": "splendid"}, r"Row\.status: input should be 'ok', 'failed'"),
        ({"metrics": {"score": 0.9}}, r"Row\.metrics\.score_low: field required"),
    ],
)
def test_a_row_that_is_not_ours_is_refused_by_the_field(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        Row.from_json(json.dumps(json.loads(ROW.to_json()) | change))


@pytest.mark.parametrize("line", ["{half", "[1]", "", "null", '{"schema_version": 1, "half'])
def test_a_line_that_is_no_row_is_refused(line: str) -> None:
    with pytest.raises(SpecError):
        Row.from_json(line)


def _old() -> Iterator[tuple[dict[str, Any], Row]]:
    with lzma.open(OLD) as lines:
        for line in lines:
            yield json.loads(line), Row.from_json(line)


def test_a_row_of_the_second_schema_is_read_under_todays_names() -> None:
    new = replace(
        ROW,
        metrics=replace(
            METRICS,
            score_by_step=(0.7, 0.9),
            teacher_score=0.99,
            cross_backend={"gamma": Elsewhere(score=0.8, differing=10)},
        ),
    )
    old = json.loads(new.to_json()) | {"schema_version": 2}
    metrics = old["metrics"]
    del metrics["metric"]
    for then, now in (
        ("test_accuracy", "score"),
        ("accuracy_low", "score_low"),
        ("accuracy_high", "score_high"),
        ("accuracy_by_step", "score_by_step"),
        ("teacher_accuracy", "teacher_score"),
    ):
        metrics[then] = metrics.pop(now)
    metrics["cross_backend"]["gamma"]["test_accuracy"] = metrics["cross_backend"]["gamma"].pop(
        "score"
    )
    assert Row.from_json(json.dumps(old, sort_keys=True)) == new


def test_every_row_of_the_first_schema_is_read_and_keeps_its_name_and_its_numbers() -> None:
    rows = list(_old())
    assert len(rows) == 570
    for columns, row in rows:
        assert row.cell_id == columns["cell_id"]
        assert row.status == columns["status"]
        assert Row.from_json(row.to_json()) == row
        if row.metrics is None or row.ledger is None:
            assert columns["status"] != "ok"
            continue
        assert row.metrics.score == columns["test_accuracy"]
        for name in ("agreement", "mean_steps_to_decide", "train_seconds"):
            assert getattr(row.metrics, name) == columns[name]
        for name in ("spikes_per_sample", "acs_per_sample", "macs_per_sample", "firing_rate"):
            # Per sample was a quotient of whole numbers, and is one again.
            assert getattr(row.ledger, name) == pytest.approx(columns[name], rel=1e-12)


def test_counts_of_the_first_schema_cost_what_its_rows_said() -> None:
    for number, (columns, row) in enumerate(_old()):
        if number % 9 or row.ledger is None:
            continue
        lines = panel(row.ledger).lines
        for name, pj in columns["energy_pj"].items():
            if columns["method"] == "kd_bntt" and name.endswith(":per_step"):
                continue  # its first norms were charged T times each, though each runs once
            # A model that is no more had no total.
            found = lines[name].bill.total_pj if name in lines else None
            # Sums in another order.
            assert found == (None if pj is None else pytest.approx(pj, rel=1e-9)), name


with lzma.open(OLD) as _old_lines:
    _OLDEST = next(iter(_old_lines)).rstrip()
_REAL = (
    (RESULTS / "digits" / "direct.jsonl").read_bytes().splitlines()[0],
    (RESULTS / "digits" / "teachers.jsonl").read_bytes().splitlines()[0],
    _OLDEST,
)
_WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 1.5, -0.5, 1e308, 10**12, 10**30),
    *("", "x", "<b>", "\ud800", [], [1], [None], [[1, 2]], {}, {"a": 1}),
)


def _inner(part: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container and key of a JSON value."""
    for key in part if isinstance(part, dict) else range(len(part)):
        yield part, key
        if isinstance(part[key], dict | list):
            yield from _inner(part[key])


@given(line=st.sampled_from(_REAL), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_row_is_read_back_or_refused_in_words(line: bytes, data: st.DataObject) -> None:
    columns = json.loads(line)
    # The outermost fields as often as the thousands of counts.
    places = list(_inner(columns))
    outermost = [item for item in places if item[0] is columns]
    part, key = data.draw(st.sampled_from(outermost) | st.sampled_from(places))
    if isinstance(part, list) or data.draw(st.integers(0, 4)):
        part[key] = data.draw(st.sampled_from(_WRONG))
    else:
        part["colour"] = part.pop(key)
    _read_or_refused(json.dumps(columns).encode())


@given(line=st.sampled_from(_REAL), data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_bytes_are_read_back_or_refused_in_words(line: bytes, data: st.DataObject) -> None:
    content = bytearray(line)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    _read_or_refused(bytes(content))


@pytest.mark.parametrize("schema", [b"1", b"2", b"3"])
def test_a_line_nested_without_end_is_refused(schema: bytes) -> None:
    with pytest.raises(SpecError):
        Row.from_json(b'{"schema_version": ' + schema + b', "cell": ' + b"[" * 100_000)


@pytest.mark.parametrize(("name", "value"), [("mac", 1e308), ("steps", 0), ("steps", 10**12)])
def test_counts_that_no_layer_of_the_first_schema_had_are_refused(name: str, value: float) -> None:
    columns = json.loads(_OLDEST)
    columns["timesteps"] = max(columns["timesteps"], value if name == "steps" else 1)
    for layer in columns["layers"].values():
        layer[name] = value
    with pytest.raises(SpecError, match="no row of the first schema"):
        Row.from_json(json.dumps(columns))


def _read_or_refused(text: bytes) -> None:
    try:
        row = Row.from_json(text)
    except SpecError as error:
        assert "\n" not in str(error)  # noqa: PT017  it may be read, too
        return
    assert Row.from_json(row.to_json()) == row
    if row.ledger is not None:
        assert panel(row.ledger).lines


def test_the_record_needs_neither_torch_nor_pandas() -> None:
    script = (
        "import sys, harness.contracts.row;"
        "print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
