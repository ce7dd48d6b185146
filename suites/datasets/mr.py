"""Movie reviews, one sentence each: 5,331 negative and 5,331 positive."""

from harness.contracts.dataset import Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Tokens
from suites.datasets._text import Corpus, WordPieces

DATASET: Dataset = Corpus(
    folder="text/MR",
    form="label first",
    encoding="latin-1",
    tokeniser=WordPieces(length=64),
    index="mr",
    card=DatasetCard(
        title="MR",
        classes=2,
        input=Tokens(vocabulary=30_522, length=64),
        split="80/10/10 % of each class by SHA-256, splits/mr.json",
        flip_keeps_label=False,
        citation=(
            "B. Pang & L. Lee, Seeing stars: Exploiting class relationships for sentiment "
            "categorization with respect to rating scales, ACL 2005"
        ),
        licence="stated by nobody; offered for research",
        url="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
        encoding="word pieces of BERT, the same 64 tokens in every step; 0 is padding",
        files=(
            PublishedFile(
                path="text/MR/rt-polarity.all",
                size_bytes=1_259_719,
                md5="908b4ca55b130f6adb0b5d55868b35fa",
            ),
        ),
        class_names=("negative", "positive"),
    ),
)
