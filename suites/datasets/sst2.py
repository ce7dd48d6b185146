"""Stanford Sentiment Treebank, whole sentences, positive or negative: 6,920, 872 and 1,821."""

from harness.contracts.dataset import Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Tokens
from suites.datasets._text import Corpus, WordPieces

DATASET: Dataset = Corpus(
    folder="text/SST2",
    form="tab",
    tokeniser=WordPieces(length=48),
    card=DatasetCard(
        title="SST-2",
        classes=2,
        input=Tokens(vocabulary=30_522, length=48),
        split="the publisher's three files",
        flip_keeps_label=False,
        citation=(
            "R. Socher et al., Recursive deep models for semantic compositionality over a "
            "sentiment treebank, EMNLP 2013"
        ),
        licence="stated by nobody; offered for research",
        url="https://nlp.stanford.edu/sentiment/",
        encoding="word pieces of BERT, the same 48 tokens in every step; 0 is padding",
        files=(
            PublishedFile(
                path="text/SST2/train.tsv",
                size_bytes=720_259,
                md5="c6150a821d5effe356ec872c2b95855c",
            ),
            PublishedFile(
                path="text/SST2/dev.tsv",
                size_bytes=92_057,
                md5="3f2a9a844576f2b5a7aeeac2ccbab1c7",
            ),
            PublishedFile(
                path="text/SST2/test.tsv",
                size_bytes=188_749,
                md5="f8f49ee1b37ec68b0e8977fbe33761e2",
            ),
        ),
        class_names=("negative", "positive"),
    ),
)
