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
from dataclasses import dataclass, replace
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
VARIED = tuple(
    replace(form, tau=tau, v_threshold=v_threshold)
    for form, (tau, v_threshold) in product(FORMS, CONSTANTS)
)
SURROGATES = tuple(Surrogate(name=name, alpha=2.6) for name in get_args(SurrogateName))
# A formula may have a special case at 1, so float32 is held to both.
AT_ONE = tuple(replace(surrogate, alpha=1.0) for surrogate in SURROGATES)


def _with_surrogates(
    surrogates: Sequence[Surrogate],
    *,
    forms: Sequence[NeuronSpec] = FORMS,
    attached: bool = False,
    tau: float = 3.1,
) -> tuple[NeuronSpec, ...]:
    return tuple(
        replace(form, surrogate=surrogate, tau=tau, detach_reset=not attached)
        for form, surrogate in product(forms, surrogates)
    )


# What laws are judged for: specifications and types.
Cases = tuple[tuple[NeuronSpec, torch.dtype], ...]
PLAIN: Cases = tuple(product(FORMS, DTYPES))
WITH_CONSTANTS: Cases = tuple(product(VARIED, DTYPES))
DIFFERENTIATED: Cases = tuple(
    case
    for attached in (False, True)
    for surrogates, dtypes in ((SURROGATES, DTYPES), (AT_ONE, (torch.float32,)))
    for case in product(_with_surrogates(surrogates, attached=attached), dtypes)
)
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
class Case:
    """One specification in one type, on one simulator and device."""

    backend: Backend
    device: torch.device
    spec: NeuronSpec
    dtype: torch.dtype

    def neuron(self) -> nn.Module:
        """Return a fresh layer."""
        return self.backend.neuron(self.spec).to(self.device)

    def randn(self, *shape: int, dtype: torch.dtype | None = None, seed: int = 0) -> Tensor:
        """Return the same normal numbers on every device."""
        drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
        return drawn.to(self.device, dtype or self.dtype)

    def current(self, *shape: int, dtype: torch.dtype | None = None, seed: int = 0) -> Tensor:
        """Return a random current under which about a third of the steps fire."""
        return self.spec.v_threshold * (0.8 + 1.5 * self.randn(*shape, dtype=dtype, seed=seed))

    def run(self, current: Tensor) -> "Run":
        """Show a fresh layer ``current``, recorded, and follow the exact path beside it."""
        neuron = self.neuron()
        record: list[Tensor] = []
        spikes: Tensor = neuron(current, record)
        membrane = record[0]
        leak = self.leak(neuron)
        path = oracle.follow(
            self.spec, current.detach(), spikes.detach(), leak=leak, dtype=membrane.dtype
        )
        return Run(neuron=neuron, spikes=spikes, membrane=membrane, path=path)

    def leak(self, neuron: nn.Module) -> float:
        """Return ``1/tau`` as the layer has it."""
        w = neuron.state_dict().get("w")
        return oracle.leak_of(self.spec, None if w is None else float(w))

    def within(
        self, found: Tensor, expected: Tensor, bound: Tensor | float = 0.0, *, of: str
    ) -> Compared:
        """Compare numbers; keep the error that comes nearest to its bound. NaN is wrong."""
        expected = expected.to(found.device)
        error = (found.detach().double() - expected).abs()
        bound = torch.as_tensor(bound, device=found.device).expand_as(error).flatten()
        error = error.flatten()
        wrong = ~(error <= bound)
        if not len(error):
            return Compared(what=self.words(of), cases=0, wrong=0)
        nearness = torch.where(bound > 0, error / bound, torch.where(error > 0, math.inf, 0.0))
        place = int(nearness.nan_to_num(math.inf).argmax())
        furthest, allowed = float(error[place]), float(bound[place])
        return Compared(
            what=f"{self.words(of)}: error {furthest:.3g}, bound {allowed:.3g}",
            cases=len(error),
            wrong=int(wrong.sum()),
            error=furthest,
            bound=allowed,
        )

    def decisions(self, run: "Run") -> Compared:
        """Compare every decision that rounding leaves no choice about."""
        decided = ~run.path.undecided
        wrong = (run.spikes.double() != run.path.should_fire.double()) & decided
        return Compared(
            what=self.words("spikes"),
            cases=int(decided.sum()),
            wrong=int(wrong.sum()),
            excused=int((~decided).sum()),
            error=float(wrong.sum()),
        )

    def true(self, *truths: bool, of: str = "") -> Compared:
        """Compare properties with what they should be."""
        return Compared(what=self.words(of), cases=len(truths), wrong=truths.count(False))

    def equal(self, found: object, expected: object, *, of: str) -> Compared:
        """Compare two values, and tell both."""
        words = f"{self.words(of)}: expected {expected}, got {found}"
        return Compared(what=words, cases=1, wrong=int(found != expected))

    def words(self, of: str = "") -> str:
        """Return what is compared."""
        spec = self.spec
        scaled = "" if spec.scale_input else " unscaled"
        attached = "" if spec.detach_reset else " attached"
        surrogate = f"{spec.surrogate.name}({spec.surrogate.alpha:g})"
        numbers = f"tau {spec.tau:g}, threshold {spec.v_threshold:g}"
        neuron = f"{spec.kind} {spec.reset}{scaled}{attached} {surrogate} {numbers} {self.dtype}"
        return f"{of} of {neuron}" if of else neuron


