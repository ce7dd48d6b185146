"""Batches from a data set that is too large for memory, read by worker processes.

As in ``harness.data.batches``, what comes when depends on seed and epoch alone. How many
processes read, and over how many machines an epoch is spread, changes nothing in which
samples make up a batch or how each is cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from harness.contracts.dataset import DatasetCard, Renewed, Samples, Source
from harness.contracts.errors import DataError, SpecError
from harness.contracts.inputs import Tokens
from harness.contracts.recipe import Precision, Recipe
from harness.data.augmentation import Change, augment, floats
from harness.data.batches import Feed, Seen, evaluation_batches, limited, share_of
from harness.data.event_augmentation import event_augment
from harness.seeds import stream, torch_stream

# The one augmentation that a source does itself, while it reads.
RESIZED_CROP = "resized_crop"
_FEW = 64  # fewer samples than this are read faster than processes start


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Which samples make up which batch.

    A batch of all processes together is the same whatever ``world_size``: each takes a
    run of it. So shares are disjoint, equally large, and together
    what one process would see. As in ``Feed``, an epoch leaves out what fills no batch.

    Attributes:
        samples: How many there are.
        batch_size: Samples of a step, all processes together.
        seed: Of the order.
        rank: Which process this is.
        world_size: How many there are.
    """

    samples: int
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise SpecError("a stream needs samples, got none")
        if self.batch_size < 1:
            raise SpecError(f"a batch has at least 1 sample, got batch_size={self.batch_size!r}")
        share_of(self.together, self.rank, self.world_size)

    @property
    def together(self) -> int:
        """Samples in a batch, all processes together."""
        return min(self.batch_size, self.samples)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.samples // self.together

    def batches(self, epoch: int, /) -> Iterator[NDArray[np.int64]]:
        """Yield this process's share of each batch."""
        chance = torch_stream(self.seed, f"order/{epoch}")
        order = torch.randperm(self.samples, generator=chance).numpy()
        share = share_of(self.together, self.rank, self.world_size)
        for number in range(len(self)):
            first = number * self.together
            yield order[first : first + self.together][share]


class Stream:
    """Shuffled and augmented batches of a ``Source``, for training; used like a ``Feed``."""

    def __init__(
        self,
        source: Source,
        /,
        *,
        sampler: Sampler,
        augmentation: Change,
        crops: bool,
        device: torch.device | str,
        dtype: torch.dtype | None = None,
        workers: int | None = None,
    ) -> None:
        """Prepare; processes start with an epoch and end with it.

        ``crops`` says whether each sample is cut at random; ``augmentation`` is then done to
        the batch on ``device``. Images are of ``dtype``, None is torch's default. ``workers``
        is the number of processes; 0 reads in this one, None takes as many as torch has
        threads.
        """
        self.sampler = sampler
        self.batch_size = sampler.together
        self._source = source
        self._augmentation = augmentation
        self._crops = crops
        self._device = torch.device(device)
        self._dtype = dtype or torch.get_default_dtype()
        self._workers = torch.get_num_threads() if workers is None else workers

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.sampler)

    def epoch(self, number: int, /) -> Iterator[Seen]:
        """Yield the batches of one epoch; epochs count from 0."""
        seed, rank = self.sampler.seed, self.sampler.rank
        source = self._source
        if isinstance(source, Renewed):
            source = source.renewed(number, seed=seed)
        read = _Reader(source, seed=seed, epoch=number if self._crops else None)
        batches = self.sampler.batches(number)
        for step, batch in enumerate(_read(read, batches, self._workers, self._device)):
            chance = torch_stream(seed, f"augmentation/{number}/{step}/{rank}")
            images = self._augmentation(batch.pixels.permute(0, 3, 1, 2), chance)
            yield Seen(batch.places, images.to(self._dtype), batch.labels)


def batches_for(
    recipe: Recipe,
    part: Samples | Source,
    card: DatasetCard,
    /,
    *,
    seed: int,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
) -> Feed | Stream:
    """Return the training batches of ``recipe``, out of memory or out of files.

    Of each, the share of process ``rank``.
    """
    if isinstance(part, Samples):
        return Feed(
            limited(part, recipe.train_samples),
            batch_size=recipe.batch_size,
            augmentation=_change(part, recipe, card),
            seed=seed,
            device=device,
            rank=rank,
            world_size=world_size,
            pad=card.input.pad if isinstance(card.input, Tokens) else None,
        )
    part = _limited(part, recipe.train_samples)
    batchwise = tuple(name for name in recipe.augmentation if name != RESIZED_CROP)
    return Stream(
        part,
        sampler=Sampler(
            samples=len(part),
            batch_size=recipe.batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        ),
        augmentation=augment(batchwise, card),
        crops=RESIZED_CROP in recipe.augmentation,
        device=device,
        dtype=_dtype(recipe.precision),
    )


