"""What runs on a folder, seen from outside: by the notes in locks. Imports no torch."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.values import from_json, value
from harness.engine.show import beginning
from harness.store import Store


@value
class Note:
    """What a run writes into the lock of a cell that it has.

    Attributes:
        log: The name of this attempt's log.
        began_s: When, by the clock on the wall.
        device: Where it runs.
        samples: That its training has seen.
        budget: That it may see; 0 while nobody knows.
        host: Of the run.
        pid: Of the run.
    """

    log: str
    began_s: float
    device: str
    samples: int = 0
    budget: int = 0
    host: str = ""
    pid: int = 0

    @property
    def part(self) -> float:
        """Which part of its budget is spent."""
        return self.samples / self.budget if self.budget else 0.0


def write(lock: IO[bytes], note: Note, /) -> None:
    """Write ``note`` into a lock that is held. A full disk is for the row to tell."""
    told = asdict(note) | {"host": socket.gethostname(), "pid": os.getpid()}
    with suppress(OSError):
        # Past the buffer: what a full disk refuses must not come up again when it is closed.
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), json.dumps(told).encode())


@dataclass(frozen=True, kw_only=True)
class Running:
    """A cell that a run has now.

    Attributes:
        cell_id: Which.
        note: What the run says of it; None if that cannot be read.
    """

    cell_id: str
    note: Note | None


def running(store: Store, suite: str, /) -> Iterator[Running]:
    """Yield the cells of ``suite`` that some run works on, in the order of identities."""
    for path in sorted((store.root / suite).glob("*/lock")):
        if _is_held(path):
            yield Running(cell_id=path.parent.name, note=_read(path))


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read(path: Path) -> Note | None:
    try:
        return from_json(Note, path.read_bytes())
    except (OSError, SpecError):  # it may be written just now
        return None


def log_of(store: Store, name: str, /) -> Path:
    """Return the newest log of the cell whose identity begins with ``name``.

    Raises:
        StoreError: If there is no such cell, more than one, or no log of it.
    """
    folders = {path.name: path for path in store.root.glob("*/*") if path.is_dir()}
    identity = beginning(name, folders)
    if identity is None:
        raise StoreError(
            f"{store.root} must have one cell that begins with {name!r}, found none; "
            "`plan` and `status` list them"
        )
    folder = folders[identity]
    logs = sorted(folder.glob("log-*.txt"))
    note = _read(folder / "lock")
    if note and (current := folder / Path(note.log).name) in logs:
        return current  # whatever the clock said when it began
    if not logs:
        raise StoreError(f"{folder} holds no log; its cell has not run here")
    return logs[-1]


def follow(path: Path, /, *, pause_s: float = 0.5) -> Iterator[bytes]:
    """Yield what is in a log and what comes, until no run has its cell."""
    with path.open("rb") as file:
        while True:
            held = _is_held(path.parent / "lock")
            if more := file.read(2**16):
                yield more
            elif not held:
                return
            else:
                if path.stat().st_size < file.tell():  # its middle was cut out
                    file.seek(0, os.SEEK_END)
                time.sleep(pause_s)
