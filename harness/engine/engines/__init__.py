"""Where jobs run: here or on a cluster. A file of this folder, or an entry point, is an engine."""

import math
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from harness.engine.processes import End, Job, News


class RunJobs(Protocol):
    """Runs jobs in order and yields what happens, as ``processes.run_jobs`` does."""

    def __call__(
        self,
        jobs: Iterable[Job | None],
        /,
        *,
        slots: int,
        timeout_s: float,
        until_s: float = math.inf,
    ) -> Generator[News | End]:
        """Run every job once, isolated from all others; its end comes when its row is stored.

        Closing the iterator ends whatever still runs.

        Args:
            jobs: Of cells; the next is asked for when there is room for it. None says that none
                can begin before another has ended.
            slots: At most so many at once; ``sys.maxsize`` leaves it to the engine.
            timeout_s: Wall-clock seconds that a job may take. It ends likewise once it has reported
                nothing new for its ``patience_s``.
            until_s: When, on this machine's monotonic clock, all that still run are ended.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a user says of where cells run.

    Attributes:
        address: Of a cluster; None is the one that the engine finds by itself.
        device: A torch device.
        threads: Of each cell.
        gpu_share: The part of a GPU that a cell is given; several cells share one that is whole.
    """

    address: str | None = None
    device: str = "cpu"
    threads: int = 1
    gpu_share: float = 1.0


class Engine(Protocol):
    """A way to run jobs. Its file provides one as ``ENGINE`` and imports what it needs late."""

    def opened(self, place: Place, /) -> AbstractContextManager[RunJobs]:
        """Return what runs jobs until it is left.

        Raises:
            SpecError: If there is no such place, or this engine knows no such thing.
        """
        ...
