"""Spectra of feature maps, in radial bands, and of sequences."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from harness.neurons.precision import widened

EPSILON = 1e-2  # of a variance; smaller ones let a channel that hardly fires drown the others


def standardised(
    values: Tensor,
    axes: tuple[int, ...],
) -> Tensor:
    """Return ``values`` with mean 0 and variance ``v / (v + EPSILON)`` over ``axes``."""
    values = widened(values)
    centred = values - values.mean(axes, keepdim=True)
    variance = centred.square().mean(axes, keepdim=True)
    return centred * (variance + EPSILON).rsqrt()


def radial_bands(
    height: int, width: int, /, *, bands: int, device: torch.device | None = None
) -> Tensor:
    """Return the band of every frequency of an FFT, int64 ``[H, W]`` in ``0 .. bands - 1``.

    The bands are rings of equal breadth from frequency 0 to the corner's, which is
    ``sqrt(1/2)`` cycles a pixel. Small maps have no frequencies in some of them.
    """
    rows = torch.fft.fftfreq(height, dtype=torch.float64, device=device)[:, None]
    columns = torch.fft.fftfreq(width, dtype=torch.float64, device=device)
    radius = (2 * (rows.square() + columns.square())).sqrt()  # 1 in the corner
    return torch.clamp((radius * bands).long(), max=bands - 1)


@lru_cache(maxsize=64)  # a GPU would wait for it in every step
def _members(
    height: int, width: int, bands: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return 1 where a frequency lies in a band, ``[H W, bands]``."""
    band = radial_bands(height, width, bands=bands, device=device).flatten()
    return one_hot(band, bands).to(dtype)


def band_energies(
    maps: Tensor,  # [..., H, W]
    *,
    bands: int,
) -> Tensor:
    """Return the energy of each radial band, ``[..., bands]``.

    The transform is orthonormal, so the energies add up to the sum of squares over pixels
    (Parseval).
    """
    height, width = maps.shape[-2:]
    spectrum = torch.fft.fft2(widened(maps), norm="ortho")
    power = torch.view_as_real(spectrum).square().sum(-1)
    member = _members(height, width, bands, maps.device, power.dtype)
    with torch.autocast(maps.device.type, enabled=False):
        return power.flatten(-2) @ member


def mean_band_energy(
    maps: Tensor,  # [..., H, W]
    *,
    bands: int,
) -> Tensor:
    """Return the energy a frequency, averaged within each band and then over the bands.

    With one band it is the mean square over pixels. With more, the few low frequencies
    count as much as the many high ones. Bands without a frequency are left out.
    """
    height, width = maps.shape[-2:]
    energies = band_energies(maps, bands=bands).reshape(-1, bands).mean(0)
    members = _members(height, width, bands, maps.device, energies.dtype).sum(0)
    return (energies / members.clamp(min=1)).sum() / members.count_nonzero()


def cosine_spectrum(
    values: Tensor,  # [..., K]
) -> Tensor:
    """Return the orthonormal DCT-II along the last axis, ``[..., K]``."""
    size = values.shape[-1]
    places = torch.arange(size, dtype=torch.float64, device=values.device)
    basis = torch.cos(math.pi / size * (places + 0.5) * places[:, None]) * math.sqrt(2 / size)
    basis[0] *= math.sqrt(0.5)
    values = widened(values)
    with torch.autocast(values.device.type, enabled=False):
        return values @ basis.T.to(values.dtype)
