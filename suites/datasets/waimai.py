"""Chinese reviews of delivered meals: 4,000 positive and 7,987 negative."""

from harness.contracts.dataset import Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Tokens
from suites.datasets._text import Characters, Corpus

DATASET: Dataset = Corpus(
    folder="text/waimai_10k",
    form="table",
    tokeniser=Characters(length=128, size=3_000),
    index="waimai",
    card=DatasetCard(
        title="Waimai 10k",
        classes=2,
        input=Tokens(vocabulary=3_000, length=128),
        split="80/10/10 % of each class by SHA-256, splits/waimai.json",
        flip_keeps_label=False,
        citation=("Reviews collected by a delivery service; published in ChineseNlpCorpus, 2018"),
        licence="stated by nobody; offered for research",
        url="https://github.com/SophonPlus/ChineseNlpCorpus",
        encoding="characters, the same 128 tokens in every step; 0 is padding",
        files=(
            PublishedFile(
                path="text/waimai_10k/waimai_10k.csv",
                size_bytes=919_380,
                md5="d2500508a949d0788fab988794937be5",
            ),
        ),
        class_names=("negative", "positive"),
    ),
)
