"""Prices of single operations, read off the bills of the models that price nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np

from harness.contracts.ledger import CATEGORIES, Encode, Layer, Ledger
from harness.energy._bill import EnergyModel

Prices = Mapping[Encode, Mapping[str, float]]  # pJ an operation


def prices(model: EnergyModel, name: str) -> Prices | None:
    """Return what ``model`` charges for an operation, by convention and category.

    None if it prices anything else, such as memory or events.
    """
    bills = {encode: model.bill(one_of_each(encode), name=name) for encode in get_args(Encode)}
    for bill in bills.values():
        if bill.unpriced or bill.by_category.keys() - set(CATEGORIES):
            return None
    return {encode: bill.by_category for encode, bill in bills.items()}


def one_of_each(counted: Encode) -> Ledger:
    """Return one operation of each category under one convention, and none under the other."""
    tables = {category: np.ones((1, 1), np.int64) for category in CATEGORIES}
    readings = {encode: tables if encode == counted else {} for encode in get_args(Encode)}
    layer = Layer(
        name="one", kind="linear", operand="binary", samples=1, steps=1, readings=readings
    )
    return Ledger(layers={"one": layer}, samples=1, steps=1)
