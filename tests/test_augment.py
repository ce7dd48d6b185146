"""Augmentation: what may change, what may not, and where chance comes from."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.augmentation.auto.autoaugment.autoaugment import cifar10_policy
from torch import Tensor
from torch.nn.functional import pad

from harness.contracts.dataset import DatasetCard
from harness.contracts.errors import SpecError
from harness.contracts.inputs import Image
from harness.data import autoaugment
from harness.data.augmentation import TRANSFORMS, augment, cutout, random_crop, random_flip
from harness.data.autoaugment import OPERATIONS, Reach
from suites.datasets.cifar10 import DATASET as CIFAR10
from suites.datasets.digits import DATASET as DIGITS

COLOUR, GREY = CIFAR10.card, DIGITS.card
EACH = sorted(TRANSFORMS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return bytes in 1..255: black is left to the augmentation."""
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator(seed))


def pictures(count: int, side: int = 32) -> Tensor:
    """Return smooth colour images in [0, 1] whose 3 side^2 values are multiples of 1/255."""
    rough = torch.rand(count, 3, 4, 4, generator=generator(5))
    smooth = torch.nn.functional.interpolate(rough, side, mode="bilinear", align_corners=True)
    return (smooth * 255).round() / 255


def global_states() -> tuple[Tensor, object, str]:
    return torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002  the very state we must not touch


# Crop and shift


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 6),
    channels=st.integers(1, 4),
    side=st.integers(1, 9),
    margin=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_cropping_a_batch_is_cropping_its_samples_one_by_one(
    count: int, channels: int, side: int, margin: int, seed: int
) -> None:
    images = noise(count, channels, side, side)
    cropped = random_crop(images, generator(seed), margin=margin)
    offsets = torch.randint(2 * margin + 1, (count, 2), generator=generator(seed)).tolist()
    padded = pad(images, (margin, margin, margin, margin))
    for image, canvas, (top, left) in zip(cropped, padded, offsets, strict=True):
        assert torch.equal(image, canvas[:, top : top + side, left : left + side])


def test_a_crop_keeps_everything_inside_a_black_border_of_its_margin() -> None:
    images = pad(noise(200, 3, 24, 24), (4, 4, 4, 4))
    cropped = random_crop(images, generator(), margin=4)
    for image, original in zip(cropped, images, strict=True):
        assert torch.equal(image[image > 0], original[original > 0])  # both in reading order


