"""Networks that others trained: called as they are, from rest, with no code in their files."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.contracts.dataset import Samples
from harness.contracts.errors import CountingError, SpecError
from harness.evaluation.evaluate import evaluate
from harness.exchange import foreign, judging
from harness.exchange.judging import as_student, judge, presentation_of
from suites.tasks.classification import TASK

T = 3
TABLE = """
import torch
from torch import nn
from spikingjelly.activation_based import layer, neuron

def steps():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), neuron.IFNode(v_threshold=0.5), nn.Flatten(),
        nn.Linear(256, 10),
    )

class Train(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = steps()

    def forward(self, frames):
        return torch.stack([self.parts(frame) for frame in frames]), "and more"

def train():
    return Train()

def number():
    return 3

def broken():
    return nn.Linear("a", 2)

constant = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of somebody's, which the user has on the path."""
    (tmp_path / "their_networks.py").write_text(TABLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_networks", raising=False)
    return "their_networks"


def saved(package: str, factory: str, path: Path, key: str | None = None) -> Path:
    module: nn.Module = foreign._factory(f"{package}:{factory}")()
    state = module.state_dict()
    torch.save({key: state, "epoch": 3} if key else state, path)
    return path


def stimulus() -> Tensor:
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("key", [None, "state_dict", "model", "net"])
def test_a_network_answers_as_its_own_loop_does(package: str, tmp_path: Path, key: Any) -> None:
    network = foreign.load(
        f"{package}:steps", saved(package, "steps", tmp_path / "w.pt", key), call="step"
    )
    with torch.no_grad():
        first, second = (network(stimulus(), T).logits for _ in range(2))
        foreign.reset(network)
        alone = torch.stack([network.module(stimulus()) for _ in range(T)])
    assert torch.equal(first, alone)
    assert torch.equal(second, alone)  # rest was between them
    assert not torch.equal(alone[0], alone[1])  # or nothing would have needed it


def test_a_network_may_be_given_all_steps_at_once(package: str, tmp_path: Path) -> None:
    steps = foreign.load(f"{package}:steps", saved(package, "steps", tmp_path / "s"), call="step")
    train = foreign.load(f"{package}:train", saved(package, "train", tmp_path / "t"), call="train")
    frames = torch.rand(T, 2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(steps(frames, T).logits, train(frames, T).logits)


@pytest.mark.parametrize("path", ["..x:y", ".x:y", "x..y:z", "x.:y"])
def test_a_relative_module_is_no_factory(path: str) -> None:
    with pytest.raises(SpecError, match=r"takes package\.module:factory, got"):
        foreign._factory(path)


@pytest.mark.parametrize(
    ("code", "words"),
    [("def make(:", "is a SyntaxError"), ("1 / 0", "is a ZeroDivisionError: division by zero")],
)
def test_a_module_that_cannot_be_imported_is_named(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_broken.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError, match=f"--module their_broken:make: to import .* {words}"):
        foreign._factory("their_broken:make")


def test_a_student_answers_in_a_step_at_least() -> None:
    with pytest.raises(SpecError, match="timesteps must be at least 1, got 0"):
        as_student(nn.Flatten(), timesteps=0)


def test_what_does_not_fit_is_refused_in_words(package: str, tmp_path: Path) -> None:
    weights = saved(package, "steps", tmp_path / "w.pt")
    refused = {
        "takes package.module:factory": ("no colon", weights),
        "importable from here": (f"{package}:nothing", weights),
        "No module named": ("no_such_module:f", weights),
        r"their_networks:broken\(\) is a TypeError: .*; mend it first": (
            f"{package}:broken",
            weights,
        ),
        "is a int, which makes nothing": (f"{package}:constant", weights),
        "made a int and no torch module": (f"{package}:number", weights),
        "holds no weights of": (f"{package}:train", weights),
        "no checkpoint at": (f"{package}:steps", tmp_path / "none.pt"),
    }
    for words, (factory, file) in refused.items():
        with pytest.raises(SpecError, match=words):
            foreign.load(factory, file, call="step")
    whole = foreign.ForeignNetwork(nn.Flatten(2), call="step")
    with pytest.raises(SpecError, match="--call has the other way"):
        whole(stimulus(), T)
    at_once = foreign.load(f"{package}:steps", weights, call="train")
    with pytest.raises(SpecError, match=r"called by train, the module raises a Run.*the other way"):
        at_once(stimulus(), T)
    network = foreign.load(f"{package}:steps", weights, call="step")
    with pytest.raises(SpecError, match="has no taps"):
        network(stimulus(), T, taps=("x",))
    with pytest.raises(SpecError, match="has 2 frames, and 3 are asked for"):
        network(torch.zeros(2, 2, 1, 8, 8), T)


class Malicious:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


def test_code_in_a_checkpoint_is_not_run(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malicious()}, tmp_path / "w.pt")
    with pytest.raises(SpecError, match="no checkpoint of weights alone") as refused:
        foreign.load(f"{package}:steps", tmp_path / "w.pt", call="step")
    assert "\n" not in str(refused.value)
    assert "weights_only" not in str(refused.value)  # torch advises to run it
    assert not (tmp_path / "touched").exists()
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(SpecError, match="holds no state dict"):
        foreign.load(f"{package}:steps", tmp_path / "w.pt", call="step")


def test_a_foreign_network_is_evaluated_and_metered(
    package: str, tmp_path: Path, few: Samples
) -> None:
    network = foreign.load(f"{package}:steps", saved(package, "steps", tmp_path / "w"), call="step")
    student = as_student(network, timesteps=T)
    shown = presentation_of("digits", mean=(0.5,), std=(0.25,))
    expected = evaluate(student, few, shown, torch.device("cpu"), "float32", task=TASK)
    found = judge(student, "digits", presentation=shown)
    assert np.array_equal(found.verdict.logits, expected.logits)
    assert found.as_claimed is None
    columns = found.columns()
    assert columns["score"] == expected.score.value
    assert columns["counts"]["neuron_add"] == 20 * T * 256  # an addition a neuron and step
    assert columns["counts"]["spikes"] > 0
    assert columns["energy_pj"]["horowitz_45nm_fp32:per_step"] > 0


@pytest.mark.usefixtures("few")
def test_a_network_of_other_classes_is_judged_by_nobody() -> None:
    five = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    student = as_student(foreign.ForeignNetwork(five, call="step"), timesteps=T)
    with pytest.raises(SpecError, match="the network answers 5 classes, and digits has 10"):
        judge(student, "digits", presentation=presentation_of("digits"))


@pytest.mark.usefixtures("few")
def test_nobody_is_judged_by_images_shown_in_a_way_that_was_not_said() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    student = as_student(foreign.ForeignNetwork(plain, call="step"), timesteps=T)
    with pytest.raises(TypeError, match="presentation"):
        judge(student, "digits")


def test_neurons_of_unknown_cost_are_not_metered_as_nothing(few: Samples) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v_threshold = 1.0

        def forward(self, value: Tensor) -> Tensor:
            return (value > self.v_threshold).float()

    odd = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Odd())
    assert len(few) == 20
    student = as_student(foreign.ForeignNetwork(odd, call="step"), timesteps=T)
    with pytest.raises(CountingError, match="unknown cost"):
        judge(student, "digits", presentation=presentation_of("digits"))


@pytest.mark.parametrize(
    ("accuracy", "claim", "as_claimed"),
    [
        (0.93714, "93.7", True),
        (0.93714, "93.71", True),
        (0.93714, "93.72", False),
        (0.93714, "94", True),
        (0.93714, "93", False),
        (1.0, "100", True),
        (0.5, "50.5", False),
        (0.9724, "0e999999", False),
        (0.9724, "1e2", False),
        (0.9724, "9e1", False),
        (0.97, "9.7e1", True),
        (0.9724, "1e-9999999", False),
    ],
)
def test_a_claim_is_held_to_its_own_digits(accuracy: float, claim: str, as_claimed: bool) -> None:  # noqa: FBT001  pytest gives it by name
    assert judging._is(accuracy, judging._percentage(claim)) == as_claimed


@pytest.mark.parametrize("claim", ["much", "101", "-1", "nan"])
def test_a_claim_is_a_percentage(claim: str) -> None:
    with pytest.raises(SpecError, match="a claim is"):
        judging._percentage(claim)


def test_a_normalisation_has_a_number_a_channel() -> None:
    assert presentation_of("digits", mean=(0.5,), std=(0.25,)).mean == (0.5,)
    with pytest.raises(SpecError, match="digits has 1 channels, and --std 3 numbers"):
        presentation_of("digits", std=(1.0, 1.0, 1.0))
