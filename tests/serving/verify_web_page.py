"""The page at / in a real browser: Chromium, driven by Playwright (`make test-serving`).

Needs Chromium: ``chromium`` in PATH (Debian's package of that name), or what NAVIT_EDGE_CHROMIUM names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import png
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running import Running, running
from tiny_bundle import TinyConfig, make_bundle

import navit_edge as ne
from navit_edge import compile as build_package
from navit_edge.serve.security import ApiKeys, Security

KEY = "0123456789abcdef-a-key"
NAMES = ("chromium", "chromium-browser", "google-chrome")
#: Without them Chromium tries to reach its maker's hosts at every start.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: A limit on a wait only ends what hangs.
FOR_EVER_MS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = os.environ.get("NAVIT_EDGE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is in PATH; name one with NAVIT_EDGE_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(job_bundle: Path) -> Iterator[Running]:
    with running({"tiny": job_bundle}) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    yield from opened(browser, server)


def opened(browser: Browser, server: Running) -> Iterator[Page]:
    """The page, which reports no error and asks for nothing elsewhere."""
    with browser.new_context() as context:
        context.set_default_timeout(FOR_EVER_MS)
        expect.set_options(timeout=FOR_EVER_MS)
        page = context.new_page()
        errors: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        yield page
        assert errors == []
        assert all(url.startswith((server.url, "blob:", "data:")) for url in asked)


def choose(page: Page, name: str, file: bytes) -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": "image/png", "buffer": file})


def drop(page: Page, name: str, file: bytes) -> None:
    """Drops a file on the page, as a person does."""
    data = page.evaluate_handle(
        "([name, bytes]) => { const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'})); return data; }",
        [name, list(file)],
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", kind, {"dataTransfer": data})


def test_a_dropped_image_shows_its_classes_patches_tokens_and_time(page: Page, job_bundle: Path) -> None:
    file = png(40, 60, 7)
    with ne.Session(job_bundle) as session:
        (result,) = session.run([file])
    drop(page, "seven.png", file)
    expect(page.locator("#classes li")).to_have_count(5)
    best = [one.label for one in result.top_k(5)]
    assert page.locator("#classes li span").all_inner_texts() == best
    first = page.locator("#classes li b").first.inner_text()
    assert float(first.removesuffix(" %")) == pytest.approx(100 * result.top_k(1)[0].score, abs=0.06)
    rows, cols = result.grid
    assert page.inner_text("#patches") == f"{rows} × {cols} of 4 × 4 pixels"
    assert page.inner_text("#tokens") == str(result.token_count)
    assert page.inner_text("#name") == "tiny"
    assert " ms in all: " in page.inner_text("#time")
    assert page.inner_text("#caption") == "seven.png, 60 × 40 pixels"
    assert page.inner_text("#status") == ""


def test_the_grid_lies_on_the_image_as_the_model_cut_it(page: Page, job_bundle: Path) -> None:
    choose(page, "a.png", png(200, 90, 3))  # scaled down: more than 256 patches of 4 pixels
    with ne.Session(job_bundle) as session:
        (result,) = session.run([png(200, 90, 3)])
    expect(page.locator("#result")).to_be_visible()
    rows, cols = result.grid
    drawn = page.locator("#lines path").get_attribute("d") or ""
    assert (drawn.count("H"), drawn.count("V")) == (rows + 1, cols + 1)
    (scale_y, scale_x), (top, left) = result.scale, result.offset
    assert f"M{-left / scale_x:g} {-top / scale_y:g}H" in drawn.replace("-0", "0")
    last = [float(part.partition("H")[0].split(" ")[1]) for part in drawn.split("M") if "H" in part][-1]
    assert last == pytest.approx((rows * 4 - top) / scale_y)
    image, lines = page.locator("#image").bounding_box(), page.locator("#lines").bounding_box()
    assert image == lines
    assert image is not None
    assert image["width"] / image["height"] == pytest.approx(90 / 200, rel=0.02)
    page.uncheck("#grid")
    expect(page.locator("#lines")).to_be_hidden()


def test_later_images_are_compared_with_those_before(page: Page) -> None:
    choose(page, "first.png", png(30, 30, 1))
    expect(page.locator("#caption")).to_contain_text("first.png")
    choose(page, "second.png", png(30, 30, 2))
    expect(page.locator("#near li")).to_have_count(1)
    assert page.inner_text("#near li span") == "first.png"
    cosine = float(page.inner_text("#near li b").removeprefix("cosine "))
    assert -1 <= cosine <= 1


def test_what_is_no_image_is_said_in_words_and_the_next_image_shows(page: Page) -> None:
    choose(page, "no.png", b"<img src=x onerror=alert(1)>")
    expect(page.locator("#status")).to_contain_text("image 0: not an image")
    assert page.locator("#result").is_hidden()
    choose(page, "<img src=x onerror=alert(1)>.png", png(20, 20, 0))
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#caption")).to_contain_text("<img src=x onerror=alert(1)>.png, 20 × 20 pixels")
    assert page.inner_text("#status") == ""


def test_a_server_with_keys_asks_for_one(browser: Browser, job_bundle: Path) -> None:
    with running({"tiny": job_bundle}, security=Security(keys=ApiKeys([KEY]))) as server:
        for page in opened(browser, server):
            expect(page.locator("#key")).to_be_visible()
            page.fill("#secret", KEY)
            page.press("#secret", "Enter")
            expect(page.locator("#key")).to_be_hidden()
            choose(page, "a.png", png(20, 20, 0))
            expect(page.locator("#result")).to_be_visible()


def test_a_model_without_classes_shows_its_numbers(browser: Browser, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "vectors.navit", TinyConfig(depth=1, outputs=("embedding",)))
    request = build_package.BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(256,))
    build_package.build_engines(bundle, request)
    with running({"vectors": bundle}) as server:
        for page in opened(browser, server):
            choose(page, "a.png", png(20, 20, 0))
            expect(page.locator("#vector")).to_be_visible()
            assert page.locator("#labels").is_hidden()
            assert page.inner_text("#numbers").startswith("64 numbers, norm ")
            assert page.evaluate("document.getElementById('strip').width") == 64
