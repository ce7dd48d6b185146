"""Batches from a data set that is too large for memory, read by worker processes.

As in ``batches``, what comes when depends on seed and epoch alone. How many processes read
changes nothing in which samples make up a batch or how each is cut.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from harness.contracts.dataset import DatasetCard, Samples, Source
from harness.contracts.errors import DataError
from harness.contracts.recipe import Precision, Recipe
from harness.data.augmentation import Change, augment, floats
from harness.data.batches import Feed, Order, Seen, evaluation_batches, limited
from harness.data.event_augmentation import event_augment
from harness.seeds import stream, torch_stream

# The one augmentation that a source does itself, while it reads.
RESIZED_CROP = "resized_crop"
_FEW = 64  # fewer samples than this are read faster than processes start


class Stream:
    """Shuffled and augmented batches of a ``Source``, for training; used like a ``Feed``."""

    def __init__(
        self,
        source: Source,
        /,
        *,
        batch_size: int,
        seed: int,
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

        Raises:
            SpecError: If there are no samples, or ``batch_size`` is less than 1.
        """
        self._order = Order(samples=len(source), batch_size=batch_size, seed=seed)
        self.batch_size = self._order.together
        self._source = source
        self._augmentation = augmentation
        self._crops = crops
        self._device = torch.device(device)
        self._dtype = dtype or torch.get_default_dtype()
        self._workers = torch.get_num_threads() if workers is None else workers

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._order)

    def epoch(self, number: int, /) -> Iterator[Seen]:
        """Yield the batches of one epoch; epochs count from 0."""
        seed = self._order.seed
        read = _Reader(self._source, seed=seed, epoch=number if self._crops else None)
        batches = self._order.epoch(number)
        for step, batch in enumerate(_read(read, batches, self._workers, self._device)):
            chance = torch_stream(seed, f"augmentation/{number}/{step}/0")
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
) -> Feed | Stream:
    """Return the training batches of ``recipe``, out of memory or out of files."""
    part = limited(part, recipe.train_samples)
    if isinstance(part, Samples):
        change = event_augment if part.are_frames else augment
        return Feed(
            part,
            batch_size=recipe.batch_size,
            augmentation=change(recipe.augmentation, card),
            seed=seed,
            device=device,
        )
    batchwise = tuple(name for name in recipe.augmentation if name != RESIZED_CROP)
    return Stream(
        part,
        batch_size=recipe.batch_size,
        seed=seed,
        augmentation=augment(batchwise, card),
        crops=RESIZED_CROP in recipe.augmentation,
        device=device,
        dtype=_dtype(recipe.precision),
    )


def some(part: Samples | Source, count: int, /) -> Samples | Source:
    """Return the first ``count`` of a fixed shuffle, in file order; all if there are fewer."""
    return part if len(part) <= count else limited(part, count)


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
    batches = torch.split(torch.arange(len(part)), batch_size)
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
        try:
            images = [self._source.read(place, chance=self._chance(place)) for place in places]
        except DataError as error:
            # Raised here, DataLoader would wrap it in a traceback of many lines.
            return str(error)
        where = torch.as_tensor(places, dtype=torch.int64)
        labels = torch.from_numpy(self._source.labels[where.numpy()])
        return _Batch(where, torch.from_numpy(np.stack(images)), labels)

    def _chance(self, place: int) -> np.random.Generator | None:
        if self._epoch is None:
            return None
        return stream(self._seed, f"{RESIZED_CROP}/{self._epoch}/{place}")


def _read(
    reader: _Reader, batches: Iterable[Tensor], workers: int, device: torch.device
) -> Iterator[_Batch]:
    """Yield what ``reader`` makes of ``batches``, in order, on ``device``.

    Raises:
        DataError: If a sample cannot be read.
    """
    loader = DataLoader(
        reader,
        batch_sampler=map(torch.Tensor.tolist, batches),
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


def _dtype(precision: Precision) -> torch.dtype:
    return torch.bfloat16 if precision == "bfloat16" else torch.get_default_dtype()