@dataclass(frozen=True, kw_only=True)
class Run:
    """One forward pass, recorded, and the exact path beside it."""

    neuron: nn.Module
    spikes: Tensor
    membrane: Tensor
    path: oracle.Path


Judge = Callable[[Case], Iterator[Compared]]


@dataclass(frozen=True, kw_only=True)
class Law:
    """Something every simulator must obey.

    Attributes:
        name: How deviations and tables call it.
        cases: What it is judged for.
        judge: The comparisons that decide one case.
        of_unsupported: Whether it is judged, too, for what the simulator cannot mean.
    """

    name: str
    cases: Cases
    judge: Judge
    of_unsupported: bool = False

    def __call__(self, backend: Backend, /, *, device: str = "cpu") -> Outcome:
        """Hold ``backend`` to the law. What it raises is an outcome too."""
        declined: list[str] = []
        found: list[Compared] = []
        try:
            for spec, dtype in self.cases:
                reason = backend.unsupported(spec)
                if reason is None or self.of_unsupported:
                    at = torch.device(device)
                    found += self.judge(Case(backend=backend, device=at, spec=spec, dtype=dtype))
                else:
                    declined.append(reason)
        except _RAISED as error:
            found = [Compared(what=f"{type(error).__name__}: {error}", cases=1, wrong=1)]
        nearest = max(found, key=_nearness, default=Compared(what="", cases=0, wrong=0))
        broken = [finding for finding in found if finding.wrong]
        cases = sum(finding.cases for finding in found)
        unjudged = f"no case: {declined[0] if declined else 'nothing was compared'}"
        return Outcome(
            name=self.name,
            passed=not broken and bool(cases or declined),
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


_LAWS: list[Law] = []


def laws() -> tuple[Law, ...]:
    """Return all laws, in the order of the contract."""
    return tuple(_LAWS)


def _law(
    cases: Iterable[tuple[NeuronSpec, torch.dtype]], *, of_unsupported: bool = False
) -> Callable[[Judge], Judge]:
    """Enter a function among the laws. Its name is the law's, its first line what it states."""

    def enter(judge: Judge) -> Judge:
        _LAWS.append(
            Law(name=judge.__name__, cases=tuple(cases), judge=judge, of_unsupported=of_unsupported)
        )
        return judge

    return enter


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


@_law(product(VARIED, [torch.float32]), of_unsupported=True)
def a_neuron_has_the_contracts_parts(case: Case) -> Iterator[Compared]:
    """A neuron has ``spec``; ``plif`` alone has a weight, ``w = -ln(tau - 1)``.

    Building one draws no random numbers, and what is unsupported is refused in words.
    """
    spec = case.spec
    if (reason := case.backend.unsupported(spec)) is not None:
        yield case.true(bool(reason), of="a reason against")
        yield case.equal(_built(case), "refused", of="answer to the unsupported")
        return
    generator = torch.random.get_rng_state()
    neuron = case.neuron()
    drew = not torch.equal(generator, torch.random.get_rng_state())
    names = ["w"] if spec.kind == "plif" else []
    yield case.equal(drew, expected=False, of="random numbers drawn for a layer")
    yield case.equal(isinstance(neuron, SpikingNeuron), expected=True, of="SpikingNeuron as class")
    yield case.equal(getattr(neuron, "spec", None), spec, of="spec")
    yield case.equal(list(neuron.state_dict()), names, of="state")
    yield case.equal([name for name, _ in neuron.named_parameters()], names, of="weights")
    for w in neuron.parameters():
        exact = torch.full_like(w.detach(), -math.log(spec.tau - 1), dtype=torch.float64)
        yield case.within(w, exact, exact.abs() * oracle.unit_roundoff(torch.float32), of="w")
        told = (w.dtype, w.dim(), w.requires_grad)
        yield case.equal(told, (torch.float32, 0, True), of="type, axes and gradient of the w")


def _built(case: Case) -> str:
    try:
        return f"a {type(case.neuron()).__name__}"
    except UnsupportedError:
        return "refused"


@_law(WITH_CONSTANTS)
def spikes_are_the_oracles(case: Case) -> Iterator[Compared]:
    """Random currents make the oracle's spikes, but for the membranes rounding may move."""
    yield case.decisions(case.run(case.current(STEPS, SAMPLES)))


@_law(WITH_CONSTANTS)
def spikes_are_the_oracles_near_threshold(case: Case) -> Iterator[Compared]:
    """Currents that aim at the threshold, and just beside it, make the oracle's spikes."""
    yield case.decisions(case.run(_grazing(case)))


def _grazing(case: Case) -> Tensor:
    """Return a current ``[T, N]`` that brings the membrane to the threshold every other step.

    It aims at the threshold itself and at up to 4096 roundoffs above and below.
    """
    spec, leak = case.spec, case.leak(case.neuron())
    gain = oracle.gain_of(spec, leak)
    powers = 2.0 ** torch.arange(SAMPLES // 2 - 1).remainder(13)
    sides = torch.cat([torch.zeros(2), powers, -powers]).double().to(case.device)
    aim = spec.v_threshold * (1 + sides * oracle.unit_roundoff(case.dtype))
    free = case.current(STEPS, SAMPLES, dtype=torch.float64, seed=1)
    r, currents = torch.zeros_like(aim), []
    for step, x in enumerate(free):
        exact = (aim - (1 - leak) * r) / gain
        currents.append((exact if step % 2 else x).to(case.dtype))
        v = (1 - leak) * r + gain * currents[-1].double()
        fired = v >= spec.v_threshold
        r = torch.where(fired, 0.0 if spec.reset == "zero" else v - spec.v_threshold, v)
    return torch.stack(currents)


@_law(WITH_CONSTANTS)
def membrane_is_within_rounding(case: Case) -> Iterator[Compared]:
    """The recorded membrane is the oracle's before reset, within the rounding bound."""
    run = case.run(case.current(STEPS, SAMPLES, seed=2))
    yield case.within(run.membrane, run.path.v, run.path.v_error, of="membrane")


@_law(
    (replace(form, v_threshold=v_threshold), dtype)
    for form, v_threshold, dtype in product(FORMS, (1.0, 0.5, 0.75), DTYPES)
)
def exact_ties_fire(case: Case) -> Iterator[Compared]:
    """A membrane exactly at threshold fires, and numbers that need no rounding have none.

    Currents are quarters up to 4 and ``tau`` is 2, so a membrane after six steps is a
    multiple of 2^-8 below 32: 13 bits of float32's 24. A membrane that is itself kept in
    bfloat16, which has 8, is judged in its first step, where it needs 5.
    """
    quarters = (case.randn(STEPS, 4 * SAMPLES, dtype=torch.float64) * 4).round()
    run = case.run((quarters / 4).clamp(-4, 4).to(case.dtype))
    steps = 1 if torch.finfo(run.membrane.dtype).eps > 2**-13 else STEPS
    fired = run.path.should_fire.double()
    yield case.within(run.membrane[:steps], run.path.v[:steps], of="membrane")
    yield case.within(run.spikes[:steps], fired[:steps], of="spikes")


@_law(PLAIN)
def a_step_resets_once(case: Case) -> Iterator[Compared]:
    """Five and a quarter thresholds of charge in one step make one spike and one reset.

    With ``tau`` 2 and threshold 1, the next membrane is 0, or (5.25 - 1)(1 - 1/tau).
    """
    leak = oracle.leak_of(case.spec)
    current = torch.zeros(2, 3, dtype=case.dtype, device=case.device)
    current[0] = 5.25 / oracle.gain_of(case.spec, leak)
    run = case.run(current)
    after = 0.0 if case.spec.reset == "zero" else (5.25 - 1) * (1 - leak)
    membrane = torch.tensor([[5.25], [after]], dtype=torch.float64).expand(2, 3)
    yield case.within(run.membrane, membrane, of="membrane")
    yield case.within(run.spikes, (membrane >= 1).double(), of="spikes")


@_law(product(_with_surrogates(SURROGATES, attached=True), DTYPES))
def huge_currents_are_contained(case: Case) -> Iterator[Compared]:
    """Currents of 1e30 and 3e38 are charged and reset like any, and gradients stay finite."""
    sizes = torch.tensor([1e30, -1e30, 3e38, -3e38], dtype=torch.float64, device=case.device)
    current = case.current(STEPS, len(sizes))
    current[1] = sizes.to(case.dtype)
    run = case.run(current.requires_grad_())
    yield case.decisions(run)
    yield case.within(run.membrane, run.path.v, run.path.v_error, of="membrane")
    for spikes in (run.spikes, run.neuron(current)):
        (gradient,) = torch.autograd.grad(spikes.sum(), current, retain_graph=True)
        yield case.true(*gradient.isfinite().all(0).tolist(), of="finite gradient")


@_law(PLAIN)
def infinite_currents_do_not_pass_for_silence(case: Case) -> Iterator[Compared]:
    """An infinite current fires, or makes NaN; it never makes a silent neuron."""
    current = case.current(STEPS, 2)
    current[1, 0] = math.inf
    answered = _answer(case.neuron(), current)
    yield case.true(answered is None or not bool(answered[1, 0] == 0))


@_law(PLAIN)
def subnormal_currents_are_kept(case: Case) -> Iterator[Compared]:
    """Subnormal currents are neither lost nor do they fire."""
    smallest = torch.finfo(case.dtype).smallest_normal
    run = case.run(case.randn(STEPS, SAMPLES).clamp(-1, 1) * (smallest / 8))
    yield case.within(run.membrane, run.path.v, run.path.v_error, of="membrane")
    yield case.true(bool((run.spikes == 0).all()), of="silence")


@_law(PLAIN)
def nan_is_refused_or_carried(case: Case) -> Iterator[Compared]:
    """NaN raises, or makes that neuron's spikes NaN from then on, and no other's."""
    neuron = case.neuron()
    current = case.current(STEPS, SAMPLES)
    healthy = neuron(current)
    current[2, 7] = math.nan
    answered = _answer(neuron, current)
    if answered is None:
        yield case.equal(answered, None, of="answer to NaN")
        return
    others = torch.arange(SAMPLES, device=case.device) != 7
    yield case.true(
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


@_law(product(_with_surrogates((*SURROGATES, *AT_ONE), tau=2.0), DTYPES[:2]))
def surrogate_is_its_formula(case: Case) -> Iterator[Compared]:
    """In one step from rest the gradient is ``g(v - v_threshold)`` times the input's gain.

    Distances are multiples of 1/64 up to 3, so none is rounded, and a rectangle's edge
    at ``1 / (2 alpha)`` is hit exactly at alpha 1: it is outside.
    """
    distances = torch.arange(-192, 193, dtype=torch.float64, device=case.device) / 64
    surrogate, gain = case.spec.surrogate, oracle.gain_of(case.spec, oracle.leak_of(case.spec))
    current = ((distances + 1) / gain).to(case.dtype).unsqueeze(0).requires_grad_()
    spikes = case.neuron()(current)
    (gradient,) = torch.autograd.grad(spikes.sum(), current)
    # As in the oracle's bound: 16 roundings of the largest value, and of alpha |x|.
    lost = oracle.gamma(case.dtype, 2 * oracle.ROUNDINGS) * oracle.peak(surrogate)
    bound = lost * (1 + surrogate.alpha * distances.abs())
    exact = gain * derivative(surrogate, distances)
    yield case.within(gradient[0], exact, gain * bound, of="gradient")


@_law(DIFFERENTIATED)
def gradients_are_the_oracles(case: Case) -> Iterator[Compared]:
    """Over several steps the current's gradient is the adjoint's, within its bound."""
    for kind, found, exact in _gradients(case):
        yield case.within(found[0], exact.current, exact.current_error, of=f"{kind} d/dx")


@_law(
    (replace(form, detach_reset=detached, surrogate=Surrogate(name="triangle", alpha=0.5)), dtype)
    for form, detached, dtype in product(FORMS, (True, False), DTYPES)
)
def detaching_the_reset_is_obeyed(case: Case) -> Iterator[Compared]:
    """Attached and detached resets have the gradients derived here, and these differ.

    Two steps, ``tau`` 2, threshold 1, triangle of alpha 1/2; currents make the membrane
    v = 1.5 and then, with nothing more coming in, (1 - k) r. The loss is the second
    membrane, so the gradient by the first membrane is (1 - k) dr/dv, where
    dr/dv = 0 - [attached] v h or 1 - [attached] h, and h = (1 - 0.5/2)/2 = 0.375.
    """
    spec, leak = case.spec, oracle.leak_of(case.spec)
    gain = oracle.gain_of(spec, leak)
    current = torch.zeros(2, 1, dtype=case.dtype, device=case.device)
    current[0] = 1.5 / gain
    record: list[Tensor] = []
    case.neuron()(current.requires_grad_(), record)
    (gradient,) = torch.autograd.grad(record[0][1].sum(), current)
    through_spike = 0.0 if spec.detach_reset else 0.375 * (1.5 if spec.reset == "zero" else 1.0)
    kept = (0.0 if spec.reset == "zero" else 1.0) - through_spike
    # Binary fractions all, of at most 8 bits: nothing is rounded.
    expected = torch.tensor([gain * (1 - leak) * kept], dtype=torch.float64)
    yield case.within(gradient[0], expected, of="gradient")


@_law((spec, dtype) for spec, dtype in DIFFERENTIATED if spec.kind == "plif")
def tau_gradient_is_the_oracles(case: Case) -> Iterator[Compared]:
    """The gradient by a ``plif``'s ``w`` is the adjoint's, within its bound."""
    for kind, found, exact in _gradients(case):
        yield case.within(found[1], exact.w, exact.w_error, of=f"{kind} d/dw")


def _gradients(case: Case) -> Iterator[tuple[str, Sequence[Tensor], oracle.Gradients]]:
    """Yield the gradients by current and ``w``, unrecorded and recorded, and the exact ones."""
    current = case.current(STEPS, 16, seed=3).requires_grad_()
    run = case.run(current)
    by_spikes = case.randn(STEPS, 16, seed=4)
    by_membrane = case.randn(STEPS, 16, dtype=run.membrane.dtype, seed=5)
    inputs = [current, *run.neuron.parameters()]
    plain = torch.autograd.grad(run.neuron(current), inputs, by_spikes)
    both, weights = [run.spikes, run.membrane], [by_spikes, by_membrane]
    recorded = torch.autograd.grad(both, inputs, weights)
    for kind, found, weight in (
        ("plain", plain, torch.zeros_like(by_membrane)),
        ("recorded", recorded, by_membrane),
    ):
        yield kind, found, oracle.gradients(run.path, by_spikes, weight, dtype=case.dtype)


@_law(PLAIN)
def one_step_is_the_first_of_many(case: Case) -> Iterator[Compared]:
    """A call with ``T = 1`` gives the first step of a longer one, in its shape."""
    neuron, current = case.neuron(), case.current(STEPS, SAMPLES)
    yield case.true(torch.equal(neuron(current[:1]), neuron(current)[:1]))


@_law(PLAIN)
def an_empty_batch_passes_through(case: Case) -> Iterator[Compared]:
    """No samples make no spikes, in the right shape, forward and backward."""
    neuron = case.neuron()
    for steps, record in product((1, STEPS), (False, True)):
        current = torch.zeros(steps, 0, 3, dtype=case.dtype, device=case.device).requires_grad_()
        recorded: list[Tensor] = []
        spikes = neuron(current, recorded) if record else neuron(current)
        (gradient,) = torch.autograd.grad(spikes.sum(), current)
        shapes = {signal.shape for signal in (spikes, gradient, current, *recorded)}
        yield case.true(len(shapes) == 1, spikes.dtype == case.dtype, len(recorded) == record)


@_law(product((*FORMS, *_with_surrogates(SURROGATES, forms=FORMS[2:3])), DTYPES))
def memory_layout_is_kept(case: Case) -> Iterator[Compared]:
    """Each step's layout, plain or channels-last, is that of its spikes and gradient.

    For frames, for one step, and for a constant current expanded over time.
    """
    neuron = case.neuron()
    for layout in (torch.contiguous_format, torch.channels_last):
        frames = case.current(3 * 2, 3, 4, 5).contiguous(memory_format=layout)
        frames = torch.unflatten(frames, 0, (3, 2))
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
                signals = (spikes, gradient, *(record or ()))
                kept = (_laid_out(signal, layout) for signal in signals)
                yield case.true(*kept, of=f"{layout} of {name}")


def _laid_out(signal: Tensor, layout: torch.memory_format) -> bool:
    return all(step.is_contiguous(memory_format=layout) for step in signal)


@_law(WITH_CONSTANTS)
def strides_do_not_matter(case: Case) -> Iterator[Compared]:
    """A transposed, strided, expanded or channels-last current gives what its copy gives."""
    neuron, wide = case.neuron(), case.current(4, 6, 8, 4, 4)
    for name, current in (
        ("transposed", wide.transpose(0, 1)),
        ("strided", wide[:, ::2, 1::3]),
        ("expanded over time", wide[:1].expand(5, -1, -1, -1, -1)),
        ("expanded over samples", wide[:, :1].expand(-1, 5, -1, -1, -1)),
        ("channels last", wide.movedim(2, -1).contiguous().movedim(-1, 2)),
    ):
        copy = current.clone(memory_format=torch.contiguous_format)
        yield case.true(torch.equal(neuron(current), neuron(copy)), of=f"{name} current")


@_law(PLAIN)
def dtype_and_device_are_kept(case: Case) -> Iterator[Compared]:
    """Spikes and gradient have the current's type and place, and a spike is 0 or 1."""
    current = case.current(STEPS, SAMPLES).requires_grad_()
    record: list[Tensor] = []
    neuron = case.neuron()
    for spikes in (neuron(current), neuron(current, record)):
        (gradient,) = torch.autograd.grad(spikes.sum(), current)
        yield case.true(
            spikes.dtype == gradient.dtype == case.dtype,
            spikes.device == gradient.device == current.device,
            spikes.shape == gradient.shape == current.shape,
            bool(((spikes == 0) | (spikes == 1)).all()),
        )
    yield case.true(
        len(record) == 1,
        record[0].is_floating_point(),
        record[0].shape == current.shape,
        record[0].device == current.device,
        of="record",
    )


@_law(PLAIN)
def calls_share_no_memory(case: Case) -> Iterator[Compared]:
    """Every call starts from rest: what came before leaves no trace, in any state."""
    neuron = case.neuron()
    state = {name: value.clone() for name, value in neuron.state_dict().items()}
    current = case.current(STEPS, SAMPLES)
    first, at_once = neuron(current), neuron(current)
    neuron(case.current(2, SAMPLES, seed=6))
    neuron(case.current(3, 5, seed=7))
    neuron.eval()
    again = neuron(current)
    after = neuron.state_dict()
    same_state = all(torch.equal(after[name], value) for name, value in state.items())
    yield case.true(
        torch.equal(first, at_once),
        torch.equal(first, again),
        state.keys() == after.keys() and same_state,
    )


@_law(PLAIN)
def samples_do_not_hear_each_other(case: Case) -> Iterator[Compared]:
    """A sample's spikes are the same alone and among others, however wild these are."""
    neuron, current = case.neuron(), case.current(STEPS, 5, 33)
    alone, among = neuron(current[:, :1]), neuron(current)
    current[:, 1:] = 1e30
    among_wild = neuron(current)
    yield case.true(torch.equal(alone, among[:, :1]), torch.equal(alone, among_wild[:, :1]))


@_law(WITH_CONSTANTS)
def recording_changes_nothing(case: Case) -> Iterator[Compared]:
    """Spikes are the same whether or not the membrane is recorded."""
    neuron, current = case.neuron(), _grazing(case)
    yield case.true(torch.equal(neuron(current), neuron(current, [])))


@_law(PLAIN)
def the_current_is_left_alone(case: Case) -> Iterator[Compared]:
    """Nothing is written into the current, and the spikes do not alias it."""
    for steps in (1, STEPS):
        current = case.current(steps, SAMPLES)
        before = current.clone()
        spikes: Tensor = case.neuron()(current)
        spikes.add_(1)
        yield case.true(torch.equal(current, before))