def _change(part: Samples, recipe: Recipe, card: DatasetCard) -> Change:
    """Return the augmentation of a batch.

    Raises:
        UnsupportedError: If what is no image should be augmented as one.
    """
    if part.are_frames:
        return event_augment(recipe.augmentation, card)
    if part.are_images or recipe.augmentation:
        return augment(recipe.augmentation, card)
    return lambda values, _chance: values


def some(part: Samples | Source, count: int, /) -> Samples | Source:
    """Return the first ``count`` of a fixed shuffle, in file order; all if there are fewer."""
    if len(part) <= count:
        return part
    return limited(part, count) if isinstance(part, Samples) else _limited(part, count)


def unaugmented(
    part: Samples | Source,
    batch_size: int,
    device: torch.device | str,
    precision: Precision = "float32",
    *,
    workers: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(images, labels)``, every sample once, in file order, out of memory or files.

    Images are in [0, 1], channels-last; of a ``Source``, in the type of ``precision``.
    """
    if isinstance(part, Samples):
        yield from evaluation_batches(part, batch_size, device)
        return
    if workers is None:
        workers = torch.get_num_threads() if len(part) >= _FEW else 0
    places = np.arange(len(part))
    batches = (places[first : first + batch_size] for first in range(0, len(part), batch_size))
    for batch in _read(_Reader(part, seed=0, epoch=None), batches, workers, torch.device(device)):
        images = floats(batch.pixels.permute(0, 3, 1, 2)).to(_dtype(precision))
        yield images, batch.labels


class _Batch(NamedTuple):
    """What a worker sends."""

    places: Tensor  # int64 [N]
    pixels: Tensor  # uint8 [N, H, W, C]
    labels: Tensor  # int64 [N]


class _Reader(TorchDataset[_Batch]):
    """Reads whole batches, so that a worker sends one tensor of bytes and not N of floats."""

    def __init__(self, source: Source, *, seed: int, epoch: int | None) -> None:
        """Take an epoch to cut samples at random, None to leave them as evaluation wants."""
        self._source = source
        self._seed = seed
        self._epoch = epoch

    def __getitems__(self, places: Sequence[int]) -> _Batch | str:
        """Return a batch, or the words of what went wrong."""
        pixels: Tensor | None = None
        try:
            for row, place in enumerate(places):
                image = self._source.read(place, chance=self._chance(place))
                if pixels is None:
                    pixels = torch.empty((len(places), *image.shape), dtype=torch.uint8)
                pixels.numpy()[row] = image
        except DataError as error:
            # Raised here, DataLoader would wrap it in a traceback of many lines.
            return str(error)
        if pixels is None:
            raise SpecError("a batch has at least 1 sample, got none")
        where = torch.as_tensor(places, dtype=torch.int64)
        return _Batch(where, pixels, torch.from_numpy(self._source.labels[where.numpy()]))

    def _chance(self, place: int) -> np.random.Generator | None:
        if self._epoch is None:
            return None
        return stream(self._seed, f"{RESIZED_CROP}/{self._epoch}/{place}")


def _read(
    reader: _Reader, batches: Iterator[NDArray[np.int64]], workers: int, device: torch.device
) -> Iterator[_Batch]:
    """Yield what ``reader`` makes of ``batches``, in order, on ``device``.

    Raises:
        DataError: If a sample cannot be read.
    """
    loader = DataLoader(
        reader,
        batch_sampler=map(np.ndarray.tolist, batches),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        # Its own: DataLoader would otherwise draw from the global one.
        generator=torch.Generator(),
    )
    move = partial(torch.Tensor.to, device=device, non_blocking=True)
    for batch in loader:
        if isinstance(batch, str):
            raise DataError(batch)
        yield _Batch(*map(move, batch))


def _as_it_is(batch: object) -> object:
    return batch


def _limited(source: Source, count: int | None) -> Source:
    """Return what ``batches.limited`` would choose."""
    places = Samples(inputs=np.arange(len(source)), labels=source.labels)
    return source if count is None else source.take(limited(places, count).inputs.astype(np.int64))


def _dtype(precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bfloat16" else torch.get_default_dtype()
