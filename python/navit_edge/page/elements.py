"""HTML as a tree of elements: one file, no script, nothing from elsewhere.

Text of others (names of files, labels, errors) can be nothing but text in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from navit_edge.text import shown, shown_lines

#: A browser that keeps it loads nothing, whatever a page says.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def tag(name: str, /, *inside: Element | str, cls: str = "", **attributes: str) -> Element:
    """An element; text is escaped when the tree is written, and shows what it would hide."""
    if cls:
        attributes["class"] = cls
    element = Element(name, {key: value if key == "style" else shown(value) for key, value in attributes.items()})
    last: Element | None = None
    for part in inside:
        if isinstance(part, Element):
            element.append(part)
            last = part
        else:
            text = part if name == "style" else shown_lines(part) if name == "pre" else shown(part)
            if last is None:
                element.text = (element.text or "") + text
            else:
                last.tail = (last.tail or "") + text
    return element


def document(title: str, style: str, body: Iterable[Element]) -> str:
    """style: CSS of ours."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style),
    )
    text = tostring(tag("html", head, tag("body", *body), lang="en"), encoding="unicode", method="html")
    return f"<!doctype html>\n{text}\n"
