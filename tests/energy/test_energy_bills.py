"""Bills from hand-counted networks, and what a bill must not hide."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.errors import SpecError, UnknownPluginError
from harness.contracts.ledger import Counts, Encoding, Layer, Measurement, Uncounted
from harness.energy import Ledger, bill, model_names, panel, twin_bits
from harness.energy import devices as device_table
from harness.energy import yan_2024 as yan

# Two inputs, two integrate-and-fire neurons, two outputs, T = 4, one sample. Input (1, .5)
# by [[.5,.25],[.9,0]] gives the currents (.625, .9); thresholds 1, reset by subtraction:
# spikes [0,0],[1,1],[0,1],[1,1], five in all. Layer 1: 4 products a step, 16, or 4 once.
# Layer 2: 5 spikes to 2 outputs, 10 accumulates. Dense: 8 a frame, 32 over T.
G7: Mapping[str, Any] = {
    "samples": 1,
    "timesteps": 4,
    "layers": {
        "fc1": {
            "operand": "analog",
            "steps": 4,
            "ac": 0,
            "mac": 16,
            "bias_add": 0,
            "dense_valid": 16,
            "inputs_nonzero": 8,
            "cached": {"mac": 4},
            "synapses": {"in_channels": 2, "out_channels": 2},
        },
        "neurons": {
            "operand": "binary",
            "steps": 4,
            "spikes": 5,
            "compare": 8,
            "reset": 5,
            "neuron_add": 8,
            "neuron_mul": 0,
            "neurons": {"units": 2, "leak": False},
        },
        "fc2": {
            "operand": "binary",
            "steps": 4,
            "ac": 10,
            "mac": 0,
            "bias_add": 0,
            "dense_valid": 16,
            "inputs_nonzero": 5,
            "synapses": {"in_channels": 2, "out_channels": 2},
        },
    },
}


def changed(layer: str, **values: Any) -> dict[str, Any]:
    layers = {**G7["layers"], layer: {**G7["layers"][layer], **values}}
    return {**G7, "layers": layers}


def without(layer: str, *categories: str) -> dict[str, Any]:
    kept = {key: value for key, value in G7["layers"][layer].items() if key not in categories}
    return {**G7, "layers": {**G7["layers"], layer: kept}}


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
    assert found.label == f"{total:,.1f} pJ"
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
    artificial = {
        "samples": 2,
        "timesteps": 1,
        "layers": {"all": {"operand": "analog", "steps": 1, "ac": 0, "mac": 12}},
    }
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


@pytest.mark.parametrize(
    ("timesteps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (15, 4), (16, 5)]
)
def test_the_twin_has_as_many_levels_as_the_spikes(timesteps: int, bits: int) -> None:
    assert twin_bits(timesteps) == bits
    assert 2 ** (bits - 1) < timesteps + 1 <= 2**bits


def test_yans_closed_forms() -> None:
    assert yan.dense_limit_ratio(15) == 3.75  # 15 / 4, as the paper has it
    # k = 4.6/.9, gamma = .5, T = 4: 5.111 * .5 / 4.
    rate = yan.break_even_rate(4, twin_sparsity=0.5, mac_over_accumulate=4.6 / 0.9)
    assert rate == pytest.approx(0.638889, abs=1e-6)
    assert yan.rate_bounds(4, twin_sparsity=0.5) == (0.125, 0.5)
    with pytest.raises(SpecError, match=r"fraction of zeros, got 1\.5"):
        yan.rate_bounds(4, twin_sparsity=1.5)


def test_two_spikes_into_five_outputs_cost_nine_to_add_and_998_to_fetch() -> None:
    layer = {"operand": "binary", "steps": 1, "ac": 10, "mac": 0, "bias_add": 0}
    found = bill(
        {"samples": 1, "timesteps": 1, "layers": {"fc": layer}}, "spikingjelly_simple:per_step"
    )
    assert found.by_category["ac"] == pytest.approx(9.0)
    assert found.by_category["weights"] == pytest.approx(998.4)  # 10 weights, 4 bytes, 24.96
    assert found.total_pj == pytest.approx(1007.4)


def test_sigma_and_its_three_verdicts() -> None:
    found = panel(G7)
    assert found.sigma == 10 / 8  # accumulates over dense products of one frame
    assert [side for _, side in found.verdicts] == ["below", "within", "above"]
    assert panel(without("fc2", "ac", "mac") | {"layers": {}}).verdicts == ()


@pytest.mark.parametrize(
    ("summary", "model", "said"),
    [
        (without("neurons", "compare"), "yan_2024:compute", "compare was not counted"),
        (without("neurons", "neuron_mul"), "horowitz_45nm_int8:cached_with_neurons", "neuron_mul"),
        (G7, "devices:odin", "4 multiply-accumulates a sample, which the chip cannot do"),
        (G7, "devices:odin", "neuron updates"),
        (G7, "devices:loihi_sana_fe_dense", "messages of 111 pJ"),
        ({**G7, "uncounted": ["aten::fft"]}, "horowitz_45nm_fp32:cached", "uncounted: aten::fft"),
    ],
)
def test_a_missing_price_gives_a_partial_bill_that_says_so(
    summary: dict[str, Any], model: str, said: str
) -> None:
    found = bill(summary, model)
    assert found.total_pj is None
    assert found.partial_pj > 0
    assert any(said in item for item in found.unpriced)
    assert found.label.startswith("at least ")
    assert "unpriced: " in found.label
    assert all(line.ratio["dense"] is None for line in [panel(summary).lines[model]])


def test_a_category_that_no_layer_counted_is_unknown_and_not_zero() -> None:
    summary = {"samples": 1, "timesteps": 1, "layers": {"fc": {"operand": "analog", "steps": 1}}}
    found = bill(summary, "horowitz_45nm_fp32:cached")
    assert found.unpriced == ("ac was not counted", "mac was not counted")
    assert found.label == "missing: ac was not counted; mac was not counted"


@pytest.mark.parametrize("name", ["devices:loihi_2", "devices:speck_xylo"])
def test_a_chip_without_a_published_price_has_no_bill(name: str) -> None:
    found = bill(G7, name)
    assert (found.total_pj, dict(found.by_category)) == (None, {})
    assert found.label.startswith("missing: no price of a synaptic event is published")


def test_conflicting_citations_stand_side_by_side() -> None:
    def price(name: str) -> float:
        synapse = device_table.MODELS[name].synapse
        assert synapse is not None
        return synapse.value

    assert price("truenorth_merolla_2014") / price("truenorth_akopyan_2015") == 10.4
    assert price("spinnaker_hoppner_2019") / price("spinnaker_seneca") > 295
    assert price("spinnaker_2_hoppner_2019") / price("spinnaker_2_hoppner_2021") == 45


def test_what_is_only_remembered_or_quoted_says_so() -> None:
    davies = device_table.MODELS["loihi_davies_2018"]
    assert davies.synapse is not None
    assert davies.update is not None
    assert (davies.synapse.grade, davies.synapse.evidence) == ("simulated", "secondary")
    assert davies.update.evidence == "memory"
    assert yan.ACCUMULATE.evidence == "secondary"


@given(copies=st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_a_bill_is_per_sample_whatever_the_number_of_samples(copies: int) -> None:
    layers = {
        path: {
            key: value * copies if isinstance(value, int) and key != "steps" else value
            for key, value in layer.items()
            if key != "cached"
        }
        for path, layer in G7["layers"].items()
    }
    layers["fc1"]["cached"] = {"mac": 4 * copies}
    many = {**G7, "samples": copies, "layers": layers}
    one, all_of_them = panel(G7).lines, panel(many).lines
    for name, line in one.items():
        assert dict(all_of_them[name].bill.by_category) == pytest.approx(line.bill.by_category)


@given(ac=st.integers(0, 10**9), mac=st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
def test_more_operations_never_cost_less(ac: int, mac: int) -> None:
    def of(ac: int, mac: int) -> dict[str, Any]:
        layer = {"operand": "analog", "steps": 1, "ac": ac, "mac": mac, "bias_add": 0}
        return {"samples": 1, "timesteps": 1, "layers": {"fc": layer}}

    for name, line in panel(of(ac, mac)).lines.items():
        more = bill(of(ac + 1, mac + 1), name).partial_pj
        assert more >= line.bill.partial_pj


def test_a_measurement_is_billed_like_the_summary_of_it() -> None:
    def layer(name: str, counts: Counts, cached: Counts, neurons: int = 0) -> Layer:
        shown = {item: getattr(counts, item) for item in vars(counts)}
        return Layer(
            **shown,
            name=name,
            kind="linear",
            operand="binary",
            steps=4,
            neurons=neurons,
            encoding=Encoding(per_step=counts, cached=cached),
            explicit=counts,
        )

    first, second = Counts(mac=16, dense_valid=16), Counts(ac=10, dense_valid=16)
    fired = Counts(spikes=5, compare=8, reset=5, neuron_add=8)
    measured = Measurement(
        layers={
            "fc1": layer("fc1", first, Counts(mac=4, dense_valid=4)),
            "neurons": layer("neurons", fired, fired, neurons=2),
            "fc2": layer("fc2", second, second),
        },
        samples=1,
        steps=4,
    )
    for name in model_names():
        if not name.startswith("lemaire"):  # needs shapes, which a measurement has not
            assert bill(measured, name).label == bill(G7, name).label
    assert panel(measured).sigma == 1.25
    gap = Uncounted(layer="fc1", operation="fft", calls=1, remedy="none")
    partial = Measurement(layers=measured.layers, samples=1, steps=4, uncounted=(gap,))
    assert bill(partial, "horowitz_45nm_fp32:cached").unpriced == ("uncounted: fft in fc1",)


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        ({"samples": 1}, "lacks timesteps, layers; it has: samples"),
        ({**G7, "samples": 0}, "Ledger.samples must be at least 1, got 0"),
        (without("fc1", "steps"), "layer 'fc1' lacks steps"),
        (changed("fc1", mca=3), "layer 'fc1': no category 'mca' in a ledger; did you mean mac?"),
        (changed("fc1", mac=3.5), "count of mac must be an integer of 0 or more, got 3.5"),
        (changed("fc1", mac=-1), "count of mac must be an integer of 0 or more, got -1"),
        (changed("fc1", operand="fuzzy"), "operand must be one of silent, binary"),
        (without("fc1", "operand"), "layer 'fc1': operand must be one of"),
        (changed("fc1", synapses={"in_channels": 0, "out_channels": 2}), "positive integers"),
        (changed("fc1", synapses={"inputs": 2}), "layer 'fc1'"),
    ],
)
def test_a_summary_that_is_none_is_refused_by_name(summary: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        Ledger.from_mapping(summary)


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
