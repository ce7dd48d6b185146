"""Recordings written as their publishers write them, so that the very readers are exercised."""

import multiprocessing
import os
import signal
import struct
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from numpy.typing import NDArray

from harness.data.events.recording import Recording

FIELDS = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])


def noise(count: int, *, side: int = 34, duration_us: int = 300_000, seed: int = 0) -> NDArray[Any]:
    """Return events in order of time, the last of them at ``duration_us``."""
    chance = np.random.default_rng(seed)
    events = np.empty(count, dtype=FIELDS)
    events["x"], events["y"] = chance.integers(0, side, (2, count))
    events["t"] = np.sort(chance.integers(0, duration_us, count))
    events["t"][-1:] = duration_us
    events["p"] = chance.integers(0, 2, count)
    return events


def write_nmnist_bin(path: Path, events: NDArray[Any]) -> None:
    """Write 40 bits an event: x, y, polarity in the highest of 24 bits, microseconds below."""
    rows = np.empty((len(events), 5), dtype=np.uint8)
    stamp = (events["p"].astype(np.int64) << 23) | events["t"]
    rows[:, 0], rows[:, 1] = events["x"], events["y"]
    for column, shift in ((2, 16), (3, 8), (4, 0)):
        rows[:, column] = (stamp >> shift) & 0xFF
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rows.tobytes())


def write_gesture_npy(path: Path, events: NDArray[Any]) -> None:
    """Write rows of x, y, p and milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [events["x"], events["y"], events["p"], events["t"] // 1000]
    np.save(path, np.stack([column.astype(np.int64) for column in columns], axis=1))


def write_aedat2(path: Path, events: NDArray[Any]) -> None:
    """Write a DVS128's big-endian addresses and times; x and y count from the far corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    address = (
        ((127 - events["y"].astype(np.int64)) << 8)
        | ((127 - events["x"].astype(np.int64)) << 1)
        | (1 - events["p"].astype(np.int64))
    )
    rows = np.stack([address, events["t"]], axis=1).astype(">u4")
    path.write_bytes(b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n" + rows.tobytes())


def write_aedat3(path: Path, events: NDArray[Any], *, packet: int = 100, kind: int = 1) -> None:
    """Write packets of polarity events: a head of 28 bytes, then address and time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    address = (
        (events["x"].astype(np.int64) << 17)
        | (events["y"].astype(np.int64) << 2)
        | (events["p"].astype(np.int64) << 1)
        | 1
    )
    rows = np.stack([address, events["t"]], axis=1).astype("<u4")
    content = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for start in range(0, len(rows), packet):
        part = rows[start : start + packet]
        # type, source, size, time offset, overflow, capacity, number, valid
        content += struct.pack("<HHIIIIII", kind, 1, 8, 4, 0, *[len(part)] * 3) + part.tobytes()
    path.write_bytes(content)


def write_aedat4(path: Path, events: NDArray[Any]) -> None:
    """Write a DVS128's AEDAT 4, uncompressed: two flatbuffers, one of them the events."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = (
        b'<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        b'<node name="0" path="/mainloop/Recorder/outInfo/0/">'
        b'<attr key="compression" type="string">NONE</attr>'
        b'<attr key="typeIdentifier" type="string">EVTS</attr>'
        b'<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        b'<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>'
        b"</node></node></node></dv>"
    )
    # Where the table begins, kind, vtable; then the table: compression, text at, no index.
    head = struct.pack("<I4s6x5H", 24, b"IOHE", 10, 20, 4, 12, 8)
    head += struct.pack("<IiIqI", 10, 0, 12, -1, len(about)) + about + b"\0"
    stored = np.zeros(len(events), dtype="<i8, <i2, <i2, u1, V3")
    stored["f0"], stored["f1"], stored["f2"] = events["t"], events["x"], events["y"]
    stored["f3"] = events["p"]
    packet = struct.pack("<I4s2x3HIII", 16, b"EVTS", 6, 8, 4, 6, 4, len(events)) + stored.tobytes()
    content = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(head)) + head
    content += struct.pack("<iII", 0, len(packet) + 4, len(packet)) + packet
    path.write_bytes(content)


