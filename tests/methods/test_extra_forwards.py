"""A teacher that runs in vain: the numbers of direct training, the forward passes of another."""

from collections.abc import Sequence

import torch

from harness import discovery
from harness.contracts.method import Method
from harness.contracts.model import Output
from harness.training import Teacher
from suites.methods.direct import Direct
from suites.methods.extra_forwards import METHOD
from suites.methods.logit_kd import LogitKd
from tests.methods.small import lesson, student
from tests.methods.small import teacher as trained


class _Counting(torch.nn.Module):
    """A teacher's network that counts how often it runs, and over how many samples."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, list[int]()

    def forward(self, stimulus: torch.Tensor, timesteps: int, taps: Sequence[str] = ()) -> Output:
        self.seen.append(len(stimulus))
        found: Output = self.network(stimulus, timesteps, taps)
        return found


def _trained(method: Method) -> tuple[dict[str, torch.Tensor], list[int]]:
    learner, guide = student(), trained()
    counting = _Counting(guide.network)
    course = lesson(Teacher(network=counting, mean=guide.mean, std=guide.std), steps=3)
    list(method.fit(learner, course))
    return learner.network.state_dict(), counting.seen


def test_it_learns_what_direct_training_does_to_the_last_bit() -> None:
    (ours, _), (theirs, none) = _trained(METHOD), _trained(Direct())
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert not none


def test_the_teacher_runs_as_often_as_for_a_distillation_by_logits() -> None:
    (_, ours), (_, theirs) = _trained(METHOD), _trained(LogitKd())
    assert ours == theirs == [8, 8, 8]


def test_it_is_a_control_that_is_given_a_teacher() -> None:
    card = discovery.method_card("extra_forwards")
    assert card is not None
    assert card.control
    assert card.uses_teacher
