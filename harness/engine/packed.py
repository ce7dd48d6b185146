"""Archives and arrays from anybody, read as data: nothing is unpickled, no length is believed.

An archive is a plain zip whose members are known by name before they are read. An array is
NumPy's own format of booleans, whole numbers or floats. Imports no torch.
"""

from __future__ import annotations

import math
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.contracts.errors import SpecError

Arrays = Mapping[str, NDArray[Any]]
# What zipfile and NumPy raise for bytes that are none of theirs.
UNREADABLE = (
    *(OSError, EOFError, LookupError, MemoryError, NotImplementedError, OverflowError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)
_KINDS = "biuf"
_PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a zip can tell
_MODE = (stat.S_IFREG | 0o644) << 16
_UNIX = 3


def one_line(error: BaseException, /) -> str:
    """Return what an error says, on one line that is not long."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def add(archive: zipfile.ZipFile, name: str, content: bytes, /, *, small: bool = True) -> None:
    """Add a member so that equal contents give equal bytes; ``small`` ones are deflated."""
    member = zipfile.ZipInfo(name, date_time=_EPOCH)
    member.create_system, member.external_attr = _UNIX, _MODE
    member.compress_type = zipfile.ZIP_DEFLATED if small else zipfile.ZIP_STORED
    archive.writestr(member, content, compresslevel=9)


def members(
    archive: zipfile.ZipFile, most: Callable[[str], int], /, *, together: int
) -> Mapping[str, zipfile.ZipInfo]:
    """Return the members of an archive by name, once it is known that they can be read safely.

    Args:
        archive: Open.
        most: The bytes that a member of that name may have; 0 if there is none of that name.
        together: The bytes that those may have which are deflated, and so could be of any length.

    Raises:
        SpecError: Names the member and what is wrong with it.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if wrong := _wrong(member, most(member.filename), found):
            raise SpecError(f"its member {member.filename[:100]!r} {wrong}")
        found[member.filename] = member
    deflated = [one for one in found.values() if one.compress_type != zipfile.ZIP_STORED]
    if (size := sum(member.file_size for member in deflated)) > together:
        raise SpecError(f"it would be {size} bytes unpacked, and at most {together} are read")
    return found


def _wrong(member: zipfile.ZipInfo, most: int, before: Mapping[str, object]) -> str:
    """Return the first thing wrong with a member; empty if nothing is."""
    kind, name = stat.S_IFMT(member.external_attr >> 16), member.filename
    odd = not most or member.is_dir() or member.orig_filename != name
    size, method = member.file_size, member.compress_type
    found = {
        "has no place in such a file": odd,
        "is there twice": name in before,
        f"is of kind {kind:#o}, as a link is, and no file": kind not in (0, stat.S_IFREG),
        "is encrypted": member.flag_bits & 1,
        f"is packed by method {method}, not stored or deflated": method not in _PLAIN_METHODS,
        "says another length than it has": method == zipfile.ZIP_STORED
        and size != member.compress_size,
        f"would be {size} bytes unpacked, and at most {most} are read": size > most,
    }
    return next((words for words, is_so in found.items() if is_so), "")


def to_npy(array: NDArray[Any], /) -> bytes:
    """Return an array as NumPy's own file."""
    file = BytesIO()
    npy.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def from_npy(content: bytes, /) -> NDArray[Any]:
    """Return the array of NumPy's own file, made of exactly the bytes that it says.

    Raises:
        SpecError: If it is none, or of another kind than whole numbers, floats and booleans.
    """
    file = BytesIO(content)
    try:
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran, dtype = readers[npy.read_magic(file)](file)
    except UNREADABLE as error:
        raise SpecError(f"it is no array of NumPy's: {one_line(error)}") from error
    rest = content[file.tell() :]
    if dtype.kind not in _KINDS:
        raise SpecError(f"it holds {str(dtype)[:100]}, and numbers alone are read")
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(rest):
        raise SpecError(f"it has {len(rest)} bytes for {dtype} of shape {str(shape)[:100]}")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")


def to_npz(arrays: Arrays, /) -> bytes:
    """Return named arrays as a cell's folder keeps them."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in sorted(arrays.items()):
            add(archive, f"{name}.npy", to_npy(array))
    return file.getvalue()


def from_npz(content: bytes, /, *, most: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of such a file, if they have no more than ``most`` bytes.

    Raises:
        SpecError: If it is none, or they have more.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            known = members(archive, lambda name: most * name.endswith(".npy"), together=most)
            return {
                name.removesuffix(".npy"): from_npy(archive.read(member))
                for name, member in known.items()
            }
    except SpecError:
        raise
    except UNREADABLE as error:
        raise SpecError(f"it is no archive of arrays: {one_line(error)}") from error
