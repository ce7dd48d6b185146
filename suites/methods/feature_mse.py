"""Pull the student's firing rates, stage by stage, to the teacher's features."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import mean_of, projectors, same_size, stages_in_common

CARD = MethodCard(
    title="Squared error between projected firing rates and the teacher's stages",
    citation="Romero et al. FitNets: hints for thin deep nets. ICLR 2015",
    loss="reconstructed",
    weight="weight",
    reconstructed=("rates in the place of features", "all stages in the place of one hint"),
    signals=("features",),
    extras=("a 1x1 convolution and a norm a stage",),
    departures=(
        "stages of one name are compared, also where one network has more of them than the other",
    ),
)


@dataclass(frozen=True, kw_only=True)
class FeatureMse:
    """``CE + weight * mean over stages |regress(rate) - feature|^2``.

    The regressor is FitNets' (section 2.2), a convolution, here 1x1 and followed by a
    norm, since a rate lies in [0, 1] and the feature it is compared with does not.

    Attributes:
        weight: Of the mean squared error.
    """

    weight: NonNegativeFloat = 1.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend, with one regressor a stage that both networks have."""
        stages = stages_in_common(student, lesson.guide)
        regressors = projectors(student, lesson.guide, stages).to(lesson.device)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            errors = [
                feature_error(
                    regressors[name],
                    answer.places(output.taps[name].mean(0)),
                    answer.places(answer.taps[name]),
                )
                for name in stages
            ]
            hint = mean_of(errors)
            return answer.task.supervised(output.logits.mean(0), labels) + self.weight * hint

        return descend(
            student, lesson, loss, also_train=[regressors], taps=stages, teacher_taps=stages
        )


def feature_error(
    regressor: nn.Module,
    rate: Tensor,  # [N, C, H, W]
    feature: Tensor,  # [N, C', H', W']
) -> Tensor:
    """Return the mean squared error at the coarser of both resolutions."""
    rate, feature = same_size(rate, feature)
    return mse_loss(widened(regressor(rate)), widened(feature))


METHOD: Method = FeatureMse()
