"""Train a spiking tracker over fewer and fewer steps, and with its teacher's help at the last."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils.hooks import RemovableHandle

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend, put_in_slots
from harness.training.diet import DECIDES, DietNeuron, diet_neurons
from harness.training.losses.boxes import box_divergence, response_divergence

CARD = MethodCard(
    title="Temporal pruning to few steps, then features, scores and boxes of the teacher",
    citation=(
        "Liu, Xiang, Zhang, Han, Zhang, Guo, Yu, Hao. S4-KD: a single step spiking SiamFC++ for "
        "object tracking with knowledge distillation. Neural Networks 188:107478, 2025; pruning: "
        "Chowdhury, Rathi, Roy. One timestep is all you need: training spiking neural networks "
        "with ultra low latency. arXiv:2110.05929, 2021"
    ),
    loss="reconstructed",
    weight="weight",
    reconstructed=(
        "all three losses: the abstract says three kinds and names none",
        "their weights and the temperature",
        "the number of steps to begin with",
    ),
    signals=("features", "logits", "boxes"),
    claims=(
        Claim(
            accuracy=0.657,
            dataset="otb",
            architecture="SiamFC++, AlexNet",
            timesteps=1,
            where="abstract: success on OTB100",
            url="https://doi.org/10.1016/j.neunet.2025.107478",
        ),
        Claim(
            accuracy=0.278,
            dataset="vot",
            architecture="SiamFC++, AlexNet",
            timesteps=1,
            where="abstract: EAO on VOT2018",
            url="https://doi.org/10.1016/j.neunet.2025.107478",
        ),
    ),
    departures=(
        "all stages share one schedule of the learning rate and one budget",
        "the network starts from random weights, not from ImageNet's",
        "neurons with a trained threshold and leak subtract at a spike, as DIET-SNN's do",
    ),
    needs=("boxes",),
)
SILENT = 0.005  # of neurons that fire in a step: a layer below it has its threshold lowered
_LOWERED = 0.5


@dataclass(frozen=True, kw_only=True)
class S4Kd:
    """``L = L_task + weight (feature L_fea + score L_cls + box L_reg)`` after temporal pruning.

    The network begins with ``first_steps`` steps and loses one after the other until it has the
    student's; each of these stages begins with the weights, thresholds and leaks of the one
    before, and learns from the labels alone. The teacher helps in the last, ``last_share`` of
    the lesson:

    * ``L_fea = MSE(f_z) + MSE(f_x)``, the currents of both sides that are matched, over time
      averaged;
    * ``L_cls``, the binary divergence of both scores at ``temperature``, times its square;
    * ``L_reg``, ``-ln IoU`` with the teacher's boxes, weighted by how sure it is of them.

    Where a stage begins and a layer fires in less than ``SILENT`` of its neurons and steps, its
    threshold is halved.

    Attributes:
        weight: Of all three.
        feature: Of the features.
        score: Of the scores.
        box: Of the boxes.
        temperature: Softening of the scores.
        first_steps: Simulated at first; a student of as many or more is not pruned.
        last_share: Of the lesson's steps that have the student's number.
    """

    weight: NonNegativeFloat = 1.0
    feature: NonNegativeFloat = 1.0
    score: NonNegativeFloat = 1.0
    box: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0
    first_steps: PositiveInt = 3
    last_share: Fraction = 0.5

    def realise(self, student: Student, /) -> None:
        """Put neurons with a trained threshold and leak into the slots."""
        spec = student.spec
        leak = 1.0 if spec.kind == "if" else 1 - 1 / spec.tau
        put_in_slots(
            student,
            lambda: DietNeuron(student.neuron(DECIDES), leak=leak, threshold=spec.v_threshold),
        )

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Prune in time, then distil.

        Raises:
            UnsupportedError: If student and teacher do not share what is matched.
        """
        taps = taps_in_common(student, lesson)
        pruning = Pruning(
            student=student,
            lesson=lesson,
            stages=stages(lesson.steps, self.first_steps, student.timesteps, self.last_share),
        )

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            mean = output.logits.mean(0)
            of_task = answer.task.supervised(mean, labels)
            if not pruning.is_over:
                return of_task
            return of_task + self.weight * self.taught(output, answer, taps)

        return descend(
            student,
            lesson,
            loss,
            taps=taps,
            teacher_taps=taps,
            forward=pruning,
            eager="the number of steps changes, and silent layers are looked for",
        )

    def taught(self, output: Output, answer: Answer, taps: Sequence[str]) -> Tensor:
        """Return the three losses, weighted."""
        mean, theirs = output.logits.mean(0), answer.logits
        features = torch.stack(
            [
                mse_loss(widened(output.taps[name].mean(0)), widened(answer.taps[name]))
                for name in taps
            ]
        )
        scores = response_divergence(mean, theirs, temperature=self.temperature)
        return (
            self.feature * features.sum()
            + self.score * scores
            + self.box * box_divergence(mean, theirs)
        )


