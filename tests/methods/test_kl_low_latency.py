"""Labels, divergence and rotated images against numbers worked out by hand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Progress
from harness.contracts.model import Output
from harness.training import Student, Teacher, descend, slots
from harness.training.diet import diet_neurons
from suites.methods.kl_low_latency import METHOD, KlLowLatency, turned_about, with_views
from tests.methods import small, teaching_aids
from tests.methods.teaching_aids import Nobody

# Two steps are on average 1 : 3 ^ 4 for the upright image and to 1 : 1 for each rotated one.
LOGITS = torch.tensor(
    [
        [[0.0, 10.0], [1.0, 0.0], [0.0, 0.0], [2.0, 7.0]],
        [[0.0, 8 * math.log(3) - 10.0], [0.0, 1.0], [0.0, 0.0], [5.0, 0.0]],
    ]
)  # [T = 2, 4 N = 4, K = 2]
# The teacher finds both alike upright, and says 1 : 3 ^ 4 of each rotated image.
SAID = torch.tensor([[0.0, 0.0], *[[0.0, 4 * math.log(3)]] * 3])
LABEL = torch.tensor([0])
LABELS = math.log(1 + 3**4)  # the cross-entropy of 1 : 3 ^ 4, label 0
# Softened by 4: KL((1/2, 1/2) || (1/4, 3/4)), and KL((1/4, 3/4) || (1/2, 1/2)).
UPRIGHT = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
TURNED = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)


class _Said(Nobody):
    """A teacher that says ``SAID``, as far as it is asked."""

    def __init__(self, samples: int) -> None:
        object.__setattr__(self, "samples", samples)

    @property
    def logits(self) -> Tensor:
        return SAID[: self.samples]  # type: ignore[attr-defined]  # set above


def test_by_default_the_three_terms_have_the_weights_of_the_code() -> None:
    # As sums over time, halves of these say what is worked out above of their means.
    loss = METHOD.loss(Output(logits=LOGITS / 2), _Said(4), LABEL)  # type: ignore[attr-defined]  # a KlLowLatency
    expected = 0.1 * LABELS + 0.9 * 16 * UPRIGHT + 2.7 * 16 * TURNED
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_a_loss_may_see_mean_logits() -> None:
    loss = KlLowLatency(logits="mean").loss(Output(logits=LOGITS), _Said(4), LABEL)
    expected = 0.1 * LABELS + 0.9 * 16 * UPRIGHT + 2.7 * 16 * TURNED
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_by_default_the_start_is_the_codes() -> None:
    assert KlLowLatency() == METHOD
    assert (
        KlLowLatency(
            start="teacher",
            neuron="diet",
            logits="accumulated",
            threshold_quantile=0.997,
            threshold_share=0.6,
        )
        == METHOD
    )


def test_the_gradient_of_accumulated_logits_is_that_of_a_step() -> None:
    gradients = []
    for steps in (1, 2, 4):
        logits = (LOGITS[:1] / steps).repeat(steps, 1, 1).requires_grad_()
        METHOD.loss(Output(logits=logits), _Said(4), LABEL).backward()  # type: ignore[attr-defined]  # a KlLowLatency
        assert logits.grad is not None
        gradients.append(steps * logits.grad[0])
    # The same sum whatever the steps: each of T steps has the T-th part of its gradient.
    assert all(torch.allclose(gradients[0], other, rtol=1e-5) for other in gradients[1:])


def test_the_divergence_of_rotated_images_is_a_mean() -> None:
    # One of three rotated images is met, so two thirds of the divergence are left.
    logits = LOGITS.clone()
    logits[:, 2] = SAID[2]
    loss = KlLowLatency(logits="mean").loss(Output(logits=logits), _Said(4), LABEL)
    expected = 0.1 * LABELS + 0.9 * 16 * UPRIGHT + 2.7 * 16 * TURNED * 2 / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_without_rotated_images_it_mixes_labels_and_divergence(share: float) -> None:
    method = KlLowLatency(teacher_share=share, views_weight=0.0, logits="mean")
    loss = method.loss(Output(logits=LOGITS[:, :1]), _Said(1), LABEL)
    expected = (1 - share) * LABELS + share * 16 * UPRIGHT
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_images_are_turned_by_quarters_behind_the_upright_ones() -> None:
    maps = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    found = turned_about(torch.cat([maps, 10 * maps]))
    assert found[:, 0].tolist() == [
        [[1, 2], [3, 4]],
        [[10, 20], [30, 40]],
        [[2, 4], [1, 3]],
        [[20, 40], [10, 30]],
        [[4, 3], [2, 1]],
        [[40, 30], [20, 10]],
        [[3, 1], [4, 2]],
        [[30, 10], [40, 20]],
    ]


def test_frames_are_turned_each_in_its_step() -> None:
    frames = torch.rand(3, 2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = turned_about(frames)
    assert found.shape == (3, 8, 2, 4, 4)
    for step in range(3):
        assert torch.equal(found[step], turned_about(frames[step]))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_turned_images_lie_in_memory_as_the_upright_ones(layout: torch.memory_format) -> None:
    found = turned_about(torch.rand(2, 3, 4, 4).contiguous(memory_format=layout))
    assert found.is_contiguous(memory_format=layout)


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="must be square, not 4x6"):
        turned_about(torch.zeros(1, 1, 4, 6))


def test_both_networks_see_the_rotated_images_and_labels_and_samples_stay() -> None:
    batch = next(iter(teaching_aids.lesson(None)))
    wider = with_views(batch)
    assert torch.equal(wider.stimulus, turned_about(batch.stimulus))
    assert torch.equal(wider.images, turned_about(batch.images))
    assert torch.equal(wider.labels, batch.labels)
    assert torch.equal(wider.indices, batch.indices)


def _seen(method: KlLowLatency) -> tuple[list[int], list[int], list[int]]:
    """Return how many images student and teacher see in each step, and the samples told."""
    ours: list[int] = []
    theirs: list[int] = []

    class Counting(teaching_aids.Tiny):
        def forward(self, stimulus: Tensor, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
            (ours if self.training else theirs).append(len(stimulus))
            return super().forward(stimulus, timesteps, taps)

    learner = teaching_aids.student()
    learner = replace(learner, network=Counting())
    guide = Teacher(network=Counting().eval(), mean=(0.5,), std=(0.5,))
    course = teaching_aids.lesson(guide)
    told = [step.samples for step in replace(method, neuron="suite").fit(learner, course)]
    return ours, theirs, told


def test_four_images_are_seen_for_each_that_counts() -> None:
    assert _seen(KlLowLatency()) == ([16] * 3, [16] * 3, [4, 8, 12])
    assert _seen(KlLowLatency(views_weight=0.0)) == ([4] * 3, [4] * 3, [4, 8, 12])


def test_rotated_images_teach() -> None:
    def weights(method: KlLowLatency) -> Tensor:
        learner = small.student(method=method)
        list(method.fit(learner, small.lesson(small.teacher())))
        return nn.utils.parameters_to_vector(learner.parameters())

    plain = KlLowLatency(views_weight=0.0)
    assert not torch.equal(weights(KlLowLatency()), weights(plain))


def _threshold(learner: Student, name: str) -> float:
    return learner.network.get_parameter(f"{name}.threshold").item()


@pytest.mark.parametrize("kind", ["convnet", "vgg", "resnet"])
def test_every_slot_has_neurons_of_trained_leak_and_threshold(kind: small.Kind) -> None:
    learner = small.student(kind, method=METHOD)
    layers = diet_neurons(learner.network)
    assert len(layers) == len(slots(learner))
    list(METHOD.fit(learner, small.lesson(small.teacher(kind), steps=3)))
    assert all(layer.threshold.grad is not None for layer in layers)
    assert any(layer.leak.item() != 1 for layer in layers)


def _untrained(method: KlLowLatency, guide: Teacher, kind: small.Kind = "convnet") -> Student:
    """Return a student that ``method`` has started and whose steps have a rate of nothing."""
    learner = small.student(kind, method=method)
    course = small.lesson(guide)
    list(method.fit(learner, small.but(course, learning_rate=1e-30)))
    return learner


def test_it_starts_as_the_teacher() -> None:
    guide = small.teacher()
    learner = _untrained(KlLowLatency(), guide)
    for name, weight in guide.network.named_parameters():
        began = learner.network.get_parameter(name)
        assert torch.allclose(began, weight, rtol=0, atol=1e-25), name  # biases were 0


def test_random_weights_stay_the_students_own() -> None:
    own = small.student(method=METHOD).network.get_parameter("conv2.weight")
    learner = _untrained(KlLowLatency(start="random"), small.teacher())
    assert torch.equal(learner.network.get_parameter("conv2.weight"), own)


def test_thresholds_start_at_a_share_of_the_quantile_of_what_arrives() -> None:
    guide = small.teacher()
    learner = _untrained(KlLowLatency(), guide)
    stimulus = turned_about(next(iter(small.lesson(guide))).stimulus)
    network = small.teacher().network.train()
    with torch.no_grad():
        first = network.get_submodule("bn1")(network.get_submodule("conv1")(stimulus))
    expected = 0.6 * torch.quantile(first, 0.997).item()
    assert _threshold(learner, "activation1") == pytest.approx(expected, rel=1e-5)
    assert _threshold(learner, "activation2") != 1


def test_a_start_that_the_loss_has_taught_is_trained_before_and_not_counted() -> None:
    told: list[list[int]] = []
    ends = []
    for start, guide in (
        ("distilled", small.teacher()),
        ("teacher", small.teacher("vgg")),  # of another topology: no start
        ("teacher", small.teacher()),
    ):
        torch.manual_seed(0)
        method = KlLowLatency(start=start)  # type: ignore[arg-type]  # two of the three
        learner = small.student(method=method)
        progress = list(method.fit(learner, small.lesson(guide, steps=3)))
        told.append([step.samples for step in progress])
        ends.append(learner.network.get_parameter("conv1.weight"))
    counted = [small.SAMPLES * (step + 1) for step in range(3)]
    assert told == [[0, 0, 0, *counted], [0, 0, 0, *counted], counted]
    assert not torch.equal(ends[0], ends[2])


def _begun(
    start: Literal["teacher", "distilled"], guide: Teacher, monkeypatch: pytest.MonkeyPatch
) -> list[Tensor]:
    """Return a weight as two trainings find it and as the first leaves it."""
    begun: list[Tensor] = []
    ended: list[Tensor] = []

    def watched(learner: Student, *given: Any, **options: Any) -> Iterator[Progress]:
        weight = learner.network.get_parameter("conv1.weight")
        begun.append(weight.detach().clone())
        yield from descend(learner, *given, **options)
        ended.append(weight.detach().clone())

    monkeypatch.setattr("suites.methods.kl_low_latency.descend", watched)
    torch.manual_seed(0)
    method = KlLowLatency(start=start)
    list(method.fit(small.student(method=method), small.lesson(guide)))
    return [*begun, ended[0]]


def test_a_start_that_was_taught_is_what_the_student_begins_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, taught = _begun("distilled", small.teacher(), monkeypatch)
    assert torch.equal(second, taught)
    assert not torch.equal(first, taught)


def test_a_start_in_the_place_of_a_teacher_that_does_not_fit_learns_from_labels_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guides = small.teacher("vgg"), small.teacher("vgg", seed=2)
    by_labels = [_begun("teacher", guide, monkeypatch)[1] for guide in guides]
    by_teacher = [_begun("distilled", guide, monkeypatch)[1] for guide in guides]
    assert torch.equal(*by_labels)
    assert not torch.equal(*by_teacher)


def test_an_artificial_network_learns_labels_from_the_mean_of_frames() -> None:
    method = KlLowLatency(neuron="suite")
    learner = small.student(method=method, shape=small.EVENTS)
    course = small.lesson(small.teacher("vgg", shape=small.EVENTS), shape=small.EVENTS)
    torch.manual_seed(0)
    steps = method.fit(learner, course)
    taught = [next(steps) for _ in range(3)]  # two of the artificial network and one more
    assert [step.samples for step in taught] == [0, 0, small.SAMPLES]

    torch.manual_seed(0)
    plain = replace(learner, network=learner.twin(nn.ReLU), timesteps=1)
    losses = [
        step.loss
        for step in descend(
            plain,
            small.lesson(None, shape=small.EVENTS),
            lambda output, _, labels: cross_entropy(output.logits[0], labels),
            forward=lambda stimulus, _: plain(stimulus.mean(0)),
        )
    ]
    assert [step.loss for step in taught[:2]] == losses
