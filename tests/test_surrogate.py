"""The five surrogates against numbers and integrals worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.neuron import Surrogate, SurrogateName
from harness.neurons.oracle import peak, steepest
from harness.neurons.surrogate import derivative, spike, with_surrogate

NAMES: tuple[SurrogateName, ...] = ("atan", "sigmoid", "triangle", "rectangle", "superspike")


def value(name: SurrogateName, alpha: float, distance: float) -> float:
    at = torch.tensor(distance, dtype=torch.float64)
    return float(derivative(Surrogate(name=name, alpha=alpha), at))


@pytest.mark.parametrize(
    ("name", "alpha", "distance", "expected"),
    [
        ("atan", 2.0, 0.0, 1.0),  # a/2
        ("atan", 2.0, 1 / math.pi, 0.5),  # where pi a x / 2 = 1
        ("atan", 4.0, 1 / (2 * math.pi), 1.0),
        ("sigmoid", 4.0, 0.0, 1.0),  # a/4
        ("sigmoid", 1.0, math.log(3), 3 / 16),  # s = 3/4
        ("triangle", 2.0, 0.25, 1.0),  # 2 (1 - 1/2)
        ("triangle", 2.0, 0.5, 0.0),
        ("rectangle", 2.0, 0.2499, 2.0),
        ("rectangle", 2.0, 0.25, 0.0),  # the edge 1/(2a) is outside
        ("superspike", 3.0, 1 / 3, 0.25),  # 1/2^2
        ("superspike", 3.0, 0.0, 1.0),
    ],
)
def test_values_are_those_of_the_formula(
    name: SurrogateName, alpha: float, distance: float, expected: float
) -> None:
    # One rounding of an argument such as ln 3 moves a value by at most its own size.
    assert value(name, alpha, distance) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_the_integral_is_the_height_of_the_step_it_smooths(
    name: SurrogateName, alpha: float
) -> None:
    # All are derivatives of a step from 0 to 1, but the superspike: 2 * 1/alpha.
    reach, points = 4000 / alpha, 4_000_001
    x = torch.linspace(-reach, reach, points, dtype=torch.float64)
    found = float(torch.trapezoid(derivative(Surrogate(name=name, alpha=alpha), x), x))
    # Left out beyond the reach: 2/(pi^2 alpha reach) of the atan, 2/(alpha (1 + alpha reach))
    # of the superspike. A grid of width h = 2e-3/alpha misses at most h at a kink or edge.
    left_out = 2 / (alpha * (1 + alpha * reach))
    assert found == pytest.approx(2 / alpha if name == "superspike" else 1.0, abs=left_out + 2e-3)


@settings(deadline=None, max_examples=50)
@given(
    name=st.sampled_from(NAMES),
    alpha=st.floats(0.1, 20),
    distance=st.floats(-1e30, 1e30),
)
def test_values_are_symmetric_and_between_zero_and_the_peak(
    name: SurrogateName, alpha: float, distance: float
) -> None:
    found = value(name, alpha, distance)
    # 1 - s of the sigmoid rounds by up to 2^-54 of 1, where s(-x) is exact to its own size.
    assert found == pytest.approx(value(name, alpha, -distance), rel=0, abs=alpha * 2**-52)
    assert 0 <= found <= peak(Surrogate(name=name, alpha=alpha))


@pytest.mark.parametrize("alpha", [0.7, 2.6])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "rectangle"])
def test_the_steepest_slope_is_a_bound_that_is_nearly_reached(
    name: SurrogateName, alpha: float
) -> None:
    surrogate = Surrogate(name=name, alpha=alpha)
    x = torch.linspace(-3 / alpha, 3 / alpha, 60_001, dtype=torch.float64)
    slopes = torch.diff(derivative(surrogate, x)).abs() / torch.diff(x)
    # By the mean value theorem no chord is steeper. At steps of 1e-4/alpha a chord beside
    # a kink is less steep by 3 slopes a step of the superspike: 3e-4 of it.
    assert 0.999 * steepest(surrogate) < float(slopes.max()) <= steepest(surrogate) * (1 + 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_spike_is_one_at_the_threshold_and_zero_just_below(dtype: torch.dtype) -> None:
    threshold = torch.tensor(1.0, dtype=dtype)
    below = torch.nextafter(threshold, torch.tensor(0.0, dtype=dtype))
    v = torch.stack([below, threshold])
    assert spike(v, v_threshold=1.0, surrogate=Surrogate()).tolist() == [0.0, 1.0]


def test_given_spikes_are_kept_and_only_the_membrane_has_a_gradient() -> None:
    spikes = torch.tensor([0.0, 1.0], requires_grad=True)
    v = torch.tensor([3.0, 1.0], requires_grad=True)  # not where v >= 1: a simulator decides
    surrogate = Surrogate(name="triangle", alpha=0.25)
    attached = with_surrogate(spikes, v, v_threshold=1.0, surrogate=surrogate)
    assert attached.tolist() == [0.0, 1.0]
    weights = torch.tensor([4.0, 8.0])
    by_v, by_spikes = torch.autograd.grad(attached, [v, spikes], weights, allow_unused=True)
    # 0.25 (1 - 2/4) = 1/8 and 0.25, times 4 and 8.
    assert by_v.tolist() == [0.5, 2.0]
    assert by_spikes is None
