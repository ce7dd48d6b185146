"""A teacher's logits for a whole lesson, computed by the first who asks for them.

Batches depend on seed and epoch alone, so every method that asks a frozen teacher for
logits and nothing else gets the same numbers.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class Answers:
    """Logits by step, ``[steps, N, K]``; known from the start, or filled as they are computed.

    Attributes:
        teacher: Whose they are. Another that a method puts in its place is asked itself.
    """

    def __init__(
        self,
        teacher: object,
        steps: int,
        *,
        known: Tensor | None = None,  # [steps, N, K]
        keep: Callable[[Tensor], None] = lambda _: None,
    ) -> None:
        """Hand out ``known``, or call ``keep`` with the table once all of it was computed."""
        self.teacher = teacher
        self._steps, self._keep, self._known = steps, keep, known is not None
        self._table = known

    def at(
        self,
        place: Tensor,  # int64 [1]
        compute: Callable[[], Tensor],
    ) -> Tensor:
        """Return the logits ``[N, K]`` of the step ``place``."""
        if self._known and self._table is not None:
            return self._table.index_select(0, place)[0]
        logits = compute()
        if self._table is None:
            self._table = logits.new_full((self._steps, *logits.shape), torch.nan)
        self._table.index_copy_(0, place, logits.unsqueeze(0))
        return logits

    def finish(self) -> None:
        """Keep the table if every step of it was asked for."""
        if not self._known and self._table is not None and not self._table.isnan().any():
            self._known = True
            self._keep(self._table)
