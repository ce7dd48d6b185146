"""One layer under every reading of Lemaire's model, and SpikingJelly on the same network."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter.analytical_energy import estimate_lemaire_energy
from torch import nn

from harness.contracts.ledger import Ledger, Shape
from harness.energy import bill, panel
from harness.energy.lemaire_2022 import bus64_pj, piecewise_pj, regression_pj
from harness.meter import measure
from tests.energy.ledgers import made

OF_LINEAR = Shape(in_channels=3, out_channels=5)
SHAPE = Shape(
    in_channels=2,
    out_channels=3,
    kernel=(3, 3),
    stride=(1, 1),
    input_size=(4, 4),
    output_size=(4, 4),
    bias=True,
)


def convolution(
    spikes_in: int, spikes_out: int, *, samples: int = 1, shape: Shape = SHAPE, neurons: int = 48
) -> Ledger:
    """Return Conv2d(2, 3, 3, padding=1, bias) on 4x4 and leaky neurons, T = 4."""
    return made(
        samples,
        4,
        conv={"operand": "binary", "shape": shape, "ac": 1, "inputs_nonzero": spikes_in},
        lif={"neurons": neurons, "spikes": spikes_out, "neuron_mul": 4 * neurons * samples},
    )


# 10 spikes in, 72 out. Operations: 10*9*3 + 4*48 + 72 = 534 adds and 4*48 = 192 MAC:
# 53.4 + 614.4. Addressing: 270 adds and 20 MAC: 27 + 64. Together 758.8 pJ.
# Accesses: 10 + 72 events (queues of 1000 words), 270 weights (54 words), 192 biases
# (3 words), 2 * (270 + 192) potentials (48 words): 1468.
# Bus: 758.8 + 5 * 1468 = 8098.8.
# Lines through 0 and 10 pJ at 2048 words, 10/2048 pJ a word: 82 * 1000 + 270 * 54
# + 192 * 3 + 924 * 48 = 141508 words; 758.8 + 690.957 = 1449.757.
# Regression: 758.8 + 13.2 * 1468 + 1.09e-5 * 32 * 141508 = 20185.758.
# Biases among the weights (57 words): 462 * 57 for 270 * 54 + 192 * 3: + 11178 words.
@pytest.mark.parametrize(
    ("variant", "total", "published"),
    [
        ("piecewise", 758.8 + 141_508 * 10 / 2048, 1_450),
        ("bus64", 8_098.8, 8_099),
        ("regression", 758.8 + 13.2 * 1468 + 1.09e-5 * 32 * 141_508, 20_186),
        ("piecewise_merged_bias", 758.8 + 152_686 * 10 / 2048, 1_504),
    ],
)
def test_one_layer_with_the_same_counts_costs_fourteen_times_as_much(
    variant: str, total: float, published: int
) -> None:
    found = bill(convolution(10, 72), f"lemaire_2022:{variant}")
    assert found.total_pj == pytest.approx(total, rel=1e-12)
    assert round(total) == published  # specs/measurement.md, finding 3


@pytest.mark.parametrize(
    ("words", "piecewise", "regression"),
    [
        (2048, 10.0, 13.2 + 1.09e-5 * 65_536),  # 8 KiB of 32 bits
        (8192, 20.0, 13.2 + 1.09e-5 * 262_144),
        (1024, 5.0, 13.2 + 1.09e-5 * 32_768),
        (262_144, 100.0, 13.2 + 1.09e-5 * 8_388_608),  # 1 MiB
        (10**9, 100.0, 13.2 + 1.09e-5 * 32 * 10**9),  # clamped; the regression is not
    ],
)
def test_three_readings_of_an_access(words: int, piecewise: float, regression: float) -> None:
    assert piecewise_pj(words) == pytest.approx(piecewise, rel=1e-12)
    assert bus64_pj(words) == 5.0
    assert regression_pj(words) == pytest.approx(regression, rel=1e-12)


def linear(operand: str, *, shape: Shape | None = OF_LINEAR, **more: Any) -> Ledger:
    """Return Linear(3, 5) without bias, two events in, and five IF neurons of which one fires."""
    return made(
        1,
        1,
        fc={"operand": operand, "shape": shape, "ac": 1, "dense_valid": 15, "inputs_nonzero": 2},
        **{"if": {"neurons": 5, "spikes": 1}},
        **more,
    )


def test_the_errata_move_exactly_what_they_say() -> None:
    def operations(operand: str, variant: str) -> tuple[float, float]:
        found = bill(linear(operand), f"lemaire_2022:{variant}").by_category
        return found["operations"], found["addressing"]

    # Two spikes to 5 outputs, one reset: 11 adds. As printed: 2 * 3 * 5 and no reset: 30.
    assert operations("binary", "piecewise") == pytest.approx((1.1, 1.0))
    assert operations("binary", "piecewise_as_printed") == pytest.approx((3.0, 1.0))
    # Analog: 15 MAC of 3.2 and one reset; addresses 3 + 5, or one for each of 15 weights.
    assert operations("analog", "piecewise") == pytest.approx((48.1, 0.8))
    assert operations("analog", "piecewise_every_address") == pytest.approx((48.1, 1.5))


def bus64(network: nn.Module, stimulus: torch.Tensor) -> dict[str, float]:
    """Return the bill of one run where every access costs 5 pJ."""
    return {**bill(measure(network.eval(), stimulus), "lemaire_2022:bus64").by_category}


def test_an_integer_arrives_a_unit_at_a_time() -> None:
    found = bus64(nn.Linear(3, 5, bias=False), torch.tensor([[2.0, 0.0, 1.0]]))
    # Three units to 5 outputs: 15 additions, addresses and weights, 15 potentials read and written.
    assert found == pytest.approx(
        {
            "operations": 15 * 0.1,
            "addressing": 15 * 0.1,
            "inputs": 3 * 5.0,
            "weights": 15 * 5.0,
            "potentials": 30 * 5.0,
        }
    )


def test_averaged_spikes_arrive_as_spikes() -> None:
    spikes = torch.zeros(1, 1, 4, 4)
    spikes[..., :2, :2] = 1.0  # one window of four
    found = bus64(nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 2, 1, bias=False)), spikes)
    # Four spikes to 2 outputs: 8 additions, and 8 more and 8 MAC of 3.2 to address.
    assert found == pytest.approx(
        {
            "operations": 8 * 0.1,
            "addressing": 8 * 0.1 + 8 * 3.2,
            "inputs": 4 * 5.0,
            "weights": 8 * 5.0,
            "potentials": 16 * 5.0,
        }
    )


@pytest.mark.parametrize(("place", "units"), [(1, 3), (0, 2)])
def test_units_at_a_border_are_too_few_but_one_a_value_at_least(place: int, units: int) -> None:
    frame = torch.zeros(1, 1, 5, 5)
    frame[..., 2, 2] = 1.0
    frame[..., place, place] = 2.0
    found = bus64(nn.Conv2d(1, 1, 3, padding=1, bias=False), frame)
    # Within, 2 reaches 9 outputs twice: 27 accumulates. In the corner it reaches 4: 17 for two.
    assert found["inputs"] == pytest.approx(units * 5.0)
    assert found["operations"] == pytest.approx(units * 9 * 0.1)


def test_a_folded_norm_is_the_bias_that_it_folds_into() -> None:
    plain = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    norm = nn.BatchNorm2d(2)
    nn.init.constant_(norm.running_mean, 0.5)
    spikes = torch.zeros(1, 1, 4, 4)
    spikes[..., 1, 1] = 1.0
    without = measure(plain.eval(), spikes)
    normed = measure(nn.Sequential(plain, norm).eval(), spikes)
    biased = measure(nn.Conv2d(1, 2, 3, padding=1).eval(), spikes)
    for variant in ("piecewise", "bus64", "regression", "piecewise_merged_bias"):
        model = f"lemaire_2022:{variant}"
        mine, theirs = panel(normed).lines[model], panel(biased).lines[model]
        assert mine.bill.by_category == theirs.bill.by_category
        assert mine.ratio["dense"] == theirs.ratio["dense"]
    # A bias read and added an output: 32 of 5 + .1 pJ, and as many in the artificial network.
    mine, plainly = (panel(one).lines["lemaire_2022:bus64"] for one in (normed, without))
    assert mine.bill.partial_pj - plainly.bill.partial_pj == pytest.approx(32 * 5.1)
    dense = [line.bill.partial_pj / (line.ratio["dense"] or 1) for line in (mine, plainly)]
    assert dense[0] - dense[1] == pytest.approx(32 * 5.1)


def test_the_artificial_baseline_is_the_artificial_columns() -> None:
    ratio = panel(linear("binary")).lines["lemaire_2022:bus64"].ratio
    spiking = bill(linear("binary"), "lemaire_2022:bus64").total_pj
    assert spiking is not None
    # 15 MAC, 8 addresses, and reads of 3 inputs, 15 weights, writes of 5 outputs at 5 pJ.
    assert ratio["dense"] == pytest.approx(spiking / (15 * 3.2 + 0.8 + 23 * 5))
    assert ratio["twin"] is None


def test_without_shapes_or_beyond_its_layers_there_is_no_total() -> None:
    found = bill(linear("binary", shape=None), "lemaire_2022:bus64")
    assert found.unpriced == ("layer 'fc', whose shape the ledger does not have",)
    foreign = linear("binary", sum={"operand": "integer", "residual_add": 4})
    assert "residual_add" in bill(foreign, "lemaire_2022:bus64").unpriced[0]


def test_spikingjelly_agrees_on_what_it_ran() -> None:
    torch.manual_seed(0)
    first = layer.Conv2d(2, 3, 3, stride=2, padding=1, step_mode="m")
    network = nn.Sequential(first, neuron.LIFNode(step_mode="m", v_threshold=0.2))
    stimulus = (torch.rand(4, 5, 2, 4, 4) > 0.5).float()  # [T, N, C, H, W]
    report = estimate_lemaire_energy(network.eval(), stimulus)
    functional.reset_net(network)
    ours = convolution(
        int(stimulus.sum()),
        int(network(stimulus).sum()),
        samples=5,
        shape=replace(SHAPE, stride=(2, 2), output_size=(2, 2)),
        neurons=12,
    )
    found = bill(ours, "lemaire_2022:piecewise_merged_bias").by_category
    # SpikingJelly takes the potentials of the whole batch for one memory; ours are a
    # sample's, so what lies below 8 KiB costs a fifth.
    assert found["potentials"] * 5 == pytest.approx(report.breakdown_pj["potential_pj"] / 5)
    theirs = {key: pj / 5 for key, pj in report.breakdown_pj.items()}
    assert found["operations"] == pytest.approx(theirs["ops_pj"])
    assert found["addressing"] == pytest.approx(theirs["addressing_pj"])
    assert found["inputs"] + found["outputs"] == pytest.approx(theirs["inout_pj"])
    assert found["weights"] + found["biases"] == pytest.approx(theirs["params_pj"])
