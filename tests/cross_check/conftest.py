"""Collect these tests only beside the tools they compare with.

The session `cross_check` installs the tools and sets SNN_DISTILL_CROSS_CHECK=1: there a
missing tool is an error. Elsewhere the folder is passed over in silence.
"""

import os
from importlib.util import find_spec

import pytest

TOOLS = ("neurobench", "sinabs", "snntorch", "spikingjelly", "syops")
REQUIRED = os.environ.get("SNN_DISTILL_CROSS_CHECK") == "1"
MISSING = [tool for tool in TOOLS if find_spec(tool) is None]

if MISSING and REQUIRED:
    raise pytest.UsageError(
        f"SNN_DISTILL_CROSS_CHECK is 1 and {', '.join(MISSING)} cannot be imported; "
        "install them, or use nox -s cross_check"
    )
if MISSING:
    collect_ignore_glob = ["test_*.py"]
