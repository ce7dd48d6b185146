"""BERT with 6 layers, 384 wide: the shape of MiniLM, whose published weights it can start from."""

from harness.contracts.model import Model
from suites.models._bert import Bert

MODEL: Model = Bert(blocks=6, width=384, heads=12, hidden=1536)
