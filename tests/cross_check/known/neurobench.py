"""NeuroBench 2.3.0."""

import warnings

import torch
from neurobench.metrics.workload import (
    ActivationSparsity,
    ActivationSparsityByLayer,
    ClassificationAccuracy,
    MembraneUpdates,
    NeuronOperations,
)
from neurobench.models import TorchModel
from torch import Tensor, nn
from torch.nn.functional import linear as apply_linear
from torch.utils.data import DataLoader, TensorDataset

from harness.contracts.ledger import Counts, Ledger
from harness.meter import measure
from tests.cross_check import tools
from tests.cross_check.known import Known
from tests.cross_check.networks import STEPS, generic, linear, two_layers

SPIKES = torch.tensor([[1.0, 0.0, 1.0]])


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(3, 5, batch_first=True)
        self.read_out = nn.Linear(5, 2)

    def forward(self, sequence: Tensor) -> Tensor:
        every, _ = self.memory(sequence)
        answer: Tensor = self.read_out(every[:, -1])
        return answer


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.25, 0.75, 15).reshape(5, 3))

    def forward(self, value: Tensor) -> Tensor:
        return apply_linear(value, self.weight)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return mixed


class FromRest(nn.Module):
    """An LSTM cell whose state is given, and zero."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 5, bias=False)

    def forward(self, value: Tensor) -> Tensor:
        rest = torch.zeros(len(value), 5)
        hidden: Tensor = self.cell(value, (rest, rest))[0]
        return hidden


def rows(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5


def effective(network: nn.Module, inputs: Tensor) -> float:
    answer = tools.neurobench(network, inputs)
    return answer.ac + answer.mac


def by_weights(samples: int) -> float:
    layers = counted(Lstm(), rows(samples, 6, 3)).layers.values()
    return sum(layer.total.mac for layer in layers if layer.kind == "linear")


def counted(network: nn.Module, inputs: Tensor) -> Ledger:
    """Return our measurement, with the operators that torch has a fused form of apart."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's, of the flag itself
            with torch.backends.mkldnn.flags(enabled=False):
                return measure(network.eval(), inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def of_lstm_in_batches() -> float:
    answer = tools.neurobench(Lstm(), rows(2, 6, 3), batch_size=1)
    return answer.mac / 2


def silent_sparsity() -> float:
    frames = torch.tensor([[1.0, 0.5]] * STEPS)
    result = tools.benchmarked(two_layers(), tools.loader(frames), ActivationSparsity)
    return float(result["ActivationSparsity"])


def membrane_updates() -> float:
    frames = torch.tensor([[1.0, 0.5]] * STEPS)
    result = tools.benchmarked(two_layers(), tools.loader(frames), MembraneUpdates)
    return float(result["MembraneUpdates"]) * STEPS


def in_frames() -> Counts:
    network, frames = two_layers(), torch.tensor([[[1.0, 0.5]]] * STEPS)
    return measure(
        network, frames, time_axis=0, batch_axis=1, call=lambda steps: network(steps.flatten(0, 1))
    ).total


def failed_metric_is_a_number() -> float:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    result = tools.benchmarked(network, tools.loader(torch.ones(1, 2)), NeuronOperations)
    return float(isinstance(result["NeuronOperations"], float))


def accuracy_of_a_perfect_classifier() -> float:
    labels = torch.arange(10.0)
    batches = DataLoader(TensorDataset(labels, labels), batch_size=4, drop_last=True)
    result = tools.benchmarked(nn.Identity(), batches, ClassificationAccuracy)
    return float(result["ClassificationAccuracy"])


def apart_minus_together() -> float:
    samples = torch.tensor([[1.0, 0.0, 1.0], [0.5, 0.0, 0.0]])
    together = tools.neurobench(linear(), samples)
    apart = tools.neurobench(linear(), samples, batch_size=1)
    return apart.mac - together.mac


def ours_apart_minus_together() -> float:
    samples = torch.tensor([[1.0, 0.0, 1.0], [0.5, 0.0, 0.0]])
    apart = measure(linear(), list(torch.split(samples, 1)))
    return apart.total.mac - measure(linear(), samples).total.mac


def sparsity_of_a_silent_layer() -> float:
    """Return the sparsity of the second of two layers, the first of which is never zero."""
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    first.weight.data, second.weight.data = torch.eye(2), -torch.eye(2)
    network = nn.Sequential(nn.Sequential(first, nn.ReLU()), nn.Sequential(second, nn.ReLU()))
    batches = tools.loader(torch.ones(1, 2))
    found = tools.benchmarked(network, batches, ActivationSparsity, ActivationSparsityByLayer)
    return max(float(sparsity) for sparsity in found["ActivationSparsityByLayer"].values())


def sparsity_by_layer_alone() -> float:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    batches = tools.loader(torch.ones(1, 2))
    return len(tools.benchmarked(network, batches, ActivationSparsityByLayer))


def kept_rows(steps: int) -> int:
    """Return how many frames the hooks hold after ``steps`` calls."""
    model = TorchModel(linear())
    model.register_hooks()
    for _ in range(steps):
        model(torch.ones(1, 3))
    kept = sum(len(hook.inputs) for hook in model.connection_hooks)
    model.cleanup_hooks()
    return kept


def wide(width: int, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    layer = nn.Linear(width, width, bias=False, dtype=dtype)
    nn.init.constant_(layer.weight, 0.5)
    return nn.Sequential(layer), torch.ones(1, width, dtype=dtype)


KNOWN = (
    # By weights 4 x 5 x 3 in 6 steps and 4 x 5 x 5 in 5, the first hidden state being zero,
    # and 5 x 2 in the read-out: 360 + 500 + 10. Products of gates are left out.
    Known(
        name="products with weights in an LSTM and a read-out, one batch",
        truth=870,
        says=0,
        theirs=lambda: effective(Lstm(), rows(1, 6, 3)),
        ours=lambda: by_weights(1),
        reason="raises a string, a TypeError, which becomes 0.0: NeuroBench/neurobench#147",
    ),
    Known(
        name="products with weights in an LSTM and a read-out, two batches",
        truth=870,
        says=10,
        theirs=of_lstm_in_batches,
        ours=lambda: by_weights(2) / 2,
        reason="the failed metric has lost its hook, so the second batch counts the read-out alone",
    ),
    Known(
        name="numbers given for a metric that failed",
        truth=0,
        says=1,
        theirs=failed_metric_is_a_number,
        reason="NeuronOperations has no rule for ReLU; its AttributeError is reported as 0.0",
    ),
    Known(
        name="accuracy of a perfect classifier, last batch dropped",
        truth=1,  # 8 of 8 samples that ran
        says=0.8,
        theirs=accuracy_of_a_perfect_classifier,
        reason="divides by the length of the data set and not by the samples that ran",
    ),
    Known(
        name="MACs of two samples batched apart, less batched together",
        truth=0,
        says=-10,
        theirs=apart_minus_together,
        ours=ours_apart_minus_together,
        reason="accumulate or multiply is decided for each batch: NeuroBench/neurobench#113",
    ),
    Known(
        name="ACs of scaled spikes [.7, 0, .7], 5 outputs",
        truth=10,  # 2 spikes x 5 outputs; the scale goes into the weights
        says=0,
        theirs=lambda: tools.neurobench(linear(), 0.7 * SPIKES).ac,
        ours=lambda: measure(linear(), 0.7 * SPIKES).total.ac,
        reason="folds no scale",
    ),
    Known(
        name="ACs of integers [2, 0, 1], 5 outputs",
        truth=15,  # (2 + 1) x 5
        says=0,
        theirs=lambda: tools.neurobench(linear(), torch.tensor([[2.0, 0.0, 1.0]])).ac,
        ours=lambda: measure(linear(), torch.tensor([[2.0, 0.0, 1.0]])).total.ac,
        reason="sums of spikes are taken for analog values",
    ),
    Known(
        name="operations of 4097 spikes, 4097 outputs",
        truth=4097**2,
        says=16_785_408,
        theirs=lambda: effective(*wide(4097, torch.float32)),
        ours=lambda: measure(*wide(4097, torch.float32)).total.ac,
        reason="sums in float32",
    ),
    Known(
        name="operations of 300 spikes, 300 outputs, in bfloat16",
        truth=300**2,
        says=90_112,
        theirs=lambda: effective(*wide(300, torch.bfloat16)),
        ours=lambda: measure(*wide(300, torch.bfloat16)).total.ac,
        reason="sums in the type of the network",
    ),
    Known(
        name="operations of F.linear",
        truth=10,
        says=0,
        theirs=lambda: effective(Functional(), SPIKES),
        ours=lambda: measure(Functional(), SPIKES).total.ac,
        reason="sees modules of five types only",
    ),
    # In 3 x 4 x 8 x 8, scores and values 2 x 4 x 4 x 8, out 4 x 8 x 8.
    Known(
        name="dense operations of MultiheadAttention",
        truth=768 + 256 + 256,
        says=0,
        theirs=lambda: tools.neurobench(Attention(), rows(1, 4, 8)).dense or 0,
        ours=lambda: counted(Attention(), rows(1, 4, 8)).total.dense_valid,
        reason="sees modules of five types only",
    ),
    Known(
        name="operations of ConvTranspose2d",
        truth=64,  # 4 pixels x 4 channels x 2 x 2 taps
        says=0,
        theirs=lambda: effective(
            nn.Sequential(nn.ConvTranspose2d(1, 4, 2, stride=2)), torch.ones(1, 1, 2, 2)
        ),
        ours=lambda: (
            measure(nn.ConvTranspose2d(1, 4, 2, stride=2), torch.ones(1, 1, 2, 2)).total.ac
        ),
        reason="sees modules of five types only",
    ),
    Known(
        name="operations of a network that is one layer",
        truth=10,
        says=0,
        theirs=lambda: effective(generic(nn.Linear(3, 5)), SPIKES),
        ours=lambda: measure(generic(nn.Linear(3, 5)), SPIKES).total.ac,
        reason="looks at the children of the root and not at the root",
    ),
    Known(
        name="layers whose sparsity is told, no other metric asked for",
        truth=1,
        says=AttributeError,
        theirs=sparsity_by_layer_alone,
        reason="does not initialise its base class",
    ),
    Known(
        name="sparsity of the sparser of two layers, 0.1 and 1.1",
        truth=1,  # the second ReLU is given minus 1 twice
        says=0.5,
        theirs=sparsity_of_a_silent_layer,
        reason="layers are told apart by local name",
    ),
    # 4 x 5 x (3 + 5), f c + i g and o tanh(c), 3 x 5: as it counts a state that is not zero.
    Known(
        name="dense operations of an LSTM cell at rest",
        truth=160 + 15,
        says=70,
        theirs=lambda: tools.neurobench(FromRest(), rows(1, 3)).dense or 0,
        reason="takes the zeros of a nested state for sparsity in the dense count too",
    ),
    Known(
        name="inputs kept after 8 steps more than after 1",
        truth=0,
        says=7,
        theirs=lambda: kept_rows(8) - kept_rows(1),
        reason="hooks keep every input until the batch ends: NeuroBench/neurobench#205",
    ),
    Known(
        name="sparsity of SpikingJelly's neurons",
        truth=3 / 8,  # 5 spikes of 2 neurons in 4 steps; cases.py
        says=0,
        theirs=silent_sparsity,
        ours=lambda: 1 - in_frames().spikes / 8,
        reason="knows ReLU, Sigmoid and snnTorch; of anything else says 0.0",
    ),
    Known(
        name="membrane updates of SpikingJelly's neurons",
        truth=8,  # 2 neurons x 4 steps
        says=0,
        theirs=membrane_updates,
        ours=lambda: in_frames().neuron_add,
        reason="asks for an attribute that only snnTorch has: NeuroBench/neurobench#13",
    ),
)
