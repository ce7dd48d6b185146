"""Whoever ends a run, by a key, a signal or a closed terminal, lets it write down what it has."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals that would end this process at once interrupt it; those ignored stay so.

    They raise ``KeyboardInterrupt(number)``.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    ours = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def interrupted(error: KeyboardInterrupt, kept: str, /) -> typer.Exit:
    """Say what is kept; return the exit whose code tells the signal."""
    number = error.args[0] if error.args else signal.SIGINT
    print(f"\ninterrupted; {kept} (resume with the same command)", file=sys.stderr)
    return typer.Exit(128 + number)
