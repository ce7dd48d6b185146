"""A video answered chunk by chunk: what a chunk costs, and that it is answered as windows are."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.dataset import Samples
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.ledger import Ledger
from harness.data.windows import Windows
from harness.meter import measure
from harness.training.student import Student


@runtime_checkable
class Streaming(Protocol):
    """A network that can be shown a video chunk by chunk."""

    lead_in: int

    def begin(self) -> Any:
        """Return what is past before the first frame."""
        ...

    def advance(self, frames: Tensor, past: Any, /, timesteps: int = 1) -> Tensor:
        """Answer the next frames ``[N, c, D]``: logits ``[T, N, c + ahead, K]``.

        It changes ``past`` to what is past after them. The last ``ahead`` are of frames to come.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One video, watched in chunks of the same size; what is left over at its end is not.

    Attributes:
        chunk: Frames in one.
        ahead: Frames to come that are answered after a chunk's own.
        logits: ``[T, L, K]``, of each frame.
        latency_ms: ``[chunks]``, wall clock of each, one video at a time.
        ledger: A sample a chunk.
    """

    chunk: int
    ahead: int
    logits: NDArray[Any]
    latency_ms: NDArray[np.float64]
    ledger: Ledger

    @property
    def operations(self) -> NDArray[np.int64]:
        """Synaptic operations of each chunk, ``[chunks]``: AC, MAC and products of two spikes."""
        return synaptic(self.ledger)


def synaptic(ledger: Ledger, /) -> NDArray[np.int64]:
    """Return the synaptic operations of each sample, ``[N]``, products of spikes among them."""
    by_sample = ledger.per_sample()
    total: NDArray[np.int64] = sum(
        (np.asarray(by_sample[name], dtype=np.int64) for name in ("ac", "mac", "and_ac")),
        np.zeros(ledger.samples, dtype=np.int64),
    )
    return total


def watch(
    student: Student,
    frames: NDArray[Any],  # [L, D]
    /,
    *,
    chunk: int,
) -> Watched:
    """Show a video to ``student`` chunk by chunk, twice: by the clock, and metered.

    Before the first frame it has seen as many zeros as the network's answers reach back, as a
    window shows them there.

    Raises:
        UnsupportedError: If the network cannot be shown chunks.
        SpecError: If the video has no whole chunk.
    """
    network = student.network
    if not isinstance(network, Streaming):
        raise UnsupportedError(
            f"{type(network).__name__} answers windows alone: it has no `begin` and `advance`"
        )
    if not 1 <= chunk <= len(frames):
        raise SpecError(f"a chunk of {chunk} frames is not in a video of {len(frames)}")
    network.eval()
    weight = next(student.parameters())
    shown = torch.from_numpy(frames[: len(frames) // chunk * chunk]).to(weight)
    chunks = torch.split(shown.unsqueeze(0), chunk, dim=1)  # each [1, c, D]

    def begun() -> Any:
        past = network.begin()
        if network.lead_in:
            zeros = shown.new_zeros(1, network.lead_in, shown.shape[1])
            network.advance(zeros, past, student.timesteps)
        return past

    with torch.no_grad():
        network.advance(chunks[0], begun(), student.timesteps)  # warms up
        timed = [*_timed(network, chunks, begun(), student.timesteps)]
        past = begun()
    answers: list[Tensor] = []

    def answer(stimulus: Tensor) -> Tensor:
        answers.append(network.advance(stimulus, past, student.timesteps)[:, 0])
        return answers[-1]

    ledger = measure(student.network, chunks, call=answer)
    return Watched(
        chunk=chunk,
        ahead=answers[0].shape[1] - chunk,
        logits=torch.cat([each[:, :chunk] for each in answers], dim=1).cpu().numpy(),
        latency_ms=1e3 * np.array(timed),
        ledger=ledger,
    )


def _timed(
    network: Streaming, chunks: tuple[Tensor, ...], past: Any, timesteps: int
) -> Iterator[float]:
    """Yield the seconds that each chunk took."""
    on_gpu = chunks[0].is_cuda
    for each in chunks:
        begun = time.perf_counter()
        network.advance(each, past, timesteps)
        if on_gpu:
            torch.cuda.synchronize(each.device)
        yield time.perf_counter() - begun


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Chunks beside windows, on some frames of one video.

    Attributes:
        frames: How many were compared.
        largest: The largest difference of a logit.
        operations: Synaptic operations of a window, on average.
        latency_ms: Of a window by itself, the median.
    """

    frames: int
    largest: float
    operations: float
    latency_ms: float


def compare(
    student: Student,
    frames: NDArray[Any],  # [L, D]
    watched: Watched,
    offsets: NDArray[np.int64],  # of a window
    /,
    *,
    most: int = 64,
) -> Compared:
    """Ask the same frames as windows: as many as ``most``, evenly over what was watched.

    Args:
        student: That watched.
        frames: Of the video.
        watched: What it answered.
        offsets: Which frames a window has, from its newest.
        most: How many frames are asked.
    """
    length = watched.logits.shape[1]
    asked = np.unique(np.linspace(0, length - 1, min(most, length)).round().astype(np.int64))
    of_video = np.zeros(len(asked), dtype=np.int64)
    windows = Windows(
        frames=frames,
        newest=asked,
        first=of_video,
        last=of_video + len(frames) - 1,
        offsets=offsets,
    )
    shown = torch.from_numpy(windows[np.arange(len(asked))]).to(next(student.parameters()))
    network, seconds = student.network, []
    with torch.no_grad():
        answers = network(shown, student.timesteps).logits[:, :, -1 - watched.ahead].cpu().numpy()
        for window in shown[:10].unsqueeze(1):
            begun = time.perf_counter()
            network(window, student.timesteps)
            seconds.append(time.perf_counter() - begun)
    ledger = measure(network, shown, call=lambda x: network(x, student.timesteps).logits)
    return Compared(
        frames=len(asked),
        largest=float(np.abs(answers - watched.logits[:, asked]).max()),
        operations=float(synaptic(ledger).mean()),
        latency_ms=1e3 * float(np.median(seconds)),
    )


def video(samples: Samples, number: int, /) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the frames ``[L, D]`` of one of the sample's videos, and a window's offsets.

    Raises:
        UnsupportedError: If samples are no windows of videos.
        SpecError: If there are not so many.
    """
    windows = samples.inputs
    if not isinstance(windows, Windows):
        raise UnsupportedError("these samples are no windows of longer sequences")
    begins, places = np.unique(windows.first, return_index=True)
    if not 0 <= number < len(begins):
        raise SpecError(f"no video {number}; there are 0 to {len(begins) - 1}")
    end = int(windows.last[places[number]]) + 1
    return windows.frames[np.arange(begins[number], end)], windows.offsets
