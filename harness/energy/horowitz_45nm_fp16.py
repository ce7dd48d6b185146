"""Compute only, 45 nm, 16-bit floating point (Horowitz, ISSCC 2014)."""

from harness.energy._horowitz import FP16_ADD, FP16_MULTIPLY, variants

MODELS = variants(add=FP16_ADD, multiply=FP16_MULTIPLY)
