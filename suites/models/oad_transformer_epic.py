"""The reduced MAT as its code has it for EPIC-KITCHENS-100: 64 seconds of memory, width 2048."""

from harness.contracts.model import Model
from suites.models._oad_transformer import OadTransformer

MODEL: Model = OadTransformer(width=2048, inner=2048, work=20)
