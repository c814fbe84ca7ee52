"""Rows of blocks, one behind the other from the left, as SVG: where time goes, what lies in a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from navit_edge.page.elements import tag
from navit_edge.report.chart import HUES, LETTERS_PX, WIDTH, picture
from navit_edge.report.scale import CHARACTER, Scale, apart, tick_text, ticks

_ROW, _BAR = 26, 18
_LONGEST = 26  # letters of a row's name


@dataclass(frozen=True, kw_only=True)
class Block:
    """hue: -1 for what is free. says: shown when it is pointed at."""

    width: float
    hue: int
    says: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """note: stands behind the blocks."""

    name: str
    blocks: Sequence[Block]
    note: str = ""

    @property
    def width(self) -> float:
        return sum(max(0.0, block.width) for block in self.blocks)


def bars(name: str, title: str, says: str, unit: str, rows: Sequence[Row]) -> Element | None:
    """name: an id of the page. unit: name of the axis. None if there is nothing to be drawn."""
    widest = max((row.width for row in rows), default=0.0)
    if widest <= 0:
        return None
    names = [row.name if len(row.name) <= _LONGEST else row.name[: _LONGEST - 1] + "…" for row in rows]
    letter = CHARACTER * LETTERS_PX
    left = 10 + max(map(len, names)) * letter
    right = WIDTH - 10 - max(len(row.note) for row in rows) * letter
    along = Scale(low=0.0, high=widest, start=left, end=right)
    parts = []
    for place, (row, text) in enumerate(zip(rows, names, strict=True)):
        top = 4 + place * _ROW
        parts.append(tag("text", text, x=f"{left - 7:.1f}", y=f"{top + 13:.1f}", cls="end"))
        at = 0.0
        for block in row.blocks:
            if block.width <= 0:
                continue
            start, end = along.at(at), along.at(at + block.width)
            at += block.width
            cls = "free" if block.hue < 0 else f"block hue{block.hue % HUES}"
            parts.append(
                tag("rect", tag("title", block.says), x=f"{start:.1f}", y=str(top), width=f"{end - start:.1f}",
                    height=str(_BAR), cls=cls)
            )  # fmt: skip
        parts.append(tag("text", row.note, x=f"{along.at(at) + 6:.1f}", y=f"{top + 13:.1f}"))
    base = 4 + len(rows) * _ROW
    values = ticks(along, most=6)
    for value in apart(along, values, letters_px=LETTERS_PX, names=[tick_text(one) for one in values]):
        x = f"{along.at(value):.1f}"
        parts.append(tag("line", x1=x, y1=str(base), x2=x, y2=str(base + 4), cls="axis"))
        parts.append(tag("text", tick_text(value), x=x, y=str(base + 18), cls="middle"))
    parts.append(tag("line", x1=f"{left:.1f}", y1=str(base), x2=f"{right:.1f}", y2=str(base), cls="axis"))
    parts.append(tag("text", unit, x=f"{(left + right) / 2:.1f}", y=str(base + 38), cls="middle name"))
    return picture(name, title, says, parts, base + 46)


def key(names: Sequence[tuple[str, int]]) -> Element:
    """(name, hue): which colour is what."""
    items = []
    for name, hue in names:
        cls = "free" if hue < 0 else f"block hue{hue % HUES}"
        box = tag("rect", x="1", y="1", width="14", height="14", cls=cls)
        items.append(tag("li", tag("svg", box, viewBox="0 0 16 16", width="16", height="16",
                                   **{"aria-hidden": "true"}), " ", name))  # fmt: skip
    return tag("ul", *items, cls="legend")
