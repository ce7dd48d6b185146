"""The reduced MAT at the sizes of its code for THUMOS14: 256 seconds of memory, width 1024."""

from harness.contracts.model import Model
from suites.models._oad_transformer import OadTransformer

MODEL: Model = OadTransformer(width=1024, inner=1024, work=32)
