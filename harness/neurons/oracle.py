"""The neuron in float64, led by a simulator's own spikes, and how far rounding may stray.

A simulator rounds, so near the threshold it may rightly decide otherwise than exact
arithmetic. ``follow`` takes every decision as the simulator took it and computes the
exact membrane that leads up to the next one. So one excused spike does not spoil the
steps behind it: each decision is judged on its own, and the membrane in all of them.

The bounds are a running error analysis (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., sections 3.1 and 3.3). With unit roundoff ``u``, ``k = 1/tau``
(0 for ``if``), ``r`` the membrane after the last reset and ``v`` the one before the next,

    v = (1 - k) r + b x,      b = k if the input is scaled, else 1

A simulator may write this in any order, with ``1/tau`` computed beforehand or as a
sigmoid. Every summand then passes at most ``ROUNDINGS`` roundings, so with
``gamma = n u / (1 - n u)``

    error(v) <= (1 - k) error(r) + gamma ((1 + k) (|r| + error(r)) + b' |x|) + n * tiny

where ``tiny`` is the smallest subnormal number, which bounds what a product loses below
the normal ones, and ``b'`` is ``b``. A reset to zero forgets the error; a
subtraction adds ``gamma (|v| + v_threshold)``.

Gradients are the adjoint of the same recursion, by hand and without autograd, so they
are independent of what they check; their bounds follow the same way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.neuron import NeuronSpec, Surrogate
from harness.neurons.surrogate import derivative

# Difference, product, sum and the constant 1/tau are 4. A sigmoid adds 4: an exponential
# to 1 ulp is 2, the sum below the line 1, the division 1.
ROUNDINGS = 8


def unit_roundoff(dtype: torch.dtype) -> float:
    """Return ``u``: half the distance from 1 to the next number of ``dtype``.

    The oracle rounds too, in float64.
    """
    return (torch.finfo(dtype).eps + torch.finfo(torch.float64).eps) / 2


def gamma(dtype: torch.dtype, roundings: int = ROUNDINGS) -> float:
    """Return the relative error of ``roundings`` successive operations."""
    lost = roundings * unit_roundoff(dtype)
    return lost / (1 - lost)


@dataclass(frozen=True, kw_only=True)
class Path:
    """The exact membrane along a simulator's decisions. All float64 ``[T, ...]``.

    Attributes:
        spec: Of the neuron.
        leak: ``1/tau``, 0 for ``if``.
        dtype: In which the simulator keeps its membrane.
        current: What went in.
        spikes: The simulator's.
        before: The membrane a step begins with.
        v: The membrane before the reset.
        before_error: Bound on the simulator's error in ``before``.
        v_error: Bound on the simulator's error in ``v``.
    """

    spec: NeuronSpec
    leak: float
    dtype: torch.dtype
    current: Tensor
    spikes: Tensor
    before: Tensor
    v: Tensor
    before_error: Tensor
    v_error: Tensor

    @property
    def undecided(self) -> Tensor:
        """Where rounding may carry the membrane across the threshold.

        The threshold is rounded to the membrane's type, too.
        """
        threshold = self.spec.v_threshold
        rounded = float(torch.tensor(threshold, dtype=self.dtype))
        return (self.v - threshold).abs() <= self.v_error + abs(rounded - threshold)

    @property
    def should_fire(self) -> Tensor:
        """Where exact arithmetic fires."""
        return self.v >= self.spec.v_threshold


def leak_of(spec: NeuronSpec, w: float | None = None) -> float:
    """Return ``1/tau``; of a ``plif`` with the parameter ``w``, its sigmoid."""
    if spec.kind == "if":
        return 0.0
    if w is None:
        return 1 / spec.tau
    return float(torch.tensor(w, dtype=torch.float64).sigmoid())


def gain_of(spec: NeuronSpec, leak: float) -> float:
    """Return ``b``, what a current is multiplied by."""
    return leak if spec.scale_input and spec.kind != "if" else 1.0


def follow(
    spec: NeuronSpec,
    current: Tensor,  # [T, ...]
    spikes: Tensor,  # [T, ...]
    *,
    leak: float,
    dtype: torch.dtype,
) -> Path:
    """Return the exact membrane of ``current`` if the neuron fires ``spikes``."""
    current, spikes = current.double(), spikes.double()
    gain, lost = gain_of(spec, leak), gamma(dtype)
    tiny = ROUNDINGS * torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    r = torch.zeros_like(current[0])
    r_error = torch.zeros_like(r)
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for x, s in zip(current, spikes, strict=True):
        v = (1 - leak) * r + gain * x
        weight = (1 + leak) * (r.abs() + r_error) + gain * x.abs()
        v_error = (1 - leak) * r_error + lost * weight + tiny
        rows.append((r, v, r_error, v_error))
        r, r_error = _after_reset(spec, v, v_error, s, lost)
    before, v, before_error, v_error = (torch.stack(column) for column in zip(*rows, strict=True))
    return Path(
        spec=spec,
        leak=leak,
        dtype=dtype,
        current=current,
        spikes=spikes,
        before=before,
        v=v,
        before_error=before_error,
        v_error=v_error,
    )


def _after_reset(
    spec: NeuronSpec, v: Tensor, v_error: Tensor, spikes: Tensor, lost: float
) -> tuple[Tensor, Tensor]:
    """Return the membrane after the reset, and the bound of its error."""
    fired = spikes != 0
    if spec.reset == "zero":
        return torch.where(fired, 0.0, v), torch.where(fired, 0.0, v_error)
    rounding = lost * (v.abs() + spec.v_threshold)
    return v - spec.v_threshold * spikes, torch.where(fired, v_error + rounding, v_error)


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Exact gradients, and how far a simulator's may be from them. All float64.

    Attributes:
        current: ``[T, ...]``.
        current_error: Bound, ``[T, ...]``.
        w: By the trainable parameter of ``plif``, a scalar.
        w_error: Bound, a scalar.
    """

    current: Tensor
    current_error: Tensor
    w: Tensor
    w_error: Tensor


