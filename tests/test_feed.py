"""Batches: what comes when, and that nothing is lost or told apart."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.contracts.dataset import Samples
from harness.contracts.errors import PlaceError, SpecError
from harness.data.augmentation import augment
from harness.data.batches import Feed, _pixels_last, evaluation_batches, lengths, limited
from harness.seeds import torch_seed
from suites.datasets.cifar10 import DATASET as CIFAR10

NOTHING = augment((), CIFAR10.card)


def numbered(count: int) -> Samples:
    """Return samples that carry their own number in every pixel and label."""
    numbers = np.arange(count)
    pixels = np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (count, 3, 4, 4))
    return Samples(inputs=pixels.copy(), labels=numbers.astype(np.int64))


def feed(
    samples: Samples,
    *,
    batch_size: int = 8,
    augmentation: Callable[[Tensor, torch.Generator], Tensor] = NOTHING,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Feed:
    return Feed(
        samples,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
        device="cpu",
        rank=rank,
        world_size=world_size,
    )


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_an_epoch_shows_each_sample_at_most_once_in_full_batches(
    count: int, batch_size: int
) -> None:
    batches = list(feed(numbered(count), batch_size=batch_size).epoch(0))
    full = min(batch_size, count)
    assert [len(batch.labels) for batch in batches] == [full] * (count // full)
    shown = torch.cat([batch.indices for batch in batches]).tolist()
    assert len(set(shown)) == len(shown)
    assert len(feed(numbered(count), batch_size=batch_size)) == len(batches)


@pytest.mark.parametrize("world_size", [2, 4])
def test_shares_put_together_are_the_batches_of_one_process_augmented_alike(
    world_size: int,
) -> None:
    cropped = {"augmentation": augment(("crop", "flip"), CIFAR10.card)}
    noise = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    samples = Samples(inputs=noise, labels=np.arange(20))
    whole = feed(samples, **cropped)
    shares = [
        feed(samples, **cropped, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert {len(share) for share in shares} == {len(whole)} == {2}
    assert {share.batch_size for share in shares} == {whole.batch_size} == {8}
    for batch, *parts in zip(whole.epoch(1), *(share.epoch(1) for share in shares), strict=True):
        for one, *others in zip(batch, *parts, strict=True):
            assert torch.equal(one, torch.cat(others))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(PlaceError, match="a batch of 8 cannot be shared by 3 processes equally"):
        feed(numbered(40), world_size=3)
    with pytest.raises(SpecError, match=re.escape("rank must be in 0..1, got 2")):
        feed(numbered(40), rank=2, world_size=2)


def test_indices_images_and_labels_belong_together() -> None:
    for indices, images, labels in feed(numbered(40)).epoch(3):
        assert torch.equal(indices, labels)
        assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), labels)


def test_images_are_floats_in_channels_last_and_labels_are_int64() -> None:
    pixels = np.full((8, 3, 4, 4), 255, dtype=np.uint8)
    batch = next(feed(Samples(inputs=pixels, labels=np.zeros(8, np.int64))).epoch(0))
    assert batch.images.dtype == torch.float32
    assert batch.images.eq(1.0).all()  # 255 / 255, exactly
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.dtype == torch.int64


def test_every_epoch_has_an_order_of_its_own() -> None:
    ours = feed(numbered(40))
    first, second = ([b.indices.tolist() for b in ours.epoch(number)] for number in (0, 1))
    assert first != second


def test_samples_left_out_of_one_epoch_come_in_another() -> None:
    ours = feed(numbered(11), batch_size=4)
    shown = {i for epoch in range(30) for b in ours.epoch(epoch) for i in b.indices.tolist()}
    # 3 of 11 are left out an epoch; one stays out of 30 with probability 11 (3/11)^30 < 1e-15.
    assert shown == set(range(11))


def test_an_epoch_is_the_same_whatever_came_before_and_whoever_draws_elsewhere() -> None:
    moving = augment(("crop", "flip", "cutout"), CIFAR10.card)
    noise = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)
    samples = Samples(inputs=noise, labels=np.arange(40))
    alone = list(feed(samples, augmentation=moving).epoch(2))
    ours = feed(samples, augmentation=moving)
    next(ours.epoch(0))  # an epoch that somebody stops asking for
    torch.manual_seed(1)
    for batch, expected in zip(ours.epoch(2), alone, strict=True):
        torch.rand(100)
        assert all(torch.equal(*pair) for pair in zip(batch, expected, strict=True))


def test_augmentation_does_not_change_the_order() -> None:
    samples = Samples(inputs=np.zeros((40, 3, 32, 32), np.uint8), labels=np.arange(40))
    moving = feed(samples, augmentation=augment(("crop", "autoaugment"), CIFAR10.card))
    orders = [[b.indices.tolist() for b in f.epoch(0)] for f in (feed(samples), moving)]
    assert orders[0] == orders[1]


def test_every_epoch_augments_from_a_stream_that_orders_nothing() -> None:
    streams = []

    def note(images: Tensor, chance: torch.Generator) -> Tensor:
        streams.append(chance.initial_seed())
        return images

    ours = feed(numbered(8), augmentation=note)
    for epoch in range(3):
        list(ours.epoch(epoch))
    assert len(set(streams)) == 3
    assert not set(streams) & {torch_seed(0, f"order/{epoch}") for epoch in range(3)}


def test_seeds_give_different_orders() -> None:
    first, second = (next(feed(numbered(40), seed=seed).epoch(0)).indices for seed in (0, 1))
    assert not torch.equal(first, second)


def test_the_feed_does_not_see_later_changes_of_the_samples() -> None:
    samples = Samples(inputs=np.zeros((8, 1, 4, 4), np.uint8), labels=np.zeros(8, np.int64))
    ours = feed(samples)
    samples.inputs[:] = 255
    samples.labels[:] = 1
    batch = next(ours.epoch(0))
    assert not batch.images.any()
    assert not batch.labels.any()


@settings(deadline=None, max_examples=25)
@given(count=st.integers(0, 30), batch_size=st.integers(1, 40))
def test_evaluation_sees_every_sample_once_in_file_order(count: int, batch_size: int) -> None:
    batches = list(evaluation_batches(numbered(count), batch_size, "cpu"))
    labels = [label for _, part in batches for label in part.tolist()]
    pixels = [round(255 * float(image[0, 0, 0])) for images, _ in batches for image in images]
    assert labels == pixels == list(range(count))


def test_evaluation_images_are_channels_last() -> None:
    images, _ = next(evaluation_batches(numbered(9), 4, "cpu"))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_read_only_samples_are_taken_without_a_warning() -> None:
    samples = numbered(8)
    grey = np.frombuffer(bytes(8 * 16), np.uint8).reshape(8, 1, 4, 4)
    assert len(list(feed(Samples(inputs=grey, labels=samples.labels)).epoch(0))) == 1
    assert len(list(evaluation_batches(Samples(inputs=grey, labels=samples.labels), 8, "cpu"))) == 1


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_empty_batch_is_refused(batch_size: int) -> None:
    with pytest.raises(SpecError, match=str(batch_size)):
        feed(numbered(8), batch_size=batch_size)


def test_no_samples_are_refused() -> None:
    with pytest.raises(SpecError, match="none"):
        feed(numbered(0))


def numbered_frames(count: int) -> Samples:
    """Return samples whose every pixel is 10 times their number, plus the step."""
    numbers, steps = np.arange(count)[:, None], np.arange(3)
    values = (10 * numbers + steps).astype(np.uint8)[:, :, None, None, None]
    pixels = np.broadcast_to(values, (count, 3, 2, 4, 5)).copy()
    return Samples(inputs=pixels, labels=np.arange(count))


def test_frames_come_time_first_with_their_own_labels() -> None:
    for indices, images, labels in feed(numbered_frames(20)).epoch(0):
        assert torch.equal(indices, labels)
        assert images.shape == (3, 8, 2, 4, 5)
        assert images.dtype == torch.float32
        # Divided by 256 and not by 255: exact, so that nothing needs rounding here.
        expected = 10 * labels + torch.arange(3)[:, None]
        assert torch.equal(images * 256, expected[..., None, None, None].expand_as(images).float())


def test_every_step_of_a_batch_of_frames_is_one_run_of_channels_last_memory() -> None:
    trained = next(feed(numbered_frames(8)).epoch(0)).images
    evaluated, _ = next(evaluation_batches(numbered_frames(8), 8, "cpu"))
    for images in (trained, evaluated):
        assert images.is_contiguous() or images.permute(0, 1, 3, 4, 2).is_contiguous()
        assert images.flatten(0, 1).data_ptr() == images.data_ptr()  # a view: nothing is copied
        assert images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_evaluation_shows_the_frames_that_training_shows() -> None:
    samples = numbered_frames(8)
    indices, trained, _ = next(feed(samples).epoch(0))
    evaluated, _ = next(evaluation_batches(samples, 8, "cpu"))
    assert torch.equal(evaluated[:, indices], trained)


def test_frames_mapped_from_a_file_are_not_copied(tmp_path: Path) -> None:
    as_they_lie = np.moveaxis(numbered_frames(8).inputs, 2, -1)  # [N, T, H, W, C]
    np.save(tmp_path / "frames.npy", np.ascontiguousarray(as_they_lie))
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="c")
    samples = Samples(inputs=mapped.transpose(0, 1, 4, 2, 3), labels=np.arange(8))
    pixels = _pixels_last(samples.inputs, "cpu")
    assert pixels.data_ptr() == mapped.ctypes.data
    ours = feed(samples)
    expected = feed(numbered_frames(8))
    assert torch.equal(next(ours.epoch(0)).images, next(expected.epoch(0)).images)


@pytest.mark.parametrize("shape", [(8, 4, 4), (8, 1, 2, 3, 4, 4)])
def test_what_is_neither_image_nor_frames_is_refused(shape: tuple[int, ...]) -> None:
    odd = Samples(inputs=np.zeros(shape, np.uint8), labels=np.zeros(8, np.int64))
    with pytest.raises(SpecError, match=re.escape(str(shape))):
        feed(odd)


def test_a_larger_limit_keeps_the_samples_of_a_smaller_one() -> None:
    few, more = (set(limited(numbered(100), count).labels.tolist()) for count in (30, 60))
    assert len(few) == 30
    assert few < more
    assert few != set(range(30))  # a shuffle: file order may go by class


def test_no_limit_means_all() -> None:
    samples = numbered(5)
    assert limited(samples, None) is samples


@pytest.mark.parametrize("count", [0, 6])
def test_a_limit_that_cannot_be_kept_is_refused(count: int) -> None:
    with pytest.raises(SpecError, match=r"1\.\.5"):
        limited(numbered(5), count)


def sentences(count: int = 70) -> Samples:
    """Return sentences that say their own number first, of 1 to 9 tokens out of 12 places."""
    tokens = np.zeros((count, 12), np.int64)
    for number, row in enumerate(tokens):
        row[: 1 + number % 9] = 100 + number
    return Samples(inputs=tokens, labels=np.arange(count))


def of_tokens(samples: Samples, *, pad: int | None = 0, **other: int) -> Feed:
    return Feed(
        samples,
        batch_size=other.pop("batch_size", 4),
        augmentation=lambda tokens, _: tokens,
        seed=other.pop("seed", 0),
        device="cpu",
        pad=pad,
        **other,
    )


def test_a_batch_of_sentences_ends_where_its_longest_does_and_loses_no_token() -> None:
    samples = sentences()
    for batch in of_tokens(samples).epoch(0):
        whole = torch.from_numpy(samples.inputs)[batch.indices]
        length = batch.images.shape[1]
        assert torch.equal(batch.images, whole[:, :length])
        assert not whole[:, length:].any()
        assert batch.images[:, -1].any()
        assert torch.equal(batch.labels, batch.indices)


def test_sentences_come_as_often_as_without_sorting_and_mostly_beside_others_as_long() -> None:
    """Of 32 sentences sorted into 8 batches, lengths of 1 to 9 differ by at most 2 in one."""
    samples = sentences(64)
    sorted_, plain = of_tokens(samples), of_tokens(samples, pad=None)
    for epoch in (0, 3):
        ours, theirs = list(sorted_.epoch(epoch)), list(plain.epoch(epoch))
        for start in (0, 8):  # the same sentences in the same window
            first, second = (
                torch.cat([batch.indices for batch in some[start : start + 8]]).sort().values
                for some in (ours, theirs)
            )
            assert torch.equal(first, second)
        spread = [1 + batch.indices % 9 for batch in ours]
        assert max(int(lengths.max() - lengths.min()) for lengths in spread) <= 2


def test_batches_of_short_sentences_come_anywhere_and_elsewhere_in_the_next_epoch() -> None:
    """All 32 sentences are in one window, so its batches always have the same lengths."""
    first, second = (
        [batch.images.shape[1] for batch in of_tokens(sentences(32)).epoch(epoch)]
        for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == [1, 2, 3, 4, 5, 7, 8, 9]
    assert first != sorted(first)
    assert first != second


def test_batches_of_sentences_depend_on_seed_and_epoch_alone() -> None:
    fresh, used = of_tokens(sentences()), of_tokens(sentences())
    list(used.epoch(0))
    torch.randn(3)
    for one, other in zip(fresh.epoch(5), used.epoch(5), strict=True):
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.images, other.images)
    first, second = (next(of_tokens(sentences(), seed=seed).epoch(0)) for seed in (0, 1))
    assert not torch.equal(first.indices, second.indices)


def test_shares_of_a_batch_of_sentences_are_equally_long() -> None:
    samples = sentences()
    shares = [of_tokens(samples, rank=rank, world_size=2) for rank in range(2)]
    for whole, *parts in zip(
        of_tokens(samples).epoch(0), *(share.epoch(0) for share in shares), strict=True
    ):
        assert torch.equal(whole.images, torch.cat([part.images for part in parts]))


def test_padding_inside_a_sentence_is_kept_and_a_sentence_of_nothing_has_a_place() -> None:
    tokens = np.array([[5, 0, 6, 0, 0], [0, 0, 0, 0, 0]])
    assert lengths(tokens, 0).tolist() == [3, 1]
