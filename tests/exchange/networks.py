"""Every topology of the suites, as small as it can be, with plenty of spikes in it."""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model, taken_by
from harness.contracts.neuron import NeuronSpec
from harness.neurons.activation import activation
from harness.neurons.spiking import SpikingNeuron
from suites.models._resnet import ResNet
from suites.models._vgg import VGG
from suites.models._wide_resnet import WideResNet

# Of images: other networks have another kind of sample, which an exported graph has no word for.
NAMES = [
    name
    for name in discovery.names("models")
    if taken_by(cast("Model", discovery.load("models", name))) is Image
]
SAMPLES = 2


def thin(name: str) -> tuple[Any, tuple[int, int, int]]:
    """Return the model of that name with few channels, and the smallest images it takes."""
    model: Any = cast("Model", discovery.load("models", name))
    if name.startswith("digits"):
        return model, (1, 8, 8)
    if isinstance(model, ResNet):
        return replace(model, widths=tuple(2 * 2**n for n in range(len(model.widths)))), (3, 8, 8)
    if isinstance(model, WideResNet):
        return replace(model, widening=1), (3, 4, 4)
    if isinstance(model, VGG):
        widths = tuple(tuple(max(2, width // 16) for width in stage) for stage in model.widths)
        hidden = model.hidden and 5
        return replace(model, widths=widths, hidden=hidden), (2, 32, 32)
    if name == "dvs_gesture_net":
        return replace(model, width=4, hidden=5), (2, 32, 32)
    assert name == "vggsnn"
    return replace(model, widths=((4, 4), (4, 4), (4, 4), (4, 4))), (2, 16, 16)


def backend(name: str = "reference") -> Backend:
    return cast("Backend", discovery.load("backends", name))


def lively(
    name: str,
    spec: NeuronSpec | None = None,
    *,
    simulator: str = "reference",
    dtype: torch.dtype = torch.float64,
) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return a trained-looking network in evaluation mode, and the shape of its images."""
    model, shape = thin(name)
    torch.manual_seed(0)
    fires = activation(backend(simulator), spec or NeuronSpec())
    network: nn.Module = model.build(fires, input=Image(shape=shape), output=Classes(10)).to(dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the average of what is seen below
            nn.init.uniform_(module.weight, 1.0, 3.0)
            nn.init.uniform_(module.bias, 0.2, 0.8)
    with torch.no_grad():
        network(images(shape, 8, dtype=dtype), 2)
    return network.eval(), shape


def images(
    shape: tuple[int, ...], *leading: int, dtype: torch.dtype = torch.float64, seed: int = 1
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(leading or (SAMPLES,)), *shape, generator=generator, dtype=dtype)


def answers(network: nn.Module, stimulus: Tensor, timesteps: int) -> dict[str, Tensor]:
    """Return the spikes of every layer of neurons by name, and the logits."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda _module, _given, spikes, name=name: found.update({name: spikes})
        )
        for name, module in network.named_modules()
        if isinstance(module, SpikingNeuron)
    ]
    with torch.no_grad():
        logits: Tensor = network(stimulus, timesteps).logits
    for handle in handles:
        handle.remove()
    return {name.replace(".", "_"): spikes for name, spikes in found.items()} | {"logits": logits}
