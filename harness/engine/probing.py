"""A suite's students, looked at before their first step."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from harness.contracts.cell import Cell
from harness.contracts.errors import UnsupportedError
from harness.data.streaming import some, unaugmented
from harness.engine.resolve import resolve
from harness.evaluation.probe import Probe, Shown, probe

FITTED, HELD_OUT, BATCH = 2048, 1024, 128
_CPU = torch.device("cpu")


def probe_cell(cell: Cell, data_root: Path | None, /) -> Probe:
    """Return what the untrained student of ``cell`` brings along.

    It is fitted on training samples and judged on validation samples.

    Raises:
        DataError: If the data is missing or damaged.
        UnsupportedError: If the task decides no classes, or the simulator cannot mean the
            neuron.
    """
    found = resolve(cell)
    if "classes" not in found.task.gives:
        raise UnsupportedError(
            f"a probe is a linear classifier, and {cell.dataset} has no classes to tell apart: "
            f"its task {found.card.task} gives {', '.join(found.task.gives)}"
        )
    splits = found.dataset.load(data_root, timesteps=cell.timesteps)
    stimulus_of = found.presentation().begin("probe")

    def shown(part: object, count: int) -> Iterator[Shown]:
        batches = unaugmented(some(part, count), BATCH, _CPU)  # type: ignore[arg-type]  # samples or a source
        for images, labels in islice(batches, count // BATCH):
            yield stimulus_of(images), labels

    return probe(
        found.student(_CPU), [*shown(splits.train, FITTED)], [*shown(splits.validation, HELD_OUT)]
    )
