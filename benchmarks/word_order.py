"""How much of a suite of texts is said by words alone, whatever their order.

    python -m benchmarks.word_order sst2_quick --out runs

A linear classifier of counted tokens knows no order, nor does ``spikformer_text``. The teacher
does, and is asked about the same sentences with their words shuffled. Test accuracy in per cent.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from harness.contracts.dataset import Samples
from harness.contracts.inputs import Tokens
from harness.data import catalogue
from harness.engine.cell import teacher_of
from harness.engine.grid import load_suite
from harness.engine.resolve import opened
from harness.engine.teachers import identity_of
from harness.results import Published
from harness.store import Store
from harness.training import Teacher

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)  # scikit-learn's C; the best on validation is taken


def counted(samples: Samples, *, vocabulary: int, pad: int) -> csr_matrix:
    """Return how often each sentence has each token, ``[N, V]``."""
    tokens = np.asarray(samples.inputs)
    rows, columns = np.nonzero(tokens != pad)
    ones = np.ones(len(rows))
    return csr_matrix((ones, (rows, tokens[rows, columns])), shape=(len(tokens), vocabulary))


def shuffled(tokens: Tensor, *, pad: int) -> Tensor:
    """Return sentences ``[N, L]`` with all but the first and last token in another order."""
    generator = torch.Generator().manual_seed(0)
    mixed = tokens.clone()
    for sentence in mixed:
        inner = int((sentence != pad).sum()) - 2
        sentence[1 : inner + 1] = sentence[1 + torch.randperm(inner, generator=generator)]
    return mixed


def right(teacher: Teacher, tokens: Tensor, labels: NDArray[np.int64]) -> float:
    """Return how many per cent the teacher decides as ``labels``."""
    said = [teacher.see(part).logits[0].argmax(-1) for part in torch.split(tokens, 64)]
    return 100 * float((torch.cat(said).numpy() == labels).mean())


def main() -> None:
    """Print the three accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    asked = parser.parse_args()
    suite = load_suite(asked.suite)
    root = os.environ.get("SNN_DISTILL_DATA")
    card = catalogue.load(suite.dataset).card
    if not isinstance(kind := card.input, Tokens):
        parser.error(f"{asked.suite} shows {type(kind).__name__} and no text; sst2_quick does")
    splits = opened(suite.dataset, Path(root) if root else None, suite.timesteps[0])
    train, validation, test = (
        (counted(part, vocabulary=kind.vocabulary, pad=kind.pad), np.asarray(part.labels))
        for part in (splits.train, splits.validation, splits.test)
    )
    linear = max(
        (LogisticRegression(C=each, max_iter=2000).fit(*train) for each in PENALTIES),
        key=lambda one: one.score(*validation),
    )
    store = Store(asked.out)
    identity = identity_of(suite, card.split, store, Published())
    teacher, _, _ = teacher_of(store, identity, suite.models[0], torch.device("cpu"))
    tokens, labels = torch.as_tensor(splits.test.inputs).long(), test[1]
    print(f"counted tokens, linear   {100 * linear.score(*test):.1f} (C = {linear.C})")
    print(f"teacher                  {right(teacher, tokens, labels):.1f}")
    mixed = shuffled(tokens, pad=kind.pad)
    print(f"teacher, words shuffled  {right(teacher, mixed, labels):.1f}")


if __name__ == "__main__":
    main()
