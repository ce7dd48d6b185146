"""What a reader does with the page: from a file, without a network, wide and narrow."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

VIEWS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture
def heard() -> list[str]:
    """Return what the page must not say: errors, warnings and requests."""
    return []


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def view(request: pytest.FixtureRequest) -> tuple[int, Literal["light", "dark"]]:
    found: tuple[int, Literal["light", "dark"]] = request.param
    return found


@pytest.fixture
def page(
    browser: Browser, address: str, heard: list[str], view: tuple[int, Literal["light", "dark"]]
) -> Iterator[Page]:
    width, scheme = view
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    opened = context.new_page()
    opened.on("console", lambda said: heard.append(f"{said.type}: {said.text}"))
    opened.on("pageerror", lambda error: heard.append(str(error)))
    opened.on("request", lambda asked: asked.url.startswith("file:") or heard.append(asked.url))
    opened.goto(address)
    ready(opened)
    yield opened
    context.close()


def ready(page: Page) -> None:
    page.wait_for_selector("html[data-ready=yes]")
    page.wait_for_selector("#chart svg")


def names(page: Page) -> list[str]:
    return page.locator("#board tbody button.row").all_inner_texts()


def test_it_says_nothing_asks_for_nothing_and_fits(
    page: Page, heard: list[str], pictures: Path, view: tuple[int, str]
) -> None:
    for value in page.locator("#figure option").evaluate_all("all => all.map(one => one.value)"):
        page.select_option("#figure", value)
        page.wait_for_selector("#chart svg")
        page.wait_for_timeout(150)
    assert heard == []
    page.locator("section > details").evaluate_all("all => all.forEach(one => (one.open = true))")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= view[0]
    page.screenshot(path=str(pictures / f"page-{view[0]}-{view[1]}.png"), full_page=True)


def test_no_serious_violation_is_found_by_axe(page: Page) -> None:
    for opened in (False, True):
        if opened:
            page.locator("button.row").first.click()
        found: list[dict[str, Any]] = Axe().run(page).response["violations"]
        serious = [
            (one["id"], [node["html"][:200] for node in one["nodes"]][:2])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_sorting_by_accuracy_puts_the_unknown_last(page: Page) -> None:
    head = page.locator("#board thead th", has_text="accuracy (%)")
    head.click()
    head.click()
    expect(page).to_have_url(re.compile(r"sort=accuracy\+desc"))
    order = names(page)
    assert order[0] == "better"
    assert {"broken", "failing"} == set(order[-2:])


def test_filters_narrow_table_and_figure_alike(page: Page) -> None:
    marks = "#chart .mark-symbol.role-mark path"
    page.wait_for_selector(marks)
    all_marks = page.locator(marks).count()
    page.select_option("select[name=simulator]", "beta")
    expect(page.locator("#count")).to_contain_text("3 of 9 rows")
    page.fill("input[name=method]", "better, noisy")
    expect(page.locator("#count")).to_contain_text("2 of 9 rows")
    assert set(names(page)) == {"better", "noisy"}
    expect(page.locator(marks)).to_have_count(2)
    assert all_marks > 2
    page.click("button[type=reset]")
    expect(page.locator("#count")).to_contain_text("9 of 9 rows")


def test_budgets_are_seen_one_at_a_time_until_all_are_asked_for(
    page: Page, address_of_two_budgets: str
) -> None:
    marks = "#chart .mark-symbol.role-mark path"
    budget, count = page.locator("select[name=budget]"), page.locator("#count")
    expect(budget).to_have_count(0)  # where there is one
    page.goto(address_of_two_budgets)
    ready(page)
    assert budget.input_value() == "default"
    expect(count).to_contain_text("3 of 6 rows")
    expect(page.locator(marks)).to_have_count(3)
    page.click("button[type=reset]")
    expect(count).to_contain_text("6 of 6 rows")
    told = page.locator("#board tbody").inner_text()
    assert (told.count("default"), told.count("longer")) == (3, 3)
    page.reload()
    ready(page)
    expect(count).to_contain_text("6 of 6 rows")
    budget.select_option("longer")
    expect(page).to_have_url(re.compile("budget=longer"))
    expect(count).to_contain_text("3 of 6 rows")


def test_a_board_without_a_number_tells_why_and_filters_by_whole_names(
    page: Page, address_of_parameters: str, heard: list[str]
) -> None:
    page.goto(address_of_parameters)
    page.wait_for_selector("html[data-ready=yes]")
    page.fill("input[name=method]", "kd[a=2, b=1]")
    assert names(page) == ["kd[a=2, b=1]"]
    page.locator("button.row").first.click()
    expect(page.locator("#drawer")).to_contain_text("Seed 0: diverged. loss is nan")
    page.wait_for_timeout(150)
    assert heard == []


def test_costs_that_are_close_are_told_on_the_axis(page: Page, address_of_two_budgets: str) -> None:
    page.goto(address_of_two_budgets)
    ready(page)
    labels = page.locator("#chart .role-axis-label text").filter(has_text=re.compile("[nµp]$"))
    seen = [text for text in labels.all() if text.get_attribute("opacity") != "0"]
    assert len({text.text_content() for text in seen}) > 1


def test_another_energy_model_reprices_the_table(page: Page) -> None:
    page.fill("input[name=method]", "direct")
    heads = page.locator("#board thead th").all_inner_texts()
    place = next(
        n for n, head in enumerate(heads) if head.split() == ["energy", "estimate", "(nJ)"]
    )
    cell = page.locator("#board tbody tr").first.locator("td").nth(place)
    assert cell.inner_text() == "0.064"  # 64 pJ, see tests/report/rows.py
    page.select_option("select[name=energy]", label="horowitz_45nm_int8:cached")
    expect(cell).to_have_text("0.0029")  # 10 products at 0.23 pJ, 20 accumulates at 0.03


def test_a_row_opens_by_keyboard_with_all_that_is_known(page: Page) -> None:
    page.fill("input[name=method]", "better")
    page.locator("button.row").first.focus()
    page.keyboard.press("Enter")
    drawer = page.locator("#drawer")
    for told in ("python -m harness reproduce ", "better, T = 2, alpha", "Layers, a sample", "avx"):
        expect(drawer).to_contain_text(told)
    assert drawer.locator("h2").inner_text() == "better, T = 2, alpha"
    page.keyboard.press("Escape")
    expect(drawer).not_to_be_visible()
    assert page.evaluate("document.activeElement.className") == "row"


def test_a_link_restores_the_view(page: Page, browser: Browser) -> None:
    page.select_option("select[name=simulator]", "alpha")
    page.fill("input[type=search]", "o")
    page.select_option("#figure", "operations")
    page.locator("#board thead th", has_text="spikes").click()
    page.locator("button.row").first.click()
    link, before = page.url, names(page)
    other = browser.new_page()
    other.goto(link)
    ready(other)
    assert names(other) == before
    assert other.locator("select[name=simulator]").input_value() == "alpha"
    assert other.locator("#figure").input_value() == "operations"
    title = other.locator("#drawer-title").inner_text()
    assert title == page.locator("#drawer-title").inner_text()
    other.close()


def test_what_failed_is_in_sight_with_its_reason(page: Page) -> None:
    told = page.locator("#failures").inner_text()
    assert "loss is nan | after 3 steps" in told
    assert "timeout" in told
    page.fill("input[name=method]", "broken")
    assert "0/3, 1 timeout, 2 missing" in page.locator("#board tbody").inner_text()


def test_hostile_text_is_text(page: Page) -> None:
    page.fill("input[type=search]", "evil")
    page.locator("button.row").first.click()
    assert page.evaluate("window.stolen") is None
    assert page.locator("img").count() == 0
    told = page.locator("body").inner_text()
    assert told.count("<script>window.stolen = 1</script>") >= 3
    assert "\\ud800" in page.content()
