"""Batches of 128 CIFAR-sized images with crop, flip and cutout, in images per second.

The counterpart is what most code does: one PIL image at a time, in a DataLoader with two
worker processes. Both start from bytes in memory and end at float batches in [0, 1].
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks._timing import TIMES_AS_FAST, times_as_fast
from harness.contracts.dataset import Samples
from harness.data.augmentation import augment
from harness.data.batches import Feed
from suites.datasets.cifar10 import DATASET

IMAGES, BATCH = 10_240, 128
NAMES = ("crop", "flip", "cutout")


def samples() -> Samples:
    """Return noise; neither side looks at the pixels."""
    chance = np.random.default_rng(0)
    return Samples(
        inputs=chance.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8),
        labels=chance.integers(0, 10, IMAGES),
    )


class OneByOne(TorchDataset[tuple[Tensor, int]]):
    """Samples, each augmented by itself: what torchvision's transforms do, without their calls.

    As there, numbers are drawn from torch one by one, pixels are cropped and mirrored by
    PIL, and cutout multiplies the float image with a mask.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images = images  # [N, H, W, C]
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.images[index]), border=4)
        left, top = drawn(9), drawn(9)
        image = image.crop((left, top, left + 32, top + 32))
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        x, y = drawn(32), drawn(32)
        mask = torch.ones(32, 32)
        mask[max(0, y - 8) : y + 8, max(0, x - 8) : x + 8] = 0
        return pixels * mask, int(self.labels[index])


def drawn(end: int) -> int:
    """Return a number in [0, end)."""
    return int(torch.randint(end, (1,)).item())


class Augmentation:
    """One pass over 10,240 images in batches of 128; started workers, no network."""

    timeout = 300

    def setup(self) -> None:
        torch.set_num_threads(2)  # as many as the counterpart has workers
        data = samples()
        self.feed = Feed(
            data, batch_size=BATCH, augmentation=augment(NAMES, DATASET.card), seed=0, device="cpu"
        )
        self.loader = DataLoader(
            OneByOne(np.ascontiguousarray(data.inputs.transpose(0, 2, 3, 1)), data.labels),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=2,
            persistent_workers=True,
        )
        self.time_feed()
        self.time_pillow_in_two_workers()

    def teardown(self) -> None:
        del self.loader  # ends its workers

    def time_feed(self) -> None:
        exhaust(iter(self.feed.epoch(0)))

    def time_pillow_in_two_workers(self) -> None:
        exhaust(iter(self.loader))

    def track_times_as_fast_as_pillow(self) -> float:
        """Ratio of the median seconds of five alternating rounds."""
        return times_as_fast(self.time_feed, self.time_pillow_in_two_workers)

    track_times_as_fast_as_pillow.unit = TIMES_AS_FAST  # type: ignore[attr-defined]  # asv reads the unit there


def exhaust(batches: Iterator[object]) -> None:
    for _ in batches:
        pass
