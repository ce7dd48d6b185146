"""A teacher's logits for a whole lesson, computed by the first who asks for them.

Batches depend on seed and epoch alone, so every method that asks a frozen teacher for
logits and nothing else gets the same numbers.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor


class Answers:
    """Logits by step, ``[steps, N, K]``; known from the start, or filled as they are computed.

    Attributes:
        teacher: Whose they are. Another that a method puts in its place is asked itself.
        spared_s: What computing them took another, in seconds, if they were known and asked
            for; 0 else, and None if nobody could tell.
    """

    def __init__(
        self,
        teacher: object,
        steps: int,
        *,
        known: Tensor | None = None,  # [steps, N, K]
        took_s: float | None = None,
        keep: Callable[[Tensor, float | None], None] = lambda *_: None,
    ) -> None:
        """Hand out ``known``, or call ``keep`` once all was computed.

        Args:
            teacher: Whose they are.
            steps: Of the lesson.
            known: The table.
            took_s: What it took to compute it, in seconds.
            keep: Is given the table and what it took; None on a device that is not waited for.
        """
        self.teacher = teacher
        self.spared_s: float | None = 0.0
        self._steps, self._keep, self._known = steps, keep, known is not None
        self._table = known
        self._took_s = took_s if self._known else 0.0

    def at(
        self,
        place: Tensor,  # int64 [1]
        compute: Callable[[], Tensor],
    ) -> Tensor:
        """Return the logits ``[N, K]`` of the step ``place``."""
        if self._known and self._table is not None:
            self.spared_s = self._took_s
            return self._table.index_select(0, place)[0]
        began_s = time.perf_counter()
        logits = compute()
        if self._took_s is not None:
            self._took_s = None if logits.is_cuda else self._took_s + time.perf_counter() - began_s
        if self._table is None:
            self._table = logits.new_full((self._steps, *logits.shape), torch.nan)
        self._table.index_copy_(0, place, logits.unsqueeze(0))
        return logits

    def finish(self) -> None:
        """Keep the table if every step of it was asked for."""
        if not self._known and self._table is not None and not self._table.isnan().any():
            self._known = True
            self._keep(self._table, self._took_s)
            self._took_s = 0.0  # its own: who asks again was spared nothing
