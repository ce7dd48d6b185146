"""The publisher, for every test of this folder."""

from tests.data.publishing import publisher, small

__all__ = ["publisher", "small"]
