"""The page at /: what a browser is told of it, and that its script reads what the server gives. ``verify_web_page.py``
looks at it in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from in_process import Ask, asking, png

from navit_edge.serve.security import ApiKeys, Security

VOID = {"meta", "link", "input", "img", "br", "path"}


class Reader(HTMLParser):
    """The elements of the page; every one is closed in its turn."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[self.open[-1] if self.open else ""] = data


@pytest.fixture(scope="module")
def page(ask: Ask) -> tuple[httpx.Response, Reader]:
    answer = ask("GET", "/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer, Reader(answer.text)


def test_a_browser_may_run_nothing_but_the_script_of_the_page_and_ask_nobody_else(
    page: tuple[httpx.Response, Reader],
) -> None:
    answer, read = page
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for element, source in (("script", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(hashlib.sha256(read.texts[element].encode()).digest()).decode()
        assert policy[source] == f"'sha256-{digest}'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_nothing_comes_from_elsewhere_and_no_element_has_code_or_style_of_its_own(
    page: tuple[httpx.Response, Reader],
) -> None:
    answer, read = page
    for tag, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        assert attributes.get("href") in (None, "data:,"), (tag, attributes)
        assert "src" not in attributes, (tag, attributes)
    assert "//" not in re.sub(r"(?m)(^|\s)//.*$", "", read.texts["script"])  # no address
    assert "url(" not in read.texts["style"]
    assert "@import" not in read.texts["style"]
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function)\b", answer.text)


def test_what_the_script_reads_is_in_the_answers(page: tuple[httpx.Response, Reader], ask: Ask) -> None:
    script = page[1].texts["script"]
    ids = {attributes["id"] for _, attributes in page[1].elements if "id" in attributes}
    assert set(re.findall(r'\$\("(\w+)"\)', script)) == ids
    paths = set(re.findall(r'"(v1/\w+)"', script))
    assert paths == {"v1/models", "v1/classify", "v1/embeddings"}
    (model,) = ask("GET", "/v1/models").json()["data"]
    assert set(re.findall(r"\bmodel\.(\w+)", script)) <= set(model)
    answers: dict[str, Any] = {}
    for path, fields in (("v1/classify", {"top_k": "5"}), ("v1/embeddings", {})):
        answer = ask("POST", f"/{path}", files={"image": png(20, 30, 0)}, data={"model": model["id"], **fields})
        (answers[path],) = answer.json()["data"]
    (read,) = re.findall(r"const \{([\w, ]+)\} = one\.image;", script)
    for entry in answers.values():
        assert set(read.split(", ")) <= set(entry["image"])
    assert {"label", "score", "index"} <= set(answers["v1/classify"]["top_k"][0])
    assert isinstance(answers["v1/embeddings"]["embedding"], list)


@pytest.fixture(scope="module")
def locked(job_bundle: Path) -> Iterator[Ask]:
    with asking(job_bundle, security=Security(keys=ApiKeys(["0123456789abcdef"]))) as ask:
        yield ask


def test_the_page_asks_for_a_key_and_everything_else_needs_one(locked: Ask) -> None:
    assert locked("GET", "/").status_code == 200
    answer = locked("GET", "/v1/models")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert locked("GET", "/v1/models", headers={"Authorization": "Bearer 0123456789abcdef"}).status_code == 200
