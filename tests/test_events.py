"""Recordings of events: read rightly, cut into frames, cached, split without leaking."""

import errno
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tonic.datasets import CIFAR10DVS, NMNIST, DVSGesture
from tonic.io import read_mnist_file
from tonic.transforms import Downsample, ToFrame

from harness.contracts.errors import DataError, SpecError
from harness.data.events import Framing, Recording, cached_frames, frames
from harness.data.events import cache as cache_module
from harness.data.events.cache import Decoder
from harness.data.events.framing import Events
from suites.datasets import cifar10_dvs, digits_events, dvs_gesture, nmnist
from suites.datasets._events import EventSet, Found
from suites.datasets._events_formats import (
    aedat4,
    gesture_aedat3,
    gesture_npy,
    nmnist_bin,
)
from suites.datasets._events_formats import cifar10_dvs as read_cifar10_dvs
from suites.datasets._events_splits import drawn, split
from tests.event_files import (
    FIELDS,
    cifar10_dvs_under,
    gestures_under,
    kill_the_builder,
    nmnist_under,
    noise,
    tonic_gestures_under,
    write_aedat2,
    write_aedat3,
    write_aedat4,
    write_gesture_npy,
    write_nmnist_bin,
)

DATA = os.environ.get("SNN_DISTILL_DATA")
ROOT = Path(__file__).parent.parent
RECORDINGS = Path(DATA or ".", "events", "recordings")
SETS: dict[str, EventSet] = {
    "nmnist": nmnist.DATASET,  # type: ignore[dict-item]  # declared as the protocol
    "dvs_gesture": dvs_gesture.DATASET,  # type: ignore[dict-item]  # likewise
    "cifar10_dvs": cifar10_dvs.DATASET,  # type: ignore[dict-item]  # likewise
    "digits_events": digits_events.DATASET,  # type: ignore[dict-item]  # likewise
}
SMALL = Framing(timesteps=3, sensor=(34, 34), size=(34, 34), by="time")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return this test's own cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SNN_DISTILL_CACHE", str(folder))
    return folder / "events"


def recording(path: Path) -> Recording:
    return Recording(name=path.name, path=path)


def read(decode: Callable[[Recording, bytes], NDArray[Any]], path: Path) -> NDArray[Any]:
    return decode(recording(path), path.read_bytes())


# Frames against Tonic's.


