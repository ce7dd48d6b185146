"""What a neuron is in NIR, by NIR's own equations, and what is refused."""

import json
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.exchange.nir_neurons import DT_S, node_of, spec_of
from harness.neurons.spiking import SpikingNeuron
from tests.exchange.networks import backend

F64 = np.dtype(np.float64)
SHAPE = (2, 3)


def node(spec: NeuronSpec, dtype: np.dtype[Any] = F64, dt_s: float = DT_S) -> Any:
    return node_of(backend().neuron(spec), SHAPE, dtype, dt_s=dt_s)


def stepped(node: Any, currents: np.ndarray, dt_s: float) -> np.ndarray:
    """Return the spikes by NIR's equations, in forward steps of ``dt_s``."""
    v = np.zeros(SHAPE)
    spikes = []
    for current in currents:
        if isinstance(node, nir.IF):
            v = v + dt_s * node.r * current
        else:
            v = v + dt_s / node.tau * (node.v_leak - v + node.r * current)
        z = v > node.v_threshold
        v = np.where(z, node.v_reset, v)
        spikes.append(z)
    return np.stack(spikes).astype(float)


@pytest.mark.parametrize(
    "spec",
    [
        NeuronSpec(),
        NeuronSpec(tau=1.3, v_threshold=0.7),
        NeuronSpec(tau=4.0, scale_input=False, v_threshold=1.9),
        NeuronSpec(kind="if", v_threshold=2.0),
    ],
)
@pytest.mark.parametrize("dt_s", [DT_S, 1e-3, 1.0])
def test_nirs_equations_give_our_spikes(spec: NeuronSpec, dt_s: float) -> None:
    currents = np.random.default_rng(0).normal(0.6, 1.0, (64, *SHAPE))
    ours = backend().neuron(spec)(torch.from_numpy(currents))
    theirs = stepped(node(spec, dt_s=dt_s), currents, dt_s)
    assert 0.05 < theirs.mean() < 0.95
    assert np.array_equal(ours.numpy(), theirs)


def test_a_membrane_exactly_at_threshold_fires_under_nirs_strict_comparison() -> None:
    quarter = np.full((16, *SHAPE), 0.25)
    # dt = 2^-13 s: R = 1 / dt is exact, and so is every membrane.
    fires = stepped(node(NeuronSpec(kind="if"), dt_s=2**-13), quarter, 2**-13)
    assert fires[:, 0, 0].nonzero()[0].tolist() == [3, 7, 11, 15]


@given(tau=st.floats(1.0, 1e6, exclude_min=True), v_threshold=st.floats(1e-6, 1e6))
def test_the_specification_comes_back_to_the_last_bit(tau: float, v_threshold: float) -> None:
    for dtype in (F64, np.dtype(np.float32)):
        spec = NeuronSpec(tau=tau, v_threshold=v_threshold, reset="subtract")
        assert spec_of("x", node(spec, dtype), dt_s=DT_S) == (spec, None)


def test_plif_keeps_what_it_has_learned() -> None:
    neurons: Any = backend().neuron(NeuronSpec(kind="plif"))
    with torch.no_grad():
        neurons.w.fill_(0.3)
    found = node_of(neurons, SHAPE, F64, dt_s=DT_S)
    tau = 1 + np.exp(-neurons.w.item())
    assert found.tau == pytest.approx(np.full(SHAPE, tau * DT_S), rel=1e-15)
    spec, w = spec_of("x", found, dt_s=DT_S)
    assert (spec.kind, w) == ("plif", neurons.w.item())


def test_a_file_without_our_words_is_read_by_its_numbers() -> None:
    one = np.ones(SHAPE)
    scaled = nir.LIF(tau=2 * DT_S * one, r=one, v_leak=0 * one, v_threshold=one)
    just_above = float(np.nextafter(1.0, 2.0))
    plain = NeuronSpec(tau=2.0, v_threshold=just_above)
    assert spec_of("x", scaled, dt_s=DT_S) == (plain, None)
    unscaled = nir.LIF(tau=2 * DT_S * one, r=2 * one, v_leak=0 * one, v_threshold=one)
    assert spec_of("x", unscaled, dt_s=DT_S)[0].scale_input is False
    integrator = nir.IF(r=one / DT_S, v_threshold=one)
    assert spec_of("x", integrator, dt_s=DT_S)[0].kind == "if"
    # The same file under another step is another neuron, or none of ours.
    assert spec_of("x", scaled, dt_s=DT_S / 2)[0].tau == 4.0


def lif(**parts: Any) -> Any:
    one = np.ones(SHAPE)
    usual = {"tau": 2 * DT_S * one, "r": one, "v_leak": 0 * one, "v_threshold": one}
    return nir.LIF(**usual | parts)


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        (lif(v_leak=np.ones(SHAPE)), r"x\.v_leak is not 0"),
        (lif(v_reset=-np.ones(SHAPE)), r"x\.v_reset is not 0"),
        (lif(tau=DT_S * np.ones(SHAPE)), "1 steps of 0.0001 s, and ours is more than 1"),
        (lif(r=3 * np.ones(SHAPE)), r"x\.r is 3 and must be 1 \(a scaled current\) or 2"),
        (lif(v_threshold=np.arange(1.0, 7.0).reshape(SHAPE)), "differs between neurons"),
        (nir.IF(r=np.ones(SHAPE), v_threshold=np.ones(SHAPE)), "must be 10000"),
    ],
)
def test_neurons_that_the_contract_cannot_mean_are_refused(strange: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        spec_of("x", strange, dt_s=DT_S)


@pytest.mark.parametrize("part", ["tau", "r", "v_threshold", "v_reset", "v_leak"])
def test_numbers_that_contradict_the_words_are_refused(part: str) -> None:
    edited = node(NeuronSpec())
    setattr(edited, part, getattr(edited, part) + 1)
    with pytest.raises(SpecError, match=rf"x\.{part} is not what its metadata says"):
        spec_of("x", edited, dt_s=DT_S)


@pytest.mark.parametrize(
    "said", ["x", "[]", "5", 5, b"\xff", '{"kind": "plif", "w": "a"}', '{"kind": "plif", "w": []}']
)
def test_words_that_are_no_neuron_are_refused(said: Any) -> None:
    edited = node(NeuronSpec())
    edited.metadata["spec"] = said
    with pytest.raises(SpecError, match=r"x\.metadata\['spec'\] is a JSON object .*, got "):
        spec_of("x", edited, dt_s=DT_S)


def test_another_step_contradicts_the_words() -> None:
    with pytest.raises(SpecError, match="tau is not what"):
        spec_of("x", node(NeuronSpec()), dt_s=1.0)


def test_a_neuron_is_written_with_all_that_it_means() -> None:
    said = json.loads(node(NeuronSpec()).metadata["spec"])
    assert said.keys() == {"kind", "tau", "v_threshold", "reset", "scale_input"}


def test_neurons_and_w_belong_together() -> None:
    class Other(SpikingNeuron):
        pass

    with pytest.raises(SpecError, match="trained w or not"):
        node_of(Other(NeuronSpec(kind="plif")), SHAPE, F64, dt_s=DT_S)
