"""Ledgers by hand: what each layer counted, over all samples, in its last step."""

from typing import Any

import numpy as np

from harness.contracts.ledger import CATEGORIES, Category, Layer, Ledger, Shape, Tables


def made(samples: int, steps: int, /, *, unknown: Any = (), **layers: dict[str, Any]) -> Ledger:
    """Return a summed ledger.

    Args:
        samples: How many ran.
        steps: Of every layer.
        unknown: Categories that nobody counted.
        layers: By name; their counts, ``cached`` counts where they differ, and attributes.
    """
    return Ledger(
        layers={name: _layer(name, samples, steps, **said) for name, said in layers.items()},
        samples=samples,
        steps=steps,
        not_counted=tuple(unknown),
    )


def _layer(name: str, samples: int, steps: int, **said: Any) -> Layer:
    counts: dict[Category, int] = {item: said.pop(item) for item in CATEGORIES if item in said}
    cached = said.pop("cached", None)
    readings = {} if cached is None else {"cached": _tables(counts | cached, steps)}
    return Layer(
        **{"name": name, "kind": "linear", "operand": "binary"} | said,
        samples=samples,
        steps=steps,
        tally=_tables(counts, steps),
        readings=readings,
    )


def _tables(counts: dict[Category, int], steps: int) -> Tables:
    last = np.arange(steps) == steps - 1
    return {item: last[None].astype(np.int64) * count for item, count in counts.items()}


def random_ledger(seed: int, /, *, samples: int = 5, steps: int = 3) -> Ledger:
    """Return a ledger whose samples are apart: an encoding that ran once, neurons, a read-out."""
    draw = np.random.default_rng(seed)

    def tables(length: int) -> Tables:
        return {item: draw.integers(0, 99, (samples, length)) for item in CATEGORIES}

    shape = Shape(in_channels=2, out_channels=3)
    once, moving = tables(1), tables(steps)
    every = {item: table.repeat(steps, 1) for item, table in once.items()}
    pauses = draw.integers(0, 2, (samples, steps))
    layers = (
        Layer(
            name="encoding",
            kind="linear",
            operand="analog",
            samples=samples,
            steps=1,
            shape=shape,
            tally=once,
            readings={"per_step": every},
        ),
        Layer(
            name="moving",
            kind="linear",
            operand="analog",
            samples=samples,
            steps=steps,
            shape=shape,
            tally=moving,
            readings={"cached": {item: table * pauses for item, table in moving.items()}},
        ),
        Layer(
            name="neurons",
            kind="neuron",
            operand="binary",
            samples=samples,
            steps=steps,
            neurons=7,
            tally=tables(steps),
        ),
        Layer(
            name="pooled",
            kind="linear",
            operand="binary",
            samples=samples,
            steps=steps,
            shape=shape,
            tally=tables(steps),
            readings={"explicit": tables(steps)},
        ),
        Layer(name="norm", kind="norm", operand=None, samples=samples, steps=1, folded=True),
    )
    return Ledger(layers={layer.name: layer for layer in layers}, samples=samples, steps=steps)
