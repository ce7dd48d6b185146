"""The laws every simulator must obey, ours and anybody's.

    for outcome in conform(backend):
        print(outcome.line())

A law compares a simulator with the exact neuron of ``harness.neurons.oracle``, with a number
derived beside it, or with itself. What the simulator calls ``unsupported`` is left out.
A folder may declare deviations beside its ``__init__.py``, in ``deviations.toml``, as
``law = "reason"``. One that no longer occurs fails, so the list stays true.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import get_args

import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.neuron import NeuronSpec, Reset, Surrogate, SurrogateName
from harness.neurons import oracle
from harness.neurons.spiking import SpikingNeuron
from harness.neurons.surrogate import derivative

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
STEPS = 6
SAMPLES = 64
_CHANNELS_LAST = torch.channels_last

# Everything the recursion distinguishes. Surrogates and detaching act on gradients alone.
FORMS = tuple(
    replace(form, reset=reset)
    for form in (
        NeuronSpec(kind="if"),
        NeuronSpec(kind="lif"),
        NeuronSpec(kind="lif", scale_input=False),
        NeuronSpec(kind="plif"),
        NeuronSpec(kind="plif", scale_input=False),
    )
    for reset in get_args(Reset)
)
# (tau, v_threshold); no binary fractions but in the first, so that constants are rounded too.
CONSTANTS = ((2.0, 1.0), (1.3, 0.7), (5.7, 2.3), (30.0, 0.1))
SURROGATES = tuple(Surrogate(name=name, alpha=2.6) for name in get_args(SurrogateName))
# A formula may have a special case at 1, so float32 is held to both.
AT_ONE = tuple(replace(surrogate, alpha=1.0) for surrogate in SURROGATES)
# What a simulator or torch may raise when it cannot do something.
_RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What holding one simulator to one law gave.

    Attributes:
        name: The law's.
        passed: Whether it held, failed as declared, or is about what is unsupported alone.
        error: The measured error that came nearest to its bound.
        bound: What that error may be.
        cases: How many numbers or properties were judged.
        excused: How many more were not, since rounding may decide them either way.
        detail: What went wrong first, or why nothing was judged.
        device: Where.
    """

    name: str
    passed: bool
    error: float
    bound: float
    cases: int
    excused: int
    detail: str
    device: str = "cpu"

    def columns(self) -> dict[str, object]:
        """Return the outcome as JSON can say it."""
        columns = dict(vars(self))
        return columns | {
            name: value if math.isfinite(value) else None
            for name, value in (("error", self.error), ("bound", self.bound))
        }

    def line(self) -> str:
        """Return the outcome as one line of text."""
        verdict = ("ok  " if self.cases else "none") if self.passed else "FAIL"
        judged = f"{self.cases} cases" + (f", {self.excused} excused" if self.excused else "")
        measured = f"error {self.error:.2e} of {self.bound:.2e}"
        words = f"; {self.detail}" if self.detail else ""
        return f"{verdict} {self.device:5} {self.name:42} {measured}, {judged}{words}"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One comparison within a law."""

    what: str
    cases: int
    wrong: int
    excused: int = 0
    error: float = 0.0
    bound: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One simulator on one device.

    Attributes:
        backend: The simulator.
        device: Where its neurons are.
        declined: What it has said so far of what it cannot mean.
    """

    backend: Backend
    device: torch.device
    declined: list[str] = field(default_factory=list)

    def supported(self, specs: Iterable[NeuronSpec]) -> Iterator[NeuronSpec]:
        """Yield what the simulator can mean."""
        for spec in specs:
            reason = self.backend.unsupported(spec)
            if reason is None:
                yield spec
            else:
                self.declined.append(reason)

    def neuron(self, spec: NeuronSpec) -> nn.Module:
        """Return a fresh layer."""
        return self.backend.neuron(spec).to(self.device)

    def randn(self, *shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
        """Return the same normal numbers on every device."""
        drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
        return drawn.to(self.device, dtype)

    def current(self, spec: NeuronSpec, *shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
        """Return a random current under which about a third of the steps fire."""
        return spec.v_threshold * (0.8 + 1.5 * self.randn(*shape, dtype=dtype, seed=seed))


@dataclass(frozen=True, kw_only=True)
class Law:
    """Something every simulator must obey.

    Attributes:
        name: How deviations and tables call it.
        statement: In words.
        findings: The comparisons that decide it.
    """

    name: str
    statement: str
    findings: Callable[[Probe], Iterator[Compared]]

    def __call__(self, backend: Backend, /, *, device: str = "cpu") -> Outcome:
        """Hold ``backend`` to the law. What it raises is an outcome too."""
        probe = Probe(backend=backend, device=torch.device(device))
        try:
            found = list(self.findings(probe))
        except _RAISED as error:
            found = [Compared(what=f"{type(error).__name__}: {error}", cases=1, wrong=1)]
        nearest = max(found, key=_nearness, default=Compared(what="", cases=0, wrong=0))
        broken = [finding for finding in found if finding.wrong]
        cases = sum(finding.cases for finding in found)
        unjudged = f"no case: {probe.declined[0] if probe.declined else 'nothing was compared'}"
        return Outcome(
            name=self.name,
            passed=not broken and bool(cases or probe.declined),
            error=nearest.error,
            bound=nearest.bound,
            cases=cases,
            excused=sum(finding.excused for finding in found),
            detail=_words(broken) if cases else unjudged,
            device=device,
        )


def _nearness(finding: Compared) -> float:
    if math.isnan(finding.error):
        return math.inf
    return finding.error / finding.bound if finding.bound else finding.error and math.inf


def _words(broken: Sequence[Compared]) -> str:
    if not broken:
        return ""
    wrong = sum(finding.wrong for finding in broken)
    return f"{wrong} wrong in {len(broken)} comparisons, first: {broken[0].what}"


def laws() -> tuple[Law, ...]:
    """Return all laws, in the order of the contract."""
    return tuple(
        Law(
            name=findings.__name__,
            statement=(findings.__doc__ or "").splitlines()[0],
            findings=findings,
        )
        for findings in _LAWS
    )


def devices() -> tuple[str, ...]:
    """Return where laws can be checked here: the processor, and CUDA if present."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def deviations_of(name: str) -> dict[str, str]:
    """Return the deviations declared in the folder of the simulator ``name``, law to reason.

    Raises:
        SpecError: If one names no law.
    """
    folder = discovery.source_of(discovery.module_of("backends", name)).parent
    file = folder / "deviations.toml"
    declared = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known = {law.name for law in laws()}
    if unknown := sorted(set(declared) - known):
        raise SpecError(f"{file} declares {unknown[0]!r}, which is no law; there are: {known}")
    return {law: str(reason) for law, reason in declared.items()}


def conform(backend: Backend, /, *, deviations: Mapping[str, str] | None = None) -> list[Outcome]:
    """Hold ``backend`` to every law, on every device here.

    Args:
        backend: Any object that keeps the contract.
        deviations: Laws it is known to break, each with the reason.
    """
    declared = deviations or {}
    outcomes = (law(backend, device=device) for device in devices() for law in laws())
    return [_as_declared(outcome, declared.get(outcome.name)) for outcome in outcomes]


def _as_declared(outcome: Outcome, reason: str | None) -> Outcome:
    if reason is None:
        return outcome
    if outcome.passed:
        return replace(
            outcome, passed=False, detail=f"holds, but is declared a deviation ({reason})"
        )
    return replace(outcome, passed=True, detail=f"declared: {reason} ({outcome.detail})")


# What the laws measure with.


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One forward pass, recorded, and the exact path beside it."""

    neuron: nn.Module
    current: Tensor
    spikes: Tensor
    membrane: Tensor
    path: oracle.Path


def _run(probe: Probe, spec: NeuronSpec, current: Tensor) -> _Run:
    neuron = probe.neuron(spec)
    record: list[Tensor] = []
    spikes = neuron(current, record)
    membrane = record[0]
    path = oracle.follow(
        spec, current.detach(), spikes.detach(), leak=_leak(spec, neuron), dtype=membrane.dtype
    )
    return _Run(neuron=neuron, current=current, spikes=spikes, membrane=membrane, path=path)


def _leak(spec: NeuronSpec, neuron: nn.Module) -> float:
    w = neuron.state_dict().get("w")
    return oracle.leak_of(spec, None if w is None else float(w))


def _within(what: str, found: Tensor, expected: Tensor, bound: Tensor) -> Compared:
    """Compare numbers; keep the error that comes nearest to its bound. NaN is wrong."""
    error = (found.detach().double() - expected).abs().flatten()
    bound = bound.expand_as(expected).flatten()
    wrong = ~(error <= bound)
    if not len(error):
        return Compared(what=what, cases=0, wrong=0)
    nearness = torch.where(bound > 0, error / bound, torch.where(error > 0, math.inf, 0.0))
    place = int(nearness.nan_to_num(math.inf).argmax())
    return Compared(
        what=f"{what}: error {float(error[place]):.3g}, bound {float(bound[place]):.3g}",
        cases=len(error),
        wrong=int(wrong.sum()),
        error=float(error[place]),
        bound=float(bound[place]),
    )


def _true(what: str, *truths: bool) -> Compared:
    return Compared(what=what, cases=len(truths), wrong=truths.count(False))


def _equal(what: str, found: object, expected: object) -> Compared:
    words = f"{what}: expected {expected}, got {found}"
    return Compared(what=words, cases=1, wrong=int(found != expected))


def _decisions(what: str, run: _Run) -> Compared:
    """Compare every decision that rounding leaves no choice about."""
    decided = ~run.path.undecided
    wrong = (run.spikes.double() != run.path.should_fire.double()) & decided
    return Compared(
        what=f"spikes of {what}",
        cases=int(decided.sum()),
        wrong=int(wrong.sum()),
        excused=int((~decided).sum()),
        error=float(wrong.sum()),
    )


def _with_constants(specs: Sequence[NeuronSpec]) -> list[NeuronSpec]:
    return [
        replace(spec, tau=tau, v_threshold=v_threshold)
        for spec, (tau, v_threshold) in product(specs, CONSTANTS)
    ]


def _short(spec: NeuronSpec, dtype: torch.dtype) -> str:
    scaled = "" if spec.scale_input else " unscaled"
    attached = "" if spec.detach_reset else " attached"
    surrogate = f"{spec.surrogate.name}({spec.surrogate.alpha:g})"
    numbers = f"tau {spec.tau:g}, threshold {spec.v_threshold:g}"
    return f"{spec.kind} {spec.reset}{scaled}{attached} {surrogate} {numbers} {dtype}"


# The laws. The first line of each is what it states.


def spikes_are_the_oracles(probe: Probe) -> Iterator[Compared]:
    """Random currents make the oracle's spikes, but for the membranes rounding may move."""
    for spec, dtype in product(probe.supported(_with_constants(FORMS)), DTYPES):
        current = probe.current(spec, STEPS, SAMPLES, dtype=dtype)
        yield _decisions(_short(spec, dtype), _run(probe, spec, current))


def spikes_are_the_oracles_near_threshold(probe: Probe) -> Iterator[Compared]:
    """Currents that aim at the threshold, and just beside it, make the oracle's spikes."""
    for spec, dtype in product(probe.supported(_with_constants(FORMS)), DTYPES):
        current = _grazing(probe, spec, dtype)
        yield _decisions(_short(spec, dtype), _run(probe, spec, current))


def _grazing(probe: Probe, spec: NeuronSpec, dtype: torch.dtype) -> Tensor:
    """Return a current ``[T, N]`` that brings the membrane to the threshold every other step.

    It aims at the threshold itself and at up to 4096 roundoffs above and below.
    """
    leak = _leak(spec, probe.neuron(spec))
    gain = leak if spec.scale_input and spec.kind != "if" else 1.0
    powers = 2.0 ** torch.arange(SAMPLES // 2 - 1).remainder(13)
    sides = torch.cat([torch.zeros(2), powers, -powers]).double().to(probe.device)
    aim = spec.v_threshold * (1 + sides * oracle.unit_roundoff(dtype))
    free = probe.current(spec, STEPS, SAMPLES, dtype=torch.float64, seed=1)
    r, currents = torch.zeros_like(aim), []
    for step, x in enumerate(free):
        exact = (aim - (1 - leak) * r) / gain
        currents.append((exact if step % 2 else x).to(dtype))
        v = (1 - leak) * r + gain * currents[-1].double()
        fired = v >= spec.v_threshold
        r = torch.where(fired, 0.0 if spec.reset == "zero" else v - spec.v_threshold, v)
    return torch.stack(currents)


def membrane_is_within_rounding(probe: Probe) -> Iterator[Compared]:
    """The recorded membrane is the oracle's before reset, within the rounding bound."""
    for spec, dtype in product(probe.supported(_with_constants(FORMS)), DTYPES):
        run = _run(probe, spec, probe.current(spec, STEPS, SAMPLES, dtype=dtype, seed=2))
        yield _within(_short(spec, dtype), run.membrane, run.path.v, run.path.v_error)


def exact_ties_fire(probe: Probe) -> Iterator[Compared]:
    """A membrane exactly at threshold fires, and numbers that need no rounding have none.

    Currents are quarters up to 4 and ``tau`` is 2, so a membrane after six steps is a
    multiple of 2^-8 below 32: 13 bits of float32's 24. A membrane that is itself kept in
    bfloat16, which has 8, is judged in its first step, where it needs 5.
    """
    for form, v_threshold, dtype in product(FORMS, (1.0, 0.5, 0.75), DTYPES):
        spec = replace(form, v_threshold=v_threshold)
        for supported in probe.supported([spec]):
            quarters = (probe.randn(STEPS, 4 * SAMPLES, dtype=torch.float64) * 4).round()
            run = _run(probe, supported, (quarters / 4).clamp(-4, 4).to(dtype))
            steps = 1 if torch.finfo(run.membrane.dtype).eps > 2**-13 else STEPS
            zero = torch.zeros((), dtype=torch.float64, device=probe.device)
            v, what = run.path.v[:steps], _short(spec, dtype)
            yield _within(f"membrane of {what}", run.membrane[:steps], v, zero)
            yield _within(
                f"spikes of {what}",
                run.spikes[:steps],
                run.path.should_fire[:steps].double(),
                zero,
            )


def a_step_resets_once(probe: Probe) -> Iterator[Compared]:
    """Five and a quarter thresholds of charge in one step make one spike and one reset.

    With ``tau`` 2 and threshold 1, the next membrane is 0, or (5.25 - 1)(1 - 1/tau).
    """
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        leak = 0.0 if spec.kind == "if" else 0.5
        current = torch.zeros(2, 3, dtype=dtype, device=probe.device)
        current[0] = 5.25 / (leak if spec.scale_input and leak else 1.0)
        run = _run(probe, spec, current)
        after = 0.0 if spec.reset == "zero" else (5.25 - 1) * (1 - leak)
        membrane = torch.tensor([[5.25], [after]], dtype=torch.float64, device=probe.device)
        fired = (membrane >= 1).double().expand(2, 3)
        zero = torch.zeros_like(fired)
        yield _within(f"membrane of {_short(spec, dtype)}", run.membrane, membrane + zero, zero)
        yield _within(f"spikes of {_short(spec, dtype)}", run.spikes, fired, zero)


def huge_currents_are_contained(probe: Probe) -> Iterator[Compared]:
    """Currents of 1e30 and 3e38 are charged and reset like any, and gradients stay finite."""
    sizes = torch.tensor([1e30, -1e30, 3e38, -3e38], dtype=torch.float64, device=probe.device)
    for spec, dtype in product(probe.supported(_with_surrogates(attached=True)), DTYPES):
        current = probe.current(spec, STEPS, len(sizes), dtype=dtype)
        current[1] = sizes.to(dtype)
        run, what = _run(probe, spec, current.requires_grad_()), _short(spec, dtype)
        yield _decisions(what, run)
        yield _within(f"membrane of {what}", run.membrane, run.path.v, run.path.v_error)
        for spikes in (run.spikes, run.neuron(current)):
            (gradient,) = torch.autograd.grad(spikes.sum(), current, retain_graph=True)
            yield _true(f"finite gradient of {what}", *gradient.isfinite().all(0).tolist())


def infinite_currents_do_not_pass_for_silence(probe: Probe) -> Iterator[Compared]:
    """An infinite current fires, or makes NaN; it never makes a silent neuron."""
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        current = probe.current(spec, STEPS, 2, dtype=dtype)
        current[1, 0] = math.inf
        answered = _answer(probe.neuron(spec), current)
        alright = answered is None or not bool(answered[1, 0] == 0)
        yield _true(_short(spec, dtype), alright)


def subnormal_currents_are_kept(probe: Probe) -> Iterator[Compared]:
    """Subnormal currents are neither lost nor do they fire."""
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        smallest = torch.finfo(dtype).smallest_normal
        current = probe.randn(STEPS, SAMPLES, dtype=dtype).clamp(-1, 1) * (smallest / 8)
        run = _run(probe, spec, current)
        what = _short(spec, dtype)
        yield _within(f"membrane of {what}", run.membrane, run.path.v, run.path.v_error)
        yield _true(f"silence of {what}", bool((run.spikes == 0).all()))


def nan_is_refused_or_carried(probe: Probe) -> Iterator[Compared]:
    """NaN raises, or makes that neuron's spikes NaN from then on, and no other's."""
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        neuron = probe.neuron(spec)
        current = probe.current(spec, STEPS, SAMPLES, dtype=dtype)
        healthy = neuron(current)
        current[2, 7] = math.nan
        answered = _answer(neuron, current)
        if answered is None:
            yield _equal(f"answer to NaN of {_short(spec, dtype)}", answered, None)
            continue
        others = torch.arange(SAMPLES, device=probe.device) != 7
        yield _true(
            _short(spec, dtype),
            bool(answered[2:, 7].isnan().all()),
            torch.equal(answered[:, others], healthy[:, others]),
        )


def _answer(neuron: nn.Module, current: Tensor) -> Tensor | None:
    """Return the spikes, or None if the current is refused."""
    try:
        answered: Tensor = neuron(current)
    except (ArithmeticError, RuntimeError, ValueError):
        return None
    return answered


def _with_surrogates(
    forms: Sequence[NeuronSpec] = FORMS,
    surrogates: Sequence[Surrogate] = SURROGATES,
    *,
    attached: bool = False,
) -> list[NeuronSpec]:
    return [
        replace(spec, surrogate=surrogate, tau=3.1, detach_reset=not attached)
        for spec, surrogate in product(forms, surrogates)
    ]


def _differentiated(
    probe: Probe, forms: Sequence[NeuronSpec]
) -> Iterator[tuple[NeuronSpec, torch.dtype]]:
    """Yield what gradients are compared for."""
    for attached, dtype in product((False, True), DTYPES):
        surrogates = (*SURROGATES, *AT_ONE) if dtype == torch.float32 else SURROGATES
        for spec in probe.supported(_with_surrogates(forms, surrogates, attached=attached)):
            yield spec, dtype


def surrogate_is_its_formula(probe: Probe) -> Iterator[Compared]:
    """In one step from rest the gradient is ``g(v - v_threshold)`` times the input's gain.

    Distances are multiples of 1/64 up to 3, so none is rounded, and a rectangle's edge
    at ``1 / (2 alpha)`` is hit exactly at alpha 1: it is outside.
    """
    distances = torch.arange(-192, 193, dtype=torch.float64, device=probe.device) / 64
    specs = _with_surrogates(FORMS, (*SURROGATES, *AT_ONE))
    for spec, dtype in product(probe.supported(specs), DTYPES[:2]):
        alike = replace(spec, tau=2.0)
        gain = 0.5 if spec.kind != "if" and spec.scale_input else 1.0
        current = ((distances + 1) / gain).to(dtype).unsqueeze(0).requires_grad_()
        spikes = probe.neuron(alike)(current)
        (gradient,) = torch.autograd.grad(spikes.sum(), current)
        formula = derivative(spec.surrogate, distances)
        # As in the oracle's bound: 16 roundings of the largest value, and of alpha |x|.
        lost = oracle.gamma(dtype, 2 * oracle.ROUNDINGS) * oracle.peak(spec.surrogate)
        bound = lost * (1 + spec.surrogate.alpha * distances.abs())
        yield _within(_short(alike, dtype), gradient[0], gain * formula, gain * bound)


def gradients_are_the_oracles(probe: Probe) -> Iterator[Compared]:
    """Over several steps the current's gradient is the adjoint's, within its bound."""
    for spec, dtype in _differentiated(probe, FORMS):
        for finding, _ in _gradient_findings(probe, spec, dtype):
            yield finding


def tau_gradient_is_the_oracles(probe: Probe) -> Iterator[Compared]:
    """The gradient by a ``plif``'s ``w`` is the adjoint's, within its bound."""
    for spec, dtype in _differentiated(probe, [spec for spec in FORMS if spec.kind == "plif"]):
        for _, finding in _gradient_findings(probe, spec, dtype):
            yield finding


def _gradient_findings(
    probe: Probe, spec: NeuronSpec, dtype: torch.dtype
) -> Iterator[tuple[Compared, Compared]]:
    """Yield what is found of the gradients by current and ``w``, unrecorded and recorded."""
    current = probe.current(spec, STEPS, 16, dtype=dtype, seed=3).requires_grad_()
    run, what = _run(probe, spec, current), _short(spec, dtype)
    by_spikes = probe.randn(STEPS, 16, dtype=dtype, seed=4)
    by_membrane = probe.randn(STEPS, 16, dtype=run.membrane.dtype, seed=5)
    inputs = [current, *run.neuron.parameters()]
    plain = torch.autograd.grad(run.neuron(current), inputs, by_spikes)
    yield _compared(what, run, plain, by_spikes, torch.zeros_like(by_membrane))
    outputs, weights = [run.spikes, run.membrane], [by_spikes, by_membrane]
    recorded = torch.autograd.grad(outputs, inputs, weights)
    yield _compared(f"recorded {what}", run, recorded, by_spikes, by_membrane)


def _compared(
    what: str, run: _Run, found: Sequence[Tensor], by_spikes: Tensor, by_membrane: Tensor
) -> tuple[Compared, Compared]:
    exact = oracle.gradients(run.path, by_spikes, by_membrane, dtype=run.current.dtype)
    by_current = _within(f"d/dx of {what}", found[0], exact.current, exact.current_error)
    if len(found) == 1:
        return by_current, Compared(what=what, cases=0, wrong=0)
    return by_current, _within(f"d/dw of {what}", found[1], exact.w, exact.w_error)


def detaching_the_reset_is_obeyed(probe: Probe) -> Iterator[Compared]:
    """Attached and detached resets have the gradients derived here, and these differ.

    Two steps, ``tau`` 2, threshold 1, triangle of alpha 1/2; currents make the membrane
    v = 1.5 and then, with nothing more coming in, (1 - k) r. The loss is the second
    membrane, so the gradient by the first membrane is (1 - k) dr/dv, where
    dr/dv = 0 - [attached] v h or 1 - [attached] h, and h = (1 - 0.5/2)/2 = 0.375.
    """
    triangle = Surrogate(name="triangle", alpha=0.5)
    for form, detached, dtype in product(FORMS, (True, False), DTYPES):
        spec = replace(form, detach_reset=detached, surrogate=triangle)
        if not list(probe.supported([spec])):
            continue
        leak = 0.0 if spec.kind == "if" else 0.5
        gain = leak if spec.scale_input and leak else 1.0
        current = torch.zeros(2, 1, dtype=dtype, device=probe.device)
        current[0] = 1.5 / gain
        record: list[Tensor] = []
        probe.neuron(spec)(current.requires_grad_(), record)
        (gradient,) = torch.autograd.grad(record[0][1].sum(), current)
        through_spike = 0.0 if detached else 0.375 * (1.5 if spec.reset == "zero" else 1.0)
        kept = (0.0 if spec.reset == "zero" else 1.0) - through_spike
        expected = torch.tensor([gain * (1 - leak) * kept], dtype=torch.float64)
        zero = torch.zeros((), dtype=torch.float64, device=probe.device)
        # Binary fractions all, of at most 8 bits: nothing is rounded.
        yield _within(_short(spec, dtype), gradient[0], expected.to(probe.device), zero)


def one_step_is_the_first_of_many(probe: Probe) -> Iterator[Compared]:
    """A call with ``T = 1`` gives the first step of a longer one, in its shape."""
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        neuron = probe.neuron(spec)
        current = probe.current(spec, STEPS, SAMPLES, dtype=dtype)
        first: Tensor = neuron(current[:1])
        yield _true(_short(spec, dtype), torch.equal(first, neuron(current)[:1]))


def an_empty_batch_passes_through(probe: Probe) -> Iterator[Compared]:
    """No samples make no spikes, in the right shape, forward and backward."""
    for spec, dtype, steps in product(probe.supported(FORMS), DTYPES, (1, STEPS)):
        current = torch.zeros(steps, 0, 3, dtype=dtype, device=probe.device).requires_grad_()
        record: list[Tensor] = []
        neuron = probe.neuron(spec)
        for spikes in (neuron(current), neuron(current, record)):
            (gradient,) = torch.autograd.grad(spikes.sum(), current)
            shapes = {spikes.shape, gradient.shape, current.shape}
            yield _true(_short(spec, dtype), len(shapes) == 1, spikes.dtype == dtype)
        yield _true(_short(spec, dtype), record[0].shape == current.shape)


def memory_layout_is_kept(probe: Probe) -> Iterator[Compared]:
    """Each step's layout, plain or channels-last, is that of its spikes and gradient.

    For frames, for one step, and for a constant current expanded over time.
    """
    forms = [*FORMS, *_with_surrogates(FORMS[2:3])]
    for spec, dtype, layout in product(
        probe.supported(forms), DTYPES, (torch.contiguous_format, _CHANNELS_LAST)
    ):
        frames = probe.current(spec, 3 * 2, 3, 4, 5, dtype=dtype)
        frames = frames.contiguous(memory_format=layout)
        frames = torch.unflatten(frames, 0, (3, 2))
        neuron, what = probe.neuron(spec), f"{layout} {_short(spec, dtype)}"
        for name, shown in (
            ("frames", frames),
            ("one step", frames[:1]),
            ("constant", frames[0].expand(3, -1, -1, -1, -1)),
        ):
            current = shown.detach().requires_grad_()
            for record in (None, list[Tensor]()):
                spikes: Tensor = neuron(current, record)
                # Laid out as the next layer's gradient would be.
                weights = torch.ones_like(frames)[: len(spikes)]
                (gradient,) = torch.autograd.grad(spikes, current, weights)
                yield _true(
                    f"{name} {what}",
                    *(_laid_out(signal, layout) for signal in (spikes, gradient, *(record or ()))),
                )


def _laid_out(signal: Tensor, layout: torch.memory_format) -> bool:
    return all(step.is_contiguous(memory_format=layout) for step in signal)


def strides_do_not_matter(probe: Probe) -> Iterator[Compared]:
    """A transposed, strided, expanded or channels-last current gives what its copy gives."""
    for spec, dtype in product(probe.supported(_with_constants(FORMS)), DTYPES):
        wide = probe.current(spec, 4, 6, 8, 4, 4, dtype=dtype)
        neuron, what = probe.neuron(spec), _short(spec, dtype)
        for name, current in (
            ("transposed", wide.transpose(0, 1)),
            ("strided", wide[:, ::2, 1::3]),
            ("expanded over time", wide[:1].expand(5, -1, -1, -1, -1)),
            ("expanded over samples", wide[:, :1].expand(-1, 5, -1, -1, -1)),
            ("channels last", wide.movedim(2, -1).contiguous().movedim(-1, 2)),
        ):
            copy = current.clone(memory_format=torch.contiguous_format)
            yield _true(f"{name} {what}", torch.equal(neuron(current), neuron(copy)))


def dtype_and_device_are_kept(probe: Probe) -> Iterator[Compared]:
    """Spikes and gradient have the current's type and place, and a spike is 0 or 1."""
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        current = probe.current(spec, STEPS, SAMPLES, dtype=dtype).requires_grad_()
        record: list[Tensor] = []
        neuron = probe.neuron(spec)
        for spikes in (neuron(current), neuron(current, record)):
            (gradient,) = torch.autograd.grad(spikes.sum(), current)
            yield _true(
                _short(spec, dtype),
                spikes.dtype == gradient.dtype == dtype,
                spikes.device == gradient.device == current.device,
                spikes.shape == gradient.shape == current.shape,
                bool(((spikes == 0) | (spikes == 1)).all()),
            )
        yield _true(
            f"record of {_short(spec, dtype)}",
            len(record) == 1,
            record[0].is_floating_point(),
            record[0].shape == current.shape,
            record[0].device == current.device,
        )


def calls_share_no_memory(probe: Probe) -> Iterator[Compared]:
    """Every call starts from rest: what came before leaves no trace, in any state."""
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        neuron = probe.neuron(spec)
        state = {name: value.clone() for name, value in neuron.state_dict().items()}
        current = probe.current(spec, STEPS, SAMPLES, dtype=dtype)
        first: Tensor = neuron(current)
        at_once: Tensor = neuron(current)
        neuron(probe.current(spec, 2, SAMPLES, dtype=dtype, seed=6))
        neuron(probe.current(spec, 3, 5, dtype=dtype, seed=7))
        neuron.eval()
        again: Tensor = neuron(current)
        after = neuron.state_dict()
        same_state = all(torch.equal(after[name], value) for name, value in state.items())
        yield _true(
            _short(spec, dtype),
            torch.equal(first, at_once),
            torch.equal(first, again),
            state.keys() == after.keys() and same_state,
        )


def samples_do_not_hear_each_other(probe: Probe) -> Iterator[Compared]:
    """A sample's spikes are the same alone and among others, however wild these are."""
    for spec, dtype in product(probe.supported(FORMS), DTYPES):
        neuron = probe.neuron(spec)
        current = probe.current(spec, STEPS, 5, 33, dtype=dtype)
        alone: Tensor = neuron(current[:, :1])
        among: Tensor = neuron(current)
        current[:, 1:] = 1e30
        among_wild: Tensor = neuron(current)
        yield _true(
            _short(spec, dtype),
            torch.equal(alone, among[:, :1]),
            torch.equal(alone, among_wild[:, :1]),
        )


def recording_changes_nothing(probe: Probe) -> Iterator[Compared]:
    """Spikes are the same whether or not the membrane is recorded."""
    for spec, dtype in product(probe.supported(_with_constants(FORMS)), DTYPES):
        neuron = probe.neuron(spec)
        current = _grazing(probe, spec, dtype)
        record: list[Tensor] = []
        yield _true(_short(spec, dtype), torch.equal(neuron(current), neuron(current, record)))


def the_current_is_left_alone(probe: Probe) -> Iterator[Compared]:
    """Nothing is written into the current, and the spikes do not alias it."""
    for spec, dtype, steps in product(probe.supported(FORMS), DTYPES, (1, STEPS)):
        current = probe.current(spec, steps, SAMPLES, dtype=dtype)
        before = current.clone()
        spikes: Tensor = probe.neuron(spec)(current)
        spikes.add_(1)
        yield _true(_short(spec, dtype), torch.equal(current, before))


def a_neuron_has_the_contracts_parts(probe: Probe) -> Iterator[Compared]:
    """A neuron has ``spec``; ``plif`` alone has a weight, ``w = -ln(tau - 1)``.

    Building one draws no random numbers, and what is unsupported is refused in words.
    """
    for spec in _with_constants(FORMS):
        generator = torch.random.get_rng_state()
        reason, what = probe.backend.unsupported(spec), _short(spec, torch.float32)
        if reason is not None:
            yield _true(f"a reason why {what} is unsupported", bool(reason))
            yield _equal(f"answer to the unsupported {what}", _answer_to(probe, spec), "refused")
            continue
        neuron = probe.neuron(spec)
        drew = not torch.equal(generator, torch.random.get_rng_state())
        names = ["w"] if spec.kind == "plif" else []
        yield _equal(f"random numbers drawn for {what}", drew, expected=False)
        yield _equal(f"{what} is a SpikingNeuron", isinstance(neuron, SpikingNeuron), expected=True)
        yield _equal(f"spec of {what}", getattr(neuron, "spec", None), spec)
        yield _equal(f"state of {what}", list(neuron.state_dict()), names)
        yield _equal(f"weights of {what}", [name for name, _ in neuron.named_parameters()], names)
        for w in neuron.parameters():
            exact = torch.full_like(w.detach(), -math.log(spec.tau - 1), dtype=torch.float64)
            bound = exact.abs() * oracle.unit_roundoff(torch.float32)
            yield _within(f"w of {what}", w.detach(), exact, bound)
            yield _equal(
                f"type, axes and gradient of {what}'s w",
                (w.dtype, w.dim(), w.requires_grad),
                (torch.float32, 0, True),
            )


def _answer_to(probe: Probe, spec: NeuronSpec) -> str:
    try:
        return f"a {type(probe.neuron(spec)).__name__}"
    except UnsupportedError:
        return "refused"


_LAWS: tuple[Callable[[Probe], Iterator[Compared]], ...] = (
    a_neuron_has_the_contracts_parts,
    spikes_are_the_oracles,
    spikes_are_the_oracles_near_threshold,
    membrane_is_within_rounding,
    exact_ties_fire,
    a_step_resets_once,
    huge_currents_are_contained,
    infinite_currents_do_not_pass_for_silence,
    subnormal_currents_are_kept,
    nan_is_refused_or_carried,
    surrogate_is_its_formula,
    gradients_are_the_oracles,
    detaching_the_reset_is_obeyed,
    tau_gradient_is_the_oracles,
    one_step_is_the_first_of_many,
    an_empty_batch_passes_through,
    memory_layout_is_kept,
    strides_do_not_matter,
    dtype_and_device_are_kept,
    calls_share_no_memory,
    samples_do_not_hear_each_other,
    recording_changes_nothing,
    the_current_is_left_alone,
)
