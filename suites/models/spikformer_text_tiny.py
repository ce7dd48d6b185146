"""The Spikformer of tokens, small enough for a processor."""

from harness.contracts.model import Model
from suites.models._spikformer_text import SpikformerText

MODEL: Model = SpikformerText(blocks=1, width=64, heads=4, hidden=128)
