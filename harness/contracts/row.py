"""What came of one cell: numbers, counts, a canary and where they were made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError
from harness.contracts.ledger import Ledger
from harness.contracts.task import FRACTION, Scale
from harness.contracts.values import Fraction, from_json, to_plain, value

# "machine": what failed is where it ran, which says nothing of the cell; it is run again.
Status = Literal["ok", "failed", "timeout", "oom", "diverged", "skipped", "machine"]
Stage = Literal["train", "measure"]
Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


@value
class EarlyExit:
    """What leaving early brings under one rule, its threshold fitted on validation data.

    Attributes:
        threshold: In the rule's own unit.
        correct: Right answers at the exits, on the test split.
        samples: Test samples.
        steps: Until the exits, of all test samples together.
        spent: By convention for encoding and category, all that ran until the exits, for
            ``harness.energy.operations_pj``; empty if unknown.
    """

    threshold: float
    correct: Count
    samples: Count
    steps: Count
    spent: dict[str, dict[str, Count]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.correct > self.samples:
            raise SpecError(
                f"EarlyExit.correct must be at most its {self.samples} samples, got {self.correct}"
            )


@value
class Elsewhere:
    """What the same weights answer on another simulator.

    Attributes:
        score: There, in the row's metric.
        differing: Test samples that it decides otherwise.
    """

    score: float
    differing: Count


@value
class Metrics:
    """What a finished cell measured. None is unknown, never 0.

    Attributes:
        score: In the task's metric, after the last epoch, on the fixed test split.
        score_low: Lower end of its 95 % interval over the task's independent units, such as
            samples (Wilson) or videos (bootstrap).
        score_high: Upper end.
        n_test: Test samples.
        teacher_score: The teacher's, on the same samples.
        ann_score: Of the student's topology as an artificial network.
        agreement: Fraction of test samples on which student and teacher decide alike.
        score_by_step: After 1, 2, ... T steps of the same pass.
        score_by_step_low: Lower ends of their 95 % Wilson intervals.
        score_by_step_high: Upper ends.
        score_area: Under accuracy over t / T: the mean of ``score_by_step``.
        mean_steps_to_decide: Steps after which a sample's decision no longer changes.
        mean_cutoff_steps: Steps after which it stays right; T for a sample that ends wrong.
        first_spike_steps: Until the last spiking layer fires, over samples that make it.
        silent_samples: Test samples that do not.
        early_exit: By rule and allowed loss of validation accuracy in percentage points.
        cross_backend: By other simulator.
        cross_backend_samples: Of the test samples those asked there, evenly; None is all.
        parameter_count: Trainable numbers of the student at inference.
        latency_ms_b1: Median wall clock of a batch of one.
        latency_ms_b1_iqr: Its interquartile range.
        throughput_sps: Samples a second, best batch.
        operations_a_frame: Synaptic operations of a frame of a test video that is shown frame by
            frame, what is past being carried; None where samples are no windows of videos.
        operations_a_window: Of a test window, which tells all that it shows anew.
        latency_ms_frame: Median wall clock of such a frame.
        latency_ms_frame_iqr: Its interquartile range.
        train_seconds: Wall clock of the training, as if nobody had trained before.
        spared_seconds: Part of it: what the teacher's answers took an earlier cell, which kept
            them for this one; 0 if this one computed its own, None if nobody can tell.
        train_samples: Seen in training, with repetition.
        extra_samples: Those drawn for another network than the student, by purpose.
        peak_memory_bytes: Of the process, or of the device if there is one.
        metric: The name of the task's.
        scale: What numbers it has, and which are better.
        further: The task's other metrics by name, fractions all.
    """

    score: float
    score_low: float
    score_high: float
    n_test: Annotated[int, Field(ge=1)]
    teacher_score: float | None = None
    ann_score: float | None = None
    agreement: Fraction | None = None
    score_by_step: tuple[float, ...] | None = None
    score_by_step_low: tuple[float, ...] | None = None
    score_by_step_high: tuple[float, ...] | None = None
    score_area: float | None = None
    mean_steps_to_decide: Amount | None = None
    mean_cutoff_steps: Amount | None = None
    first_spike_steps: Amount | None = None
    silent_samples: Count | None = None
    early_exit: dict[str, dict[str, EarlyExit]] = field(default_factory=dict)
    cross_backend: dict[str, Elsewhere] = field(default_factory=dict)
    cross_backend_samples: Count | None = None
    parameter_count: Count | None = None
    latency_ms_b1: Amount | None = None
    latency_ms_b1_iqr: Amount | None = None
    throughput_sps: Amount | None = None
    operations_a_frame: Amount | None = None
    operations_a_window: Amount | None = None
    latency_ms_frame: Amount | None = None
    latency_ms_frame_iqr: Amount | None = None
    train_seconds: Amount | None = None
    spared_seconds: Amount | None = None
    train_samples: Count | None = None
    extra_samples: dict[str, Count] = field(default_factory=dict)
    peak_memory_bytes: Count | None = None
    metric: Annotated[str, Field(pattern=r"^[A-Za-z0-9@ .-]{1,40}$")] = "accuracy"
    scale: Scale = FRACTION
    further: dict[str, Fraction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, score in self._scores():
            if not self.scale.holds(score):
                raise SpecError(
                    f"Metrics.{name} must lie in {self.scale}, as {self.metric} does; got {score!r}"
                )
        if self.metric == "accuracy" and self.scale != FRACTION:
            raise SpecError("accuracy is a fraction; give a metric of another scale another name")
        if not self.score_low <= self.score <= self.score_high:
            raise SpecError(
                "an interval holds its estimate; got "
                f"{self.score_low!r} <= {self.score!r} <= {self.score_high!r}"
            )
        if self.score_by_step and self.score_by_step[-1] != self.score:
            raise SpecError(
                f"Metrics.score_by_step must end with score {self.score!r}, "
                f"got {self.score_by_step[-1]!r}"
            )

    def _scores(self) -> Iterator[tuple[str, float]]:
        """Yield all that is told in the metric, by field."""
        for name in (
            "score_low",
            "score",
            "score_high",
            "teacher_score",
            "ann_score",
            "score_area",
        ):
            if (score := getattr(self, name)) is not None:
                yield name, score
        for name in ("score_by_step_low", "score_by_step", "score_by_step_high"):
            yield from ((name, score) for score in getattr(self, name) or ())
        for name, answer in self.cross_backend.items():
            yield f"cross_backend.{name}.score", answer.score


@value
class Canary:
    """What the cell's own first steps give, in float64 on the processor.

    It is the same on every machine: integers exactly, floats but for rounding. So it tells
    whether changed code still means the same (``harness.engine.canary``).

    Attributes:
        losses: Of each step.
        weights: A projection of each tensor of the student's state, in their order.
        logits: A projection of each step's, on the first test samples.
        elsewhere: Likewise, with the same weights on other simulators.
        counts: What the meter counts there, by layer: a hash of all it says.
        metrics: All that is measured there and is no time, number by number.
    """

    losses: tuple[float, ...]
    weights: tuple[float, ...]
    logits: tuple[float, ...]
    elsewhere: dict[str, tuple[float, ...]]
    counts: tuple[str, ...]
    metrics: tuple[int | float | str, ...]


@value
class Provenance:
    """Where, when and with what a cell ran. None is unknown.

    Attributes:
        train_fp: Fingerprint of the code that trained.
        measure_fp: Of the code that evaluated and counted.
        fast_fp: Of the fast paths that were taken and no canary takes; None if none was.
        data_fp: Of the data.
        versions: Of Python and of the libraries whose arithmetic was used.
        backend_version: The simulator's.
        device: ``cpu`` or ``cuda``.
        devices: How many of them shared each batch; None is one.
        cells_on_device: Cells of its run on its GPU at once, at most, itself among them; None
            is unknown, or a processor's.
        threads: Of the cell's process; another number rounds sums in another order.
        processor: Its model, instruction sets and limits upon them.
        deterministic: Whether torch's deterministic algorithms were on.
        step: How a GPU ran training steps: as one graph, or eagerly and why.
        weights_sha256: Of the file with the trained weights.
        teacher_sha256: Of the file with the teacher's.
        normalisation: Of an imported teacher, the mean and deviation it was trained with.
        data_notes: Deviations from the published files, a sentence each.
        encoding: What the student is given in a step.
        teacher_note: What a reader must know of the teacher.
        log_path: Relative to the store.
        git_sha: Of this project.
        git_dirty: Whether the working tree had changes.
        lock_sha: Of the lock file.
        os: Name and release.
        gpu: Model, or None without one.
        started_at: UTC, ISO 8601.
        ended_at: UTC, ISO 8601.
        command: What runs this cell again.
    """

    train_fp: str | None = None
    measure_fp: str | None = None
    fast_fp: str | None = None
    data_fp: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    backend_version: str | None = None
    device: str | None = None
    devices: Annotated[int, Field(ge=2)] | None = None
    cells_on_device: Annotated[int, Field(ge=1)] | None = None
    threads: int | None = None
    processor: dict[str, str] = field(default_factory=dict)
    deterministic: bool | None = None
    step: str | None = None
    weights_sha256: str | None = None
    teacher_sha256: str | None = None
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    data_notes: tuple[str, ...] = ()
    encoding: str | None = None
    teacher_note: str | None = None
    log_path: str | None = None
    git_sha: str | None = None
    git_dirty: bool | None = None
    lock_sha: str | None = None
    os: str | None = None
    gpu: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    command: str | None = None

    @property
    def cpu(self) -> str | None:
        """The processor's model."""
        return self.processor.get("processor")


