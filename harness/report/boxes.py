"""Frames of a tracker's sequences with the true box and the best method's: one picture a row.

Frames and decisions lie where a row was made, so the picture is drawn there, into the folder of
runs, under the row's identity. Published pages have none.
"""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness import discovery
from harness.contracts.dataset import Samples
from harness.contracts.errors import SpecError, StoreError, UnknownPluginError
from harness.contracts.row import Row
from harness.data import catalogue
from harness.data.frames import Frames
from harness.data.preview import corners_of, sequence_name, spread
from harness.report._board import Leaderboard, Line
from harness.report._words import visible
from harness.store import read_bytes, write_bytes

# At most so many frames, 20 KB each as a text.
_SEQUENCES, _FRAMES, _QUALITY = 6, 5, 80
_FRAME_PX, _GAP_PX, _LINE_PX = 220, 8, 18
LARGEST = 2**21  # bytes of a picture that is taken into a page
PATTERN = "boxes-*.svg"
_TRUTH, _OURS = "#009e73", "#d55e00"  # told apart by colour-blind readers, and by dashes
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#15181b}polygon{fill:none;stroke-width:2.5}"
    f".truth{{stroke:{_TRUTH}}}.ours{{stroke:{_OURS};stroke-dasharray:6 3}}"
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Whose boxes a board shows.

    Attributes:
        line: The best of those with boxes.
        row: Of its first seed.
    """

    line: Line
    row: Row

    def path(self, folder: Path, /) -> Path:
        """Return where the picture lies in the figures of a board."""
        return folder / f"boxes-{self.row.cell_id}.svg"


def shown(board: Leaderboard, /) -> Shown | None:
    """Return whose boxes a board shows: the highest score's; None if it is not about boxes."""
    lines = [line for setting in board.settings for line in setting.lines if line.accuracy]
    if not lines or not _are_boxes(board.suite.dataset):
        return None
    best = max(lines, key=lambda line: line.merit)
    first = min(best.answers, key=lambda answer: answer.row.cell.seed)
    return Shown(line=best, row=first.row)


def _are_boxes(dataset: str) -> bool:
    try:
        return "boxes" in discovery.task_gives(catalogue.load(dataset).card.task)
    except (UnknownPluginError, SpecError):  # it is no more; rows stay
        return False


def draw(
    path: Path,
    test: Samples,
    decisions: NDArray[Any],
    overlaps: NDArray[np.float64],
    /,
) -> None:
    """Write a few frames of each sequence with both boxes, as an SVG that holds its frames.

    Args:
        path: Of the file.
        test: Sequences: ``Frames``, and boxes ``[N, 4]`` or polygons ``[N, 8]``.
        decisions: Boxes ``[N, 4]``; further columns are not looked at.
        overlaps: Of both, ``[N]``.

    Raises:
        SpecError: If these are no boxes of these frames.
        DataError: If a frame cannot be read.
        StoreError: If the disk refuses.
    """
    if not isinstance(test.inputs, Frames) or test.groups is None:
        raise SpecError("boxes are drawn on frames of sequences, and these samples are none")
    if decisions.ndim != 2 or len(decisions) != len(test) or decisions.shape[1] < 4:
        raise SpecError(f"boxes {list(decisions.shape)} are not of these {len(test)} frames")
    rows = [
        _row(test, decisions[:, :4], overlaps, np.flatnonzero(test.groups == unit))
        for unit in np.unique(test.groups)[:_SEQUENCES]
    ]
    text = _svg(rows).encode()
    write_bytes(path, text)


def section(board: Leaderboard, figures: Path | None, /) -> str:
    """Return what a page shows of boxes; empty if the board is not about any.

    Args:
        board: What the page is of.
        figures: The folder where its pictures lie, None without one.
    """
    whose = shown(board)
    if whose is None:
        return ""
    picture = None if figures is None else _kept(whose.path(figures))
    if picture is None:
        told = _paragraph(
            "No frames: they are their owners' and not published. `python -m harness report "
            f"{whose.row.cell.suite}` draws them where the data and the decisions of the best row "
            f"({whose.row.cell_id}) lie."
        )
    else:
        told = _paragraph(_caption(whose)) + _embedded(picture, whose)
    return (
        f'<section aria-labelledby="boxes-title">\n<h2 id="boxes-title">Boxes</h2>\n{told}\n'
        "</section>\n"
    )


