"""What the process at home makes of what nodes send, or do not. Ray itself is not asked."""

import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.method import Progress
from harness.contracts.row import Metrics, Provenance, Row
from harness.engine.engines import Place
from harness.engine.engines import ray as engine
from harness.engine.engines._remote import Errand, Parcel
from harness.engine.jobs import Conditions, Order
from harness.engine.processes import End, Job, News
from harness.engine.teachers import cell_of
from harness.store import Store
from tests.engine.test_runs import _cells

METRICS = Metrics(score=0.5, score_low=0.4, score_high=0.6, n_test=10)
LOG = "log-1.txt"
AT_HOME = engine._wait


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__("a page of traceback")
        self.cause = cause


class _Ray:
    """A cluster that sends what it is told to, attempt by attempt; of None, nothing.

    Attributes:
        sent: The errands that went out, with their teachers.
    """

    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(
            NodeAffinitySchedulingStrategy=lambda node, *, soft: (node, soft)
        )
    )
    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, OutOfMemoryError=OutOfMemoryError
    )

    def __init__(self, *attempts: Sequence[Any] | None, nodes: Sequence[Any] = ()) -> None:
        self.sent: list[tuple[Errand, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.put_away: list[Any] = []
        self.cancelled = 0
        self.recalled = False
        self._attempts = iter(attempts)
        self._nodes = nodes or [{"Alive": True, "Resources": {"CPU": 4.0}}]

    def remote(self, **options: Any) -> Any:
        self.asked.append(options)
        sending = SimpleNamespace(remote=self._send)
        return lambda function: SimpleNamespace(
            options=lambda **_: sending, remote=lambda: function
        )

    @staticmethod
    def get_runtime_context() -> Any:
        return SimpleNamespace(get_node_id=lambda: "the node of home")

    def _send(self, errand: Errand, teacher: Any, at_home: Any) -> Iterator[Any] | None:
        assert at_home == [AT_HOME]
        self.sent.append((errand, teacher))
        given = next(self._attempts)
        return None if given is None else iter(given)

    def put(self, value: Any) -> Any:
        self.put_away.append(value)
        return "put away"

    def wait(self, streams: list[Any], *, num_returns: int, timeout: float) -> Any:
        assert num_returns <= len(streams)
        assert timeout < 2
        return [stream for stream in streams if stream is not None], []

    def get(self, said: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    def cancel(self, stream: Any, *, force: bool = False) -> None:
        self.recalled = self.recalled or stream == AT_HOME
        self.cancelled += force

    def nodes(self) -> Any:
        return self._nodes


def _job(home: Path) -> Job:
    [cell] = _cells(1)
    log_path = Store(home).folder(cell) / LOG
    log_path.parent.mkdir(parents=True, exist_ok=True)
    order = Order(cell=cell, conditions=Conditions(runs=home, data_root=None), log_path=log_path)
    return Job(name="a cell", work=print, argument=order, log_path=log_path)  # type: ignore[arg-type]  # nobody calls it


def _done(job: Job) -> End:
    far = replace(job, name="as it was sent")
    return End(job=far, ending="done", exit_code=0, seconds=1.0)


def _happened(ray: _Ray, job: Job, place: Place | None = None, **options: Any) -> list[News | End]:
    run_jobs = engine._Driver(ray, place or Place()).run_jobs
    return list(run_jobs([job], **{"slots": sys.maxsize, "timeout_s": 60.0, **options}))


def _row(job: Job) -> Row:
    made = Provenance(log_path=f"digits/{job.argument.cell.cell_id}/{LOG}")
    return Row(cell=job.argument.cell, status="ok", metrics=METRICS, provenance=made)


def test_what_comes_home_is_stored_before_the_end_is_told(tmp_path: Path) -> None:
    job = _job(tmp_path)
    order: Order = job.argument
    folder, store = order.log_path.parent, Store(tmp_path)
    first = Parcel(files={"checkpoint.safetensors": b"half"})
    last = Parcel(
        files={"row.json": _row(job).to_json().encode(), LOG: b"said"},
        gone=frozenset({"checkpoint.safetensors"}),
    )
    progress = Progress(samples=1, budget=2, loss=0.0)
    ray = _Ray([progress, first, last, _done(job)])
    run_jobs = engine._Driver(ray, Place()).run_jobs
    told = []
    for each in run_jobs([job], slots=1, timeout_s=60.0):
        told.append(each)
        if isinstance(each, End):
            row = store.load(order.cell)
            assert row is not None
            assert row.metrics == METRICS
            commit, dirty = engine.fingerprint.git_state()
            assert (row.provenance.git_sha, row.provenance.git_dirty) == (commit, dirty)
            assert row.provenance.lock_sha == engine.fingerprint.of_lock()
            assert (folder / LOG).read_bytes() == b"said"
            assert not (folder / "checkpoint.safetensors").exists()
    assert told == [News(job=job, value=progress), replace(_done(job), job=job)]
    assert list((tmp_path / "code").iterdir()), "what its fingerprints are of is kept"


def test_a_lost_attempt_is_sent_again_with_what_came_home(tmp_path: Path) -> None:
    job = _job(tmp_path)
    half = Parcel(files={"checkpoint.safetensors": b"half", LOG: b"from 0\n"})
    ray = _Ray([half, NodeDiedError("dead\nnode")], [_done(job)])
    [end] = _happened(ray, job)
    assert isinstance(end, End)
    assert end.ending == "done"
    first, again = (errand for errand, _ in ray.sent)
    assert first.held == {}
    assert again.held["checkpoint.safetensors"] == b"half"
    log = again.held[LOG].decode().splitlines()
    assert log == ["from 0", "[the node of a cell was lost: dead; what follows is of another]"]


def test_a_cell_that_only_loses_nodes_is_left_to_another_time(tmp_path: Path) -> None:
    job = _job(tmp_path)
    ray = _Ray(*[[NodeDiedError("dead")]] * engine._LOSSES)
    news, end = _happened(ray, job)
    assert isinstance(news, News)
    assert isinstance(end, End)
    assert news.value.status == "machine"
    assert "was lost: dead, 3 times in a row" in news.value.error
    assert (end.ending, end.exit_code) == ("died", None)
    assert len(ray.sent) == 3


def test_losses_are_counted_anew_once_something_came_home(tmp_path: Path) -> None:
    job = _job(tmp_path)
    lost = NodeDiedError("dead")
    half = Parcel(files={"checkpoint.safetensors": b"half"})
    ray = _Ray([lost], [half, lost], [lost], [half, lost], [_done(job)])
    [end] = _happened(ray, job)
    assert isinstance(end, End)
    assert end.ending == "done"


def test_who_is_ended_for_want_of_memory_again_and_again_is_out_of_memory(tmp_path: Path) -> None:
    ray = _Ray(*[[OutOfMemoryError("too much")]] * engine._LOSSES)
    [end] = _happened(ray, _job(tmp_path))
    assert isinstance(end, End)
    assert (end.ending, end.exit_code) == ("died", -signal.SIGKILL)


def test_what_a_node_refuses_is_of_the_machine_with_its_words(tmp_path: Path) -> None:
    ray = _Ray([RayTaskError(StoreError("no room in /tmp"))])
    news, end = _happened(ray, _job(tmp_path))
    assert isinstance(news, News)
    assert (news.value.status, news.value.error) == ("machine", "no room in /tmp")
    assert isinstance(end, End)
    assert end.ending == "died"
    assert len(ray.sent) == 1


def test_what_home_cannot_store_is_of_the_machine(tmp_path: Path) -> None:
    job = _job(tmp_path)
    ray = _Ray([Parcel(files={"../row.json": b"{}"}), _done(job)])
    news, end = _happened(ray, job)
    assert isinstance(news, News)
    assert news.value.status == "machine"
    assert "is no name for a file" in news.value.error
    assert isinstance(end, End)


def test_a_run_ends_in_time_whatever_nodes_do(tmp_path: Path) -> None:
    job = _job(tmp_path)
    late = time.monotonic() - engine._GRACE_S - 1
    ray = _Ray([_done(job)])
    [end] = _happened(ray, job, until_s=late)
    assert isinstance(end, End)
    assert (end.ending, ray.cancelled) == ("timeout", 1)
    lost = _Ray([NodeDiedError("dead")])
    [end] = _happened(lost, job, until_s=time.monotonic() - 1)
    assert isinstance(end, End)
    assert end.ending == "timeout"
    assert len(lost.sent) == 1, "nothing is begun after the end"


def test_an_attempt_is_told_how_long_it_has(tmp_path: Path) -> None:
    job = _job(tmp_path)
    ray = _Ray([_done(job)], [_done(job)])
    _happened(ray, job, until_s=time.monotonic() + 100)
    _happened(ray, job)
    (bound, _), (free, _) = ray.sent
    assert 90 < bound.left_s <= 100
    assert (bound.timeout_s, free.left_s) == (60.0, math.inf)


def test_a_teacher_is_put_away_once(tmp_path: Path) -> None:
    job = _job(tmp_path)
    teacher = job.argument.cell.teacher
    folder = Store(tmp_path).folder(cell_of(teacher))
    folder.mkdir(parents=True)
    (folder / "row.json").write_text("the teacher's")
    ray = _Ray([_done(job)], [_done(job)])
    list(engine._Driver(ray, Place()).run_jobs([job, job], slots=1, timeout_s=1.0))
    assert ray.put_away == [{"row.json": b"the teacher's"}]
    assert [sent for _, sent in ray.sent] == ["put away", "put away"]


def _node(**resources: float) -> dict[str, Any]:
    return {"Alive": True, "Resources": resources}


@pytest.mark.parametrize(
    ("place", "room"),
    [
        (Place(), 5),
        (Place(threads=2), 2),
        (Place(device="cuda"), 3),
        (Place(device="cuda", gpu_share=0.5), 5),
        (Place(device="cuda", threads=4), 1),
    ],
)
def test_as_many_run_at_once_as_single_nodes_have_room_for(place: Place, room: int) -> None:
    nodes = [_node(CPU=4.0, GPU=2.0), _node(CPU=1.0, GPU=1.0), {**_node(CPU=9.0), "Alive": False}]
    ray = _Ray(nodes=nodes)
    assert engine._Driver(ray, place)._room() == room
    asked, at_home = ray.asked
    assert (at_home["num_cpus"], at_home["scheduling_strategy"]) == (0, ("the node of home", False))
    assert asked["max_retries"] == 0
    assert asked["num_cpus"] == place.threads
    assert asked["num_gpus"] == (place.gpu_share if place.device == "cuda" else 0)


def test_where_nothing_has_room_is_said_unless_nodes_are_to_come(tmp_path: Path) -> None:
    job = _job(tmp_path)
    place = Place(device="cuda", gpu_share=0.25)
    with pytest.raises(SpecError, match=r"no node .* the 1 CPUs and 0\.25 GPUs .*--jobs N"):
        _happened(_Ray([_done(job)]), job, place)
    [end] = _happened(_Ray([_done(job)]), job, place, slots=2)
    assert isinstance(end, End)


PROGRESS = Progress(samples=0, budget=1, loss=0.0)


def _closed_after_the_first_news(ray: _Ray, job: Job, slots: int = 1) -> None:
    happenings = engine._Driver(ray, Place()).run_jobs([job] * slots, slots=slots, timeout_s=60.0)
    assert isinstance(next(happenings), News)
    happenings.close()


def test_what_runs_writes_down_what_it_has_before_the_run_ends(tmp_path: Path) -> None:
    job = _job(tmp_path)
    kept = Parcel(files={"checkpoint.safetensors": b"half"})
    ray = _Ray([Parcel(), PROGRESS, PROGRESS, kept, _done(job)])
    _closed_after_the_first_news(ray, job)
    assert (ray.recalled, ray.cancelled) == (True, 0)
    assert (job.log_path.parent / "checkpoint.safetensors").read_bytes() == b"half"


def test_who_is_lost_while_it_is_recalled_is_not_sent_again(tmp_path: Path) -> None:
    ray = _Ray([Parcel(), PROGRESS, NodeDiedError("dead")])
    _closed_after_the_first_news(ray, _job(tmp_path))
    assert len(ray.sent) == 1


def test_who_has_not_begun_is_not_waited_for(tmp_path: Path) -> None:
    job = _job(tmp_path)
    ray = _Ray([Parcel(), PROGRESS, _done(job)], None)
    _closed_after_the_first_news(ray, job, slots=2)
    assert ray.cancelled == 1


def test_nobody_is_waited_for_who_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_GRACE_S", 0.0)
    ray = _Ray([Parcel(), *[PROGRESS] * 9])
    _closed_after_the_first_news(ray, _job(tmp_path))
    assert (ray.recalled, ray.cancelled) == (True, 1)


def test_what_is_gone_there_is_gone_here(tmp_path: Path) -> None:
    job = _job(tmp_path)
    half = job.log_path.parent / "half"
    half.write_text("not whole")
    _happened(_Ray([Parcel(gone=frozenset({"half"})), _done(job)]), job)
    assert not half.exists()


def test_a_parcel_without_files_is_nothing_that_came_home(tmp_path: Path) -> None:
    ray = _Ray(*[[Parcel(), NodeDiedError("dead")]] * engine._LOSSES)
    news, _ = _happened(ray, _job(tmp_path))
    assert isinstance(news, News)
    assert "3 times in a row" in news.value.error


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "must be auto or HOST:PORT"),
        ("head", "must be auto or HOST:PORT"),
        ("127.0.0.1:1", r"nobody answers at 127\.0\.0\.1:1 \(.*refused"),
        ("127.0.0.1:99999", "nobody answers"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setattr(engine, "_imported", _Ray)
    with pytest.raises(SpecError, match=said), engine.ENGINE.opened(Place(address=address)):
        pass


def test_without_ray_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(SpecError, match=r"pip install -e '\.\[cluster\]'"),
        engine.ENGINE.opened(Place()),
    ):
        pass
