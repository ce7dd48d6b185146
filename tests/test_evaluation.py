"""Decisions step by step, by hand; and what every method and simulator is given alike."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.dataset import Dataset
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.data.encoding import direct
from harness.engine.resolve import build
from harness.engine.train import lesson_of
from harness.evaluation.evaluate import Verdict, evaluate
from harness.neurons.activation import activation
from harness.training import Student
from suites.tasks.classification import TASK

CPU = torch.device("cpu")
DIGITS = cast(Dataset, discovery.load("datasets", "digits"))


def test_a_verdict_by_hand() -> None:
    # Three samples, three steps; the labels are 0, 1, 2.
    decisions = np.array([[0, 0, 1], [0, 1, 2], [0, 1, 1]])
    # Step t adds 10^t to its class, which outweighs all steps before.
    votes = np.eye(3, dtype=np.float32)[decisions] * np.array([1, 10, 100])[:, None, None]
    verdict = Verdict(task=TASK, logits=votes.astype(np.float32), labels=np.array([0, 1, 2]))
    assert np.array_equal(verdict.predictions, decisions)
    assert [step.value for step in verdict.over_time.accuracy] == [1 / 3, 1, 2 / 3]
    assert verdict.score.value == 2 / 3
    # The first sample never changes (1 step), the second settles after 2, the third after 3.
    assert verdict.over_time.mean_settling_steps == pytest.approx((1 + 2 + 3) / 3)


class _Spoken(nn.Module):
    """Says the same logits to every sample, whatever it sees."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, stimulus: torch.Tensor, *_: object) -> Output:
        samples = len(stimulus)
        return Output(logits=self.logits[:, None].expand(-1, samples, -1))


def test_the_decision_is_the_largest_mean_logit_so_far() -> None:
    # Running sums: (1, 0), (1, 3), (5, 3): decisions 0, 1, 0.
    network = _Spoken([[1.0, 0.0], [0.0, 3.0], [4.0, 0.0]])
    student = Student(network=network, timesteps=3, twin=lambda _: network)
    samples = DIGITS.load(None).test
    verdict = evaluate(
        student, samples, direct(DIGITS.card), CPU, "float32", task=TASK, batch_size=100
    )
    assert verdict.predictions.shape == (3, len(samples))
    assert [set(step) for step in verdict.predictions] == [{0}, {1}, {0}]


def _initial(make: Any, seed: int) -> dict[str, torch.Tensor]:
    model: Any = discovery.load("models", "digits_convnet")
    student = build(model, make, DIGITS.card, seed=seed, timesteps=2, device=CPU)
    return student.network.state_dict()


def test_the_same_seed_gives_the_same_weights_on_every_simulator(simulator: Backend) -> None:
    neurons = activation(simulator, NeuronSpec())
    ours, artificial = _initial(neurons, 3), _initial(nn.ReLU, 3)
    assert ours.keys() == artificial.keys()
    assert all(torch.equal(ours[key], artificial[key]) for key in ours)
    other = _initial(neurons, 4)
    assert any(not torch.equal(ours[key], other[key]) for key in ours)


def test_what_is_drawn_elsewhere_changes_no_batch() -> None:
    recipe = Recipe(epochs=2, batch_size=100, augmentation=("shift",))
    splits = DIGITS.load(None)

    def batches(noise: int) -> list[torch.Tensor]:
        lesson = lesson_of(
            recipe,
            splits.train,
            DIGITS.card,
            presentation=direct(DIGITS.card),
            seed=0,
            teacher=None,
            device=CPU,
        )
        seen = []
        for batch in lesson:
            torch.rand(noise)
            seen.append(batch.stimulus)
        return seen

    first, second = batches(0), batches(17)
    assert len(first) == 2 * (len(splits.train) // 100)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
