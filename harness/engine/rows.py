"""The parts of a row that are known without training. Imports no torch."""

import platform
from datetime import UTC, datetime
from pathlib import Path

from harness import discovery, fingerprint
from harness.contracts.errors import DataError
from harness.contracts.record import Cell, Provenance, Row, Status
from harness.engine.freshness import fingerprints
from harness.engine.grid import load_dataset
from harness.engine.jobs import Order


def provenance(
    order: Order,
    *,
    started: datetime,
    backend_version: str | None = None,
    gpu: str | None = None,
) -> Provenance:
    """Return where, when and with what a cell was run."""
    cell, conditions = order.cell, order.conditions
    commit, dirty = fingerprint.git_state()
    return Provenance(
        **fingerprints(cell, conditions.data_root),
        backend_version=backend_version,
        device=conditions.device,
        log_path=str(order.log_path.relative_to(conditions.runs)),
        git_sha=commit,
        git_dirty=dirty,
        lock_sha=fingerprint.of_lock(),
        python=platform.python_version(),
        torch=fingerprint.installed("torch"),
        os=platform.platform(),
        cpu=_processor_name(),
        gpu=gpu,
        started_at=started.isoformat(timespec="seconds"),
        ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=conditions.command,
        deterministic=conditions.deterministic,
        threads=conditions.threads,
        encoding=_encoding(cell),
        data_notes=_data_notes(cell.dataset, conditions.data_root),
    )


def without_numbers(order: Order, *, status: Status, error: str, started: datetime) -> Row:
    """Return the row of a cell that ended without numbers; ``error`` is the reason."""
    return Row(
        cell=order.cell, status=status, error=error, provenance=provenance(order, started=started)
    )


def _encoding(cell: Cell) -> str:
    """Return how a static image, or an event, reaches the student, in words."""
    if cell.encoder is None:
        return load_dataset(cell.dataset).card.encoding
    return discovery.encoder_words(cell.encoder)


def _data_notes(dataset: str, data_root: Path | None) -> tuple[str, ...]:
    try:
        return load_dataset(dataset).provenance(data_root).notes
    except DataError:  # the row's own error tells it
        return ()


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = info.read_text(encoding="utf-8").splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
