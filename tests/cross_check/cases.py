"""Networks for the comparison under five tools, with counts derived by hand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.meter import Ledger, measure
from tests.cross_check.networks import STEPS, converted, diagonal, linear, two_layers

Built = tuple[nn.Module, Tensor]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network and its input.

    Attributes:
        name: As the table has it.
        build: Returns a fresh network and its input ``[N, ...]``.
        ac: Accumulations, derived by hand.
        mac: Multiplications with accumulation, likewise.
        steps: That the input holds, steps first; 1 if the network makes its own.
    """

    name: str
    build: Callable[[], Built]
    ac: int
    mac: int = 0
    steps: int = 1


def on(*samples: list[float], network: Callable[[], nn.Module] = linear) -> Callable[[], Built]:
    """Return what builds ``network`` and an input of ``samples``."""
    return lambda: (network(), torch.tensor(samples))


def _pruned() -> nn.Module:
    return linear(zeros=((0, 0), (1, 2)))


CASES = (
    # A value that is not zero reaches 5 outputs: 2 x 5. Of integers, 2 + 1 units do.
    Case(name="Linear(3, 5) on binary [1, 0, 1]", build=on([1.0, 0.0, 1.0]), ac=10),
    Case(name="on scaled [.7, 0, .7]", build=on([0.7, 0.0, 0.7]), ac=10),
    Case(name="on ternary [1, 0, -1]", build=on([1.0, 0.0, -1.0]), ac=10),
    Case(name="on integers [2, 0, 1]", build=on([2.0, 0.0, 1.0]), ac=15),
    Case(name="on analog [.5, 0, 2]", build=on([0.5, 0.0, 2.0]), ac=0, mac=10),
    Case(name="on silent [0, 0, 0]", build=on([0.0, 0.0, 0.0]), ac=0),
    Case(
        name="on binary [1, 0, 1], two weights pruned",
        build=on([1.0, 0.0, 1.0], network=_pruned),
        ac=10,
    ),
    # Analog over the run: 2 x 5 and 1 x 5.
    Case(
        name="on two samples, [1, 0, 1] and [.5, 0, 0]",
        build=on([1.0, 0.0, 1.0], [0.5, 0.0, 0.0]),
        ac=0,
        mac=15,
    ),
    # Fan-out 5 [[1,2,1],[2,4,2],[1,2,1]] along the diagonal: 5 + 20 + 5.
    Case(name="Conv2d(1, 5, 2) on eye(3)", build=diagonal, ac=30),
    # Currents (.625, .9), threshold 1, soft reset; spikes by step [0,0] [1,1] [0,1] [1,1].
    # Second layer: 5 x 2. First: 2 values x 2 outputs in each of 4 steps.
    Case(
        name="Linear, IF, Linear on [1, .5], 4 steps",
        build=on(*[[1.0, 0.5]] * STEPS, network=two_layers),
        ac=10,
        mac=16,
        steps=STEPS,
    ),
    # First layer, with borders: (3 x 8 - 2)^2 taps x 4 channels x 4 steps x 2 samples. The
    # accumulations come from the spikes, in test_agreement.
    Case(name="converted network, 2 samples, 4 steps", build=converted, ac=14_592, mac=15_488),
)


def ours(case: Case) -> Ledger:
    """Return our measurement of ``case``."""
    network, inputs = case.build()
    if case.steps == 1:
        return measure(network, inputs)
    return measure(
        network,
        torch.unflatten(inputs, 0, (case.steps, -1)),
        time_axis=0,
        batch_axis=1,
        call=lambda frames: network(frames.flatten(0, 1)),
    )
