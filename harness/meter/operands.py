"""What values a layer reads, joined over the whole run, and how many are not zero."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.errors import CountingError
from harness.contracts.ledger import OperandClass

SPIKES = frozenset[OperandClass](("silent", "binary", "ternary", "scaled"))


@dataclass
class Operand:
    """The join of everything a layer has read.

    ``silent < binary < ternary < scaled < integer < analog``: a join only climbs.

    Attributes:
        amplitudes: Of all values that are not zero, the same for the whole tensor; one a
            channel only where a constant of each channel is known to have scaled spikes.
        constant: Whether there are such amplitudes.
        integral: Whether all values are integers.
        signed: Whether any is negative.
        spoke: Whether anything but zero was read, or promised.
        seen: Whether values were looked at, and not only promised.
        timed: Whether any were spikes whose times say more than that they came.
    """

    amplitudes: Tensor | None = None
    constant: bool = True
    integral: bool = True
    signed: bool = False
    spoke: bool = False
    seen: bool = False
    timed: bool = False

    def operand(self) -> OperandClass:
        """Return the class so far."""
        if not self.spoke:
            return "silent"
        if self.constant and self.amplitudes is not None:
            if bool((self.amplitudes == 1).all()):
                return "ternary" if self.signed else "binary"
            return "scaled"
        return "integer" if self.integral else "analog"

    def is_analog(self) -> bool:
        """Return whether nothing can change any more."""
        return self.spoke and not self.constant and not self.integral

    def join_spikes(self, scale: Tensor | None = None, *, timed: bool = False) -> None:
        """Join spikes that are 0 or ``scale`` by construction; None means 1."""
        self.timed |= timed
        amplitudes = torch.ones(1, dtype=torch.float64) if scale is None else scale.abs()
        self._join(
            amplitudes,
            constant=True,
            integral=bool((amplitudes == amplitudes.round()).all()),
            signed=scale is not None and bool((scale < 0).any()),
        )

    def join(self, other: "Operand") -> None:
        """Join everything ``other`` has read."""
        self.seen |= other.seen
        self.timed |= other.timed
        if other.spoke:
            self._join(
                other.amplitudes,
                constant=other.constant,
                integral=other.integral,
                signed=other.signed,
            )

    def observe(self, values: Tensor) -> None:
        """Join ``values``.

        Raises:
            CountingError: If a value is not finite.
        """
        self.seen = True
        if values.numel() == 0:
            return
        if values.dtype == torch.bool:
            values = values.to(torch.uint8)
        low, high = values.amin().item(), values.amax().item()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise CountingError(f"values range from {low} to {high}; find where they overflow")
        if self.is_analog() or low == 0 == high:
            return
        # One sample is often enough to see that values are analog.
        seen = _look(values[:1] if values.ndim else values)
        if seen.constant or seen.integral:
            seen = _look(values)
        self.join(seen)

    def _join(
        self, amplitudes: Tensor | None, *, constant: bool, integral: bool, signed: bool
    ) -> None:
        self.spoke = True
        self.signed |= signed
        self.integral &= integral
        self.constant &= constant
        if not self.constant or amplitudes is None:
            self.constant, self.amplitudes = False, None
        elif self.amplitudes is None:
            self.amplitudes = amplitudes
        elif not _agree(self.amplitudes, amplitudes):
            self.constant, self.amplitudes = False, None


def _agree(mine: Tensor, theirs: Tensor) -> bool:
    comparable = mine.numel() == theirs.numel() or 1 in (mine.numel(), theirs.numel())
    return comparable and bool((mine == theirs).all())


def _look(values: Tensor) -> Operand:
    """Return the operand that ``values`` alone are."""
    signed = bool(values.amin() < 0)
    size = values.abs() if signed else values
    largest = size.amax()
    constant = bool(((size == 0) | (size == largest)).all())
    return Operand(
        amplitudes=largest.double().reshape(1).cpu() if constant else None,
        constant=constant,
        integral=not values.is_floating_point() or bool((values == values.round()).all()),
        signed=signed,
        spoke=bool(largest > 0),
    )


def nonzero(values: Tensor) -> Tensor:
    """Return 1 where a value is not zero, in memory that suits a fast sum."""
    if values.dtype == torch.bool or not values.is_floating_point():
        return (values != 0).to(torch.float32)
    # Writing the comparison as floats is five times faster than casting a Boolean.
    return torch.ne(values, 0, out=torch.empty_like(values))


def exact_sum(
    whole: Tensor,  # integers as floats, of magnitude up to ``bound``
    dims: tuple[int, ...],
    *,
    bound: float = 1.0,
) -> Tensor:
    """Return the sum over ``dims`` as float64, exact.

    A sum of integers in a floating type is exact while it stays below ``2 / eps``:
    2**24 in float32, 256 in bfloat16, whose accumulators are float32. One larger is
    summed in parts that stay below.
    """
    if not dims:
        return whole.double()
    limit = int(2 / torch.finfo(whole.dtype).eps / max(bound, 1.0))
    for dim in sorted(dims, reverse=True):
        length = whole.shape[dim]
        if length > limit and whole.dtype != torch.float64:
            return _sum_in_parts(whole, dims, dim=dim, part=max(limit, 1))
    if whole.dtype != torch.float64 and math.prod(whole.shape[dim] for dim in dims) > limit:
        first, *rest = dims
        partial = whole.sum(first, keepdim=True).double()
        return partial.sum(rest).squeeze(first) if rest else partial.squeeze(first)
    return whole.sum(dims).double()


def _sum_in_parts(whole: Tensor, dims: tuple[int, ...], *, dim: int, part: int) -> Tensor:
    starts = range(0, whole.shape[dim], part)
    pieces = [whole.narrow(dim, start, min(part, whole.shape[dim] - start)) for start in starts]
    total = [piece.sum(dim, keepdim=True).double() for piece in pieces]
    return torch.stack(total).sum(0).sum(dims)
