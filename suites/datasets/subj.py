"""Sentences about films, objective or subjective: 5,000 each."""

from harness.contracts.dataset import Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Tokens
from suites.datasets._text import Corpus, WordPieces

DATASET: Dataset = Corpus(
    folder="text/Subj",
    form="label first",
    encoding="latin-1",
    tokeniser=WordPieces(length=64),
    index="subj",
    card=DatasetCard(
        title="Subj",
        classes=2,
        input=Tokens(vocabulary=30_522, length=64),
        split="80/10/10 % of each class by SHA-256, splits/subj.json",
        flip_keeps_label=False,
        citation=(
            "B. Pang & L. Lee, A sentimental education: Sentiment analysis using subjectivity "
            "summarization based on minimum cuts, ACL 2004"
        ),
        licence="stated by nobody; offered for research",
        url="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        encoding="word pieces of BERT, the same 64 tokens in every step; 0 is padding",
        files=(
            PublishedFile(
                path="text/Subj/subj.all",
                size_bytes=1_320_246,
                md5="0e323da2c3f41688c010c426fdd5a3bf",
            ),
        ),
        class_names=("subjective", "objective"),
    ),
)
