"""The exact neuron by hand, and its rounding bounds: never exceeded, not idle."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.contracts.neuron import NeuronSpec, Surrogate
from harness.neurons.conformance import FORMS
from harness.neurons.oracle import Path, follow, gamma, gradients, leak_of, unit_roundoff


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def path_of(spec: NeuronSpec, current: Sequence[float], spikes: Sequence[float]) -> Path:
    return follow(spec, column(*current), column(*spikes), leak=leak_of(spec), dtype=torch.float32)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        # Currents 1, 4, 1 and a spike in the second step, where v reaches the threshold 2.
        (NeuronSpec(kind="if", v_threshold=2.0, reset="subtract"), [1, 5, 4]),
        (NeuronSpec(kind="if", v_threshold=2.0), [1, 5, 1]),
        # v/2 + x/2: 0.5, 0.25 + 2, then from 0.25 or from 0.
        (NeuronSpec(v_threshold=2.0, reset="subtract"), [0.5, 2.25, 0.625]),
        (NeuronSpec(v_threshold=2.0), [0.5, 2.25, 0.5]),
        # v/2 + x: 1, 0.5 + 4, then from 2.5 or from 0.
        (NeuronSpec(v_threshold=2.0, reset="subtract", scale_input=False), [1, 4.5, 2.25]),
        (NeuronSpec(v_threshold=2.0, scale_input=False), [1, 4.5, 1]),
        # 3/4 v + x/4, in binary fractions too.
        (NeuronSpec(v_threshold=2.0, tau=4.0), [0.25, 1.1875, 0.25]),
    ],
)
def test_the_membrane_is_the_one_worked_out_by_hand(
    spec: NeuronSpec, expected: list[float]
) -> None:
    assert path_of(spec, [1, 4, 1], [0, 1, 0]).v.flatten().tolist() == expected


def test_the_path_follows_the_simulators_decision_even_against_its_own() -> None:
    spec = NeuronSpec(kind="if")
    late = path_of(spec, [1, 0.25, 0.25], [0, 1, 0])
    assert late.should_fire.flatten().tolist() == [True, True, False]
    assert late.v.flatten().tolist() == [1.0, 1.25, 0.25]


def test_plif_leaks_by_the_sigmoid_of_its_parameter() -> None:
    spec = NeuronSpec(kind="plif", tau=5.0)
    # 1/(1 + exp(ln 4)) = 1/5, up to four roundings of float64.
    assert leak_of(spec, -math.log(4)) == pytest.approx(1 / 5, rel=4 * 2**-53)
    assert leak_of(NeuronSpec(tau=5.0)) == 1 / 5
    assert leak_of(NeuronSpec(kind="if")) == 0


def test_gradients_of_a_silent_neuron_are_those_of_a_geometric_sum() -> None:
    spec = NeuronSpec(kind="plif", tau=4.0, v_threshold=1e9)
    current = [1.0, 2.0, 3.0]
    path = follow(spec, column(*current), column(0, 0, 0), leak=0.25, dtype=torch.float64)
    silent = torch.zeros(3, 1)
    found = gradients(path, silent, column(0, 0, 1), dtype=torch.float64)
    # v3 = k x3 + k (1 - k) x2 + k (1 - k)^2 x1, at k = 1/4.
    assert found.current.flatten().tolist() == [9 / 64, 12 / 64, 16 / 64]
    # dv3/dk = x3 + (1 - 2k) x2 + (1 - k)(1 - 3k) x1 = 3 + 1 + 3/16, and dk/dw = k (1 - k).
    assert float(found.w) == (4 + 3 / 16) * 3 / 16


def test_the_gradient_of_a_spike_is_the_surrogate_and_flows_through_time() -> None:
    # tau 2, threshold 1, triangle of alpha 1/2: currents make v = 1.5, then 0 + 0.25.
    surrogate = Surrogate(name="triangle", alpha=0.5)
    spec = NeuronSpec(surrogate=surrogate, detach_reset=False)
    path = path_of(spec, [3.0, 0.5], [1, 0])
    found = gradients(path, column(1, 1), column(0, 0), dtype=torch.float32)
    # h = 0.5 (1 - |x|/2) at x = 0.5 and -0.75: 3/8 and 5/16. Backwards: a2 = 5/16 and
    # g = a2/2; dr/dv = 0 - v h = -9/16; a1 = 3/8 - 9/16 * 5/32. d/dx = a/2.
    expected = [(3 / 8 - 9 / 16 * 5 / 32) / 2, 5 / 32]
    assert found.current.flatten().tolist() == expected


# Four ways to write one step of a leaky neuron. All are right, all round differently.
ORDERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "difference": lambda v, x, k: v + (x - v) * k,
    "division": lambda v, x, k: v + (x - v) / (1 / k),
    "decay": lambda v, x, k: v * (1 - k) + x * k,
    "expanded": lambda v, x, k: v - v * k + x * k,
}


def simulated(
    spec: NeuronSpec, current: Tensor, step: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the spikes and the membrane, every operation in the current's own type."""
    rate = torch.tensor(1 / spec.tau, dtype=current.dtype)
    r, spikes, membrane = torch.zeros_like(current[0]), [], []
    for x in current:
        v = step(r, x, rate)
        fired = (v >= spec.v_threshold).to(v.dtype)
        r = v * (1 - fired) if spec.reset == "zero" else v - spec.v_threshold * fired
        spikes.append(fired)
        membrane.append(v)
    return torch.stack(spikes), torch.stack(membrane)


