"""Bills from hand-counted networks, and what a bill must not hide."""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.contracts.errors import UnknownPluginError
from harness.contracts.ledger import CATEGORIES, Encode, Ledger, Shape, Uncounted
from harness.energy import (
    BREAK_EVENS,
    _model,
    bill,
    model_names,
    operations_pj,
    panel,
    together,
    unpriced,
)
from harness.energy import devices as device_table
from harness.energy import yan_2024 as yan
from harness.energy._bill import twin_bits
from harness.energy._operations import prices
from harness.meter import measure
from tests.energy.ledgers import made, random_ledger

# Two inputs, two integrate-and-fire neurons, two outputs, T = 4, one sample. Input (1, .5)
# by [[.5,.25],[.9,0]] gives the currents (.625, .9); thresholds 1, reset by subtraction:
# spikes [0,0],[1,1],[0,1],[1,1], five in all. Layer 1: 4 products a step, 16, or 4 once.
# Layer 2: 5 spikes to 2 outputs, 10 accumulates. Dense: 8 a frame, 32 over T.
LAYERS: Mapping[str, dict[str, Any]] = {
    "fc1": {
        "operand": "analog",
        "mac": 16,
        "dense_valid": 16,
        "inputs_nonzero": 8,
        "cached": {"mac": 4},
        "shape": Shape(in_channels=2, out_channels=2),
    },
    "neurons": {"spikes": 5, "compare": 8, "reset": 5, "neuron_add": 8, "neurons": 2},
    "fc2": {
        "ac": 10,
        "dense_valid": 16,
        "inputs_nonzero": 5,
        "shape": Shape(in_channels=2, out_channels=2),
    },
}
G7 = made(1, 4, **LAYERS)


def changed(layer: str, **values: Any) -> Ledger:
    return made(1, 4, **{**LAYERS, layer: {**LAYERS[layer], **values}})


def without(layer: str, *categories: str) -> Ledger:
    """Return G7 where nobody counted ``categories``, which ``layer`` alone has."""
    kept = {key: value for key, value in LAYERS[layer].items() if key not in categories}
    return made(1, 4, unknown=categories, **{**LAYERS, layer: kept})


def with_gap(ledger: Ledger) -> Ledger:
    gap = Uncounted(layer="fc1", operation="aten::fft", calls=1, remedy="none")
    return replace(ledger, uncounted=(gap,))


@pytest.mark.parametrize(
    ("model", "total"),
    [
        ("horowitz_45nm_fp32:per_step", 82.6),  # 16 * 4.6 + 10 * .9
        ("horowitz_45nm_fp32:cached", 27.4),  # 4 * 4.6 + 9
        ("horowitz_45nm_fp16:per_step", 28.0),  # 16 * 1.5 + 10 * .4
        ("horowitz_45nm_int32:per_step", 52.2),  # 16 * 3.2 + 10 * .1
        ("horowitz_45nm_int8:per_step", 3.98),  # 16 * .23 + 10 * .03
        # 27.4 + (8 neuron adds + 5 resets + 8 comparisons) * .9
        ("horowitz_45nm_fp32:cached_with_neurons", 46.3),
        # (4 pixels * 8 bits + 10 accumulates + 8 comparisons + 5 resets) * .05448
        ("yan_2024:compute", 2.9964),
        ("yan_2024:one_hop", 17.9964),  # and 5 spikes of 1 bit at 3 pJ
        ("devices:gpu_degnan_2015", 300.0 * (4 + 10 + 8)),  # products once, adds, neuron steps
        # 82.6 and 4 bytes for each of 26 uses, and for 2 neurons, 4 steps, read and write
        ("spikingjelly_simple:per_step", 82.6 + 24.96 * 4 * (26 + 16)),
    ],
)
def test_the_hand_counted_network_costs_what_the_prices_say(model: str, total: float) -> None:
    found = bill(G7, model)
    assert found.total_pj == pytest.approx(total, rel=1e-12)
    assert found.assumptions
    assert found.source


