"""Event frames: samples per second from the cache, and how fast it is built.

The counterparts are what most code does, each in this process: Tonic's DiskCachedDataset
(an HDF5 file a sample) and SpikingJelly's layout (an npz file a sample with ``frames``,
compressed as is its default, and uncompressed). All start from files that the system has in memory,
shuffle, and end at float batches ``[T, N, C, H, W]``.
"""

import hashlib
import os
import statistics
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tonic import DiskCachedDataset
from tonic.transforms import Downsample, ToFrame
from torch import Tensor

from benchmarks._processes import answer_of, peak_mb
from benchmarks._timing import MORE, TIMES_AS_FAST, TIMES_AS_MUCH, seconds, times_as_fast
from harness.contracts.dataset import Samples
from harness.data.batches import Feed
from harness.data.event_augmentation import event_augment
from harness.data.events import Decoder, Framing, Recording, cached_frames
from harness.seeds import torch_stream
from suites.datasets._events_formats import cifar10_dvs, gesture_aedat3, nmnist_bin
from suites.datasets.nmnist import DATASET

RECORDINGS, EVENTS, STEPS, BATCH = 1_024, 4_100, 10, 64
FRAMING = Framing(timesteps=STEPS, sensor=(34, 34), size=(34, 34), by="time")


@dataclass(frozen=True, kw_only=True)
class Format:
    """Recordings as a publisher ships them, of random events evenly spread in time.

    Attributes:
        ending: Of a file's name.
        count: Recordings.
        events: In each of them.
        write: Packs columns x, y, polarity and microseconds.
    """

    ending: str
    count: int
    events: int
    framing: Framing
    decode: Decoder
    write: Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], bytes]

    def recordings(self, folder: Path) -> list[Recording]:
        """Write them into ``folder``."""
        chance = np.random.default_rng(0)
        folder.mkdir(parents=True, exist_ok=True)
        found = []
        for number in range(self.count):
            x, y = chance.integers(0, self.framing.sensor[0], (2, self.events))
            p = chance.integers(0, 2, self.events)
            t = np.sort(chance.integers(0, 75 * self.events, self.events))
            path = folder / f"{number:05d}{self.ending}"
            path.write_bytes(self.write(x, y, p, t))
            found.append(Recording(name=path.name, path=path))
        return found


def nmnist_bytes(x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], t: NDArray[Any]) -> bytes:
    """Pack 40 bits an event."""
    stamp = (p << 23) | t
    return np.stack([x, y, stamp >> 16, stamp >> 8, stamp], axis=1).astype(np.uint8).tobytes()


def aedat2_bytes(x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], t: NDArray[Any]) -> bytes:
    """Pack 64 bits an event, big-endian."""
    address = ((127 - y) << 8) | ((127 - x) << 1) | (1 - p)
    return b"#!AER-DAT2.0\r\n" + np.stack([address, t], axis=1).astype(">u4").tobytes()


def aedat3_bytes(x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], t: NDArray[Any]) -> bytes:
    """Pack 64 bits an event, in packets of 1,024."""
    rows = np.stack([(x << 17) | (y << 2) | (p << 1) | 1, t], axis=1).astype("<u4")
    content = [b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"]
    for start in range(0, len(rows), 1_024):
        packet = rows[start : start + 1_024]
        content.append(struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, *[len(packet)] * 3))
        content.append(packet.tobytes())
    return b"".join(content)


# As many events as a real recording of each has, roughly.
FORMATS = {
    "nmnist": Format(
        ending=".bin",
        count=RECORDINGS,
        events=EVENTS,
        framing=FRAMING,
        decode=nmnist_bin,
        write=nmnist_bytes,
    ),
    "cifar10_dvs": Format(
        ending=".aedat",
        count=16,
        events=200_000,
        framing=Framing(timesteps=STEPS, sensor=(128, 128), size=(48, 48), by="count"),
        decode=cifar10_dvs,
        write=aedat2_bytes,
    ),
    "dvs_gesture": Format(
        ending=".aedat",
        count=8,
        events=400_000,
        framing=Framing(timesteps=16, sensor=(128, 128), size=(128, 128), by="count"),
        decode=gesture_aedat3,
        write=aedat3_bytes,
    ),
}


