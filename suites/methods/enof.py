"""Judge the student's last feature by the teacher's own classifier."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, Teacher, descend, slots, softened_kl

CARD = MethodCard(
    title="The student's last feature through the teacher's classifier, with ReLU at the end",
    citation=(
        "Guo, Peng, Liu, Chen, Zhang, Tong, Jie, Ma. EnOF-SNN: Training accurate spiking neural "
        "networks via enhancing the output feature. NeurIPS 2024; that features are averaged over "
        "time: the authors' rebuttal, paperhub.cn/paper/SpcEwP6EYt"
    ),
    loss="reconstructed",
    weight="weight",
    reconstructed=("weight", "temperature"),
    claims=(
        Claim(
            accuracy=0.9537,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=1,
            where="secondary: a note on CKDSNN",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.7708,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=1,
            where="secondary: a note on CKDSNN",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.9619,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=2,
            where="secondary: a note on Logit-SNN",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.8243,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=None,
            where="secondary: a note on Logit-SNN (T = 2 or 6); one on CKDSNN has T = 4",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.8050,
            dataset="cifar10_dvs",
            architecture="ResNet-20",
            timesteps=10,
            where="as quoted in tables 7 to 9 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.9474,
            dataset="cifar10",
            architecture="ResNet-20",
            timesteps=4,
            where="as quoted in tables 7 to 9 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.7301,
            dataset="cifar100",
            architecture="ResNet-20",
            timesteps=4,
            where="as quoted in tables 7 to 9 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.6740,
            dataset="imagenet",
            architecture="ResNet-34",
            timesteps=4,
            where="as quoted in tables 7 to 9 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
    ),
    signals=("features", "logits"),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class Enof:
    """``CE + weight * temperature^2 KL(W f_A + b || W f_S + b)``, the last neurons being ReLU.

    ``W`` and ``b`` are the teacher's classifier, frozen; ``f_A`` and ``f_S`` what it and the
    student's classifier read, the latter averaged over time (L_AF). That ReLU answers at
    the end is RepAct: the feature is no longer made of zeros and ones.

    Attributes:
        temperature: Softening of both distributions.
        weight: Of the divergence.
    """

    temperature: PositiveFloat = 1.0
    weight: NonNegativeFloat = 1.0

    def realise(self, student: Student, /) -> None:
        """Put ReLU in the place of the last neurons."""
        for name in last_slots(student):
            student.network.set_submodule(name, nn.ReLU())

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend both terms.

        Raises:
            UnsupportedError: If the teacher's classifier reads another number of features.
        """
        guide = lesson.guide
        ours, theirs = (each.tap_channels["penultimate"] for each in (student, guide))
        if ours != theirs:
            raise UnsupportedError(
                f"the student's last feature has {ours} channels and the teacher's classifier "
                f"reads {theirs}; it cannot judge them"
            )

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            feature = output.taps["penultimate"].mean(0)
            aligned = alignment(guide, feature, answer.logits, temperature=self.temperature)
            return answer.task.supervised(output.logits.mean(0), labels) + self.weight * aligned

        return descend(student, lesson, loss, taps=["penultimate"])


def alignment(
    teacher: Teacher,
    feature: Tensor,  # [N, D]
    logits: Tensor,  # [N, K], the teacher's own
    *,
    temperature: float,
) -> Tensor:
    """Return the divergence of what its classifier makes of ``feature`` from ``logits``."""
    return softened_kl(teacher.tail("penultimate", feature), logits, temperature=temperature)


def last_slots(student: Student) -> tuple[str, ...]:
    """Return the slots that make the last feature.

    That is the last one, but for a block of the sew style that projects: it ends in two, one
    in each branch, and adds what they answer. In the other blocks of that style the branch
    around carries earlier spikes, and ReLU's answer is added to those.
    """
    names = slots(student)
    around = names[-1].endswith("activation_around")
    return names[-2:] if around else names[-1:]


METHOD: Method = Enof()
