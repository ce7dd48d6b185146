"""The one form of a ledger: what it answers, and its way through JSON."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from harness.contracts.errors import SpecError
from harness.contracts.ledger import (
    CATEGORIES,
    Counts,
    Layer,
    Ledger,
    Policy,
    Reading,
    Shape,
    Uncounted,
)
from tests.energy.ledgers import random_ledger

GAP = Uncounted(layer="fc1", operation="fft", calls=2, remedy="none")
READINGS: tuple[Reading | None, ...] = (None, "per_step", "cached", "explicit")
seeds = st.integers(0, 10_000)


def by_hand() -> Ledger:
    """Return two samples, three steps: an image encoded once, two neurons, a read-out."""
    spikes = np.array([[0, 1, 2], [1, 0, 0]])
    layers = (
        Layer(
            name="fc1",
            kind="linear",
            operand="analog",
            samples=2,
            steps=1,
            shape=Shape(in_channels=2, out_channels=2),
            tally={"mac": np.array([[4], [2]]), "dense_valid": np.array([[4], [4]])},
            readings={
                "per_step": {
                    "mac": np.array([[4] * 3, [2] * 3]),
                    "dense_valid": np.array([[4] * 3] * 2),
                }
            },
        ),
        Layer(
            name="lif",
            kind="neuron",
            operand="binary",
            samples=2,
            steps=3,
            neurons=2,
            tally={"spikes": spikes, "neuron_mul": np.full((2, 3), 2)},
        ),
        Layer(
            name="fc2",
            kind="linear",
            operand="binary",
            samples=2,
            steps=3,
            shape=Shape(in_channels=2, out_channels=5),
            tally={"ac": 5 * spikes, "dense_valid": np.full((2, 3), 10)},
            readings={"explicit": {"mac": 5 * spikes, "dense_valid": np.full((2, 3), 10)}},
        ),
    )
    return Ledger(layers={layer.name: layer for layer in layers}, samples=2, steps=3)


def test_sums_by_hand() -> None:
    ledger = by_hand()
    assert ledger.total == Counts(ac=20, mac=6, neuron_mul=12, spikes=4, dense_valid=8 + 60)
    assert ledger.encoding.cached == ledger.total
    assert (ledger.encoding.per_step.mac, ledger.encoding.per_step.ac) == (18, 20)
    assert (ledger.explicit.mac, ledger.explicit.ac) == (26, 0)
    assert (ledger.mean("mac"), ledger.mean("mac", encode="cached")) == (9, 3)
    # 14 products a frame and sample; of 2 neurons in 3 steps 4 of 12 places spiked.
    assert ledger.dense_macs == 14
    assert ledger.firing_rate == ledger.layers["lif"].rate() == 4 / 12
    assert (ledger.spikes_per_sample, ledger.acs_per_sample, ledger.macs_per_sample) == (2, 10, 3)
    assert [layer.leaks for layer in ledger.layers.values()] == [False, True, False]


def test_tables_by_hand() -> None:
    ledger = by_hand()
    assert ledger.tally()["mac"].tolist() == [[4, 0, 0], [2, 0, 0]]
    assert ledger.tally("cached")["mac"].tolist() == [[4, 0, 0], [2, 0, 0]]
    assert ledger.tally("per_step")["mac"].tolist() == [[4, 4, 4], [2, 2, 2]]
    assert ledger.tally("explicit")["ac"].tolist() == [[0] * 3] * 2
    assert ledger.per_sample()["ac"].tolist() == [15, 5]
    assert ledger.per_step()["ac"].tolist() == [5, 5, 10]
    assert ledger.layers["fc2"].per_sample()["ac"].tolist() == [15, 5]
    assert ledger.layers["fc2"].per_step()["ac"].tolist() == [5, 5, 10]


def test_without_neurons_there_is_no_rate_and_without_layers_no_count() -> None:
    ledger = by_hand()
    assert replace(ledger, layers={"fc1": ledger.layers["fc1"]}).firing_rate is None
    nothing = replace(ledger, layers={})
    assert (nothing.mean("ac"), nothing.dense_macs) == (None, None)


def test_what_nobody_counted_is_unknown() -> None:
    ledger = replace(by_hand(), not_counted=("compare", "dense_valid"))
    assert (ledger.mean("compare"), ledger.dense_macs, ledger.mean("ac")) == (None, None, 10)
    assert Ledger.from_plain(ledger.to_plain()).not_counted == ("compare", "dense_valid")


def test_the_plain_form_by_hand() -> None:
    assert by_hand().to_plain() == {
        "samples": 2,
        "steps": 3,
        "layers": {
            "fc1": {
                "kind": "linear",
                "operand": "analog",
                "steps": 1,
                "shape": {"in_channels": 2, "out_channels": 2},
                "counts": {"mac": [6], "dense_valid": [8]},
                "per_step": {"mac": [6, 6, 6], "dense_valid": [8, 8, 8]},
            },
            "lif": {
                "kind": "neuron",
                "operand": "binary",
                "steps": 3,
                "neurons": 2,
                "counts": {"spikes": [1, 1, 2], "neuron_mul": [4, 4, 4]},
            },
            "fc2": {
                "kind": "linear",
                "operand": "binary",
                "steps": 3,
                "shape": {"in_channels": 2, "out_channels": 5},
                "counts": {"ac": [5, 5, 10], "dense_valid": [20, 20, 20]},
                "explicit": {"mac": [5, 5, 10], "dense_valid": [20, 20, 20]},
            },
        },
        "order": ["fc1", "lif", "fc2"],
    }


@given(seed=seeds)
def test_summing_keeps_every_sum_and_how_many_samples_there_were(seed: int) -> None:
    apart = random_ledger(seed)
    summed = apart.summed()
    assert (summed.samples, summed.is_summed, apart.is_summed) == (5, True, False)
    assert (summed.total, summed.encoding, summed.explicit) == (
        apart.total,
        apart.encoding,
        apart.explicit,
    )
    assert summed.layers["neurons"].rate() == apart.layers["neurons"].rate()
    for category in CATEGORIES:
        assert np.array_equal(summed.per_step()[category], apart.per_step()[category])
        assert summed.mean(category) == apart.mean(category)
    assert summed.summed() == summed != apart
    for reading in READINGS:
        table = apart.tally(reading)
        sums = {category: int(table[category].sum()) for category in CATEGORIES}
        of = {
            None: apart.total,
            "per_step": apart.encoding.per_step,
            "cached": apart.encoding.cached,
            "explicit": apart.explicit,
        }[reading]
        assert Counts(**sums) == of


@given(seed=seeds, partial=st.booleans())
def test_the_way_through_json_is_exact(seed: int, *, partial: bool) -> None:
    ledger = replace(
        random_ledger(seed),
        policy=Policy(integer="mac"),
        coverage=0.75 if partial else 1.0,
        uncounted=(GAP,) if partial else (),
    )
    text = json.dumps(ledger.to_plain())
    again = Ledger.from_plain(json.loads(text))
    assert again == ledger.summed()
    assert hash(again) == hash(ledger.summed())
    assert json.dumps(again.to_plain()) == text
    assert (again.policy, again.coverage, again.uncounted) == (
        ledger.policy,
        ledger.coverage,
        ledger.uncounted,
    )
    assert again.total.partial is again.layers["moving"].total.partial is partial
    assert all(
        again.layers[name].shape == layer.shape and again.layers[name].folded == layer.folded
        for name, layer in ledger.layers.items()
    )


def test_files_of_sorted_keys_keep_the_order_in_which_layers_ran() -> None:
    text = json.dumps(by_hand().to_plain(), sort_keys=True)
    again = Ledger.from_plain(json.loads(text))
    assert [*again.layers] == ["fc1", "lif", "fc2"]
    assert json.dumps(again.to_plain(), sort_keys=True) == text
    # A row from before says none: its counts are the same all the same.
    assert Ledger.from_plain({**again.to_plain(), "order": ["fc1", "fc2", "lif"]}) == again
    without = {key: part for key, part in again.to_plain().items() if key != "order"}
    assert Ledger.from_plain(without) == again


def test_the_rate_is_of_the_steps_that_ran() -> None:
    ledger = by_hand()
    lif = ledger.layers["lif"]
    # Of two samples in three steps one was remembered: two neurons compared three times.
    seldom = replace(lif, tally={**lif.tally, "compare": np.array([[2, 2, 2], [0, 0, 0]])})
    assert (seldom.updates, seldom.rate()) == (6, 4 / 6)
    assert replace(ledger, layers={**ledger.layers, "lif": seldom}).firing_rate == 4 / 6


@given(seed=seeds)
def test_ledgers_are_equal_only_if_every_count_is(seed: int) -> None:
    ledger, other = random_ledger(seed), random_ledger(seed)
    assert ledger == other
    # The same sums, of two samples that changed places.
    table = other.layers["neurons"].tally["spikes"]
    table[0, 0], table[1, 0] = table[0, 0] + 1, table[1, 0] - 1
    assert ledger != other
    assert ledger.summed() == other.summed()
    table[0, 0] += 1
    assert ledger.summed() != random_ledger(seed + 1).summed()


def test_a_summed_ledger_does_not_tell_samples_apart() -> None:
    summed = by_hand().summed()
    questions: list[Callable[[], Any]] = [
        summed.per_sample,
        summed.tally,
        summed.layers["fc2"].per_sample,
    ]
    for question in questions:
        with pytest.raises(SpecError, match=r"all 2 of them; ask the ledger that measure returned"):
            question()


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the plain form with ``value`` at ``path``, or without it if that is None."""
    plain = deepcopy(by_hand().to_plain())
    *outer, last = path.split("/")
    part = plain
    for name in outer:
        part = part.setdefault(name, {})
    if value is None:
        del part[last]
    else:
        part[last] = value
    return plain


