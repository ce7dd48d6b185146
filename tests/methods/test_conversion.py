"""The neuron a network is converted to, and what stands for it while it is trained."""

import pytest
import torch
from torch import nn

from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from harness.training import put_in_slots, slots
from harness.training.conversion import (
    QcfsActivation,
    QuantileRelu,
    ScaledIntegrator,
    integrator,
    integrators,
    pool_by_mean,
    quantile_of,
    twin_of,
)
from tests.methods.small import Kind, student

BACKENDS = ["reference", "norse", "spikingjelly"]


def _neurons(backend: str, *, scale: float, share: float) -> nn.Module:
    return integrator(student(backend=backend), scale=scale, share=share)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scaled_integrator_starts_at_its_share_and_subtracts_its_threshold(backend: str) -> None:
    # Threshold 2 from v = 1: 1.5; 2.75 fires, leaves 0.75; 3.75 fires, leaves 1.75; 0.75.
    current = torch.tensor([0.5, 1.25, 3.0, -1.0]).view(4, 1, 1)
    record: list[torch.Tensor] = []
    spikes = _neurons(backend, scale=2.0, share=0.5)(current, record)
    assert spikes.flatten().tolist() == [0, 2, 2, 0]
    assert record[0].flatten().tolist() == [1.5, 2.75, 3.75, 0.75]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_the_rate_is_the_clipped_current_within_one_spike(backend: str, scale: float) -> None:
    steps = 16
    current = torch.linspace(-2, 8, 101, dtype=torch.float64)
    neurons = _neurons(backend, scale=scale, share=0.0)
    mean = neurons(current.expand(steps, 1, -1)).mean(0)[0]
    short_by = current.clamp(0, scale) - mean
    # From an empty membrane the last spike is at most late, never early.
    assert short_by.min() > -1e-6
    assert short_by.max() < scale / steps + 1e-6


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_with_as_many_levels_as_steps_conversion_is_exact(steps: int) -> None:
    # Powers of two as scale and levels, so that nothing is rounded on either side.
    generator = torch.Generator().manual_seed(0)
    current = 6 * torch.rand(1000, dtype=torch.float64, generator=generator) - 2
    artificial = QcfsActivation(levels=steps, scale=2.0)
    spiking = _neurons("reference", scale=2.0, share=0.5)
    mean = spiking(current.expand(steps, 1, -1)).mean(0)[0]
    assert torch.equal(mean, artificial(current))


def test_over_other_steps_the_expected_error_is_zero() -> None:
    # Currents spread evenly over 1000 cells of width 2 / 1000, symmetric about 1.
    current = (torch.arange(1000, dtype=torch.float64) + 0.5) / 500
    artificial = QcfsActivation(levels=4, scale=2.0)
    mean = _neurons("reference", scale=2.0, share=0.5)(current.expand(7, 1, -1)).mean(0)[0]
    assert not torch.equal(mean, artificial(current))
    assert (mean - artificial(current)).mean().item() == pytest.approx(0, abs=1e-12)


def test_qcfs_answers_and_its_gradients_are_those_of_the_formula() -> None:
    # Scale 2, 4 levels: h = floor(2 z + 1/2) / 2 in [0, 2]: steps of 1/2, halves rounded up.
    activation = QcfsActivation(levels=4, scale=2.0)
    current = torch.tensor([-0.3, 0.2, 0.3, 1.3, 5.0], requires_grad=True)
    answer = activation(current)
    assert answer.tolist() == [0.0, 0.0, 0.5, 1.5, 2.0]
    # dh/dscale is 0 below, (h - z) / scale inside, 1 above.
    expected = [0.0, -0.1, 0.1, 0.1, 1.0]
    for place, slope in enumerate(expected):
        (found,) = torch.autograd.grad(answer[place], activation.scale, retain_graph=True)
        assert found.item() == pytest.approx(slope, abs=1e-6)
    answer.sum().backward()
    assert current.grad is not None
    assert current.grad.tolist() == [0, 1, 1, 1, 0]


def test_a_threshold_is_not_rounded_with_the_currents() -> None:
    # 1 / 6.994 is 146.41 / 1024, so seven currents reach the threshold; the nearest number of
    # bfloat16 is 146 / 1024, and seven of those do not.
    current = torch.ones(7, 1, 1, dtype=torch.bfloat16)
    spikes = _neurons("reference", scale=6.994, share=0.0)(current)
    assert spikes.dtype == torch.bfloat16
    assert (spikes != 0).flatten().tolist() == [False] * 6 + [True]


