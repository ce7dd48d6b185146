"""The two tables of docs/metering.md: ``python -m tests.cross_check.report``."""

import sys
from collections.abc import Iterator
from importlib.metadata import version

from tests.cross_check import tools
from tests.cross_check.cases import CASES, ours
from tests.cross_check.known import Known, neurobench, simulators, sinabs, spikingjelly, syops

METERS = {
    "NeuroBench": tools.neurobench,
    "SpikingJelly": tools.spikingjelly,
    "Sinabs": tools.sinabs,
    "syops": tools.syops,
}
KNOWN = {
    "NeuroBench": neurobench.KNOWN,
    "SpikingJelly": spikingjelly.KNOWN,
    "Sinabs": sinabs.KNOWN,
    "syops": syops.KNOWN,
    "simulators": simulators.KNOWN,
}


def five_tools() -> str:
    """Return what each tool says of each case, in markdown."""
    versions = [f"{name} {version(name.lower())}" for name in METERS]
    return _markdown(("network and input", "by hand", "`measure`", *versions), _of_cases())


def _of_cases() -> Iterator[tuple[str, ...]]:
    for case in CASES:
        total = ours(case).total
        answers = [ask(*case.build()) for ask in METERS.values()]
        told_by = [told(answer.ac, answer.mac) for answer in answers]
        yield (case.name, told(case.ac, case.mac), told(total.ac, total.mac), *told_by)


def told(ac: float, mac: float) -> str:
    """Return counts as the table has them: what is zero is left out."""
    counts = {"AC": ac, "MAC": mac}
    return " + ".join(f"{_short(count)} {unit}" for unit, count in counts.items() if count) or "0"


def disagreements() -> str:
    """Return every known disagreement, in markdown."""
    rows = ((name, *_of_known(item)) for name, known in KNOWN.items() for item in known)
    return _markdown(("tool", "figure", "by hand", "it says", "because it"), rows)


def _of_known(item: Known) -> tuple[str, ...]:
    says = item.says.__name__ if isinstance(item.says, type) else _short(item.says)
    return (item.name, _short(item.truth), says, item.reason)


def _short(number: float) -> str:
    return f"{round(number, 2):,}".removesuffix(".0")


def _markdown(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(f"{five_tools()}\n{disagreements()}")
