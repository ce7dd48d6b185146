"""Two processes that share every batch learn what one learns, whatever the method, or refuse."""

import faulthandler
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import ProcessException

from harness import discovery
from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method
from harness.engine.siblings import _SILENT, _started, _store
from harness.training import Batch, Lesson
from harness.training.lesson import computing
from harness.training.several import Several, _on_gpu
from harness.training.team import ALONE, Team
from tests.methods import laws
from tests.methods.classrooms import images
from tests.methods.small import lesson, on_images, teacher

PROCESSES, STEPS = 2, 3
NAMES = on_images()
OWN_LOOP, OWN_STATE, CHANCE = "looks at batches itself", "keeps from step to step", "are drawn"
# By the words in which they refuse; everything else means the same on several devices.
REFUSED = {
    "ann2snn": OWN_LOOP,
    "bidirectional": OWN_LOOP,
    "hybrid_conversion": OWN_LOOP,
    "kl_low_latency": "rotated copies",
    "threshold_balancing": OWN_LOOP,
    "esd": OWN_STATE,  # trains by rates, whose norms know one device
    "hybrid_blockwise": OWN_STATE,  # likewise
    "stdp": OWN_STATE,
    "ttfs": OWN_STATE,
    "shuffled_logits": CHANCE,
}
Learned = dict[str, Any]


def shared(whole: Lesson, team: Team) -> Lesson:
    """Return a lesson with the share of one process of each batch."""
    epochs = cast(Iterable[Iterable[Batch]], whole.epochs)
    return replace(
        whole, epochs=[[_share(one, team) for one in each] for each in epochs], team=team
    )


def _share(batch: Batch, team: Team) -> Batch:
    parts = {name: getattr(batch, name) for name in ("stimulus", "labels", "indices", "images")}
    ours = {name: part.chunk(team.size)[team.rank] for name, part in parts.items()}
    return replace(batch, **ours, drawn=ours["images"])


def learned(name: str, team: Team) -> Learned:
    """Return the losses of a method and a projection of each tensor, or why it refuses."""
    torch.manual_seed(0)
    method = cast(Method, discovery.load("methods", name))
    with computing("float64"):
        learner, course = (
            laws.ready(method, images("convnet")),
            shared(lesson(teacher("convnet"), steps=STEPS), team),
        )
        try:
            told = list(method.fit(learner, course))
        except UnsupportedError as reason:
            return {"refused": str(reason)}
        state = learner.network.state_dict().values()
        return {
            "samples": [one.samples for one in told],
            "losses": [one.loss for one in told],
            "weights": [part.double().flatten().cos().sum().item() for part in state],
        }


def _learn(rank: int, port: int, folder: Path) -> None:
    said = (folder / f"{rank}.log").open("w")
    os.dup2(said.fileno(), 2)  # torch says there why it aborts
    faulthandler.enable()
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=_store(port), rank=rank, world_size=PROCESSES, timeout=_SILENT
    )
    found = {name: learned(name, Several()) for name in NAMES}
    dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    os._exit(0)  # what torch has running may abort while Python is taken down


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Sequence[dict[str, Learned]]:
    """Return what every method learned in each of two processes."""
    folder = tmp_path_factory.mktemp("several")
    store = _store(0, is_master=True, wait_for_workers=False)
    try:
        _started(_learn, (store.port, folder), nprocs=PROCESSES)
    except ProcessException as error:
        said = [path.read_text() for path in sorted(folder.glob("*.log"))]
        pytest.fail("\n".join([str(error), *said]))
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_learn_what_one_learns_or_say_why_not(
    name: str, together: Sequence[dict[str, Learned]]
) -> None:
    first, second = (found[name] for found in together)
    assert first == second
    if name in REFUSED:
        assert REFUSED[name] in first["refused"]
        return
    alone = learned(name, ALONE)
    assert first["samples"] == alone["samples"]
    # Sums in another order: parts in 1e-15, a few thousand of them a tensor.
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-10)
    assert first["weights"] == pytest.approx(alone["weights"], rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_what_stands_for_a_norm_on_a_gpu_has_its_weights_statistics_and_mode(
    kind: type[nn.BatchNorm1d | nn.BatchNorm2d],
) -> None:
    # Where there is no group it does what the norm does: on a GPU nothing else could be tested.
    norm, like, sync = kind(3), kind(3), cast(Any, nn.SyncBatchNorm)
    shared = sync.convert_sync_batchnorm(norm)
    signal = torch.rand(8, 3, *[2, 2] * (kind is nn.BatchNorm2d))
    for training in (True, False):
        assert torch.equal(
            _on_gpu(norm.train(training), shared, signal), like.train(training)(signal)
        )
    _on_gpu(norm.train(), shared, signal).square().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    like.train()(signal).square().sum().backward()
    for (name, ours), theirs in zip(
        norm.state_dict().items(), like.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert norm.weight.grad is not None
    assert norm.weight.grad.equal(cast(torch.Tensor, like.weight.grad))
