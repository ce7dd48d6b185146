"""Compute only, 45 nm, 32-bit integers (Horowitz, ISSCC 2014)."""

from harness.energy._horowitz import INT32_ADD, INT32_MULTIPLY, variants

MODELS = variants(add=INT32_ADD, multiply=INT32_MULTIPLY)
