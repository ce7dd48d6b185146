"""Which simulators are tested: every installed one, or those named by ``--backend``."""

from importlib.metadata import PackageNotFoundError, version
from typing import cast

import pytest

from harness import discovery
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
        chosen = metafunc.config.getoption("--backend") or list(filter(_installed, _names()))
        if unknown := sorted(set(chosen) - set(_names())):
            raise pytest.UsageError(f"no backend {unknown[0]!r}; there are: {', '.join(_names())}")
        metafunc.parametrize("simulator", chosen, indirect=True)


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Backend:
    return cast(Backend, discovery.load("backends", request.param))


def _names() -> tuple[str, ...]:
    return discovery.names("backends")


def _installed(name: str) -> bool:
    try:
        for package in discovery.packages_of(name):
            version(package)
    except PackageNotFoundError:
        return False
    return True
