"""Unlabelled text: what of it is read, and files that are not what a suite names."""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.unlabelled import UnlabelledText
from harness.data import catalogue, unlabelled
from suites.datasets import digits, mr, sst2, sst5, waimai
from suites.datasets._text import BEGIN, END, PAD, UNKNOWN, Corpus, WordPieces
from tests.data.publishing import refusal
from tests.data.sentences import corpus, needs_tokenizers, put, real, vocabulary

BOTH = UnlabelledText(datasets=("sst2", "sst5"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data root of two small sets, which the catalogue has."""
    monkeypatch.setenv("SNN_DISTILL_CACHE", str(tmp_path / "cache"))
    tokeniser = vocabulary(tmp_path, "a", "fine", "film", "bad", "-", "café", "good")
    # Of four sentences for training the first is tested, and the second comes twice.
    first = put(
        tmp_path,
        corpus(sst2),
        b"A fine-film\t1\na bad film\t0\nbad\t0\nA  bad film .\t0\n",
        b"good\t1\n",
        b"lrb a rrb fine film\t1\n",
    )
    second = put(tmp_path, corpus(sst5), b"4 ( Bad ! )\n2 a film\n0 go-od\n", b"1 a\n", b"1 a\n")
    known: dict[str, Any] = {
        "sst2": replace(first, tokeniser=tokeniser),
        "sst5": replace(second, tokeniser=replace(tokeniser, length=9)),
        "mr": corpus(mr),
        "waimai": corpus(waimai),
        "digits": digits.DATASET,
    }
    monkeypatch.setattr(catalogue, "load", known.__getitem__)
    unlabelled.opened.cache_clear()
    return tmp_path


def file(root: Path, content: bytes, **changes: Any) -> UnlabelledText:
    """Write a text and return what names it."""
    (root / "text/more.txt").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return UnlabelledText(**{"file": "text/more.txt", "sha256": sha256} | changes)


@needs_tokenizers
def test_each_sentence_is_read_once_and_none_that_is_held_out(root: Path) -> None:
    found = unlabelled.opened("sst2", root, BOTH)
    # [CLS] a bad film [SEP], [CLS] bad [SEP] and, of the other set, [CLS] a film [SEP].
    assert found.samples.inputs.tolist() == [
        [2, 4, 7, 6, 3, 0],
        [2, 7, 3, 0, 0, 0],
        [2, 4, 6, 3, 0, 0],
    ]
    digest = hashlib.sha256(b"a bad film\nbad\na film\n").hexdigest()
    assert found.note == (
        f"3 unlabelled sentences of sst2, sst5 (SHA-256 {digest}), without 2 of the validation or "
        "test part and 2 that repeat another"
    )


@needs_tokenizers
def test_there_is_no_label_to_be_found(root: Path) -> None:
    samples = unlabelled.opened("sst2", root, BOTH).samples
    assert samples.labels.tolist() == [-1, -1, -1]
    assert samples.labels.dtype == np.int64
    assert samples.groups is None


@needs_tokenizers
def test_a_file_of_the_same_sentences_is_the_same_text(root: Path) -> None:
    sets = unlabelled.opened("sst2", root, BOTH)
    written = file(root, b"\xef\xbb\xbfa bad film\r\nbad\na film")
    alone = unlabelled.opened("sst2", root, written)
    assert np.array_equal(alone.samples.inputs, sets.samples.inputs)
    digest = hashlib.sha256(b"a bad film\nbad\na film\n").hexdigest()
    assert alone.note.startswith(f"3 unlabelled sentences of text/more.txt (SHA-256 {digest})")
    both = unlabelled.opened("sst2", root, replace(written, datasets=("sst2", "sst5")))
    assert "of sst2, sst5, text/more.txt" in both.note
    assert both.note.endswith("5 that repeat another")


def test_the_fingerprint_follows_every_byte(root: Path) -> None:
    text = file(root, b"bad\n", datasets=("sst5",))
    seen = [unlabelled.fingerprint("sst2", root, text)]
    assert seen == [unlabelled.fingerprint("sst2", root, text)]
    (root / "text/more.txt").write_bytes(b"sad\n")
    seen.append(unlabelled.fingerprint("sst2", root, text))
    seen.append(unlabelled.fingerprint("sst2", root, replace(text, datasets=("sst5", "sst2"))))
    seen.append(unlabelled.fingerprint("sst5", root, text))
    assert len({*seen}) == 4


Bad = tuple[bytes, dict[str, Any], str]
BAD: dict[str, Bad] = {
    "missing": (b"a\n", {"file": "text/none.txt"}, "none.txt is missing; put the suite's unlab"),
    "another": (b"a\n", {"sha256": "0" * 64}, f"more.txt: expected SHA-256 {'0' * 64}, found"),
    "other encoding": (b"bad\ncaf\xe9\n", {}, "more.txt:2: byte 0xe9 is no utf-8; save the file"),
    "UTF-16": ("a\nb\n".encode("utf-16-le"), {}, "more.txt:1: a NUL"),
    "empty line": (b"a\n\nfilm\n", {}, "more.txt:2: an empty line; delete it and name the SHA-256"),
    "nothing": (b"", {}, "more.txt:1: an empty line"),
    "no text": (b"a\n", {"datasets": ("digits",)}, "digits is no data set of sentences; name such"),
    "characters": (
        b"a\n",
        {"datasets": ("sst2", "waimai")},
        "waimai is read in characters and SST-2 in word pieces of v; name sets that are read alike",
    ),
    "other pieces": (b"a\n", {"datasets": ("mr",)}, "mr is read in word pieces of bert-base-uncas"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_such_text_is_one_line_with_the_remedy(root: Path, name: str) -> None:
    content, changes, words = BAD[name]
    text = file(root, content, **changes)
    assert words in refusal(partial(unlabelled.opened, "sst2", root, text))


def test_a_set_of_other_things_reads_no_text(root: Path) -> None:
    with pytest.raises(UnsupportedError, match="digits is no data set of sentences"):
        unlabelled.opened("digits", root, BOTH)


def test_without_a_data_root_the_file_is_missing(root: Path) -> None:
    text = file(root, b"a\n")
    assert "more.txt is missing" in refusal(partial(unlabelled.fingerprint, "digits", None, text))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "neither datasets nor a file"),
        ({"file": "a.txt"}, "come together or not at all"),
        ({"sha256": "0" * 64, "datasets": ("mr",)}, "come together or not at all"),
        ({"file": "a.txt", "sha256": "0" * 63}, "UnlabelledText.sha256"),
        ({"file": "/a.txt", "sha256": "0" * 64}, "relative to the data root, got '/a.txt'"),
        ({"file": "../a.txt", "sha256": "0" * 64}, "relative to the data root"),
    ],
)
def test_a_text_is_named_whole_and_below_the_data_root(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        UnlabelledText(**given)


def test_sets_that_write_one_sentence_in_two_ways_share_its_letters() -> None:
    """Of what MR has for training, so much is tested in SST-2, in other punctuation."""
    reader, root = real("sst2")
    others, _ = real("mr")
    held = [one for part in reader.sentences(root)[1:] for one in part]
    mine = others.sentences(root)[0]
    by_letters = len({one.letters for one in held} & {one.letters for one in mine})
    by_key = len({one.key for one in held} & {one.key for one in mine})
    assert (by_letters, by_key) == (1777, 24)


@needs_tokenizers
def test_the_published_text_is_the_one_that_the_suite_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from suites.spikebert_sst2 import SUITE

    # Whatever the words: BERT's vocabulary need not be here.
    known = dict(zip((PAD, UNKNOWN, BEGIN, END), range(4), strict=True))
    monkeypatch.setattr(WordPieces, "vocabulary", lambda *_: known)
    _, root = real("sst2")
    for name in ("sst5", "mr", "subj"):
        real(name)
    assert SUITE.unlabelled is not None
    read = catalogue.load("sst2")
    assert isinstance(read, Corpus)
    found = read.unlabelled(root, SUITE.unlabelled)
    assert f"{len(found.samples):,} unlabelled sentences" in SUITE.remarks["spikebert"]
