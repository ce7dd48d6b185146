"""The page in a real Chromium, which not every machine has.

The session `page` installs a driver and sets SNN_DISTILL_BROWSER=1: there a missing browser
fails. Elsewhere these tests are left out, and the summary says why.
"""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.boards import page, page_of_parameters, page_of_two_budgets

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REQUIRED = os.environ.get("SNN_DISTILL_BROWSER") == "1"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
DRIVERS = all(map(find_spec, ("playwright", "axe_playwright_python")))
if REQUIRED and not (CHROMIUM and DRIVERS):
    raise pytest.UsageError(
        "SNN_DISTILL_BROWSER is 1, and Chromium or its driver is missing; install Chromium, on "
        "Debian with `apt-get install chromium`, and run `nox -s page`"
    )
if not REQUIRED:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _written(tmp_path_factory, page())


@pytest.fixture(scope="session")
def address_of_two_budgets(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _written(tmp_path_factory, page_of_two_budgets())


@pytest.fixture(scope="session")
def address_of_parameters(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _written(tmp_path_factory, page_of_parameters())


def _written(tmp_path_factory: pytest.TempPathFactory, text: str) -> str:
    file = tmp_path_factory.mktemp("page") / "leaderboard.html"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Return where screenshots are left for a person to look at."""
    folder = Path(os.environ.get("SNN_DISTILL_PICTURES", ".nox/pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
