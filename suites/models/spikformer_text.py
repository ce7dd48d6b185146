"""The Spikformer of tokens in its published size: 12 blocks, 768 wide, 109 million weights."""

from harness.contracts.model import Model
from suites.models._spikformer_text import SpikformerText

MODEL: Model = SpikformerText(blocks=12, width=768, heads=8, hidden=3072)
