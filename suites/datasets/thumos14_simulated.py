"""Simulated features for the real labels of THUMOS14, where the real features cannot be had.

The labels a frame of all 413 videos are real; of their features nothing is. Frame ``t`` of
video ``v``, ``WIDTH`` numbers, is

``x_t = g_v (sum_c a_tc P_c + b_tc Q_c + s_vc R_c) + o_v + n_t``

- ``a``: what the frame shows, 1 for its class, blurred in time by a Gaussian of ``BLUR``
  frames, as a feature of several images is. Background is 0. An ambiguous frame shows half of
  the action nearest in time.
- ``b``: what comes: it rises evenly from 0 to 1 over the ``APPROACH`` frames before an action
  of the class, so that there is something to anticipate.
- ``s``: the scene: 1 in all frames of a video for the classes it ever shows, background frames
  too. So the sport is easily seen, and whether it is being done is not.
- ``P``, ``Q``, ``R``: prototypes of the classes, normal, of deviation ``ACTION``, ``COMING``
  and ``SCENE``.
- ``g``, ``o``: the video's style, a log-normal gain and a normal offset.
- ``n``: noise, a share of it that lasts (autoregressive) and one that does not.

Everything is drawn from streams of one seed, prototypes from one and each video from one of
its own, and rounded to multiples of 2^-10, so that no processor's last digit is in it.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from harness.contracts.dataset import Dataset, DatasetCard, DatasetProvenance, Splits
from harness.contracts.errors import DataError
from harness.contracts.inputs import Features
from harness.seeds import stream
from suites.datasets import thumos14_oad
from suites.datasets._oad import (
    LABELS,
    NO_CLASS,
    RATE_HZ,
    Film,
    Shape,
    Videos,
    classes_of,
    joined,
    refuse_short,
)

SEED, PROCESS = 0, 1  # the number of this process; another one has another fingerprint
WIDTH = 48
SHAPE = Shape(length=128, work=8)
STEP = 4
# Of 225,222 frames; the literature judges every frame, which takes a processor hours.
JUDGED = 64
BLUR, APPROACH = 2.0, 12  # frames
ACTION, COMING, SCENE = 0.45, 0.35, 0.45
GAIN, OFFSET = 0.15, 0.4
LASTING, FLEETING, KEPT = 0.5, 0.8, 0.8
ARCHIVES = ("oad/thumos14/thumos14_perframe_labels.npz", "thumos14_perframe_labels.npz")
NOTE = (
    "simulated: features drawn from the real labels of THUMOS14's videos by a seeded process; "
    "nothing here compares with published results"
)

CARD = DatasetCard(
    title="THUMOS14 (simulated features)",
    task="online_action_detection",
    classes=len(thumos14_oad.CLASS_NAMES),
    input=Features(width=WIDTH, length=SHAPE.length, rate_hz=RATE_HZ),
    split=f"{thumos14_oad.SPLIT}; of those judged, every {JUDGED}th frame",
    flip_keeps_label=False,
    citation=f"labels: {thumos14_oad.CITATION}; features: simulated by this data set",
    licence=thumos14_oad.CARD.licence,
    url=thumos14_oad.CARD.url,
    encoding="direct: the simulated features of a window as a constant current in every step",
    class_names=thumos14_oad.CLASS_NAMES,
)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Windows over features that are made when the set is opened."""

    card: DatasetCard = CARD

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which labels are used, and of which process the features are."""
        source = _source(root)
        if source.is_dir():
            known = thumos14_oad.LAYOUT.labels_provenance(source, thumos14_oad.named(source))
            labels = known.fingerprint
        else:
            labels = hashlib.sha256(source.read_bytes()).hexdigest()
        told = f"{labels} process {PROCESS} seed {SEED}"
        return DatasetProvenance(
            fingerprint=hashlib.sha256(told.encode()).hexdigest(), notes=(NOTE,)
        )

    def film(self, root: Path | None, /) -> Film:
        """Return name, classes and simulated features of one video for training."""
        one = _videos(_source(root)).richest()
        return one.names[0], one.classes, features(one)

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  a static set
        """Read the real labels and simulate the features."""
        source = _source(root)
        videos = _videos(source)
        refuse_short(videos, source, SHAPE.work)
        return thumos14_oad.split(videos, features(videos), shape=SHAPE, step=STEP, judged=JUDGED)


def features(videos: Videos, /) -> NDArray[np.float32]:
    """Return the simulated features of all frames, float32 ``[F, WIDTH]``."""
    classes = len(thumos14_oad.CLASS_NAMES)
    draw = stream(SEED, "thumos14_simulated/prototypes")
    prototypes = draw.normal(size=(3, classes, WIDTH))  # [P Q R, K, D]
    prototypes *= np.array([ACTION, COMING, SCENE])[:, None, None]
    prototypes[:, 0] = 0  # background is what is left without an action
    made = np.empty((len(videos.classes), WIDTH), dtype=np.float32)
    for name, begin, end in zip(videos.names, videos.begins[:-1], videos.begins[1:], strict=True):
        made[begin:end] = _video(name, videos.classes[begin:end], prototypes)
    return made


def _video(
    name: str,
    classes: NDArray[np.int64],  # [F, M]
    prototypes: NDArray[np.float64],  # [3, K, D]
) -> NDArray[np.float64]:
    """Return the features of one video, ``[F, D]``; they depend on its name and labels alone."""
    draw = stream(SEED, f"thumos14_simulated/{name}")
    gain, offset = np.exp(GAIN * draw.normal()), OFFSET * draw.normal(size=WIDTH)
    shape = (len(classes), WIDTH)
    noise = FLEETING * draw.standard_normal(shape, dtype=np.float32)
    fresh = draw.standard_normal(shape, dtype=np.float32)
    # v_t = k v_(t-1) + sqrt(1 - k^2) e_t has the variance of e.
    noise += lfilter([LASTING * np.sqrt(1 - KEPT**2)], [1, -KEPT], fresh, axis=0)
    shown = np.concatenate(activity(classes, prototypes.shape[1]), axis=1)  # [F, 3 K]
    signal = shown @ prototypes.reshape(-1, WIDTH)
    rounded: NDArray[np.float64] = np.round((gain * signal + offset + noise) * 1024) / 1024
    return rounded


def activity(
    classes: NDArray[np.int64],  # [F, M]
    count: int,
    /,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:  # each [F, K]
    """Return what frames show, what is coming, and the scene."""
    frames = len(classes)
    shown = np.zeros((frames, count))
    for each in classes.T:
        known = each != NO_CLASS
        shown[known, each[known]] = 1
    scene = np.broadcast_to(shown.max(0), shown.shape).copy()
    coming = np.zeros_like(shown)
    for ahead in range(APPROACH, 0, -1):  # the nearer last, so it overwrites
        soon = np.zeros_like(shown)
        soon[:-ahead] = shown[ahead:]
        coming = np.where(soon > 0, (APPROACH + 1 - ahead) / APPROACH, coming)
    coming[shown > 0] = 0
    ambiguous = (classes == NO_CLASS).all(1)
    acting = np.flatnonzero(shown[:, 1:].any(1))
    if len(acting):
        for frame in np.flatnonzero(ambiguous):
            nearest = acting[np.argmin(np.abs(acting - frame))]
            shown[frame] = shown[nearest] / 2
    return gaussian_filter1d(shown, BLUR, axis=0, mode="nearest"), coming, scene


def _source(root: Path | None) -> Path:
    """Return the folder of published labels, or else the archive of them.

    Raises:
        DataError: If neither is there.
    """
    if root is not None:
        for name in thumos14_oad.LAYOUT.folders:
            if (root / name / LABELS).is_dir():
                return root / name
        for name in ARCHIVES:
            if (root / name).is_file():
                return root / name
    where = "no data root was given" if root is None else f"there are none under {root}"
    raise DataError(
        f"{CARD.title} is made from the labels of THUMOS14, and {where}; get the labels a frame "
        f"from {CARD.url} and point --data-root or SNN_DISTILL_DATA at the folder that holds "
        f"{thumos14_oad.LAYOUT.folders[0]}/{LABELS}/ or {ARCHIVES[0]}"
    )


def _videos(source: Path) -> Videos:
    if source.is_dir():
        return thumos14_oad.LAYOUT.videos(source, thumos14_oad.named(source))
    return packed(source)


def packed(path: Path, /) -> Videos:
    """Read an archive of labels: for each video ``PART/NAME``, ``packbits`` of its rows.

    Raises:
        DataError: If it cannot be read, or an array in it has another width.
    """
    columns = thumos14_oad.COLUMNS
    names, classes = [], []
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key.rpartition("/")[2]: archive[key] for key in sorted(archive.files)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for begin in thumos14_oad.VIDEOS:
        for name in sorted(each for each in arrays if each.startswith(begin)):
            bits = arrays[name]
            if bits.dtype != np.uint8 or bits.ndim != 2 or bits.shape[1] != -(-columns // 8):
                raise DataError(
                    f"{path}: {name} is {bits.dtype} {list(bits.shape)}; expected uint8 "
                    f"[L, {-(-columns // 8)}], {columns} bits a frame"
                )
            target = np.unpackbits(bits, axis=1)[:, :columns]
            names.append(name)
            classes.append(classes_of(target, ignored=thumos14_oad.AMBIGUOUS))
    if not names:
        raise DataError(f"{path} holds no video of THUMOS14; its arrays are called PART/VIDEO")
    return joined(names, classes)


DATASET: Dataset = Simulated()
