"""Augmentation of frames: every sample alike in all its steps, and nothing invented."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.contracts.errors import SpecError
from harness.data.event_augmentation import TRANSFORMS, event_augment
from harness.seeds import torch_stream
from suites.datasets.cifar10_dvs import DATASET as CIFAR10_DVS
from suites.datasets.dvs_gesture import DATASET as GESTURES

CARD = CIFAR10_DVS.card


def noise(samples: int = 6, *, steps: int = 3, side: int = 48) -> Tensor:
    counts = np.random.default_rng(0).integers(1, 256, (samples, steps, 2, side, side))
    return torch.from_numpy(counts.astype(np.uint8))


def augmented(frames: Tensor, *names: str, seed: int = 0) -> Tensor:
    floats = event_augment(names, CARD)(frames, torch_stream(seed, "augmentation/0"))
    return floats * 256


@pytest.mark.parametrize("name", TRANSFORMS)
def test_all_steps_and_polarities_of_a_sample_are_changed_alike(name: str) -> None:
    pattern = torch.arange(48 * 48).remainder(251).add(1).to(torch.uint8).view(48, 48)
    frames = pattern.expand(6, 3, 2, 48, 48)
    changed = augmented(frames, name)
    assert torch.equal(changed, changed[:, :1, :1].expand_as(changed))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_samples_have_numbers_of_their_own(name: str) -> None:
    frames = noise(1).expand(20, 3, 2, 48, 48)
    changed = augmented(frames, name)
    # 20 mirrors all alike have probability 2**-19; the others have more outcomes.
    assert not torch.equal(changed, changed[:1].expand_as(changed))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_stream_gives_the_same_and_the_global_one_is_not_read(name: str) -> None:
    first = augmented(noise(), name)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(augmented(noise(), name), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augmented(noise(), name, seed=1), first)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_memory_layout_is_kept(name: str) -> None:
    # As the feed has them: time first, channels last.
    lying = noise().permute(1, 0, 3, 4, 2).contiguous().permute(1, 0, 4, 2, 3)
    changed = event_augment((name,), CARD)(lying, torch_stream(0, "augmentation/0"))
    assert changed.stride() == lying.stride()
    assert torch.equal(changed * 256, augmented(noise(), name))


def test_no_augmentation_is_division_by_256() -> None:
    frames = noise()
    assert torch.equal(augmented(frames), frames.float())


def test_rolling_shifts_and_brings_in_nothing() -> None:
    frames = noise(200, steps=1)
    for before, after in zip(frames.float(), augmented(frames, "roll"), strict=True):
        kept = after[0, 0] > 0  # noise has no zero
        rows, columns = kept.any(1).nonzero().squeeze(1), kept.any(0).nonzero().squeeze(1)
        assert kept.sum() == len(rows) * len(columns)
        height, width = len(rows), len(columns)
        assert min(height, width) >= 48 - 5  # round(5 / 48 * 48)
        top, left = int(rows[0]), int(columns[0])
        source_top, source_left = (48 - height) * (top == 0), (48 - width) * (left == 0)
        shown = after[:, :, top : top + height, left : left + width]
        taken = before[:, :, source_top : source_top + height, source_left : source_left + width]
        assert torch.equal(shown, taken)


def test_rolling_reaches_both_ends_of_its_range() -> None:
    kept = augmented(noise(300, steps=1), "roll")[:, 0, 0] > 0
    heights = kept.any(2).sum(1)
    # 11 shifts: one is missed 300 times with probability (10/11)**300 < 1e-12.
    assert sorted(set(heights.tolist())) == list(range(43, 49))
    firsts = kept.any(2).to(torch.uint8).argmax(1)
    assert int(firsts.max()) == 5


def test_a_mirrored_sample_is_a_mirror_image() -> None:
    frames = noise(50)
    changed = augmented(frames, "flip")
    mirrored = [torch.equal(a, b.flip(-1).float()) for a, b in zip(changed, frames, strict=True)]
    same = [torch.equal(a, b.float()) for a, b in zip(changed, frames, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


def test_cutout_empties_one_square_and_changes_nothing_else() -> None:
    frames = noise(100, steps=1)
    sizes = set()
    for before, after in zip(frames.float(), augmented(frames, "cutout"), strict=True):
        gone = after[0, 0] == 0
        height, width = int(gone.any(1).sum()), int(gone.any(0).sum())
        assert int(gone.sum()) == height * width > 0
        assert max(height, width) <= 16
        sizes.add(max(height, width))
        assert torch.equal(after[:, :, ~gone], before[:, :, ~gone])
    assert max(sizes) > 8


def test_a_mirror_is_refused_where_right_and_left_are_different_gestures() -> None:
    with pytest.raises(SpecError, match="DVS-Gesture loses its label"):
        event_augment(("flip",), GESTURES.card)
    event_augment(("flip",), replace(GESTURES.card, flip_keeps_label=True))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="'rol' of events; did you mean 'roll'"):
        event_augment(("rol",), CARD)


def test_an_empty_batch_stays_empty() -> None:
    assert augmented(noise(0), *TRANSFORMS).shape == (0, 3, 2, 48, 48)
