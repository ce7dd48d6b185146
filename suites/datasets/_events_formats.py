"""Recordings as their publishers ship them, read by Tonic.

Tonic reads what it is given without asking whether it is whole, so the size and the head
of a file are checked first. Every reader returns a structured array with ``x``, ``y``,
``t`` in microseconds and ``p``.
"""

from io import BytesIO
from struct import Struct
from tokenize import TokenError  # NumPy reads the heads of old arrays as Python
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import DataError
from harness.data.events.framing import Events
from harness.data.events.recording import Recording

_FIELDS = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
# Type, source, size of an event, offset of its time, overflows, capacity, events, valid ones.
_AEDAT3_HEAD = Struct("<HHIIIIII")
_POLARITY_EVENTS = 1
# Of x, y, p and milliseconds: what the fields hold, so that nothing wraps around.
_GESTURE_LIMITS = np.array([2**15, 2**15, 2**15, 2**40])


def nmnist_bin(recording: Recording, content: bytes, /) -> Events:
    """Read N-MNIST's ``.bin``: 40 bits an event (Orchard et al. 2015)."""
    _whole(recording, len(content), record_bytes=5)
    from tonic.io import read_mnist_file

    events: Events = read_mnist_file(BytesIO(content), dtype=_FIELDS, is_stream=True)
    return events


