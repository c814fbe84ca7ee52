"""Sections: which images share a pack, planned or as they ran, and examples."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from navit_edge.page.content import Group
from navit_edge.page.elements import tag
from navit_edge.page.html import sections
from navit_edge.report.bars import Block, Row, bars, key
from navit_edge.report.content import Examples, Planned
from navit_edge.report.parts import Place, count_text, figure, ms_text, percent_text, table

_MOST_PACKS = 16


def packs_section(planned: Planned, place: Place) -> Element:
    shown = planned.packs[:_MOST_PACKS]
    rows = []
    for number, pack in enumerate(shown):
        used = sum(pack.images)
        blocks = [
            Block(width=tokens, hue=at, says=f"an image of {count_text(tokens, 'token')}")
            for at, tokens in enumerate(pack.images)
        ]
        blocks.append(Block(width=pack.capacity - used, hue=-1, says=f"{pack.capacity - used:,} tokens of padding"))
        note = "" if pack.predicted_ms is None else f"{ms_text(pack.predicted_ms)} ms"
        rows.append(Row(name=f"pack {number}", blocks=blocks, note=note))
    padded = any(pack.capacity > sum(pack.images) for pack in shown)
    drawn = bars(
        place.id("packs-drawn"),
        "Images in packs",
        "A row for each pack, a block for each image, as wide as its tokens. The numbers are in the table below.",
        "tokens",
        rows,
    )
    left_out = f" The first {len(shown)} of {len(planned.packs):,} packs." if len(shown) < len(planned.packs) else ""
    times = " Behind a pack: the time that the measured cost model predicts." if any(row.note for row in rows) else ""
    cells = [
        (
            f"pack {number}",
            f"{len(pack.images):,}",
            f"{sum(pack.images):,}",
            f"{pack.capacity:,}",
            percent_text(sum(pack.images) / pack.capacity) if pack.capacity else "",
            f"{max(pack.images, default=0):,}",
            "" if pack.predicted_ms is None else ms_text(pack.predicted_ms),
        )
        for number, pack in enumerate(planned.packs)
    ]
    heads = ["pack", "images →", "tokens →", "computed →", "fill →", "longest image →", "predicted ms →"]
    fill = planned.tokens / planned.capacity if planned.capacity else 0.0
    return place.section(
        "packs",
        "Which images share a pass",
        tag(
            "p",
            f"Planned for {planned.engine}, nothing has run: {planned.source}. {count_text(planned.tokens, 'token')} "
            f"in {count_text(len(planned.packs), 'pack')}, {percent_text(fill)} full; strategy {planned.strategy}.",
        ),
        figure(
            f"A row is one pass of the engine, a block one image, as wide as its tokens.{times}{left_out}",
            drawn,
            key([("padding, computed in vain", -1)]) if padded else None,
        ),
        table(place.id("pack-table"), "Packs", heads, cells),
    )


def examples_section(examples: Examples, place: Place) -> Element:
    """Packs and cards as on a page of ``run --html``."""
    text = f"Ran for this report with {examples.engine} on {examples.device}."
    found = sections([Group(title="Pictures", cards=examples.cards)], examples.left_out, first=_first(place))
    return place.section("examples", "Examples", tag("p", text), *found)


def _first(place: Place) -> int:
    """Cards of two bundles on one page have different ids."""
    return 1000 if place.prefix.startswith("b") else 0