def test_a_quantile_follows_the_answers_while_training() -> None:
    relu = QuantileRelu(quantile=1.0)
    relu(torch.tensor([-3.0, -1.0]))  # silent: the start stays
    assert relu.scale.item() == 1.0
    relu(torch.tensor([-3.0, 2.0, 4.0]))
    assert relu.scale.item() == 4.0
    relu(torch.tensor([9.0]))
    assert relu.scale.item() == pytest.approx(0.9 * 4 + 0.1 * 9)
    relu.eval()
    assert relu(torch.tensor([-1.0, 100.0])).tolist() == [0, 100]
    assert relu.scale.item() == pytest.approx(4.5)


def test_a_quantile_is_between_the_ordered_values() -> None:
    values = torch.arange(101.0).view(1, 101)
    assert quantile_of(values, 0.5).item() == 50
    assert quantile_of(values, 1).item() == 100
    assert quantile_of(torch.arange(3 * 2**20).float(), 0.5).item() == pytest.approx(
        1.5 * 2**20, rel=1e-5
    )


def test_averages_take_the_place_of_maxima() -> None:
    network = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), nn.Identity())
    pool_by_mean(network)
    images = torch.ones(1, 1, 4, 4)
    # A corner window of a padded average has 4 of 9 pixels.
    assert network(images)[0, 0].tolist()[0] == pytest.approx([4 / 9, 6 / 9])


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
def test_a_twin_and_its_student_have_one_memory(kind: Kind) -> None:
    learner = student(kind)
    put_in_slots(learner, lambda: integrator(learner, scale=3.0))
    twin = twin_of(learner, lambda: QcfsActivation(levels=4, scale=1.0))
    names = slots(learner)
    assert [twin.get_parameter(f"{name}.scale").item() for name in names] == [3.0] * len(names)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(1)
    twin(torch.rand(4, 1, 8, 8))  # in training mode: statistics move
    theirs = twin.state_dict()
    for name, value in learner.network.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert [each.scale.item() for each in integrators(learner.network)] == [4.0] * len(names)


def test_a_twin_draws_no_random_number() -> None:
    learner = student("vgg")
    put_in_slots(learner, lambda: integrator(learner))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    twin_of(learner, lambda: QcfsActivation(levels=4, scale=1.0))
    assert torch.equal(torch.rand(1), expected)


def test_a_converted_network_still_shows_its_membranes() -> None:
    learner = student("vgg", timesteps=2)
    put_in_slots(learner, lambda: integrator(learner, scale=0.5))
    learner.network.eval()
    taps = learner(torch.rand(2, 1, 8, 8), ["stem", "stem.membrane"]).taps
    assert torch.equal(taps["stem"], 0.5 * (taps["stem.membrane"] >= 0.5))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_meter_counts_scaled_spikes_and_no_scaling(backend: str) -> None:
    learner = student("resnet", backend=backend, timesteps=4)
    put_in_slots(learner, lambda: integrator(learner, scale=0.7, share=0.5))
    learner.network.eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = measure(learner.network, images, call=lambda x: learner(x).logits)
    assert not found.uncounted
    assert {layer.kind for layer in found.layers.values()} == {
        "convolution", "norm", "neuron", "residual", "pool", "linear",
    }  # fmt: skip
    weights = [layer for layer in found.layers.values() if layer.kind in {"convolution", "linear"}]
    assert weights[0].operand == "analog"
    assert {layer.operand for layer in weights[1:]} == {"scaled"}
    assert sum(layer.total.mac for layer in found.layers.values()) == weights[0].total.mac
    neurons = [layer for layer in found.layers.values() if layer.kind == "neuron"]
    assert len(neurons) == len(slots(learner))
    # An integrator adds and compares once a step, whatever its threshold and its start.
    steps = [4 * 3 * layer.neurons for layer in neurons]
    assert [layer.total.neuron_add for layer in neurons] == steps
    assert [layer.total.compare for layer in neurons] == steps
    assert all(layer.total.neuron_mul == 0 for layer in neurons)


def test_the_neurons_are_the_simulators_own() -> None:
    learner = student(backend="norse")
    found = integrator(learner)
    assert isinstance(found, ScaledIntegrator)
    inside = found.integrator.neuron
    assert type(inside) is type(learner.neuron(NeuronSpec()))
    assert inside.spec == NeuronSpec(kind="if", reset="subtract")
