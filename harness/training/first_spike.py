"""Neurons that spike at most once and say with the time of the spike what ReLU would say.

The B1 model of Stanojevic et al. (Nat. Commun. 2024), with its identity mapping: weights
of the ReLU network are weights of the spiking one, ``J = W``. Times are continuous.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

INPUT_WINDOW = 1.0  # stimuli in [0, 1] spike at 1 - x, so the first layer's window begins here
FROM_SCRATCH = 1000.0  # the authors' X where nothing is known of a layer yet


class FirstSpike(nn.Module):
    """One layer of such neurons, in the place of an activation.

    A layer's spikes lie in its window ``[t_min, t_max]``, which begins where that of the
    layer before it ends, and stand for activations ``x = t_max - t``: earlier is larger,
    and a neuron that has not spiked by ``t_max`` says 0. Until ``t_min`` a spike at
    ``t_j`` adds ``J_ij`` to the membrane's slope; from then on the slope is 1, and

        ``t_i = t_min + theta_i + sum_j J_ij (t_j - t_min)``,  ``theta_i = t_max - t_min - D_i``.

    With ``x_j = t_min - t_j`` this is ``t_i = t_max - (sum_j J_ij x_j + D_i)``: what comes
    out is ReLU of what came in, and so is its gradient, without a surrogate. Spikes of an
    earlier layer, over a shortcut, arrive with a delay that ends their window at ``t_min``.

    No spike can be before ``t_min``. In evaluation a neuron whose membrane is above its
    threshold by then spikes at once, which cuts ``x`` off at ``t_max - t_min``; in training
    it is let through, as by the authors, and the window grows before the next batch.

    Attributes:
        spikes_once: What the meter knows these neurons by.
        t_min: Where the window begins, float64.
        t_max: Where it ends, likewise.
        largest: The largest ``x`` of the last batch that was trained on; not in the state dict.
    """

    spikes_once = True
    t_min: Tensor
    t_max: Tensor
    largest: Tensor

    def __init__(self) -> None:
        """Begin with the first layer's window, ``FROM_SCRATCH`` long."""
        super().__init__()
        begin = torch.tensor(INPUT_WINDOW, dtype=torch.float64)
        self.register_buffer("t_min", begin)
        self.register_buffer("t_max", begin + FROM_SCRATCH)
        self.register_buffer("largest", torch.zeros_like(begin), persistent=False)

    def forward(
        self,
        current: Tensor,  # [T, N, ...], sum_j J_ij x_j + D_i
    ) -> Tensor:
        """Return ``t_max - t``, of the same shape and type."""
        # In float64: t_max grows with depth, and float32 would round x by its last digit.
        times = self.times(current)
        if self.training:
            self.largest = (self.t_max - times.detach()).amax()
        else:
            times = torch.maximum(times, self.t_min)
        return (self.t_max - times).to(current.dtype)

    def times(
        self,
        current: Tensor,  # [T, N, ...]
    ) -> Tensor:
        """Return when the neurons spike, ``t_max`` for never, whether or not before ``t_min``."""
        times = self.t_min + self.thresholds(current.double())
        # Not clamp: its gradient at the bound is 1, and ReLU's at 0 is 0.
        return torch.where(times < self.t_max, times, self.t_max)

    def thresholds(
        self,
        offsets: Tensor,  # [..., neuron], the ReLU network's biases D
    ) -> Tensor:
        """Return ``theta = t_max - t_min - D``, of the same shape."""
        return self.t_max - self.t_min - offsets


def first_spike_layers(network: nn.Module) -> tuple[FirstSpike, ...]:
    """Return the layers of such neurons, in the order of their windows."""
    return tuple(module for module in network.modules() if isinstance(module, FirstSpike))


def windows(layers: Sequence[FirstSpike]) -> Tensor:
    """Return how long each window is, float64 ``[layer]``."""
    return torch.stack([layer.t_max - layer.t_min for layer in layers])


def largest(layers: Sequence[FirstSpike]) -> Tensor:
    """Return each layer's largest ``x`` of the last batch trained on, float64 ``[layer]``."""
    return torch.stack([layer.largest for layer in layers])


def set_windows(
    layers: Sequence[FirstSpike],
    lengths: Tensor,  # [layer]
) -> None:
    """Move the windows, one after another from ``INPUT_WINDOW`` on.

    What the network says is the same as long as nothing is cut off, since thresholds
    move along. A layer that never spoke has no length of its own and keeps the one it has.
    """
    kept = torch.where(lengths > 0, lengths, windows(layers))
    ends = INPUT_WINDOW + kept.cumsum(0)
    for layer, end, length in zip(layers, ends, kept, strict=True):
        layer.t_min.copy_(end - length)
        layer.t_max.copy_(end)