@value
class Row:
    """The outcome of one cell. A run without a number did not score zero.

    Attributes:
        cell: What was asked.
        status: How it ended.
        metrics: What was measured; None unless ``status`` is ``ok``.
        ledger: What inference cost, summed over the test samples; likewise.
        canary: What tells later code from this; None where it could not be had.
        error: Why there are no metrics, one line; None if ``ok``.
        provenance: Where and with what.
        cell_id: Of ``cell``; written so that an edited row is found out.
        schema_version: Of this layout.
    """

    cell: Cell
    status: Status
    metrics: Metrics | None = None
    ledger: Ledger | None = None
    canary: Canary | None = None
    error: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    cell_id: str = ""
    schema_version: Literal[3] = 3

    def __post_init__(self) -> None:
        if self.status == "ok":
            if self.metrics is None or self.error:
                raise SpecError(f"an 'ok' row needs metrics and has no error, got {self.error!r}")
        elif self.metrics is not None or not self.error:
            raise SpecError(f"a {self.status!r} row needs an error and has no metrics")
        if self.metrics is not None:
            self._check_metrics(self.metrics)
        found = self.cell.cell_id
        if self.cell_id not in ("", found):
            raise SpecError(
                f"row says cell_id {self.cell_id!r} but its cell gives {found!r}; "
                "it was edited: run its cell again"
            )
        object.__setattr__(self, "cell_id", found)

    def _check_metrics(self, metrics: Metrics) -> None:
        """Refuse metrics of another number of steps or samples than cell and ledger have."""
        for name in ("score_by_step", "score_by_step_low", "score_by_step_high"):
            steps = getattr(metrics, name)
            if steps is not None and len(steps) != self.cell.timesteps:
                raise SpecError(
                    f"Metrics.{name} must have {self.cell.timesteps} steps, got {len(steps)}"
                )
        asked = metrics.n_test if self.ledger is None else self.ledger.samples
        # A tracker is asked nothing about the frames that it is started on.
        fewer = metrics.n_test if metrics.metric == "accuracy" else 1
        if not fewer <= asked <= metrics.n_test:
            raise SpecError(
                f"Metrics.n_test must be the ledger's {asked} samples, got {metrics.n_test}"
            )

    def to_json(self) -> str:
        """Return the row on one line, keys sorted, what is unknown left out."""
        plain: dict[str, Any] = to_plain(self)
        for name in ("metrics", "provenance"):
            plain[name] = _known(plain[name])
        if self.metrics is not None and self.metrics.scale == FRACTION:
            del plain["metrics"]["scale"]
        return json.dumps(_known(plain, but="cell"), sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes, /) -> Row:
        """Return the row of one line that ``to_json`` wrote, of this schema or one before.

        Raises:
            SpecError: If it is no such line: an unknown schema or field, a wrong type, or a
                ``cell_id`` that its cell has not.
        """
        if isinstance(text, str):
            text = text.encode()
        said = text.rfind(_SCHEMA)  # near the end, since keys are sorted
        version = text[said + len(_SCHEMA) :][:2]
        if said >= 0 and version == b"1,":
            from harness.contracts import schema_1

            return schema_1.migrated(text)
        if said >= 0 and version == b"2,":
            from harness.contracts import schema_2

            return schema_2.migrated(text)
        return from_json(Row, text)


_SCHEMA = b'"schema_version": '


def _known(part: dict[str, Any] | None, *, but: str = "") -> dict[str, Any] | None:
    """Return a mapping without its unknown and empty entries."""
    if part is None:
        return None
    return {key: item for key, item in part.items() if key == but or item not in (None, {}, [])}
