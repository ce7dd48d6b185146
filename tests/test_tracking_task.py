"""Driving a tracker: what it is shown, where it goes, and what it is scored."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.dataset import Samples
from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Pair
from harness.contracts.neuron import NeuronSpec
from harness.contracts.task import Driven, Task
from harness.data.frames import Frames
from harness.data.preview import corners_of
from harness.evaluation.tracking import FAILED, SKIPPED, STARTED, TRACKED
from harness.training.losses.boxes import STRIDE_PX
from suites.models._siamese import SiamFCpp
from suites.tasks._siamese import Follower
from suites.tasks.tracking import TASK as ONE_PASS
from suites.tasks.tracking_resets import TASK as RESETS

TEMPLATE, SEARCH, GRID = 32, 64, 5
# A square of 16 pixels: with its context a side of 32, so a crop has the frame's own scale.
SIDE = 16
Answering = Callable[[Tensor], NDArray[np.float64]]


def sequence(folder: Path, corners: list[tuple[int, int]], *, unit: int = 0) -> Samples:
    """Write frames of 96 x 96 with a white square on black."""
    paths = []
    for number, (left, top) in enumerate(corners):
        pixels = np.zeros((96, 96, 3), dtype=np.uint8)
        pixels[top : top + SIDE, left : left + SIDE] = 255
        paths.append(folder / f"{unit}_{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    boxes = np.array([[left, top, SIDE, SIDE] for left, top in corners], dtype=np.float64)
    return Samples(
        inputs=Frames(paths=tuple(paths), template_px=TEMPLATE, search_px=SEARCH),
        labels=boxes,
        groups=np.full(len(paths), unit),
    )


def joined(*parts: Samples) -> Samples:
    frames = Frames(
        paths=tuple(path for part in parts for path in part.inputs.paths),
        template_px=TEMPLATE,
        search_px=SEARCH,
    )
    groups = [part.groups for part in parts if part.groups is not None]
    return Samples(
        inputs=frames,
        labels=np.concatenate([part.labels for part in parts]),
        groups=np.concatenate(groups),
    )


def perfect(stimulus: Tensor) -> NDArray[np.float64]:
    """Answer where white is in the search, at the point next to its middle, ``[P, 6]``."""
    white = (stimulus[0, 3] > 0.5).nonzero().numpy()  # rows, columns
    low, high = white.min(0)[::-1] - SEARCH / 2, white.max(0)[::-1] + 1 - SEARCH / 2
    steps = STRIDE_PX * (np.arange(GRID) - (GRID - 1) / 2)
    points = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    answer = np.full((GRID * GRID, 6), -20.0)
    best = np.abs(points - (low + high) / 2).sum(1).argmin()
    distances = np.concatenate([points[best] - low, high - points[best]])
    answer[best] = [20, 20, *np.log(distances / STRIDE_PX)]
    return answer


def driven(task: Task, samples: Samples, answering: Answering, *, timesteps: int = 1) -> Any:
    """Drive ``task`` with the same answer in every step; return its decisions."""
    assert isinstance(task, Driven)
    asked: Generator[Tensor, Tensor, NDArray[Any]] = task.drive(samples, timesteps)
    try:
        stimulus = next(asked)
        while True:
            answer = torch.from_numpy(answering(stimulus))
            if answer.dim() == 2:  # the same in every step
                answer = answer.expand(timesteps, *answer.shape)
            stimulus = asked.send(answer.unsqueeze(1))
    except StopIteration as done:
        return done.value


def test_a_perfect_network_follows_a_square(tmp_path: Path) -> None:
    samples = sequence(tmp_path, [(20 + 3 * step, 30 - step) for step in range(6)])
    decisions = driven(ONE_PASS, samples, perfect, timesteps=2)
    assert decisions.shape == (2, 6, 4)
    # Crops are to the pixel, and sizes are already right.
    assert np.abs(decisions - samples.labels).max() < 0.51
    score = ONE_PASS.score(decisions[-1], samples.labels, samples.groups)
    assert score.value > 0.9
    assert score.further["precision_20px"] == 1.0
    assert (score.low, score.high, score.units) == (0.0, 1.0, 1)


def test_the_template_is_the_first_frame_for_the_whole_sequence(tmp_path: Path) -> None:
    samples = sequence(tmp_path, [(20, 30), (23, 30), (26, 30)])
    seen = []

    def looking(stimulus: Tensor) -> NDArray[np.float64]:
        seen.append(stimulus.clone())
        return perfect(stimulus)

    driven(ONE_PASS, samples, looking)
    assert [each.shape for each in seen] == [(1, 6, SEARCH, SEARCH)] * 2  # none for the first
    assert torch.equal(seen[0][:, :3], seen[1][:, :3])
    template = seen[0][0, 0, :TEMPLATE, :TEMPLATE]
    assert template[8:24, 8:24].min() == 1.0  # white and in the middle
    assert template[:7].max() < 0.5
    assert float(seen[0][0, :3, TEMPLATE:].abs().sum()) == 0.0


def test_each_sequence_begins_with_its_own_first_box(tmp_path: Path) -> None:
    parts = [sequence(tmp_path, [(20, 30), (22, 30)], unit=0)]
    parts.append(sequence(tmp_path, [(60, 50), (62, 50), (64, 52)], unit=4))
    samples = joined(*parts)
    decisions = driven(ONE_PASS, samples, perfect)[-1]
    assert np.abs(decisions - samples.labels).max() < 0.51
    assert decisions[0].tolist() == samples.labels[0].tolist()
    assert decisions[2].tolist() == samples.labels[2].tolist()
    score = ONE_PASS.score(decisions, samples.labels, samples.groups)
    assert score.units == 2


def test_scores_are_averaged_over_sequences_and_not_over_frames() -> None:
    truth = np.tile([10.0, 10, 10, 10], (4, 1))
    lost = truth + np.array([[0], [1000], [1000], [1000]])
    groups = np.array([0, 1, 1, 1])
    score = ONE_PASS.score(lost, truth, groups)
    # One sequence of one frame is perfect, the other of three is lost.
    assert score.value == pytest.approx((20 / 21 + 0) / 2)
    assert score.further["precision_20px"] == 0.5
    assert score.low == 0.0
    assert score.high == pytest.approx(20 / 21)


def test_steps_are_averaged_up_to_each(tmp_path: Path) -> None:
    samples = sequence(tmp_path, [(40, 40), (40, 40)])
    follower = Follower.started(samples.inputs, samples.inputs[0], samples.labels[0])
    right, left = np.full((GRID * GRID, 6), -9.0), np.full((GRID * GRID, 6), -9.0)
    right[:, 2:] = left[:, 2:] = 0.0  # 8 pixels to each edge
    right[13, :2], left[11, :2] = 27.0, 9.0  # the points beside the middle
    boxes = follower.follow(np.stack([right, left]), samples.inputs[1])
    # Eight pixels to the right; the mean of 27 and -9 is more than that of -9 and 9.
    centres = boxes[:, 0] + boxes[:, 2] / 2
    assert centres == pytest.approx([48 + 8, 48 + 8])
    again = Follower.started(samples.inputs, samples.inputs[0], samples.labels[0])
    boxes = again.follow(np.stack([left, right]), samples.inputs[1])
    # First to the left, and the whole answer leads to the right.
    assert boxes[:, 0] + boxes[:, 2] / 2 == pytest.approx([48 - 8, 48 + 8])
    assert again.centre[0] == pytest.approx(56)


def test_a_shift_is_scaled_back_to_the_frame() -> None:
    follower = Follower(
        template=np.zeros((TEMPLATE, TEMPLATE, 3), np.uint8),
        centre=np.array([48.0, 48]),
        size=np.array([32.0, 32]),  # twice as large: a pixel of the search is two
        search_px=SEARCH,
    )
    answer = np.zeros((GRID * GRID, 6))
    answer[:, 0] = -30.0
    answer[13, :2] = 30.0  # a box of 16 x 16 around 8 to the right
    (box,) = follower.follow(answer[None], np.zeros((96, 96, 3), np.uint8))
    assert follower.centre.tolist() == [48 + 16, 48]
    assert box == pytest.approx([48, 32, 32, 32])


def test_a_size_changes_at_its_pace() -> None:
    follower = Follower(
        template=np.zeros((TEMPLATE, TEMPLATE, 3), np.uint8),
        centre=np.array([48.0, 48]),
        size=np.array([16.0, 16]),
        search_px=SEARCH,
    )
    answer = np.full((GRID * GRID, 6), -30.0)
    answer[12] = [30, 30, *[np.log(2)] * 4]  # 16 pixels to each edge: 32 x 32
    follower.follow(answer[None], np.zeros((96, 96, 3), np.uint8))
    # Sides twice as long and of the same ratio: exp(-.04 (2 - 1)) of .52.
    pace = 0.52 * np.exp(-0.04)
    assert follower.size == pytest.approx([16 * (1 + pace)] * 2, abs=2**-11)  # on its grid


@pytest.mark.parametrize("seed", range(20))
def test_the_last_bits_of_an_answer_lead_nowhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    answer = rng.normal(size=(GRID * GRID, 6))
    answer[[6, 8, 16, 18]] = answer[6] + [9, 9, 0, 0, 0, 0]  # alike, and as far from the middle
    wherever = []
    for noise in (0, *rng.normal(scale=1e-12, size=(4, *answer.shape))):
        follower = Follower(
            template=np.zeros((TEMPLATE, TEMPLATE, 3), np.uint8),
            centre=np.array([48.3, 47.9]),
            size=np.array([16.7, 15.1]),
            search_px=SEARCH,
        )
        follower.follow((answer * (1 + noise))[None], np.zeros((96, 96, 3), np.uint8))
        wherever.append([*follower.centre, *follower.size])
    assert wherever == [wherever[0]] * 5


def test_the_window_keeps_a_tracker_from_jumping() -> None:
    def moved(far: float) -> float:
        follower = Follower(
            template=np.zeros((TEMPLATE, TEMPLATE, 3), np.uint8),
            centre=np.array([48.0, 48]),
            size=np.array([16.0, 16]),
            search_px=SEARCH,
        )
        answer = np.zeros((GRID * GRID, 6))
        answer[:, 0] = -30.0
        answer[12, :2], answer[10, :2] = (0.0, 30.0), (far, 30.0)
        follower.follow(answer[None], np.zeros((96, 96, 3), np.uint8))
        return float(follower.centre[0])

    # .79 x .5 + .21 in the middle is .605; 16 pixels to the left, at the edge, the window has 0.
    assert moved(1.0) == 48.0  # .79 x .731 = .577
    assert moved(2.0) == 32.0  # .79 x .881 = .696


def test_a_lost_box_stays_in_the_frame() -> None:
    follower = Follower(
        template=np.zeros((TEMPLATE, TEMPLATE, 3), np.uint8),
        centre=np.array([2.0, 95]),
        size=np.array([90.0, 90]),
        search_px=SEARCH,
    )
    answer = np.zeros((GRID * GRID, 6))
    answer[0, :2], answer[0, 2:] = 30.0, 8.0
    (box,) = follower.follow(answer[None], np.zeros((96, 96, 3), np.uint8))
    assert np.isfinite(box).all()
    assert 0 <= box[0] + box[2] / 2 <= 96
    assert (box[2:] <= 96).all()


def test_other_samples_are_refused() -> None:
    images = Samples(inputs=np.zeros((1, 6, 4, 4), np.uint8), labels=np.zeros((1, 4)))
    assert isinstance(ONE_PASS, Driven)
    with pytest.raises(SpecError, match="driven through the frames"):
        next(ONE_PASS.drive(images, 1))


# With resets.


def polygons(samples: Samples) -> Samples:
    labels = np.stack([*map(corners_of, samples.labels)])
    return Samples(inputs=samples.inputs, labels=labels, groups=samples.groups)


def test_a_perfect_network_is_never_reset(tmp_path: Path) -> None:
    samples = polygons(sequence(tmp_path, [(20 + step, 30) for step in range(4)]))
    decisions = driven(RESETS, samples, perfect)
    assert decisions[-1][:, 4].tolist() == [STARTED, *[TRACKED] * 3]
    score = RESETS.score(decisions[-1], samples.labels, samples.groups)
    assert score.further["failures_per_frame"] == 0.0
    assert "accuracy" not in score.further  # all of it is burn-in
    assert score.value == 0.0  # of 100 frames and more nothing is known


def test_a_lost_tracker_is_started_again_five_frames_after(tmp_path: Path) -> None:
    samples = polygons(sequence(tmp_path, [(40, 40)] * 12))

    def away(_: Tensor) -> NDArray[np.float64]:
        answer = np.full((GRID * GRID, 6), -30.0)
        answer[0] = [30, 30, *[np.log(0.5)] * 4]  # 16 pixels up and left, 8 x 8
        return answer

    decisions = driven(RESETS, samples, away)[-1]
    states = decisions[:, 4].tolist()
    # The box is 16 wide and moves 16: its corner is at 24 + 4, in touch of nothing after one.
    assert states == [
        STARTED, FAILED, SKIPPED, SKIPPED, SKIPPED, SKIPPED,
        STARTED, FAILED, SKIPPED, SKIPPED, SKIPPED, SKIPPED,
    ]  # fmt: skip
    score = RESETS.score(decisions, samples.labels, samples.groups)
    assert score.further["failures_per_frame"] == 2 / 12


def test_who_fails_at_once_has_an_expected_overlap_of_nothing_and_who_never_does_all() -> None:
    boxes = np.tile([10.0, 10, 10, 10], (400, 1))
    truth = np.stack([*map(corners_of, boxes)])
    never = np.column_stack([boxes, [STARTED, *[TRACKED] * 399]])
    assert RESETS.score(never, truth, None).value == 1.0
    assert RESETS.score(never, truth, None).further["accuracy"] == 1.0
    states = np.array([STARTED, FAILED, *[SKIPPED] * 4] * 66 + [STARTED, FAILED, SKIPPED, SKIPPED])
    assert RESETS.score(np.column_stack([boxes, states]), truth, None).value == 0.0


def test_boxes_that_overlap_by_nine_tenths_are_alike() -> None:
    box = np.array([[0.0, 0, 100, 10]])
    assert ONE_PASS.alike(box, box * [1, 1, 0.91, 1]).tolist() == [True]
    assert ONE_PASS.alike(box, box * [1, 1, 0.89, 1]).tolist() == [False]
    states = [np.column_stack([box, [state]]) for state in (TRACKED, FAILED, SKIPPED)]
    assert RESETS.alike(states[0], states[0]).tolist() == [True]
    assert RESETS.alike(states[0], states[1]).tolist() == [False]
    assert RESETS.alike(states[2], np.array([[9.0, 9, 0, 0, SKIPPED]])).tolist() == [True]


@pytest.mark.parametrize("task", [ONE_PASS, RESETS], ids=["one pass", "resets"])
def test_equal_weights_decide_alike_on_both_simulators(tmp_path: Path, task: Task) -> None:
    samples = sequence(tmp_path, [(20 + 2 * step, 30) for step in range(4)])
    frames = replace(samples.inputs, template_px=63, search_px=95)
    samples = replace(samples, inputs=frames)
    if task is RESETS:
        samples = polygons(samples)
    pair = Pair(template=(3, 63, 63), search=(3, 95, 95))
    model = SiamFCpp(widths=(3, 4, 4), kernels=(7, 3, 3), head=1)
    decisions = []
    for name in ("norse", "spikingjelly"):
        simulator = cast(Backend, discovery.load("backends", name))
        torch.manual_seed(0)
        network = model.build(
            lambda of=simulator: of.neuron(NeuronSpec(scale_input=False)),  # type: ignore[misc]  # mypy cannot type a default
            input=pair,
            output=Classes(1),
        )
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the statistics of noise, so that neurons fire
        noise = torch.randn(4, 6, 95, 95, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            network(noise)
        network.eval()

        def answering(stimulus: Tensor, network: torch.nn.Module = network) -> Any:
            with torch.no_grad():
                return network(stimulus, 2).logits[:, 0].numpy()

        decisions.append(driven(task, samples, answering, timesteps=2))
    assert np.array_equal(*decisions)
    assert np.ptp(decisions[0][..., :4]) > 0