def _caption(whose: Shown) -> str:
    cell = whose.row.cell
    return (
        f"Frames of each sequence with the true box (solid, green) and that of {whose.line.method} "
        f"(dashed, orange) on {cell.backend}, T = {cell.timesteps}, seed {cell.seed}: of the best "
        "line, its first seed. Below each frame its number and the overlap of both boxes; the "
        "first box is given."
    )


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(visible(text))}</p>"


def _kept(path: Path) -> bytes | None:
    try:
        return read_bytes(path, LARGEST)
    except (FileNotFoundError, StoreError):
        return None


def _embedded(picture: bytes, whose: Shown) -> str:
    # As an image, in which no script runs, whatever lies in a folder of results.
    held = b64encode(picture).decode()
    told = html.escape(visible(f"Frames with the true boxes and those of {whose.line.method}"))
    return (
        '<div class="wide" tabindex="0" role="group" aria-label="Frames, scroll sideways">'
        f'<img alt="{told}" src="data:image/svg+xml;base64,{held}"></div>'
    )


@dataclass(frozen=True, kw_only=True)
class _Tile:
    """One frame: its picture, ``_FRAME_PX`` wide, boxes in pixels of that, and what stands below.

    Attributes:
        jpeg: As bytes.
        height: In pixels.
        boxes: By class of style, corners ``[8]``.
        words: Below it.
    """

    jpeg: bytes
    height: int
    boxes: dict[str, NDArray[np.float64]]
    words: str


def _row(
    test: Samples,
    ours: NDArray[Any],  # [N, 4]
    overlaps: NDArray[np.float64],  # [N]
    places: NDArray[np.int64],  # of one sequence
) -> tuple[str, list[_Tile]]:
    tiles = [
        _tile(
            test.inputs[place],
            test.labels[place],
            ours[place],
            f"frame {place - places[0] + 1}, overlap {overlaps[place]:.2f}",
        )
        for place in spread(places, _FRAMES).tolist()
    ]
    name = sequence_name(test.inputs.paths[places[0]])
    return f"{name}, {len(places):,} frames", tiles


def _tile(
    pixels: NDArray[np.uint8],  # [H, W, 3]
    truth: NDArray[Any],  # [4] or [8]
    ours: NDArray[Any],  # [4]
    words: str,
) -> _Tile:
    scale = _FRAME_PX / pixels.shape[1]
    height = max(1, round(pixels.shape[0] * scale))
    packed = BytesIO()
    small = Image.fromarray(pixels).resize((_FRAME_PX, height), Image.Resampling.LANCZOS)
    small.save(packed, "JPEG", quality=_QUALITY)
    boxes = {"truth": corners_of(truth) * scale}
    if (ours[2:] > 0).all():  # else nothing was tracked there
        boxes["ours"] = corners_of(ours) * scale
    return _Tile(jpeg=packed.getvalue(), height=height, boxes=boxes, words=words)


def _svg(rows: list[tuple[str, list[_Tile]]]) -> str:
    width = max(len(tiles) for _, tiles in rows) * (_FRAME_PX + _GAP_PX) + _GAP_PX
    body, top = [], _GAP_PX
    for name, tiles in rows:
        body.append(f'<text x="{_GAP_PX}" y="{top + 12}">{_text(name)}</text>')
        top += _LINE_PX
        for number, tile in enumerate(tiles):
            body += _placed(tile, _GAP_PX + number * (_FRAME_PX + _GAP_PX), top)
        top += max(tile.height for tile in tiles) + _LINE_PX + _GAP_PX
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" '
        f'viewBox="0 0 {width} {top}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def _placed(tile: _Tile, left: int, top: int) -> Iterator[str]:
    held = b64encode(tile.jpeg).decode()
    # An inner image cuts what lies outside the frame off.
    yield (
        f'<svg x="{left}" y="{top}" width="{_FRAME_PX}" height="{tile.height}">'
        f'<image width="{_FRAME_PX}" height="{tile.height}" href="data:image/jpeg;base64,{held}"/>'
    )
    for kind, corners in tile.boxes.items():
        points = " ".join(f"{value:.1f}" for value in corners)
        yield f'<polygon class="{kind}" points="{points}"/>'
    yield f'</svg><text x="{left}" y="{top + tile.height + 14}">{_text(tile.words)}</text>'


def _text(words: str) -> str:
    return html.escape(visible(words), quote=False)
