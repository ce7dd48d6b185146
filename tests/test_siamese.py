"""SiamFC++: sizes, one topology in two realisations, matching, and its losses by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Pair
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec
from harness.training.losses import boxes
from suites.models._siamese import SiamFCpp, correlate
from suites.models.siamfcpp import MODEL as PUBLISHED
from suites.models.siamfcpp_small import MODEL as SMALL

PAIR = Pair(template=(3, 95, 95), search=(3, 191, 191))
TINY = SiamFCpp(widths=(3, 4, 4, 4), kernels=(7, 3, 3, 3), head=1)
SPEC = NeuronSpec(scale_input=False)


def network(model: Model = TINY, *, backend: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    simulator = discovery.load("backends", backend) if backend else None

    def activation() -> nn.Module:
        return nn.ReLU() if simulator is None else simulator.neuron(SPEC)  # type: ignore[attr-defined,no-any-return]  # a plug-in

    return model.build(activation, input=PAIR, output=Classes(1))


def test_the_published_sizes() -> None:
    assert isinstance(PUBLISHED, SiamFCpp)
    assert (PUBLISHED.side_after(127), PUBLISHED.side_after(303)) == (6, 28)
    pair = Pair(template=(3, 127, 127), search=(3, 303, 303))
    built = PUBLISHED.build(nn.Identity, input=pair, output=Classes(1))
    assert built.grid == 17
    weights = sum(each.numel() for each in built.backbone.parameters() if each.dim() > 1)  # type: ignore[union-attr]  # a module
    assert weights == 96 * 363 + 256 * 96 * 25 + (256 + 384) * 384 * 9 + 384 * 256 * 9  # 3.75 M


def test_crops_that_leave_nothing_to_match_are_refused() -> None:
    with pytest.raises(SpecError, match="too small"):
        TINY.build(nn.ReLU, input=Pair(template=(3, 32, 32), search=(3, 64, 64)), output=Classes(1))


def test_a_stimulus_of_another_size_is_refused() -> None:
    with pytest.raises(SpecError, match=r"\[1, 6, 64, 64\].*\[N, 6, 191, 191\]"):
        network()(torch.zeros(1, 6, 64, 64))


@pytest.mark.parametrize("backend", [None, "reference"])
def test_answers_and_taps_have_every_step(backend: str | None) -> None:
    built = network(SMALL, backend=backend)
    output = built(torch.randn(2, 6, 191, 191), 3, ("template", "search"))
    assert output.logits.shape == (3, 2, 11 * 11, 6)
    assert output.taps["template"].shape == (3, 2, 24, 6, 6)
    assert output.taps["search"].shape == (3, 2, 24, 18, 18)
    assert built.tap_channels == {"template": 24, "search": 24}


def test_realisations_share_their_weights() -> None:
    artificial, spiking = network(), network(backend="reference")
    assert artificial.state_dict().keys() == spiking.state_dict().keys()
    for name, weight in artificial.state_dict().items():
        assert torch.equal(weight, spiking.state_dict()[name]), name


def test_nothing_of_the_canvas_but_the_template_is_seen() -> None:
    built = network().eval()
    stimulus = torch.randn(1, 6, 191, 191)
    other = stimulus.clone()
    other[:, :3, 95:] = 9
    other[:, :3, :, 95:] = 9
    with torch.no_grad():
        assert torch.equal(built(stimulus).logits, built(other).logits)
        other[:, :3, :95, :95] += 1
        assert not torch.equal(built(stimulus).logits, built(other).logits)


def test_equal_weights_answer_alike_on_both_simulators() -> None:
    stimulus = torch.randn(1, 6, 191, 191, generator=torch.Generator().manual_seed(1))
    answers = []
    for backend in ("norse", "spikingjelly"):
        built = network(backend=backend).train()  # norms of the batch, so that neurons fire
        with torch.no_grad():
            output = built(stimulus, 2, ("search",))
        assert output.taps["search"].std() > 0.1
        answers.append(output.logits)
    # The same spikes through the same layers.
    assert torch.equal(*answers)


def test_correlation_finds_a_template_where_it_was_cut_out() -> None:
    search = torch.randn(2, 3, 4, 7, 7, generator=torch.Generator().manual_seed(0))
    template = search[..., 2:5, 1:4]
    by_hand = (search[..., 2:5, 1:4] * template).sum((-1, -2))
    matched = correlate(search, template)
    assert matched.shape == (2, 3, 4, 5, 5)
    assert torch.allclose(matched[..., 2, 1], by_hand, rtol=1e-5)


# Losses.


def answer(points: int = 9, *, cls: float = 0.0, ctr: float = 0.0, reach: float = 8.0) -> Tensor:
    """Return one sample's answer, the same at all points; boxes reach ``reach`` pixels."""
    log = math.log(reach / boxes.STRIDE_PX)
    return torch.tensor([cls, ctr, log, log, log, log], dtype=torch.float64).expand(1, points, 6)


def test_points_are_a_centred_grid_row_by_row() -> None:
    found = boxes.points_px(9, torch.zeros((), dtype=torch.float64)).tolist()
    assert found == [
        [-8, -8], [0, -8], [8, -8],
        [-8, 0], [0, 0], [8, 0],
        [-8, 8], [0, 8], [8, 8],
    ]  # fmt: skip
    # Of the published grid the first point is 87 of 303: 151 - 64.
    assert boxes.points_px(17 * 17, torch.zeros(()))[0].tolist() == [-64, -64]


