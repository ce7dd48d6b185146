"""What is particular to each simulator; what they have in common is in tests/conformance."""

import copy
import importlib
import math
import subprocess
import sys
from dataclasses import replace
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.neuron import NeuronSpec, Reset, Surrogate
from harness.neurons import packaged
from harness.neurons.activation import activation
from harness.neurons.conformance import FORMS

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def load(name: str) -> Backend:
    return cast(Backend, discovery.load("backends", name))


def random_current(spec: NeuronSpec, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return spec.v_threshold * (0.8 + 1.5 * drawn)


def gradient_of(answer: Tensor, current: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, answer.numel()).view(answer.shape)
    (gradient,) = torch.autograd.grad(answer, current, weights)
    return gradient


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("reset", "expected"), [("subtract", [3, 6, 8]), ("zero", [3, 6, 9])])
def test_an_integrator_fires_when_the_charge_reaches_threshold(
    simulator: Backend, reset: Reset, expected: list[int], dtype: torch.dtype
) -> None:
    # 3/8 is exact in binary. After two subtractions 2 charges of 3/8 are left over from 1/4,
    # which make 1 exactly in step 8: a tie, and it fires.
    neuron = simulator.neuron(NeuronSpec(kind="if", reset=reset))
    spikes: Tensor = neuron(torch.full((9, 1), 0.375, dtype=dtype))
    assert (spikes.flatten().nonzero().flatten() + 1).tolist() == expected


@pytest.mark.parametrize("tau", [2.0, 3.0, 10.0])
def test_a_leaky_neuron_first_fires_at_the_analytic_step(simulator: Backend, tau: float) -> None:
    # From rest v_n = x (1 - (1 - 1/tau)^n), so 1 is passed in step ceil(ln(1 - 1/x)/ln(1 - 1/tau)).
    x = torch.tensor([1.2, 1.7, 3.3])
    steps = (torch.log(1 - 1 / x) / math.log(1 - 1 / tau)).ceil().int()
    spikes: Tensor = simulator.neuron(NeuronSpec(tau=tau))(x.expand(40, 3))
    assert torch.equal(spikes.argmax(0) + 1, steps)


def test_weights_move_between_simulators_and_there_are_none_but_w(simulator: Backend) -> None:
    for spec in FORMS:
        states = [simulator.neuron(spec).state_dict(), load("reference").neuron(spec).state_dict()]
        assert all(list(state) == (["w"] if spec.kind == "plif" else []) for state in states)
        if spec.kind == "plif":
            moved = load("reference").neuron(replace(spec, tau=5.0))
            moved.load_state_dict(states[0])
            assert torch.equal(moved.state_dict()["w"], states[0]["w"])
        else:
            nn.ReLU().load_state_dict(states[0])


def test_a_moved_w_is_what_the_neuron_leaks_by(simulator: Backend) -> None:
    spec = NeuronSpec(kind="plif", tau=2.0)
    moved = simulator.neuron(spec)
    moved.load_state_dict(simulator.neuron(replace(spec, tau=4.0)).state_dict())
    record: list[Tensor] = []
    moved(torch.full((1, 1), 2.0), record)
    # 2/4; the sigmoid and the division each lose a few roundings.
    assert float(record[0].detach()) == pytest.approx(0.5, rel=8 * 2**-24)


def test_simulators_agree_on_every_spike_and_nearly_on_gradients(simulator: Backend) -> None:
    # The laws bound each by itself; here they meet, on currents none of which is excused.
    for form in FORMS:
        spec = replace(form, tau=3.0, detach_reset=False)
        current = random_current(spec, 4, 500).requires_grad_()
        spikes: Tensor = simulator.neuron(spec)(current)
        expected: Tensor = load("reference").neuron(spec)(current)
        assert torch.equal(spikes, expected)
        difference = gradient_of(spikes, current) - gradient_of(expected, current)
        assert float(difference.abs().max()) < 1e-5


def test_narrow_currents_are_gathered_in_a_float32_membrane(simulator: Backend) -> None:
    # 1/512 more than 1 is lost in bfloat16, which has 8 bits; 300 of them make 1.5859375.
    record: list[Tensor] = []
    neuron = simulator.neuron(NeuronSpec(kind="if", v_threshold=2.0))
    current = torch.full((301, 1), 2.0**-9, dtype=torch.bfloat16)
    current[0] = 1.0
    spikes: Tensor = neuron(current, record)
    assert spikes.dtype == torch.bfloat16
    assert float(record[0][-1]) == 1 + 300 / 512