FC1 = "layers/fc1/"


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"samples": 1}, "Ledger.steps: field required, .* and 1 more"),
        ([], "Ledger: input should be an object"),
        (changed("samples", 0), "Ledger.samples: input should be greater than 0, got 0"),
        (changed("steps", 3.0), r"Ledger.steps: input should be a valid integer, got 3\.0"),
        (changed("samples", value=True), "Ledger.samples: .* valid integer, got true"),
        (changed("color", 1), "Ledger.color: extra inputs are not permitted"),
        (changed("coverage", 1.5), "coverage: input should be less than or equal to 1, got 1.5"),
        (changed("coverage", "all"), 'coverage: input should be a valid number, got "all"'),
        (changed("coverage", math.nan), "coverage: input should be"),
        (changed("layers", []), r"layers: input should be an object, got \[\]"),
        (changed("not_counted", ["acs"]), "not_counted.0: input should be 'ac', 'mac'.*\"acs\""),
        (changed("not_counted", "ac"), "not_counted: input should be a valid array"),
        (changed("uncounted", [{"layer": "fc1"}]), "uncounted.0.operation: field required"),
        (changed("uncounted", [vars(GAP) | {"calls": 0}]), "uncounted.0.calls: .* than 0, got 0"),
        (changed("policy", {"integer": "add"}), "policy.integer: input should be 'ac' or 'mac'"),
        (changed("policy", {"analog": "ac"}), "policy.analog: input should be 'mac', got \"ac\""),
        (changed("policy", {"integral": "mac"}), "policy.integral: unexpected"),
        (changed("order", ["fc1", "fc1", "lif"]), "order must name every layer once, got .'fc1', "),
        (changed(FC1 + "steps", None), "layers.fc1.steps: field required"),
        (changed(FC1 + "color", 1), "layers.fc1.color: extra inputs are not permitted"),
        (changed(FC1 + "kind", 1), "layers.fc1.kind: input should be a valid string, got 1"),
        (changed(FC1 + "folded", 1), "layers.fc1.folded: input should be a valid boolean, got 1"),
        (changed(FC1 + "neurons", -1), "layers.fc1.neurons: .* equal to 0, got -1"),
        (changed(FC1 + "steps", 2), r"layer 'fc1': mac must be \[2, 2\].* got \[1, 1\]"),
        (changed(FC1 + "counts/mca", [3]), "layers.fc1.counts.mca.*: input should be 'ac', 'mac'"),
        (changed(FC1 + "counts/mac", [3.5]), "layers.fc1.counts.mac.0: .* integer, got 3.5"),
        (changed(FC1 + "counts/mac", [True]), "layers.fc1.counts.mac.0: .* integer, got true"),
        (changed(FC1 + "counts/mac", [-1]), "layers.fc1.counts.mac.0: .* equal to 0, got -1"),
        (changed(FC1 + "counts/mac", [2**63]), "layers.fc1.counts.mac.0: .* less than"),
        (changed(FC1 + "counts/mac", 6), "layers.fc1.counts.mac: input should be a valid array"),
        (changed(FC1 + "counts", 6), "layers.fc1.counts: input should be an object, got 6"),
        (changed(FC1 + "cached/mac", [1]), r"layer 'fc1': mac must be \[2, 3\].* got \[1, 1\]"),
        (changed(FC1 + "explicit/mac", [1, 1]), r"layer 'fc1': mac must be \[2, 1\].* \[1, 2\]"),
        (changed(FC1 + "operand", "fuzzy"), "layers.fc1.operand: input should be 'silent', 'bin"),
        (changed(FC1 + "operand", None), "layers.fc1.operand: field required"),
        (changed(FC1 + "shape/in_channels", 0), "shape.in_channels: .* greater than 0, got 0"),
        (changed(FC1 + "shape/kernel", [3]), r"Shape.stride must have 1 axes, got \(\)"),
        (changed(FC1 + "shape/inputs", 2), "layers.fc1.shape.inputs: unexpected"),
        (
            changed(FC1 + "shape/kernel", 3),
            "layers.fc1.shape.kernel: input should be a valid array",
        ),
    ],
)
def test_what_is_no_ledger_is_refused_by_layer_and_field(plain: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Ledger.from_plain(plain)


def test_a_layer_with_weights_needs_the_class_of_its_input() -> None:
    layer = by_hand().layers["fc1"]
    with pytest.raises(SpecError, match="layer 'fc1' has weights, and no class of operand"):
        replace(layer, operand=None)
    assert replace(layer, operand=None, shape=None).operand is None


def test_a_ledger_from_json_is_held_to_all_that_before_a_layer_is_asked_for() -> None:
    plain = by_hand().to_plain()
    plain["layers"]["fc2"]["operand"] = None
    with pytest.raises(SpecError, match="layer 'fc2' has weights, and no class of operand"):
        Ledger.from_plain(plain)
    told = Ledger.from_plain(by_hand().to_plain())
    with pytest.raises(SpecError, match="'fc1' ran 1 steps of 2 samples, and the network 3 of 4"):
        replace(told, samples=4)
    with pytest.raises(SpecError, match=r"layer 'fc1': mac must be \[2, 2\].* got \[1, 3\]"):
        replace(told, steps=2)


def test_sums_of_counts_from_json_do_not_wrap() -> None:
    told = Ledger.from_plain(changed("layers/lif/counts/spikes", [2**62] * 3))
    assert told.total.spikes == 3 * 2**62


def test_tables_of_another_size_are_refused() -> None:
    ledger = by_hand()
    with pytest.raises(SpecError, match="ran 3 steps of 2 samples, and the network 2 of 2"):
        replace(ledger, steps=2, layers={"lif": ledger.layers["lif"]})
    odd = replace(ledger.layers["fc2"], tally={"ac": np.zeros((3, 3), np.int64)})
    with pytest.raises(SpecError, match=r"layer 'fc2': ac must be \[2, 3\].* got \[3, 3\]"):
        replace(ledger, layers={"fc2": odd})


class Kept(BaseModel):
    ledger: Ledger


def test_a_pydantic_field_reads_and_writes_the_plain_form() -> None:
    ledger = by_hand()
    kept = Kept(ledger=ledger)
    assert kept.ledger is ledger
    again = Kept.model_validate_json(kept.model_dump_json())
    assert again == Kept(ledger=ledger.summed())
    assert kept.model_dump() == {"ledger": ledger.to_plain()}
    with pytest.raises(ValidationError, match=r"layers.fc1.color"):
        Kept.model_validate_json(json.dumps({"ledger": changed(FC1 + "color", 1)}))
    with pytest.raises(ValidationError, match="instance of Ledger"):
        Kept.model_validate({"ledger": ledger.to_plain()})


def test_reading_a_ledger_imports_neither_torch_nor_pandas() -> None:
    script = (
        "import sys, json; from harness.contracts.ledger import Ledger;"
        f"Ledger.from_plain(json.loads({json.dumps(by_hand().to_plain())!r}));"
        "print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
