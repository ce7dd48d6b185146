"""Cells on a cluster of two nodes end as they do at home, also if one of the nodes is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip(
    "ray", reason="Ray is not installed; nox -s cluster runs these", exc_type=ModuleNotFoundError
)

from ray.cluster_utils import Cluster  # noqa: E402  it may not be there

from harness.contracts.cell import Cell  # noqa: E402
from harness.contracts.method import Progress  # noqa: E402
from harness.contracts.row import Metrics, Provenance, Row  # noqa: E402
from harness.engine import grid, worker  # noqa: E402
from harness.engine.engines import Place  # noqa: E402
from harness.engine.engines.ray import ENGINE  # noqa: E402
from harness.engine.grid import Axes  # noqa: E402
from harness.engine.jobs import Conditions, Order  # noqa: E402
from harness.engine.processes import GRACE_S  # noqa: E402
from harness.engine.scheduler import CellEnded, Started, conduct  # noqa: E402
from harness.results import Published  # noqa: E402
from harness.store import Store, write_text  # noqa: E402
from tests.engine.test_remote import silent_until_asked  # noqa: E402
from tests.engine.test_twelve import hold_twelve_to_their_ends  # noqa: E402
from tests.projects import ROOT, copied  # noqa: E402
from tests.test_engine import BAD, FEW, SOURCE  # noqa: E402

# Two ends to which none of the twelve comes.
OTHERS = ("killed", "unable")
START_S = 60.0  # of Ray's own processes and of a fork server in each
STEPS = 120
CHECKPOINT = "checkpoint.safetensors"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a cluster of one node on this machine, from which nodes inherit the search path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # whatever token there is at home
        patch.setenv("RAY_worker_niceness", "0")  # else a busy machine starves them
        found = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with bad methods, of which no node knows."""
    folder = copied(tmp_path_factory.mktemp("project"))
    for name in OTHERS:
        file = folder / "suites" / "methods" / f"{name}.py"
        file.write_text(SOURCE.format(action=BAD[name][0]))
    suite = folder / "suites" / "digits.py"
    suite.write_text(re.sub(r"epochs=\d+", "epochs=2", suite.read_text()))
    return folder


def stepping(order: Order, send: Callable[[Any], None]) -> bool:
    """Count up to ``STEPS`` and keep the number, as a training keeps its checkpoint."""
    path = order.log_path.parent / CHECKPOINT
    done = int(path.read_text()) if path.exists() else 0
    print(f"from {done}", flush=True)
    for step in range(done, STEPS):
        write_text(path, str(step))
        send(Progress(samples=step, budget=STEPS, loss=1.0))
        time.sleep(0.05)
    metrics = Metrics(score=0.5, score_low=0.4, score_high=0.6, n_test=10)
    made = Provenance(log_path=str(order.log_path.relative_to(order.conditions.runs)))
    Store(order.conditions.runs).save(
        Row(cell=order.cell, status="ok", metrics=metrics, provenance=made)
    )
    path.unlink()
    return True


