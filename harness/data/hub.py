"""Published networks from Hugging Face's hub, by plain https: no account, no library, no code."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.contracts.errors import DataError, HarnessError
from harness.data.fetch import Progress

if TYPE_CHECKING:
    import requests

HUB = "https://huggingface.co"
_NAME = re.compile(r"[a-z0-9][\w.-]*/[a-z0-9][\w.-]*", re.ASCII | re.IGNORECASE)
# What people call files of weights: a path that leads nowhere, and no name on the hub.
_FILES = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar", ".pkl", ".safetensors")
_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 60
_TEXT_BYTES, _WEIGHTS_BYTES = 2**26, 2**34  # the most that is taken of one file


def is_name(path: Path, /) -> bool:
    """Return whether ``path`` is of nothing here and reads as ``owner/name`` on the hub."""
    missing = not path.exists() and not path.parent.exists()
    return missing and bool(_NAME.fullmatch(path.as_posix())) and path.suffix not in _FILES


def lacks_owner(path: Path, /) -> bool:
    """Return whether ``path`` is of nothing here and reads as the second half of such a name."""
    return not path.exists() and len(path.parts) == 1 and not path.suffix


@contextmanager
def folder_of(
    name: str,
    /,
    *,
    aside: Path,
    texts: Sequence[str],
    weights: str,
    look: Callable[[Path], None],
    progress: Progress,
) -> Iterator[Path]:
    """Yield a folder with the files of a network on the hub, which is deleted in the end.

    Args:
        name: ``owner/name``; its newest revision is taken.
        aside: Where the folder is made.
        texts: Small files. The first has to be there.
        weights: The large one, which has to be there.
        look: Called with the folder when all but the weights is in it; may refuse it.
        progress: Told after every piece.

    Raises:
        DataError: If a file cannot be had, written or is too large; says how to get it by hand.
    """
    by_hand = (
        f"where there is a network: curl -fL --remote-name-all '{HUB}/{name}/resolve/main/"
        f"{{{','.join((*texts[:2], weights))}}}', then python -m harness teacher import FOLDER"
    )
    try:
        aside.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".hub-", dir=aside) as place:
            folder = Path(place, name)
            folder.mkdir(parents=True)
            for file in texts:
                _get(name, folder / file, _TEXT_BYTES, progress, by_hand, needed=file == texts[0])
            look(folder)
            _get(name, folder / weights, _WEIGHTS_BYTES, progress, by_hand, needed=True)
            yield folder
    except OSError as error:
        if isinstance(error, HarnessError):
            raise
        raise DataError(f"{aside} cannot be written: {error}; set SNN_DISTILL_CACHE") from error


def _get(
    name: str, path: Path, most_bytes: int, progress: Progress, by_hand: str, *, needed: bool
) -> None:
    """Write one file of ``name`` to ``path``; nothing if it is not there nor ``needed``."""
    import requests

    url = f"{HUB}/{name}/resolve/main/{path.name}"
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.not_found and not needed:
                return
            answer.raise_for_status()
            _receive(answer, path, most_bytes, progress)
    except requests.RequestException as error:
        words = " ".join(str(error).split())[:200]
        raise DataError(f"{url} cannot be fetched; {by_hand} ({words})") from error


def _receive(answer: "requests.Response", path: Path, most_bytes: int, progress: Progress) -> None:
    length = answer.headers.get("Content-Length")
    done = 0
    with path.open("wb") as file:
        for chunk in answer.iter_content(_CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            if done > most_bytes:
                raise DataError(f"{answer.url} has more than {most_bytes:,} bytes; not taken")
            progress(path.name, done, None if length is None else int(length))
