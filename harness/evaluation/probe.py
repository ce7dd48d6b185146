"""What a student can learn from, asked before its first step.

A network whose untrained features tell a linear classifier nothing, and whose gradient
points elsewhere for every batch, learns next to nothing in a short training, whatever the
method: methods cannot be told apart on it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from harness.neurons.spiking import SpikingNeuron
from harness.statistics import Interval, wilson_interval
from harness.training.student import Student

Shown = tuple[Tensor, Tensor]  # a stimulus as the student sees it, labels [N]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was found before the first step.

    Attributes:
        linear_accuracy: Of a logistic regression on the last feature's mean over time, on
            samples that it was not fitted on.
        linear_interval: Its 95 % Wilson interval.
        chance: The share of the most frequent class among them.
        gradient_cosine: Between two batches, by weight of two axes and more.
        firing_rate: By layer of neurons, spikes a neuron and step.
    """

    linear_accuracy: float
    linear_interval: Interval
    chance: float
    gradient_cosine: dict[str, float]
    firing_rate: dict[str, float]

    @property
    def at_chance(self) -> bool:
        """Whether the features may as well hold nothing."""
        return self.linear_interval.low <= self.chance


def probe(student: Student, fitted: list[Shown], held_out: list[Shown], /) -> Probe:
    """Return what ``student`` brings along; it is left as it was.

    Norms use the statistics of each batch, as they would in the first step. The first two
    batches of ``fitted`` are those of the gradients.
    """
    fresh = Student(
        network=deepcopy(student.network).train(), timesteps=student.timesteps, twin=student.twin
    )
    with _rates(fresh.network) as rates:
        features, labels = _features(fresh, fitted)
    unseen, answers = _features(fresh, held_out)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    classifier.fit(features, labels)
    right = int((classifier.predict(unseen) == answers).sum())
    return Probe(
        linear_accuracy=right / len(answers),
        linear_interval=wilson_interval(right, len(answers)),
        chance=float(np.bincount(answers).max() / len(answers)),
        gradient_cosine=_cosines(fresh, *fitted[:2]),
        firing_rate={name: float(np.mean(found)) for name, found in rates.items()},
    )


def _features(
    student: Student, shown: list[Shown]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return ``[N, C]`` and labels ``[N]``."""
    found = []
    for stimulus, _ in shown:
        with torch.no_grad():
            last = student(stimulus, ["penultimate"]).taps["penultimate"].mean(0)
        found.append(last.flatten(1).double().cpu().numpy())
    return np.concatenate(found), np.concatenate([labels.cpu().numpy() for _, labels in shown])


def _cosines(student: Student, one: Shown, other: Shown) -> dict[str, float]:
    first, second = _gradients(student, *one), _gradients(student, *other)
    return {
        name: float(cosine_similarity(first[name], second[name], dim=0))
        for name in first
        if first[name].any() or second[name].any()
    }


def _gradients(student: Student, stimulus: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the gradient of the cross-entropy by each weight of two axes and more."""
    student.network.zero_grad()
    loss = cross_entropy(student(stimulus).logits.mean(0), labels)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return {
        name: weight.grad.flatten().clone()
        for name, weight in student.network.named_parameters()
        if weight.dim() > 1 and weight.grad is not None
    }


@contextmanager
def _rates(network: nn.Module) -> Iterator[dict[str, list[float]]]:
    """Note the firing rate of every layer of neurons, at every pass."""
    found: dict[str, list[float]] = {}

    def noting(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def note(_: nn.Module, _given: object, spikes: Tensor) -> None:
            found.setdefault(name, []).append(float(spikes.detach().double().mean()))

        return note

    hooks = [
        module.register_forward_hook(noting(name))
        for name, module in network.named_modules()
        if isinstance(module, SpikingNeuron)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
