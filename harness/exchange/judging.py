"""What a network from elsewhere answers on a data set of ours, and what that costs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from harness import discovery, energy
from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.ledger import Ledger
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Precision
from harness.contracts.values import to_plain
from harness.data import catalogue
from harness.data.encoding import Encoder, Presentation, direct
from harness.engine.measure import quality
from harness.engine.resolve import opened, task_of
from harness.evaluation.cost import Running
from harness.evaluation.evaluate import Verdict
from harness.neurons.activation import activation
from harness.training.lesson import computing
from harness.training.student import Student, no_simulator

ROUNDED = 9  # digits of a percentage behind which a float is rounding


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came out.

    Attributes:
        verdict: On the whole test split.
        ledger: What that cost.
        as_claimed: Whether the accuracy is the one that was claimed; None without a claim.
    """

    verdict: Verdict
    ledger: Ledger
    as_claimed: bool | None

    def columns(self) -> dict[str, Any]:
        """Return it as the columns of a row, with totals for the ledger and all energy bills."""
        summed = self.ledger.summed()
        total = {name: count for name, count in asdict(summed.total).items() if count}
        bills = {name: line.bill.total_pj for name, line in energy.panel(summed).lines.items()}
        return {
            **quality(self.verdict),
            "scale": to_plain(self.verdict.task.metric.scale),
            "as_claimed": self.as_claimed,
            "counts": total,
            "energy_pj": bills,
        }


def neurons_of(backend: str, /) -> Callable[[NeuronSpec], nn.Module]:
    """Return what makes neurons on a simulator.

    Raises:
        UnsupportedError: If it is not installed; and later, if it cannot mean a neuron.
    """
    try:
        simulator = cast(Backend, discovery.load("backends", backend))
    except ModuleNotFoundError as error:
        raise UnsupportedError(f"the simulator {backend} is not installed: {error}") from error
    return lambda spec: activation(simulator, spec)()


def as_student(network: nn.Module, /, *, timesteps: int) -> Student:
    """Return ``network``, callable as ``harness.contracts.model.Network``, as a student.

    Raises:
        SpecError: If it is to answer in no step.
    """
    if timesteps < 1:
        raise SpecError(f"timesteps must be at least 1, got {timesteps!r}")

    def no_twin(_: Callable[[], nn.Module]) -> nn.Module:
        raise UnsupportedError("a network from elsewhere has no other realisation")

    return Student(network=network, timesteps=timesteps, twin=no_twin, neuron=no_simulator)


def presentation_of(
    dataset: str,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    said: Mapping[str, Any] | None = None,
    timesteps: int = 1,
) -> Presentation:
    """Return how samples are shown: as asked, else as a file says, else as the data set's card.

    Args:
        dataset: A file under ``suites/datasets/``.
        mean: A number a channel.
        std: Likewise.
        said: What ``stored.shown_to`` told.
        timesteps: Of an encoder's train.

    Raises:
        SpecError: If there is not one number a channel, or a deviation is none.
        UnknownPluginError: If there is no such encoder.
    """
    plain, said = direct(catalogue.load(dataset).card), said or {}
    if "encoder" in said and mean is None and std is None:
        encoder = cast(Encoder, discovery.load("encoders", str(said["encoder"])))
        if len(seed := _numbers(said, "encoder_seed")) != 1:
            raise SpecError(f"the file's metadata have {len(seed)} encoder_seed, not one")
        return replace(plain, encoder=encoder, timesteps=timesteps, seed=int(seed[0]))
    shown = Presentation(
        mean=mean or _numbers(said, "mean") or plain.mean,
        std=std or _numbers(said, "std") or plain.std,
    )
    for name, numbers in (("mean", shown.mean), ("std", shown.std)):
        if len(numbers) != len(plain.mean):
            raise SpecError(
                f"{dataset} has {len(plain.mean)} channels, and --{name} {len(numbers)} numbers"
            )
    if not all(number > 0 for number in shown.std):
        raise SpecError(f"--std is divided by and must be positive, got {[*shown.std]}")
    return shown


def _numbers(said: Mapping[str, Any], name: str) -> tuple[float, ...]:
    """Return the numbers of that name in a file's metadata; empty without any."""
    try:
        numbers = tuple(np.ravel(np.asarray(said.get(name, ()), dtype=float)).tolist())
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise SpecError(f"{name} in the file's metadata are no numbers: {said[name]!r:.80}")
    return numbers


def judge(
    student: Student,
    dataset: str,
    /,
    *,
    presentation: Presentation,
    data_root: Path | None = None,
    precision: Precision = "float32",
    claim: str | None = None,
) -> Judged:
    """Evaluate ``student`` on the test split of ``dataset`` and meter it meanwhile.

    Args:
        student: On the processor; its network is brought into ``precision``.
        dataset: A file under ``suites/datasets/``.
        presentation: How samples are shown, as ``presentation_of`` says.
        data_root: Where data sets lie.
        precision: Of the evaluation.
        claim: The accuracy that somebody says it has, in percent, as they write it.

    Raises:
        SpecError: If the claim is no percentage, or it answers another number of classes.
        CountingError: If the meter cannot count the network.
    """
    claimed = None if claim is None else _percentage(claim)
    test = opened(dataset, data_root, student.timesteps).test
    with computing(precision):
        student.network.to(torch.get_default_dtype())
        running = Running(
            student=student,
            samples=test,
            presentation=presentation,
            device=torch.device("cpu"),
            precision=precision,
            task=task_of(dataset),
        )
        verdict, ledger = running.judged()
    _refuse_other_classes(verdict, dataset)
    as_claimed = None if claimed is None else _is(verdict.score.value, claimed)
    return Judged(verdict=verdict, ledger=ledger, as_claimed=as_claimed)


def _refuse_other_classes(verdict: Verdict, dataset: str) -> None:
    wanted, found = catalogue.load(dataset).card.classes, verdict.logits.shape[-1]
    if "classes" in verdict.task.gives and found != wanted:
        raise SpecError(f"the network answers {found} classes, and {dataset} has {wanted}")


def _percentage(text: str) -> Decimal:
    try:
        claimed = Decimal(text)
    except InvalidOperation:
        raise SpecError(f"a claim is a percentage like 93.7, got {text!r}") from None
    if not claimed.is_finite() or not 0 <= claimed <= 100:
        raise SpecError(f"a claim is between 0 and 100 percent, got {text!r}")
    return claimed


def _is(accuracy: float, claimed: Decimal) -> bool:
    """Return whether ``accuracy``, rounded to the digits of the claim, is the claim.

    Half a unit of its last digit either way: whoever wrote it may have rounded down or up. No
    digit counts for more than a percent, however it is written, or ``1e2`` would be 50 to 150.
    """
    exponent: int = claimed.as_tuple().exponent  # type: ignore[assignment]  # it is finite
    half = Decimal("0.5").scaleb(max(-ROUNDED, min(exponent, 0)))
    return abs(Decimal(100 * accuracy) - claimed) <= half + Decimal(1).scaleb(-ROUNDED)