def gradients(
    path: Path,
    by_spikes: Tensor,  # [T, ...]
    by_membrane: Tensor,  # [T, ...]
    *,
    dtype: torch.dtype,
) -> Gradients:
    """Return the gradients of a loss with the given derivatives, by hand.

    With ``a`` the loss' derivative by ``v``, ``g`` by the membrane after its reset and
    ``h`` the surrogate's value, backwards in time:

        a = by_membrane + by_spikes h + g dr/dv,     g of the step before = (1 - k) a
        dr/dv = 1 - s - [not detached] v h   (zero)   or   1 - [not detached] v_threshold h
        d/dx = b a,      d/dw = k (1 - k) sum a (x - r)   (``- a r`` if the input is unscaled)

    Args:
        path: From ``follow``.
        by_spikes: The loss' derivative by the spikes.
        by_membrane: And by the recorded membrane.
        dtype: Of the current, to which its gradient is rounded in the end.
    """
    spec, leak, lost = path.spec, path.leak, gamma(path.dtype)
    scaled = spec.scale_input and spec.kind != "if"
    gain = gain_of(spec, leak)
    h, h_error = _surrogate(path)
    keep, keep_error, keep_weight = _through_reset(path, h, h_error)
    g = torch.zeros_like(path.v[0])
    g_error = torch.zeros_like(g)
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in reversed(range(len(path.v))):
        c, m = by_spikes[t].double(), by_membrane[t].double()
        a = m + c * h[t] + g * keep[t]
        weight = m.abs() + (c * h[t]).abs() + g.abs() * keep_weight[t]
        a_error = c.abs() * h_error[t] + g.abs() * keep_error[t]
        a_error = a_error + g_error * (keep[t].abs() + keep_error[t]) + lost * weight
        rows.append((a, a_error, weight))
        g, g_error = (1 - leak) * a, (1 - leak) * a_error + lost * (1 + leak) * (a.abs() + a_error)
    a, a_error, _ = (torch.stack(column[::-1]) for column in zip(*rows, strict=True))
    reach = gain if scaled else 1 + leak
    x_error = gain * a_error + lost * reach * (a.abs() + a_error)
    x_error = x_error + 2 * unit_roundoff(dtype) * (gain * a.abs() + x_error)
    return Gradients(
        current=gain * a,
        current_error=x_error,
        **_by_w(path, a, a_error, scaled=scaled),
    )


