"""Event frames: samples per second from the cache, and how fast it is built.

The counterparts are what most code does, each in this process: Tonic's DiskCachedDataset
(an HDF5 file a sample) and SpikingJelly's layout (an npz file a sample with ``frames``,
compressed as is its default, and uncompressed). All start from files that the system has in memory,
shuffle, and end at float batches ``[T, N, C, H, W]``.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from tonic import DiskCachedDataset
from torch import Tensor

from harness.contracts.dataset import Samples
from harness.events import Framing, Recording, cached_frames
from harness.seeds import torch_stream
from harness.training.event_augment import event_augment
from harness.training.feed import Feed
from suites.datasets._events_formats import nmnist_bin
from suites.datasets.nmnist import DATASET

RECORDINGS, EVENTS, STEPS, BATCH = 1_024, 4_100, 10, 64
FRAMING = Framing(timesteps=STEPS, sensor=(34, 34), size=(34, 34), by="time")


def recorded(folder: Path, count: int) -> list[Recording]:
    """Write recordings in N-MNIST's format: as many events, as long, evenly spread."""
    chance = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(count):
        rows = chance.integers(0, 34, (EVENTS, 5), dtype=np.uint8)
        stamp = np.sort(chance.integers(0, 300_000, EVENTS)) | (chance.integers(0, 2, EVENTS) << 23)
        for column, shift in ((2, 16), (3, 8), (4, 0)):
            rows[:, column] = (stamp >> shift) & 0xFF
        path = folder / f"{number:05d}.bin"
        path.write_bytes(rows.tobytes())
        found.append(Recording(name=path.name, path=path))
    return found


class Frames:
    """One pass over 1,024 recordings of N-MNIST's size, 10 steps, in batches of 64."""

    timeout = 600

    def setup(self) -> None:
        torch.set_num_threads(1)
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        os.environ["SNN_DISTILL_CACHE"] = str(root / "cache")
        recordings = recorded(root / "data", RECORDINGS)
        frames = cached_frames(
            recordings, decode=nmnist_bin, framing=FRAMING, name="bench", workers=1
        )
        labels = np.arange(RECORDINGS) % 10
        self.feed = Feed(
            Samples(inputs=frames, labels=labels),
            batch_size=BATCH,
            augmentation=event_augment((), DATASET.card),
            seed=0,
            device="cpu",
        )
        counted = [
            (np.asarray(frames[i]).astype(np.int16), int(labels[i])) for i in range(len(labels))
        ]
        self.tonic = DiskCachedDataset(counted, cache_path=str(root / "tonic"))
        self.packed, self.plain = root / "packed", root / "plain"
        for folder, save in ((self.packed, np.savez_compressed), (self.plain, np.savez)):
            folder.mkdir()
            for number, (sample, _) in enumerate(counted):
                save(folder / f"{number}.npz", frames=sample.astype(np.float32))
        self.time_tonic_disk_cache()  # its first pass writes the files
        for once in (self.time_ours, self.time_npz_files, self.time_uncompressed_npz_files):
            once()

    def teardown(self) -> None:
        self.folder.cleanup()

    def time_ours(self) -> None:
        for batch in self.feed.epoch(0):
            consume(batch.images)

    def time_tonic_disk_cache(self) -> None:
        for chosen in batches():
            consume(joined([torch.from_numpy(self.tonic[i][0]).float() for i in chosen]))

    def time_npz_files(self) -> None:
        self._read_npz(self.packed)

    def time_uncompressed_npz_files(self) -> None:
        self._read_npz(self.plain)

    def _read_npz(self, folder: Path) -> None:
        for chosen in batches():
            consume(joined([frames_in(folder / f"{i}.npz") for i in chosen]))

    def track_times_as_fast_as_tonic(self) -> float:
        """Ratio of the median seconds of five alternating rounds."""
        return ratio(self.time_tonic_disk_cache, self.time_ours)

    def track_times_as_fast_as_npz(self) -> float:
        """Likewise."""
        return ratio(self.time_npz_files, self.time_ours)

    def track_times_as_fast_as_uncompressed_npz(self) -> float:
        """Likewise."""
        return ratio(self.time_uncompressed_npz_files, self.time_ours)

    track_times_as_fast_as_tonic.unit = "ratio"  # type: ignore[attr-defined]  # asv reads the unit there
    track_times_as_fast_as_npz.unit = "ratio"  # type: ignore[attr-defined]  # likewise
    track_times_as_fast_as_uncompressed_npz.unit = "ratio"  # type: ignore[attr-defined]  # likewise


