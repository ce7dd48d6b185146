"""1,797 real handwritten digits, 8x8, that come with scikit-learn: the embedded default."""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import Dataset, DatasetCard, DatasetProvenance, Samples, Splits
from harness.contracts.errors import DataError
from harness.contracts.inputs import Image

_SHA256 = "a19cb3d96bba7deace8ee5a513a6eb7bad0403d528f00bf4d351b6a7a55baa91"
_DARKEST = 16  # the source counts, per pixel, the set pixels of a 4x4 block


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The digits, from 0..16 stretched to 0..255.

    The split never asks a random generator, whose stream a new NumPy may change: within
    each class of ``n``, samples are sorted by the SHA-256 of their 64 pixel bytes; the
    first ``6 n // 10`` are for training, those up to ``7 n // 10`` for validation, the
    rest for testing. Each part is in file order.
    """

    card: DatasetCard

    def provenance(self, root: Path | None, /) -> DatasetProvenance:  # noqa: ARG002  it needs no root
        """Return the checksum that ``load`` insists on."""
        return DatasetProvenance(fingerprint=_SHA256)

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  needs neither
        """Read and verify the images."""
        grey, labels = source()
        # Exact in integers: round(255 v / 16), halves up.
        inputs = ((grey * 255 + _DARKEST // 2) // _DARKEST).astype(np.uint8).reshape(-1, 1, 8, 8)
        found = hashlib.sha256(inputs.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
        if found != _SHA256:
            raise DataError(
                f"scikit-learn's digits: expected SHA-256 {_SHA256}, found {found}; reinstall "
                "scikit-learn"
            )
        train, validation, test = (
            Samples(inputs=inputs[part], labels=labels[part]) for part in parts(inputs, labels)
        )
        return Splits(train=train, validation=validation, test=test)


def source() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return grey levels in 0..16 ``[N, 64]`` and labels ``[N]`` in file order."""
    package = find_spec("sklearn")
    folders = list(package.submodule_search_locations or ()) if package else []
    if not folders:
        raise DataError("the digits come with scikit-learn, which is missing; pip install it")
    table = Path(folders[0], "datasets", "data", "digits.csv.gz")
    if table.is_file():
        # Importing sklearn.datasets takes two seconds, a multiple of what a cell costs.
        with gzip.open(table, "rt", encoding="ascii") as lines:
            rows = np.loadtxt(lines, delimiter=",", dtype=np.int64)
        return rows[:, :-1], rows[:, -1]
    from sklearn.datasets import load_digits

    bundled = load_digits()
    return bundled.data.astype(np.int64), bundled.target.astype(np.int64)


def parts(
    inputs: NDArray[np.uint8],  # [N, 1, 8, 8]
    labels: NDArray[np.int64],  # [N]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the file positions of train, validation and test, each ascending."""
    key = [hashlib.sha256(image.tobytes()).digest() for image in inputs]
    chosen: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in np.unique(labels):
        of_class = sorted(np.flatnonzero(labels == label).tolist(), key=key.__getitem__)
        cuts = (0, 6 * len(of_class) // 10, 7 * len(of_class) // 10, len(of_class))
        for part, start, stop in zip(chosen, cuts, cuts[1:], strict=False):
            part.extend(of_class[start:stop])
    train, validation, test = (np.array(sorted(part), dtype=np.int64) for part in chosen)
    return train, validation, test


DATASET: Dataset = Digits(
    card=DatasetCard(
        title="Digits 8x8",
        classes=10,
        input=Image(
            shape=(1, 8, 8),
            # Of the 1,074 training images, to four digits.
            mean=(0.3048,),
            std=(0.3756,),
        ),
        split="60/10/30 % of each class, in the order of the pixels' SHA-256",
        flip_keeps_label=False,
        citation=(
            "E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, "
            "UCI Machine Learning Repository, 1998"
        ),
        licence="CC BY 4.0",
        url="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    )
)
