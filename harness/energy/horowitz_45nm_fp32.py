"""Compute only, 45 nm, 32-bit floating point (Horowitz, ISSCC 2014)."""

from harness.energy._horowitz import FP32_ADD, FP32_MULTIPLY, variants

MODELS = variants(add=FP32_ADD, multiply=FP32_MULTIPLY)
