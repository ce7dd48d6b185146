"""What `plan` tells of the conditions that a row was made under, which are in no identity."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.contracts.dataset import DatasetProvenance
from harness.contracts.row import Provenance, Row
from harness.data import catalogue
from harness.engine import grid
from harness.engine.freshness import data_fingerprint, fingerprints, no_data, standings
from harness.engine.grid import Axes
from harness.engine.proofs import Verified
from harness.results import Published
from harness.store import Store
from tests.engine.test_runs import METRICS


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({}, ""),
        ({"device": None, "threads": None, "deterministic": None}, ""),
        ({"threads": 2}, "made with 2 threads"),
        ({"deterministic": False}, "made by kernels that may vary"),
        ({"device": "cuda:1"}, "made on cuda:1"),
        ({"device": "cuda", "gpu": "a GPU", "threads": 8}, "made on a GPU; made with 8 threads"),
    ],
)
def test_what_is_unlike_a_usual_run_is_told_and_makes_nothing_stale(
    tmp_path: Path, made: dict[str, Any], words: str
) -> None:
    store = Store(tmp_path)
    axes = Axes(methods=("direct",), timesteps=(2,), seeds=(0,), backends=("norse",))
    (cell,) = grid.cells("digits", axes, store, Published())
    now = fingerprints(cell)
    usual = Provenance(
        train_fp=now["train"],
        measure_fp=now["measure"],
        data_fp=data_fingerprint("digits", None),
        device="cpu",
        threads=1,
        deterministic=True,
    )
    row = Row(cell=cell, status="ok", metrics=METRICS, provenance=replace(usual, **made))
    store.save(row)
    (found,) = standings([cell], store, Published(), Verified(), data_root=None)
    assert (found.state, found.why) == ("fresh", words)


def test_data_is_looked_for_once_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path | None] = []

    class Unopened:
        def provenance(self, root: Path | None, /) -> DatasetProvenance:
            looks.append(root)
            return DatasetProvenance(fingerprint="f")

    monkeypatch.setattr(catalogue, "load", lambda _: Unopened())
    assert (data_fingerprint("any", tmp_path), no_data("any", tmp_path)) == ("f", "")
    assert looks == [tmp_path]
