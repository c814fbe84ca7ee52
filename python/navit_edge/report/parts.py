"""What sections are made of: tables, facts, figures; and how numbers are written, in one way everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.etree.ElementTree import Element

from navit_edge.bench import measure
from navit_edge.evaluate.metrics import Share
from navit_edge.page.elements import tag
from navit_edge.text import size_text

Cell: TypeAlias = "str | Element"

#: A page stays readable, and of a bounded size, whatever a bundle holds; the JSON has the rest.
MOST_ROWS = 100
MOST_LETTERS = 400
#: Letters of a cell that is not broken over lines.
_WHOLE = 32


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a section stands. prefix: of its ids, one for each bundle of the page. level: of its heading."""

    prefix: str = ""
    level: int = 2

    def id(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def section(self, name: str, title: str, *inside: Element | str | None) -> Element:
        return tag("section", tag(f"h{self.level}", title), *_there(inside), id=self.id(name))

    def part(self, title: str, *inside: Element | str | None) -> Element:
        """A part of a section."""
        return tag("div", tag(f"h{self.level + 1}", title), *_there(inside), cls="part")


def _there(inside: Iterable[Element | str | None]) -> list[Element | str]:
    return [one for one in inside if one is not None]


def clipped(text: str) -> str:
    """Text of others, cut if it is long."""
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"


def table(name: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Element:
    """name: an id. columns: heads; one that ends in " →" has numbers, which stand at the right.

    Columns that no row fills are left out. The first cell of a row names it.
    """
    kept = [k for k, _ in enumerate(columns) if any(row[k] != "" for row in rows)] if rows else []
    right = {k for k in kept if columns[k].endswith(" →")}
    head = tag(
        "tr",
        *(tag("th", columns[k].removesuffix(" →"), scope="col", cls="number" if k in right else "") for k in kept),
    )
    body = [
        tag("tr", *(_cell(row[k], first=k == kept[0], number=k in right) for k in kept)) for row in rows[:MOST_ROWS]
    ]
    more = len(rows) - MOST_ROWS
    said = f"{caption}; {more:,} more rows are in the JSON" if more > 0 else caption
    made = tag("table", tag("caption", said), tag("thead", head), tag("tbody", *body), id=name)
    return tag("div", made, cls="scroll", tabindex="0", role="region", **{"aria-label": caption})


def _cell(value: Cell, *, first: bool, number: bool) -> Element:
    inside = clipped(value) if isinstance(value, str) else value
    cls = "number" if number else "name" if isinstance(value, str) and len(value) <= _WHOLE else ""
    return tag("th", inside, scope="row", cls=cls) if first else tag("td", inside, cls=cls)


def facts(pairs: Iterable[tuple[str, str]]) -> Element:
    """Names and values; those without a value are left out."""
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", clipped(value))) for name, value in pairs if value), cls="facts"
    )


def figure(caption: str, drawn: Element | None, *below: Element | None) -> Element | None:
    """A chart with what explains it; None if nothing was drawn."""
    if drawn is None:
        return None
    return tag("figure", tag("div", drawn, cls="chart"), *_there(below), tag("figcaption", caption))


def words(items: Sequence[str], most: int = 12) -> str:
    """ "a, b and 3 more"."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def bytes_text(count: int | None) -> str:
    return "" if count is None else size_text(count)


def ms_text(value: float) -> str:
    """As bench writes it; what is too short for that is "<0.01"."""
    return "<0.01" if 0 < value < 0.005 else measure.ms_text(value)


def percent_text(value: float) -> str:
    """Of a share: "8.4 %", "<0.1 %", "100 %"."""
    percent = 100 * value
    if 0 < abs(percent) < 0.05:
        return "<0.1 %" if percent > 0 else ">-0.1 %"
    return f"{percent:.1f} %".replace(".0 %", " %")


def count_text(count: int, what: str) -> str:
    """ "1 engine", "1,024 engines"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def rate_text(value: float) -> str:
    """Per second: three digits and more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def share_text(share: Share) -> str:
    """ "93.5 % (89.2 to 96.2)"."""
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def date_text(unix_time: float) -> str:
    """In UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_time))
    except (OverflowError, ValueError, OSError):
        return ""
