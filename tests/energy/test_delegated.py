"""Models that SpikingJelly computes: handed over whole, refused in words."""

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter.neuromc import estimate_neuromc_runtime_energy
from spikingjelly.activation_based.op_counter.spikesim import estimate_spikesim_energy
from torch import Tensor, nn

from harness.contracts.ledger import Ledger
from harness.energy import bill, panel, spikingjelly_neuromc, spikingjelly_spikesim

NOTHING = Ledger(samples=1, steps=1, layers={})


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    first = layer.Conv2d(1, 4, 3, padding=1, step_mode="m")
    return nn.Sequential(first, neuron.IFNode(step_mode="m")).eval()


@pytest.fixture
def stimulus() -> Tensor:
    return (torch.rand(4, 2, 1, 6, 6) > 0.5).float()  # [T, N, C, H, W]


def test_a_delegated_bill_is_the_delegates_own_total_per_sample(
    network: nn.Sequential, stimulus: Tensor
) -> None:
    theirs = estimate_neuromc_runtime_energy(network, stimulus).energy_total_pj
    functional.reset_net(network)
    ours = spikingjelly_neuromc.bill_network(network, stimulus, samples=2)
    assert ours.total_pj == pytest.approx(theirs / 2)
    functional.reset_net(network)
    theirs = estimate_spikesim_energy(network, stimulus).energy_total_pj
    functional.reset_net(network)
    ours = spikingjelly_spikesim.bill_network(network, stimulus, samples=2)
    assert ours.total_pj == pytest.approx(theirs / 2)
    assert any("Conv2d" in sentence for sentence in ours.assumptions)


def test_what_the_delegate_refuses_is_missing_with_its_reason() -> None:
    found = spikingjelly_neuromc.bill_network(
        nn.Sequential(nn.Linear(3, 3), nn.GELU()), torch.rand(2, 3), samples=2
    )
    assert found.total_pj is None
    assert found.label.startswith("missing: SpikingJelly refuses: NeuroMC runtime does not support")


def test_counts_alone_are_answered_with_what_to_call() -> None:
    found = bill(NOTHING, "spikingjelly_spikesim:dense")
    assert "call harness.energy.spikingjelly_spikesim.bill_network" in found.label


def test_without_spikingjelly_the_bill_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.energy._delegated.find_spec", lambda _: None)
    found = spikingjelly_spikesim.bill_network(None, None, samples=1)
    assert found.label == "missing: spikingjelly is not installed"


def test_a_panel_takes_delegated_bills_in(network: nn.Sequential, stimulus: Tensor) -> None:
    ours = spikingjelly_spikesim.bill_network(network, stimulus, samples=2, activity="event")
    lines = panel(NOTHING, delegated={ours.model: ours}).lines
    assert lines["spikingjelly_spikesim:event"].bill is ours
    assert lines["spikingjelly_spikesim:dense"].bill.total_pj is None
