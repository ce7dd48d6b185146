"""Let the samples of a batch resemble each other as they do in the teacher's eyes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import stages_in_common
from harness.training.losses.relations import (
    angles,
    centred,
    directions,
    inner_products,
    relative_distances,
    similarities,
)

CARD = MethodCard(
    title="Similarities between samples, rates against features",
    citation=(
        "Knowledge distill for spiking neural networks. IJCNN 2024, "
        "doi 10.1109/IJCNN60899.2024.10650960; before that: SuperSNN, OpenReview cdwXPlM4uN"
    ),
    loss="reconstructed",
    weight="weight",
    reconstructed=(
        "centring over the batch and unit length as the common scale",
        "the vector before the classifier as the tap",
        "weight of the relational term",
    ),
    signals=("relations",),
)

Relation = Literal["cosine", "sp", "rkd"]


@dataclass(frozen=True, kw_only=True)
class SuperSnn:
    """``CE + weight * L_rel``, with the student's activity averaged over time.

    ``h`` is the vector before the classifier, ``F`` the last stage's map, flattened, and
    the sums run over a batch of ``N``:

    ========  =========================================================================
    relation  ``L_rel``
    ========  =========================================================================
    cosine    ``1/N^2 sum_ij (cos(h_i - m, h_j - m)_S - cos(h_i - m, h_j - m)_T)^2``,
              ``m`` the batch's mean: the idea of SuperSNN
    sp        ``1/N^2 |G_S - G_T|^2``, ``G = F F^T`` with rows of length 1
              (Tung & Mori, ICCV 2019, eq. 1 to 4)
    rkd       ``25 huber(psi_D) + 50 huber(psi_A)``, of relative distances and of angles
              (Park et al., CVPR 2019; the weights are RepDistiller's for CIFAR-100)
    ========  =========================================================================

    Vectors that are not centred all point the same way, as rates and rectified features
    are never negative, and their similarities differ by 1e-5.

    Attributes:
        relation: What is compared.
        weight: Of the relational term. RepDistiller has 3000 for ``sp`` and 1 for ``rkd``.
    """

    relation: Relation = "cosine"
    weight: NonNegativeFloat = 10.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend both terms.

        Raises:
            UnsupportedError: If not both networks have what is compared.
        """
        maps = self.relation == "sp"
        tap = stages_in_common(student, lesson.guide)[-1] if maps else "penultimate"
        if not (tap in student.tap_channels and tap in lesson.guide.tap_channels):
            raise UnsupportedError("student and teacher have no vector before the answer in common")
        error = _ERRORS[self.relation]

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            rate = widened(output.taps[tap]).mean(0).flatten(1)
            relational = error(rate, answer.taps[tap].flatten(1))
            return answer.task.supervised(output.logits.mean(0), labels) + self.weight * relational

        return descend(student, lesson, loss, taps=[tap], teacher_taps=[tap])


def cosine_error(
    ours: Tensor,  # [N, D]
    theirs: Tensor,  # [N, D']
) -> Tensor:
    """Return the mean squared difference of centred cosines."""
    return mse_loss(similarities(centred(ours)), similarities(centred(theirs)))


def similarity_preserving_error(
    ours: Tensor,  # [N, D]
    theirs: Tensor,  # [N, D']
) -> Tensor:
    """Return the mean squared difference of Gram matrices with rows of length 1."""
    return mse_loss(directions(inner_products(ours)), directions(inner_products(theirs)))


def distance_error(
    ours: Tensor,  # [N, D]
    theirs: Tensor,  # [N, D']
) -> Tensor:
    """Return the mean Huber loss between relative distances."""
    return smooth_l1_loss(relative_distances(ours), relative_distances(theirs))


def angle_error(
    ours: Tensor,  # [N, D]
    theirs: Tensor,  # [N, D']
) -> Tensor:
    """Return the mean Huber loss between the angles of all triplets."""
    return smooth_l1_loss(angles(ours), angles(theirs))


def relational_error(
    ours: Tensor,  # [N, D]
    theirs: Tensor,  # [N, D']
) -> Tensor:
    """Return the sum of distance and angle errors, weighted as in RepDistiller."""
    return 25 * distance_error(ours, theirs) + 50 * angle_error(ours, theirs)


_ERRORS: dict[Relation, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine_error,
    "sp": similarity_preserving_error,
    "rkd": relational_error,
}

METHOD: Method = SuperSnn()