class Frames:
    """One pass over 1,024 recordings of N-MNIST's size, 10 steps, in batches of 64."""

    timeout = 600

    def setup(self) -> None:
        torch.set_num_threads(1)
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        os.environ["SNN_DISTILL_CACHE"] = str(root / "cache")
        recordings = FORMATS["nmnist"].recordings(root / "data")
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
        return times_as_fast(self.time_ours, self.time_tonic_disk_cache)

    def track_times_as_fast_as_npz(self) -> float:
        """Likewise."""
        return times_as_fast(self.time_ours, self.time_npz_files)

    def track_times_as_fast_as_uncompressed_npz(self) -> float:
        """Likewise."""
        return times_as_fast(self.time_ours, self.time_uncompressed_npz_files)

    track_times_as_fast_as_tonic.unit = TIMES_AS_FAST  # type: ignore[attr-defined]  # asv reads the unit there
    track_times_as_fast_as_npz.unit = TIMES_AS_FAST  # type: ignore[attr-defined]  # likewise
    track_times_as_fast_as_uncompressed_npz.unit = TIMES_AS_FAST  # type: ignore[attr-defined]  # likewise


class Build:
    """Building the cache, by one process, from recordings that the system has in memory."""

    params = (tuple(FORMATS),)
    param_names = ("format",)
    timeout = 600

    def setup(self, name: str) -> None:
        self.format = FORMATS[name]
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.recordings = self.format.recordings(self.root / "data")
        self.size_bytes = sum(len(each.read()) for each in self.recordings)
        self.builds = 0

    def teardown(self, _name: str) -> None:
        self.folder.cleanup()

    def build(self) -> None:
        self.builds += 1
        os.environ["SNN_DISTILL_CACHE"] = str(self.root / f"cache{self.builds}")
        cached_frames(
            self.recordings,
            decode=self.format.decode,
            framing=self.format.framing,
            name="bench",
            workers=1,
        )

    def read(self) -> None:
        """Do what no build can do without: read, checksum, and decode by Tonic's readers."""
        for each in self.recordings:
            content = each.read()
            hashlib.sha256(content).digest()
            self.format.decode(each, content)

    def frame_by_tonic(self) -> None:
        """Read, decode and frame by Tonic, and keep nothing."""
        framing = self.format.framing
        bins = {"time": "n_time_bins", "count": "n_event_bins"}[framing.by]
        shrink = Downsample(sensor_size=(*framing.sensor, 2), target_size=framing.size)
        count = ToFrame(sensor_size=(*framing.size, 2), **{bins: framing.timesteps})
        for each in self.recordings:
            events = self.format.decode(each, each.read())
            count(events if framing.size == framing.sensor else shrink(events))

    def track_megabytes_per_second(self, _name: str) -> float:
        """Raw events, median of five."""
        return self.size_bytes / 1e6 / statistics.median(seconds(self.build) for _ in range(5))

    def track_share_of_reading(self, _name: str) -> float:
        """Reading, checksum and decoding alone, over the whole build."""
        return 1 / times_as_fast(self.read, self.build)

    def track_times_as_fast_as_tonic(self, _name: str) -> float:
        """Tonic's transforms over the whole build."""
        return times_as_fast(self.build, self.frame_by_tonic)

    track_megabytes_per_second.unit = f"MB/s, {MORE}"  # type: ignore[attr-defined]  # asv reads the unit there
    track_share_of_reading.unit = f"fraction, {MORE}"  # type: ignore[attr-defined]  # likewise
    track_times_as_fast_as_tonic.unit = TIMES_AS_FAST  # type: ignore[attr-defined]  # likewise


class Memory:
    """Peak memory of a build."""

    timeout = 600

    def setup(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        FORMATS["nmnist"].recordings(self.root / "data")

    def teardown(self) -> None:
        self.folder.cleanup()

    def track_growth(self) -> float:
        """Peak memory of building 8 times as many recordings, over that of building them once."""
        few, many = (self._peak(times) for times in (1, 8))
        return many / few

    def _peak(self, times: int) -> float:
        os.environ["SNN_DISTILL_CACHE"] = str(self.root / f"peak{times}")
        return float(answer_of(__spec__.name, str(self.root / "data"), str(times)))

    track_growth.unit = TIMES_AS_MUCH  # type: ignore[attr-defined]  # asv reads the unit there


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


def main() -> None:
    """Build the cache of a folder's recordings, each several times, and print the peak."""
    folder, times = sys.argv[1:]
    paths = sorted(Path(folder).iterdir()) * int(times)
    cached_frames(
        [Recording(name=path.name, path=path) for path in paths],
        decode=nmnist_bin,
        framing=FRAMING,
        name="peak",
        workers=1,
    )
    print(peak_mb())


if __name__ == "__main__":
    main()
