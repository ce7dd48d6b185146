"""Batches out of files: the same samples and the same cuts, whoever reads them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.contracts.dataset import Samples
from harness.contracts.errors import DataError, PlaceError, SpecError
from harness.contracts.recipe import Recipe
from harness.data.augmentation import augment
from harness.data.batches import Feed, limited
from harness.data.encoding import direct
from harness.data.streaming import Sampler, Stream, batches_for, unaugmented
from harness.engine.train import lesson_of
from harness.seeds import torch_stream
from suites.datasets.imagenet import DATASET

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Numbered:
    """Images that carry their number in red, and in green a number drawn by chance."""

    numbers: NDArray[np.int64]
    broken: int = -1

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.numbers % 7

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, place: int, /, *, chance: np.random.Generator | None) -> NDArray[np.uint8]:
        if self.numbers[place] == self.broken:
            raise DataError(f"image {self.broken} is damaged; get it again")
        image = np.zeros((4, 4, 3), dtype=np.uint8)
        image[..., 0] = self.numbers[place]
        image[..., 1] = 0 if chance is None else chance.integers(1, 256)
        return image

    def take(self, places: NDArray[np.int64], /) -> "Numbered":
        return replace(self, numbers=self.numbers[places])


def numbered(count: int) -> Numbered:
    return Numbered(np.arange(count))


def stream(count: int = 40, *, workers: int = 0, rank: int = 0, world_size: int = 1) -> Stream:
    return Stream(
        numbered(count),
        sampler=Sampler(samples=count, batch_size=8, seed=0, rank=rank, world_size=world_size),
        augmentation=augment(("flip",), DATASET.card),
        crops=True,
        device=CPU,
        workers=workers,
    )


def reds(images: torch.Tensor) -> list[int]:
    return [round(255 * value) for value in images[:, 0, 0, 0].tolist()]


def greens(images: torch.Tensor) -> list[int]:
    return [round(255 * value) for value in images[:, 1, 0, 0].tolist()]


# The sampler


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    world_size=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_shares_are_disjoint_equally_large_and_together_what_one_process_sees(
    samples: int, batch_size: int, world_size: int, epoch: int
) -> None:
    alone = Sampler(samples=samples, batch_size=batch_size, seed=1)
    if alone.together % world_size:
        with pytest.raises(PlaceError, match="equally"):
            replace(alone, world_size=world_size)
        return
    shares = [
        list(replace(alone, rank=rank, world_size=world_size).batches(epoch))
        for rank in range(world_size)
    ]
    for whole, *parts in zip(alone.batches(epoch), *shares, strict=True):
        assert {len(part) for part in parts} == {alone.together // world_size}
        assert sorted(np.concatenate(parts)) == sorted(whole)
    seen = np.concatenate(list(alone.batches(epoch)))
    assert len(set(seen.tolist())) == len(seen) == len(alone) * alone.together
    assert samples - len(seen) < alone.together
    # What published rows were trained in: the beginning of this shuffle.
    shuffled = torch.randperm(samples, generator=torch_stream(1, f"order/{epoch}"))
    assert seen.tolist() == shuffled[: len(seen)].tolist()


def test_the_order_is_the_feeds() -> None:
    samples = Samples(inputs=np.zeros((40, 3, 4, 4), np.uint8), labels=np.arange(40))
    nothing = augment((), DATASET.card)
    feed = Feed(samples, batch_size=8, augmentation=nothing, seed=5, device=CPU)
    for epoch in (0, 3):
        ours = Sampler(samples=40, batch_size=8, seed=5).batches(epoch)
        assert [b.tolist() for b in ours] == [b.indices.tolist() for b in feed.epoch(epoch)]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"samples": 0}, "none"), ({"batch_size": 0}, "0"), ({"rank": 2}, r"0\.\.0")],
)
def test_what_cannot_be_sampled_is_refused(change: dict[str, int], word: str) -> None:
    with pytest.raises(SpecError, match=word):
        Sampler(**({"samples": 8, "batch_size": 2, "seed": 0} | change))


# The stream


def test_what_is_read_does_not_depend_on_how_many_processes_read() -> None:
    alone, two = (list(stream(workers=workers).epoch(1)) for workers in (0, 2))
    for ours, theirs in zip(alone, two, strict=True):
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_a_sample_is_cut_alike_on_one_machine_and_on_two() -> None:
    def cuts(world_size: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for rank in range(world_size):
            for batch in stream(rank=rank, world_size=world_size).epoch(0):
                found |= dict(zip(reds(batch.images), greens(batch.images), strict=True))
        return found

    assert cuts(1) == cuts(2)
    assert len(cuts(1)) == 40


def test_each_batch_is_augmented_by_a_stream_of_its_own() -> None:
    drawn: list[int] = []

    def noted(images: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
        drawn.append(chance.initial_seed())
        return images

    order = Sampler(samples=9, batch_size=3, seed=4)
    few = Stream(numbered(9), sampler=order, augmentation=noted, crops=False, device=CPU, workers=0)
    assert len(list(few.epoch(2))) == 3
    streams = [torch_stream(4, f"augmentation/2/{step}/0") for step in range(3)]
    assert drawn == [chance.initial_seed() for chance in streams]


def test_every_epoch_cuts_anew_and_evaluation_does_not_cut() -> None:
    first, second = (
        {
            red: green
            for b in stream().epoch(e)
            for red, green in zip(reds(b[1]), greens(b[1]), strict=True)
        }
        for e in (0, 1)
    )
    # Two draws out of 255 are equal with probability 1/255; 20 of 40 are not.
    assert sum(first[red] == second[red] for red in first) < 20
    # 40 draws out of 255 take 37 values on average, and 20 or fewer never in practice.
    assert len(set(first.values())) > 20
    assert 0 not in first.values()
    for images, _ in unaugmented(numbered(9), 4, CPU):
        assert not any(greens(images))


def test_indices_images_and_labels_belong_together() -> None:
    for indices, images, labels in stream().epoch(2):
        assert indices.tolist() == reds(images)
        assert labels.tolist() == [index % 7 for index in indices.tolist()]
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.dtype == torch.float32


@pytest.mark.parametrize(("count", "workers"), [(9, 0), (9, 2), (8, 0), (1, 0)])
def test_evaluation_sees_every_sample_once_in_order(count: int, workers: int) -> None:
    seen = [*unaugmented(numbered(count), 4, CPU, workers=workers)]
    assert [red for images, _ in seen for red in reds(images)] == list(range(count))
    assert [label for _, labels in seen for label in labels.tolist()] == [
        number % 7 for number in range(count)
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_is_one_line_and_no_traceback(workers: int) -> None:
    source = Numbered(np.arange(9), broken=5)
    with pytest.raises(DataError) as caught:
        list(unaugmented(source, 4, CPU, workers=workers))
    assert str(caught.value) == "image 5 is damaged; get it again"


def test_reading_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(stream().epoch(0))
    assert torch.equal(torch.rand(2), expected)


# What a recipe makes of it

RECIPE = Recipe(epochs=2, batch_size=8, augmentation=("resized_crop", "flip"))


def test_bfloat16_recipes_get_bfloat16_channels_last_batches() -> None:
    recipe = replace(RECIPE, precision="bfloat16")
    lesson = lesson_of(
        recipe,
        numbered(20),
        DATASET.card,
        presentation=direct(DATASET.card),
        seed=0,
        teacher=None,
        device=CPU,
    )
    batches = list(lesson)
    assert (lesson.steps, lesson.budget_samples, len(batches)) == (4, 32, 4)
    for batch in batches:
        for images in (batch.stimulus, batch.images):
            assert images.dtype == torch.bfloat16
            assert images.is_contiguous(memory_format=torch.channels_last)
    images, _ = next(unaugmented(numbered(20), 4, CPU, "bfloat16"))
    assert images.dtype == torch.bfloat16


def test_without_resized_crop_training_sees_what_evaluation_sees() -> None:
    stream = batches_for(
        replace(RECIPE, augmentation=()), numbered(20), DATASET.card, seed=0, device=CPU
    )
    assert not any(green for batch in stream.epoch(0) for green in greens(batch.images))


def test_a_limit_takes_the_samples_that_it_takes_from_memory() -> None:
    recipe = replace(RECIPE, train_samples=8)
    of_files = batches_for(recipe, numbered(20), DATASET.card, seed=0, device=CPU)
    seen = {red for batch in of_files.epoch(0) for red in reds(batch.images)}
    memory = Samples(inputs=np.zeros((20, 3, 4, 4), np.uint8), labels=np.arange(20))
    assert seen == set(limited(memory, 8).labels.tolist())


def test_samples_in_memory_are_still_fed_from_memory() -> None:
    memory = Samples(inputs=np.zeros((20, 3, 4, 4), np.uint8), labels=np.arange(20))
    plain = replace(RECIPE, augmentation=("flip",))
    assert isinstance(batches_for(plain, memory, DATASET.card, seed=0, device=CPU), Feed)
    with pytest.raises(SpecError, match="resized_crop"):
        batches_for(RECIPE, memory, DATASET.card, seed=0, device=CPU)