def gesture_npy(recording: Recording, content: bytes, /) -> Events:
    """Read one sample of Tonic's packaging of DVS-Gesture: rows of x, y, p and milliseconds."""
    try:
        rows: NDArray[Any] = np.lib.format.read_array(BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, TokenError) as error:
        raise _unreadable(recording, f"no NumPy array: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "biuf":
        found = f"an array of {rows.dtype} {rows.shape}"
        raise _unreadable(recording, f"{found}, expected numbers [events, 4]")
    if not ((rows > -_GESTURE_LIMITS) & (rows < _GESTURE_LIMITS)).all():  # NaN is neither
        raise _unreadable(recording, "it has values that are no address, polarity or millisecond")
    return _structured(rows[:, 0], rows[:, 1], rows[:, 3].astype(np.int64) * 1000, rows[:, 2])


def gesture_aedat3(recording: Recording, content: bytes, /) -> Events:
    """Read an original recording of DVS-Gesture: AEDAT 3.1, packets of polarity events.

    Tonic's ``read_dvs_ibm`` cannot be called (up to 1.7 it unpacks two of the three values
    that its own header reader returns), so the addresses are taken apart here, with its
    masks, from what its packet reader returns.
    """
    start = _data_start(recording, content, b"#!AER-DAT3.")
    if start == len(content):
        raise _unreadable(recording, "it ends after its header, without a packet of events")
    _check_packets(recording, content, start)
    address, t = _addresses(recording, start, version=3.1)
    valid = (address & 1).astype(np.bool_)  # bit 0 of a polarity event: not invalidated
    if not valid.all():
        address, t = address[valid], t[valid]
    return _structured((address >> 17) & 0x1FFF, (address >> 2) & 0x1FFF, t, (address >> 1) & 1)


def cifar10_dvs(recording: Recording, content: bytes, /) -> Events:
    """Read CIFAR10-DVS as its authors ship it (``.aedat``) or as Tonic does (``.aedat4``).

    Its sensor lay on its side: images stand upright once x and y are exchanged, which is
    also what SpikingJelly's reader does.
    """
    if recording.name.endswith(".aedat4"):
        return aedat4(recording, content)
    x, y, t, p = _dvs128(recording, content)
    return _structured(y, x, t, p)


def aedat4(recording: Recording, content: bytes, /) -> Events:
    """Read AEDAT 4, whose packets may be compressed, by Tonic and the package ``aedat``."""
    if not content.startswith(b"#!AER-DAT4.0"):
        raise _unreadable(recording, f"it starts with {content[:12]!r}, not #!AER-DAT4.0")
    try:
        import aedat  # noqa: F401  Tonic imports it inside its reader
    except ModuleNotFoundError as error:
        raise DataError(
            f"{recording.where}: reading AEDAT 4 takes the package aedat; pip install aedat"
        ) from error
    from tonic.io import read_aedat4

    try:
        rows: Events = read_aedat4(str(recording.path))
    except Exception as error:  # the decoder, written in Rust, raises plain Exception
        raise _unreadable(recording, str(error)) from error
    return _structured(rows["x"], rows["y"], rows["t"], rows["on"])


def _dvs128(recording: Recording, content: bytes) -> tuple[NDArray[Any], ...]:
    """Return the columns x, y, t and p of a DVS128's AEDAT 2.0.

    Bits 8 to 14 of an address are y and 1 to 7 are x, both counted from the far corner;
    bit 0 is set for OFF and bit 15 for what is no pixel (jAER's ``DVS128``). Tonic's
    ``read_dvs_128`` fails as ``read_dvs_ibm`` does, and means other corners.
    """
    start = _data_start(recording, content, b"#!AER-DAT2.0")
    _whole(recording, len(content) - start, record_bytes=8)
    address, t = _addresses(recording, start, version=2.0)
    pixel = (address & 0x8000) == 0
    if not pixel.all():
        address, t = address[pixel], t[pixel]
    x, y = 127 - ((address >> 1) & 0x7F), 127 - ((address >> 8) & 0x7F)
    return x, y, t, 1 - (address & 1)


def _structured(x: NDArray[Any], y: NDArray[Any], t: NDArray[Any], p: NDArray[Any]) -> Events:
    events = np.empty(len(t), dtype=_FIELDS)
    events["x"], events["y"], events["t"], events["p"] = x, y, t, p
    return events


def _addresses(
    recording: Recording, start: int, *, version: float
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return addresses and times, as Tonic's packet reader finds them."""
    from tonic.io import get_aer_events_from_file

    rows = get_aer_events_from_file(str(recording.path), version, start)
    return rows["address"].astype(np.uint32), rows["timeStamp"].astype(np.uint32)


def _data_start(recording: Recording, content: bytes, magic: bytes) -> int:
    """Return where the lines that begin with ``#`` end."""
    if not content.startswith(magic):
        raise _unreadable(recording, f"it starts with {content[:12]!r}, not {magic.decode()}")
    end_of_header = content.find(b"#!END-HEADER\r\n")
    if end_of_header >= 0:  # the first event may itself begin with a "#"
        return end_of_header + len(b"#!END-HEADER\r\n")
    start = 0
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start)
        if end < 0:
            raise _unreadable(recording, "its header never ends")
        start = end + 1
    return start


def _check_packets(recording: Recording, content: bytes, start: int) -> None:
    """Refuse a packet that is cut short, or that holds anything but polarity events."""
    while start < len(content):
        if len(content) - start < _AEDAT3_HEAD.size:
            raise _unreadable(recording, f"it is cut short within a packet's head at {start}")
        kind, _, event_bytes, _, _, capacity, _, _ = _AEDAT3_HEAD.unpack_from(content, start)
        if kind != _POLARITY_EVENTS or event_bytes != 8:
            raise _unreadable(
                recording, f"the packet at {start} holds events of type {kind}, not polarities"
            )
        start += _AEDAT3_HEAD.size + capacity * event_bytes
    if start > len(content):
        raise _unreadable(recording, f"it is cut short: {start - len(content)} bytes are missing")


def _whole(recording: Recording, size_bytes: int, *, record_bytes: int) -> None:
    if size_bytes % record_bytes:
        raise _unreadable(
            recording,
            f"its {size_bytes} bytes are no whole number of events of {record_bytes} bytes, so "
            "it is cut short",
        )


def _unreadable(recording: Recording, why: str) -> DataError:
    return DataError(f"{recording.where} cannot be read: {why}; get the recording again")
