"""A suite's unlabelled text: in whose cells it is, what a method gets of it, and what row comes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import discovery
from harness.contracts.cell import Cell
from harness.contracts.errors import DataError, UnknownPluginError
from harness.contracts.inputs import Tokens
from harness.contracts.method import Progress
from harness.contracts.recipe import Recipe
from harness.contracts.row import Provenance, Row
from harness.contracts.unlabelled import UnlabelledText
from harness.data import catalogue, unlabelled
from harness.engine import cell as engine
from harness.engine import checkpoints, freshness, grid
from harness.engine.canary import canary_of
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.proofs import Verified
from harness.engine.reinference import again
from harness.engine.resolve import opened, opened_for, resolve
from harness.engine.teachers import cell_of
from harness.engine.train import train
from harness.engine.verification import Question
from harness.results import Published
from harness.store import PREDICTIONS, Store
from harness.training import Batch, Lesson, Student
from harness.training.checkpoint import Keeper
from harness.training.lesson import Teacher
from harness.training.team import ALONE, Team
from suites.datasets import sst2, sst5
from suites.spikebert_sst2 import SUITE
from tests.data.sentences import corpus, needs_tokenizers, put, vocabulary
from tests.engine.test_runs import METRICS
from tests.methods.test_resuming import CutOffError, Cutting

CPU = torch.device("cpu")
WORDS = [f"w{number}" for number in range(40)]
RECIPE = Recipe(epochs=3, batch_size=4, train_samples=8, optimiser="adam", learning_rate=0.01)
BATCHES = 2  # an epoch: all eight sentences


def cells(**given: Any) -> dict[str, Cell]:
    """Return the suite's cells, by method."""
    axes = Axes(seeds=(0,), **given)
    found = grid.cells("spikebert_sst2", axes, Store(Path("nowhere")), Published())
    return {one.method: one for one in found}


def test_the_text_is_in_the_cells_of_methods_that_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named = cells()
    assert {name: one.unlabelled for name, one in named.items()} == {
        "direct": None,
        "logit_kd": None,
        "spikebert": SUITE.unlabelled,
    }
    assert '"unlabelled":{"datasets":["sst2","sst5","mr","subj"],' in named["spikebert"].identity()
    monkeypatch.setattr(grid, "load_suite", lambda _: replace(SUITE, unlabelled=None))
    without = cells()
    for name in ("direct", "logit_kd"):
        assert named[name].identity() == without[name].identity()
    assert "unlabelled" not in without["spikebert"].identity()


@pytest.mark.parametrize("name", discovery.names("methods"))
def test_a_method_that_reads_text_says_so(name: str) -> None:
    said = discovery.method_card(name)
    source = discovery.source_of(discovery.module_of("methods", name)).read_text("utf-8")
    assert (said is not None and said.reads_unlabelled) == (", unlabelled=True" in source)


def test_a_row_of_such_a_cell_is_read_back() -> None:
    row = Row(cell=cells()["spikebert"], status="failed", error="tried")
    assert Row.from_json(row.to_json()) == row


def test_a_text_of_a_set_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(SUITE, unlabelled=UnlabelledText(datasets=("sst3",)))
    monkeypatch.setattr(grid, "load_suite", lambda _: other)
    with pytest.raises(UnknownPluginError, match="no 'sst3' among the datasets; did you mean sst"):
        cells()


def test_the_code_of_its_sets_is_training_code_of_these_cells() -> None:
    named = cells()
    found = {name: freshness.closures(one) for name, one in named.items()}
    assert "suites.datasets.subj" in found["spikebert"]["train"]
    assert "suites.datasets.subj" not in found["spikebert"]["measure"]
    assert "suites.datasets.subj" not in found["direct"]["train"]