class Build:
    """Building the cache from recordings of N-MNIST's size that the system has in memory."""

    timeout = 600

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.recordings = recorded(self.root / "data", RECORDINGS)

    def teardown(self) -> None:
        self.folder.cleanup()

    def track_megabytes_per_second(self) -> float:
        """Raw events read, by one process, median of three."""
        size_bytes = sum(len(each.read()) for each in self.recordings)
        took = []
        for number in range(3):
            os.environ["SNN_DISTILL_CACHE"] = str(self.root / f"cache{number}")
            took.append(
                seconds(
                    lambda: cached_frames(
                        self.recordings,
                        decode=nmnist_bin,
                        framing=FRAMING,
                        name="bench",
                        workers=1,
                    )
                )
            )
        return size_bytes / 1e6 / statistics.median(took)

    def track_share_of_time_in_the_reader(self) -> float:
        """Reading and decoding alone, over the whole build: what is left is ours."""
        os.environ["SNN_DISTILL_CACHE"] = str(self.root / "cache-share")
        whole = seconds(
            lambda: cached_frames(
                self.recordings, decode=nmnist_bin, framing=FRAMING, name="bench", workers=1
            )
        )
        alone = seconds(lambda: [nmnist_bin(each, each.read()) for each in self.recordings])
        return alone / whole

    def track_peak_memory_growth(self) -> float:
        """Peak memory of building 8 times as many recordings, over that of building them once."""
        few, many = (self._peak(times) for times in (1, 8))
        return many / few

    def _peak(self, times: int) -> int:
        code = (
            "import resource, sys; from pathlib import Path; "
            "from benchmarks.events import FRAMING, nmnist_bin; "
            "from harness.events import Recording, cached_frames; "
            "paths = sorted(Path(sys.argv[1]).iterdir()) * int(sys.argv[2]); "
            "cached_frames([Recording(name=p.name, path=p) for p in paths], decode=nmnist_bin, "
            "framing=FRAMING, name='peak', workers=1); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        os.environ["SNN_DISTILL_CACHE"] = str(self.root / f"peak{times}")
        done = subprocess.run(  # noqa: S603  our own words
            [sys.executable, "-c", code, str(self.root / "data"), str(times)],
            check=True,
            capture_output=True,
            text=True,
        )
        return int(done.stdout)

    track_megabytes_per_second.unit = "MB/s"  # type: ignore[attr-defined]  # asv reads the unit there
    track_share_of_time_in_the_reader.unit = "fraction"  # type: ignore[attr-defined]  # likewise
    track_peak_memory_growth.unit = "ratio"  # type: ignore[attr-defined]  # likewise


def batches() -> Iterator[list[int]]:
    """Yield shuffled numbers, as many at once as a batch has."""
    order = torch.randperm(RECORDINGS, generator=torch_stream(0, "order/0")).tolist()
    for start in range(0, RECORDINGS, BATCH):
        yield order[start : start + BATCH]


def frames_in(path: Path) -> Tensor:
    """Return the frames of one file, as SpikingJelly's loader does."""
    with np.load(path) as stored:
        return torch.from_numpy(stored["frames"].astype(np.float32))


def joined(frames: list[Tensor]) -> Tensor:
    """Return a batch with time first, as a network takes it."""
    return torch.stack(frames, dim=1)


def consume(images: Tensor) -> None:
    """Insist on a batch of the right shape."""
    if images.shape != (STEPS, BATCH, 2, 34, 34):
        raise ValueError(f"a batch of shape {tuple(images.shape)}")


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(theirs: Callable[[], None], ours: Callable[[], None]) -> float:
    """Return the ratio of the medians of five alternating rounds."""
    rounds = [(seconds(theirs), seconds(ours)) for _ in range(5)]
    return statistics.median(r[0] for r in rounds) / statistics.median(r[1] for r in rounds)
