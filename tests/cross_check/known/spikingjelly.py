"""SpikingJelly 2.0.0."""

import torch
from spikingjelly.activation_based import neuron, op_counter
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from harness.contracts.ledger import Counts
from harness.meter import measure
from tests.cross_check import tools
from tests.cross_check.known import Known
from tests.cross_check.networks import STEPS, converted, diagonal, generic, linear

SPIKES = torch.tensor([[1.0, 0.0, 1.0]])
ANALOG = torch.tensor([[0.5, 0.0, 2.0]])
TERNARY = torch.tensor([[1.0, 0.0, -1.0]])
INTEGERS = torch.tensor([[2.0, 0.0, 1.0]])


class Halved(nn.Module):
    """``b + x w / 2``, in one operator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.25, 0.75, 15).reshape(3, 5))
        self.bias = nn.Parameter(torch.full((5,), 0.5))

    def forward(self, value: Tensor) -> Tensor:
        return torch.addmm(self.bias, value, self.weight, alpha=0.5)


class Attention(nn.Module):
    """A layer of 4 and attention of two heads to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = generic(nn.Linear(4, 4, bias=False))

    def forward(
        self,
        tokens: Tensor,  # [N, heads, tokens, 4]
    ) -> Tensor:
        return scaled_dot_product_attention(self.layer(tokens), tokens, tokens)


TOKENS = 0.5 + torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def upsampling() -> tuple[nn.Module, Tensor]:
    layer = generic(nn.ConvTranspose2d(1, 4, 2, stride=2, bias=False))
    return nn.Sequential(layer), torch.ones(1, 1, 2, 2)


def depthwise() -> tuple[nn.Module, Tensor]:
    layer = generic(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False))
    spikes = torch.zeros(1, 4, 4, 4)
    spikes[0, :, 1, 1] = 1
    return nn.Sequential(layer), spikes


def pooled_ones() -> tuple[nn.Module, Tensor]:
    layer = nn.Linear(4, 3, bias=False)
    nn.init.ones_(layer.weight)
    spikes = torch.zeros(1, 1, 4, 4)
    spikes[0, 0, 0, 0] = spikes[0, 0, 2, 2] = spikes[0, 0, 3, 3] = 1
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), layer), spikes


def in_simple(network: nn.Module, inputs: Tensor, entry: str) -> float:
    report = op_counter.estimate_simple_energy(network, inputs)
    return float(report.counts[entry])


def mixed() -> Tensor:
    """Return two spikes in each of two steps, none in the third, an analog value in the last."""
    frames = torch.zeros(STEPS, 1, 3)  # [T, N, 3]
    frames[:2, 0, :2] = 1
    frames[3, 0, 0] = 0.5
    return frames


def apart_minus_together() -> float:
    together = tools.spikingjelly(linear(), mixed())
    apart = [tools.spikingjelly(linear(), frame) for frame in mixed()]
    return sum(answer.mac for answer in apart) - together.mac


def ours_apart_minus_together() -> float:
    network = linear()
    together = measure(network, mixed(), time_axis=0, batch_axis=1)
    apart = measure(
        network,
        mixed(),
        time_axis=0,
        batch_axis=1,
        call=lambda frames: [network(frame) for frame in frames],
    )
    return apart.total.mac - together.total.mac


def additions(current: Tensor) -> float:
    counter = op_counter.ACCounter()
    tools.counted(neuron.IFNode(step_mode="m"), current, [counter])
    return float(counter.get_total())


def multiplications(current: Tensor) -> float:
    counter = op_counter.MACCounter()
    tools.counted(neuron.LIFNode(step_mode="m"), current, [counter])
    return float(counter.get_total())


def of_neurons(cell: nn.Module) -> Counts:
    return measure(cell, torch.rand(STEPS, 1, 10), time_axis=0, batch_axis=1).total


