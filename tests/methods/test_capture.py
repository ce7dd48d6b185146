"""Which steps a CUDA graph can hold, asked on the processor; and that replaying is the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness import discovery
from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method
from harness.training import Batch, Lesson, capture, descent
from harness.training.capture import Replayed, Step, Trace
from tests.methods.small import lesson, student, teacher

STEPS = 7
# What spends its lesson otherwise than by `descend`, or does something else in every step.
EAGER = {
    "bidirectional": "two networks that learn in turn, in a loop of its own",
    "stdp": "another layer learns every so many batches, by hooks",
    "threshold_balancing": "a conversion: no gradient, and numbers read from every batch",
    "ttfs": "windows move by what each step has seen",
}
_WITHOUT_DEVICE = (torch.arange, torch.empty, torch.full, torch.ones, torch.rand, torch.randint)
_WITHOUT_DEVICE += (torch.randn, torch.randperm, torch.zeros, torch.tensor, torch.eye)
_TO_HOST = {"numpy", "tolist", "cpu", "item", "__bool__", "__float__", "__int__"}


class OnHost(TorchFunctionMode):
    """Notes what an operation on the processor hides: memory of the host used in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        made_here = func in _WITHOUT_DEVICE and "device" not in (kwargs or {})
        if made_here or name in _TO_HOST:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class OnProcessor:
    """Replays by doing the step again, and holds the operations of each against the first."""

    def __init__(self) -> None:
        self.replays = 0
        self.strange: list[str] = []
        self._first: Trace | None = None

    def eager(self, step: Step, batch: Batch, /) -> Tensor:
        return step(batch)

    def record(self, step: Step, batch: Batch, /) -> Callable[[], Tensor]:
        def replay() -> Tensor:
            self.replays += 1
            return step(batch)

        return replay

    def watched(self, gradients: Step) -> Step:
        self._first = None  # of another descent

        def watching(batch: Batch) -> Tensor:
            with OnHost() as host, Trace() as trace:
                loss = gradients(batch)
            self._first = self._first or trace
            self.strange += [*host.found, *filter(None, [trace.unlike(self._first)])]
            return loss

        return watching


@contextmanager
def replaying(monkeypatch: pytest.MonkeyPatch) -> Iterator[OnProcessor]:
    """Let `descend` do on the processor what it does on a GPU."""
    recorder = OnProcessor()

    def step_of(lesson: Lesson, gradients: Step, optimiser: Any, eager: str) -> Step:
        if eager:
            lesson.account.step = f"eager: {eager}"
            return lambda batch: (gradients(batch), optimiser.step())[0]
        return Replayed(recorder.watched(gradients), optimiser.step, recorder, lesson.account)

    with monkeypatch.context() as patched:
        patched.setattr(descent, "_step_of", step_of)
        yield recorder


def _trained(method: Method, course: Lesson) -> tuple[list[float], dict[str, Tensor]]:
    torch.manual_seed(0)
    try:
        learner = student(method=method)
    except UnsupportedError:
        learner = student(method=method, timesteps=1)
    losses = [progress.loss for progress in method.fit(learner, course)]
    return losses, learner.network.state_dict()


@pytest.mark.parametrize("name", discovery.names("methods"))
def test_a_graph_holds_the_step_and_its_replay_is_the_step(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = cast(Method, discovery.load("methods", name))
    losses, weights = _trained(method, lesson(teacher(), steps=STEPS))
    course = lesson(teacher(), steps=STEPS)
    with replaying(monkeypatch) as recorder:
        again, replayed = _trained(method, course)
    assert again == losses
    assert all(torch.equal(replayed[key], weights[key]) for key in weights)
    said = course.account.step
    if name in EAGER:
        assert said is None or said.startswith("eager: ")
    else:
        assert said == "one CUDA graph"
        assert recorder.replays % (STEPS - capture.WARM_UP) == 0
        assert recorder.replays
        assert not recorder.strange
