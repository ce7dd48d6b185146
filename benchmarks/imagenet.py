"""Full-size photographs to training batches of 224x224, in images per second.

The counterpart is what most code does: a random part and a mirror image by PIL, one float
tensor a sample, in a DataLoader. Both have two worker processes and end at channels-last
batches in [0, 1]. The photographs are real if ``SNN_DISTILL_DATA`` has some, else JPEGs of
smooth noise of ImageNet's usual size.
"""

import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks._timing import MORE, TIMES_AS_FAST, seconds, times_as_fast
from harness.contracts.errors import DataError
from harness.data.augmentation import augment
from harness.data.streaming import Sampler, Stream
from suites.datasets._folder import ImageFiles, by_synset, random_box
from suites.datasets._synsets import ILSVRC2012
from suites.datasets.imagenet import DATASET

IMAGES, BATCH, WORKERS = 768, 64, 2


def photographs(folder: Path) -> ImageFiles:
    """Return 768 images, few files over and over."""
    try:
        root = os.environ.get("SNN_DISTILL_DATA")
        few = DATASET.load(Path(root) if root else None).train
    except DataError:
        few = noise(folder)
    assert isinstance(few, ImageFiles)
    return few.take(np.arange(IMAGES) % min(len(few), 24))


def noise(folder: Path) -> ImageFiles:
    """Write 24 JPEGs of 500x375 pixels, about 110 KB each."""
    synset = next(iter(ILSVRC2012))
    (folder / synset).mkdir()
    chance = np.random.default_rng(0)
    for number in range(24):
        coarse = Image.fromarray(chance.integers(0, 256, (94, 125, 3), dtype=np.uint8))
        image = coarse.resize((500, 375), Image.Resampling.BICUBIC)
        image.save(folder / synset / f"{number}.JPEG", quality=95)
    return by_synset(folder, list(ILSVRC2012))


class OneByOne(TorchDataset[tuple[Tensor, int]]):
    """Samples, each cut and mirrored by itself, as torchvision's transforms do."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        chance = np.random.default_rng(int(torch.randint(2**31, (1,))))
        with Image.open(self.files.path(index)) as opened:
            image = opened.convert("RGB")
        left, upper, right, lower = (round(edge) for edge in random_box(image.size, chance))
        image = image.crop((left, upper, right, lower))
        image = image.resize((224, 224), Image.Resampling.BILINEAR)
        if torch.rand(1) < 0.5:
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels, int(self.files.labels[index])


class Reading:
    """One pass over 768 photographs in batches of 64, starting the workers; no network."""

    timeout = 300

    def setup(self) -> None:
        torch.set_num_threads(1)
        self.folder = tempfile.TemporaryDirectory()
        files = photographs(Path(self.folder.name))
        self.stream = Stream(
            files,
            sampler=Sampler(samples=len(files), batch_size=BATCH, seed=0),
            augmentation=augment(("flip",), DATASET.card),
            crops=True,
            device="cpu",
            dtype=torch.bfloat16,
            workers=WORKERS,
        )
        self.loader = DataLoader(
            OneByOne(files), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=WORKERS
        )

    def teardown(self) -> None:
        self.folder.cleanup()

    def time_stream(self) -> None:
        for _ in self.stream.epoch(0):
            pass

    def time_pillow(self) -> None:
        for images, _ in self.loader:
            images.contiguous(memory_format=torch.channels_last)

    def track_images_per_second(self) -> float:
        return IMAGES / statistics.median(seconds(self.time_stream) for _ in range(3))

    track_images_per_second.unit = f"images/s, {MORE}"  # type: ignore[attr-defined]  # asv reads the unit there

    def track_times_as_fast_as_pillow(self) -> float:
        """Ratio of the median seconds of five alternating rounds."""
        return times_as_fast(self.time_stream, self.time_pillow)

    track_times_as_fast_as_pillow.unit = TIMES_AS_FAST  # type: ignore[attr-defined]  # as above
