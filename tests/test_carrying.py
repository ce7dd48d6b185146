"""Many steps in parts: the same spikes, in the memory of a part."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.dataset import Dataset, Samples
from harness.data.encoding import direct
from harness.data.streaming import some
from harness.evaluation import cost
from harness.evaluation.cost import Running
from harness.neurons.carrying import carries, carrying
from harness.training import Student, put_in_slots
from harness.training import student as students
from harness.training.bntt import BatchNormThroughTime
from harness.training.conversion import integrator, integrators
from suites.tasks.classification import TASK
from tests.live_bytes import LiveBytes
from tests.methods.small import EVENTS, STATIC, Kind, student

BACKENDS = ["reference", "norse", "spikingjelly"]
SAMPLES = 4


def _converted(
    kind: Kind = "vgg",
    *,
    backend: str = "reference",
    steps: int = 11,
    shape: tuple[int, int, int] = STATIC,
) -> Student:
    learner = student(kind, backend=backend, timesteps=steps, shape=shape)
    put_in_slots(learner, lambda: integrator(learner, scale=0.3, share=0.5))
    learner.network.eval()
    return learner


def _parts_of(learner: Student) -> list[int]:
    """Return the list of how many steps each call of the network has, from here on."""
    steps: list[int] = []
    learner.network.register_forward_pre_hook(lambda _, given: steps.append(given[1]))
    return steps


def _stimulus(*leading: int, shape: tuple[int, int, int] = STATIC) -> Tensor:
    return torch.rand(*leading, SAMPLES, *shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def _three_steps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students, "AT_ONCE", 3 * SAMPLES + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [STATIC, EVENTS], ids=["static", "events"])
@pytest.mark.parametrize("kind", ["vgg", "resnet"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("_three_steps_at_once")
def test_in_parts_every_spike_is_the_same(
    backend: str, kind: Kind, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    learner = _converted(kind, backend=backend, shape=shape)
    learner.network.to(dtype)
    stimulus = _stimulus(*([11] if shape == EVENTS else []), shape=shape).to(dtype)
    steps = _parts_of(learner)
    with torch.no_grad():
        whole = learner.network(stimulus, 11, ()).logits
        parts = learner(stimulus).logits
    assert steps == [11, 3, 3, 3, 2]
    # A sum in the last layer may be taken in another order; a spike would move it by 1e-2.
    assert torch.allclose(parts, whole, rtol=0, atol=1e-6)
    assert whole.std(0).max() > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_neurons_go_on_from_the_membrane_that_their_reset_left(backend: str) -> None:
    # Threshold 2 from v = 1: 1.5 | 2.75 fires, leaves 0.75; 1.25 | 4.25 fires, leaves 2.25 |
    # 2.25 fires, leaves 0.25.
    neurons = integrator(student(backend=backend), scale=2.0, share=0.5)
    current = torch.tensor([0.5, 1.25, 0.5, 3.0, 0.0]).view(5, 1, 1)
    with carrying(neurons):
        parts = torch.cat([neurons(part) for part in current.split([1, 2, 1, 1])])
    assert parts.flatten().tolist() == [0, 2, 0, 2, 2]
    # Afterwards each call starts from rest again.
    assert neurons(current[:1]).item() == neurons(current[:1]).item() == 0
    assert neurons(current[3:4]).item() == 2


def test_a_membrane_is_still_shown_while_it_is_carried() -> None:
    neurons = integrator(student(), scale=2.0)
    record: list[Tensor] = []
    with carrying(neurons):
        neurons(torch.full((1, 1, 1), 3.0))
        neurons(torch.full((1, 1, 1), 0.5), record)
    assert record[0].item() == 1.5


def test_what_was_carried_is_forgotten_even_after_an_error() -> None:
    neurons = integrator(student())

    def fails() -> None:
        with carrying(neurons):
            neurons(torch.full((1, 1, 1), 0.75))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert neurons(torch.full((1, 1, 1), 0.75)).item() == 0


@pytest.mark.usefixtures("_three_steps_at_once")
def test_what_cannot_be_cut_is_simulated_whole() -> None:
    learner = _converted()
    steps = _parts_of(learner)
    learner(_stimulus())  # with a gradient
    with torch.no_grad():
        learner(_stimulus(), ["stem"])
        learner.network.train()
        learner(_stimulus())
        learner.network.eval()
        replace(learner, timesteps=3)(_stimulus())
    assert steps == [11, 11, 11, 3]


def test_a_network_is_cut_only_if_all_that_knows_of_time_can_go_on() -> None:
    learner = _converted("resnet")
    assert carries(learner.network)
    learner.network.set_submodule("bn1", BatchNormThroughTime(nn.BatchNorm2d(4), timesteps=11))
    assert not carries(learner.network)
    mixed = _converted("resnet")
    mixed.network.set_submodule("activation", mixed.neuron(mixed.spec))
    assert not carries(mixed.network)
    assert not carries(student("resnet").network)
    assert not carries(nn.ReLU())


def test_memory_does_not_grow_with_time_but_for_the_logits() -> None:
    def peak(steps: int) -> int:
        learner = _converted(steps=steps)
        stimulus = torch.rand(256, *STATIC)
        with torch.no_grad(), LiveBytes() as bytes_of:
            logits = learner(stimulus).logits
        # Those of each part, and then of all.
        return bytes_of.peak - 2 * logits.nbytes

    assert peak(512) < 1.2 * peak(16)
    assert len(integrators(_converted().network)) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_meter_that_looks_at_few_samples_at_once_counts_the_same(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = _converted(backend=backend)
    dataset = cast(Dataset[Samples], discovery.load("datasets", "digits"))
    samples = some(dataset.load(None, timesteps=1).test, 7)
    cpu = torch.device("cpu")
    running = Running(learner, samples, direct(dataset.card), cpu, "float32", TASK)
    expected = running.judged()[1]
    steps = _parts_of(learner)
    monkeypatch.setattr(cost, "AT_ONCE", 3 * 11)
    found = running.judged()[1]
    assert steps == [11] * 3  # of 3, 3 and 1 samples, each whole in time
    assert found.summed().to_plain() == expected.summed().to_plain()
    monkeypatch.setattr(cost, "AT_ONCE", 1)
    assert running.judged()[1].samples == 7