# Norse


@settings(deadline=None, max_examples=100)
@given(
    v_threshold=st.floats(2.0**-100, 2.0**100, width=32),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_norse_told_a_threshold_just_below_fires_at_the_threshold(
    v_threshold: float, dtype: torch.dtype
) -> None:
    norse = pytest.importorskip("backends.norse.neuron")
    threshold = torch.tensor(v_threshold, dtype=dtype)
    below = torch.nextafter(threshold, torch.zeros((), dtype=dtype))
    above = torch.nextafter(threshold, torch.tensor(torch.inf, dtype=dtype))
    # Norse's own test of a membrane is v - v_th > 0.
    fires = torch.stack([below, threshold, above]) - norse.just_below(v_threshold, dtype) > 0
    assert fires.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("surrogate", "method", "sharpness"),
    [
        # Norse's triangle is alpha max(0, 1 - |x|): ours at alpha 1.
        (Surrogate(name="triangle", alpha=1.0), "triangle", 1.0),
        # 1 - tanh(k x)^2 = 4 s (1 - s) with s = sigmoid(2 k x): ours at alpha 4, for k = 2.
        (Surrogate(name="sigmoid", alpha=4.0), "tanh", 2.0),
        # Norse's superspike is 1/(1 + |x|)^2, whatever its alpha: ours at alpha 1.
        (Surrogate(name="superspike", alpha=1.0), "super", 7.0),
    ],
)
def test_norse_has_the_gradients_of_its_own_surrogates_where_the_formulas_agree(
    surrogate: Surrogate, method: str, sharpness: float
) -> None:
    lif_box = pytest.importorskip("norse.torch.functional.lif_box")
    spec = NeuronSpec(surrogate=surrogate, detach_reset=False)
    current = random_current(spec, 5, 200).requires_grad_()
    spikes: Tensor = load("norse").neuron(spec)(current)
    # Norse's own neuron, with dt tau_mem_inv = 1/2; it fires at v > v_th, and nothing ties.
    own = lif_box.LIFBoxParameters(
        tau_mem_inv=torch.tensor(0.5), method=method, alpha=torch.tensor(sharpness)
    )
    state = lif_box.LIFBoxFeedForwardState(v=torch.zeros(200))
    fired = []
    for x in current:
        z, state = lif_box.lif_box_feed_forward_step(x, state, own, dt=1.0)
        fired.append(z)
    expected = torch.stack(fired)
    assert torch.equal(spikes, expected)
    # Two orders of evaluation, 5 steps: relative to gradients of size 1, some dozen roundings.
    difference = gradient_of(spikes, current) - gradient_of(expected, current)
    assert float(difference.abs().max()) < 24 * 2**-23


# SpikingJelly


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", ["if", "lif", "plif"])
def test_spikingjelly_is_spikingjellys_own_node(kind: str, reset: str) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogates = pytest.importorskip("spikingjelly.activation_based.surrogate")
    spec = NeuronSpec(kind=kind, reset=reset, tau=4.0)  # type: ignore[arg-type]  # parametrised over the literals
    ours = load("spikingjelly").neuron(spec)
    common = {
        "v_reset": 0.0 if reset == "zero" else None,
        "surrogate_function": surrogates.ATan(alpha=2.0),
        "detach_reset": True,
        "step_mode": "m",
    }
    theirs = {
        "if": lambda: neuron.IFNode(**common),
        "lif": lambda: neuron.LIFNode(tau=4.0, **common),
        "plif": lambda: neuron.ParametricLIFNode(init_tau=4.0, **common),
    }[kind]()
    current = random_current(spec, 5, 200).requires_grad_()
    spikes: Tensor = ours(current)
    expected: Tensor = theirs(current)
    assert torch.equal(spikes, expected)
    assert torch.equal(gradient_of(spikes, current), gradient_of(expected, current))


def test_spikingjellys_superspike_is_replaced_where_its_formula_is_another() -> None:
    adapter = pytest.importorskip("backends.spikingjelly.neuron")
    x = torch.tensor([-0.5, 0.25], requires_grad=True)
    for alpha, expected in ((1.0, [4 / 9, 16 / 25]), (2.0, [1 / 4, 4 / 9])):
        fire = adapter.surrogate_function(Surrogate(name="superspike", alpha=alpha))
        (gradient,) = torch.autograd.grad(fire(x).sum(), x)
        assert gradient.tolist() == pytest.approx(expected, rel=4 * 2**-24)


# snnTorch


