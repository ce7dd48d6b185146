"""The digits as Poisson spike trains: what a method is worth without a constant current."""

from dataclasses import replace

from suites.digits import SUITE as DIGITS

SUITE = replace(
    DIGITS,
    title="Handwritten digits, 8x8, as Poisson spike trains",
    encoder="poisson",
    timesteps=(4, 10),
)
