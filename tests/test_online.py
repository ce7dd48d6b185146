"""What a chunk of a video costs, against windows, and that both answer alike."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from harness import discovery
from harness.contracts.dataset import Samples
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.inputs import Classes, Features
from harness.contracts.neuron import NeuronSpec
from harness.data.encoding import Presentation
from harness.data.windows import Windows
from harness.evaluation.cost import Running
from harness.evaluation.online import compare, video, watch
from harness.training import Student
from suites.models._oad_transformer import OadTransformer
from suites.models._spiking_oad import SpikingOad
from suites.tasks.online_action_detection import TASK

TOPOLOGY = SpikingOad(
    width=8, heads=2, ratio=2, dilations=(1, 2), blocks=1, near=3, far=2, stride=2, work=3, ahead=2
)
LENGTH, WIDTH = 24, 5


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def student(topology: SpikingOad | OadTransformer = TOPOLOGY) -> Student:
    torch.manual_seed(0)
    backend = discovery.load("backends", "reference")

    def twin(activation: Callable[[], nn.Module]) -> nn.Module:
        return topology.build(
            activation,
            input=Features(width=WIDTH, length=LENGTH, rate_hz=4),
            output=Classes(4),
        )

    network = twin(lambda: backend.neuron(NeuronSpec()))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 1, 3)
            nn.init.uniform_(module.bias, -0.5, 1)
    return Student(network=network.eval(), timesteps=2, twin=twin)


def frames(count: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(count, WIDTH)) * 1.5


OFFSETS = np.arange(1 - LENGTH, 1)


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_video_in_chunks_is_answered_as_its_windows_and_costs_less(chunk: int) -> None:
    learner, shown = student(), frames(21)
    watched = watch(learner, shown, chunk=chunk)
    assert watched.logits.shape == (2, 21 // chunk * chunk, 4)
    assert len(watched.latency_ms) == len(watched.operations) == 21 // chunk
    compared = compare(learner, shown, watched, OFFSETS)
    assert compared.frames == 21 // chunk * chunk
    assert compared.largest < 1e-14  # spikes are equal; the rounding of a sum of 8 weights
    # A window of 16 frames that are reached computes each of them anew.
    assert watched.operations.mean() / chunk < compared.operations / 3
    assert (watched.latency_ms > 0).all()
    assert compared.latency_ms > 0


def test_some_frames_are_compared_evenly() -> None:
    learner, shown = student(), frames(30)
    watched = watch(learner, shown, chunk=1)
    assert compare(learner, shown, watched, OFFSETS, most=4).frames == 4


def test_a_difference_is_told() -> None:
    learner, shown = student(), frames(12)
    watched = watch(learner, shown, chunk=1)
    watched.logits[1, -1, 2] += 0.5
    assert compare(learner, shown, watched, OFFSETS).largest == pytest.approx(0.5)


def test_operations_by_hand() -> None:
    # One frame, with nothing behind it but zeros, on a network whose neurons never fire: the
    # first layer alone works, 5 analog values on 8 channels, once for both steps.
    learner = student()
    with torch.no_grad():
        for module in learner.network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.bias.fill_(-100)
        learner.network.get_parameter("ahead").zero_()
    watched = watch(learner, frames(3), chunk=1)
    assert watched.operations.tolist() == [40, 40, 40]


def test_a_network_of_windows_alone_is_refused() -> None:
    topology = OadTransformer(
        width=8, heads=2, inner=8, groups=2, queries=2, stride=2, work=4, ahead=2
    )
    with pytest.raises(UnsupportedError, match="has no `begin` and `advance`"):
        watch(student(topology), frames(4), chunk=1)


@pytest.mark.parametrize("chunk", [0, 5])
def test_a_chunk_must_fit_into_the_video(chunk: int) -> None:
    with pytest.raises(SpecError, match=f"a chunk of {chunk} frames is not in a video of 4"):
        watch(student(), frames(4), chunk=chunk)


def test_a_video_is_found_among_windows() -> None:
    everything = np.arange(12, dtype=np.float64)[:, None]
    windows = Windows(
        frames=everything,
        newest=np.array([6, 1, 2, 11]),
        first=np.array([5, 0, 0, 5]),
        last=np.array([11, 4, 4, 11]),
        offsets=np.array([-1, 0]),
    )
    samples = Samples(inputs=windows, labels=np.zeros(4))
    for number, (begin, end) in enumerate([(0, 5), (5, 12)]):
        found, offsets = video(samples, number)
        assert found[:, 0].tolist() == [*range(begin, end)]
        assert offsets.tolist() == [-1, 0]
    with pytest.raises(SpecError, match="no video 2; there are 0 to 1"):
        video(samples, 2)
    with pytest.raises(UnsupportedError, match="no windows"):
        video(Samples(inputs=np.zeros((2, 3)), labels=np.zeros(2)), 0)


def running(learner: Student, inputs: Any) -> Running:
    samples = Samples(inputs=inputs, labels=np.zeros((len(inputs), 5), dtype=np.int64))
    shown = Presentation(mean=(), std=())
    return Running(learner, samples, shown, torch.device("cpu"), "float64", TASK)


def test_a_row_tells_what_a_frame_of_the_first_video_costs() -> None:
    learner, first = student(), frames(80)
    windows = Windows(
        frames=np.concatenate([first, frames(9)]),
        newest=np.array([79, 88, 40]),
        first=np.array([0, 80, 0]),
        last=np.array([79, 88, 79]),
        offsets=OFFSETS,
    )
    found = running(learner, windows).watched
    assert found is not None
    alone = watch(learner, first[:64], chunk=1)  # more say little more
    assert np.array_equal(found.operations, alone.operations)
    assert len(found.latency_ms) == 64


def test_what_is_shown_no_video_frame_by_frame_tells_of_no_frame() -> None:
    still = np.zeros((2, LENGTH, WIDTH))
    assert running(student(), still).watched is None
    of_windows = OadTransformer(
        width=8, heads=2, inner=8, groups=2, queries=2, stride=2, work=4, ahead=2
    )
    windows = Windows(
        frames=frames(4),
        newest=np.array([3]),
        first=np.array([0]),
        last=np.array([3]),
        offsets=OFFSETS,
    )
    assert running(student(of_windows), windows).watched is None
