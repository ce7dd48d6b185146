"""Which methods mean what is asked of a data set. Imports no torch."""

from harness import discovery
from harness.contracts.inputs import Image, Tokens
from harness.data import catalogue

# What a method may need of a sample.
_OFFERED = {Image: ("maps",), Tokens: ("tokens",)}


def unmeant(method: str, dataset: str, /) -> str:
    """Return why a method's formulas do not mean what is asked of a data set; empty if they do."""
    card = catalogue.load(dataset).card
    said = discovery.method_card(method)
    offered = {*discovery.task_gives(card.task), *_OFFERED.get(type(card.input), ())}
    missing = sorted({*(said.needs if said else ())} - offered)
    if not missing:
        return ""
    return (
        f"{method} needs {' and '.join(missing)}, which {card.task} on {type(card.input).__name__} "
        f"has not; it gives {', '.join(sorted(offered)) or 'nothing of the kind'}"
    )
