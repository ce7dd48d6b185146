"""Loss terms that several methods share, each with the reference where the formula is."""

from torch import Tensor
from torch.nn import functional


def softened_kl(
    student: Tensor,  # [N, K]
    teacher: Tensor,  # [N, K]
    *,
    temperature: float,
) -> Tensor:
    """Return the divergence from softened teacher to softened student, in nats.

    The factor ``temperature ** 2`` keeps the gradient's size independent of the
    temperature (Hinton, Vinyals & Dean 2015, section 2.1).
    """
    log_p = functional.log_softmax(teacher / temperature, dim=-1)
    log_q = functional.log_softmax(student / temperature, dim=-1)
    return temperature**2 * functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def softened_kl_by_sample(
    student: Tensor,  # [N, K]
    teacher: Tensor,  # [N, K]
    *,
    temperature: float,
) -> Tensor:
    """Return ``softened_kl`` of each sample by itself, ``[N]``."""
    log_p = functional.log_softmax(teacher / temperature, dim=-1)
    log_q = functional.log_softmax(student / temperature, dim=-1)
    divergence = functional.kl_div(log_q, log_p, reduction="none", log_target=True)
    return temperature**2 * divergence.sum(-1)


def taught_share(
    student: Tensor,  # [N, K]
    teacher: Tensor,  # [N, K]
    labels: Tensor,  # [N]
    *,
    temperature: float,
    share: float,
) -> Tensor:
    """Return ``share temperature^2 KL(teacher || student) + (1 - share) CE``, in nats."""
    from_teacher = softened_kl(student, teacher, temperature=temperature)
    return share * from_teacher + (1 - share) * functional.cross_entropy(student, labels)
