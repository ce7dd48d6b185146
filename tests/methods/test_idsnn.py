"""Initialisation from a teacher, and distillation."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model, Output
from harness.training.losses.classification import ClassLosses
from suites.methods.idsnn import METHOD, Idsnn, initialise, tiled
from suites.models._convnet import ConvNet
from suites.models._resnet import ResNet
from suites.models._vgg import VGG
from tests.methods.classrooms import SENTENCES
from tests.methods.small import lesson, student, teacher
from tests.methods.teaching_aids import Nobody


def _network(model: Model, *, seed: int) -> nn.Module:
    """Return a network no two numbers of which are alike, statistics included."""
    network = model.build(nn.ReLU, input=Image(shape=(1, 8, 8)), output=Classes(3))
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if "num_batches" not in name:
            value.copy_(torch.rand(value.shape, generator=generator))
    return network


def _initialised(own: Model, given: Model) -> tuple[dict[str, Tensor], ...]:
    """Return the student's state before, the teacher's, and the student's after."""
    learner, guide = _network(own, seed=0), _network(given, seed=1)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    initialise(learner, guide)
    return before, guide.state_dict(), learner.state_dict()


def test_a_wider_place_repeats_and_a_narrower_one_cuts() -> None:
    source = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # [3 out, 2 in]
    assert tiled(source, (4, 3)).tolist() == [
        [1.0, 2.0, 1.0],
        [3.0, 4.0, 3.0],
        [5.0, 6.0, 5.0],
        [1.0, 2.0, 1.0],
    ]
    assert tiled(source, (2, 1)).tolist() == [[1.0], [3.0]]
    assert tiled(torch.tensor([1.0, 2.0, 3.0]), (5,)).tolist() == [1.0, 2.0, 3.0, 1.0, 2.0]


def test_a_kernel_moves_as_a_whole() -> None:
    source = torch.arange(2 * 1 * 3 * 3.0).view(2, 1, 3, 3)
    wider = tiled(source, (3, 2))
    assert wider.shape == (3, 2, 3, 3)
    assert torch.equal(wider[2, 1], source[0, 0])


@pytest.mark.parametrize("style", ["standard", "sew", "ms"])
def test_stem_and_blocks_are_copied_and_nothing_else_is(style: str) -> None:
    own = ResNet(blocks=(2, 2), widths=(4, 8), hidden=5, style=style)  # type: ignore[arg-type]  # a literal by parametrisation
    before, theirs, after = _initialised(own, own)
    copied = {name for name in after if not torch.equal(after[name], before[name])}
    parts = ("weight", "bias", "running_mean", "running_var")
    blocks = [f"layer{stage}.{block}" for stage in (1, 2) for block in (0, 1)]
    expected = {"conv1.weight"} | {f"bn1.{part}" for part in parts}
    for block in blocks:
        for half in (1, 2):
            expected |= {f"{block}.conv{half}.weight"}
            expected |= {f"{block}.bn{half}.{part}" for part in parts}
    assert copied == expected
    assert all(torch.equal(after[name], theirs[name]) for name in copied)


def test_a_deeper_teacher_gives_the_first_blocks_of_each_stage() -> None:
    deep, shallow = (
        ResNet(blocks=(blocks, blocks), widths=(4, 8), classifier=name)  # type: ignore[arg-type]  # literals
        for blocks, name in ((3, "linear"), (2, "fc"))
    )
    _, theirs, after = _initialised(shallow, deep)
    for name in ("layer1.0.conv1", "layer1.1.conv2", "layer2.0.conv1", "layer2.1.conv2"):
        assert torch.equal(after[f"{name}.weight"], theirs[f"{name}.weight"])


def test_a_shallower_teacher_gives_its_last_block_again() -> None:
    deep, shallow = (ResNet(blocks=(b, b), widths=(4, 8)) for b in (3, 2))
    _, theirs, after = _initialised(deep, shallow)
    for stage in (1, 2):
        for part in ("conv1.weight", "bn1.bias", "bn2.running_var"):
            assert torch.equal(after[f"layer{stage}.2.{part}"], theirs[f"layer{stage}.1.{part}"])
            assert torch.equal(after[f"layer{stage}.1.{part}"], theirs[f"layer{stage}.1.{part}"])


def test_a_block_that_must_be_wider_than_its_source_repeats_it() -> None:
    # Stage 2: the teacher's only block reads 4 channels, the student's second one 8.
    deep, shallow = (ResNet(blocks=(1, b), widths=(4, 8)) for b in (2, 1))
    _, theirs, after = _initialised(deep, shallow)
    source, found = theirs["layer2.0.conv1.weight"], after["layer2.1.conv1.weight"]
    assert torch.equal(found, torch.cat([source, source], 1))


