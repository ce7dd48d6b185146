"""Without instructions for it, bfloat16 is computed in float32, and means the same."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness import discovery
from harness.contracts.method import Method
from harness.contracts.recipe import Precision
from harness.neurons.compiled import can_compile, compiled
from harness.training import bfloat16
from harness.training.bfloat16 import through_float32
from harness.training.lesson import autocast
from tests.methods.classrooms import IMAGES, TASKS, Classroom
from tests.methods.laws import ready, taught_in
from tests.methods.small import SPEC
from tests.test_compiled import answers, images, neuron

CPU = torch.device("cpu")
# A class's gradient within a loss: one product, of the classifier's weights.
ALLOWED = {"ckdsnn": {"aten.mm.default"}}
PRODUCTS = ("convolution", "mm", "bmm", "addmm", "baddbmm", "matmul", "linear", "einsum")


class Narrow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes every product, forward and backward, of numbers in bfloat16."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.found: set[str] = set()
        self.products = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__.removesuffix("_backward").lstrip("_")
        if name in PRODUCTS:
            self.products += 1
            tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
            self.found |= {str(func) for each in tensors if each.dtype == torch.bfloat16}
        return func(*args, **(kwargs or {}))


@pytest.fixture
def without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "is_native", lambda: False)


@pytest.mark.usefixtures("without_instructions")
@taught_in(IMAGES, *TASKS)
def test_no_method_multiplies_numbers_in_bfloat16(name: str, room: Classroom) -> None:
    method = cast(Method, discovery.load("methods", name))
    learner, course = ready(method, room), room.lesson(room.teacher())
    recipe = replace(course.recipe, precision="bfloat16")
    with Narrow() as narrow:
        for _ in method.fit(learner, replace(course, recipe=recipe)):
            pass
    assert narrow.products
    assert narrow.found == ALLOWED.get(name, set())


X = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
KERNEL = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(1))
BIAS = torch.randn(5, generator=torch.Generator().manual_seed(2))
EACH: dict[str, Callable[..., Tensor]] = {
    "conv1d": lambda x, w, b: torch.conv1d(x[..., 0], w[..., 0], b, padding=1),
    "conv2d": lambda x, w, b: torch.conv2d(x, w, b, stride=2, padding=1),
    "conv3d": lambda x, w, b: torch.conv3d(x[..., None], w[..., None], b),
    "by name": lambda x, w, b: functional.conv2d(input=x, weight=w, bias=b),
    "linear": lambda x, w, b: functional.linear(x.flatten(2).mT, w[..., 0, 0], b),
    "matmul": lambda x, w, _: torch.matmul(x.flatten(1)[:, :9], w.flatten(1)[:, :9].mT),
    "@": lambda x, w, _: x.flatten(1)[:, :9] @ w.flatten(1)[:, :9].mT,
    "mm": lambda x, w, _: x.flatten(1)[:, :9].mm(w.flatten(1)[:, :9].mT),
    "bmm": lambda x, w, _: torch.bmm(x.flatten(2)[..., :4], w.flatten(2)[:3].mT[:, :4]),
}


def both(
    answer: Callable[..., Tensor],
    given: list[Tensor],
    context: AbstractContextManager[object] | None = None,
) -> list[Tensor]:
    """Return what comes of it, and the gradients of all that takes part."""
    given = [each.clone().requires_grad_() for each in given]
    with context or nullcontext():
        answered = answer(*given)
    pull = torch.randn(answered.shape, generator=torch.Generator().manual_seed(3))
    pulled = pull.bfloat16().to(answered)
    found = torch.autograd.grad(answered, given, pulled, allow_unused=True)
    return [answered.detach(), *(each for each in found if each is not None)]


@pytest.mark.parametrize("name", EACH)
def test_a_product_is_that_of_rounded_numbers_rounded_once(name: str) -> None:
    given = [X, KERNEL, BIAS]
    with Narrow() as narrow:
        found = both(EACH[name], given, through_float32())
    assert narrow.products >= 2
    assert not narrow.found
    native = both(EACH[name], given, torch.autocast("cpu", torch.bfloat16))
    exact = both(EACH[name], [each.bfloat16().double() for each in given])
    assert [each.dtype for each in found] == [each.dtype for each in native]
    for mine, other, true in zip(found, native, exact, strict=True):
        largest = float(true.abs().max())
        # Half of the last of eight bits, and float32's sums.
        torch.testing.assert_close(mine.double(), true, rtol=2**-8, atol=2**-20 * largest)
        # torch rounds sums in between as well.
        torch.testing.assert_close(mine, other, rtol=2**-6, atol=2**-6 * largest)


def test_what_autocast_leaves_alone_is_left_alone() -> None:
    whole, wide = torch.arange(6).reshape(2, 3), X.double()[0, 0]
    with through_float32():
        assert torch.equal(whole @ whole.mT, torch.tensor([[5, 14], [14, 50]]))
        assert (wide @ wide).dtype == torch.float64
        with torch.autocast("cpu", enabled=False):
            kept = X @ X
        assert (X + X).dtype == torch.float32
    assert torch.equal(kept, X @ X)
    assert (X @ X).dtype == torch.float32


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_it_is_for_bfloat16_alone_and_where_there_are_no_instructions(
    precision: Precision, monkeypatch: pytest.MonkeyPatch, *, native: bool
) -> None:
    monkeypatch.setattr(bfloat16, "is_native", lambda: native)
    with autocast(CPU, precision), Narrow() as narrow:
        answer = X @ X
    assert answer.dtype == (torch.bfloat16 if precision == "bfloat16" else torch.float32)
    assert bool(narrow.found) == (native and precision == "bfloat16")


def test_torch_itself_is_asked_whether_there_are_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for said in (True, False):
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda said=said: said, raising=False
        )
        assert bfloat16.is_native() == said


@pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler here")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_neurons_are_compiled_once_and_answer_the_same() -> None:
    eager, fast = neuron("spikingjelly", SPEC), compiled(neuron("spikingjelly", SPEC))
    torch._dynamo.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for size in (5, 4, 7):
        current = images(3, 2, size)
        with through_float32():
            found = answers(fast, current, recorded=False)
        assert all(map(torch.equal, found, answers(eager, current, recorded=False)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1
