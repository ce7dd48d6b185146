"""What a loss sees of a last layer that never fires.

A network answers with the current of that layer in every step, ``logits [T, N, K]``. A layer
that accumulates has their running sum for a membrane. The class with the largest membrane
after ``t`` steps is the one with the largest mean current of steps ``1..t``, and that is the
decision the harness takes: accuracy over time and early decisions are right for either
read-out, and no network is told which one it has. A loss has to be: softmax and temperature
see ``T`` times as much of a sum as of a mean.
"""

from typing import Literal

from torch import Tensor

ReadOut = Literal["accumulated", "mean"]


def read_out(
    logits: Tensor,  # [T, N, K]
    how: ReadOut,
) -> Tensor:
    """Return the logits ``[N, K]`` that a loss is to compare.

    Args:
        logits: Of every step.
        how: The membrane that has ``accumulated`` after the last step, which is not divided
            by ``T``, or the ``mean``.
    """
    return logits.sum(0) if how == "accumulated" else logits.mean(0)