def taps_in_common(student: Student, lesson: Lesson) -> tuple[str, ...]:
    """Return what is matched, which both networks must have in the same size.

    Raises:
        UnsupportedError: If they have not.
    """
    ours, theirs = student.tap_channels, lesson.guide.tap_channels
    wanted = ("template", "search")
    for name in wanted:
        if name not in ours or ours[name] != theirs.get(name):
            raise UnsupportedError(
                f"this method compares the {name}s of two Siamese networks channel by channel; the "
                f"student's has {ours.get(name, 0)} and the teacher's {theirs.get(name, 0)}"
            )
    return wanted


def stages(
    steps: int, first_steps: int, timesteps: int, last_share: float
) -> tuple[tuple[int, int], ...]:
    """Return from which step of the lesson on how many steps are simulated, ``(from, T)``.

    The stages before the last are equally long, but for rounding.
    """
    many = tuple(range(first_steps, timesteps, -1))
    before = steps - round(last_share * steps) if many else 0
    starts = [place * before // len(many) for place in range(len(many))]
    return (*zip(starts, many, strict=True), (before, timesteps))


@dataclass(kw_only=True)
class Pruning:
    """How the student answers while it loses steps.

    Attributes:
        student: Learns.
        lesson: Counts its steps.
        stages: From which of them on how many steps are simulated.
    """

    student: Student
    lesson: Lesson
    stages: tuple[tuple[int, int], ...]
    _rates: dict[int, Tensor] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the last stage was reached."""
        return self.lesson.step - 1 >= self.stages[-1][0]

    def __call__(self, stimulus: Tensor, taps: Sequence[str]) -> Output:
        """Answer with as many steps as this stage has."""
        place = self.lesson.step - 1
        timesteps = next(many for start, many in reversed(self.stages) if place >= start)
        if place in {start for start, _ in self.stages}:
            self._wake(stimulus, timesteps)
        answer: Output = self.student.network(stimulus, timesteps, taps)
        return Output(logits=widened(answer.logits), taps=answer.taps)

    @torch.no_grad()
    def _wake(self, stimulus: Tensor, timesteps: int) -> None:
        """Lower the thresholds of layers that hardly fire."""
        layers = diet_neurons(self.student.network)
        handles = [self._watched(layer) for layer in layers]
        try:
            self.student.network(stimulus, timesteps, ())
        finally:
            for handle in handles:
                handle.remove()
        for layer in layers:
            silent = self._rates.pop(id(layer)) < SILENT
            layer.threshold.mul_(torch.where(silent, _LOWERED, 1.0))

    def _watched(self, layer: DietNeuron) -> RemovableHandle:
        """Let the least firing rate of ``layer``, of template or search, be noted."""

        def note(_: object, __: object, spikes: Tensor) -> None:
            rate = widened(spikes).mean()
            before = self._rates.get(id(layer), rate)
            self._rates[id(layer)] = torch.minimum(rate, before)

        return layer.register_forward_hook(note)


METHOD: Method = S4Kd()
