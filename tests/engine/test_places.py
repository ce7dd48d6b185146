"""Which cell runs on which device: fakes, since no law here needs a GPU."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.cli import _devices, _slots
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError, StoreError
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
    assert not among.leave(unknown)


def test_more_than_there_is_may_have_a_device_for_itself() -> None:
    among = _needs({0: 11})
    assert among.take(_cells(1)[0]) == "cuda:0"


def test_company_is_on_the_same_device_whoever_came_first() -> None:
    among = Places(devices=GPUS)
    first, alone, second = _cells(3)
    _taken(among, [first, alone, second])
    assert [among.leave(cell) for cell in (first, alone, second)] == [True, False, True]
    assert not among.leave(first), "it left"


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
        _devices("cpu", [named])


def test_devices_and_slots_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert _devices("cuda:1", None) == ("cuda:1",)
    assert _devices("cpu", ["cuda:0,cuda:1"]) == GPUS
    assert (_slots(None, "cpu"), _slots(None, "cuda:0", devices=2)) == (16, 2)
    assert (_slots("auto", "cuda:0", devices=2), _slots("3", "cuda:0", devices=2)) == (16, 3)
    with pytest.raises(SpecError, match="--jobs takes a number, or auto on a GPU, got 'auto'"):
        _slots("auto", "cpu")
