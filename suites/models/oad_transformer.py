"""The reduced MAT at a size that a processor trains in a minute."""

from harness.contracts.model import Model
from suites.models._oad_transformer import OadTransformer

MODEL: Model = OadTransformer(
    width=64, heads=4, inner=128, groups=5, queries=4, stride=4, encoders=1, decoders=1, work=8
)