def test_a_cell_whose_node_is_lost_goes_on_elsewhere_from_its_checkpoint(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work_on_cell", stepping)
    cells, store = _cells(2), Store(tmp_path)
    second = cluster.add_node(num_cpus=1)
    with ENGINE.opened(Place(address=cluster.address)) as run_jobs:
        happenings = conduct(
            cells,
            Conditions(runs=tmp_path, data_root=None),
            slots=sys.maxsize,
            timeout_s=60.0,
            run=run_jobs,
        )
        ends = []
        with closing(happenings):
            for each in happenings:
                if isinstance(each, CellEnded):
                    ends.append(each)
                elif second is not None and all(_steps(store, cell) > 10 for cell in cells):
                    cluster.remove_node(second, allow_graceful=False)
                    second = None
    assert [end.row.status for end in ends] == ["ok", "ok"]
    assert second is None
    assert not list(tmp_path.rglob(CHECKPOINT)), "kept until the row exists, then removed"
    logs = sorted(
        (re.findall(r"^from (\d+)", path.read_text(), re.MULTILINE), path)
        for path in tmp_path.rglob("log-*")
    )
    (kept, _), (lost, path) = sorted(logs, key=lambda one: len(one[0]))
    assert kept == ["0"]
    assert lost[0] == "0"
    assert int(lost[1]) >= 10
    assert len(lost) == 2
    assert "was lost" in path.read_text()


def test_a_run_that_is_ended_has_its_cells_write_down_what_they_have(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work_on_cell", silent_until_asked)
    cells, store = _cells(2), Store(tmp_path)  # the second waits for room, and for nothing more
    hears = signal.getsignal(signal.SIGTERM)
    with ENGINE.opened(Place(address=cluster.address)) as run_jobs:
        assert signal.getsignal(signal.SIGTERM) is hears, "Ray would end the process there and then"
        happenings = conduct(
            cells,
            Conditions(runs=tmp_path, data_root=None),
            slots=2,
            timeout_s=60.0,
            run=run_jobs,
        )
        assert isinstance(next(happenings), Started)
        began_s = time.monotonic()
        happenings.close()
        assert time.monotonic() - began_s < GRACE_S + 5
    first, second = (store.folder(cell) / CHECKPOINT for cell in cells)
    assert first.read_text() == "asked"
    assert not second.exists()


def _cells(count: int) -> list[Cell]:
    axes = Axes(
        methods=("direct",), timesteps=(1,), seeds=tuple(range(count)), backends=("reference",)
    )
    return grid.cells("digits", axes, Store(Path("nothing")), Published())


def _steps(store: Store, cell: Cell) -> int:
    path = store.folder(cell) / CHECKPOINT
    return int(path.read_text()) if path.exists() else 0


def _start(project: Path, *words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "digits", *words],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    told, _ = process.communicate(timeout=200)
    return process.returncode, told


def _rows(out: Path) -> dict[str, dict[str, Any]]:
    found = (json.loads(path.read_text()) for path in out.glob("*/*/row.json"))
    return {row["cell_id"]: row for row in found}


# Of the machine at that moment.
_MEASURED = ("train_seconds", "peak_memory_bytes", "latency_ms", "throughput_sps")


def _proper(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a row says, without where and when it was made."""
    metrics = {
        name: value for name, value in row["metrics"].items() if not name.startswith(_MEASURED)
    }
    of_weights = {name: row["provenance"][name] for name in ("weights_sha256", "train_fp")}
    return {**row, "metrics": metrics, "provenance": of_weights}


def test_rows_are_those_of_this_machine_though_a_node_is_lost(
    cluster: Cluster, project: Path
) -> None:
    words = ("--methods", "direct,logit_kd", "--timesteps", "1", "--seeds", "0")
    words += ("--backends", "reference")
    second = cluster.add_node(num_cpus=1)
    far = ("--engine", "ray", "--address", cluster.address, "--out", "far")
    process = _start(project, *words, *far)
    while process.poll() is None and not list(project.glob("far/digits/*/row.json")):
        time.sleep(0.1)
    cluster.remove_node(second, allow_graceful=False)
    code, told = _end(process)
    assert code == 0, told
    code, told = _end(_start(project, *words, "--out", "near"))
    assert code == 0, told
    near, far_rows = _rows(project / "near"), _rows(project / "far")
    assert len(near) == 3, "a teacher is one"
    assert {name: _proper(row) for name, row in far_rows.items()} == {
        name: _proper(row) for name, row in near.items()
    }
    for row in far_rows.values():
        assert (project / "far" / row["provenance"]["log_path"]).exists()


def test_twelve_bad_cells_end_as_they_do_at_home(cluster: Cluster, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    with ENGINE.opened(Place(address=cluster.address)) as run_jobs:
        hold_twelve_to_their_ends(tmp_path, spare_s=GRACE_S + START_S, slots=2, run=run_jobs)
    cluster.remove_node(second)


def test_bad_cells_of_code_that_no_node_has_become_rows(cluster: Cluster, project: Path) -> None:
    far = ("--engine", "ray", "--address", cluster.address, "--out", "bad")
    code, told = _end(_start(project, "--methods", ",".join(OTHERS), *FEW, *far))
    assert code == 1, told
    rows = {row["cell"]["method"]: row for row in _rows(project / "bad").values()}
    for name in OTHERS:
        _, status, words = BAD[name]
        assert rows[name]["status"] == status, rows[name]
        assert words in str(rows[name]["error"])
        assert (project / "bad" / rows[name]["provenance"]["log_path"]).exists()
