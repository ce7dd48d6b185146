"""The parts of a row that are known without training. Imports no torch."""

import platform
from datetime import UTC, datetime

from harness import discovery, fingerprint
from harness.contracts.cell import Cell
from harness.contracts.errors import HarnessError
from harness.contracts.row import Provenance, Row, Status
from harness.data import catalogue, unlabelled
from harness.engine.freshness import data_fingerprint, fast_fingerprint, fingerprints
from harness.engine.jobs import Order


def provenance(
    order: Order,
    *,
    started: datetime,
    backend_version: str | None = None,
    gpu: str | None = None,
    weights_sha256: str | None = None,
    teacher_sha256: str | None = None,
    teacher_note: str | None = None,
    step: str | None = None,
) -> Provenance:
    """Return where, when and with what a cell was run."""
    cell, conditions = order.cell, order.conditions
    commit, dirty = fingerprint.git_state()
    fps = fingerprints(cell)
    return Provenance(
        train_fp=fps["train"],
        measure_fp=fps["measure"],
        fast_fp=fast_fingerprint(cell, conditions.device, conditions.devices),
        data_fp=data_fingerprint(cell.dataset, conditions.data_root, cell.unlabelled),
        versions=dict(fingerprint.versions(discovery.packages_of(cell.backend))),
        backend_version=backend_version,
        device=conditions.device,
        devices=conditions.devices if conditions.devices > 1 else None,
        threads=conditions.threads,
        processor=dict(fingerprint.processor()),
        deterministic=conditions.deterministic,
        step=step,
        weights_sha256=weights_sha256,
        teacher_sha256=teacher_sha256,
        teacher_note=teacher_note,
        data_notes=_data_notes(cell, order),
        encoding=_encoding(cell),
        log_path=str(order.log_path.relative_to(conditions.runs)),
        git_sha=commit,
        git_dirty=dirty,
        lock_sha=fingerprint.of_lock(),
        os=platform.platform(),
        gpu=gpu,
        started_at=started.isoformat(timespec="seconds"),
        ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=conditions.command,
    )


def without_numbers(order: Order, *, status: Status, error: str, started: datetime) -> Row:
    """Return the row of a cell that ended without numbers; ``error`` is the reason."""
    return Row(
        cell=order.cell, status=status, error=error, provenance=provenance(order, started=started)
    )


def _encoding(cell: Cell) -> str:
    """Return how a static image, or an event, reaches the student, in words."""
    if cell.encoder is None:
        return catalogue.load(cell.dataset).card.encoding
    return discovery.encoder_words(cell.encoder)


def _data_notes(cell: Cell, order: Order) -> tuple[str, ...]:
    root = order.conditions.data_root
    try:
        notes = catalogue.load(cell.dataset).provenance(root).notes
        if cell.unlabelled is None:
            return notes
        text = unlabelled.opened(cell.dataset, root, cell.unlabelled)
    except HarnessError:  # the row's own error tells it
        return ()
    return *notes, f"{cell.method} is given {text.note}"