KNOWN = (
    Known(
        name="ACs of Conv2d(1, 5, 2) on eye(3), in estimate_simple_energy",
        truth=30,  # derived in cases.py
        says=33,
        theirs=lambda: in_simple(*diagonal(), "ac"),
        ours=lambda: measure(*diagonal()).total.ac,
        reason="counts the sums of its own memory hook",
    ),
    Known(
        name="ACs of a depthwise Conv2d(4, 4, 3), in estimate_simple_energy",
        truth=36,  # 4 spikes x 9 taps
        says=99,
        theirs=lambda: in_simple(*depthwise(), "ac"),
        ours=lambda: measure(*depthwise()).total.ac,
        reason="counts the sums of its own memory hook",
    ),
    Known(
        name="ACs of what its own RateCodingRecipe converts",
        truth=14_592,  # spikes x fan-out, derived in test_agreement.py
        says=0,
        theirs=lambda: tools.spikingjelly(*converted()).ac,
        ours=lambda: measure(*converted()).total.ac,
        reason="a spike is 0 or 1, and those of a converted network are 0 or a scale",
    ),
    Known(
        name="ACs of scaled spikes [.7, 0, .7], 5 outputs",
        truth=10,
        says=0,
        theirs=lambda: tools.spikingjelly(linear(), 0.7 * SPIKES).ac,
        ours=lambda: measure(linear(), 0.7 * SPIKES).total.ac,
        reason="folds no scale",
    ),
    Known(
        name="ACs of ternary spikes [1, 0, -1], 5 outputs",
        truth=10,
        says=0,
        theirs=lambda: tools.spikingjelly(linear(), TERNARY).ac,
        ours=lambda: measure(linear(), TERNARY).total.ac,
        reason="a spike is 0 or 1",
    ),
    Known(
        name="ACs of integers [2, 0, 1], 5 outputs",
        truth=15,  # (2 + 1) x 5
        says=0,
        theirs=lambda: tools.spikingjelly(linear(), INTEGERS).ac,
        ours=lambda: measure(linear(), INTEGERS).total.ac,
        reason="sums of spikes are analog: fangwei123456/spikingjelly#348",
    ),
    Known(
        name="MACs of analog [.5, 0, 2], 5 outputs",
        truth=10,  # 2 values x 5
        says=15,
        theirs=lambda: tools.spikingjelly(linear(), ANALOG).mac,
        ours=lambda: measure(linear(), ANALOG).total.mac,
        reason="multiplies by zeros, so a ReLU network looks too expensive",
    ),
    Known(
        name="ACs of analog [.5, 0, 2] and weights that are all one",
        truth=0,
        says=15,
        theirs=lambda: tools.spikingjelly(linear(weight=1.0), ANALOG).ac,
        ours=lambda: measure(linear(weight=1.0), ANALOG).total.ac,
        reason="takes the weights for spikes",
    ),
    Known(
        name="ACs of averaged spikes and weights that are all one",
        truth=9,  # 3 spikes, each in one average, x 3 outputs
        says=12,
        theirs=lambda: tools.spikingjelly(*pooled_ones()).ac,
        ours=lambda: measure(*pooled_ones()).total.ac,
        reason="takes the weights for spikes",
    ),
    Known(
        name="MACs of four steps called apart, less called together",
        truth=0,
        says=15 - 60,
        theirs=apart_minus_together,
        ours=ours_apart_minus_together,
        reason="one value that is no spike makes all steps of a [T, N, ...] input analog",
    ),
    Known(
        name="ACs of addmm with alpha = 1/2",
        truth=10,
        says=0,
        theirs=lambda: tools.spikingjelly(Halved(), SPIKES).ac,
        ours=lambda: measure(Halved(), SPIKES).total.ac,
        reason="gives up unless alpha is 1",
    ),
    # Of 2 heads: 4 x 4 x 4 scores and as many products with values; before, 8 x 4 x 4.
    Known(
        name="dense operations of a layer and scaled_dot_product_attention",
        truth=128 + 256,
        says=128,
        theirs=lambda: tools.spikingjelly(Attention(), TOKENS).mac,
        ours=lambda: measure(Attention(), TOKENS).total.dense_valid,
        reason="no rule",
    ),
    Known(
        name="warnings about scaled_dot_product_attention, in estimate_simple_energy",
        truth=1,
        says=0,
        theirs=lambda: len(op_counter.estimate_simple_energy(Attention(), TOKENS).warnings),
        reason="warns only if nothing at all was counted",
    ),
    Known(
        name="bytes of weights that ConvTranspose2d reads, in estimate_simple_energy",
        truth=4 * 64,  # 4 pixels x 4 channels x 2 x 2 taps, float32
        says=0,
        theirs=lambda: in_simple(*upsampling(), "weight_read_bytes"),
        ours=lambda: 4 * measure(*upsampling()).total.ac,
        reason="its memory counter has no rule",
    ),
    Known(
        name="additions of IF neurons given ones, less given zeros",
        truth=0,
        says=40,
        theirs=lambda: additions(torch.ones(STEPS, 1, 10)) - additions(torch.zeros(STEPS, 1, 10)),
        reason="counts what the kernel does; a membrane of zeros and ones counts as spikes",
    ),
    Known(
        name="multiplications of 10 LIF neurons in 4 steps",
        truth=40,  # by 1/tau
        says=0,
        theirs=lambda: multiplications(torch.rand(STEPS, 1, 10)),
        ours=lambda: of_neurons(neuron.LIFNode(step_mode="m")).neuron_mul,
        reason="no rule for elementwise products",
    ),
)
