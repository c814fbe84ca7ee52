"""Pages of results (`run --html`): what is on them, and that text of others is nothing but text."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import invoke, words
from PIL import Image
from tiny_bundle import TinyConfig, make_bundle

import navit_edge as ne
from navit_edge import compile as build_package
from navit_edge.page.content import Box, Card, Group, Page
from navit_edge.page.html import render
from navit_edge.page.pictures import map_uri, picture_uri
from navit_edge.run import html as run_html

HOSTILE = "<img src=x onerror=alert(1)>.png"
ATTRIBUTES = {"class", "style", "src", "alt", "href", "title", "id", "lang", "charset", "name", "content", "http-equiv",
              "aria-label"}  # fmt: skip
VOID = {"meta", "img", "br", "link", "input"}


class Tag(NamedTuple):
    name: str
    attributes: dict[str, str]


class Reader(HTMLParser):
    """The elements of a document, its text, and whether every element is closed in its turn."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(Tag(tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1:] != ["style"] else ""

    def of(self, name: str, cls: str = "") -> list[Tag]:
        return [tag for tag in self.tags if tag.name == name and (not cls or cls in tag.attributes.get("class", ""))]


def check_self_contained(document: str) -> Reader:
    """Parses, runs no script, loads nothing, from nowhere."""
    read = Reader(document)
    assert not read.of("script")
    assert not read.of("link")
    assert not read.of("iframe")
    for tag in read.tags:
        assert not [name for name in tag.attributes if name.startswith("on")], tag
        source = tag.attributes.get("src")
        assert source is None or source.startswith("data:image/"), tag
        assert tag.attributes.get("href", "#").startswith("#"), tag
    style = document.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    return read


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = make_bundle(tmp_path_factory.mktemp("page") / "tiny.navit", TinyConfig())
    request = build_package.BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(256,))
    build_package.build_engines(bundle, request)
    return bundle


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, height, width in (("a.png", 16, 24), ("b & c.png", 40, 12), (HOSTILE, 12, 12)):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_the_page_of_a_run_shows_every_image_with_its_result_and_hides_no_failure(
    built: Path, images: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    finished = invoke("run", built, images, "--json", "--top-k", "2", "--html", page)
    assert finished.exit_code == 1  # one of the files is no image
    read = check_self_contained(page.read_text(encoding="utf-8"))
    assert len(read.of("article")) == 4
    assert len(read.of("div", "picture grid")) == 3
    assert len(read.of("li", "class")) == 3 * 2
    for name in ("a.png", "b & c.png", HOSTILE, "broken.png"):
        assert name in read.text
    assert "not an image in a format" in read.text
    with ne.Session(built) as session:
        results = session.run(sorted(images.iterdir()), on_error="return")
    for result in results:
        if result.error is None:
            assert "{} × {} patches".format(*result.grid) in read.text
            assert all(f"{one.score:.1%}" in read.text for one in result.top_k(2))


def test_blocks_of_a_pack_lie_where_the_images_lie_in_it(built: Path) -> None:
    rng = np.random.default_rng(1)
    with ne.Session(built) as session:
        results = session.run([rng.integers(0, 256, (16, 4 * n, 3), np.uint8) for n in (1, 5, 3)])
        (report,) = session.last_report["packs"]
    ends = {result.first_token + result.token_count for result in results}
    assert {result.first_token for result in results} == {0, *ends} - {max(ends)}  # one behind the other
    assert {result.pack_tokens for result in results} == {report["capacity"]}
    assert max(ends) == report["tokens"]


def test_no_text_of_others_becomes_an_element_or_an_attribute() -> None:
    bad = "\"><script>alert(1)</script>&amp; </style> 'x' \x1b[31m\x00\u202e"
    card = Card(
        name=bad, picture=picture_uri(np.zeros((4, 4, 3), np.uint8)), thumbnail=bad, classes=[(bad, 0.5)], truth=bad,
        note=bad, grid=(1, 1), tokens=1, pack=0, pack_tokens=1,
    )  # fmt: skip
    failed = Card(name=bad, error=bad)
    document = render(
        Page(title=bad, text=bad, facts=[(bad, bad)], groups=[Group(title=bad, text=bad, cards=[card, failed])])
    )
    read = Reader(document)
    assert not {"script", "x"} & {tag.name for tag in read.tags}
    assert {name for tag in read.tags for name in tag.attributes} <= ATTRIBUTES
    assert len(read.of("style")) == len(read.of("body")) == 1
    seen = read.text.count("\"><script>alert(1)</script>&amp; </style> 'x' \\x1b[31m\\x00\\u202e")
    assert seen == 12  # shown as they are, but for what nobody sees
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", document)


def test_pictures_keep_their_shape_and_lie_where_the_image_lay_on_its_grid() -> None:
    small = decoded(picture_uri(np.full((30, 90, 3), 200, np.uint8)))
    assert small.size == (90, 30)
    assert decoded(picture_uri(np.zeros((300, 900, 3), np.uint8), most_px=90)).size == (90, 30)
    card = Card(name="a", picture="data:image/png;base64,", grid=(2, 4), tokens=8, box=Box(0.25, 0.0, 0.5, 1.0))
    document = render(Page(title="t", groups=[Group(title="g", cards=[card])]))
    assert "left:25.000%;top:0.000%;width:50.000%;height:100.000%" in document
    assert "--rows:2;--columns:4" in document


def test_a_map_of_weights_has_a_pixel_for_each_patch_and_is_opaque_where_they_are_largest() -> None:
    image = decoded(map_uri(np.array([[0.0, 0.25, 1.0], [0.04, 0.0, 0.0]], np.float32)))
    assert image.size == (3, 2)
    assert np.asarray(image)[..., 3].tolist() == [[0, 64, 255], [10, 0, 0]]
    assert np.asarray(decoded(map_uri(np.zeros((1, 2)))))[..., 3].tolist() == [[0, 0]]


def test_a_long_job_shows_its_first_images_and_says_how_many_it_leaves_out(
    built: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_html, "MOST_IMAGES", 2)
    page = tmp_path / "page.html"
    assert invoke("run", built, images, "--json", "--html", page).exit_code == 1
    read = check_self_contained(page.read_text(encoding="utf-8"))
    assert len(read.of("article")) == 2
    assert "2 more images ran and are not shown." in read.text


def test_a_page_that_cannot_be_written_is_refused_before_the_job_begins(
    built: Path, images: Path, tmp_path: Path
) -> None:
    finished = invoke("run", built, images, "--html", tmp_path / "no" / "page.html")
    assert finished.exit_code == 2
    assert "there is no folder" in words(finished.stderr)
