"""What it costs to meter an evaluation, with our meter and with SpikingJelly's counters."""

from functools import lru_cache
from typing import Any

import torch
from spikingjelly.activation_based import op_counter
from torch import Tensor, nn

from benchmarks._networks import batch_of, realised
from benchmarks._timing import LESS, times_as_fast
from harness import discovery
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure

TIMESTEPS, SAMPLES, ROUNDS = 4, 16, 7


@lru_cache
def _network() -> nn.Module:
    """Return a firing ResNet-18 with the stem for CIFAR; asv calls ``setup`` every time."""
    simulator: Any = discovery.load("backends", "spikingjelly")
    network = realised(discovery.load("models", "resnet18"), lambda: simulator.neuron(NeuronSpec()))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # one batch sets the statistics; fresh ones leave it silent
    with torch.no_grad():
        network.train()(_images(), timesteps=TIMESTEPS)
    return network.eval()


@lru_cache
def _images() -> Tensor:
    return batch_of(SAMPLES).images


def _evaluate(images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = _network()(images, timesteps=TIMESTEPS).logits
    return logits


def _unmetered() -> None:
    _evaluate(_images())


def _metered() -> None:
    measure(_network(), _images(), call=_evaluate)


def _spikingjelly() -> None:
    """Count with the three dispatch counters of its ``estimate_simple_energy``."""
    counters = [op_counter.MACCounter(), op_counter.ACCounter(), op_counter.SynOpCounter()]
    with op_counter.DispatchCounterMode(counters):
        _evaluate(_images())


class Evaluation:
    """ResNet-18 on 16 CIFAR-sized images for 4 steps, float32, one thread."""

    version = "1"
    timeout = 600
    number = 1
    repeat = (3, 10, 30.0)

    def setup(self) -> None:
        torch.set_num_threads(1)
        _unmetered()

    def time_unmetered(self) -> None:
        _unmetered()

    def time_metered(self) -> None:
        _metered()

    def time_under_spikingjelly(self) -> None:
        _spikingjelly()


class Ratio:
    """How many times as long a counted evaluation takes, medians of alternating rounds."""

    version = "1"
    timeout = 900
    unit = f"times as long, {LESS}"
    params = ("meter", "spikingjelly")
    param_names = ("counter",)

    def setup(self, _counter: str) -> None:
        torch.set_num_threads(1)
        for run in (_unmetered, _metered, _spikingjelly):
            run()

    def track_cost(self, counter: str) -> float:
        counted = {"meter": _metered, "spikingjelly": _spikingjelly}[counter]
        return times_as_fast(_unmetered, counted, ROUNDS)
