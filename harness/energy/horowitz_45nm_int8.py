"""Compute only, 45 nm, 8-bit integers (Horowitz, ISSCC 2014)."""

from harness.energy._horowitz import INT8_ADD, INT8_MULTIPLY, variants

MODELS = variants(add=INT8_ADD, multiply=INT8_MULTIPLY)