def kill_the_builder(_recording: Recording, _content: bytes, /) -> NDArray[Any]:
    """Once two workers are in the folder ``WORKERS``, end the process that they work for."""
    workers, builder = Path(os.environ["WORKERS"]), multiprocessing.parent_process()
    assert builder is not None
    assert builder.pid is not None
    (workers / str(os.getpid())).touch()
    while len(list(workers.iterdir())) < 2:
        time.sleep(0.01)
    with suppress(ProcessLookupError):  # the other worker was faster
        os.kill(builder.pid, signal.SIGKILL)
    time.sleep(60)
    raise AssertionError("a worker has outlived its builder")


def nmnist_under(root: Path, *, train: int = 10, test: int = 1, events: int = 60) -> Path:
    """Write a small N-MNIST in its published layout; return its folder."""
    folder = root / "NMNIST"
    for part, count in (("Train", train), ("Test", test)):
        for label in range(10):
            for number in range(count):
                path = folder / part / str(label) / f"{number + 1:05d}.bin"
                seed = label + 10 * number + (1000 if part == "Test" else 0)
                write_nmnist_bin(path, noise(events, seed=seed))
    return folder


def gestures_under(root: Path, *, users: tuple[int, ...] = (1, 21, 24)) -> Path:
    """Write a small DVS-Gesture as IBM ships it, two gestures a trial; return its folder."""
    folder = root / "DvsGesture"
    for user in users:
        name = f"user{user:02d}_fluorescent"
        write_aedat3(folder / f"{name}.aedat", noise(500, side=128, seed=user))
        (folder / f"{name}_labels.csv").write_text(
            "class,startTime_usec,endTime_usec\n1,0,100000\n11,150000,300000\n"
        )
    for part, chosen in (("train", range(24)), ("test", range(24, 30))):
        listed = [f"user{user:02d}_fluorescent.aedat" for user in users if user in chosen]
        (folder / f"trials_to_{part}.txt").write_text("\n".join(listed) + "\n")
    return folder


def tonic_gestures_under(root: Path, *, users: tuple[int, ...] = (1, 21, 24)) -> Path:
    """Write a small DVS-Gesture in Tonic's packaging; return its folder."""
    folder = root / "DVSGesture"
    for user in users:
        part = "ibmGestureTrain" if user < 24 else "ibmGestureTest"
        for label in (0, 10):
            path = folder / part / f"user{user:02d}_led" / f"{label}.npy"
            write_gesture_npy(path, noise(80, side=128, seed=user + label))
    return folder


def cifar10_dvs_under(root: Path, classes: tuple[str, ...], *, numbers: range) -> Path:
    """Write a small CIFAR10-DVS as its authors ship it; return its folder."""
    folder = root / "CIFAR10DVS"
    for label, name in enumerate(classes):
        for number in numbers:
            path = folder / name / f"cifar10_{name}_{number}.aedat"
            write_aedat2(path, noise(50, side=128, seed=100 * label + number))
    return folder


def tonic_cifar10_dvs_zip(classes: tuple[str, ...], *, numbers: range) -> bytes:
    """Return a small CIFAR10-DVS as Tonic downloads it: a zip of one zip a class."""
    outer = BytesIO()
    with ZipFile(outer, "w") as whole, TemporaryDirectory() as folder:
        for label, name in enumerate(classes):
            inner = BytesIO()
            with ZipFile(inner, "w", ZIP_DEFLATED) as one:
                for number in numbers:
                    path = Path(folder, f"cifar10_{name}_{number}.aedat4")
                    write_aedat4(path, noise(50, side=128, seed=100 * label + number))
                    one.write(path, f"{name}/{path.name}")
            whole.writestr(f"{name}.zip", inner.getvalue())
    return outer.getvalue()