def test_the_first_layers_convention_decides_the_winner() -> None:
    lines = panel(G7).lines
    # Dense artificial network: 8 * 4.6 = 36.8 pJ.
    assert lines["horowitz_45nm_fp32:per_step"].ratio["dense"] == pytest.approx(82.6 / 36.8)
    assert round(82.6 / 36.8, 4) == 2.2446
    assert lines["horowitz_45nm_fp32:cached"].ratio["dense"] == pytest.approx(27.4 / 36.8)
    assert round(27.4 / 36.8, 4) == 0.7446


def test_the_data_type_alone_moves_the_gain_by_eight() -> None:
    # E_mac / E_ac: 4.6/.9 = 5.1, 1.5/.4 = 3.75, .23/.03 = 7.7, 3.2/.1 = 32.
    only_macs = changed("fc2", ac=0)
    only_acs = changed("fc1", mac=0, cached={"mac": 0})
    gains = {}
    for kind in ("fp32", "fp16", "int8", "int32"):
        name = f"horowitz_45nm_{kind}:per_step"
        of_macs, of_acs = bill(only_macs, name).total_pj, bill(only_acs, name).total_pj
        assert of_macs is not None
        assert of_acs is not None
        gains[kind] = round((of_macs / 16) / (of_acs / 10), 2)
    assert gains == {"fp32": 5.11, "fp16": 3.75, "int8": 7.67, "int32": 32.0}


def test_three_artificial_baselines() -> None:
    # The same topology with ReLU: two of four products of the second layer see a zero.
    artificial = made(2, 1, all={"operand": "analog", "mac": 12})
    ratio = panel(G7, artificial=artificial).lines["horowitz_45nm_fp32:cached"].ratio
    assert ratio["dense"] == pytest.approx(27.4 / (8 * 4.6))
    assert ratio["effective"] == pytest.approx(27.4 / (12 / 2 * 4.6))
    # T = 4: b = ceil(log2 5) = 3 bits, 3 additions of .9 are cheaper than 4.6.
    assert ratio["twin"] == pytest.approx(27.4 / (8 * 2.7))
    assert panel(G7).lines["horowitz_45nm_fp32:cached"].ratio["effective"] is None
    # Yan's twin: 8 synapses of 3 accumulates; and 2 neurons of 3 bits, one dense hop.
    lines = panel(G7).lines
    assert lines["yan_2024:compute"].ratio["twin"] == pytest.approx(2.9964 / (24 * 0.05448))
    moved = 24 * 0.05448 + 2 * 3 * 0.25
    assert lines["yan_2024:one_hop"].ratio["twin"] == pytest.approx(17.9964 / moved)


def test_the_effective_baseline_has_what_the_artificial_network_accumulates() -> None:
    first = nn.Linear(3, 5, bias=False)
    with torch.no_grad():
        first.weight[:] = torch.arange(1.0, 6.0)[:, None] / 8
    network = nn.Sequential(first, nn.ReLU(), nn.Linear(5, 2)).eval()
    artificial = measure(network, torch.tensor([[2.0, 0.0, 1.0]]))
    # Three units to 5 outputs, 15 accumulates; 5 values by 2 weights, 10 products.
    lines = panel(G7, artificial=artificial).lines
    effective = {name: line.ratio["effective"] for name, line in lines.items()}
    arithmetic = 10 * 4.6 + 15 * 0.9
    assert effective["horowitz_45nm_fp32:per_step"] == pytest.approx(82.6 / arithmetic)
    assert effective["horowitz_45nm_fp32:cached"] == pytest.approx(27.4 / arithmetic)
    simple = lines["spikingjelly_simple:per_step"].bill.total_pj
    assert simple is not None
    fetched = 25 * 4 * 24.96  # a weight each
    assert effective["spikingjelly_simple:per_step"] == pytest.approx(
        simple / (arithmetic + fetched)
    )
    unknown = made(1, 1, unknown=("ac",), all={"operand": "analog", "mac": 12})
    line = panel(G7, artificial=unknown).lines["horowitz_45nm_fp32:cached"]
    assert line.ratio["effective"] is None


