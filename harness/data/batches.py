"""Batches from a data set that lies whole, as bytes, on the device.

Images are ``[N, C, H, W]``. Frames of events are ``[T, N, C, H, W]``, time first, and stay
in their file while the device is the processor.

What comes when depends on seed and epoch alone: not on method, simulator, device, or on
how far an earlier epoch was followed. So epoch 7 can be had without the six before.

Sentences of a batch are about equally long, and on the processor they end where its longest
does: padding takes time there and changes no answer.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.dataset import Samples
from harness.contracts.errors import PlaceError, SpecError
from harness.data.augmentation import Change, floats
from harness.data.sending import sent
from harness.seeds import stream, torch_stream

_TOGETHER = 8  # batches, among which sentences are sorted by their length


class Seen(NamedTuple):
    """A batch before anyone's normalisation.

    Teacher and student may normalise the same images differently.
    """

    indices: Tensor  # int64 [N], places in the samples of the feed
    # [N, C, H, W] or [T, N, C, H, W] in [0, 1], augmented, channels-last; or no images, [N, ...]
    images: Tensor
    labels: Tensor  # [N, ...]


class Feed:
    """Shuffled and augmented batches for training.

    An epoch leaves its last samples out if they do not fill a batch, unless there is no
    other batch: a tiny batch would upset batch normalisation. Which samples that are
    differs from epoch to epoch.
    """

    def __init__(
        self,
        samples: Samples,
        /,
        *,
        batch_size: int,
        augmentation: Change,
        seed: int,
        device: torch.device | str,
        rank: int = 0,
        world_size: int = 1,
        pad: int | None = None,
    ) -> None:
        """Move ``samples`` to ``device``; of each batch it gives the share of process ``rank``.

        ``pad`` is the token that is none, where samples are tokens ``[N, L]``.

        Raises:
            SpecError: If there are no samples, ``batch_size`` is less than 1, or a batch cannot
                be shared.
        """
        if batch_size < 1:
            raise SpecError(f"a batch has at least 1 sample, got batch_size={batch_size!r}")
        if len(samples) == 0:
            raise SpecError("a feed needs samples, got none")
        self.batch_size = min(batch_size, len(samples))
        self._share = share_of(self.batch_size, rank, world_size)
        self._augmentation = augmentation
        self._seed = seed
        self._at = _shelf(samples, device)
        self._labels = torch.from_numpy(samples.labels.copy()).to(device)
        self._lengths = None if pad is None else lengths(samples.inputs, pad)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._labels) // self.batch_size

    def epoch(self, number: int, /) -> Iterator[Seen]:
        """Yield the batches of one epoch; epochs count from 0."""
        chance = torch_stream(self._seed, f"augmentation/{number}")
        drawn = torch.randperm(
            len(self._labels), generator=torch_stream(self._seed, f"order/{number}")
        )
        drawn = drawn[: len(self) * self.batch_size]
        if self._lengths is not None:
            chosen = torch_stream(self._seed, f"lengths/{number}")
            drawn = by_length(drawn, self._lengths, self.batch_size, chosen)
        order = sent(drawn, self._labels.device)
        for start in range(0, len(drawn), self.batch_size):
            indices = order[start : start + self.batch_size]
            # All are augmented, so that each gets the same numbers however a batch is shared.
            images = _time_first(self._augmentation(self._at(indices), chance)[self._share])
            # A graph on a GPU holds one shape.
            if self._lengths is not None and images.device.type == "cpu":
                images = images[:, : int(self._lengths[indices].max())]
            indices = indices[self._share]
            yield Seen(indices, images, self._labels.index_select(0, indices))


def lengths(
    tokens: NDArray[np.integer[Any]],  # [N, L]
    pad: int,
    /,
) -> Tensor:
    """Return how many places of each sentence there are before its padding, ``[N]``; 1 at least."""
    places = np.arange(1, tokens.shape[1] + 1)
    return torch.from_numpy(((tokens != pad) * places).max(1).clip(min=1))


def by_length(
    drawn: Tensor,  # int64 [M], a multiple of batch_size
    lengths: Tensor,  # int64 [N], of all
    batch_size: int,
    chance: torch.Generator,
    /,
) -> Tensor:
    """Return ``drawn`` in an order whose batches hold samples of about one length.

    Of every few batches the samples are sorted, and the batches then come in an order by chance.
    """
    windows, size = [], _TOGETHER * batch_size
    for start in range(0, len(drawn), size):
        window = drawn[start : start + size]
        by = window[lengths[window].argsort(stable=True)].view(-1, batch_size)
        windows.append(by[torch.randperm(len(by), generator=chance)].flatten())
    return torch.cat(windows)


def share_of(together: int, rank: int, world_size: int, /) -> slice:
    """Return which run of a batch of ``together`` samples is that of one process of several.

    Raises:
        SpecError: If there is no such process.
        PlaceError: If they cannot have equally many.
    """
    if not 0 <= rank < world_size:
        raise SpecError(f"rank must be in 0..{world_size - 1}, got {rank!r}")
    each, left = divmod(together, world_size)
    if left:
        raise PlaceError(
            f"a batch of {together} cannot be shared by {world_size} processes equally; take a "
            "multiple"
        )
    return slice(rank * each, (rank + 1) * each)


def _shelf(samples: Samples, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """Return what gives the samples at ``indices [n]``, bytes of images channels first."""
    if samples.are_images:
        pixels = _pixels_last(samples.inputs, device)  # uint8 [N, H, W, C], [N, T, H, W, C]
        # index_select copies whole images; pixels[indices] takes twenty times as long.
        return lambda indices: _channels_first(pixels.index_select(0, indices))
    if isinstance(samples.inputs, np.ndarray):
        whole = plain(samples.inputs, device)
        return lambda indices: whole.index_select(0, indices)
    return lambda indices: plain(samples.inputs[indices.numpy(force=True)], device)


def plain(
    values: NDArray[Any],  # [N, ...]: no images
    device: torch.device | str,
) -> Tensor:
    """Return whole numbers as int64 and others in torch's default type."""
    wanted = torch.int64 if values.dtype.kind in "iu" else torch.get_default_dtype()
    return torch.from_numpy(np.array(values)).to(device=device, dtype=wanted)


