"""Look where the teacher looks, and match its logits with noisy ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, Teacher, descend, softened_kl
from harness.training.losses.projection import last_stage, same_size

CARD = MethodCard(
    title="Spike maps against the teacher's activation maps, and noise on the student's logits",
    citation=(
        "Liu, Xia, Zhou, Xu, Guo. A closer look at knowledge distillation in spiking neural "
        "network training. AAAI 2026, arXiv 2511.06902; code: github.com/SinoLeu/CKDSNN"
    ),
    loss="reconstructed",
    weight="map_weight",
    reconstructed=("the paper's formulas, read in notes on it; where its code differs, see below",),
    claims=(
        Claim(
            accuracy=0.9611,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=1,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.9781,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=4,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.7911,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=1,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.8388,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=4,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.8307,
            dataset="cifar100",
            architecture="Spikformer-4-384",
            timesteps=1,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.7133,
            dataset="imagenet",
            architecture="SEW-ResNet-34",
            timesteps=2,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.7305,
            dataset="imagenet",
            architecture="SEW-ResNet-34",
            timesteps=4,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
        Claim(
            accuracy=0.8155,
            dataset="cifar10_dvs",
            architecture="ResNet-20",
            timesteps=10,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/2ca55b74d318b52974817a04d3"
                "957c1f1f22e7a3/docs/AAAI2026/model_compression/a_closer_look_at_knowledge_di"
                "stillation_in_spiking_neural_ne.md"
            ),
        ),
    ),
    signals=("features", "logits"),
    departures=(
        (
            "on MS-ResNets, whose stages hand on sums of currents, a map is a sum of these, with "
            "their signs, and not of spikes (docs/models.md)"
        ),
        (
            "the authors' code weighs channels by the classifier's weights; Grad-CAM, which the "
            "paper names and a helper of the code has, asks no global average before the classifier"
        ),
        (
            "the authors' code scales the maps of a whole batch to [0, 1], with 0.001 added to "
            "their range; here each map by itself, as that helper does, so that no sample's loss "
            "depends on its neighbours"
        ),
        (
            "the authors' code squares the noise's deviation and mixes probabilities, 0.9 to 0.1; "
            "here noise is added to logits, as in the paper"
        ),
        "the authors' code leaves temperature squared out of the maps' divergence, the paper not",
        "the authors' code leaves the teacher's norms in training mode; here it is frozen",
    ),
    needs=("classes", "maps"),
)


@dataclass(frozen=True, kw_only=True)
class Ckdsnn:
    """``CE + map_weight * SAMD + logit_weight * NLD``.

    Saliency-scaled activation map distillation: ``Tau^2 KL(softmax(M_A / Tau) ||
    softmax(M_S / Tau))`` over the sites of the last stage, where ``M_A`` is the teacher's
    Grad-CAM and ``M_S`` the student's spikes, summed over channels and time; both scaled to
    [0, 1]. It is the class that the teacher decides for, as in the authors' code.
    Noise-smoothed logits distillation: ``tau^2 KL(teacher || student + noise * e)`` with
    ``e ~ N(mean, std^2)`` of a sample's logits, which have a gradient through both.

    Attributes:
        map_temperature: ``Tau``.
        map_weight: Of the maps' divergence.
        temperature: ``tau``.
        noise: Share of the noise; 0 is the plain softened divergence.
        logit_weight: Of the logits' divergence.
    """

    map_temperature: PositiveFloat = 2.0
    map_weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0
    noise: Fraction = 0.1
    logit_weight: NonNegativeFloat = 1.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend all three terms."""
        guide = lesson.guide
        ours, theirs = last_stage(student.tap_channels), last_stage(guide.tap_channels)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            mean = output.logits.mean(0)
            looks = class_map(guide, theirs, answer.taps[theirs], answer.logits.argmax(1))
            maps = map_divergence(
                spike_map(output.taps[ours]), looks, temperature=self.map_temperature
            )
            noisy = with_noise(mean, share=self.noise)
            logits = answer.task.divergence(noisy, answer.logits, temperature=self.temperature)
            return (
                answer.task.supervised(mean, labels)
                + self.map_weight * maps
                + self.logit_weight * logits
            )

        return descend(student, lesson, loss, taps=[ours], teacher_taps=[theirs])


def class_map(
    teacher: Teacher,
    stage: str,
    feature: Tensor,  # [N, C, H, W]
    classes: Tensor,  # [N]
) -> Tensor:
    """Return Grad-CAM ``[N, H, W]``: ``relu(sum_c a_c F_c)``, ``a_c`` the mean gradient.

    The gradient is that of the class's logit (Selvaraju et al., ICCV 2017, eqs. 1 and 2).
    """
    feature = widened(feature).requires_grad_()
    logits = teacher.tail(stage, feature)
    # In evaluation no sample hears another, so one sum has the gradients of all.
    chosen = logits.gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, feature)
    share = gradient.mean((2, 3), keepdim=True)  # [N, C, 1, 1]
    return (share * feature.detach()).sum(1).relu()


def spike_map(
    spikes: Tensor,  # [T, N, C, H, W]
) -> Tensor:
    """Return how much each site says, over all channels and steps, ``[N, H, W]``."""
    return widened(spikes).sum((0, 2))


def map_divergence(
    student: Tensor,  # [N, H, W]
    teacher: Tensor,  # [N, H', W']
    *,
    temperature: float,
) -> Tensor:
    """Return the divergence of the scaled maps, as distributions over sites, in nats."""
    ours, theirs = (scaled(each.flatten(1)) for each in same_size(student, teacher))
    return softened_kl(ours, theirs, temperature=temperature)


def scaled(
    maps: Tensor,  # [N, sites]
) -> Tensor:
    """Return each map from 0 at its least to 1 at its largest; 0 where it is constant."""
    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    # A silent sample's map has no range. A tiny number in its place would make the zeros'
    # surrogate gradient enormous: nine points of accuracy on digits at T = 1.
    span = high - low
    return (maps - low) / torch.where(span > 0, span, 1)


def with_noise(
    logits: Tensor,  # [N, K]
    *,
    share: float,
) -> Tensor:
    """Return ``logits`` and ``share`` of noise that has a sample's mean and deviation."""
    mean, deviation = logits.mean(1, keepdim=True), logits.std(1, keepdim=True)
    return logits + share * (mean + deviation * torch.randn_like(logits))


METHOD: Method = Ckdsnn()
