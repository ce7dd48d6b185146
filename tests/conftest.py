"""Which simulators are tested: every installed one, or those named by ``--backend``.

Tests of others are skipped, and the reason says how to install them.
"""

from typing import cast

import pytest
from _pytest.mark import ParameterSet

from harness import discovery
from harness.cli.simulators import missing
from harness.contracts.backend import Backend


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        metavar="NAME",
        help="A folder of backends/ to test; may be repeated. Default: all that are installed.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "simulator" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--backend")
        if unknown := sorted(set(chosen or ()) - set(_names())):
            raise pytest.UsageError(f"no backend {unknown[0]!r}; there are: {', '.join(_names())}")
        asked = chosen or [_if_installed(name) for name in _names()]
        metafunc.parametrize("simulator", asked, indirect=True)


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Backend:
    return cast(Backend, discovery.load("backends", request.param))


def _names() -> tuple[str, ...]:
    return discovery.names("backends")


def _if_installed(name: str) -> str | ParameterSet:
    reason = missing([name])
    return pytest.param(name, marks=pytest.mark.skip(reason=reason)) if reason else name
