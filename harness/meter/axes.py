"""Where samples and steps are inside a tensor.

Every dimension is a product of factors, outermost first: ``[T*N, C]`` is
``((("T", T), ("N", N)), (("", C),))``. Factors of size one are left out, so that
squeezing, unsqueezing and viewing are the same thing.
"""

from collections.abc import Sequence
from math import prod

from torch import Tensor

Factor = tuple[str, int]
Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]


def plain(size: int) -> Axis:
    """Return a dimension that is neither samples nor steps."""
    return () if size == 1 else (("", size),)


def labelled(label: str, size: int) -> Axis:
    """Return a dimension that is wholly ``label``."""
    return () if size == 1 else ((label, size),)


def has(axes: Sequence[Axis], label: str) -> bool:
    """Return whether any dimension holds ``label``."""
    return any(name == label for axis in axes for name, _ in axis)


def position(axes: Axes, label: str) -> int | None:
    """Return the dimension that holds ``label``, or None."""
    for dim, axis in enumerate(axes):
        if any(name == label for name, _ in axis):
            return dim
    return None


def guessed(shape: Sequence[int], samples: int) -> Axes | None:
    """Return the time-major reading of ``shape``, or None if no dimension fits.

    A leading dimension of ``k * samples`` is ``k`` steps; ``[T, N, ...]`` is told from
    it by its second dimension. Of two readings the one with steps is preferred.
    """
    rest = [plain(size) for size in shape]
    if len(shape) > 1 and shape[1] == samples and samples > 1 and shape[0] != samples:
        return (labelled("T", shape[0]), labelled("N", samples), *rest[2:])
    if shape and shape[0] % samples == 0:
        return (labelled("T", shape[0] // samples) + labelled("N", samples), *rest[1:])
    return None


def regrouped(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Return ``axes`` seen as ``shape``, or None if that cuts through samples or steps."""
    pending = [factor for axis in axes for factor in axis][::-1]
    result: list[Axis] = []
    for size in shape:
        axis: list[Factor] = []
        missing = size
        while missing > 1:
            if not pending:
                return None
            label, length = pending.pop()
            if missing % length == 0:
                axis.append((label, length))
                missing //= length
            elif not label and length % missing == 0:
                axis.append(("", missing))
                pending.append(("", length // missing))
                missing = 1
            else:
                return None
        result.append(tuple(axis))
    return tuple(result)


def broadcast(known: Sequence[tuple[Axes | None, Sequence[int]]], shape: Sequence[int]) -> Axes:
    """Return the axes of an elementwise result of ``shape``."""
    result = [plain(size) for size in shape]
    for axes, source in known:
        if axes is None or len(source) > len(shape):
            continue
        offset = len(shape) - len(source)
        for dim, axis in enumerate(axes):
            fits = source[dim] == shape[offset + dim]
            if fits and any(label for label, _ in axis):
                result[offset + dim] = axis
    return tuple(result)


def to_units(
    counts: Tensor,  # [rows]
    axis: Axis,
    samples: int,
) -> Tensor | None:
    """Return ``counts`` summed to ``[steps, samples]``, or None if samples are unknown."""
    grid = units_first(counts, (axis,), samples)
    return None if grid is None else grid.sum(-1)


def units_first(values: Tensor, axes: Axes, samples: int) -> Tensor | None:
    """Return ``values`` as ``[steps, samples, others]``, or None if samples are unknown."""
    if samples > 1 and not has(axes, "N"):
        return None
    factors = [factor for axis in axes for factor in axis]
    order = sorted(range(len(factors)), key=lambda place: ("T", "N", "").index(factors[place][0]))
    grid = values.reshape([length for _, length in factors]).permute(order)
    return grid.reshape(prod(map(steps_of, axes)), samples, -1)


def labels(axes: Axes) -> set[str]:
    """Return what ``axes`` hold, samples and steps, but for axes of length 1."""
    return {label for axis in axes for label, _ in axis if label}


def steps_of(axis: Axis) -> int:
    """Return how many steps a row axis holds."""
    return prod(length for label, length in axis if label == "T")