def test_all_81_crops_are_equally_likely() -> None:
    # One white pixel in the middle of 9 x 9 shows where the crop went.
    count = 81 * 200
    images = torch.zeros(count, 1, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    seen = (random_crop(images, generator(), margin=4) > 0).sum(0).flatten()
    assert seen.sum() == count
    # Chi-square with 80 degrees of freedom: mean 80, standard deviation sqrt(160) = 12.6.
    assert ((seen - 200.0) ** 2 / 200).sum() < 80 + 6 * 12.6


def test_a_shift_moves_by_at_most_one_pixel() -> None:
    images = torch.zeros(500, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    shifted = augment(("shift",), GREY)(images, generator())
    places = shifted.nonzero()[:, 2:]
    assert len(places) == 500
    assert set(map(tuple, places.tolist())) == {(y, x) for y in (3, 4, 5) for x in (3, 4, 5)}


# Flip


@settings(deadline=None, max_examples=20)
@given(count=st.integers(0, 8), channels=st.integers(1, 4), seed=st.integers(0, 1000))
def test_a_flip_mirrors_the_samples_that_were_drawn_and_no_others(
    count: int, channels: int, seed: int
) -> None:
    images = noise(count, channels, 5, 5)
    mirrored = torch.randint(2, (count,), generator=generator(seed)).bool()
    flipped = random_flip(images, generator(seed))
    assert torch.equal(flipped[mirrored], images[mirrored].flip(3))
    assert torch.equal(flipped[~mirrored], images[~mirrored])


def test_the_same_flip_twice_is_none() -> None:
    images = noise(64, 3, 32, 32)
    once = random_flip(images, generator())
    assert not torch.equal(once, images)
    assert torch.equal(random_flip(once, generator()), images)


# Cutout


@pytest.mark.parametrize("side", [7, 8, 32])
def test_cutout_blackens_exactly_the_square_around_its_centre(side: int) -> None:
    images = noise(300, 3, side, side)
    cut = cutout(images, generator())
    rows, columns = torch.randint(side, (2, 300, 1), generator=generator()).squeeze(2).tolist()
    half, length = side // 2 // 2, side // 2
    for image, original, y, x in zip(cut, images, rows, columns, strict=True):
        expected = original.clone()
        top, left = max(0, y - half), max(0, x - half)
        expected[:, top : max(0, y - half + length), left : max(0, x - half + length)] = 0
        assert torch.equal(image, expected)


def test_cutout_of_32_pixels_is_16_by_16_unless_the_border_cuts_it() -> None:
    areas = (cutout(noise(2000, 1, 32, 32), generator()) == 0).sum(dim=(1, 2, 3))
    # Centres 8..24 of 32 fit wholly: 17/32 an axis. At least 8 of 16 stay inside, an axis.
    assert areas.max() == 256
    assert areas.min() >= 64
    fraction = areas.eq(256).float().mean()
    expected = (17 / 32) ** 2
    assert abs(fraction - expected) < 5 * (expected * (1 - expected) / 2000) ** 0.5


# Laws of all


@pytest.mark.parametrize("name", EACH)
def test_a_sample_does_not_hear_its_neighbours(name: str) -> None:
    images = pictures(24)
    change = augment((name,), COLOUR)
    before = change(images, generator())
    other = images.clone()
    other[7] = 1 - other[7]
    changed = (change(other, generator()) != before).flatten(1).any(1)
    assert not changed[torch.arange(24) != 7].any()


@pytest.mark.parametrize("name", EACH)
def test_samples_get_different_chances(name: str) -> None:
    images = pictures(1).expand(64, 3, 32, 32)
    changed = augment((name,), COLOUR)(images, generator())
    assert (changed != changed[0]).any()


@pytest.mark.parametrize("name", EACH)
def test_the_generator_alone_decides(name: str) -> None:
    change = augment((name,), COLOUR)
    images = pictures(16)
    states = global_states()
    first = change(images, generator(1))
    after = global_states()
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]
    torch.manual_seed(77)
    torch.rand(10)
    assert torch.equal(change(images, generator(1)), first)
    assert not torch.equal(change(images, generator(2)), first)


@pytest.mark.parametrize("name", EACH)
def test_the_input_is_left_as_it_was(name: str) -> None:
    images = pictures(16)
    kept = images.clone()
    augment((name,), COLOUR)(images, generator())
    assert torch.equal(images, kept)


@pytest.mark.parametrize("names", [(), *((name,) for name in EACH), ("crop", "autoaugment")])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_layout_is_kept_and_changes_no_value(names: Sequence[str], dtype: torch.dtype) -> None:
    images = noise(16, 3, 32, 32) if dtype == torch.uint8 else pictures(16)
    change = augment(names, COLOUR)
    plain = change(images, generator())
    last = change(images.to(memory_format=torch.channels_last), generator())
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    # Sums over a channel may be taken in another order: a few roundings of 2^-24.
    assert torch.allclose(plain, last, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "names",
    [(), *((name,) for name in EACH), ("crop", "flip", "cutout"), ("autoaugment", "cutout")],
)
def test_bytes_give_exactly_what_their_floats_give(names: Sequence[str]) -> None:
    images = noise(32, 3, 32, 32)
    change = augment(names, COLOUR)
    fast = change(images, generator())
    assert fast.dtype == torch.float32
    assert torch.equal(fast, change(images.float() / 255, generator()))


@pytest.mark.parametrize("name", EACH)
def test_pixels_stay_between_black_and_white(name: str) -> None:
    changed = augment((name,), COLOUR)(noise(256, 3, 32, 32), generator())
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("name", EACH)
def test_an_empty_batch_stays_empty(name: str) -> None:
    assert augment((name,), COLOUR)(pictures(0), generator()).shape == (0, 3, 32, 32)


def test_names_are_done_in_order() -> None:
    images = noise(64, 3, 32, 32)
    chance = generator()
    by_hand = cutout(random_flip(images, chance), chance).float() / 255
    assert torch.equal(augment(("flip", "cutout"), COLOUR)(images, generator()), by_hand)


# Refusals


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"'cutuot'.*did you mean 'cutout'"):
        augment(("crop", "cutuot"), COLOUR)


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(SpecError, match="there are: crop, shift, flip"):
        augment(("xyz",), COLOUR)


