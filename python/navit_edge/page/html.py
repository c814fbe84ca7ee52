"""A page of results as HTML."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from navit_edge.page.content import Card, Group, Page
from navit_edge.page.elements import document, tag
from navit_edge.place import write_file

#: Of what is on a page of results; a report that shows some takes it, too.
STYLE = Path(__file__).with_name("style.css")
#: CSS pixels that a patch takes on the page: the same for all images, chosen so that the largest fits.
_CELL_PX = (4, 16)
_SIDE_PX = 352
_HUES = 8  # of style.css


def write_page(page: Page, path: str | os.PathLike[str]) -> None:
    """Whole or not at all. Raises OutputError."""
    write_file(path, render(page).encode())


def render(page: Page) -> str:
    """The document."""
    style = STYLE.read_text(encoding="utf-8")
    return document(page.title, style, [_header(page), *sections(page.groups, page.left_out)])


def sections(groups: Sequence[Group], left_out: int = 0, *, first: int = 0) -> list[Element]:
    """The packs that the cards were in, the cards, and how many images are left out.

    first: number of the first card; a document that has several of these gives each its own.
    """
    cards = [card for group in groups for card in group.cards]
    sides = [side for card in cards for side in card.grid]
    cell = min(max(_SIDE_PX / max(sides, default=1), _CELL_PX[0]), _CELL_PX[1])
    made = []
    if any(card.pack_tokens for card in cards):
        made.append(_packs(cards, left_out, first))
    for group in groups:
        numbered = [_card(card, first + place) for place, card in enumerate(group.cards)]
        first += len(group.cards)
        text = [tag("p", group.text)] if group.text else []
        laid = tag("div", *numbered, cls="cards", style=f"--cell:{cell:.2f}px")
        made.append(tag("section", tag("h2", group.title), *text, laid))
    if left_out:
        made.append(tag("p", f"{left_out:,} more images ran and are not shown.", cls="quiet"))
    return made


def _header(page: Page) -> Element:
    text = [tag("p", page.text)] if page.text else []
    facts = [tag("div", tag("dt", name), tag("dd", value)) for name, value in page.facts]
    return tag("header", tag("h1", page.title), *text, *([tag("dl", *facts)] if facts else []))


# --- packs


def _packs(cards: Sequence[Card], left_out: int, first: int) -> Element:
    """A bar for each pack: where each image lies in it, and what no image fills."""
    packs: dict[int, list[tuple[int, Card]]] = defaultdict(list)
    for number, card in enumerate(cards, first):
        if card.pack_tokens:
            packs[card.pack].append((number, card))
    widest = max(card.pack_tokens for card in cards)
    bars = [_bar(pack, packs[pack], widest, told=not left_out) for pack in sorted(packs)]
    rest = "padding, or images that are not on this page" if left_out else "padding, computed on in vain"
    text = (
        "A bar is one pass of the engine, a block one image, as wide as its tokens, at its place in the pass. "
        f"Hatched: {rest}."
    )
    return tag("section", tag("h2", "Packs"), tag("p", text), *bars, cls="packs")


def _bar(pack: int, members: Sequence[tuple[int, Card]], widest: int, *, told: bool) -> Element:
    capacity = members[0][1].pack_tokens
    used = sum(card.tokens for _, card in members)
    segments = []
    for place, (number, card) in enumerate(sorted(members, key=lambda one: one[1].first_token)):
        where = f"left:{card.first_token / capacity:.3%};width:{card.tokens / capacity:.3%}"
        inside = [tag("img", src=card.thumbnail, alt="")] if card.thumbnail else []
        says = f"{card.name}: {_times(card.grid)} patches, {_count(card.tokens, 'token')}"
        segments.append(
            tag(
                "a", *inside, cls=f"segment hue{place % _HUES}", href=f"#image-{number}", title=says, style=where,
                **{"aria-label": says},
            )
        )  # fmt: skip
    words = f"{_count(len(members), 'image')}, {used} of {capacity} tokens, {used / capacity:.0%} full"
    if not told:
        words = f"{capacity} tokens"
    return tag(
        "div",
        tag("p", tag("b", f"Pack {pack}"), f" {words}, {members[0][1].latency_ms:.1f} ms"),
        tag("div", *segments, cls="bar", style=f"width:{capacity / widest:.3%}"),
    )


# --- images


def _card(card: Card, number: int) -> Element:
    inside: list[Element] = [tag("h3", card.name, title=card.name)]
    if card.picture and not card.error:
        pictures = [_picture(card, f"{card.name}, {_times(card.grid)} patches", "grid")]
        if card.map:
            pictures.append(_picture(card, f"weights of the patches of {card.name}", "map"))
        inside.append(tag("div", *pictures, cls="pictures"))
    elif card.picture:
        inside.append(tag("img", src=card.picture, alt=card.name, cls="whole"))
    if card.error:
        return tag("article", *inside, tag("p", card.error, cls="error"), id=f"image-{number}")
    if card.classes:
        inside.append(_classes(card))
    if card.map:
        inside.append(tag("p", f"largest weight of a patch: {card.peak:.1f} × the mean", cls="quiet"))
    inside.append(
        tag(
            "p",
            f"{_times(card.pixels)} pixels → {_times(card.grid)} patches, {_count(card.tokens, 'token')}; "
            f"pack {card.pack}, from token {card.first_token}; {card.latency_ms:.1f} ms",
            cls="quiet",
        )
    )
    if card.note:
        inside.append(tag("p", card.note, cls="quiet"))
    return tag("article", *inside, id=f"image-{number}")


def _picture(card: Card, alt: str, kind: str) -> Element:
    """The image where it lies on its grid, below lines or weights."""
    rows, columns = card.grid
    box = card.box
    image = tag(
        "img", src=card.picture, alt=alt,
        style=f"left:{box.left:.3%};top:{box.top:.3%};width:{box.width:.3%};height:{box.height:.3%}",
    )  # fmt: skip
    over = tag("img", src=card.map, alt="", cls="weights") if kind == "map" else tag("div", cls="lines")
    return tag("div", image, over, cls=f"picture {kind}", style=f"--rows:{rows};--columns:{columns}")


def _classes(card: Card) -> Element:
    bars = []
    for name, probability in card.classes:
        right = " right" if card.truth and name == card.truth else ""
        fill = tag("i", style=f"width:{probability:.2%}")
        bars.append(tag("li", tag("span", name), tag("b", f"{probability:.1%}"), fill, cls=f"class{right}"))
    listed = tag("ol", *bars, cls="classes")
    if not card.truth:
        return listed
    best = card.classes[0][0]
    verdict = "right" if best == card.truth else f"wrong: it is {card.truth}"
    return tag("div", listed, tag("p", verdict, cls="verdict" if best == card.truth else "verdict wrong"))


def _times(sides: tuple[int, int]) -> str:
    return f"{sides[0]} × {sides[1]}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
