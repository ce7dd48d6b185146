"""BERT base: 12 layers, 768 wide, whose published weights it can start from."""

from harness.contracts.model import Model
from suites.models._bert import Bert

MODEL: Model = Bert(blocks=12, width=768, heads=12, hidden=3072)
