"""Windows of time, the losses between them, and the spiking networks that teach."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import SpecError, UnknownPluginError, UnsupportedError
from harness.contracts.model import Output
from harness.neurons.spiking import SpikingNeuron
from harness.training import Lesson, Student
from harness.training.losses.classification import ClassLosses
from harness.training.losses.windows import windowed
from suites.methods import distilling_spikes
from suites.methods.distilling_spikes import METHOD, DistillingSpikes, built, spiking_teacher
from tests.methods import teaching_aids
from tests.methods.classrooms import SENTENCES
from tests.methods.small import CLASSES, EVENTS, SAMPLES, lesson, student, teacher
from tests.methods.teaching_aids import Nobody

TRAIN = torch.tensor([1.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("width", "stride", "expected"),
    [
        (2, 1, [0.5, 0.0, 0.5]),
        (2, 2, [0.5, 0.5]),
        (3, 1, [1 / 3, 1 / 3]),
        (3, 2, [1 / 3]),  # the second window would end after the train does
        (1, 1, [1.0, 0.0, 0.0, 1.0]),
        (4, 1, [0.5]),
        (9, 1, [0.5]),
    ],
)
def test_a_window_is_a_mean_over_time(width: int, stride: int, expected: list[float]) -> None:
    assert windowed(TRAIN, width=width, stride=stride).tolist() == pytest.approx(expected)


def test_windows_leave_samples_and_classes_where_they_are() -> None:
    train = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    found = windowed(train, width=2)
    assert found.shape == (3, 2, 3)
    assert torch.allclose(found[1], (train[1] + train[2]) / 2)


@pytest.mark.parametrize(("width", "stride"), [(0, 1), (1, 0)])
def test_a_window_of_no_steps_is_refused(width: int, stride: int) -> None:
    with pytest.raises(SpecError, match="must be at least 1 step, got 0"):
        windowed(TRAIN, width=width, stride=stride)


# One sample, two classes. The first class' spike comes two steps late; the second's never.
SOURCE = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).unsqueeze(1)  # [4, 1, 2]
LEARNER = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]).unsqueeze(1)


@pytest.mark.parametrize(
    ("form", "window", "expected"),
    [
        ("tensor", 3, 3 / 8),  # three of eight entries differ, by 1
        # Means of two steps: 1/2, 0, 0 and 1/2, 0, 0 against 0, 1/2, 1/2 and 0, 0, 0.
        ("window", 2, 4 * (1 / 4) / 6),
        ("counts", 3, (0 + 1) / 16 / 2),  # counts 1, 1 against 1, 0; over T^2, then over C
        # Odds of counts: 1 : 1 against e : 1.
        ("soft_counts", 3, math.log((1 + math.e) / 2) - 1 / 2),
        # Counts of two steps: (1, 1), (0, 0), (0, 0) against (0, 0), (1, 0), (1, 0): the first
        # agree in their odds, the others are 1 : 1 against e : 1.
        ("soft_window", 2, 2 / 3 * (math.log((1 + math.e) / 2) - 1 / 2)),
    ],
)
def test_each_form_compares_what_it_says(form: str, window: int, expected: float) -> None:
    method = DistillingSpikes(form=form, window=window, temperature=1.0)  # type: ignore[arg-type]  # a literal from a table
    assert method.difference(LEARNER, SOURCE).item() == pytest.approx(expected, rel=1e-5)


def _random_trains() -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, 3, generator=chance), torch.randn(6, 4, 3, generator=chance)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (DistillingSpikes(window=1), DistillingSpikes(form="tensor")),
        (DistillingSpikes(window=6), DistillingSpikes(form="counts")),
        (DistillingSpikes(window=7), DistillingSpikes(form="counts")),
        (DistillingSpikes(form="soft_window", window=6), DistillingSpikes(form="soft_counts")),
        (DistillingSpikes(form="soft_window", window=7), DistillingSpikes(form="soft_counts")),
    ],
    ids=["1 is the tensor", "T is the counts", "more is T", "soft T", "soft more"],
)
def test_the_extreme_windows_are_the_other_forms(
    first: DistillingSpikes, second: DistillingSpikes
) -> None:
    ours, theirs = _random_trains()
    assert first.difference(ours, theirs).item() == pytest.approx(
        second.difference(ours, theirs).item(), rel=1e-5
    )


@pytest.mark.parametrize("form", ["tensor", "window", "counts", "soft_counts", "soft_window"])
def test_every_form_vanishes_at_equality_and_only_some_see_when(form: str) -> None:
    ours, _ = _random_trains()
    method = DistillingSpikes(form=form)  # type: ignore[arg-type]  # a literal from a table
    assert method.difference(ours, ours).item() == pytest.approx(0, abs=1e-6)
    sees_when = not form.endswith("counts")
    assert (method.difference(ours, ours.flip(0)).item() > 1e-3) == sees_when


def test_temperature_softens_and_its_square_restores_the_gradient() -> None:
    sharp = DistillingSpikes(form="soft_counts", temperature=1.0).difference(LEARNER, SOURCE)
    soft = DistillingSpikes(form="soft_counts", temperature=3.0)
    assert soft.difference(3 * LEARNER, 3 * SOURCE).item() == pytest.approx(9 * sharp.item())


class _Silent(Nobody):
    """The artificial teacher, which nobody asks."""

    def __init__(self) -> None:
        pass


def test_the_loss_mixes_labels_and_difference() -> None:
    output = Output(logits=LEARNER, taps={"source": SOURCE})
    loss = DistillingSpikes(form="tensor", share=0.25).loss(output, _Silent(), torch.tensor([1]))
    # The mean logits are (1/4, 0): the second class has 1 / (1 + e^(1/4)).
    assert loss.item() == pytest.approx(
        0.75 * math.log(1 + math.exp(0.25)) + 0.25 * 3 / 8, rel=1e-6
    )


def test_by_default_labels_and_windows_of_five_steps_share_alike() -> None:
    # Steps 0 to 4 hold a spike and steps 1 to 5 none, which the other train has at step 5.
    source, learner = torch.zeros(6, 1, 1), torch.zeros(6, 1, 1)
    source[0], learner[5] = 5.0, 5.0
    loss = METHOD.loss(  # type: ignore[attr-defined]  # a DistillingSpikes, which has one
        Output(logits=torch.cat([learner] * 2, 2), taps={"source": torch.cat([source] * 2, 2)}),
        _Silent(),
        torch.tensor([0]),
    )
    # Means 0, 1 against 1, 0 in both classes, which are equally likely.
    assert loss.item() == pytest.approx(0.5 * math.log(2) + 0.5 * 1.0, rel=1e-6)


def test_the_soft_forms_are_softened_by_four_unless_told_otherwise() -> None:
    # Counts of ln 3 times 4 against none: 3 : 1 once softened, against 1 : 1.
    source = torch.tensor([[[4 * math.log(3), 0.0]]])
    found = DistillingSpikes(form="soft_counts").difference(torch.zeros(1, 1, 2), source)
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert found.item() == pytest.approx(4**2 * divergence, rel=1e-6)


def test_by_default_there_is_no_intermediate_network() -> None:
    training = METHOD.fit(student(), lesson(teacher(), steps=2))
    assert [progress.samples for progress in training] == [0, 0, SAMPLES, 2 * SAMPLES]


def test_the_teacher_learns_the_labels_by_its_mean_logits() -> None:
    found: list[Tensor] = []

    class Kept(ClassLosses):
        def supervised(self, decided: Tensor, target: Tensor, /) -> Tensor:
            found.append(decided)
            return super().supervised(decided, target)

    asked = replace(lesson(teacher()), task=Kept())
    next(iter(DistillingSpikes().fit(student(timesteps=4), asked)))
    course = lesson(teacher())
    spiking = spiking_teacher(student(timesteps=4), course)
    spiking.network.train()
    expected = spiking(next(iter(course)).stimulus).logits.mean(0)
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_the_teacher_is_made_of_the_artificial_ones_weights_and_our_neurons() -> None:
    learner, guide = student("resnet"), teacher("resnet")
    spiking = spiking_teacher(learner, lesson(guide)).network
    theirs = guide.network.state_dict()
    assert all(torch.equal(spiking.state_dict()[name], theirs[name]) for name in theirs)
    assert not any(isinstance(module, nn.ReLU) for module in spiking.modules())
    neurons = [module for module in spiking.modules() if isinstance(module, SpikingNeuron)]
    assert len(neurons) == sum(isinstance(module, nn.ReLU) for module in guide.network.modules())
    assert {neuron.spec for neuron in neurons} == {learner.spec}
    assert all(weight.requires_grad for weight in spiking.parameters())
    assert not any(weight.requires_grad for weight in guide.network.parameters())


def _kept_teacher(monkeypatch: pytest.MonkeyPatch) -> list[Student]:
    """Return the list that will hold the spiking teacher."""
    made: list[Student] = []

    def kept(learner: Student, course: Lesson) -> Student:
        made.append(spiking_teacher(learner, course))
        return made[0]

    monkeypatch.setattr(distilling_spikes, "spiking_teacher", kept)
    return made


def test_the_teacher_learns_first_and_then_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _kept_teacher(monkeypatch)
    learner, guide = student(), teacher()
    initial = learner.network.get_parameter("conv1.weight").clone()
    training = DistillingSpikes().fit(learner, lesson(guide, steps=2))
    assert [next(training).samples for _ in range(2)] == [0, 0]
    assert torch.equal(learner.network.get_parameter("conv1.weight"), initial)
    state = made[0].network.state_dict()
    taught = {name: value.clone() for name, value in state.items()}
    for name, weight in guide.network.named_parameters():
        assert not torch.equal(taught[name], weight), name
    assert [progress.samples for progress in training] == [SAMPLES, 2 * SAMPLES]
    assert all(torch.equal(state[name], taught[name]) for name in taught)
    assert not made[0].network.training
    assert not torch.equal(learner.network.get_parameter("conv1.weight"), initial)


def test_an_intermediate_network_learns_between_teacher_and_student(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = _kept_teacher(monkeypatch)
    between: list[Student] = []

    def kept(model: str, learner: Student) -> Student:
        between.append(built(model, learner))
        return between[0]

    monkeypatch.setattr(distilling_spikes, "built", kept)
    learner, guide = student(), teacher("vgg")
    method = DistillingSpikes(assistant="digits_convnet_middle")
    training = method.fit(learner, lesson(guide, steps=2))
    assert [next(training).samples for _ in range(4)] == [0, 0, 0, 0]
    taught = between[0].network.get_parameter("fc.weight").clone()
    with torch.no_grad():  # the teacher has done its part: nobody listens any more
        made[0].network.get_parameter("fc.bias").fill_(float("nan"))
    assert [progress.samples for progress in training] == [SAMPLES, 2 * SAMPLES]
    assert torch.equal(between[0].network.get_parameter("fc.weight"), taught)


def test_a_teacher_without_a_relu_could_not_spike_and_is_refused() -> None:
    # Found by reading: a BERT answered every step alike and was called the spiking teacher.
    room = SENTENCES
    with pytest.raises(UnsupportedError, match="no ReLU that a spiking neuron could stand for"):
        list(DistillingSpikes().fit(room.student(), room.lesson(room.teacher())))


def test_an_assistant_is_another_topology_with_the_students_neurons() -> None:
    learner = student(timesteps=3, shape=EVENTS)
    between = built("digits_convnet_middle", learner)
    assert between.network.get_parameter("conv2.weight").shape == (32, 16, 3, 3)
    neurons = [part for part in between.network.modules() if isinstance(part, SpikingNeuron)]
    assert {neuron.spec for neuron in neurons} == {learner.spec}
    assert between(torch.rand(3, SAMPLES, *EVENTS)).logits.shape == (3, SAMPLES, CLASSES)
    with pytest.raises(UnsupportedError, match="does not say which images"):
        built("digits_convnet_middle", teaching_aids.student())
    with pytest.raises(UnknownPluginError, match="digits_convnet_middle"):
        built("digits_convnet_midle", learner)


def test_a_teacher_may_be_larger_than_its_student() -> None:
    learner, guide = student("convnet"), teacher("vgg")
    spiking = spiking_teacher(learner, lesson(guide))
    assert [*spiking.network.state_dict()] == [*guide.network.state_dict()]
    told = list(DistillingSpikes().fit(learner, lesson(guide, steps=2)))
    assert [progress.samples for progress in told] == [0, 0, SAMPLES, 2 * SAMPLES]


def test_the_teacher_sees_what_the_student_sees() -> None:
    def trained(mean: float) -> Tensor:
        learner, guide = student(), replace(teacher(), mean=(mean,))
        list(DistillingSpikes().fit(learner, lesson(guide)))
        return learner.network.get_parameter("fc.weight")

    assert torch.equal(trained(0.5), trained(0.1))


def test_what_the_teacher_says_reaches_the_student() -> None:
    def trained(share: float, seed: int) -> Tensor:
        learner = student()
        list(DistillingSpikes(share=share).fit(learner, lesson(teacher(seed=seed))))
        return learner.network.get_parameter("fc.weight")

    assert torch.equal(trained(0.0, seed=1), trained(0.0, seed=2))
    assert not torch.equal(trained(0.5, seed=1), trained(0.5, seed=2))


def test_without_a_simulator_there_is_no_spiking_teacher() -> None:
    guide = teacher()
    with pytest.raises(UnsupportedError, match="runs on no simulator"):
        list(DistillingSpikes().fit(teaching_aids.student(), lesson(guide)))
