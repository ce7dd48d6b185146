"""The command line's ``online``: a video, chunk by chunk."""

import json
from typing import Annotated

import typer

from harness.cli.options import RESULTS, RUNS, AsJson, CellId, DataRoot, Results, Runs


def online(
    cell: CellId,
    *,
    chunk: Annotated[int, typer.Option(help="Frames in a chunk.")] = 1,
    video: Annotated[int, typer.Option(help="Which of the test part's videos, from 0.")] = 0,
    data_root: DataRoot = None,
    runs: Runs = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Show a trained student a video chunk by chunk: latency and operations of each.

    And ask some of its frames as windows, which must be answered alike.
    """
    import numpy as np

    from harness.contracts.dataset import Samples
    from harness.contracts.errors import UnsupportedError
    from harness.evaluation import online as watching
    from harness.exchange.stored import student_of
    from harness.training.lesson import computing

    found, row, student = student_of(cell, runs=runs, published=results)
    test = found.dataset.load(data_root).test
    if not isinstance(test, Samples):
        raise UnsupportedError(f"{found.card.title} holds no videos in memory")
    frames, offsets = watching.video(test, video)
    with computing(row.cell.recipe.precision):
        watched = watching.watch(student, frames, chunk=chunk)
        compared = watching.compare(student, frames, watched, offsets)
    low, median, high = np.percentile(watched.latency_ms, [25, 50, 75])
    told = {
        "cell_id": cell,
        "video_frames": len(frames),
        "chunk_frames": chunk,
        "chunks": len(watched.latency_ms),
        "latency_ms": median,
        "latency_ms_iqr": high - low,
        "operations_a_chunk": float(watched.operations.mean()),
        "window_latency_ms": compared.latency_ms,
        "operations_a_window": compared.operations,
        "frames_compared": compared.frames,
        "largest_difference": compared.largest,
    }
    if as_json:
        print(json.dumps(told))
        return
    print(f"{row.cell.label}: a video of {len(frames)} frames in chunks of {chunk}")
    print(
        f"a chunk takes {median:.2f} ms (quartiles {low:.2f} to {high:.2f}) and "
        f"{watched.operations.mean():,.0f} synaptic operations"
    )
    print(
        f"a window takes {compared.latency_ms:.2f} ms and {compared.operations:,.0f}: it tells "
        "the newest frame anew from all that it shows"
    )
    print(
        f"logits of {compared.frames} frames differ by at most {compared.largest:.2g} between "
        "chunks and windows"
    )
