"""The page of `navit-edge report` in a real browser, without JavaScript: light, dark, on a telephone, on paper.

`make test-serving` runs it. Needs Chromium, as verify_web_page.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from report_cases import full_report, report_file
from verify_web_page import FOR_EVER_MS, browser

from navit_edge.report import render

__all__ = ["browser"]

#: Boxes of all texts of a chart, in its own units, with what they say.
TEXTS = """picture => [...picture.querySelectorAll("text")].map(text => {
  const box = text.getBBox(), turned = (text.getAttribute("transform") || "").includes("rotate");
  return {says: text.textContent, turned, box: [box.x, box.y, box.x + box.width, box.y + box.height]};
})"""
COLOUR = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def pages(job_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A report of one bundle, and one of two."""
    folder = tmp_path_factory.mktemp("reports")
    one, other = full_report(job_bundle), full_report(job_bundle, factor=0.5)
    made = []
    for name, bundles in (("one.html", [one]), ("two.html", [one, other])):
        made.append(folder / name)
        made[-1].write_text(render(report_file(*bundles)), encoding="utf-8")
    return made


@pytest.fixture
def opened(browser: Browser, pages: list[Path], request: pytest.FixtureRequest) -> Iterator[list[Page]]:
    """Both pages as ``request.param`` says, which report no error and ask for nothing."""
    with browser.new_context(**request.param) as context:
        context.set_default_timeout(FOR_EVER_MS)
        found, said, asked = [], [], []
        for path in pages:
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("request", lambda asks: asked.append(asks.url))
            page.goto(path.as_uri())
            found.append(page)
        yield found
        assert said == []
        assert asked == [path.as_uri() for path in pages]


def screen(width: int, scheme: str, *, script: bool = True) -> dict[str, Any]:
    return {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "java_script_enabled": script}


@pytest.mark.parametrize(
    "opened", [screen(1200, "light"), screen(1200, "dark"), screen(390, "dark")], indirect=True, ids=str
)
def test_nothing_is_wider_than_the_screen_but_what_scrolls_by_itself(opened: list[Page]) -> None:
    for page in opened:
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("opened", [screen(1200, "light")], indirect=True, ids=str)
def test_no_text_of_a_chart_lies_on_another_or_beyond_its_edge(opened: list[Page]) -> None:
    for page in opened:
        pictures = page.locator("svg[role=img]").all()
        assert len(pictures) >= 6
        for picture in pictures:
            _, _, width, height = (float(one) for one in (picture.get_attribute("viewBox") or "").split())
            texts = [one for one in picture.evaluate(TEXTS) if one["says"]]
            for at, one in enumerate(texts):
                if one["turned"]:  # its box is the one before it was turned
                    continue
                left, top, right, bottom = one["box"]
                assert 0 <= left <= right <= width, one
                assert -1 <= top <= bottom <= height, one
                for other in texts[at + 1 :]:
                    x, y, x2, y2 = other["box"]
                    apart = left >= x2 or x >= right or top + 2 >= y2 or y + 2 >= bottom
                    assert apart or other["turned"], (one, other)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_dark_as_the_browser_and_white_on_paper(
    browser: Browser, pages: list[Path], scheme: str
) -> None:
    with browser.new_context(**screen(1200, scheme)) as context:
        page = context.new_page()
        page.goto(pages[0].as_uri())
        dark = page.evaluate(COLOUR)
        assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
        page.emulate_media(media="print")
        assert page.evaluate(COLOUR) == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
        assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("opened", [screen(1200, "light", script=False)], indirect=True, ids=str)
def test_without_javascript_everything_can_be_read_and_reached(opened: list[Page]) -> None:
    for page in opened:
        assert page.locator("h1").inner_text()
        for link in page.locator("nav a").all():
            target = (link.get_attribute("href") or "").removeprefix("#")
            link.click()
            assert page.url.endswith(f"#{target}")
            assert page.locator(f"[id='{target}']").is_visible()
        for table in page.locator("table").all():
            assert table.is_visible()


@pytest.mark.parametrize("opened", [screen(1200, "light")], indirect=True, ids=str)
def test_a_reader_of_screens_has_a_name_for_every_chart_and_table(opened: list[Page]) -> None:
    for page in opened:
        for picture in page.get_by_role("img").all():
            assert picture.locator("title").first.text_content()
        for table in page.get_by_role("table").all():
            assert table.locator("caption").inner_text()
            assert table.get_by_role("columnheader").count() > 0
