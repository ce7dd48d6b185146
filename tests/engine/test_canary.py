"""A canary is the same at every run, different for every cell, and hears a change."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from harness import discovery, fingerprint
from harness.cli import app
from harness.contracts.cell import Cell
from harness.contracts.errors import UnsupportedError
from harness.contracts.row import Canary, Metrics, Row
from harness.engine import canary, grid, proofs, reverify
from harness.engine.canary import canary_of, differing
from harness.engine.grid import Axes
from harness.engine.proofs import Proof, Verified
from harness.engine.reverify import Verification
from harness.results import Published
from harness.store import Store, changing
from harness.training import descent
from tests.methods.small import on_images

NOTHING = Store(Path("nothing"))


def cell(method: str, *, timesteps: int = 2, backend: str = "reference") -> Cell:
    axes = Axes(methods=(method,), timesteps=(timesteps,), seeds=(0,), backends=(backend,))
    return grid.cells("digits", axes, NOTHING, Published())[0]


def row(of: Cell, heard: Canary | None) -> Row:
    metrics = Metrics(score=0.5, score_low=0.4, score_high=0.6, n_test=9)
    return Row(cell=of, status="ok", metrics=metrics, canary=heard)


@pytest.mark.parametrize("method", on_images(("classes", "maps")))
def test_every_method_sings_the_same_twice_and_with_spikes(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers = []
    measure = canary.measure

    def heard(*arguments: Any) -> Any:
        measured = measure(*arguments)
        ledgers.append(measured.ledger)
        return measured

    monkeypatch.setattr(canary, "measure", heard)
    of = cell(method, timesteps=1 if method == "ttfs" else 2)
    first, second = canary_of(of, None), canary_of(of, None)
    assert first == second
    # A network that stays silent could not tell one neuron from another.
    assert ledgers[-1].spikes_per_sample > 1
    assert len(set(first.logits)) == of.timesteps
    assert first.weights
    assert set(first.elsewhere) <= set(discovery.names("backends"))


def test_canaries_of_two_cells_differ() -> None:
    songs = [canary_of(cell(method), None) for method in ("direct", "logit_kd", "bsd")]
    songs += [canary_of(cell("direct", timesteps=steps), None) for steps in (1, 4)]
    songs.append(canary_of(replace(cell("direct"), seed=1), None))
    assert len({song.losses for song in songs}) == len({song.logits for song in songs}) == 6


def test_it_is_float64_on_the_processor_whatever_the_recipe_says() -> None:
    plain = cell("direct")
    fast = replace(plain.recipe, precision="bfloat16", compiled=True, epochs=90, batch_size=512)
    assert canary_of(replace(plain, recipe=fast), None) == canary_of(plain, None)
    assert torch.get_default_dtype() == torch.float32  # as it was


def test_a_changed_constant_moves_training_and_a_rounding_error_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = cell("direct")
    before = canary_of(of, None)
    rounded = replace(before, losses=tuple(loss * (1 + 1e-13) for loss in before.losses))
    assert differing(before, rounded, "train") == ()
    off = replace(before, losses=(before.losses[0] + 1e-8, *before.losses[1:]))
    assert differing(before, off, "train") == ("losses",)
    monkeypatch.setattr(descent, "GRID", 2.0**-10)
    assert "weights" in differing(before, canary_of(of, None), "train")


def test_two_runs_that_differ_are_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    song = canary_of(cell("direct"), None)
    runs = iter(replace(song, losses=(float(number),)) for number in range(9))
    monkeypatch.setattr(canary, "canary_of", lambda *_: next(runs))
    found = reverify.verify(row(cell("direct"), song), None)
    assert (found.outcome, found.words, found.proofs) == ("no verdict", "two runs here differ", ())


def test_only_the_stage_that_moved_is_not_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    song = canary_of(cell("direct"), None)
    monkeypatch.setattr(canary, "canary_of", lambda *_: replace(song, counts=("another",)))
    found = reverify.verify(row(cell("direct"), song), None)
    assert (found.outcome, found.words) == ("moved", "measure: counts")
    assert [proof.stage for proof in found.proofs] == ["train"]


def test_other_data_is_no_moved_code() -> None:
    made = row(cell("direct"), canary_of(cell("direct"), None))
    elsewhere = replace(made, provenance=replace(made.provenance, data_fp="another"))
    found = reverify.verify(elsewhere, None)
    assert (found.outcome, found.words) == ("no verdict", "its data is another here")
    assert not found.proofs


def test_a_row_without_a_canary_cannot_be_verified() -> None:
    assert reverify.verify(row(cell("direct"), None), None).outcome == "no canary"


def test_a_proof_is_of_one_stage_one_code_and_one_row(tmp_path: Path) -> None:
    song = canary_of(cell("direct"), None)
    ours, other = row(cell("direct"), song), row(cell("direct", timesteps=4), song)
    key = proofs.key_of(ours, "train")
    proof = Proof(stage="train", fingerprint="f", versions={"torch": "2"}, canaries=(key,))
    proofs.write(tmp_path, [proof, replace(proof, canaries=("more",)), proof])
    noted = proofs.read(tmp_path)
    assert noted == Verified((replace(proof, canaries=tuple(sorted([key, "more"]))),))
    assert noted.holds(ours, "train", "f")
    assert not noted.holds(ours, "measure", "f")
    assert not noted.holds(ours, "train", "g")
    assert not noted.holds(other, "train", "f")
    assert not noted.covers(ours, {"torch": "2"})  # of one stage alone
    measured = replace(proof, stage="measure", canaries=(proofs.key_of(ours, "measure"),))
    assert Verified((*noted.proofs, measured)).covers(ours, {"torch": "2"})
    assert not Verified((*noted.proofs, measured)).covers(ours, {"torch": "3"})


def test_a_proof_of_later_code_takes_the_place_of_the_one_before() -> None:
    before = Proof(stage="train", fingerprint="f", versions={"torch": "2"}, canaries=("a", "b"))
    now = replace(before, fingerprint="g", canaries=("a", "c"))
    assert [*proofs.renewed([before], [now])] == [replace(before, canaries=("b",)), now]
    # Another stage, and other libraries, are other questions.
    for other in (replace(now, stage="measure"), replace(now, versions={"torch": "3"})):
        assert [*proofs.renewed([before], [other])] == [before, other]


def test_of_code_that_moved_on_the_file_keeps_the_last_proofs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = row(cell("direct"), canary_of(cell("direct"), None))
    for code in ("f", "g"):
        proof = replace(reverify._proof(made, "train"), fingerprint=code)
        found = Verification(row=made, outcome="same", proofs=(proof,))
        monkeypatch.setattr(reverify, "verify_all", lambda *_, found=found, **__: iter([found]))
        assert [*reverify.note([made], tmp_path, tmp_path, None, slots=1)] == [found]
    assert proofs.read(tmp_path).proofs == (proof,)
    assert len((tmp_path / proofs.FILE).read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (("same", "same"), 0),
        (("same", "not run"), 1),
        (("no canary",), 1),
        (("moved",), 1),
        (("no verdict",), 1),
    ],
)
def test_a_verification_succeeds_if_no_row_stays_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: tuple[Any, ...], code: int
) -> None:
    made = row(cell("direct"), None)
    Store(tmp_path / "runs").save(made)
    found = [Verification(row=made, outcome=outcome) for outcome in outcomes]
    monkeypatch.setattr(reverify, "verify_all", lambda *_, **__: iter(found))
    places = ("--out", str(tmp_path / "runs"), "--results", str(tmp_path / "none"))
    done = CliRunner().invoke(app, ["reverify", "digits", *places])
    assert done.exit_code == code
    assert f"1 {outcomes[-1]}" in done.output or code == 0


def test_proofs_are_noted_once_nobody_else_changes_the_folder(tmp_path: Path) -> None:
    noting = Thread(target=lambda: [*reverify.note((), tmp_path, tmp_path, None, slots=1)])
    with changing(tmp_path):
        noting.start()
        noting.join(0.3)
        assert noting.is_alive()
    noting.join()
    assert (tmp_path / proofs.FILE).exists()


def test_a_skipped_cell_is_proved_by_being_refused_for_the_same_reason() -> None:
    of = cell("ttfs", timesteps=2)
    with pytest.raises(UnsupportedError) as refusal:
        canary_of(of, None)
    skipped = Row(cell=of, status="skipped", error=str(refusal.value))
    found = reverify.verify(skipped, None)
    assert (found.outcome, len(found.proofs)) == ("same", 2)
    assert all(
        Verified((proof,)).holds(skipped, proof.stage, proof.fingerprint) for proof in found.proofs
    )
    other = replace(skipped, error="it rained")
    assert reverify.verify(other, None).outcome == "moved"
    supported = Row(cell=cell("direct"), status="skipped", error="no")
    assert reverify.verify(supported, None).words == "was skipped: no"


def test_a_simulator_that_is_not_installed_moved_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Canary:
        raise UnsupportedError("Sinabs is not installed")

    song = canary_of(cell("direct"), None)
    monkeypatch.setattr(canary, "canary_of", missing)
    of = replace(cell("direct"), backend="sinabs")
    for version, outcome in ((None, "not run"), ("3.1.3", "moved")):
        monkeypatch.setattr(fingerprint, "installed", lambda _, version=version: version)
        found = reverify.verify(row(of, song), None)
        assert (found.outcome, found.words) == (outcome, "Sinabs is not installed")


def test_rows_whose_code_is_not_here_are_told_and_the_others_verified(tmp_path: Path) -> None:
    ours, store = cell("direct"), Store(tmp_path / "runs")
    theirs = replace(ours, method="somebodys_own")
    elsewhere = replace(ours, dataset="somebodys_own")
    song = canary_of(ours, None)
    for of in (theirs, elsewhere, ours):
        store.save(row(of, song))
    rows = reverify.suspects("digits", store.root, tmp_path, sample=None)
    assert {one.cell_id for one in rows} == {of.cell_id for of in (theirs, elsewhere, ours)}
    found = {
        one.row.cell_id: one
        for one in reverify.verify_all(rows, None, slots=1, logs=tmp_path / "logs")
    }
    assert found[ours.cell_id].outcome == "same"
    assert found[theirs.cell_id].outcome == found[elsewhere.cell_id].outcome == "not run"
    assert "no 'somebodys_own' among the methods" in found[theirs.cell_id].words
    assert "somebodys_own" in found[elsewhere.cell_id].words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_proofs_of_a_verification_that_is_cut_short_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    made = row(cell("direct"), canary_of(cell("direct"), None))
    Store(tmp_path / "runs").save(made)
    proof = reverify._proof(made, "train")

    def cut_short(*_: Any, **__: Any) -> Iterator[Verification]:
        yield Verification(row=made, outcome="same", proofs=(proof,))
        assert signal.getsignal(number) is not signal.SIG_DFL  # it would end the tests
        os.kill(os.getpid(), number)
        time.sleep(5)  # more than a signal takes

    monkeypatch.setattr(reverify, "verify_all", cut_short)
    places = ("--out", str(tmp_path / "runs"), "--results", str(tmp_path / "none"))
    # Whoever is started in the background has been told to ignore a key.
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)
    try:
        done = CliRunner().invoke(app, ["reverify", "digits", *places])
    finally:
        signal.signal(number, before)
    assert done.exit_code == 128 + number
    assert "interrupted; proofs are kept (resume with the same command)" in done.output
    assert proofs.read(tmp_path / "runs").proofs == (proof,)