def test_a_wider_student_repeats_channels_without_rescaling() -> None:
    wide, narrow = (ResNet(blocks=(1,), widths=(width,)) for width in (6, 4))
    _, theirs, after = _initialised(wide, narrow)
    source, found = theirs["layer1.0.conv2.weight"], after["layer1.0.conv2.weight"]
    for o in range(6):
        for i in range(6):
            assert torch.equal(found[o, i], source[o % 4, i % 4])
    vector = theirs["layer1.0.bn2.running_var"]
    assert after["layer1.0.bn2.running_var"].tolist() == [vector[o % 4].item() for o in range(6)]


@pytest.mark.parametrize(
    "model", [VGG(widths=((4,), (6, 8)), hidden=5), ConvNet(widths=(4, 6))], ids=["vgg", "convnet"]
)
def test_other_topologies_are_copied_layer_by_layer_up_to_the_last_convolution(
    model: Model,
) -> None:
    before, theirs, after = _initialised(model, model)
    head = [name for name in after if name.startswith(("fc", "hidden"))]
    kept = [name for name in after if torch.equal(after[name], before[name])]
    assert head
    assert {name for name in kept if "num_batches" not in name} == {
        name for name in head if "num_batches" not in name
    }
    assert all(torch.equal(after[name], theirs[name]) for name in after if name not in head)


def test_a_teacher_of_another_family_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"another family.*nothing for 'layer1.0.conv'"):
        initialise(
            _network(VGG(widths=((4,),)), seed=0),
            _network(ResNet(blocks=(1,), widths=(4,)), seed=1),
        )


def test_a_network_without_a_convolution_inherits_nothing_and_is_refused() -> None:
    # Found by reading: on sentences it stood among those that begin with a teacher's weights.
    room = SENTENCES
    with pytest.raises(UnsupportedError, match="no convolution that could begin as the teacher's"):
        METHOD.fit(room.student(), room.lesson(room.teacher()))


def test_a_teacher_with_fewer_stages_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"another family.*nothing for 'layer2.0.conv1'"):
        initialise(
            _network(ResNet(blocks=(1, 1), widths=(4, 8)), seed=0),
            _network(ResNet(blocks=(1,), widths=(4,)), seed=1),
        )


def test_another_kernel_is_refused() -> None:
    model = ResNet(blocks=(1,), widths=(4,))
    large = model.build(
        nn.ReLU, input=Image(shape=(1, 128, 128)), output=Classes(3)
    )  # its stem is 7x7
    with pytest.raises(UnsupportedError, match=r"nothing for 'conv1'"):
        initialise(_network(model, seed=0), large)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_norm_is_no_source_of_a_convolution_nor_the_other_way_round(*, swapped: bool) -> None:
    networks = nn.Sequential(nn.Conv2d(1, 1, 1)), nn.Sequential(nn.BatchNorm2d(1))
    ours, theirs = reversed(networks) if swapped else networks
    with pytest.raises(UnsupportedError, match=r"nothing for '0'"):
        initialise(ours, theirs)


def test_the_teacher_shares_no_memory_with_the_student() -> None:
    learner, guide = student("resnet"), teacher("resnet")
    knew = {name: value.clone() for name, value in guide.network.state_dict().items()}
    list(METHOD.fit(learner, lesson(guide)))
    for name, value in guide.network.state_dict().items():
        assert torch.equal(knew[name], value)


def test_training_starts_where_the_teacher_is() -> None:
    learner, guide = student("resnet"), teacher("resnet")
    METHOD.fit(learner, lesson(guide))  # copies; nothing is trained until it is iterated
    for name in ("conv1.weight", "layer2.0.conv2.weight"):
        assert torch.equal(learner.network.get_parameter(name), guide.network.get_parameter(name))


def test_the_loss_adds_three_tenths_of_the_softened_divergence() -> None:
    logits = torch.tensor([[[5.0, 1.0]], [[-5.0, -1.0]]])  # mean (0, 0)

    class Said(Nobody):
        def __init__(self) -> None:
            pass

        @property
        def logits(self) -> Tensor:
            return torch.tensor([[0.0, 4 * math.log(3)]])  # 1 : 3 at temperature 4

    loss = Idsnn().loss(Output(logits=logits), Said(), torch.tensor([0]))
    # KL((1/4, 3/4) || (1/2, 1/2)), times 4^2
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert loss.item() == pytest.approx(math.log(2) + 0.3 * 16 * divergence, rel=1e-6)


def test_labels_are_asked_of_the_mean_over_time() -> None:
    logits = torch.tensor([[[0.0, 0.0]], [[0.0, 2 * math.log(3)]]])  # on average 1 : 3
    answer = SimpleNamespace(logits=torch.zeros(1, 2), task=ClassLosses())
    loss = Idsnn(weight=0.0).loss(Output(logits=logits), answer, torch.tensor([0]))  # type: ignore[arg-type]  # only its logits are asked for
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)