def test_snntorch_is_snntorchs_own_leaky_neuron_where_that_resets_to_zero() -> None:
    snntorch = pytest.importorskip("snntorch")
    spec = NeuronSpec(tau=4.0, scale_input=False)
    current = random_current(spec, 5, 200).requires_grad_()
    spikes: Tensor = load("snntorch").neuron(spec)(current)
    own = snntorch.Leaky(beta=0.75, reset_mechanism="zero")  # its surrogate is our atan of 2
    state, fired = own.reset_mem(), []
    for x in current:
        z, state = own(x, state)
        fired.append(z)
    expected = torch.stack(fired)
    assert torch.equal(spikes, expected)
    # As for Norse's: two orders of evaluation, relative to gradients of size 1.
    difference = gradient_of(spikes, current) - gradient_of(expected, current)
    assert float(difference.abs().max()) < 24 * 2**-23


# With tau 2 and threshold 1: v = 2, a spike, and then (2 - 1)/2 + 3/4 is 5/4, which fires. Who
# subtracts after the leak has 2/2 + 3/4 - 1, and does not.
LATE = torch.tensor([[2.0], [0.75]])
SUBTRACTS = NeuronSpec(reset="subtract", scale_input=False)


def test_snntorchs_own_leaky_neuron_subtracts_after_the_leak_and_ours_before() -> None:
    snntorch = pytest.importorskip("snntorch")
    own = snntorch.Leaky(beta=0.5, reset_mechanism="subtract")
    first, state = own(LATE[0], own.reset_mem())
    second, state = own(LATE[1], state)
    assert (float(first), float(second), float(state)) == (1, 0, 0.75)
    assert load("snntorch").neuron(SUBTRACTS)(LATE).flatten().tolist() == [1, 1]


def test_snntorch_keeps_no_neuron_and_no_graph_of_ours() -> None:
    snntorch = pytest.importorskip("snntorch")
    before = len(snntorch.SpikingNeuron.instances)
    neuron = load("snntorch").neuron(NeuronSpec(kind="plif"))
    neuron(torch.ones(3, 2, requires_grad=True))
    assert len(snntorch.SpikingNeuron.instances) == before
    copy.deepcopy(neuron)  # refused while something that was computed hangs on it


# Sinabs


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_sinabs_is_sinabs_own_layer_told_to_fire_once(reset: Reset) -> None:
    layers = pytest.importorskip("sinabs.layers")
    activation = importlib.import_module("sinabs.activation")
    spec = NeuronSpec(tau=4.0, scale_input=False, reset=reset)
    current = random_current(spec, 5, 200)
    told = {
        # exp(-1/tau_mem) = 3/4
        "tau_mem": -1 / math.log(0.75),
        "norm_input": False,
        "spike_fn": activation.SingleSpike,
        "reset_fn": {
            "zero": activation.MembraneReset(),
            "subtract": activation.MembraneSubtract(),
        }[reset],
    }
    own = layers.LIF(**told)(current.transpose(0, 1)).transpose(0, 1)
    assert torch.equal(load("sinabs").neuron(spec)(current), own)


def test_sinabs_own_layer_fires_as_often_as_the_threshold_fits_and_ours_once() -> None:
    layers = pytest.importorskip("sinabs.layers")
    spec = NeuronSpec(kind="if", reset="subtract")
    charge = torch.full((1, 1), 5.25)
    assert float(layers.IAF()(charge.unsqueeze(0))) == 5
    assert float(load("sinabs").neuron(spec)(charge)) == 1


# Spyx


def test_spyx_integrates_as_spyx_own_integrator_which_answers_a_step_late() -> None:
    spyx = pytest.importorskip("spyx.nn")
    jnp = importlib.import_module("jax.numpy")
    spec = NeuronSpec(kind="if", reset="subtract")
    current = random_current(spec, 5, 200)
    own, state, fired = spyx.IF((200,)), jnp.zeros(200), []
    for x in [*current.numpy(), current[0].numpy()]:
        z, state = own(jnp.asarray(x), state)
        fired.append(torch.from_dlpack(z))
    assert not fired[0].any()
    assert torch.equal(load("spyx").neuron(spec)(current), torch.stack(fired[1:]))


