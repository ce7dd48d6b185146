"""Jobs may share a process, and none of them can tell."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._inductor.utils import fresh_cache

from harness.contracts.cell import Cell
from harness.contracts.recipe import Recipe
from harness.contracts.row import Row
from harness.engine import grid, worker
from harness.engine.compare import unlike
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.processes import End, Job, News, run_jobs
from harness.engine.teachers import cell_of
from harness.neurons.compiled import can_compile, compiled
from harness.results import Published
from harness.store import Store
from harness.training import descent
from tests.test_compiled import SPEC, answers, images, neuron

Send = Callable[[Any], None]
LIMIT_S = 60.0
BRIEF = Recipe(epochs=1, batch_size=64, train_samples=128, learning_rate=0.1, precision="float64")
MEMORY: list[Any] = []  # what no look at a process can find


def telling(_argument: Any, send: Send) -> bool:
    send(os.getpid())
    return True


def poisoning(_argument: Any, send: Send) -> bool:
    MEMORY.append("poison")
    return telling(None, send)


def sensitive(argument: str, send: Send) -> bool:
    """Do badly, in one way or another, if somebody else was here before."""
    send(os.getpid())
    if MEMORY and argument == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return not MEMORY


def failing(_argument: Any, send: Send) -> bool:
    send(os.getpid())
    return False


def speaking(argument: str, _send: Send) -> bool:
    print(argument, flush=True)
    return True


def compiling(argument: float, send: Send) -> bool:
    layer = compiled(neuron("spikingjelly", replace(SPEC, tau=argument)))
    with fresh_cache():
        answers(layer, images(2, 1, 3), recorded=False)
    return telling(None, send)


def meddling(argument: str, send: Send) -> bool:
    MEDDLED[argument]()
    return telling(None, send)


def _leave_a_process() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def _exchange_a_constant() -> None:
    descent.GRID = 2.0**-4  # type: ignore[misc]  # as a careless method might


def _exchange_a_function() -> None:
    torch.nn.functional.relu = torch.nn.functional.gelu  # type: ignore[assignment]  # likewise


def _exchange_a_way_of_the_tensor() -> None:
    torch.Tensor.backward = lambda *_: None  # type: ignore[assignment,misc]  # likewise


def _keep_much() -> None:
    MEMORY.append(bytearray(os.urandom(2**20)) * 1200)


MEDDLED: dict[str, Callable[[], object]] = {
    "default type": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "threads of torch": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "determinism": lambda: torch.use_deterministic_algorithms(mode=True),
    "gradients": lambda: torch.set_grad_enabled(False),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),  # noqa: FBT003  it takes no name
    "kernels": lambda: torch.set_float32_matmul_precision("medium"),
    "hooks": lambda: nn.modules.module.register_module_forward_hook(lambda *_: None),
    "threads": lambda: threading.Thread(target=time.sleep, args=(600,), daemon=True).start(),
    "signal handlers": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "the working directory": lambda: os.chdir("/"),
    "the search path": lambda: sys.path.insert(0, "/nowhere"),
    "the environment": lambda: os.environ.update(MKL_CBWR="COMPATIBLE"),
    "harness.training.descent": _exchange_a_constant,
    "torch.nn.functional": _exchange_a_function,
    "torch.Tensor": _exchange_a_way_of_the_tensor,
    "torch's modes": lambda: torch.set_default_device("cpu"),
    "a process still runs": _leave_a_process,
    "memory was not given back": _keep_much,
}


def _job(folder: Path, work: Any, argument: Any = None, name: str = "") -> Job:
    name = name or work.__name__
    return Job(name=name, work=work, argument=argument, log_path=folder / f"{name}.txt")


def _pids(
    jobs: list[Job], *, slots: int = 1, **options: int
) -> tuple[dict[str, list[int]], dict[str, End]]:
    """Return in which processes each job was, and how it ended."""
    pids: dict[str, list[int]] = {job.name: [] for job in jobs}
    ends = {}
    for each in run_jobs(jobs, slots=slots, timeout_s=LIMIT_S, **options):
        if isinstance(each, News):
            pids[each.job.name].append(each.value)
        else:
            assert each.job.name not in ends, "a job ends once"
            ends[each.job.name] = each
    return pids, ends


@pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler here")
def test_jobs_that_compile_share_a_process(tmp_path: Path) -> None:
    jobs = [_job(tmp_path, compiling, 2.0 + number, name=f"job {number}") for number in range(3)]
    pids, ends = _pids(jobs)
    assert {end.ending for end in ends.values()} == {"done"}
    assert not [log for log in tmp_path.glob("*.txt") if "not used again" in log.read_text()]
    assert len({pid for [pid] in pids.values()}) == 1


def test_jobs_share_a_process_until_it_has_had_its_share(tmp_path: Path) -> None:
    jobs = [_job(tmp_path, telling, name=f"job {number}") for number in range(5)]
    pids, _ = _pids(jobs)
    assert len({pid for [pid] in pids.values()}) == 1
    pids, _ = _pids(jobs, jobs_a_process=2)
    first, second, third, fourth, fifth = (pid for [pid] in pids.values())
    assert first == second != third == fourth != fifth


@pytest.mark.parametrize("what", MEDDLED)
def test_a_process_that_a_job_has_changed_is_not_used_again(tmp_path: Path, what: str) -> None:
    jobs = [_job(tmp_path, telling), _job(tmp_path, meddling, what)]
    jobs.append(_job(tmp_path, telling, name="after"))
    pids, ends = _pids(jobs)
    assert pids["telling"] == pids["meddling"] != pids["after"]
    assert {end.ending for end in ends.values()} == {"done"}
    assert f"not used again: {what}" in (tmp_path / "meddling.txt").read_text()
    assert not (tmp_path / "telling.txt").read_text()


@pytest.mark.parametrize("way", ["dies", "does badly"])
def test_what_goes_wrong_after_others_is_run_again_alone(tmp_path: Path, way: str) -> None:
    jobs = [_job(tmp_path, poisoning), _job(tmp_path, sensitive, way), _job(tmp_path, telling)]
    pids, ends = _pids(jobs)
    together, alone = pids["sensitive"]
    assert [together] == pids["poisoning"]
    assert alone != together
    assert ends["sensitive"].ending == "done"
    assert pids["telling"] == [alone]  # which is as good as any


def test_alone_is_in_a_process_that_nobody_used_though_one_is_idle(tmp_path: Path) -> None:
    jobs = [_job(tmp_path, poisoning, name=f"poisoning {number}") for number in range(2)]
    pids, ends = _pids([*jobs, _job(tmp_path, sensitive, "dies")], slots=2)
    together, alone = pids["sensitive"]
    assert together in {pid for name in pids if name != "sensitive" for pid in pids[name]}
    assert alone not in {pid for name in pids if name != "sensitive" for pid in pids[name]}
    assert ends["sensitive"].ending == "done"


def test_what_goes_wrong_alone_has_gone_wrong(tmp_path: Path) -> None:
    pids, ends = _pids([_job(tmp_path, telling), _job(tmp_path, failing)])
    assert len(pids["failing"]) == 2
    assert ends["failing"].ending == "done"  # its function returned
    pids, _ = _pids([_job(tmp_path, failing)])
    assert len(pids["failing"]) == 1


def test_a_process_killed_while_it_waits_costs_nothing(tmp_path: Path) -> None:
    jobs = [_job(tmp_path, telling), _job(tmp_path, telling, name="after")]
    happening = run_jobs(jobs, slots=1, timeout_s=LIMIT_S)
    news, end = next(happening), next(happening)
    assert isinstance(news, News)
    assert isinstance(end, End)
    os.kill(news.value, signal.SIGKILL)
    time.sleep(0.1)
    assert [each.ending for each in happening if isinstance(each, End)] == ["done"]


def test_each_job_writes_into_its_own_log(tmp_path: Path) -> None:
    _pids([_job(tmp_path, speaking, words, name=words) for words in ("one", "two", "three")])
    for words in ("one", "two", "three"):
        assert (tmp_path / f"{words}.txt").read_text() == f"{words}\n"


def work_on_cell_and_draw(order: Order, send: Send) -> bool:
    """Run a cell, and move every global random generator and whatever the next cell sets."""
    went_well = worker.work_on_cell(order, send)
    torch.rand(1000)
    random.random()  # noqa: S311  no secret
    return went_well


def _cells() -> Iterator[Cell]:
    """Yield short cells: distillation, conversion, local learning, another norm, a sum in time."""
    methods = ("logit_kd", "qcfs", "stdp", "kd_bntt", "sakd", "direct")
    axes = Axes(methods=methods, timesteps=(2,), seeds=(0,), backends=("norse",))
    for cell in grid.cells("digits", axes, Store(Path("nothing")), Published()):
        assert cell.teacher is not None
        yield replace(cell, recipe=BRIEF, teacher=replace(cell.teacher, recipe=BRIEF))


def _rows(cells: list[Cell], runs: Path, *, jobs_a_process: int) -> list[Row]:
    """Return the rows of ``cells``, after their teacher, in processes of so many."""
    conditions, store = Conditions(runs=runs, data_root=None), Store(runs)
    assert cells[0].teacher is not None
    jobs = []
    for cell in (cell_of(cells[0].teacher), *cells):
        order = Order(cell=cell, conditions=conditions, log_path=store.folder(cell) / "log.txt")
        jobs.append(_job(runs, work_on_cell_and_draw, order, cell.label))
    done = list(run_jobs(jobs, slots=1, timeout_s=LIMIT_S, jobs_a_process=jobs_a_process))
    assert all(end.ending == "done" for end in done if isinstance(end, End))
    rows = [store.load(cell) for cell in cells]
    return [row for row in rows if row is not None]


def test_a_row_is_the_same_alone_and_after_others(tmp_path: Path) -> None:
    cells = list(_cells())
    together = _rows(cells, tmp_path / "together", jobs_a_process=9)
    alone = _rows(cells[::-1], tmp_path / "alone", jobs_a_process=1)[::-1]
    assert len(together) == len(alone) == len(cells)
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.status == "ok", ours.error
        assert unlike(ours, theirs) == []
        assert ours.canary == theirs.canary
        assert ours.provenance.weights_sha256 == theirs.provenance.weights_sha256
    logs = (tmp_path / "together").glob("*.txt")
    assert not [log for log in logs if "not used again" in log.read_text()]
