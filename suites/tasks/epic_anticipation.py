"""Which action of EPIC-KITCHENS-100 begins in a second, with which verb and which noun?"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError
from harness.contracts.task import Score, Task
from harness.evaluation.detection import class_mean_recall, marginal
from suites.datasets._events_splits import split
from suites.tasks.action_anticipation import ActionAnticipation

PARTS = {"verb": "verbs", "noun": "nouns"}


@dataclass(frozen=True)
class EpicAnticipation(ActionAnticipation):
    """Recall among the five likeliest actions; further, among the five likeliest verbs and nouns.

    An action is a verb and a noun, and nobody asks for these by themselves: the probability of
    a verb is the sum over the actions that have it, as in Furnari & Farinella (TPAMI 2020).
    """

    gives: ClassVar = ("frames",)

    def of_actions(
        self,
        decisions: NDArray[Any],  # [N, K]
        shows: NDArray[np.bool_],  # [N, K]
        videos: NDArray[Any],  # [N]
    ) -> Score:
        """Return the class-mean recall of what ``shows`` says, of its verb and of its noun.

        Raises:
            SpecError: If these are not the actions of EPIC-KITCHENS-100.
        """
        further = {}
        for name, (part, parts) in parts_of_actions().items():
            if len(part) != decisions.shape[1]:
                raise SpecError(
                    f"decisions are about {decisions.shape[1]} actions, and "
                    f"EPIC-KITCHENS-100 has {len(part)}"
                )
            told, true = (marginal(each, part, parts=parts) for each in (decisions, shows))
            further[f"{name} recall@5"] = class_mean_recall(
                told, true > 0, videos, resamples=0
            ).value
        return replace(super().of_actions(decisions, shows, videos), further=further)


@cache
def parts_of_actions() -> dict[str, tuple[NDArray[np.int64], int]]:
    """Return by ``verb`` and ``noun`` which each action has, int64 ``[K]``, and how many there are.

    Raises:
        DataError: If the installation lacks the list.
    """
    listed = split("epic100_actions")
    return {
        name: (np.array(listed[name], dtype=np.int64), listed[many]) for name, many in PARTS.items()
    }


TASK: Task = EpicAnticipation()
