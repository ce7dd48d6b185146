"""The derivative of spikes by a leaky neuron's total activity."""

import math

import pytest
import torch
from torch import Tensor

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec, Reset
from harness.training import slots
from suites.methods.direct import Direct
from suites.methods.spike_backprop import SpikeBackprop, TracedNeuron, derivative, leak_of
from tests.methods.small import lesson, student
from tests.methods.teaching_aids import NOBODY

LOG_HALF = math.log(0.5)


def test_the_derivative_is_corrected_by_the_leak_of_the_trace() -> None:
    # l = 1/2. Spikes at steps 2 and 3 of 3: f = 0, 1, 1.5 and N = 2.
    # At step 1 alone: f = 1, 1/2, 1/4 and N = 1. Never: 0.
    spikes = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    expected = [1 + LOG_HALF * 1.5 / 2, 1 + LOG_HALF * 0.25, 0.0]
    assert derivative(spikes, leak=0.5).tolist() == pytest.approx(expected, rel=1e-6)


def test_without_a_leak_the_derivative_is_one_wherever_there_was_a_spike() -> None:
    spikes = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert derivative(spikes, leak=1.0).tolist() == [1, 1, 0]


def test_a_spike_so_long_ago_that_its_trace_is_gone_counts_as_none() -> None:
    # f = 2^-10 = 0.00098 after ten silent steps, below the authors' 0.001.
    spikes = torch.zeros(11, 1)
    spikes[0] = 1
    residue = LOG_HALF * 2**-10
    assert derivative(spikes, leak=0.5).item() == pytest.approx(residue, rel=1e-5)
    # After nine it is 0.00195, and counts.
    recent = 1 + LOG_HALF * 2**-9
    assert derivative(spikes[:-1], leak=0.5).item() == pytest.approx(recent, rel=1e-5)


def _gradient(spec: NeuronSpec, current: list[float], weights: list[float]) -> list[float]:
    neurons = TracedNeuron(student().neuron(spec), spec)
    given = torch.tensor(current).view(-1, 1, 1).requires_grad_()
    spikes = neurons(given)
    (spikes * torch.tensor(weights).view(-1, 1, 1)).sum().backward()
    assert given.grad is not None
    return [*given.grad.flatten().tolist()]


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_errors_reach_all_inputs_since_the_reset_before(reset: Reset) -> None:
    # tau 2: v = 0.5; 0.25 + 0.75 = 1 fires and leaves 0 either way; 1 fires.
    spec = NeuronSpec(kind="lif", tau=2.0, scale_input=False, reset=reset)
    slope = 1 + LOG_HALF * 1.5 / 2
    found = _gradient(spec, [0.5, 0.75, 1.0], [1.0, 2.0, 4.0])
    # The decay passes errors undiminished. A reset to zero stops them; one that subtracts,
    # detached, does not: 4 flows on to the steps before.
    later = 0.0 if reset == "zero" else 4.0
    expected = [slope * (2 + later), slope * (2 + later), slope * 4]
    assert found == pytest.approx(expected, rel=1e-6)


def test_threshold_and_input_gain_divide_the_derivative() -> None:
    # Threshold 2, tau 4, l = 3/4, scaled input: v = 16/4 = 4 fires in a single step, f = N = 1.
    spec = NeuronSpec(kind="lif", tau=4.0, v_threshold=2.0)
    expected = (1 / 2) * (1 / 4) * (1 + math.log(0.75))
    assert _gradient(spec, [16.0], [1.0]) == pytest.approx([expected], rel=1e-6)


def test_an_integrators_input_has_no_gain() -> None:
    spec = NeuronSpec(kind="if", tau=4.0)
    assert _gradient(spec, [0.5, 0.5, 0.25], [1.0, 3.0, 5.0]) == [3, 3, 0]


def test_a_silent_neuron_learns_nothing() -> None:
    assert _gradient(NeuronSpec(kind="if"), [0.25, 0.25], [1.0, 1.0]) == [0, 0]


@pytest.mark.parametrize("backend", ["reference", "norse", "spikingjelly"])
def test_inference_is_that_of_the_suites_own_network(backend: str) -> None:
    plain = student("vgg", backend=backend, timesteps=4)
    ours = student("vgg", backend=backend, timesteps=4, method=SpikeBackprop())
    assert [*plain.network.state_dict()] == [*ours.network.state_dict()]
    stimulus = next(iter(lesson(None))).stimulus
    taps = ["stem", "stem.membrane"]
    for mode in (True, False):
        plain.network.train(mode)
        ours.network.train(mode)
        expected, found = plain(stimulus, taps), ours(stimulus, taps)
        assert torch.equal(found.logits, expected.logits)
        assert all(torch.equal(found.taps[name], expected.taps[name]) for name in taps)


def test_every_layer_is_taught() -> None:
    method = SpikeBackprop()
    learner = student("resnet", method=method, timesteps=4)
    before = {name: value.clone() for name, value in learner.network.named_parameters()}
    list(method.fit(learner, lesson(None)))
    still = [
        name for name, value in learner.network.named_parameters()
        if torch.equal(value, before[name])
    ]  # fmt: skip
    assert not still
    assert slots(learner)


def test_it_teaches_otherwise_than_a_surrogate() -> None:
    def trained(method: SpikeBackprop | Direct) -> Tensor:
        learner = student("vgg", method=method, timesteps=4)
        output = learner(next(iter(lesson(None))).stimulus)
        output.logits.mean(0)[:, 0].sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        gradient = learner.network.get_parameter("layer1.0.conv.weight").grad
        assert gradient is not None
        return gradient

    assert not torch.allclose(trained(SpikeBackprop()), trained(Direct()), rtol=0.01)


def test_the_loss_is_the_squared_error_summed_over_classes() -> None:
    # Means (1, 0, 0.5) and label 0: 0 + 0 + 0.25; means (0, 0, 0) and label 2: 1.
    logits = torch.tensor([[[2.0, 1.0, 1.0], [0, 0, 0]], [[0.0, -1.0, 0.0], [0, 0, 0]]])
    for method, weight in ((SpikeBackprop(), 1.0), (SpikeBackprop(weight=0.5), 0.5)):
        loss = method.loss(Output(logits=logits), NOBODY, torch.tensor([0, 2]))
        assert loss.item() == pytest.approx(weight * (0.25 + 1) / 2, rel=1e-6)


def test_leaks_without_such_a_derivative_are_refused() -> None:
    assert leak_of(NeuronSpec(kind="lif", tau=4.0)) == 0.75
    assert leak_of(NeuronSpec(kind="if", tau=1.1)) == 1.0
    with pytest.raises(UnsupportedError, match="positive only above"):
        leak_of(NeuronSpec(kind="lif", tau=1.5))
    with pytest.raises(UnsupportedError, match="leak that is trained"):
        student(method=SpikeBackprop(), spec=NeuronSpec(kind="plif"))
