"""syops 0.0.5, last released in 2023."""

import subprocess
import sys
import warnings
from importlib.metadata import requires

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from harness.contracts.ledger import Counts
from harness.meter import measure
from tests.cross_check import tools
from tests.cross_check.known import Known
from tests.cross_check.known.neurobench import Lstm, by_weights, rows
from tests.cross_check.networks import diagonal, generic, linear

SPIKES = torch.tensor([[1.0, 0.0, 1.0]])
TERNARY = torch.tensor([[1.0, 0.0, -1.0]])
INTEGERS = torch.tensor([[2.0, 0.0, 1.0]])
GREY = torch.tensor([[1.0, 0.5, 1.0]])
EVEN = torch.full((1, 3), 0.5)


def in_spikingjellys_layer() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(generic(layer.Conv2d(1, 5, 2, bias=False))), torch.eye(3)[None, None]


def upsampling() -> tuple[nn.Module, Tensor]:
    convolution = generic(nn.ConvTranspose2d(1, 4, 2, stride=2, bias=False))
    return nn.Sequential(convolution), torch.ones(1, 1, 2, 2)


def at_the_corner() -> tuple[nn.Module, Tensor]:
    spikes = torch.zeros(1, 1, 4, 4)
    spikes[0, 0, 0, 0] = 1
    return nn.Sequential(generic(nn.Conv2d(1, 1, 3, padding=1, bias=False))), spikes


def frames() -> Tensor:
    spikes = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    return torch.tensor(spikes).unsqueeze(1)  # [T, N, 3]


def over_time() -> float:
    # Its answer is a mean over the first dimension, and there is one sample.
    return tools.syops(linear(), frames()).ac / len(frames())


def imported_as_it_is() -> float:
    command = [sys.executable, "-c", "import syops"]
    return float(subprocess.run(command, check=False, capture_output=True).returncode)


def declares_what_it_imports() -> float:
    return float(any(entry.startswith("progress") for entry in requires("syops") or []))


def two_biased() -> tuple[nn.Module, Tensor]:
    return linear(bias=True), torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def with_bias(total: Counts) -> float:
    return total.dense_padded + total.bias_add


def recurrent() -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        answer = tools.syops(Lstm(), rows(1, 6, 3))
    return answer.ac + answer.mac


KNOWN = (
    Known(
        name="status of `import syops`",
        truth=0,
        says=1,
        theirs=imported_as_it_is,
        reason="imports neurons that SpikingJelly dropped after 0.0.0.0.12: SageCao1125/EOLO#5",
    ),
    Known(
        name="declared requirements named progress, which it imports",
        truth=1,
        says=0,
        theirs=declares_what_it_imports,
        reason="declares torch and spikingjelly only",
    ),
    Known(
        name="ACs of Conv2d(1, 5, 2) on eye(3)",
        truth=30,  # derived in cases.py
        says=26.67,  # 3/9 of 80
        theirs=lambda: round(tools.syops(*diagonal()).ac, 2),
        ours=lambda: measure(*diagonal()).total.ac,
        reason="multiplies the firing rate by the dense count",
    ),
    Known(
        name="ACs of Conv2d(1, 1, 3, padding=1), a spike in the corner of 4 x 4",
        truth=4,  # outputs that the corner touches
        says=9,  # 1/16 of 16 x 9
        theirs=lambda: tools.syops(*at_the_corner()).ac,
        ours=lambda: measure(*at_the_corner()).total.ac,
        reason="multiplies the firing rate by the dense count, borders included",
    ),
    Known(
        name="ACs of SpikingJelly's layer.Conv2d(1, 5, 2) on eye(3)",
        truth=30,
        says=0,
        theirs=lambda: tools.syops(*in_spikingjellys_layer()).ac,
        ours=lambda: measure(*in_spikingjellys_layer()).total.ac,
        reason="looks layers up by exact type: gary23ai/syops-counter#7",
    ),
    Known(
        name="ACs a sample of 6 spikes in 4 steps, 5 outputs, given [T, N, 3]",
        truth=30,
        says=7.5,
        theirs=over_time,
        ours=lambda: measure(linear(), frames(), time_axis=0, batch_axis=1).total.ac,
        reason="takes steps for samples",
    ),
    Known(
        name="ACs of scaled spikes [.7, 0, .7], 5 outputs",
        truth=10,
        says=7,
        theirs=lambda: round(tools.syops(linear(), 0.7 * SPIKES).ac, 2),
        ours=lambda: measure(linear(), 0.7 * SPIKES).total.ac,
        reason="takes the mean value for the rate",
    ),
    Known(
        name="ACs of [.5, .5, .5], 5 outputs",
        truth=15,  # one amplitude, always
        says=7.5,
        theirs=lambda: tools.syops(linear(), EVEN).ac,
        ours=lambda: measure(linear(), EVEN).total.ac,
        reason="takes the mean value for the rate",
    ),
    Known(
        name="MACs of two grey levels [1, .5, 1], 5 outputs",
        truth=15,
        says=0,
        theirs=lambda: tools.syops(linear(), GREY).mac,
        ours=lambda: measure(linear(), GREY).total.mac,
        reason="any two values up to 1 are spikes",
    ),
    Known(
        name="ACs of ternary spikes [1, 0, -1], 5 outputs",
        truth=10,
        says=0,
        theirs=lambda: tools.syops(linear(), TERNARY).ac,
        ours=lambda: measure(linear(), TERNARY).total.ac,
        reason="a spike is not negative",
    ),
    Known(
        name="ACs of integers [2, 0, 1], 5 outputs",
        truth=15,
        says=0,
        theirs=lambda: tools.syops(linear(), INTEGERS).ac,
        ours=lambda: measure(linear(), INTEGERS).total.ac,
        reason="sums of spikes are analog",
    ),
    Known(
        name="ACs of ConvTranspose2d",
        truth=64,  # 4 pixels x 4 channels x 2 x 2 taps
        says=256,
        theirs=lambda: tools.syops(*upsampling()).ac,
        ours=lambda: measure(*upsampling()).total.ac,
        reason="counts taps at every output as if it gathered",
    ),
    # As NeuroBench's: 860 in the LSTM, 5 x 2 in the read-out.
    Known(
        name="products with weights in an LSTM and a read-out",
        truth=870,
        says=12,
        theirs=recurrent,
        ours=lambda: by_weights(1),
        reason="the LSTM is in neither ACs nor MACs; a bias is",
    ),
    Known(
        name="dense operations and biases of Linear(3, 5), 2 samples",
        truth=2 * (15 + 5),
        says=2 * 15 + 5,
        theirs=lambda: tools.syops(*two_biased()).dense or 0,
        ours=lambda: with_bias(measure(*two_biased()).total),
        reason="adds the bias once a call and not once a sample",
    ),
)