def test_a_flip_that_changes_the_label_is_refused() -> None:
    with pytest.raises(SpecError, match=r"flip.*Digits"):
        augment(("flip",), GREY)


@pytest.mark.parametrize("name", ["autoaugment", "trivialaugment"])
def test_colour_policies_are_refused_for_grey_samples(name: str) -> None:
    with pytest.raises(SpecError, match="three colours"):
        augment((name,), GREY)


def test_samples_that_are_not_square_are_refused() -> None:
    card = DatasetCard(
        title="Wide",
        classes=2,
        input=Image(
            shape=(3, 4, 6),
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
        ),
        split="",
        flip_keeps_label=True,
        citation="",
        licence="",
        url="",
    )
    with pytest.raises(SpecError, match=r"square.*\(3, 4, 6\)"):
        augment(("cutout",), card)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", EACH)
def test_every_device_gets_the_same_augmentation(name: str) -> None:
    images = pictures(32)
    change = augment((name,), COLOUR)
    there = change(images.cuda(), generator()).cpu()
    # Nearest neighbours may differ where a coordinate is a tie; that is rare.
    assert (there - change(images, generator())).abs().gt(1e-3).float().mean() < 0.01


def test_a_generator_elsewhere_is_refused() -> None:
    class Elsewhere:
        device = torch.device("cuda")

    with pytest.raises(SpecError, match="CPU"):
        augment((), COLOUR)(pictures(1), Elsewhere())  # type: ignore[arg-type]  # no CUDA needed to see the refusal


# Operations of the policies, with round numbers

FULL = Reach(slope=1.0, shift=0.25, turn_degrees=90, blend=1.0, bits_lost=4)


def operated(name: str, images: Tensor, strength: float, reach: Reach = FULL) -> Tensor:
    return OPERATIONS[name](images, torch.full((len(images),), strength), reach)


STRENGTHLESS = {"autocontrast", "equalise", "invert"}


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - STRENGTHLESS))
def test_without_strength_nothing_changes(name: str) -> None:
    images = pictures(4) * 0.9  # solarising starts at 1
    quantised = (images * 255).floor() / 255  # posterising to 8 bits rounds down to bytes
    # Enhancements blend with weights 1 and 0 and back: a few roundings of 2^-24.
    assert torch.allclose(operated(name, quantised, 0.0), quantised, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "dimension"), [("shift_x", 3), ("shift_y", 2)])
def test_a_shift_of_a_quarter_moves_8_pixels_by_2(name: str, dimension: int) -> None:
    images = pictures(3, side=8)
    forth, back = operated(name, images, 1.0), operated(name, images, -1.0)
    assert torch.equal(forth.narrow(dimension, 0, 6), images.narrow(dimension, 2, 6))
    assert not forth.narrow(dimension, 6, 2).any()
    assert torch.equal(back.narrow(dimension, 2, 6), images.narrow(dimension, 0, 6))


def test_a_turn_by_90_degrees_is_the_transpose_mirrored() -> None:
    images = pictures(3, side=8)
    assert torch.equal(operated("rotate", images, 1.0), images.rot90(1, dims=(2, 3)))
    assert torch.equal(operated("rotate", images, -1.0), images.rot90(-1, dims=(2, 3)))