def _by_w(path: Path, a: Tensor, a_error: Tensor, *, scaled: bool) -> dict[str, Tensor]:
    """Return the gradient by ``w`` and its bound.

    Summing ``n`` terms in any order loses at most ``n u`` of the sum of their sizes
    (Higham, section 4.2). ``w`` is float32, so whatever computes in more still adds the
    steps' shares up in float32.
    """
    slope = path.leak * (1 - path.leak)
    factor = (path.current if scaled else 0.0) - path.before
    size = path.current.abs() + path.before.abs() + path.before_error
    sums = gamma(path.dtype, 2 * ROUNDINGS + path.v.numel())
    error = a_error * (factor.abs() + path.before_error) + a.abs() * path.before_error
    shares = (a * factor).flatten(1).sum(1)  # [T]
    total = (error + sums * (a.abs() + a_error) * size).sum()
    total = total + gamma(torch.float32, len(shares) + 1) * shares.abs().sum()
    return {"w": slope * shares.sum(), "w_error": slope * total}


def _through_reset(path: Path, h: Tensor, h_error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``dr/dv``, the bound of its error, and the sizes of its summands."""
    spec, lost = path.spec, gamma(path.dtype)
    keep = 1 - path.spikes if spec.reset == "zero" else torch.ones_like(path.v)
    if spec.detach_reset:
        return keep, torch.zeros_like(keep), keep
    if spec.reset == "zero":
        level, level_error, size = path.v, path.v_error, path.v.abs() + path.v_error
    else:
        level = torch.full_like(path.v, spec.v_threshold)
        # Norse writes the threshold as v - (v - v_threshold).
        level_error, size = torch.zeros_like(level), level + 2 * path.v.abs() + path.v_error
    weight = keep + size * (h + h_error)
    error = level.abs() * h_error + level_error * (h + h_error) + lost * weight
    return keep - level * h, error, weight


def _surrogate(path: Path) -> tuple[Tensor, Tensor]:
    """Return the surrogate's value and the bound of its error.

    An error of the membrane, and of subtracting the rounded threshold, is multiplied by
    the steepest slope. Evaluating the formula loses ``gamma`` of its largest value, and
    of ``alpha |x|`` that again, since the exponent of a sigmoid is rounded too.
    """
    surrogate, u = path.spec.surrogate, unit_roundoff(path.dtype)
    x = path.v - path.spec.v_threshold
    shift = path.v_error + 2 * u * (path.v.abs() + path.v_error + path.spec.v_threshold)
    height = peak(surrogate)
    rounding = gamma(path.dtype, 2 * ROUNDINGS) * height * (1 + surrogate.alpha * x.abs())
    if surrogate.name == "rectangle":
        edge = (x.abs() - 0.5 / surrogate.alpha).abs() <= shift
        return derivative(surrogate, x), torch.where(edge, surrogate.alpha, 0.0) + rounding
    return derivative(surrogate, x), steepest(surrogate) * shift + rounding


def peak(surrogate: Surrogate) -> float:
    """Return the largest value of the surrogate, that at 0."""
    return float(derivative(surrogate, torch.zeros((), dtype=torch.float64)))


def steepest(surrogate: Surrogate) -> float:
    """Return the largest slope of the surrogate; the rectangle's is infinite.

    ``h/(1 + (c x)^2)`` is steepest at ``c x = 1/sqrt 3``: ``h c 3 sqrt(3)/8``, where ``h c`` is
    ``pi alpha^2/4``. ``alpha s (1 - s)`` is at ``s = 1/2 - 1/sqrt 12``: ``alpha^2/(6 sqrt 3)``.
    The others are at 0.
    """
    slopes = {
        "atan": 0.5102 * surrogate.alpha**2,  # 3 sqrt(3) pi / 32 = 0.51015
        "sigmoid": 0.0963 * surrogate.alpha**2,  # 1 / (6 sqrt(3)) = 0.096225
        "triangle": surrogate.alpha**2,
        "rectangle": float("inf"),
        "superspike": 2 * surrogate.alpha,
    }
    return slopes[surrogate.name]
