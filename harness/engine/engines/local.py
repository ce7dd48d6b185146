"""This machine: ``harness.engine.processes``."""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.contracts.errors import SpecError
from harness.engine.engines import Place, RunJobs
from harness.engine.processes import run_jobs


class Local:
    """Processes of this machine."""

    @contextmanager
    def opened(self, place: Place, /) -> Iterator[RunJobs]:
        """Yield what runs jobs here.

        Raises:
            SpecError: If the place is elsewhere.
        """
        if place.address is not None:
            raise SpecError(
                f"--engine local runs cells here and takes no --address, got {place.address!r}; "
                "--engine ray has one"
            )
        yield run_jobs


ENGINE = Local()
