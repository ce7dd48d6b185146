"""Return to the student the high frequencies that spikes lose, in maps and in logits."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import mean_of, same_size, stages_in_common
from harness.training.losses.spectra import (
    cosine_spectrum,
    mean_band_energy,
    radial_bands,
    standardised,
)

CARD = MethodCard(
    title="Spectra of filtered firing rates, and of logits in the teacher's order",
    citation=(
        "Bi-Spectrum Distillation: addressing spectral mismatch in ANN-SNN knowledge transfer. "
        "AAAI 2026, ojs.aaai.org/index.php/AAAI/article/view/40085. Not bidirectional spike-based "
        "distillation (arXiv 2509.20284), which has the same initials"
    ),
    loss="reconstructed",
    weight="residual_weight",
    reconstructed=(
        "everything but the two ideas of the abstract: no formula, constant or code was found",
        "the filter is a gain a radial band and channel group, added to the identity",
        "bands weigh alike, on maps standardised by sample and channel, in every stage",
        "the logits' spectrum is a cosine transform, its high frequencies the upper half",
        "weights and temperature",
    ),
    signals=("features", "logits"),
    extras=("filter a stage", "1x1 convolution a stage, where the widths differ"),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class Bsd:
    """``CE + temperature^2 KL + residual_weight * SRD + semantic_weight * SSD``.

    SRD is the mean over bands and stages of ``|FFT(f) - FFT(F)|^2`` with the feature ``F``
    and ``f = r + IFFT(g FFT(r))`` of the rate ``r``, both standardised. SSD is the mean of
    ``(DCT(z_S) - DCT(z_A))^2`` over the upper half of the coefficients, with the logits
    standardised and sorted by the teacher's.

    Attributes:
        temperature: Softening of both distributions.
        residual_weight: Of the features' spectra.
        semantic_weight: Of the logits' spectra.
        bands: Rings that the plane of frequencies is cut into.
        groups: Sets of channels with gains of their own.
    """

    temperature: PositiveFloat = 4.0
    residual_weight: NonNegativeFloat = 1.0
    semantic_weight: NonNegativeFloat = 0.5
    bands: PositiveInt = 8
    groups: PositiveInt = 4

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend, with one filter a stage that both networks have."""
        stages = stages_in_common(student, lesson.guide)
        ours, theirs = student.tap_channels, lesson.guide.tap_channels
        filters = nn.ModuleDict(
            {
                name: nn.Sequential(
                    SpectralFilter(ours[name], bands=self.bands, groups=self.groups),
                    _bridge(ours[name], theirs[name]),
                )
                for name in stages
            }
        ).to(lesson.device)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            mean = output.logits.mean(0)
            errors = [
                self.residual(filters[name], output.taps[name].mean(0), answer.taps[name])
                for name in stages
            ]
            return (
                answer.task.supervised(mean, labels)
                + answer.task.divergence(mean, answer.logits, temperature=self.temperature)
                + self.residual_weight * mean_of(errors)
                + self.semantic_weight * semantic_error(mean, answer.logits)
            )

        return descend(
            student, lesson, loss, also_train=[filters], taps=stages, teacher_taps=stages
        )

    def residual(
        self,
        filtered: nn.Module,
        rate: Tensor,  # [N, C, H, W]
        feature: Tensor,  # [N, C', H', W']
    ) -> Tensor:
        """Return the spectral error at the coarser of both resolutions."""
        rate, feature = same_size(rate, feature)
        ours, theirs = standardised(filtered(rate), (-2, -1)), standardised(feature, (-2, -1))
        return mean_band_energy(ours - theirs, bands=self.bands)


class SpectralFilter(nn.Module):
    """``r + IFFT(g FFT(r))`` with a learnable gain ``g`` a radial band and channel group."""

    def __init__(self, channels: int, *, bands: int, groups: int) -> None:
        """Start as the identity."""
        super().__init__()
        self.bands = bands
        self.gain = nn.Parameter(torch.zeros(min(groups, channels), bands))

    def forward(
        self,
        maps: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        """Return the filtered maps, ``[N, C, H, W]``."""
        maps = widened(maps)
        channels, height, width = maps.shape[1:]
        band = radial_bands(height, width, bands=self.bands, device=maps.device)
        group = torch.arange(channels, device=maps.device) * len(self.gain) // channels
        gain = self.gain[group][:, band[:, : width // 2 + 1]]  # [C, H, W / 2 + 1]
        spectrum = torch.fft.rfft2(maps, norm="ortho")
        added: Tensor = torch.fft.irfft2(gain * spectrum, s=(height, width), norm="ortho")
        return maps + added


def _bridge(inputs: int, outputs: int) -> nn.Module:
    """Return what changes the width, if it must change. The maps are standardised after it."""
    return nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)


def semantic_error(
    student: Tensor,  # [N, K]
    teacher: Tensor,  # [N, K]
) -> Tensor:
    """Return the mean squared difference of the high frequencies over classes.

    The classes stand in the order of the teacher's logits, so its own spectrum is that of
    a falling sequence and what is not falling in the student's is high frequency.
    """
    order = teacher.argsort(dim=-1, descending=True, stable=True)
    ours, theirs = (
        cosine_spectrum(standardised(logits.gather(-1, order), (-1,)))
        for logits in (student, teacher)
    )
    upper = (student.shape[-1] + 1) // 2
    return mse_loss(ours[:, upper:], theirs[:, upper:])


METHOD: Method = Bsd()