def test_a_slope_of_one_moves_each_row_by_its_distance_from_the_middle() -> None:
    images = pictures(2, side=7)  # the middle is row 3
    for name, turned in (("shear_x", images), ("shear_y", images.transpose(2, 3))):
        sheared = operated(name, images, 1.0)
        sheared = sheared if name == "shear_x" else sheared.transpose(2, 3)
        for row in range(7):
            distance = row - 3
            expected = torch.zeros_like(turned[:, :, row])
            for column in range(7):
                if 0 <= column + distance < 7:
                    expected[..., column] = turned[:, :, row, column + distance]
            assert torch.equal(sheared[:, :, row], expected)


def test_brightness_multiplies() -> None:
    images = pictures(3)
    half = Reach(slope=0, shift=0, turn_degrees=0, blend=0.5, bits_lost=0)
    assert torch.allclose(operated("brightness", images, -1.0, half), images * 0.5)
    assert torch.allclose(operated("brightness", images, 1.0, half), (images * 1.5).clamp(max=1))


def test_no_colour_is_grey_and_no_contrast_is_the_mean_grey() -> None:
    images = pictures(3)
    grey = operated("colour", images, -1.0)
    luma = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(grey, luma.expand_as(images), atol=1e-5)  # ITU-R BT.601
    flat = operated("contrast", images, -1.0)
    assert torch.allclose(flat, luma.mean((2, 3), keepdim=True).expand_as(images), atol=1e-5)


def test_sharpening_pushes_away_from_the_blurred_image() -> None:
    images = torch.full((1, 3, 5, 5), 0.2)
    images[:, :, 2, 2] = 0.3
    # The blur weighs the middle 5 and its eight neighbours 1, of 13: 0.2 + 0.1 * 5 / 13.
    blurred = operated("sharpness", images, -1.0)[0, 0, 2, 2]
    assert blurred == pytest.approx(0.2 + 0.1 * 5 / 13, abs=1e-6)


def test_posterising_by_four_bits_leaves_sixteen_levels() -> None:
    levels = (operated("posterise", pictures(8), 1.0) * 255).round().int()
    assert not (levels % 16).any()


def test_solarising_inverts_what_is_bright() -> None:
    images = pictures(3)
    expected = torch.where(images < 0.75, images, 1 - images)
    assert torch.allclose(operated("solarise", images, 0.25), expected)
    assert torch.allclose(operated("solarise", images, -0.25), expected)


def test_autocontrast_reaches_both_ends_unless_a_channel_is_constant() -> None:
    images = pictures(3) * 0.5 + 0.25
    images[:, 1] = 0.3
    stretched = operated("autocontrast", images, 0.0)
    assert stretched[:, [0, 2]].amin((2, 3)).eq(0).all()
    assert stretched[:, [0, 2]].amax((2, 3)).eq(1).all()
    assert stretched[:, 1].eq(images[:, 1]).all()


def test_equalising_spreads_the_levels() -> None:
    images = pictures(3) * 0.25
    spread = operated("equalise", images, 0.0)
    assert spread.amax() > 0.95
    assert spread.amin() == 0


def test_inverting_twice_is_nothing() -> None:
    images = pictures(2)
    twice = operated("invert", operated("invert", images, 0.0), 0.0)
    assert torch.allclose(twice, images, atol=1e-6)


# Policies


def test_the_autoaugment_table_is_kornias() -> None:
    ours = {"shift_x": "translate_x", "shift_y": "translate_y", "colour": "color"}
    ours |= {"posterise": "posterize", "solarise": "solarize"}
    ours |= {"autocontrast": "auto_contrast", "equalise": "equalize"}
    table = [
        [(ours.get(name, name), chance, level) for name, chance, level in pair]
        for pair in autoaugment.AUTOAUGMENT_CIFAR10
    ]
    without_strength = {"auto_contrast", "equalize", "invert"}
    assert [
        [(name, p, None if name in without_strength else level) for name, p, level in pair]
        for pair in table
    ] == cifar10_policy