def tonic_frames(events: NDArray[Any], framing: Framing) -> NDArray[np.uint8]:
    """Return the frames that Tonic's own transforms make, as ours lie in memory."""
    size = (*framing.sensor, 2)
    if framing.size != size[:2]:
        events = Downsample(sensor_size=size, target_size=framing.size)(events)
    bins = {"time": "n_time_bins", "count": "n_event_bins"}[framing.by]
    counted: NDArray[np.int16] = ToFrame(
        sensor_size=(*framing.size, 2), **{bins: framing.timesteps}
    )(events)
    return counted.transpose(0, 2, 3, 1).clip(0, 255).astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(20, 400),
    timesteps=st.integers(1, 16),
    size=st.sampled_from([(34, 34), (17, 17), (10, 12), (33, 1)]),
    by=st.sampled_from(["time", "count"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_frames_are_tonics(
    count: int, timesteps: int, size: tuple[int, int], by: Literal["time", "count"], seed: int
) -> None:
    framing = Framing(timesteps=timesteps, sensor=(34, 34), size=size, by=by)
    events = noise(count, seed=seed)
    assert np.array_equal(frames(events, framing, name="noise"), tonic_frames(events, framing))


def test_adding_pixels_up_loses_no_event() -> None:
    events = noise(3_000)
    # Equal counts: 3,000 events are three steps of 1,000.
    small = frames(events, replace(SMALL, size=(17, 17), by="count"), name="noise")
    assert small.sum(axis=(1, 2, 3)).tolist() == [1_000] * 3


def test_channel_one_counts_on_events_and_more_than_255_are_cut_off() -> None:
    events = np.zeros(600, dtype=FIELDS)
    events["t"], events["p"] = np.arange(600), np.arange(600) >= 300
    events["x"], events["y"] = 5, 7
    counted = frames(events, replace(SMALL, timesteps=2, by="count"), name="one pixel")
    assert counted[:, 7, 5].tolist() == [[255, 0], [0, 255]]
    assert counted.sum() == 510


# Bytes are counted with first, which run over at 256 and are 0 again at 512 and 65,536.
@pytest.mark.parametrize("count", [254, 255, 256, 257, 511, 512, 65_536, 131_072])
def test_no_count_runs_over(count: int) -> None:
    events = np.zeros(count + 3, dtype=FIELDS)
    events["t"] = np.arange(count + 3)
    events["x"][count:] = 1  # and a neighbour
    counted = frames(events, replace(SMALL, timesteps=1, by="count"), name="one pixel")
    assert counted[0, 0, :2, 0].tolist() == [min(count, 255), 3]


@pytest.mark.parametrize(("off", "on"), [(0, 1), (-1, 1)])
def test_polarities_may_be_numbers_of_either_habit(off: int, on: int) -> None:
    events = noise(500)
    numbers = events.astype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")])
    numbers["p"] = np.where(events["p"], on, off)
    expected = frames(events, SMALL, name="noise")
    assert np.array_equal(frames(numbers, SMALL, name="noise"), expected)


def test_events_out_of_order_are_put_in_order() -> None:
    events = noise(300)
    shuffled = events[np.random.default_rng(0).permutation(300)]
    unlike = frames(shuffled, SMALL, name="noise") != frames(events, SMALL, name="noise")
    assert not unlike.any()


@pytest.mark.parametrize(
    ("events", "framing", "words"),
    [
        (noise(0), SMALL, "it holds no events"),
        (noise(2), SMALL, "2 events, too few for 3 timesteps; ask for fewer"),
        (noise(9, duration_us=2), SMALL, "lasts [12] microseconds, too short for 3"),
        (noise(9, side=128, seed=1), SMALL, r"beyond the sensor's 0\.\.33"),
    ],
)
def test_what_cannot_be_framed_is_refused_in_words(
    events: NDArray[Any], framing: Framing, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        frames(events, framing, name="it")


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"timesteps": 0}, "timesteps"),
        ({"size": (35, 34)}, "size"),
        ({"size": (34, 0)}, "size"),
    ],
)
def test_a_framing_that_means_nothing_is_refused(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(SpecError, match=rf"Framing\.{name}"):
        replace(SMALL, **wrong)


# Readers.


def unturned(recording: Recording, content: bytes, /) -> NDArray[Any]:
    """Read a DVS128's AEDAT 2.0 as CIFAR10-DVS is, and turn it back."""
    events = read_cifar10_dvs(recording, content)
    events["x"], events["y"] = events["y"].copy(), events["x"].copy()
    return events


@pytest.mark.parametrize(
    ("write", "decode", "side", "coarse"),
    [
        (write_nmnist_bin, nmnist_bin, 34, 1),
        (write_gesture_npy, gesture_npy, 128, 1000),
        (write_aedat2, unturned, 128, 1),
        (write_aedat3, gesture_aedat3, 128, 1),
    ],
)
def test_readers_return_what_was_written(
    write: Callable[[Path, NDArray[Any]], None],
    decode: Callable[[Recording, bytes], NDArray[Any]],
    side: int,
    coarse: int,
    tmp_path: Path,
) -> None:
    events = noise(500, side=side)
    write(tmp_path / "it.npy", events)
    found = read(decode, tmp_path / "it.npy")
    for field in "xyp":
        assert np.array_equal(found[field], events[field])
    assert np.array_equal(found["t"], events["t"] // coarse * coarse)


def test_aedat4_is_read_by_tonic_and_not_turned(tmp_path: Path) -> None:
    pytest.importorskip("aedat")
    events = noise(500, side=128)
    write_aedat4(tmp_path / "cifar10_cat_1.aedat4", events)
    found = read(read_cifar10_dvs, tmp_path / "cifar10_cat_1.aedat4")
    assert all(np.array_equal(found[field], events[field]) for field in "xytp")


def test_tonics_own_data_sets_read_the_same_files_alike(tmp_path: Path) -> None:
    write_nmnist_bin(tmp_path / "0.bin", noise(200))
    write_gesture_npy(tmp_path / "1.npy", noise(200, side=128))
    for kind, decode, name in ((NMNIST, nmnist_bin, "0.bin"), (DVSGesture, gesture_npy, "1.npy")):
        theirs = kind.__new__(kind)  # its __init__ would download
        theirs.data, theirs.targets = [str(tmp_path / name)], [0]
        theirs.transform = theirs.target_transform = theirs.transforms = None
        theirs.first_saccade_only = theirs.stabilize = False
        events, _ = theirs[0]
        ours = read(decode, tmp_path / name)
        assert all(np.array_equal(ours[field], events[field]) for field in "xytp")


def test_addresses_checksums_and_sensors_are_tonics() -> None:
    by_url = {
        archive.url: archive.md5 for found in SETS.values() for archive in found.card.archives
    }
    assert by_url == {
        NMNIST.train_url: NMNIST.train_md5,
        NMNIST.test_url: NMNIST.test_md5,
        DVSGesture.train_url: DVSGesture.train_md5,
        DVSGesture.test_url: DVSGesture.test_md5,
        CIFAR10DVS.url: CIFAR10DVS.file_md5,
    }
    assert tuple(CIFAR10DVS.classes) == cifar10_dvs.CLASSES
    for kind, ours in (
        (NMNIST, "nmnist"),
        (DVSGesture, "dvs_gesture"),
        (CIFAR10DVS, "cifar10_dvs"),
    ):
        assert SETS[ours].framing.sensor == kind.sensor_size[:2]


@pytest.mark.parametrize(
    ("decode", "write"),
    [
        (nmnist_bin, write_nmnist_bin),
        (read_cifar10_dvs, write_aedat2),
        (gesture_aedat3, write_aedat3),
    ],
)
def test_a_recording_cut_short_is_an_error_that_names_it(
    decode: Callable[[Recording, bytes], NDArray[Any]],
    write: Callable[[Path, NDArray[Any]], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "short"
    write(path, noise(250))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        DataError, match=r"short cannot be read.* cut short.*get the recording again"
    ):
        read(decode, path)


@pytest.mark.parametrize("decode", [gesture_npy, read_cifar10_dvs, gesture_aedat3, aedat4])
def test_a_recording_of_another_format_is_an_error_that_names_it(
    decode: Callable[[Recording, bytes], NDArray[Any]], tmp_path: Path
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"no events at all")
    with pytest.raises(DataError, match="odd cannot be read"):
        read(decode, path)


@pytest.mark.parametrize(
    ("write", "decode", "byte", "mark"),
    [
        # Bit 15 of a big-endian address: one of a DVS128's marks of synchronisation.
        (write_aedat2, unturned, 2, 0x80),
        # Bit 0 of a polarity event is clear if it was invalidated.
        (write_aedat3, gesture_aedat3, 0, 0x01),
    ],
)
def test_what_its_recorder_marked_as_no_event_is_left_out(
    write: Callable[[Path, NDArray[Any]], None],
    decode: Callable[[Recording, bytes], NDArray[Any]],
    byte: int,
    mark: int,
    tmp_path: Path,
) -> None:
    events = noise(50, side=128)
    write(tmp_path / "it", events)
    content = bytearray((tmp_path / "it").read_bytes())
    content[-8 * 43 + byte] ^= mark  # event 7 of 50, which end the file
    (tmp_path / "it").write_bytes(content)
    found = read(decode, tmp_path / "it")
    for field in "xytp":
        assert np.array_equal(found[field], np.delete(events[field], 7))


def test_packets_of_anything_but_polarities_are_refused(tmp_path: Path) -> None:
    write_aedat3(tmp_path / "imu", noise(10), kind=3)
    with pytest.raises(DataError, match="type 3"):
        read(gesture_aedat3, tmp_path / "imu")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no NumPy array"):
        read(gesture_npy, tmp_path / "0.npy")


# Real recordings.


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no events/recordings under SNN_DISTILL_DATA")
class TestRealRecordings:
    def test_a_dvs128_recording_is_read_upright(self) -> None:
        events = read(unturned, RECORDINGS / "dvs128_walking_a.aedat")
        assert len(events) == 19_182
        assert events["t"][-1] - events["t"][0] == 48_193_156 - 41_306_606
        # A person walks by: taller than wide.
        middle = events[len(events) // 2 :][:3_000]
        assert np.std(middle["y"]) > 1.5 * np.std(middle["x"])

    def test_an_aedat4_recording_is_read_by_tonic(self) -> None:
        pytest.importorskip("aedat")
        events = read(aedat4, RECORDINGS / "tonic_sample.aedat4")
        assert len(events) == 111_954
        framing = Framing(timesteps=4, sensor=(320, 240), size=(320, 240), by="count")
        assert frames(events, framing, name="it").shape == (4, 240, 320, 2)

    @pytest.mark.parametrize("name", ["tonic_sample_ncars.dat", "loris_NCARS_obj_004397_td.dat"])
    def test_ncars_recordings_can_be_framed(self, name: str) -> None:
        expelliarmus = pytest.importorskip("expelliarmus")
        events = expelliarmus.Wizard(encoding="dat").read(str(RECORDINGS / name))
        size = (int(events["x"].max()) + 1, int(events["y"].max()) + 1)
        framing = Framing(timesteps=4, sensor=size, size=size, by="count")
        counted = frames(events, framing, name=name)
        assert counted.sum() == len(events) // 4 * 4  # none of them more than 255 a pixel

    @pytest.mark.parametrize(("encoding", "name"), [("evt2", "evt2"), ("evt3", "evt3")])
    def test_prophesee_recordings_can_be_framed(self, encoding: str, name: str) -> None:
        expelliarmus = pytest.importorskip("expelliarmus")
        file = RECORDINGS / f"expelliarmus_{name}_sample.raw"
        events = expelliarmus.Wizard(encoding=encoding).read(str(file))
        framing = Framing(timesteps=2, sensor=(1280, 720), size=(128, 72), by="time")
        assert frames(events, framing, name=name).any()


@pytest.mark.skipif(
    not Path(DATA or ".", "events", "nmnist_small").is_dir(),
    reason="no N-MNIST in SNN_DISTILL_DATA",
)
def test_real_nmnist_is_declared_as_the_subset_it_is_and_reads_as_tonic_does() -> None:
    root = Path(str(DATA))
    found = nmnist.find(root)
    assert found.notes == (
        "a subset of N-MNIST: 1,000 of 60,000 training and 100 of 10,000 test recordings",
    )
    splits = SETS["nmnist"].load(root, timesteps=4)
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (1_000, 100)
    for index in (0, 57, 99):
        events = read_mnist_file(found.test.recordings[index].path, NMNIST.dtype)
        theirs = ToFrame(sensor_size=(34, 34, 2), n_time_bins=4)(events)
        assert np.array_equal(splits.test.inputs[index], theirs)


# The cache.


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    folder = tmp_path / "data"
    for number in range(7):
        write_nmnist_bin(folder / f"{number}.bin", noise(50, seed=number))
    return [recording(path) for path in sorted(folder.iterdir())]


def built(recordings: list[Recording], **changed: Any) -> NDArray[np.uint8]:
    options: dict[str, Any] = {
        "decode": nmnist_bin,
        "framing": SMALL,
        "name": "test",
        "workers": 1,
    } | changed
    return cached_frames(recordings, **options)


def doing(act: Callable[[], None]) -> Decoder:
    """Return a reader that first does ``act``; to the cache it is the usual one."""

    @wraps(nmnist_bin)
    def decode(recording: Recording, content: bytes, /) -> Events:
        act()
        return nmnist_bin(recording, content)

    return decode


def refuse(recording: Recording, content: bytes, /) -> NDArray[Any]:
    raise AssertionError(f"{recording.name} was read again, {len(content)} bytes")


def test_cached_frames_are_the_frames(recordings: list[Recording]) -> None:
    expected = [frames(nmnist_bin(each, each.read()), SMALL, name="") for each in recordings]
    assert np.array_equal(built(recordings), np.stack(expected).transpose(0, 1, 4, 2, 3))


def test_a_second_opening_reads_no_recording_and_maps_the_file(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    first = built(recordings)
    monkeypatch.setattr(cache_module, "_filled", None)
    second = built(recordings)
    assert isinstance(second, np.memmap)
    assert np.array_equal(first, second)
    assert len(list(cache.glob("*.npy"))) == 1


def test_workers_write_the_same_file(recordings: list[Recording], cache: Path) -> None:
    alone = built(recordings)
    (file,) = cache.glob("*.npy")
    before = file.read_bytes()
    for left in cache.iterdir():
        left.unlink()
    many = recordings * 20  # 140: three jobs
    assert np.array_equal(built(many, workers=2)[:7], alone)
    built(recordings)
    assert before == file.read_bytes()


@pytest.mark.parametrize(
    "change", [{"framing": replace(SMALL, timesteps=2)}, {"framing": replace(SMALL, by="count")}]
)
def test_every_encoding_has_a_file_of_its_own(
    recordings: list[Recording], change: dict[str, Any], cache: Path
) -> None:
    built(recordings)
    built(recordings, **change)
    assert len(list(cache.glob("*.npy"))) == 2


def test_a_changed_recording_is_built_anew(recordings: list[Recording], cache: Path) -> None:
    before = built(recordings)
    path = recordings[0].path
    assert path is not None
    write_nmnist_bin(path, noise(50, seed=99))
    os.utime(path, ns=(1, 1))
    after = built(recordings)
    assert not np.array_equal(before[0], after[0])
    assert np.array_equal(before[1:], after[1:])
    assert len(list(cache.glob("*.npy"))) == 2


def test_a_touched_recording_ends_in_the_same_file(
    recordings: list[Recording], cache: Path
) -> None:
    built(recordings)
    (before,) = cache.glob("*.npy")
    os.utime(str(recordings[0].path), ns=(1, 1))
    built(recordings)
    assert list(cache.glob("*.npy")) == [before]  # named by content, not by time


def test_a_file_cut_short_behind_our_back_is_built_anew(
    recordings: list[Recording], cache: Path
) -> None:
    expected = np.array(built(recordings))
    (file,) = cache.glob("*.npy")
    os.truncate(file, file.stat().st_size - 1)
    assert np.array_equal(built(recordings), expected)


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(
    recordings: list[Recording], cache: Path
) -> None:
    path = recordings[5].path
    assert path is not None
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=re.escape(f"{path} cannot be read")):
        built(recordings)
    assert not [each for each in cache.iterdir() if each.suffix != ".lock"]
    path.write_bytes(whole)
    assert len(built(recordings)) == 7


def test_an_interrupted_build_leaves_nothing_and_can_be_repeated(
    recordings: list[Recording], cache: Path
) -> None:
    left = iter(range(70))

    def interrupt() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    many = recordings * 20  # 140: three jobs, and one of them is done
    with pytest.raises(KeyboardInterrupt):
        built(many, decode=doing(interrupt))
    assert not [each for each in cache.iterdir() if each.suffix != ".lock"]
    assert len(built(many)) == 140


def test_what_a_killed_builder_left_is_never_used_and_is_cleared(
    recordings: list[Recording], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = recordings * 20
    (workers := tmp_path / "workers").mkdir()
    monkeypatch.setenv("WORKERS", str(workers))
    assert in_a_process(_built_by_killers, many) == -signal.SIGKILL
    # Nobody told the workers; they must not stay, nor write on.
    wait_until(lambda: not any(runs(int(each.name)) for each in workers.iterdir()))
    assert len(list(cache.glob(".test-*.partial"))) == 1
    assert not list(cache.glob("*.npy"))
    assert len(built(many)) == 140
    assert not list(cache.glob(".test-*.partial"))


def in_a_process(target: Callable[..., None], *arguments: Any) -> int | None:
    """Return the exit code of a fork that calls ``target``."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for ten seconds at most."""
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def runs(process: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "XZ"


def _built_by_killers(recordings: list[Recording]) -> None:
    built(recordings, decode=kill_the_builder, workers=2)


def test_who_waited_for_a_builder_that_was_killed_builds(
    recordings: list[Recording], cache: Path
) -> None:
    context = multiprocessing.get_context("fork")
    begun, may_die = context.Event(), context.Event()
    first = context.Process(target=_killed_when_told, args=(recordings, begun, may_die))
    second = context.Process(target=built, args=(recordings,))
    first.start()
    assert begun.wait(10)
    second.start()
    second.join(0.3)
    assert second.is_alive()  # it waits
    may_die.set()
    first.join()
    second.join(10)
    assert (first.exitcode, second.exitcode) == (-signal.SIGKILL, 0)
    assert len(list(cache.glob("*.npy"))) == 1
    assert not list(cache.glob(".test-*.partial"))


def _killed_when_told(recordings: list[Recording], begun: Any, may_die: Any) -> None:
    def die() -> None:
        begun.set()
        may_die.wait(10)
        os.kill(os.getpid(), signal.SIGKILL)

    built(recordings, decode=doing(die))


def test_where_nothing_can_be_locked_two_build_and_neither_disturbs_the_other(
    recordings: list[Recording], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    inner: list[NDArray[np.uint8]] = []

    def build_too() -> None:
        if not inner:
            inner.append(built(recordings))

    monkeypatch.setattr("fcntl.flock", no_locks)
    outer = built(recordings, decode=doing(build_too))
    assert np.array_equal(outer, inner[0])
    assert len(list(cache.glob("*.npy"))) == 1
    assert not list(cache.glob(".test-*.partial"))


def test_two_builders_at_once_build_once(recordings: list[Recording], cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    counted = context.Value("i", 0)
    both = [context.Process(target=_counted, args=(recordings, counted)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert counted.value == len(recordings)
    assert len(list(cache.glob("*.npy"))) == 1


def _counted(recordings: list[Recording], counted: Any) -> None:
    def note() -> None:
        with counted.get_lock():
            counted.value += 1

    built(recordings, decode=doing(note))


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync"])
def test_a_full_disk_is_said_and_leaves_nothing(
    call: str, recordings: list[Recording], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as during:
        during.setattr(os, call, full)
        with pytest.raises(DataError, match=r"cache.* its disk is full; .*SNN_DISTILL_CACHE"):
            built(recordings)
    assert not [each for each in cache.iterdir() if each.suffix != ".lock"]
    assert built(recordings).any()


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing(
    recordings: list[Recording], cache: Path, *, is_claimed: bool
) -> None:
    assert in_a_process(_full, recordings, is_claimed) == 0
    assert not [each for each in cache.iterdir() if each.suffix != ".lock"]
    assert built(recordings).any()


def _full(recordings: list[Recording], is_claimed: bool) -> None:  # noqa: FBT001  a process is handed positions
    """Build where a file may have all bytes but the header's; the kernel takes no more."""
    most = 7 * prod(SMALL.shape)  # so that the last sample is written in part
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    if not is_claimed:  # a file system that cannot claim space
        os.posix_fallocate = lambda *_: None
    with pytest.raises(DataError, match=r"cache.* its disk is full; .*SNN_DISTILL_CACHE"):
        built(recordings)


PEAKS_KIB = """
import resource
import sys
from pathlib import Path

from harness.data.events import Framing, Recording, cached_frames
from suites.datasets._events_formats import cifar10_dvs

framing = Framing(timesteps=2, sensor=(128, 128), size=(128, 128), by="count")
found = [Recording(name=path.name, path=path) for path in sorted(Path(sys.argv[1]).iterdir())]
for times in (1, 8):
    cached_frames(found * times, decode=cifar10_dvs, framing=framing, name="peak", workers=1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_build_takes_as_much_memory_for_eight_times_as_many_recordings(tmp_path: Path) -> None:
    for number in range(100):
        write_aedat2(tmp_path / "data" / f"{number}.aedat", noise(5_000, side=128, seed=number))
    command = [sys.executable, "-c", PEAKS_KIB, str(tmp_path / "data")]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    once, eight_times = map(int, told.split())
    # 700 recordings more are 27 MiB to read and 44 MiB to write; listing them takes 0.2 MiB.
    assert eight_times - once < 2 * 1024


def test_a_cache_that_cannot_be_written_is_said(
    recordings: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SNN_DISTILL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="point SNN_DISTILL_CACHE at a folder that can be written"):
        built(recordings)


def test_a_cache_in_place_is_opened_without_writing(
    recordings: list[Recording], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.array(built(recordings))

    def refused(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(Path, "mkdir", refused)
    assert np.array_equal(built(recordings), expected)
    assert cache.is_dir()


def test_nothing_that_is_not_ours_is_deleted(recordings: list[Recording], cache: Path) -> None:
    cache.mkdir(parents=True)
    theirs = [cache / name for name in ("notes.txt", "other.npy", ".other.partial")]
    for path in theirs:
        path.write_text("mine")
    built(recordings)
    assert [path.read_text() for path in theirs] == ["mine"] * 3


def test_writing_into_mapped_frames_does_not_reach_the_file(recordings: list[Recording]) -> None:
    first = built(recordings)
    first[:] = 0
    assert built(recordings).any()


def test_a_recording_with_cuts_gives_a_sample_each(tmp_path: Path) -> None:
    write_nmnist_bin(tmp_path / "0.bin", events := noise(400))
    cuts = ((0, 100_000), (50_000, 300_000))
    counted = built([Recording(name="0", path=tmp_path / "0.bin", cuts=cuts)])
    assert len(counted) == 2
    for sample, (start, stop) in zip(counted, cuts, strict=True):
        inside = events[(events["t"] >= start) & (events["t"] < stop)]
        expected = frames(inside, SMALL, name="").transpose(0, 3, 1, 2)
        assert np.array_equal(sample, expected)


def test_no_recordings_are_no_frames() -> None:
    assert built([]).shape == (0, 3, 2, 34, 34)


# Data sets.


@pytest.fixture(params=["nmnist", "dvs_gesture", "dvs_gesture by tonic", "cifar10_dvs"])
def one_set(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[EventSet, Path]:
    """Return each set with a data root that holds a little of it, in its published layout."""
    root = tmp_path / "root"
    {
        "nmnist": lambda: nmnist_under(root),
        "dvs_gesture": lambda: gestures_under(root),
        "dvs_gesture by tonic": lambda: tonic_gestures_under(root),
        "cifar10_dvs": lambda: cifar10_dvs_under(root, cifar10_dvs.CLASSES, numbers=range(8, 20)),
    }[request.param]()
    return SETS[request.param.split()[0]], root


def parts(found: Found) -> Iterator[set[str]]:
    yield from ({each.name for each in part.recordings} for _, part in found.parts())


def test_every_set_loads_from_its_published_layout(one_set: tuple[EventSet, Path]) -> None:
    ours, root = one_set
    splits = ours.load(root, timesteps=4)
    for part in (splits.train, splits.validation, splits.test):
        assert len(part) > 0
        assert part.inputs.shape == (len(part), 4, *ours.card.image.shape)
        assert part.inputs.dtype == np.uint8
        assert set(part.labels.tolist()) <= set(range(ours.card.classes))


def test_no_recording_is_in_two_parts(one_set: tuple[EventSet, Path]) -> None:
    ours, root = one_set
    train, validation, test = parts(ours.find(root))
    assert not train & validation
    assert not (train | validation) & test


def test_a_subset_is_declared(one_set: tuple[EventSet, Path]) -> None:
    ours, root = one_set
    (note,) = ours.provenance(root).notes
    assert re.match(r"a subset of .*: \d+ of [\d,]+ ", note)


def test_the_fingerprint_follows_names_and_sizes(one_set: tuple[EventSet, Path]) -> None:
    ours, root = one_set
    before = ours.provenance(root).fingerprint
    assert ours.provenance(root).fingerprint == before
    path = ours.find(root).test.recordings[0].path
    assert path is not None
    path.write_bytes(path.read_bytes() + bytes(5))
    assert ours.provenance(root).fingerprint != before


def test_a_read_only_data_root_serves_and_is_never_written_to(
    one_set: tuple[EventSet, Path],
) -> None:
    ours, root = one_set
    inside = [root, *root.rglob("*")]
    for path in inside:
        path.chmod(0o555 if path.is_dir() else 0o444)
    # The superuser may write all the same; the times would tell.
    before = [path.stat().st_mtime_ns for path in inside]
    ours.load(root, timesteps=2)
    assert all(finding.ok for finding in ours.findings(root))
    assert sorted([root, *root.rglob("*")]) == sorted(inside)
    assert [path.stat().st_mtime_ns for path in inside] == before
    for path in inside:
        path.chmod(0o755)


@pytest.mark.parametrize("name", ["nmnist", "dvs_gesture", "cifar10_dvs"])
def test_a_set_that_is_not_there_says_where_to_get_it(name: str, tmp_path: Path) -> None:
    ours = SETS[name]
    for root in (None, tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=re.escape(ours.card.url)):
            ours.provenance(root)


@pytest.mark.parametrize("broken", ["Train/3", "Test/9"])
def test_a_missing_or_empty_class_folder_is_named(broken: str, tmp_path: Path) -> None:
    folder = nmnist_under(tmp_path)
    for path in (folder / broken).iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf"{broken} holds no \.bin; get N-MNIST"):
        nmnist.find(tmp_path)
    (folder / broken).rmdir()
    with pytest.raises(DataError, match=rf"{broken} is missing; get N-MNIST"):
        nmnist.find(tmp_path)


def test_a_gesture_of_a_test_user_among_the_training_users_is_refused(tmp_path: Path) -> None:
    folder = tonic_gestures_under(tmp_path)
    (folder / "ibmGestureTest" / "user24_led").rename(folder / "ibmGestureTrain" / "user24_led")
    tonic_gestures_under(tmp_path, users=(25,))
    with pytest.raises(DataError, match=r"user24_led.* official part is test.* leak"):
        dvs_gesture.find(tmp_path)


def test_gestures_are_cut_and_labelled_as_the_table_says(tmp_path: Path) -> None:
    gestures_under(tmp_path)
    found = dvs_gesture.find(tmp_path)
    for _, part in found.parts():
        assert part.labels == (0, 10)  # classes 1 and 11
        assert part.recordings[0].cuts == ((0, 100_000), (150_000, 300_000))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("class,startTime_usec,endTime_usec\n12,0,9\n", "gesture 12"),
        ("class,startTime_usec,endTime_usec\n1,9,9\n", "from 9 to 9"),
        ("class,startTime_usec\n1,9\n", "must have the columns"),
        ("class,startTime_usec,endTime_usec\none,0,9\n", "cannot be read"),
    ],
)
def test_a_table_of_gestures_that_makes_no_sense_is_refused(
    table: str, words: str, tmp_path: Path
) -> None:
    folder = gestures_under(tmp_path)
    (folder / "user24_fluorescent_labels.csv").write_text(table)
    with pytest.raises(DataError, match=words):
        dvs_gesture.find(tmp_path)


def test_the_users_of_gestures_are_29_and_in_one_part_each() -> None:
    listed = split("dvs_gesture")
    users = [user for part in ("train", "validation", "test") for user in listed[part]]
    assert sorted(users) == list(range(1, 30))
    assert listed["test"] == list(range(24, 30))  # trials_to_test.txt


def test_the_split_of_cifar10_dvs_is_stratified_disjoint_and_follows_its_rule() -> None:
    listed = split("cifar10_dvs")
    for name in cifar10_dvs.CLASSES:
        test, validation = set(listed["test"][name]), set(listed["validation"][name])
        assert (len(test), len(validation)) == (100, 90)
        assert not test & validation
        assert test | validation <= set(range(1_000))
        order = drawn([f"cifar10_{name}_{i}" for i in range(1_000)], seed=listed["seed"])
        numbers = [int(each.rpartition("_")[2]) for each in order]
        assert (test, validation) == (set(numbers[:100]), set(numbers[100:190]))


def test_a_recording_of_cifar10_dvs_stays_in_its_part_whatever_else_is_there(
    tmp_path: Path,
) -> None:
    cifar10_dvs_under(tmp_path / "few", cifar10_dvs.CLASSES, numbers=range(8, 20))
    cifar10_dvs_under(tmp_path / "more", cifar10_dvs.CLASSES, numbers=range(4, 30))
    few, more = (list(parts(cifar10_dvs.find(tmp_path / name))) for name in ("few", "more"))
    assert all(one < other for one, other in zip(few, more, strict=True))


def test_a_recording_that_the_split_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = cifar10_dvs_under(tmp_path, cifar10_dvs.CLASSES, numbers=range(8, 12))
    (folder / "cat" / "cifar10_cat_8.aedat").rename(folder / "cat" / "mine.aedat")
    with pytest.raises(DataError, match=r"mine\.aedat is not called cifar10_cat_NUMBER"):
        cifar10_dvs.find(tmp_path)


def test_cifar10_dvs_exchanges_the_axes_of_a_sensor_on_its_side(tmp_path: Path) -> None:
    folder = cifar10_dvs_under(tmp_path, cifar10_dvs.CLASSES, numbers=range(8, 20))
    path = folder / "cat" / "cifar10_cat_8.aedat"
    write_aedat2(path, events := noise(50, side=128))
    turned = cifar10_dvs.find(tmp_path).decode(recording(path), path.read_bytes())
    assert np.array_equal(turned["x"], events["y"])
    assert np.array_equal(turned["y"], events["x"])


def test_a_training_sample_can_be_had_as_events(one_set: tuple[EventSet, Path]) -> None:
    ours, root = one_set
    part = ours.load(root, timesteps=2).train
    framing = replace(ours.framing, timesteps=2)
    for place in (0, len(part) - 1):
        counted = frames(ours.events(root, place), framing, name="it").transpose(0, 3, 1, 2)
        assert np.array_equal(counted, part.inputs[place])
    with pytest.raises(DataError, match=f"has {len(part)} training samples"):
        ours.events(root, len(part))


def test_verifying_tells_the_damaged_recording_from_the_others(
    one_set: tuple[EventSet, Path],
) -> None:
    ours, root = one_set
    assert all(finding.ok for finding in ours.findings(root))
    path = ours.find(root).test.recordings[0].path
    assert path is not None
    path.write_bytes(path.read_bytes()[:-3])
    (bad,) = (finding for finding in ours.findings(root) if not finding.ok)
    assert bad.path == str(path)
    assert "cannot be read" in bad.found


# Digits as events.


def test_digits_are_simulated_whatever_else_lies_there_and_say_so(tmp_path: Path) -> None:
    nmnist_under(tmp_path)
    ours = SETS["digits_events"]
    (note,) = ours.provenance(tmp_path).notes
    assert note.startswith("simulated")
    assert ours.provenance(tmp_path) == ours.provenance(None)
    found = ours.find(tmp_path)
    assert [len(part.labels) for _, part in found.parts()] == [1_074, 179, 544]


def test_a_simulated_digit_fires_as_often_up_as_down_where_it_ends_as_it_began() -> None:
    found = digits_events.find(None)
    for each in found.train.recordings[:5]:
        events = digits_events.simulated(each, each.content)
        assert 1_000 < len(events) < 20_000
        # The third saccade ends where the first began: every level crossed is crossed back.
        balance = np.zeros((34, 34), dtype=np.int64)
        np.add.at(balance, (events["y"], events["x"]), np.where(events["p"], 1, -1))
        assert not balance.any()
        assert np.all(np.diff(events["t"]) >= 0)
        assert events["t"].max() <= 315_000


def test_a_blank_screen_fires_nothing() -> None:
    for grey in (0, 255):
        content = bytes([grey]) * 64
        events = digits_events.simulated(Recording(name="blank", content=content), content)
        inner = (abs(events["x"] - 17) < 3) & (abs(events["y"] - 17) < 3)
        assert not inner.any()


def test_data_set_files_import_no_torch() -> None:
    names = ", ".join(f"suites.datasets.{name}" for name in SETS)
    code = f"import sys, {names}; sys.exit(bool({{'torch', 'tonic'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
