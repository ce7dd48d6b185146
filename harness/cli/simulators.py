"""What the command line says of simulators that are not here."""

from collections.abc import Iterable

from harness import discovery
from harness.contracts.errors import UnsupportedError
from harness.fingerprint import installed


def remedy(name: str) -> str | None:
    """Return how to install the simulator ``name``, or None if all that it needs is here."""
    if all(map(installed, discovery.packages_of(name))):
        return None
    listed = discovery.source_of(discovery.module_of("backends", name))
    wanted = listed.with_name("requirements.txt").read_text(encoding="utf-8").split()
    return f"pip install {' '.join(repr(each) for each in wanted)}"


def listed() -> list[str]:
    """Return every simulator, each that is not here with how to install it."""
    remedies = {name: remedy(name) for name in discovery.names("backends")}
    return [f"{name} (not installed: {how})" if how else name for name, how in remedies.items()]


def missing(names: Iterable[str | None]) -> str | None:
    """Return in one line which of ``names`` are not here and what to do, or None.

    None among the names is an artificial network's simulator.
    """
    remedies = {name: remedy(name) for name in sorted(filter(None, set(names)))}
    return (
        "; ".join(f"{name} is not installed: {how}" for name, how in remedies.items() if how)
        or None
    )


def require(names: Iterable[str | None]) -> None:
    """Insist that the simulators are here.

    Raises:
        UnsupportedError: Says which are not and how to install them.
    """
    if words := missing(names):
        raise UnsupportedError(words)
