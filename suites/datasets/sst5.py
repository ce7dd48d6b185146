"""Stanford Sentiment Treebank, whole sentences, five degrees: 8,544, 1,101 and 2,210."""

from harness.contracts.dataset import Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Tokens
from suites.datasets._text import Corpus, WordPieces

DATASET: Dataset = Corpus(
    folder="text/SST5",
    form="label first",
    tokeniser=WordPieces(length=64),
    card=DatasetCard(
        title="SST-5",
        classes=5,
        input=Tokens(vocabulary=30_522, length=64),
        split="the publisher's three files",
        flip_keeps_label=False,
        citation=(
            "R. Socher et al., Recursive deep models for semantic compositionality over a "
            "sentiment treebank, EMNLP 2013"
        ),
        licence="stated by nobody; offered for research",
        url="https://nlp.stanford.edu/sentiment/",
        encoding="word pieces of BERT, the same 64 tokens in every step; 0 is padding",
        files=(
            PublishedFile(
                path="text/SST5/stsa.fine.train",
                size_bytes=902_818,
                md5="09d69926addc03894c0f7a282d50511e",
            ),
            PublishedFile(
                path="text/SST5/stsa.fine.dev",
                size_bytes=117_239,
                md5="22a483407dbb6be6a141d84ce669006f",
            ),
            PublishedFile(
                path="text/SST5/stsa.fine.test",
                size_bytes=233_634,
                md5="36e6cf007139356976533f9b0d0a7954",
            ),
        ),
        class_names=("very negative", "negative", "neutral", "positive", "very positive"),
    ),
)