def evaluation_batches(
    samples: Samples, batch_size: int, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(images, labels)``, every sample once, in file order, unaugmented.

    Images are ``[N, C, H, W]`` or ``[T, N, C, H, W]`` in [0, 1], channels-last, and what is no
    image is ``[N, ...]``; so are labels.
    """
    for start in range(0, len(samples), batch_size):
        part = slice(start, start + batch_size)
        labels = torch.from_numpy(samples.labels[part].copy()).to(device)
        if samples.are_images:
            images = _channels_first(_pixels_last(samples.inputs[part], device))
            yield _time_first(floats(images)), labels
        else:
            yield plain(samples.inputs[part], device), labels


def limited(samples: Samples, count: int | None, /) -> Samples:
    """Return the first ``count`` of a fixed shuffle, in file order; None means all.

    A larger count keeps the samples of a smaller one and adds to them.

    Raises:
        SpecError: If there are fewer.
    """
    if count is None:
        return samples
    if not 1 <= count <= len(samples):
        raise SpecError(f"train_samples must be in 1..{len(samples)}, got {count!r}")
    chosen = np.sort(stream(0, "train_samples").permutation(len(samples))[:count])
    return samples.take(chosen)


def _pixels_last(inputs: NDArray[Any], device: torch.device | str) -> Tensor:
    """Return ``[N, H, W, C]`` or ``[N, T, H, W, C]`` on ``device``.

    A channels-last batch is then a run of memory. What is mapped from a file and lies
    there like this is not copied on the processor; everything else is.
    """
    if inputs.ndim not in {4, 5}:
        raise SpecError(
            f"images must be [N, C, H, W] and frames [N, T, C, H, W], got an array of shape "
            f"{inputs.shape}"
        )
    pixels = np.moveaxis(inputs, -3, -1)
    if isinstance(inputs, np.memmap) and pixels.flags.c_contiguous:
        return torch.from_numpy(pixels).to(device)
    return torch.from_numpy(np.array(pixels, order="C")).to(device)


def _channels_first(pixels: Tensor) -> Tensor:
    """Return ``[N, C, H, W]`` or ``[N, T, C, H, W]``; of frames, every step is one run."""
    if pixels.dim() == 4:
        return pixels.permute(0, 3, 1, 2)
    # Time goes first while a count is still a byte; turning floats would cost four times.
    return pixels.transpose(0, 1).contiguous().permute(1, 0, 4, 2, 3)


def _time_first(images: Tensor) -> Tensor:
    """Return samples as they are, but frames ``[N, T, C, H, W]`` as ``[T, N, C, H, W]``."""
    return images.transpose(0, 1) if images.dim() == 5 else images
