"""SpikeBERT in both stages: it first reads four sets of sentences, without their labels."""

from dataclasses import replace

from harness.contracts.unlabelled import UnlabelledText
from suites.sst2_quick import SUITE as SST2

SUITE = replace(
    SST2,
    title="SST-2, whole sentences, after a first stage on unlabelled text",
    methods=("direct", "logit_kd", "spikebert"),
    unlabelled=UnlabelledText(datasets=("sst2", "sst5", "mr", "subj")),
    remarks={
        "spikebert": (
            "its first stage reads 14,542 unlabelled sentences of SST-2, SST-5, MR and Subj, at "
            "most once each; in `sst2_quick` it reads those of SST-2, at the same budget."
        ),
    },
)
