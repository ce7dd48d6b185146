"""Small sets of sentences, and a vocabulary of as many words as one likes."""

import hashlib
import os
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from suites.datasets._text import Corpus, WordPieces
from tests.data.publishing import published

needs_tokenizers = pytest.mark.skipif(
    find_spec("tokenizers") is None, reason="Hugging Face's tokenizers is not installed"
)


def corpus(module: Any) -> Corpus:
    found = module.DATASET
    assert isinstance(found, Corpus)
    return found


def put(root: Path, like: Corpus, *contents: bytes) -> Corpus:
    """Write a corpus with these files and return the data set that knows them."""
    paths = [file.path for file in like.card.files]
    for path, content in zip(paths, contents, strict=True):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    files = tuple(published(*item) for item in zip(paths, contents, strict=True))
    return replace(like, card=replace(like.card, files=files))


def vocabulary(root: Path, *words: str) -> WordPieces:
    """Write a vocabulary and return the tokeniser that reads it."""
    content = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]).encode() + b"\n"
    tokeniser = WordPieces(
        length=6, md5=hashlib.md5(content, usedforsecurity=False).hexdigest(), folder="text/v"
    )
    (root / "text/v").mkdir(parents=True)
    (root / "text/v/vocab.txt").write_bytes(content)
    return tokeniser


def real(name: str) -> tuple[Corpus, Path]:
    root = Path(os.environ.get("SNN_DISTILL_DATA", "no data root"))
    found = corpus(import_module(f"suites.datasets.{name}"))
    if not (root / found.card.files[0].path).is_file():
        pytest.skip(f"no {found.card.title} under SNN_DISTILL_DATA")
    return found, root


TAB = b"a fine film\t1\nAwful !\t0\n"
