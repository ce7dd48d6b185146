"""Which cell runs on which device: fakes, since no law here needs a GPU."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.parsing import devices_of, limit_of, slots_of
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.engine import places, worker
from harness.engine.jobs import Order
from harness.engine.places import Places
from harness.engine.processes import News
from harness.store import Store
from tests.engine.test_runs import Send, _cells, _conducted, _row

GPUS = ("cuda:0", "cuda:1")


def _needs(known: Mapping[int, int]) -> Places:
    """Return two GPUs of 10 bytes, and what cells need there by seed."""
    return Places(
        devices=GPUS,
        room=dict.fromkeys(GPUS, 10),
        need=lambda cell, _device: known.get(cell.seed),
    )


def _taken(among: Places, cells: list[Cell]) -> list[str | None]:
    return [among.take(cell) for cell in cells]


def test_cells_spread_over_devices() -> None:
    assert _taken(Places(devices=GPUS), _cells(4)) == [*GPUS, *GPUS]


def test_a_device_takes_what_fits_and_no_more() -> None:
    among = _needs({0: 6, 1: 4, 2: 5, 3: 5, 4: 4})
    first, second, third, fourth, fifth = _cells(5)
    assert _taken(among, [first, second]) == [*GPUS]
    assert among.take(third) == "cuda:1", "4 and 5 fit, 6 and 5 do not"
    assert among.take(fourth) is None
    assert among.take(fifth) == "cuda:0", "6 and 4 fit exactly"
    among.leave(first)
    assert among.take(fourth) == "cuda:0"


def test_what_nobody_knows_has_a_device_for_itself() -> None:
    among = _needs({0: 1, 2: 1})
    known, unknown, after = _cells(3)
    assert _taken(among, [known, unknown, after]) == ["cuda:0", "cuda:1", "cuda:0"]
    assert among.take(_cells(4)[3]) is None
    assert among.leave(unknown) == 1


def test_more_than_there_is_may_have_a_device_for_itself() -> None:
    among = _needs({0: 11})
    assert among.take(_cells(1)[0]) == "cuda:0"


def test_company_is_on_the_same_device_whoever_came_first() -> None:
    among = Places(devices=GPUS)
    first, alone, second = _cells(3)
    _taken(among, [first, alone, second])
    assert [among.leave(cell) for cell in (first, alone, second)] == [2, 1, 2]
    assert not among.leave(first), "it left"


def test_company_is_the_most_at_once_and_not_all_that_came() -> None:
    among = Places(devices=GPUS[:1])
    first, second, third, fourth = _cells(4)
    _taken(among, [first, second])
    assert among.leave(second) == 2
    _taken(among, [third])
    assert among.leave(first) == 2, "three came, never more than two at once"
    _taken(among, [second, fourth])
    assert [among.leave(cell) for cell in (second, third, fourth)] == [3, 3, 3]


def test_alone_means_alone() -> None:
    among = Places(devices=GPUS, alone=True)
    assert _taken(among, _cells(3)) == [*GPUS, None]


def saying_where(order: Order, _send: Send) -> bool:
    Store(order.conditions.runs).save(_row(order))
    with (order.conditions.runs / "where.txt").open("a") as file:
        file.write(f"{order.conditions.device}\n")
    return True


def test_cells_that_must_wait_for_memory_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work_on_cell", saying_where)
    among = _needs(dict.fromkeys(range(5), 6))
    ends = _conducted(_cells(5), tmp_path, slots=4, places=among)
    assert {end.row.status for end in ends} == {"ok"}
    assert len(ends) == 5
    assert set((tmp_path / "where.txt").read_text().split()) == set(GPUS)


def staying_until_all_are_here(order: Order, _send: Send) -> bool:
    """Save a row once three cells have begun, or once nobody can wait for them any longer."""
    (order.conditions.runs / f"begun-{order.cell.seed}").touch()
    given_up_s = time.monotonic() + 10
    while len(list(order.conditions.runs.glob("begun-*"))) < 3 and time.monotonic() < given_up_s:
        time.sleep(0.01)
    Store(order.conditions.runs).save(_row(order))
    return True


@pytest.mark.parametrize(
    ("among", "company"),
    [
        (Places(devices=GPUS), {0: 2, 1: 1, 2: 2}),
        (Places(devices=GPUS, decides=False), dict.fromkeys(range(3))),
        (Places(devices=("cpu",)), dict.fromkeys(range(3))),
    ],
    ids=["GPUs", "of a cluster", "a processor"],
)
def test_a_row_says_how_many_cells_were_on_its_gpu_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    among: Places,
    company: dict[int, int | None],
) -> None:
    monkeypatch.setattr(worker, "work_on_cell", staying_until_all_are_here)
    cells = _cells(3)
    ends = _conducted(cells, tmp_path, slots=3, places=replace(among))
    assert {end.cell.seed: end.row.provenance.cells_on_device for end in ends} == company
    stored = {cell.seed: Store(tmp_path).load(cell) for cell in cells}
    assert {end.cell.seed: end.row for end in ends} == stored


def test_a_row_keeps_its_numbers_where_the_disk_refuses_its_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_store: Store, _row: Row) -> None:
        raise StoreError("full")

    monkeypatch.setattr(worker, "work_on_cell", saying_where)
    monkeypatch.setattr(Store, "save", refuse)
    (end,) = _conducted(_cells(1), tmp_path, slots=1, places=Places(devices=GPUS))
    assert (end.row.status, end.row.provenance.cells_on_device) == ("ok", None)


def test_free_memory_is_asked_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> list[News]:
        return []

    monkeypatch.setattr(places, "run_jobs", none)
    with pytest.raises(StoreError, match=r"cuda:0, cuda:1 do not say how much .*memory\.txt"):
        places.free_bytes(GPUS, tmp_path / "memory.txt")


@pytest.mark.parametrize("named", ["cuda", "cuda:0,cuda:0", "cuda:0,cpu", "0,1"])
def test_devices_are_gpus_by_number_each_once(named: str) -> None:
    with pytest.raises(SpecError, match="--devices takes GPUs like cuda:0,cuda:1, got "):
        devices_of("cpu", [named])


def test_devices_and_slots_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert devices_of("cuda:1", None) == ("cuda:1",)
    assert devices_of("cpu", ["cuda:0,cuda:1"]) == GPUS
    assert (slots_of(None, "cpu"), slots_of(None, "cuda:0", devices=2)) == (16, 2)
    assert (slots_of("auto", "cuda:0", devices=2), slots_of("3", "cuda:0", devices=2)) == (16, 3)
    with pytest.raises(SpecError, match="--jobs takes a number, or auto on a GPU, got 'auto'"):
        slots_of("auto", "cpu")


def test_a_limit_is_a_time_or_a_number_of_seconds() -> None:
    given = (None, "90", "1.5", "90s", "14m", "2h")
    assert [*map(limit_of, given)] == [None, 90.0, 1.5, 90.0, 840.0, 7200.0]
    for wrong in ("nan", "0m", "-3"):
        with pytest.raises(SpecError, match="--timeout must be positive"):
            limit_of(wrong)
