"""On which device a cell runs, and who has company there. Imports no torch."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.contracts.cell import Cell
from harness.contracts.errors import StoreError
from harness.engine.processes import Job, News, run_jobs

_PATIENCE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class _Stay:
    device: str
    needed: int | None


@dataclass(kw_only=True)
class Places:
    """Cells side by side on some devices.

    Attributes:
        devices: Of torch.
        room: Bytes of each that may be shared out. Without it nobody counts bytes. A cell of
            which nobody knows what it needs has a device for itself.
        need: What a cell needs of it, in bytes, or None.
        alone: Whether every cell has a device for itself.
        decides: Whether cells run where this says; on a cluster its own scheduler decides.
    """

    devices: tuple[str, ...]
    room: Mapping[str, int] | None = None
    need: Callable[[Cell, str], int | None] = lambda _cell, _device: None
    alone: bool = False
    decides: bool = True
    _running: dict[str, _Stay] = field(default_factory=dict)
    _most: dict[str, int] = field(default_factory=dict)

    def take(self, cell: Cell, /) -> str | None:
        """Return where ``cell`` runs from now on; None if it has to wait until one leaves."""
        there = Counter(stay.device for stay in self._running.values())
        for device in sorted(self.devices, key=lambda one: there[one]):
            needed = self.need(cell, device)
            if not there[device] or (not self.alone and self._fits(device, needed)):
                self._begin(cell, _Stay(device=device, needed=needed))
                return device
        return None

    def leave(self, cell: Cell, /) -> int:
        """Let ``cell`` be gone; return how many were there at once, at most, itself among them."""
        self._running.pop(cell.cell_id, None)
        return self._most.pop(cell.cell_id, 0)

    def _fits(self, device: str, needed: int | None) -> bool:
        if self.room is None:
            return True
        taken = [needed, *(s.needed for s in self._running.values() if s.device == device)]
        known = [one for one in taken if one is not None]
        return len(known) == len(taken) and sum(known) <= self.room[device]

    def _begin(self, cell: Cell, stay: _Stay) -> None:
        self._running[cell.cell_id] = stay
        there = [one for one, s in self._running.items() if s.device == stay.device]
        self._most |= {one: max(len(there), self._most.get(one, 0)) for one in there}


def free_bytes(devices: tuple[str, ...], log_path: Path, /) -> dict[str, int]:
    """Return what is free on each device, asked in a process that lets go of it afterwards.

    Raises:
        StoreError: If the devices do not answer; names the log.
    """
    job = Job(name="memory", work=_tell_free, argument=devices, log_path=log_path)
    for event in run_jobs([job], slots=1, timeout_s=_PATIENCE_S):
        if isinstance(event, News):
            return dict(event.value)
    raise StoreError(f"{', '.join(devices)} do not say how much memory is free; see {log_path}")


def _tell_free(devices: tuple[str, ...], send: Callable[[dict[str, int]], None]) -> bool:
    from torch import cuda

    send({device: cuda.mem_get_info(device)[0] for device in devices})
    return True