@pytest.mark.parametrize(
    ("timesteps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (15, 4), (16, 5)]
)
def test_the_twin_has_as_many_levels_as_the_spikes(timesteps: int, bits: int) -> None:
    assert twin_bits(timesteps) == bits
    assert 2 ** (bits - 1) < timesteps + 1 <= 2**bits


def test_two_spikes_into_five_outputs_cost_nine_to_add_and_998_to_fetch() -> None:
    found = bill(made(1, 1, fc={"ac": 10}), "spikingjelly_simple:per_step")
    assert found.by_category["ac"] == pytest.approx(9.0)
    assert found.by_category["weights"] == pytest.approx(998.4)  # 10 weights, 4 bytes, 24.96
    assert found.total_pj == pytest.approx(1007.4)


def test_a_product_of_two_spikes_is_added_and_fetches_no_weight() -> None:
    found = bill(made(1, 1, attention={"and_ac": 10}), "spikingjelly_simple:per_step")
    assert found.by_category["ac"] == pytest.approx(9.0)
    assert found.by_category["weights"] == 0
    assert found.total_pj == pytest.approx(9.0)


def test_sigma_and_its_three_verdicts() -> None:
    sigma = 10 / 8  # accumulates over dense products of one frame
    assert [each.side(sigma) for each in BREAK_EVENS] == ["below", "within", "above"]


@pytest.mark.parametrize(
    ("ledger", "model", "said"),
    [
        (without("neurons", "compare"), "yan_2024:compute", "compare was not counted"),
        (without("neurons", "neuron_mul"), "horowitz_45nm_int8:cached_with_neurons", "neuron_mul"),
        (G7, "devices:loihi_davies_2018", "4 multiply-accumulates a sample, which the chip cannot"),
        (without("neurons", "compare"), "devices:gpu_degnan_2015", "neuron updates"),
        (with_gap(G7), "horowitz_45nm_fp32:cached", "uncounted: aten::fft"),
    ],
)
def test_a_missing_price_gives_a_partial_bill_that_says_so(
    ledger: Ledger, model: str, said: str
) -> None:
    found = bill(ledger, model)
    assert found.total_pj is None
    assert found.partial_pj > 0
    assert any(said in item for item in found.unpriced)
    assert all(line.ratio["dense"] is None for line in [panel(ledger).lines[model]])


@pytest.mark.parametrize(
    ("ledger", "model", "said"),
    [
        (G7, "devices:loihi_davies_2018", ("mac in fc1",)),
        (G7, "devices:gpu_degnan_2015", ()),
        (changed("fc2", mac=3), "devices:loihi_davies_2018", ("mac in fc1 and 1 more layer",)),
        (
            with_gap(G7),
            "devices:loihi_davies_2018",
            ("mac in fc1", "uncounted: aten::fft in fc1"),
        ),
        (without("neurons", "compare"), "yan_2024:compute", ("compare was not counted",)),
    ],
)
def test_what_has_no_price_is_told_with_its_layer(
    ledger: Ledger, model: str, said: tuple[str, ...]
) -> None:
    assert unpriced(ledger, model) == said


def test_a_category_that_no_layer_counted_is_unknown_and_not_zero() -> None:
    found = bill(made(1, 1, unknown=CATEGORIES, fc={}), "horowitz_45nm_fp32:cached")
    assert found.unpriced == ("ac was not counted", "mac was not counted")
    assert (found.total_pj, dict(found.by_category)) == (None, {})


def test_a_chip_that_cannot_multiply_has_a_total_where_nothing_is_multiplied() -> None:
    # 10 accumulates; of 8 steps of a neuron 3 without a spike and 5 with one.
    spikes_alone = changed("fc1", mac=0, cached={"mac": 0})
    found = bill(spikes_alone, "devices:loihi_davies_2018")
    assert found.total_pj == pytest.approx(10 * 23.6 + 3 * 52.0 + 5 * 81.0)
    assert found.total_pj != bill(spikes_alone, "devices:loihi_keras_spiking").total_pj


def test_what_is_only_remembered_or_quoted_says_so() -> None:
    davies = device_table.MODELS["loihi_davies_2018"]
    assert (davies.synapse.grade, davies.synapse.evidence) == ("simulated", "secondary")
    assert davies.update.evidence == "memory"
    assert yan.ACCUMULATE.evidence == "secondary"


@given(copies=st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_a_bill_is_per_sample_whatever_the_number_of_samples(copies: int) -> None:
    def times(said: Any) -> Any:
        if isinstance(said, dict):
            return {key: value if key == "neurons" else times(value) for key, value in said.items()}
        return said * copies if isinstance(said, int) else said

    many = made(copies, 4, **times({f"layer {name}": said for name, said in LAYERS.items()}))
    one, all_of_them = panel(G7).lines, panel(many).lines
    for name, line in one.items():
        assert dict(all_of_them[name].bill.by_category) == pytest.approx(line.bill.by_category)


@given(ac=st.integers(0, 10**9), mac=st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
def test_more_operations_never_cost_less(ac: int, mac: int) -> None:
    def of(ac: int, mac: int) -> Ledger:
        return made(1, 1, fc={"operand": "analog", "ac": ac, "mac": mac})

    for name, line in panel(of(ac, mac)).lines.items():
        more = bill(of(ac + 1, mac + 1), name).partial_pj
        assert more >= line.bill.partial_pj


@pytest.mark.parametrize("name", model_names())
def test_samples_apart_or_summed_or_from_a_row_cost_the_same(name: str) -> None:
    apart = random_ledger(3)
    summed = apart.summed()
    found = bill(apart, name)
    assert found == bill(summed, name) == bill(Ledger.from_plain(summed.to_plain()), name)
    assert found.by_category or found.unpriced


def test_what_the_meter_missed_no_model_can_price() -> None:
    assert bill(with_gap(G7), "horowitz_45nm_fp32:cached").unpriced == (
        "uncounted: aten::fft in fc1",
    )


BY_OPERATION = [name for name in model_names() if name.startswith(("horowitz", "yan"))]


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("seed", range(5))
def test_operations_cost_what_the_bill_says_if_nothing_else_is_priced(seed: int, name: str) -> None:
    ledger = random_ledger(seed)
    counts = {encode: vars(counts) for encode, counts in vars(ledger.encoding).items()}
    found = operations_pj(counts, name)
    assert (found is not None) == (name in BY_OPERATION)
    if found is not None:
        total = bill(ledger, name).total_pj
        assert total is not None
        # 32 products and sums, each rounding by 2^-53, and as many in the bill.
        assert found / ledger.samples == pytest.approx(total, rel=128 * 2**-53)


def test_a_convention_is_priced_by_the_models_that_follow_it() -> None:
    counts: dict[Encode, dict[str, int]] = {"per_step": {"mac": 16, "ac": 10}, "cached": {"mac": 4}}
    assert operations_pj(counts, "horowitz_45nm_fp32:per_step") == pytest.approx(82.6)
    assert operations_pj(counts, "horowitz_45nm_fp32:cached") == pytest.approx(4 * 4.6)
    assert operations_pj({}, "horowitz_45nm_fp32:cached") == 0.0


@given(st.dictionaries(st.sampled_from(CATEGORIES), st.integers(0, 2**60)))
def test_what_is_free_moves_no_digit_of_a_price(counts: dict[str, int]) -> None:
    for name in BY_OPERATION:
        told = prices(_model(name), name)
        assert told is not None
        each = (of.get(item, 0.0) * count for of in told.values() for item, count in counts.items())
        assert operations_pj(dict.fromkeys(told, counts), name) == sum(each, start=0.0)


MAKES = (
    *(random_ledger(seed) for seed in range(4)),
    *(random_ledger(seed, samples=6) for seed in range(2)),
    *(changed("fc2", ac=ac) for ac in (0, 1, 10, 2**40)),
    # Nothing is multiplied, so that chips without multipliers have a total.
    *(changed("fc1", mac=0, cached={"mac": 0}, inputs_nonzero=seen) for seen in (0, 3, 8)),
    *(changed("neurons", neuron_mul=many) for many in (0, 8, 16)),  # membranes that leak
    *(changed("neurons", neurons=size) for size in (0, 2)),
    *(changed("fc2", shape=None, ac=ac) for ac in (0, 5)),
    *(changed("fc2", operand="integer", ac=ac) for ac in (11, 12)),  # 5.5 and 6 units
    without("neurons", "compare"),
    with_gap(G7),
    changed("fc1", cached={"mac": 0}),  # what is 0 in one reading alone
)


@pytest.mark.parametrize("name", model_names())
def test_ledgers_of_one_make_cost_together_what_each_costs_alone(name: str) -> None:
    artificial = made(2, 1, all={"operand": "analog", "mac": 12})
    seen = []
    for all_, places in together(MAKES):
        seen += places
        line = panel(all_, artificial=artificial).lines[name]
        for at, place in enumerate(places):
            alone = panel(MAKES[place], artificial=artificial).lines[name]
            its = partial(_of, at=at, many=len(places))
            assert its(line.bill.total_pj) == alone.bill.total_pj  # to the last bit
            assert {kind: its(ratio) for kind, ratio in line.ratio.items()} == alone.ratio
            assert line.bill.assumptions == alone.bill.assumptions
    assert sorted(seen) == list(range(len(MAKES)))


COUNTS = st.sampled_from([0, 1, 7, 10, 2**40])
LEDGERS = st.builds(
    lambda mac, cached, ac, leaks, spikes: made(
        1,
        4,
        fc1=LAYERS["fc1"] | {"mac": mac, "cached": {"mac": cached}},
        neurons=LAYERS["neurons"] | {"neuron_mul": leaks, "spikes": spikes},
        fc2=LAYERS["fc2"] | {"ac": ac},
    ),
    *[COUNTS] * 5,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(LEDGERS, min_size=1, max_size=12))
def test_ledgers_from_json_cost_together_what_each_costs_alone(ledgers: list[Ledger]) -> None:
    read = [Ledger.from_plain(one.to_plain()) for one in ledgers]
    makes = list(together(read))
    assert sorted(place for _, places in makes for place in places) == list(range(len(ledgers)))
    for all_, places in makes:
        lines = panel(all_).lines
        for at, place in enumerate(places):
            alone = panel(ledgers[place]).lines
            its = {name: line.bill.total_pj for name, line in lines.items()}
            assert {name: _of(pj, at=at, many=len(places)) for name, pj in its.items()} == {
                name: line.bill.total_pj for name, line in alone.items()
            }


def _of(numbers: float | None, *, at: int, many: int) -> float | None:
    """Return one ledger's number; what follows from shapes alone is the same for all."""
    return None if numbers is None else float(np.broadcast_to(numbers, many)[at])


def test_ledgers_that_differ_in_counts_alone_are_of_one_make() -> None:
    makes = {tuple(places) for _, places in together(MAKES)}
    # The first four; without a product; with 1, 10 and 2^40 accumulates, G7 without leaks among
    # them; with leaks. Whether a count is 0 decides what is priced, so it is another make.
    assert {(0, 1, 2, 3), (4, 5), (7, 8, 9, 13, 17), (11, 12), (14, 15)} <= makes


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match="did you mean horowitz_45nm_fp32:cached"):
        bill(G7, "horowitz_45nm_fp32:cachd")
    with pytest.raises(UnknownPluginError, match=r"fp32:cached or .*fp32:per_step"):
        bill(G7, "horowitz_45nm_fp32")


def test_energy_imports_neither_torch_nor_pandas_nor_scipy() -> None:
    script = (
        "import sys, harness.energy as e; e.model_names();"
        "print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_page_about_models_names_them_all() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "energy.md").read_text("utf-8")
    named = re.findall(r"`(_?[a-z0-9_]+)`", page)
    for name in model_names():
        file, _, variant = name.partition(":")
        assert variant in named
        assert file in named or f"_{file.rpartition('_')[2]}" in named
    assert f"what the {len(model_names())} energy models price" in (root / "README.md").read_text(
        "utf-8"
    )
