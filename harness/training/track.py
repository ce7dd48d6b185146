"""What a student was given before its first step, held against what its method says."""

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from harness.contracts.errors import BudgetError

_ENOUGH = 32  # numbers; of fewer, two tensors may lie close by chance
_SAME = 0.9  # the cosine


class Start:
    """A student's weights before anything has touched them."""

    def __init__(self, student: nn.Module) -> None:
        """Remember them."""
        self._weights = {name: value.clone() for name, value in _weights(student)}

    def refuse_weights_of(self, teacher: nn.Module, student: nn.Module, /) -> None:
        """Do nothing if ``student`` has gone its first step from its own weights.

        A step turns a tensor by little. One that points as the teacher's does, and did not
        before, has been put there, scaled or not. A large step may turn one of them so far;
        therefore most must be so.

        Raises:
            BudgetError: If it is; names a tensor.
        """
        theirs, common, given = dict(_weights(teacher)), 0, []
        for name, now in _weights(student):
            then, taught = self._weights.get(name), theirs.get(name)
            if then is None or taught is None or not then.shape == taught.shape == now.shape:
                continue
            common += 1
            if _alike(now, taught) > _SAME > _alike(then, taught):
                given.append(name)
        if 2 * len(given) > common:
            raise BudgetError(
                f"this method's card says that students start from scratch, and {given[0]!r} "
                "starts as the teacher's; say track='inherited' in its CARD"
            )


def _weights(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        (name, value.detach())
        for name, value in network.named_parameters()
        if value.dim() > 1 and value.numel() >= _ENOUGH
    ]


def _alike(one: Tensor, other: Tensor) -> float:
    return float(cosine_similarity(one.flatten(), other.flatten(), dim=0))
