"""What a train of numbers says within windows of time."""

from torch import Tensor

from harness.contracts.errors import SpecError


def windowed(
    train: Tensor,  # [T, ...]
    *,
    width: int,
    stride: int = 1,
) -> Tensor:
    """Return the mean of every window, ``[M, ...]`` with ``M = (T - width) // stride + 1``.

    Of spikes these are rates. ``width`` 1 and ``stride`` 1 is the train itself, and
    ``width`` T its mean. A window longer than the train is cut to its length.

    Raises:
        SpecError: If ``width`` or ``stride`` is less than 1.
    """
    for name, value in (("width", width), ("stride", stride)):
        if value < 1:
            raise SpecError(f"the {name} of a window must be at least 1 step, got {value!r}")
    return train.unfold(0, min(width, len(train)), stride).mean(-1)
