"""Every method on sentences: batches of other lengths, and padding that nobody asked for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from harness import discovery
from harness.contracts.method import Method
from harness.training import Batch, Lesson
from tests.methods.classrooms import SENTENCES
from tests.methods.laws import ready


def course(padding: int) -> Lesson:
    """Return three batches of sentences, with so much padding behind."""
    given = SENTENCES.lesson(SENTENCES.teacher(), steps=3)
    (batches,) = given.epochs
    return replace(given, epochs=[[_padded(batch, padding) for batch in batches]])


def _padded(batch: Batch, padding: int) -> Batch:
    tokens = pad(batch.images, (0, padding))
    return replace(batch, stimulus=tokens, images=tokens, drawn=tokens)


def learnt(name: str, padding: int) -> dict[str, Tensor]:
    """Return the weights after three batches."""
    method = cast(Method, discovery.load("methods", name))
    torch.manual_seed(2)
    learner = ready(method, SENTENCES)
    list(method.fit(learner, course(padding)))
    return dict(learner.network.state_dict())


@pytest.fixture
def wide() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_sentences_are_of_several_lengths_and_padded() -> None:
    batches = [batch.images for batch in next(iter(course(padding=0).epochs))]
    assert len({batch.shape[1] for batch in batches}) > 1
    assert all((batch == 0).any() and (batch[:, :2] != 0).all() for batch in batches)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("name", sorted({*SENTENCES.methods} - SENTENCES.refused_by))
def test_padding_changes_nothing_that_is_learnt(name: str) -> None:
    """Sums over more zeros differ in their last digits, 1e-16, which three steps enlarge."""
    trimmed, padded = learnt(name, padding=0), learnt(name, padding=2)
    apart = max(float((trimmed[key] - padded[key]).abs().max()) for key in trimmed)
    assert apart < 1e-10
