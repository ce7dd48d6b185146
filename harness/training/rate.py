"""Rate-based backpropagation: a spike pass without a gradient, then one pass of rates with it.

Yu, Liu, Wang, Li, Wang, "Advancing training efficiency of deep spiking neural networks
through rate-based backpropagation", NeurIPS 2024, in its multi-step mode.

The spike pass leaves behind what stands for its ``T`` steps: of every neuron its rate and
its eligibility, of every norm the statistics of its input. The rate pass is the same
network shown the mean stimulus once. All between the neurons is linear in time but norms
and pooling of maxima; so that the rate pass has the values of the spike pass, each of
these takes its value from the spikes and its gradient from the rates.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec
from harness.neurons.precision import widened
from harness.neurons.spiking import SpikingLayer, SpikingNeuron
from harness.neurons.surrogate import derivative
from harness.training.descent import Forward
from harness.training.student import Student

_FEW = 2**17  # elements, a megabyte


def by_rate(student: Student, /) -> Forward:
    """Return how ``student`` answers a stimulus while rates carry the gradient.

    For ``descend(..., forward=by_rate(student))``. The output has one step: logits
    ``[1, N, K]``, the mean of the spiking logits, and taps ``[1, N, ...]``, means likewise:
    of spikes, their rates. What is kept for the gradient does not grow with ``T``; what
    does is a handful of tensors ``[T, N, ...]`` about one layer, during the spike pass.
    """

    def forward(stimulus: Tensor, taps: Sequence[str]) -> Output:
        answer = rate_pass(student.network, stimulus, student.timesteps, taps)
        return Output(logits=widened(answer.logits), taps=answer.taps)

    return forward


def rate_pass(
    network: nn.Module,
    stimulus: Tensor,  # [N, C, H, W] or [T, N, C, H, W]
    timesteps: int,
    taps: Sequence[str] = (),
) -> Output:
    """Run both passes; return the second one's answer, which has the gradient.

    Raises:
        UnsupportedError: If a tap has no rate, or a layer's mean is not the layer of the mean.
    """
    if membranes := [name for name in taps if name.endswith(".membrane")]:
        raise UnsupportedError(f"rates have no membrane, and {membranes[0]!r} is asked for")
    parts = _parts(network, stimulus.shape[-4])
    with _exchanged(network, parts):
        with torch.no_grad():
            network(stimulus, timesteps)
        for part in parts.values():
            part.recording = False
        mean = stimulus.mean(0) if stimulus.dim() == 5 else stimulus
        answer: Output = network(mean, 1, taps)
    return answer


def slowed(
    loss: Tensor,
    *,
    timesteps: int,
) -> Tensor:
    """Return ``loss``, but with its gradient divided by ``timesteps``.

    The authors' code does so, and their learning rates count on it.
    """
    return loss / timesteps + (loss - loss / timesteps).detach()


@contextmanager
def _exchanged(network: nn.Module, parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """Let ``parts`` stand in the places they are named after, for as long as it takes."""
    originals = {name: network.get_submodule(name) for name in parts}
    try:
        for name, part in parts.items():
            network.set_submodule(name, part)
        yield
    finally:
        for name, module in originals.items():
            network.set_submodule(name, module)


class _Part(nn.Module):
    """A module that does something else in each of the two passes."""

    def __init__(self) -> None:
        super().__init__()
        self.recording = True
        # One record a call: a module may stand in several places.
        self.records: deque[tuple[Tensor, ...]] = deque()

    def forward(self, signal: Tensor) -> Tensor:
        if not self.recording:
            return self.in_rates(signal, *self.records.popleft())
        answer, *record = self.in_spikes(signal)
        self.records.append(tuple(record))
        return answer

    def in_spikes(self, signal: Tensor) -> tuple[Tensor, ...]:
        """Return the answer, and all that the rate pass must know of it."""
        raise NotImplementedError

    def in_rates(self, signal: Tensor, *record: Tensor) -> Tensor:
        """Return the mean answer, with a gradient."""
        raise NotImplementedError


def _parts(network: nn.Module, samples: int) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, SpikingNeuron):
            parts[name] = _Neurons(module)
        elif isinstance(module, SpikingLayer):
            raise UnsupportedError(
                f"no rates go through {name!r}: the eligibility of {type(module).__name__} is not "
                "known, only that of neurons which a NeuronSpec describes"
            )
        elif isinstance(module, _BatchNorm) and module.training:
            parts[name] = _Norm(module)
        elif isinstance(module, nn.MaxPool2d):
            parts[name] = _MaxPool(module, samples)
        elif getattr(module, "sees_time", False) or isinstance(module, nn.ReLU):
            raise UnsupportedError(
                f"no rates go through {name!r}: {type(module).__name__} is neither linear, "
                "the same in every step, nor a neuron"
            )
    return parts


class _Given(torch.autograd.Function):
    """``value``, whose derivative by ``signal`` is ``slope``, element by element."""

    @staticmethod
    def forward(ctx: Any, _signal: Tensor, value: Tensor, slope: Tensor | None) -> Tensor:
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (slope,) = gradients, ctx.saved_tensors
        return (gradient if slope is None else gradient * slope), None, None


def _given(signal: Tensor, value: Tensor, slope: Tensor | None = None) -> Tensor:
    answer: Tensor = _Given.apply(signal, value, slope)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return answer


class _Neurons(_Part):
    """Neurons, then their rates with the gradient that their eligibility carries."""

    def __init__(self, neuron: SpikingNeuron) -> None:
        super().__init__()
        self.neuron = neuron

    def in_spikes(
        self,
        signal: Tensor,  # [T, N, ...]
    ) -> tuple[Tensor, ...]:
        """Return the spikes, their rates and eligibilities ``[N, ...]``.

        A neuron does the same to every element, so it is given as many samples at once as
        fill half a step of the whole batch, or ``_FEW`` elements: the membranes of all are
        never in memory, unless they are small.
        """
        steps, samples = signal.shape[:2]
        size = max(-(-samples // (2 * steps)), _FEW * samples // signal.numel())
        spikes = _empty_steps(signal)
        found = [torch.empty_like(signal[0])]
        for start in range(0, samples, size):
            some = slice(start, start + size)
            record: list[Tensor] = []
            fired = self.neuron(signal[:, some], record)
            spikes[:, some] = fired
            traced = eligibility(self.neuron, signal[:, some], record[0], fired)
            while len(found) <= len(traced):
                found.append(torch.empty_like(found[0]))
            for whole, part in zip(found, (fired.mean(0), *traced), strict=True):
                whole[some] = part
        return spikes, *found

    def in_rates(
        self,
        signal: Tensor,  # [1, N, ...]
        *record: Tensor,  # each [N, ...]
    ) -> Tensor:
        """Return the rates ``[1, N, ...]``."""
        rate, by_current, *by_w = record
        answer = _given(signal, rate.unsqueeze(0), by_current.unsqueeze(0))
        for slope in by_w:
            w = self.neuron.get_parameter("w")
            answer = answer + ((w - w.detach()) * slope).to(answer.dtype)
        return answer


def _empty_steps(
    signal: Tensor,  # [T, N, ...], maybe one step expanded
) -> Tensor:
    """Return memory for as much as ``signal`` is, each step laid out like its first."""
    step = torch.empty_like(signal[0])
    return step.new_empty_strided(signal.shape, (step.numel(), *step.stride()))


def eligibility(
    neuron: SpikingNeuron,
    current: Tensor,  # [T, N, ...]
    membrane: Tensor,  # [T, N, ...], before reset
    spikes: Tensor,  # [T, N, ...]
) -> tuple[Tensor, ...]:
    """Return the derivative ``[N, ...]`` of the firing rate by a constant current.

    With ``v' = a u + b x`` and ``u`` the membrane after reset, the trace
    ``eps[t] = dv[t]/dx`` of a current that is the same in every step is

        eps[1] = b,    eps[t+1] = b + a eps[t] du[t]/dv[t]

    and the eligibility is ``mean over t of g(v[t] - v_threshold) eps[t]`` (read in the
    authors' code, there for ``b = 1`` and a threshold of 1). ``plif`` adds the derivative
    by its ``w``: the source is ``k (1 - k) (x[t] - u[t-1])``, or ``-k (1 - k) u[t-1]``
    where the input is not scaled, in the place of ``b``; ``k = sigmoid(w) = 1/tau``.
    """
    spec = neuron.spec
    k = _inverse_tau(neuron, spec)
    gain = k if spec.kind != "if" and spec.scale_input else 1.0
    trained = spec.kind == "plif"
    traces = [torch.zeros_like(membrane[0]) for _ in range(1 + trained)]
    found = [torch.zeros_like(membrane[0]) for _ in range(1 + trained)]
    after_reset = torch.zeros_like(membrane[0])
    for x, v, fired in zip(current, membrane, spikes, strict=True):
        sources = [gain]
        if trained:
            sources.append(k * (1 - k) * ((x - after_reset) if spec.scale_input else -after_reset))
            after_reset = v - fired * (v if spec.reset == "zero" else spec.v_threshold)
        slope = derivative(spec.surrogate, v - spec.v_threshold)
        passed = _passed(spec, v, fired, slope)
        for trace, total, source in zip(traces, found, sources, strict=True):
            trace.mul_(1 - k).add_(source)
            total.addcmul_(slope, trace, value=1 / len(membrane))
            trace.mul_(passed)
    return tuple(found)


def _inverse_tau(neuron: nn.Module, spec: NeuronSpec) -> float | Tensor:
    if spec.kind == "plif":
        return neuron.get_parameter("w").detach().sigmoid()
    return 0.0 if spec.kind == "if" else 1 / spec.tau


def _passed(
    spec: NeuronSpec,
    v: Tensor,  # [N, ...], before reset
    spikes: Tensor,  # [N, ...]
    slope: Tensor,  # [N, ...]
) -> float | Tensor:
    """Return the derivative of the membrane after reset by the one before.

    The reset is ``u = v (1 - s)`` or ``u = v - v_threshold s``, and ``ds/dv`` the slope,
    unless the reset is left out of the gradient.
    """
    if spec.reset == "zero":
        return 1 - spikes if spec.detach_reset else 1 - spikes - v * slope
    return 1.0 if spec.detach_reset else 1 - spec.v_threshold * slope


class _Norm(_Part):
    """A norm, then the same affine map with the gradient of statistics over rates."""

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.norm = norm

    def in_spikes(
        self,
        signal: Tensor,  # [T * N, C, ...]
    ) -> tuple[Tensor, ...]:
        """Do what the norm does, its running statistics included; return those of the batch."""
        norm = self.norm
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        # What batch_norm calls itself; only here it also tells the statistics it has found.
        answer, mean, inverse_deviation = torch.native_batch_norm(
            signal,
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
            training=True,
            momentum=norm.momentum,  # type: ignore[arg-type]  # None, the cumulative mean, is for torch to refuse
            eps=norm.eps,
        )
        return answer, mean, inverse_deviation

    def in_rates(
        self,
        signal: Tensor,  # [N, C, ...]
        *record: Tensor,  # each [C]
    ) -> Tensor:
        """Return the signal, normalised by the spikes' statistics."""
        norm = self.norm
        answer: Tensor = _NormOfRates.apply(signal, norm.weight, norm.bias, record, norm.eps)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
        return answer


class _NormOfRates(torch.autograd.Function):
    """``weight (x - m) / sqrt(V + eps) + bias`` with the spikes' statistics ``m`` and ``V``.

    Their gradients are those of ``mean(x)`` and ``mean((x - m)^2)`` over the rates, which
    is batch normalisation's own backward pass, told other statistics.
    """

    @staticmethod
    def forward(
        ctx: Any,
        signal: Tensor,  # [N, C, ...]
        weight: Tensor,
        bias: Tensor,
        record: tuple[Tensor, Tensor],
        eps: float,
    ) -> Tensor:
        mean, inverse_deviation = record  # each [C]
        ctx.save_for_backward(signal, weight, mean, inverse_deviation)
        ctx.eps = eps
        variance = inverse_deviation**-2 - eps
        return batch_norm(signal, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        signal, weight, mean, inverse_deviation = ctx.saved_tensors
        found = torch.ops.aten.native_batch_norm_backward(
            gradient,
            signal,
            weight,
            None,
            None,
            mean,
            inverse_deviation,
            train=True,
            eps=ctx.eps,
            output_mask=ctx.needs_input_grad[:3],
        )
        return *found, None, None


class _MaxPool(_Part):
    """Pooling of maxima: what the steps' maxima are on average, with the gradient of one."""

    def __init__(self, pool: nn.MaxPool2d, samples: int) -> None:
        super().__init__()
        self.pool = pool
        self.samples = samples

    def in_spikes(
        self,
        signal: Tensor,  # [T * N, C, H, W], or [N, C, H, W] before the first neuron
    ) -> tuple[Tensor, ...]:
        """Return the maxima, and their mean over time ``[N, C, h, w]``."""
        pooled = self.pool(signal)
        return pooled, pooled.view(-1, self.samples, *pooled.shape[1:]).mean(0)

    def in_rates(
        self,
        signal: Tensor,  # [N, C, H, W]
        *record: Tensor,  # [N, C, h, w]
    ) -> Tensor:
        """Return the recorded mean; the gradient goes where the largest rate is."""
        return _given(self.pool(signal), *record)
