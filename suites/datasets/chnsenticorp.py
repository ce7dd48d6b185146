"""Chinese reviews of hotels: 5,322 positive and 2,443 negative."""

from harness.contracts.dataset import Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Tokens
from suites.datasets._text import Characters, Corpus

DATASET: Dataset = Corpus(
    folder="text/ChnSentiCorp_htl",
    form="table",
    tokeniser=Characters(length=256, size=3_000),
    index="chnsenticorp",
    textless=frozenset({6376}),
    card=DatasetCard(
        title="ChnSentiCorp (hotels)",
        classes=2,
        input=Tokens(vocabulary=3_000, length=256),
        split="80/10/10 % of each class, splits/chnsenticorp.json; one review has no text",
        flip_keeps_label=False,
        citation=(
            "S. Tan & J. Zhang, An empirical study of sentiment analysis for Chinese documents, "
            "Expert Systems with Applications 34(4):2622-2629, 2008"
        ),
        licence="stated by nobody; offered for research",
        url="https://github.com/SophonPlus/ChineseNlpCorpus",
        encoding="characters, the same 256 tokens in every step; 0 is padding",
        files=(
            PublishedFile(
                path="text/ChnSentiCorp_htl/ChnSentiCorp_htl_all.csv",
                size_bytes=2_904_858,
                md5="8824a3e3f27de0831389fde01df425da",
            ),
        ),
        class_names=("negative", "positive"),
    ),
)
