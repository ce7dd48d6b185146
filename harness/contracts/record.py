"""What was asked of one cell, and what came of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from harness.contracts.errors import SpecError

SCHEMA_VERSION = 1

Status = Literal["ok", "failed", "timeout", "oom", "diverged", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One question of a suite, answered by one method on one simulator.

    Mappings are kept as plain JSON values (tuples become lists), so a cell equals
    itself after a round trip through a file.

    Attributes:
        suite: A file under ``suites/``.
        protocol: The suite's; raised when old rows may no longer stand beside new ones.
        method: A file under ``suites/methods/``.
        params: The method's parameters, all of them, defaults included.
        dataset: A file under ``suites/datasets/``.
        split: The identity of its fixed split.
        model: The student, a file under ``suites/models/``.
        teacher: What identifies the teacher, or None if the method has none.
        backend: A folder under ``backends/``.
        timesteps: T, at least 1.
        seed: Of initial weights, data order and augmentation.
        recipe: Its ``name`` and every field of ``Recipe``.
        neuron: Every field of ``NeuronSpec``.
        precision: Of forward and backward.
        encoder: A file under ``suites/encoders/``, or None for a constant current.
    """

    suite: str
    protocol: int
    method: str
    params: Mapping[str, Any]
    dataset: str
    split: str
    model: str
    teacher: Mapping[str, Any] | None
    backend: str
    timesteps: int
    seed: int
    recipe: Mapping[str, Any]
    neuron: Mapping[str, Any]
    precision: str
    encoder: str | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            plain = _plain(getattr(self, item.name), f"Cell.{item.name}")
            object.__setattr__(self, item.name, plain)
        if self.timesteps < 1:
            raise SpecError(f"Cell.timesteps must be at least 1, got {self.timesteps!r}")

    def columns(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def identity(self) -> str:
        """Return the canonical JSON: keys sorted, no whitespace, floats by ``repr``."""
        what = self.columns()
        if self.encoder is None:  # cells from before there was a choice keep their names
            del what["encoder"]
        return json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def cell_id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over ``identity``."""
        return hashlib.sha256(self.identity().encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a finished cell measured. None is unknown, never 0.

    Attributes:
        test_accuracy: A fraction, after the last epoch, on the fixed test split.
        accuracy_low: Lower end of its 95 % Wilson interval over test samples.
        accuracy_high: Upper end.
        n_test: Test samples.
        teacher_accuracy: The teacher's, on the same samples.
        ann_accuracy: Of the student's topology as an artificial network.
        agreement: Fraction of test samples on which student and teacher decide alike.
        accuracy_by_step: After 1, 2, ... T steps of the same pass.
        accuracy_by_step_low: Lower ends of their 95 % Wilson intervals.
        accuracy_by_step_high: Upper ends.
        accuracy_area: Under accuracy over t / T: the mean of ``accuracy_by_step``.
        mean_steps_to_decide: Steps after which a sample's decision no longer changes.
        mean_cutoff_steps: Steps after which it stays right; T for a sample that ends wrong.
        first_spike_steps: Until the last spiking layer fires, over samples that make it.
        silent_samples: Test samples that do not.
        early_exit: By rule and allowed loss of validation accuracy in percentage points:
            ``threshold`` (fitted on validation data), and on the test split ``accuracy``,
            its interval, ``mean_steps`` and ``mean_energy_pj``.
        cross_backend: What the same weights answer on other simulators: by name the
            ``test_accuracy`` there and the number of ``differing`` decisions.
        parameter_count: Trainable numbers of the student at inference.
        spikes_per_sample: Over all layers and steps.
        firing_rate: Spikes a neuron a step.
        macs_per_sample: Multiply-accumulates that ran, all steps.
        acs_per_sample: Accumulates that ran, all steps.
        dense_macs: Of the artificial network, one frame, borders excluded.
        coverage: Fraction of the arithmetic that was counted.
        layers: More of the same by layer, ``spikes_by_layer`` among it.
        energy_pj: Picojoules a sample by energy model; None where a price is missing.
        energy_ratio_ann: That over the dense artificial network's, by energy model.
        energy_ratio_effective: Over that of the artificial network that skips zeros; known
            where the teacher has the student's topology.
        energy_ratio_twin: Over that of the quantised twin, ``ceil(log2(T + 1))`` bits.
        energy_assumptions: What the energies take for granted, a sentence each.
        latency_ms_b1: Median wall clock of a batch of one.
        latency_ms_b1_iqr: Its interquartile range.
        throughput_sps: Samples a second, best batch.
        train_seconds: Wall clock of the training.
        train_samples: Seen in training, with repetition.
        peak_memory_bytes: Of the process, or of the device if there is one.
    """

    test_accuracy: float
    accuracy_low: float
    accuracy_high: float
    n_test: int
    teacher_accuracy: float | None = None
    ann_accuracy: float | None = None
    agreement: float | None = None
    accuracy_by_step: tuple[float, ...] | None = None
    accuracy_by_step_low: tuple[float, ...] | None = None
    accuracy_by_step_high: tuple[float, ...] | None = None
    accuracy_area: float | None = None
    mean_steps_to_decide: float | None = None
    mean_cutoff_steps: float | None = None
    first_spike_steps: float | None = None
    silent_samples: int | None = None
    early_exit: Mapping[str, Mapping[str, Mapping[str, float | None]]] = field(default_factory=dict)
    cross_backend: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameter_count: int | None = None
    spikes_per_sample: float | None = None
    firing_rate: float | None = None
    macs_per_sample: float | None = None
    acs_per_sample: float | None = None
    dense_macs: int | None = None
    coverage: float | None = None
    layers: Mapping[str, Any] = field(default_factory=dict)
    energy_pj: Mapping[str, float | None] = field(default_factory=dict)
    energy_ratio_ann: Mapping[str, float | None] = field(default_factory=dict)
    energy_ratio_effective: Mapping[str, float | None] = field(default_factory=dict)
    energy_ratio_twin: Mapping[str, float | None] = field(default_factory=dict)
    energy_assumptions: tuple[str, ...] = ()
    latency_ms_b1: float | None = None
    latency_ms_b1_iqr: float | None = None
    throughput_sps: float | None = None
    train_seconds: float | None = None
    train_samples: int | None = None
    peak_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        _keep_plain(
            self,
            tuples=(
                "accuracy_by_step",
                "accuracy_by_step_low",
                "accuracy_by_step_high",
                "energy_assumptions",
            ),
        )
        for name in ("test_accuracy", "accuracy_low", "accuracy_high", "n_test"):
            if not isinstance(getattr(self, name), int | float):
                raise SpecError(f"an 'ok' row needs a finite {name}, got {getattr(self, name)!r}")
        if not 0 <= self.accuracy_low <= self.test_accuracy <= self.accuracy_high <= 1:
            raise SpecError(
                "accuracies are fractions and an interval holds its estimate; got "
                f"{self.accuracy_low!r} <= {self.test_accuracy!r} <= {self.accuracy_high!r}"
            )
        if self.n_test < 1:
            raise SpecError(f"Metrics.n_test must be at least 1, got {self.n_test!r}")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where, when and with what a cell ran. None is unknown.

    Attributes:
        backend_version: The simulator's.
        device: ``cpu`` or ``cuda``.
        data_notes: Deviations from the published files, a sentence each.
        encoding: What the student is given in a step.
        teacher_note: What a reader must know of the teacher.
        log_path: Relative to the store.
        git_sha: Of this project.
        git_dirty: Whether the working tree had changes.
        code_fp: Fingerprint of the code that ran.
        data_fp: Of the data.
        env_fp: Of the environment's numerics-relevant versions.
        hw_fp: Class of the processor.
        lock_sha: Of the lock file.
        python: Version.
        torch: Version.
        os: Name and release.
        cpu: Model.
        gpu: Model, or None without one.
        started_at: UTC, ISO 8601.
        ended_at: UTC, ISO 8601.
        command: What runs this cell again.
        deterministic: Whether torch's deterministic algorithms were on.
        threads: Of the cell's process; another number rounds sums in another order.
    """

    backend_version: str | None = None
    device: str | None = None
    data_notes: tuple[str, ...] = ()
    encoding: str | None = None
    teacher_note: str | None = None
    log_path: str | None = None
    git_sha: str | None = None
    git_dirty: bool | None = None
    code_fp: str | None = None
    data_fp: str | None = None
    env_fp: str | None = None
    hw_fp: str | None = None
    lock_sha: str | None = None
    python: str | None = None
    torch: str | None = None
    os: str | None = None
    cpu: str | None = None
    gpu: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    command: str | None = None
    deterministic: bool | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        _keep_plain(self, tuples=("data_notes",))


@dataclass(frozen=True, kw_only=True)
class Row:
    """The outcome of one cell. A run without a number did not score zero.

    Attributes:
        cell: What was asked.
        status: How it ended.
        metrics: What was measured; None unless ``status`` is ``ok``.
        error: Why there are no metrics, one line; None if ``ok``.
        provenance: Where and with what.
    """

    cell: Cell
    status: Status
    metrics: Metrics | None = None
    error: str | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise SpecError(
                f"Row.status must be one of {', '.join(get_args(Status))}, got {self.status!r}"
            )
        if self.status == "ok":
            if self.metrics is None or self.error:
                raise SpecError(f"an 'ok' row needs metrics and has no error, got {self.error!r}")
        elif self.metrics is not None or not self.error:
            raise SpecError(f"a {self.status!r} row needs an error and has no metrics")

    def columns(self) -> dict[str, Any]:
        """Return the flat row, every column present; unknown ones are None."""
        names = (item.name for item in fields(Metrics))
        metrics = dict.fromkeys(names) if self.metrics is None else vars(self.metrics)
        head = {"schema_version": SCHEMA_VERSION, "cell_id": self.cell.cell_id}
        outcome = {"status": self.status, "error": self.error}
        return head | self.cell.columns() | outcome | metrics | vars(self.provenance)

    def to_json(self) -> str:
        """Return the flat row on one line, keys sorted."""
        return json.dumps(self.columns(), sort_keys=True, allow_nan=False)

    @staticmethod
    def from_columns(columns: Mapping[str, Any], /) -> Row:
        """Return the row that ``columns`` describes.

        Raises:
            SpecError: On an unknown schema or column, a missing identity, or a
                ``cell_id`` that the identity does not have.
        """
        version = columns.get("schema_version")
        if version != SCHEMA_VERSION:
            raise SpecError(
                f"row has schema_version {version!r}, this harness reads {SCHEMA_VERSION}; "
                "read it with the harness that wrote it, or run its cell again"
            )
        cell = _taken(Cell, columns)
        if columns.get("cell_id") != cell.cell_id:
            raise SpecError(
                f"row says cell_id {columns.get('cell_id')!r} but its columns give "
                f"{cell.cell_id!r}; it was edited: run its cell again"
            )
        ok = columns.get("status") == "ok"
        numbers = [item.name for item in fields(Metrics) if columns.get(item.name) is not None]
        if numbers and not ok:
            raise SpecError(f"row {cell.cell_id} is not 'ok' and yet has {', '.join(numbers)}")
        row = Row(
            cell=cell,
            status=columns.get("status", "missing"),
            metrics=_taken(Metrics, columns) if ok else None,
            error=columns.get("error"),
            provenance=_taken(Provenance, columns),
        )
        if unknown := sorted(columns.keys() - row.columns().keys()):
            raise SpecError(
                f"row {cell.cell_id} has unknown columns {', '.join(unknown)}; "
                "it was written by a newer harness: update this one"
            )
        return row

    @staticmethod
    def from_json(text: str, /) -> Row:
        """Return the row of one line that ``to_json`` wrote.

        Raises:
            SpecError: If it is no such line.
        """
        try:
            columns = json.loads(text)
        except ValueError as error:
            raise SpecError(f"row is no JSON: {error}; run its cell again") from error
        if not isinstance(columns, dict):
            raise SpecError(f"row is no JSON object but {text[:40]!r}; run its cell again")
        return Row.from_columns(columns)


Part = TypeVar("Part", Cell, Metrics, Provenance)


def _taken(kind: type[Part], columns: Mapping[str, Any]) -> Part:
    """Return a ``kind`` made of those columns that it has."""
    wanted = fields(kind)
    required = [
        item.name for item in wanted if item.default is MISSING and item.default_factory is MISSING
    ]
    if missing := [name for name in required if name not in columns]:
        raise SpecError(f"row lacks {', '.join(missing)}; run its cell again")
    return kind(**{item.name: columns[item.name] for item in wanted if item.name in columns})


def _keep_plain(part: Metrics | Provenance, *, tuples: tuple[str, ...]) -> None:
    """Replace every field by plain JSON values, and lists by tuples where promised."""
    for item in fields(part):
        plain = _plain(getattr(part, item.name), f"{type(part).__name__}.{item.name}")
        is_list = item.name in tuples and plain is not None
        object.__setattr__(part, item.name, tuple(plain) if is_list else plain)


def _plain(value: Any, where: str) -> Any:
    """Return ``value`` as JSON has it, copied; refuse what JSON would bend or lose."""
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise SpecError(f"{where} has the key {odd[0]!r}; keys must be strings")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{where} must be finite, got {value!r}; None is the unknown number")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise SpecError(f"{where} must be a plain JSON value, got {type(value).__name__} {value!r}")
