"""Threshold-dependent batch norm: currents as large as the threshold they have to reach.

H. Zheng, Y. Wu, L. Deng, Y. Hu & G. Li, "Going deeper with directly-trained larger spiking
neural networks", AAAI 2021, arXiv 2011.05280.
"""

import math

from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import style_of
from harness.training.student import Student

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def norm_by_threshold(student: Student, /, *, every_shortcut: bool = True) -> None:
    """Let every neuron's current begin with mean 0 and variance ``v_threshold^2``.

    ``y = lambda alpha v_threshold (x - mean) / sqrt(var + eps) + beta``, channel by channel,
    with ``mean`` and ``var`` over time, batch and space (eqs. 5 to 8): the norms of our
    networks see all steps as one batch already. ``alpha`` is 1 where one norm makes the current
    and ``1/sqrt(2)`` in both summands of a residual block, whose variances add up.

    ``alpha v_threshold`` is where the norm's weight starts and no factor beside it, so norms
    stay norms, with the names and the cost of any other. What they can say is the same; a
    weight learns ``1 / (alpha v_threshold)^2`` times as fast. A norm that no neuron follows
    starts at the threshold, too.

    Args:
        student: Its norms' weights start anew.
        every_shortcut: Whether a shortcut without a norm gets one. Without one its spikes are
            added as they are.

    Raises:
        UnsupportedError: If there is no norm, or neurons see sums that no norm has made.
    """
    network, v_threshold = student.network, student.spec.v_threshold
    style = style_of(network)
    if style == "ms":
        raise UnsupportedError(
            "the network's style 'ms' adds currents up from block to block without a norm, so "
            "that none behind the first has the threshold's size"
        )
    if not _norms(network):
        raise UnsupportedError("this network has no batch norm that could start at the threshold")
    for norm in _norms(network):
        nn.init.constant_(norm.weight, v_threshold)
    if style == "standard":  # a sum of currents; that of 'sew' is of spikes
        for block in list(network.modules()):
            if isinstance(getattr(block, "downsample", None), nn.Module):
                _share(block, v_threshold / math.sqrt(2), every_shortcut=every_shortcut)


def _share(block: nn.Module, weight: float, *, every_shortcut: bool) -> None:
    """Let both summands of a residual block start with ``weight``."""
    last, around = block.get_submodule("bn2"), block.get_submodule("downsample")
    if every_shortcut and not _norms(around):
        block.add_module("downsample", _normed(around, like=_norms(last)[0]))
    for norm in (*_norms(last), *_norms(block.get_submodule("downsample"))):
        nn.init.constant_(norm.weight, weight)


def _normed(around: nn.Module, *, like: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    norm = type(like)(like.num_features, eps=like.eps, momentum=like.momentum)
    norm = norm.to(like.weight.device)
    return norm if isinstance(around, nn.Identity) else nn.Sequential(around, norm)


def _norms(module: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [each for each in module.modules() if isinstance(each, _NORMS)]