def test_spyx_own_leaky_neuron_subtracts_after_the_leak_and_ours_before() -> None:
    spyx = pytest.importorskip("spyx.nn")
    jnp = importlib.import_module("jax.numpy")
    own, state, fired = spyx.LIF((1,), beta=0.5, rngs=None), jnp.zeros(1), []
    for x in (*LATE.numpy(), LATE[0].numpy()):
        z, state = own(jnp.asarray(x), state)
        fired.append(float(z[0]))
    assert fired == [0, 1, 0]
    assert load("spyx").neuron(SUBTRACTS)(LATE).flatten().tolist() == [1, 1]


def test_spyx_leaves_what_torch_writes_afterwards_out() -> None:
    pytest.importorskip("spyx.nn")
    neuron, current = load("spyx").neuron(NeuronSpec(kind="if")), torch.full((4, 2**16), 1.0)
    for _ in range(5):
        spikes: Tensor = neuron(current)
        current.zero_()
        assert spikes.all()
        current.fill_(1.0)


# BrainPy


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_brainpy_detaches_the_reset_and_answers_attached_spikes(reset: Reset) -> None:
    pytest.importorskip("brainpy")
    spec = NeuronSpec(reset=reset, detach_reset=True)
    current = torch.full((1, 1), 3.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(load("brainpy").neuron(spec)(current).sum(), current)
    # v = 3/2, and the atan of 2 has the slope 1 / (1 + (pi x)^2) at x = 1/2.
    assert float(gradient) == pytest.approx(0.5 / (1 + (math.pi / 2) ** 2), rel=1e-6)


def test_brainpys_own_integrator_leaks_and_does_not_fire_and_ours_does() -> None:
    brainpy = pytest.importorskip("brainpy")
    own = brainpy.dyn.IF((1,), tau=2.0, method="euler", mode=brainpy.math.training_mode)
    brainpy.share.save(t=0.0, dt=1.0)
    membranes = [float(own.update(4.0)[0, 0]) for _ in range(2)]
    assert membranes == [2.0, 3.0]  # 4/2, and 2 + (4 - 2)/2: above 1, and not reset
    spikes: Tensor = load("brainpy").neuron(NeuronSpec(kind="if"))(torch.full((2, 1), 4.0))
    assert spikes.flatten().tolist() == [1, 1]


def test_brainpys_step_and_mode_are_left_as_they_were() -> None:
    brainpy = pytest.importorskip("brainpy")
    brainpy.share.save(dt=0.25)
    before = dict(brainpy.share.get_shargs())
    load("brainpy").neuron(NeuronSpec(tau=7.0))(torch.ones(3, 5))
    assert dict(brainpy.share.get_shargs()) == before


def test_what_is_compiled_forward_serves_every_surrogate() -> None:
    pytest.importorskip("brainpy")
    through_jax = importlib.import_module("harness.neurons.through_jax")
    neurons = [
        load("brainpy").neuron(NeuronSpec(surrogate=Surrogate(name=name), detach_reset=detach))
        for name in ("atan", "sigmoid")
        for detach in (True, False)
    ]
    neurons[0](torch.ones(2, 3))
    before = through_jax._forward.cache_info().misses
    for neuron in neurons:
        neuron(torch.ones(2, 3))
    assert through_jax._forward.cache_info().misses == before


# Simulators that are not there


@pytest.mark.parametrize("name", ["brainpy", "norse", "sinabs", "snntorch", "spikingjelly", "spyx"])
def test_a_simulator_that_is_not_installed_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load(name)
    monkeypatch.setattr(packaged, "find_spec", lambda _: None)
    words = backend.unsupported(NeuronSpec())
    assert words is not None
    assert "pip install" in words
    assert backend.version == "not installed"
    with pytest.raises(UnsupportedError, match="not installed"):
        backend.neuron(NeuronSpec())


@pytest.mark.parametrize("name", discovery.names("backends"))
def test_asking_a_simulator_imports_neither_it_nor_torch(name: str) -> None:
    code = f"""
import sys
from harness import discovery
from harness.contracts.neuron import NeuronSpec
backend = discovery.load("backends", {name!r})
assert backend.name == {name!r} and backend.version
backend.unsupported(NeuronSpec())
print(sorted({{"torch", "jax", *discovery.names("backends")}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_neuron_without_the_mark_is_refused_before_it_passes_for_a_stateless_layer() -> None:
    class Unmarked:
        name = "unmarked"

        def unsupported(self, _spec: NeuronSpec) -> None:
            return None

        def neuron(self, _spec: NeuronSpec) -> nn.Module:
            return nn.Identity()

    made = activation(cast(Backend, Unmarked()), NeuronSpec())
    with pytest.raises(SpecError, match=r"unmarked.neuron made a Identity.*SpikingNeuron"):
        made()