def test_offsets_are_logarithms_of_strides() -> None:
    found = boxes.boxes_px(answer(reach=12.0))
    assert found[0, 4].tolist() == pytest.approx([-12, -12, 12, 12])
    assert found[0, 5].tolist() == pytest.approx([-4, -12, 20, 12])


def test_centreness_is_one_in_the_middle_and_zero_outside() -> None:
    distances = boxes.distances_px(torch.tensor([[-12.0, -12, 12, 12]]), 9)
    central = boxes.centreness(distances)[0]
    # Beside the middle 4 and 20 to the edges: sqrt(4/20); at a corner 4/20.
    assert central.tolist() == pytest.approx(
        [0.2, math.sqrt(0.2), 0.2, math.sqrt(0.2), 1, math.sqrt(0.2), 0.2, math.sqrt(0.2), 0.2]
    )
    outside = boxes.distances_px(torch.tensor([[20.0, 20, 30, 30]]), 9)
    assert (boxes.centreness(outside) == 0).all()


def test_the_focal_loss_by_hand() -> None:
    logits, positive = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    # At 1/2 both are (1/2)^2 ln 2, weighted by 1/4 and 3/4.
    assert boxes.focal(logits, positive).item() == pytest.approx(0.25 * math.log(2))
    one = boxes.focal(torch.tensor([[2.0]]), torch.tensor([[1.0]])).item()
    probability = 1 / (1 + math.exp(-2))
    assert one == pytest.approx(0.25 * (1 - probability) ** 2 * -math.log(probability))


def test_the_task_loss_by_hand_with_one_positive_point() -> None:
    labels = torch.tensor([[-4.0, -4, 4, 4]])
    found = boxes.task_loss(answer(reach=8.0), labels).item()
    # One point of nine inside, its centre-ness 1; its box is 16 x 16 of which 8 x 8 is right.
    focal = math.log(2) / 4 * (0.25 + 8 * 0.75)
    assert found == pytest.approx(focal + math.log(2) + 3 * math.log(4))
    perfect = boxes.task_loss(answer(cls=0.0, ctr=40.0, reach=4.0), labels).item()
    assert perfect == pytest.approx(focal)


def test_a_search_without_the_target_has_scores_alone_to_learn() -> None:
    answered = answer().clone().requires_grad_()
    loss = boxes.task_loss(answered, torch.zeros(1, 4))
    assert loss.item() == pytest.approx(9 * 0.75 * math.log(2) / 4)
    loss.backward()
    assert answered.grad is not None
    assert (answered.grad[..., 0] > 0).all()
    assert (answered.grad[..., 1:] == 0).all()


def test_a_student_that_agrees_has_no_divergence_and_no_slope() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(2, 9, 6, generator=generator, dtype=torch.float64)
    student = teacher.clone().requires_grad_()
    losses = boxes.BoxLosses()
    found = losses.divergence(student, teacher, temperature=2.0)
    assert found.item() == pytest.approx(0, abs=1e-12)
    scores = boxes.response_divergence(student, teacher, temperature=2.0)
    (slope,) = torch.autograd.grad(scores, student)
    assert slope.abs().max() < 1e-12


def test_divergences_by_hand() -> None:
    ours, theirs = answer(1, cls=0.0, reach=8.0), answer(1, cls=2.0, reach=4.0)
    soft = 1 / (1 + math.exp(-1.0))  # of the teacher's 2 at temperature 2
    entropy = -soft * math.log(soft) - (1 - soft) * math.log(1 - soft)
    found = boxes.response_divergence(ours, theirs, temperature=2.0).item()
    assert found == pytest.approx(4 * (math.log(2) - entropy))
    # 8 x 8 of 16 x 16, whatever the weight of the only point.
    assert boxes.box_divergence(ours, theirs).item() == pytest.approx(math.log(4))
    total = boxes.BoxLosses().divergence(ours, theirs, temperature=2.0).item()
    assert total == pytest.approx(found + math.log(4))


def test_boxes_count_as_much_as_the_teacher_is_sure_of_them() -> None:
    theirs = answer(4, reach=4.0).clone()
    theirs[0, :, :2] = -30.0
    theirs[0, 2, :2] = 0.0
    ours = theirs.clone()
    ours[0, 2, 2:] += math.log(2)
    ours[0, 0, 2:] += 9.0
    assert boxes.box_divergence(ours, theirs).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("offset", [44.0, 90.0])
def test_boxes_of_a_network_that_knows_nothing_are_still_boxes(offset: float) -> None:
    # A random network answers so; e^44 squared is no float32, nor is e^90.
    wild = torch.zeros(1, 4, 6)
    wild[..., 2:] = offset
    ours = torch.zeros(1, 4, 6, requires_grad=True)
    labels = torch.tensor([[-8.0, -8, 8, 8]])
    found = boxes.box_divergence(ours, wild) + boxes.task_loss(wild + ours, labels)
    found.backward()  # type: ignore[no-untyped-call]  # torch's own
    assert torch.isfinite(found)
    assert ours.grad is not None
    assert torch.isfinite(ours.grad).all()