@dataclass
class Listening:
    """Notes the first stage's batches, and then spends the lesson."""

    heard: list[Batch] = field(default_factory=list)

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:  # noqa: ARG002  it learns nothing
        self.heard += lesson.further("reading", unlabelled=True).shares()
        for batch in lesson.shares():
            assert (batch.labels >= 0).all()
            yield Progress(samples=lesson.samples, budget=lesson.budget_samples, loss=0.0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data root of two sets of sentences of two words, no two of them alike."""
    monkeypatch.setenv("SNN_DISTILL_CACHE", str(tmp_path / "cache"))
    tokeniser = vocabulary(tmp_path, *WORDS)
    words = Tokens(vocabulary=4 + len(WORDS), length=6)

    def lines(first: int, last: int, form: str) -> bytes:
        told = (f"{WORDS[number]} {WORDS[-1 - number % 7]}" for number in range(first, last))
        return "".join(
            form.format(text=text, label=place % 2) for place, text in enumerate(told)
        ).encode()

    tab, first = "{text}\t{label}\n", "{label} {text}\n"
    ours = put(tmp_path, corpus(sst2), lines(0, 8, tab), lines(8, 11, tab), lines(11, 16, tab))
    theirs = put(
        tmp_path, corpus(sst5), lines(9, 30, first), lines(30, 31, first), lines(31, 32, first)
    )
    known = {
        name: replace(one, tokeniser=tokeniser, card=replace(one.card, input=words))
        for name, one in (("sst2", ours), ("sst5", theirs))
    }
    monkeypatch.setattr(catalogue, "load", known.__getitem__)
    for remembered in (unlabelled.opened, opened, freshness._data):
        remembered.cache_clear()
    return tmp_path


def small(method: str, *names: str) -> Cell:
    """Return a cell of the suite with a lesson of six batches, whose text is that of ``names``."""
    found = cells()[method]
    assert found.teacher is not None
    teacher = replace(found.teacher, model="spikformer_text_tiny", start_sha256=None, recipe=RECIPE)
    text = UnlabelledText(datasets=names) if names else None
    return replace(found, recipe=RECIPE, teacher=teacher, unlabelled=text, timesteps=2)


def teacher(of: Cell) -> Teacher:
    """Return a teacher that was never trained."""
    assert of.teacher is not None
    network = resolve(cell_of(of.teacher)).student(CPU).network
    return Teacher(network=network.eval().requires_grad_(requires_grad=False), mean=(), std=())


def heard(asked: Cell, root: Path, *, team: Team = ALONE) -> list[Batch]:
    """Return what a method hears that reads before it learns."""
    method = Listening()
    found = replace(resolve(asked), method=method)
    train(found, opened_for(asked, root), None, CPU, lambda _: None, team=team)
    return method.heard


def sentences(batches: list[Batch]) -> list[tuple[int, ...]]:
    return [tuple(one.tolist()) for batch in batches for one in batch.images[:, :4]]


@needs_tokenizers
def test_a_text_is_read_once_before_anything_of_it_is_read_again(root: Path) -> None:
    """21 and 8 sentences, 7 of which are held out: 22, of which batches of 4 take 20."""
    batches = heard(small("spikebert", "sst2", "sst5"), root)
    assert [len(batch.labels) for batch in batches] == [4] * RECIPE.epochs * BATCHES
    places = torch.cat([batch.indices for batch in batches]).tolist()
    assert len({*places[:20]}) == 20
    assert 0 <= min(places) <= max(places) == 21
    assert [int(batch.place) for batch in batches] == [*range(6)]  # type: ignore[arg-type]  # a lesson says it


@needs_tokenizers
def test_a_text_that_is_shorter_than_an_epoch_is_read_on(root: Path) -> None:
    """The other set's 21 sentences without 7, in batches of 4 three at a time: then again."""
    places = torch.cat([b.indices for b in heard(small("spikebert", "sst5"), root)]).view(2, 12)
    assert all(len({*reading.tolist()}) == 12 for reading in places)
    assert places[0].tolist() != places[1].tolist()


@needs_tokenizers
def test_a_recipe_that_trains_nothing_reads_nothing(root: Path) -> None:
    asked = small("spikebert", "sst2", "sst5")
    assert heard(replace(asked, recipe=replace(RECIPE, epochs=0)), root) == []


@needs_tokenizers
def test_no_label_reaches_the_method_with_or_without_a_text(root: Path) -> None:
    for asked in (small("spikebert", "sst2", "sst5"), small("spikebert")):
        batches = heard(asked, root)
        assert all((batch.labels == -1).all() for batch in batches)
        assert all(batch.labels.dtype == torch.int64 for batch in batches)


@needs_tokenizers
def test_without_a_text_it_is_the_suites_own_sentences_in_their_order(root: Path) -> None:
    asked = small("spikebert")
    own, text = heard(asked, root), heard(small("spikebert", "sst2"), root)
    assert sentences(own) == sentences(text)
    assert len({*sentences(own)}) == 8


@needs_tokenizers
def test_nothing_that_is_held_out_is_heard(root: Path) -> None:
    asked = small("spikebert", "sst2", "sst5")
    splits = opened(asked.dataset, root, asked.timesteps)
    held = {
        tuple(one)
        for part in (splits.validation, splits.test)
        for one in part.inputs[:, :4].tolist()
    }
    assert len(held) == 8
    assert not held & {*sentences(heard(asked, root))}


@dataclass(frozen=True)
class Alone(type(ALONE)):  # type: ignore[misc]  # a plain class
    """One of two devices, which never meets the other."""

    rank: int
    size: int = 2

    def refuse_unlike(self, _modules: Any, /) -> None: ...


@needs_tokenizers
def test_two_devices_share_each_batch_of_the_text(root: Path) -> None:
    asked = small("spikebert", "sst2", "sst5")
    whole, *parts = (heard(asked, root, team=team) for team in (ALONE, Alone(0), Alone(1)))
    for batch, *shares in zip(whole, *parts, strict=True):
        assert batch.indices.tolist() == torch.cat([one.indices for one in shares]).tolist()


@needs_tokenizers
def test_a_text_that_fills_no_batch_is_refused_with_the_remedy(root: Path) -> None:
    asked = small("spikebert", "sst5")
    (root / "text/more.txt").write_bytes(content := b"w0 w33\nw1 w33\nw2 w33\n")
    sha256 = hashlib.sha256(content).hexdigest()
    few = replace(asked, unlabelled=UnlabelledText(file="text/more.txt", sha256=sha256))
    with pytest.raises(DataError, match=r"more.txt has 3 sentences .* a batch 4; name more text"):
        heard(few, root)


def learned(
    asked: Cell, root: Path, keeper: Keeper | None
) -> tuple[list[float], dict[str, Tensor]]:
    losses: list[float] = []
    trained = train(
        resolve(asked),
        opened_for(asked, root),
        teacher(asked),
        CPU,
        lambda progress: losses.append(progress.loss),
        keeper=keeper,
    )
    return losses, trained.student.network.state_dict()


@needs_tokenizers
@pytest.mark.parametrize("after", [3, 5, 8])
def test_the_first_stage_goes_on_where_it_was_cut_off(root: Path, after: int) -> None:
    asked = small("spikebert", "sst5")
    losses, weights = learned(asked, root, None)
    first = Cutting(after=after)
    with pytest.raises(CutOffError):
        learned(asked, root, first)
    rest, found = learned(asked, root, Cutting(after=None, before=first.written))
    assert rest == losses[-len(rest) :]
    assert len(rest) <= len(losses) - after + 1
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def order(asked: Cell, root: Path) -> Order:
    runs = root / "runs"
    conditions = Conditions(runs=runs, data_root=root)
    return Order(cell=asked, conditions=conditions, log_path=runs / "log.txt")


@needs_tokenizers
def test_a_row_tells_the_text_and_is_computed_again(root: Path) -> None:
    asked = small("spikebert", "sst2", "sst5")
    assert asked.teacher is not None
    made = Store(root / "runs")
    for one in (cell_of(asked.teacher), asked, replace(asked, unlabelled=None)):
        made.save(engine.run(order(one, root), lambda _: None))
    row, plain = made.load(asked), made.load(replace(asked, unlabelled=None))
    assert row is not None
    assert plain is not None
    assert row.metrics is not None
    assert row.metrics.extra_samples == {"general distillation": 24}
    (note,) = row.provenance.data_notes
    assert note.startswith("spikebert is given 22 unlabelled sentences of sst2, sst5 (SHA-256 ")
    assert plain.provenance.data_notes == ()
    assert row.provenance.data_fp != plain.provenance.data_fp
    assert row.provenance.weights_sha256 != plain.provenance.weights_sha256
    assert row.canary == canary_of(asked, root) != plain.canary
    folder = made.folder(asked)
    asked_again = Question(
        row=row,
        weights=folder / "weights.safetensors",
        arrays=(folder / PREDICTIONS).read_bytes(),
        data_root=root,
        samples=99,
        seed=0,
    )
    assert again(asked_again).wrong is None


@needs_tokenizers
def test_a_checkpoint_is_of_one_text(root: Path) -> None:
    asked = [small("spikebert", *names) for names in ((), ("sst5",), ("sst2", "sst5"))]
    assert len({checkpoints._of(order(one, root), None)["data"] for one in asked}) == 3


@needs_tokenizers
def test_a_changed_text_makes_a_row_stale(root: Path) -> None:
    path = root / "text/more.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    text = UnlabelledText(file="text/more.txt", sha256="0" * 64)
    asked = replace(small("spikebert"), unlabelled=text, teacher=None)
    now = freshness.fingerprints(asked)
    data_fp = freshness.data_fingerprint(asked.dataset, root, text)
    made = Provenance(train_fp=now["train"], measure_fp=now["measure"], data_fp=data_fp)
    store = Store(root / "runs")
    store.save(Row(cell=asked, status="ok", metrics=METRICS, provenance=made))

    def standing() -> tuple[str, str]:
        freshness._data.cache_clear()
        (found,) = freshness.standings([asked], store, Published(), Verified(), data_root=root)
        return found.state, found.why

    assert standing() == ("fresh", "")
    path.write_text("".join(f"{word}\n" for word in WORDS[1:]))
    assert standing() == ("stale", "data changed")
    path.unlink()
    assert standing() == ("fresh", "its data is not here to be compared")
