"""Digits as events, without a download: seen by a simulated sensor.

Each of scikit-learn's 8x8 digits is shown to an ideal sensor of 34x34 pixels that makes
N-MNIST's three saccades: 105 ms down to the right, 105 ms up to the right, 105 ms back to
the left, by 3.5 and 7 pixels (Orchard et al. 2015, section 2.3). The digit is enlarged to
24x24 pixels by bilinear interpolation and moved in steps of 3 ms. A pixel fires once for
every level of log intensity that it crosses in a step, ON upwards and OFF downwards;
levels are ``THRESHOLD`` apart. There is no noise, no refractory time and no spread
between pixels, all of which a real sensor has.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import Dataset, DatasetCard
from harness.contracts.errors import DataError
from harness.contracts.inputs import Image
from harness.data.events.framing import Events
from harness.data.events.recording import Recording
from suites.datasets import digits, nmnist
from suites.datasets._events import NO_MEAN, ONE_EVENT, POLARITIES, EventSet, Found, Part

SIDE, ENLARGED = 34, 3
STEP_US, STEPS_A_SACCADE = 3_000, 35
THRESHOLD, DARK_SHARE = 0.5, 0.1
_FIELDS = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
# A saccade moves by 3.5 or 7 pixels in 35 steps, so all positions are multiples of 1/20
# pixel; a pixel is 1/3 of a source pixel, so interpolation weights are multiples of 1/60.
_FINE = 20
_UNIT = _FINE * ENLARGED
_WHITE = 16 * _UNIT**2

CARD = DatasetCard(
    title="Digits as events",
    classes=10,
    input=Image(
        shape=(2, SIDE, SIDE),
        mean=NO_MEAN,
        std=ONE_EVENT,
    ),
    split="simulated from the parts of digits",
    flip_keeps_label=False,
    citation=f"{digits.DATASET.card.citation}; saccades of {nmnist.CARD.citation}",
    licence=digits.DATASET.card.licence,
    url=digits.DATASET.card.url,
    encoding=f"events: {POLARITIES}; a timestep is 1/T of the recording's 0.3 seconds",
)


def find(root: Path | None, /) -> Found:  # noqa: ARG001  it needs no root
    """List the digits to simulate."""
    splits = digits.DATASET.load(None)
    train, validation, test = (
        Part(
            recordings=tuple(
                Recording(name=f"{name}/{index:04d}", content=image.tobytes())
                for index, image in enumerate(samples.inputs)
            ),
            labels=tuple(samples.labels.tolist()),
        )
        for name, samples in (
            ("train", splits.train),
            ("validation", splits.validation),
            ("test", splits.test),
        )
    )
    return Found(
        train=train,
        validation=validation,
        test=test,
        decode=simulated,
        notes=("simulated: 8x8 digits turned into events by saccades before an ideal sensor",),
    )


def simulated(recording: Recording, content: bytes, /) -> Events:
    """Return the events of one digit, 64 bytes of grey.

    Raises:
        DataError: If these are not 64 bytes.
    """
    if len(content) != 64:
        raise DataError(f"{recording.where}: a digit has 64 pixels, got {len(content)} bytes")
    # 0..255 back to 0..16, exactly; then everything is an integer until the table of levels.
    grey = (np.frombuffer(content, np.uint8).astype(np.float64) * 16 / 255).round().reshape(8, 8)
    down, across = _weights()
    seen = down @ grey @ across.transpose(0, 2, 1)  # [step, y, x], in 1/60**2 of a grey level
    levels = _levels()[seen.astype(np.int64)]
    change = np.diff(levels, axis=0)
    step, y, x = np.nonzero(change)
    crossed = change[step, y, x]
    events = np.empty(len(step), dtype=_FIELDS)
    events["x"], events["y"], events["t"], events["p"] = x, y, (step + 1) * STEP_US, crossed > 0
    # A pixel that crosses several levels in a step fires as often.
    return np.repeat(events, np.abs(crossed))


@cache
def _levels() -> NDArray[np.int16]:
    """Return the level of log intensity of every brightness from black to white."""
    brightness = np.arange(_WHITE + 1) / _WHITE
    return np.floor(np.log((brightness + DARK_SHARE) / DARK_SHARE) / THRESHOLD).astype(np.int16)


@cache
def _weights() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much each source row and column is seen by each pixel, ``[step, 34, 8]``."""
    # In 1/20 pixel: 3.5 pixels in 35 steps are two units a step, 7 pixels four.
    along = 2 * np.arange(STEPS_A_SACCADE)
    x = np.concatenate([along, 70 + along, 140 - 2 * along, [0]])
    y = np.concatenate([2 * along, 140 - 2 * along, 0 * along, [0]])
    margin = _FINE * (SIDE - 8 * ENLARGED - 7) // 2
    return _bilinear(y + margin), _bilinear(x + margin)


def _bilinear(
    offset: NDArray[np.int64],  # [step], of the digit's edge, in 1/20 pixel
) -> NDArray[np.float64]:
    """Return whole weights ``[step, 34, 8]`` that sum to at most 60 over the source."""
    centre = _FINE * np.arange(SIDE) + _FINE // 2  # of a pixel of the sensor
    source = _UNIT * np.arange(8) + _UNIT // 2  # of a pixel of the digit
    distance = np.abs(centre[None, :, None] - offset[:, None, None] - source)
    weights: NDArray[np.float64] = np.maximum(_UNIT - distance, 0).astype(np.float64)
    return weights


DATASET: Dataset = EventSet(name="digits_events", card=CARD, framing=nmnist.FRAMING, find=find)
