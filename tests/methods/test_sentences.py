"""Every method on sentences: batches of other lengths, and padding that nobody asked for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Tokens
from harness.contracts.method import Method, Realises
from harness.engine.meaning import unmeant
from harness.training import Batch, Lesson, Student, Teacher
from suites.models._bert import Bert
from suites.models._spikformer_text import SpikformerText
from tests.methods.small import SPEC, lesson

GIVEN = {"input": Tokens(vocabulary=12, length=9), "output": Classes(2)}
METHODS = [name for name in discovery.names("methods") if not unmeant(name, "sst2")]


def student(method: Method) -> Student:
    simulator = cast(Backend, discovery.load("backends", "reference"))

    def twin(activation: Callable[[], nn.Module]) -> nn.Module:
        return SpikformerText(blocks=2, width=8, heads=2, hidden=8).build(activation, **GIVEN)  # type: ignore[arg-type]  # of several types

    torch.manual_seed(0)
    network = twin(lambda: simulator.neuron(SPEC))
    learner = Student(network=network, timesteps=2, twin=twin, spec=SPEC, neuron=simulator.neuron)
    if isinstance(method, Realises):
        method.realise(learner)
    return learner


def teacher() -> Teacher:
    torch.manual_seed(1)
    network = Bert(blocks=2, width=8, heads=2, hidden=8).build(nn.ReLU, **GIVEN)  # type: ignore[arg-type]  # of several types
    return Teacher(network=network.eval().requires_grad_(requires_grad=False), mean=(), std=())


def sentences(longest: int) -> Tensor:
    """Return eight sentences of at least 2 tokens, the longest of ``longest``."""
    tokens = torch.randint(1, 12, (8, longest), generator=torch.Generator().manual_seed(longest))
    for number, row in enumerate(tokens):
        row[max(2, longest - number) :] = 0
    return tokens


def course(padding: int) -> Lesson:
    """Return three batches of sentences of 5, 7 and 4 tokens, with so much padding behind them."""
    given = lesson(teacher(), steps=3)
    batches = []
    for batch, longest in zip(next(iter(given.epochs)), (5, 7, 4), strict=True):
        tokens = nn.functional.pad(sentences(longest), (0, padding))
        labels = torch.arange(8) % 2
        batches.append(replace(batch, stimulus=tokens, images=tokens, drawn=tokens, labels=labels))
    return replace(given, epochs=[cast("list[Batch]", batches)], pad=0)


def learnt(name: str, padding: int) -> dict[str, Tensor]:
    """Return the weights after three batches."""
    method = discovery.load("methods", name)
    torch.manual_seed(2)
    learner = student(cast(Method, method))
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    torch.manual_seed(3)
    steps = [progress.loss for progress in cast(Method, method).fit(learner, course(padding))]
    assert steps
    after = learner.network.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    return dict(after)


@pytest.fixture
def wide() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("name", METHODS)
def test_padding_changes_nothing_that_is_learnt(name: str) -> None:
    """Sums over more zeros differ in their last digits, 1e-16, which three steps enlarge."""
    try:
        trimmed, padded = learnt(name, padding=0), learnt(name, padding=2)
    except UnsupportedError as error:
        pytest.skip(str(error))
    apart = max(float((trimmed[key] - padded[key]).abs().max()) for key in trimmed)
    assert apart < 1e-10