@settings(deadline=None, max_examples=60)
@given(
    order=st.sampled_from(sorted(ORDERS)),
    reset=st.sampled_from(["zero", "subtract"]),
    tau=st.floats(1.01, 50),
    v_threshold=st.floats(0.05, 20),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 2**31),
)
def test_no_order_of_evaluation_leaves_the_bound(  # noqa: PLR0917  one a strategy
    order: str,
    reset: str,
    tau: float,
    v_threshold: float,
    dtype: torch.dtype,
    scale: float,
    seed: int,
) -> None:
    spec = NeuronSpec(reset=reset, tau=tau, v_threshold=v_threshold)  # type: ignore[arg-type]  # sampled from the two resets
    drawn = torch.randn(8, 64, generator=torch.Generator().manual_seed(seed))
    current = (scale * v_threshold * (1 + drawn)).to(dtype)
    spikes, membrane = simulated(spec, current, ORDERS[order])
    path = follow(spec, current, spikes, leak=1 / tau, dtype=dtype)
    error = (membrane.double() - path.v).abs()
    assert bool((error <= path.v_error).all())
    wrong = (spikes.double() != path.should_fire.double()) & ~path.undecided
    assert not bool(wrong.any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_bound_is_not_idle(dtype: torch.dtype, reset: str) -> None:
    # Of 8 roundings allowed each formula uses 4, seldom all in one direction.
    worst = 0.0
    for order in ORDERS.values():
        spec = NeuronSpec(reset=reset, tau=3.3, v_threshold=0.9)  # type: ignore[arg-type]  # one of the two resets
        drawn = torch.randn(8, 4096, generator=torch.Generator().manual_seed(0))
        current = (1 + drawn).to(dtype)
        spikes, membrane = simulated(spec, current, order)
        path = follow(spec, current, spikes, leak=1 / spec.tau, dtype=dtype)
        worst = max(worst, float(((membrane.double() - path.v).abs() / path.v_error).max()))
    assert 0.1 < worst <= 1


def test_exact_arithmetic_would_be_excused_nowhere_but_in_the_bound() -> None:
    # From rest with x = 2, v = 1 is the threshold itself: n = 8 roundings of |x|/2 are allowed.
    path = path_of(NeuronSpec(), [2.0], [1])
    assert float(path.v_error) == pytest.approx(gamma(torch.float32), rel=1e-6)
    assert bool(path.undecided)
    # A distance of ten roundings is decided, one of seven is not.
    for roundoffs, undecided in ((10, False), (7, True), (-7, True), (-10, False)):
        current = 2 * (1 + roundoffs * unit_roundoff(torch.float32))
        assert bool(path_of(NeuronSpec(), [current], [0]).undecided) == undecided


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.kind} {form.reset}")
@pytest.mark.parametrize("through_reset", ["attached", "detached"])
def test_gradients_are_autograds_of_the_same_recursion(
    form: NeuronSpec, through_reset: str
) -> None:
    detached = through_reset == "detached"
    spec = replace(form, tau=3.0, detach_reset=detached, surrogate=Surrogate(alpha=1.5))
    drawn = torch.randn(6, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    current = (0.7 + drawn).requires_grad_()
    w = torch.tensor(-math.log(2), dtype=torch.float64, requires_grad=True)
    k = w.sigmoid() if spec.kind == "plif" else torch.tensor(leak_of(spec), dtype=torch.float64)
    gain = k if spec.scale_input and spec.kind != "if" else torch.ones(())
    r, fired, membrane = torch.zeros(32, dtype=torch.float64), [], []
    for x in current:
        v = (1 - k) * r + gain * x
        smooth = torch.atan(math.pi / 2 * 1.5 * (v - 1)) / math.pi  # the surrogate's integral
        s = (v >= 1).double().detach() + smooth - smooth.detach()
        reset = s.detach() if detached else s
        r = v * (1 - reset) if spec.reset == "zero" else v - reset
        fired.append(s)
        membrane.append(v)
    spikes, v = torch.stack(fired), torch.stack(membrane)
    loss = (spikes * drawn + v * drawn.cos()).sum()
    by_current, by_w = torch.autograd.grad(loss, [current, w], allow_unused=True)
    path = follow(
        spec, current.detach(), spikes.detach(), leak=float(k.detach()), dtype=torch.float64
    )
    found = gradients(path, drawn, drawn.cos(), dtype=torch.float64)
    assert bool(((by_current - found.current).abs() <= found.current_error).all())
    if spec.kind == "plif":
        # A sum of 192 terms in float64; the bound itself allows for w's own type, float32.
        assert float(by_w) == pytest.approx(float(found.w), rel=1e-13)
