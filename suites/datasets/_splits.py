"""Samples from the bytes of a file, and the rule that holds some of them out for validation."""

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import DatasetCard, Samples
from harness.contracts.errors import DataError


def labelled(
    inputs: NDArray[np.uint8],  # [N, C, H, W]
    labels: NDArray[np.integer],  # [N]
    /,
    *,
    card: DatasetCard,
    path: str,
) -> Samples:
    """Return writable samples; torch warns of arrays that are not.

    Raises:
        DataError: If a label is none of the card's. Only a declared variant can have
            such: a published file matched its checksum.
    """
    if len(wrong := labels[(labels < 0) | (labels >= card.classes)]):
        raise DataError(
            f"{path}: label {wrong[0]} found; {card.title} has labels 0 to {card.classes - 1}: "
            f"get it again from {card.url}"
        )
    return Samples(inputs=inputs.copy(), labels=labels.astype(np.int64))


def last_tenth_of_each_class(
    labels: NDArray[np.integer],  # [N]
) -> NDArray[np.bool_]:
    """Return a mask ``[N]``: in file order, the last ``n // 10`` of every class of ``n``."""
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        chosen[of_class[len(of_class) - len(of_class) // 10 :]] = True
    return chosen


def divided(samples: Samples, /) -> tuple[Samples, Samples]:
    """Return ``(train, validation)`` by ``last_tenth_of_each_class``, each in file order."""
    held_out = last_tenth_of_each_class(samples.labels)
    return (
        Samples(inputs=samples.inputs[~held_out], labels=samples.labels[~held_out]),
        Samples(inputs=samples.inputs[held_out], labels=samples.labels[held_out]),
    )
