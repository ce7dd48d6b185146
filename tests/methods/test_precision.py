"""A float64 recipe computes in nothing else, from the bytes of an image to the logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import kornia  # noqa: F401  importing it makes float32 constants, which are no computation
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.dataset import Dataset, Samples
from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Precision, Recipe
from harness.data.augmentation import TRANSFORMS
from harness.data.encoding import Encoder, direct
from harness.data.event_augmentation import TRANSFORMS as EVENT_TRANSFORMS
from harness.engine.train import lesson_of
from harness.evaluation.evaluate import evaluate
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, descend
from harness.training.lesson import computing
from suites.tasks.classification import TASK
from tests.methods.small import SPEC, lesson, on_images, student, teacher

WIDE = {torch.float64, torch.complex128}
CPU = torch.device("cpu")


class Narrow(TorchDispatchMode):
    """Notes every operation, forward and backward, that answers in less than float64."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        for each in tree_leaves((answer, args)):
            if isinstance(each, Tensor) and (each.is_floating_point() or each.is_complex()):
                self.found |= {f"{func}: {each.dtype}"} - {f"{func}: {wide}" for wide in WIDE}
        return answer


@contextmanager
def wide_only() -> Iterator[None]:
    """Compute in float64, and fail by name if an operation does not."""
    with computing("float64"), Narrow() as narrow:
        yield
    assert not narrow.found


def _in_float64(course: Lesson) -> Lesson:
    return replace(course, recipe=replace(course.recipe, precision="float64"))


@pytest.mark.parametrize("timesteps", [1, 2, 4])
@pytest.mark.parametrize("name", on_images())
def test_a_method_trains_and_answers_in_float64(name: str, timesteps: int) -> None:
    method = cast(Method, discovery.load("methods", name))
    with wide_only():
        try:
            learner = student(method=method, timesteps=timesteps)
            course = _in_float64(lesson(teacher(), timesteps=timesteps))
            list(method.fit(learner, course))
        except UnsupportedError as reason:
            pytest.skip(f"the method says: {reason}")
        learner.network.eval()
        with torch.no_grad():
            logits = learner(next(iter(course)).stimulus).logits
        assert logits.dtype == torch.float64
        state = learner.network.state_dict().values()
        assert {each.dtype for each in state if each.is_floating_point()} == {torch.float64}


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", ["if", "lif", "plif"])
def test_a_simulator_computes_in_float64(simulator: Backend, kind: Any, reset: Any) -> None:
    spec = NeuronSpec(kind=kind, reset=reset)
    if simulator.unsupported(spec):
        pytest.skip("it cannot mean this neuron")
    with computing("float64"):
        neuron = simulator.neuron(spec)
    with wide_only():
        current = torch.rand(3, 2, 5, requires_grad=True)
        record: list[Tensor] = []
        (neuron(current) + neuron(current, record) + record[0]).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        assert current.grad is not None


@pytest.mark.parametrize("encoder", [None, *discovery.names("encoders")])
@pytest.mark.parametrize("name", ["", *TRANSFORMS])
def test_images_are_float64_from_the_bytes_on(name: str, encoder: str | None) -> None:
    source = "cifar10" if name else "digits"
    shape = (3, 32, 32) if name else (1, 8, 8)
    _whole_way(source, np.zeros((6, *shape), np.uint8) + 77, name, encoder=encoder)


@pytest.mark.parametrize("name", ["", *EVENT_TRANSFORMS])
def test_frames_are_float64_from_the_bytes_on(name: str) -> None:
    source = "dvs_gesture" if name == "cutout" else "digits_events"
    if name == "flip":
        source = "cifar10_dvs"
    _whole_way(source, np.ones((6, 2, 2, 32, 32), np.uint8), name, encoder=None)


def _whole_way(source: str, pixels: Any, augmentation: str, *, encoder: str | None) -> None:
    """Train and evaluate a plain network on ``pixels`` as a cell would."""
    card = cast(Dataset, discovery.load("datasets", source)).card
    card = replace(card, input=replace(card.image, shape=pixels.shape[-3:]))
    samples = Samples(inputs=pixels, labels=np.arange(len(pixels)) % 3)
    presentation = replace(direct(card), timesteps=2)
    if encoder:
        loaded = cast(Encoder, discovery.load("encoders", encoder))
        presentation = replace(presentation, encoder=loaded)
    names = (augmentation,) if augmentation else ()
    recipe = Recipe(epochs=1, batch_size=3, augmentation=names, precision="float64")
    method = cast(Method, discovery.load("methods", "direct"))
    with wide_only():
        learner = student(shape=card.image.shape, spec=replace(SPEC, kind="plif"))
        course = lesson_of(
            recipe, samples, card, presentation=presentation, seed=0, teacher=None, device=CPU
        )
        list(method.fit(learner, course))
        verdict = evaluate(learner, samples, presentation, CPU, recipe.precision, task=TASK)
    assert verdict.logits.dtype == np.float64


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_what_another_processor_rounds_differently_is_gone_after_each_step(
    precision: Precision,
) -> None:
    def trained(factor: float) -> list[Tensor]:
        def loss(output: Output, _answer: Answer, labels: Tensor) -> Tensor:
            return factor * cross_entropy(output.logits.mean(0), labels)

        learner = student()
        course = lesson(None, steps=20)
        recipe = replace(course.recipe, precision=precision)
        list(descend(learner, replace(course, recipe=recipe), loss))
        return [weight.detach() for weight in learner.parameters()]

    with computing(precision):
        eps = torch.finfo(torch.get_default_dtype()).eps
        ours, theirs = trained(1.0), trained(1.0 + 8 * eps)  # as if sums had another order
    same = all(map(torch.equal, ours, theirs))
    assert same == (precision == "float64")
    on_the_grid = all(torch.equal(each * 2**22, (each * 2**22).round()) for each in ours)
    assert on_the_grid == (precision == "float64")


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("float64", torch.float64), ("float32", torch.float32), ("bfloat16", torch.float32)],
)
def test_the_default_type_is_what_it_was_after_a_job_however_it_ends(
    precision: Precision, inside: torch.dtype
) -> None:
    def job() -> None:
        with computing(precision):
            made.append(nn.Linear(1, 1).weight.dtype)
            raise ZeroDivisionError

    made: list[torch.dtype] = []
    with computing("float64"):
        with pytest.raises(ZeroDivisionError):
            job()
        assert torch.get_default_dtype() == torch.float64
    assert torch.get_default_dtype() == torch.float32
    assert made == [inside]


def test_only_what_is_narrow_is_widened() -> None:
    for given, wide in (
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        value = torch.ones(2, dtype=given)
        assert widened(value).dtype == wide
        assert torch.equal(widened(value), value.to(wide))
    exact = torch.ones(2, dtype=torch.float64)
    assert widened(exact) is exact
