"""A teacher of fresh weights: as a start has them, and nothing of what was learnt."""

from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any, cast

import pytest
import torch
from torch import nn

from harness import discovery
from harness.contracts.dataset import Dataset
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model
from suites.methods.logit_kd import LogitKd
from suites.methods.untrained_teacher import METHOD, UntrainedTeacher, afresh
from tests.methods.small import lesson, student, teacher

MODELS = ("digits_convnet", "vgg9", "resnet20", "ms_resnet20", "sew_resnet20")
TASKS = {
    "minilm": "sst2",
    "oad_transformer": "thumos14_simulated",
    "siamfcpp_small": "tracking_quick",
}


@pytest.mark.parametrize("name", MODELS)
def test_fresh_weights_are_those_of_a_network_that_was_just_built(name: str) -> None:
    model = cast(Model, discovery.load("models", name))

    def built() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return model.build(nn.ReLU, input=Image(shape=(1, 32, 32)), output=Classes(3))

    trained, start = built(), built().state_dict()
    with torch.no_grad():
        for value in trained.state_dict().values():
            value.fill_(7)
    torch.manual_seed(0)
    fresh = afresh(trained).state_dict()
    assert all(torch.equal(fresh[key], start[key]) for key in start)
    assert all((value == 7).all() for value in trained.state_dict().values())


@pytest.mark.parametrize(("name", "dataset"), TASKS.items())
def test_what_no_layer_draws_or_draws_otherwise_is_drawn_anew_too(name: str, dataset: str) -> None:
    card = cast(Dataset, discovery.load("datasets", dataset)).card
    model = cast(Model, discovery.load("models", name))
    trained, start = (model.build(nn.ReLU, input=card.input, output=card.output) for _ in range(2))
    with torch.no_grad():
        for weight in trained.parameters():
            weight.fill_(7)
    fresh = dict(afresh(trained).named_parameters())
    for key, weight in start.named_parameters():
        theirs, ours = (each.square().mean().sqrt().item() for each in (weight, fresh[key]))
        assert ours == pytest.approx(theirs, rel=0.5), key


@pytest.mark.parametrize(
    "chosen", [{}, {"temperature": 2.0, "weight": 0.5}], ids=["default", "own"]
)
def test_it_is_logit_kd_from_the_fresh_teacher(chosen: dict[str, Any]) -> None:
    guide = teacher()
    ours, theirs = student(), student()
    torch.manual_seed(5)
    told = [each.loss for each in UntrainedTeacher(**chosen).fit(ours, lesson(guide, steps=3))]
    torch.manual_seed(5)
    fresh = replace(guide, network=afresh(guide.network))
    expected = [each.loss for each in LogitKd(**chosen).fit(theirs, lesson(fresh, steps=3))]
    plain = [each.loss for each in LogitKd(**chosen).fit(student(), lesson(guide, steps=3))]
    assert told == expected != plain


def test_the_trained_teacher_stays_as_it_is_and_the_fresh_one_is_frozen() -> None:
    guide = teacher()
    knew = deepcopy(guide.network.state_dict())
    fresh = afresh(guide.network)
    assert all(torch.equal(knew[key], now) for key, now in guide.network.state_dict().items())
    assert not any(weight.requires_grad for weight in fresh.parameters())
    assert not fresh.training


def test_it_is_a_control_with_the_parameters_of_logit_kd() -> None:
    card = discovery.method_card("untrained_teacher")
    assert card is not None
    assert card.control
    assert asdict(METHOD) == asdict(LogitKd())  # type: ignore[call-overload]  # a dataclass
