"""Four other meters, each behind one call.

Each function takes a network that nobody else uses (their hooks stay on it) and
``inputs [N, ...]``, runs the network once and returns totals over all samples:
whatever a tool divides by, it is multiplied by again.
"""

import importlib
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import NeuroBenchModel, TorchModel
from sinabs.hooks import register_synops_hooks
from sinabs.synopcounter import SNNAnalyzer
from spikingjelly.activation_based import neuron, op_counter
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a tool says.

    Attributes:
        ac: Accumulations; of Sinabs, its synaptic operations, which may be fractions.
        mac: Multiplications with accumulation, if the tool tells them apart.
        dense: The same network without sparsity, if the tool has such a figure.
    """

    ac: float = 0.0
    mac: float = 0.0
    dense: float | None = None


def loader(inputs: Tensor, batch_size: int | None = None) -> DataLoader[tuple[Tensor, ...]]:
    """Return ``inputs`` in order, with labels that nobody reads."""
    labels = torch.zeros(len(inputs))
    return DataLoader(TensorDataset(inputs, labels), batch_size=batch_size or len(inputs))


def benchmarked(
    network: nn.Module | NeuroBenchModel,
    batches: DataLoader[tuple[Tensor, ...]],
    *metrics: type,
) -> dict[str, Any]:
    """Return what NeuroBench says of ``network``, as it says it."""
    model = network if isinstance(network, NeuroBenchModel) else TorchModel(network)
    benchmark = Benchmark(model, batches, [], [], [[], list(metrics)])
    results: dict[str, Any] = benchmark.run(quiet=True)
    return results


def neurobench(
    network: nn.Module | NeuroBenchModel, inputs: Tensor, *, batch_size: int | None = None
) -> Answer:
    """Return NeuroBench's synaptic operations; 0 where its metric failed."""
    results = benchmarked(network, loader(inputs, batch_size), SynapticOperations)
    found = results["SynapticOperations"]
    if not isinstance(found, dict):  # a metric that raised is 0.0
        return Answer(ac=found, mac=found, dense=found)
    return Answer(
        ac=found["Effective_ACs"] * len(inputs),
        mac=found["Effective_MACs"] * len(inputs),
        dense=found["Dense"] * len(inputs),
    )


def spikingjelly(network: nn.Module, inputs: Tensor) -> Answer:
    """Return SpikingJelly's SynOps as accumulations, and its MACs."""
    accumulations, multiplications = op_counter.SynOpCounter(), op_counter.MACCounter()
    counted(network, inputs, [accumulations, multiplications])
    return Answer(ac=accumulations.get_total(), mac=multiplications.get_total())


def counted(network: nn.Module, inputs: Tensor, counters: Sequence[Any]) -> None:
    """Run ``network`` under SpikingJelly's dispatch ``counters``."""
    with op_counter.DispatchCounterMode(list(counters)), torch.no_grad():
        network(inputs)


def sinabs(network: nn.Module, inputs: Tensor) -> Answer:
    """Return Sinabs' synaptic operations, from its hooks or its older analyzer.

    The hooks know layers in an ``nn.Sequential`` and one call of each; anything else
    takes the analyzer, whose figures of layers, unlike its sum, mind average pooling.
    """
    with torch.no_grad():
        if isinstance(network, nn.Sequential):
            register_synops_hooks(network)
            network(inputs)
            data: Any = network.hook_data
            return Answer(ac=float(data["total_synops_per_timestep"]) * len(inputs))
        analyzer = analyzed(network, inputs)
        layers = analyzer.get_layer_statistics(average=True)["parameter"].items()
        modules = dict(network.named_modules())
        calls = {name: modules[name].n_batches for name, _ in layers}
        means = (float(found["synops"]) * calls[name] for name, found in layers)
        return Answer(ac=sum(means) * len(inputs))


def analyzed(network: nn.Module, inputs: Tensor) -> Any:
    """Return Sinabs' analyzer after one call of ``network``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the hooks serve no other networks
        analyzer = SNNAnalyzer(network)
    network(inputs)
    return analyzer


def syops(network: nn.Module, inputs: Tensor, *, batch_size: int | None = None) -> Answer:
    """Return what syops says."""
    with redirect_stderr(StringIO()), redirect_stdout(StringIO()):  # its progress bar
        found, _ = imported_syops().get_model_complexity_info(
            network,
            tuple(inputs.shape[1:]),
            loader(inputs, batch_size),
            print_per_layer_stat=False,
            as_strings=False,
        )
    dense, ac, mac, _ = (float(figure) * len(inputs) for figure in found)
    return Answer(ac=ac, mac=mac, dense=dense)


# Neurons of several steps, which SpikingJelly 2 has as `step_mode` of the same classes.
GONE = {
    "MultiStepIFNode": "IFNode",
    "MultiStepLIFNode": "LIFNode",
    "MultiStepParametricLIFNode": "ParametricLIFNode",
}


def imported_syops() -> Any:
    """Import syops, which asks SpikingJelly for three classes that are gone since 0.0.0.0.14.

    They are lent to it while it is imported. Its table of layers goes by exact type, so
    each then costs what its single-step form costs.
    """
    for gone, now in GONE.items():
        setattr(neuron, gone, getattr(neuron, now))
    try:
        return importlib.import_module("syops")
    finally:
        for gone in GONE:
            delattr(neuron, gone)
