"""Simulators that are a Python package, imported when the first neuron is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from harness.contracts.errors import UnsupportedError

if TYPE_CHECKING:
    from torch import nn

    from harness.contracts.neuron import NeuronSpec


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A simulator that can mean every specification, if its package is here.

    Attributes:
        name: Of the folder and of the package.
        title: As its authors write it.
        requirement: What pip is to install.
        build: Imports the adapter and returns a layer of neurons.
    """

    name: str
    title: str
    requirement: str
    build: Callable[[NeuronSpec], nn.Module]

    @property
    def version(self) -> str:
        """The package's own version."""
        return version(self.name) if find_spec(self.name) else "not installed"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        """Return None if the package is installed: there is nothing it cannot mean."""
        if find_spec(self.name):
            return None
        return f"{self.title} is not installed; pip install {self.requirement}"

    def neuron(self, spec: NeuronSpec, /) -> nn.Module:
        """Return a layer of neurons.

        Raises:
            UnsupportedError: If the package is not installed.
        """
        if reason := self.unsupported(spec):
            raise UnsupportedError(reason)
        return self.build(spec)
