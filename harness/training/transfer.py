"""The teacher's weights as the student's."""

from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import style_of
from harness.training.lesson import Teacher
from harness.training.slots import slots
from harness.training.student import Student

_OF_VECTORS = (nn.Linear, nn.BatchNorm1d)  # what stands behind the last map


def copy_weights(student: Student, teacher: Teacher, *, head_may_differ: bool = False) -> None:
    """Copy every weight and running statistic; the student's neurons keep their parameters.

    Args:
        student: Receives them.
        teacher: A realisation of the same topology.
        head_may_differ: Layers behind the last map that are not the same in both keep
            their start, and residual sums may stand elsewhere.

    Raises:
        UnsupportedError: If the teacher has another topology.
    """
    copy_network(student, teacher.network, head_may_differ=head_may_differ)


def copy_network(student: Student, source: nn.Module, *, head_may_differ: bool = False) -> None:
    """Do what ``copy_weights`` does, from any realisation of the topology."""
    theirs = source.state_dict()
    neurons = slots(student)
    ours = {
        name: value
        for name, value in student.network.state_dict().items()
        if not any(name.startswith(f"{neuron}.") for neuron in neurons)
    }
    unlike = [
        name
        for name in {**theirs, **ours}
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape
    ]
    for name in unlike:
        network = student.network if name in ours else source
        if not (head_may_differ and isinstance(network.get_submodule(_layer(name)), _OF_VECTORS)):
            raise UnsupportedError(
                f"the teacher has another topology than the student: {name!r} does not fit"
            )
    styles = [style_of(each) for each in (source, student.network)]
    if len({*styles}) > 1 and not head_may_differ:
        raise UnsupportedError(
            "the teacher has another topology than the student: its style is {!r}, the student's "
            "{!r}".format(*styles)
        )
    left_out = {_layer(name) for name in unlike}
    copied = {name: value for name, value in theirs.items() if _layer(name) not in left_out}
    student.network.load_state_dict(copied, strict=False)


def _layer(name: str) -> str:
    """Return the module that holds the tensor ``name``."""
    return name.rpartition(".")[0]
