"""What runs on a GPU has all of it there: asked of every method and of whole cells, without one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.cell import Cell
from harness.contracts.method import Method
from harness.contracts.row import Row
from harness.engine import cell, grid
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.teachers import cell_of
from harness.results import Published
from harness.store import Store
from harness.training import descent
from tests.methods.classrooms import IMAGES, SENTENCES, TASKS, Classroom
from tests.methods.laws import taught_in
from tests.methods.test_capture import EAGER, OnProcessor
from tests.methods.test_resuming import CutOffError, Cutting, same, train
from tests.pretended import GPU, OnGpu, pretended_gpu


@pytest.fixture(autouse=True)
def replaying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay a step by doing it again, and read its loss one step late."""
    monkeypatch.setattr(descent, "CudaGraphs", lambda _: OnProcessor())
    monkeypatch.setattr(descent, "_LATE", 1)


@taught_in(IMAGES, *TASKS)
def test_every_method_trains_there_and_goes_on_where_it_was_cut_off(
    name: str, room: Classroom
) -> None:
    method = cast(Method, discovery.load("methods", name))
    with pretended_gpu():
        whole = Cutting(after=None)
        plain = train(method, whole, room, GPU)
        _, weights, account, _ = plain
        assert all(isinstance(weight, OnGpu) for weight in weights.values())
        # A batch of sentences is as long as the longest, and another step for each length.
        replays = room is not SENTENCES and name not in EAGER
        assert (account.step == "one CUDA graph") == replays, account.step
        if not whole.keeping:
            return
        first = Cutting(after=whole.gone // 2 + 1)
        with pytest.raises(CutOffError):
            train(method, first, room, GPU)
        second = Cutting(after=None, before=first.written, device=GPU)
        same(plain, train(method, second, room, GPU))


def brief(asked: Cell) -> Cell:
    """Return ``asked`` of two epochs of two batches, its teacher of one of one."""
    assert asked.teacher is not None
    assert asked.teacher.recipe is not None
    size = asked.recipe.batch_size
    theirs = replace(asked.teacher.recipe, epochs=1, train_samples=size)
    ours = replace(asked.recipe, epochs=2, train_samples=2 * size)
    return replace(asked, recipe=ours, teacher=replace(asked.teacher, recipe=theirs))


def both(suite: str, axes: Axes, runs: Path, device: str) -> list[Row]:
    """Return the rows of a teacher and of its student."""
    store = Store(runs)
    (asked,) = map(brief, grid.cells(suite, axes, store, Published()))
    conditions = Conditions(runs=runs, data_root=None, device=device)
    made = []
    assert asked.teacher is not None
    for one in (cell_of(asked.teacher), asked):
        order = Order(cell=one, conditions=conditions, log_path=runs / "log-1.txt")
        made.append(cell.run(order, lambda _: None))
        store.save(made[-1])
    return made


@pytest.mark.parametrize(
    ("suite", "method", "backend", "timesteps"),
    [
        ("digits", "logit_kd", "norse", 2),
        ("digits", "kdsnn", "spikingjelly", 2),
        ("digits_poisson", "direct", "spikingjelly", 4),
        ("digits_conversion", "ann2snn", "norse", 8),
    ],
)
def test_a_whole_cell_measures_there_what_it_does_on_the_processor(
    suite: str, method: str, backend: str, timesteps: int, tmp_path: Path
) -> None:
    axes = Axes(methods=(method,), timesteps=(timesteps,), seeds=(0,), backends=(backend,))
    here = both(suite, axes, tmp_path / "here", "cpu")
    with pretended_gpu():
        there = both(suite, axes, tmp_path / "there", "cuda:0")
    for ours, theirs in zip(here, there, strict=True):
        assert ours.metrics is not None
        assert theirs.metrics is not None
        assert theirs.metrics.score_by_step == ours.metrics.score_by_step
        assert theirs.metrics.cross_backend == ours.metrics.cross_backend
        assert theirs.ledger == ours.ledger
        assert (theirs.provenance.gpu, ours.provenance.gpu) == ("pretended", None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda value: value + torch.ones(3), "found at least two devices"),
        (lambda value: value[:, None] @ torch.zeros(1, 3), "found at least two devices"),
        (lambda value: torch.cat([value, torch.arange(2.0)]), "found at least two devices"),
        (lambda value: torch.ones(3)[value.long()], "found at least two devices"),
        (lambda value: value.numpy(), "can't convert cuda:0"),
    ],
)
def test_what_a_gpu_refuses_is_refused(wrong: Callable[[Tensor], object], words: str) -> None:
    with pretended_gpu():
        there = torch.rand(3).to(GPU)
        with pytest.raises((RuntimeError, TypeError), match=words):
            wrong(there)


def test_what_is_made_like_a_tensor_lies_where_it_does() -> None:
    with pretended_gpu():
        there = nn.Parameter(torch.rand(4, 3).to(GPU))
        picked = there[torch.tensor([2, 0])]  # indices may lie on the host
        picked.mean().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        made = [picked, there.grad, torch.zeros_like(there), torch.tensor(2.0, device=GPU)]
        assert all(isinstance(one, OnGpu) and one.is_cuda for one in made)
        assert not isinstance(there.detach().cpu(), OnGpu)
        assert not isinstance(torch.zeros(3), OnGpu)
    assert not isinstance(torch.zeros(3), OnGpu)
