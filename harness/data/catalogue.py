"""The data sets there are, and what their cards say."""

from dataclasses import asdict
from typing import Any, cast

from harness import discovery
from harness.contracts.dataset import Dataset


def load(name: str, /) -> Dataset[Any]:
    """Return the data set called ``name``."""
    return cast("Dataset[Any]", discovery.load("datasets", name))


def about(name: str, /) -> dict[str, Any]:
    """Return all that is known of a data set without opening it."""
    return {"name": name} | asdict(load(name).card)