Drawn = list[tuple[list[str], Tensor, Reach]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Collect what a policy draws instead of doing it."""
    calls: Drawn = []

    def noted(images: Tensor, operations: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
        calls.append(([list(OPERATIONS)[i] for i in operations.tolist()], strengths, reach))
        return images

    monkeypatch.setattr(autoaugment, "operated", noted)
    return calls


def assert_frequent(count: int, samples: int, expected: float) -> None:
    """Allow five standard deviations of a binomial count: one false alarm in a million."""
    spread = (samples * expected * (1 - expected)) ** 0.5
    assert abs(count - samples * expected) <= 5 * spread


def test_trivialaugment_draws_operation_level_and_sign_uniformly(drawn: Drawn) -> None:
    autoaugment.trivialaugment(pictures(1).expand(7000, -1, -1, -1), generator())
    [(names, strengths, reach)] = drawn
    assert set(names) == set(OPERATIONS) - {"invert"}  # 14 operations
    for name in set(names):
        assert_frequent(names.count(name), 7000, 1 / 14)
    levels = (strengths * 30).round()
    assert torch.allclose(levels / 30, strengths)
    for level in range(-30, 31):
        assert_frequent(int((levels == level).sum()), 7000, 1 / 62 if level else 1 / 31)
    assert reach == Reach(slope=0.99, shift=1.0, turn_degrees=135, blend=0.99, bits_lost=6)


def test_autoaugment_draws_a_pair_and_applies_each_half_by_its_probability(drawn: Drawn) -> None:
    autoaugment.autoaugment(pictures(1).expand(7000, -1, -1, -1), generator())
    assert len(drawn) == 2
    for place, (names, strengths, reach) in enumerate(drawn):
        table = [pair[place] for pair in autoaugment.AUTOAUGMENT_CIFAR10]
        for name in set(names) - {"identity"}:
            share = sum(chance for other, chance, _ in table if other == name) / 25
            assert_frequent(names.count(name), 7000, share)
        assert_frequent(int((strengths > 0).sum()), int((strengths != 0).sum()), 1 / 2)
        assert reach == Reach(slope=0.3, shift=150 / 331, turn_degrees=30, blend=0.9, bits_lost=4)


def test_autoaugment_gives_both_halves_of_the_same_pair(drawn: Drawn) -> None:
    autoaugment.autoaugment(pictures(1).expand(7000, -1, -1, -1), generator())
    pairs = {(first[0], second[0]) for first, second in autoaugment.AUTOAUGMENT_CIFAR10}
    both = zip(drawn[0][0], drawn[1][0], strict=True)
    assert {pair for pair in both if "identity" not in pair} <= pairs


def test_trivialaugment_shifts_by_32_pixels_whatever_the_side() -> None:
    assert autoaugment.wide_reach(64).shift == 0.5


def test_each_image_gets_its_own_operation() -> None:
    images = pictures(3)
    places = torch.tensor([list(OPERATIONS).index(n) for n in ("invert", "identity", "rotate")])
    changed = autoaugment.operated(images, places, torch.ones(3), FULL)
    assert torch.equal(changed[0], 1 - images[0])
    assert torch.equal(changed[1], images[1])
    assert torch.equal(changed[2], images[2].rot90(1, dims=(1, 2)))


def test_each_image_gets_its_own_strength() -> None:
    images = pictures(3, side=8)
    names = list(OPERATIONS)
    places = torch.tensor([names.index(n) for n in ("shift_x", "identity", "shift_x")])
    changed = autoaugment.operated(images, places, torch.tensor([0.0, 0.0, 1.0]), FULL)
    assert torch.equal(changed[:2], images[:2])
    assert torch.equal(changed[2, :, :, :6], images[2, :, :, 2:])
