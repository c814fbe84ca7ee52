"""A report as one HTML file: no script, nothing from elsewhere, a function of the report alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from navit_edge.page.elements import document, tag
from navit_edge.page.html import STYLE
from navit_edge.report.about import (
    engines_section,
    missing_section,
    model_section,
    needs_section,
    tuned_section,
    use_section,
)
from navit_edge.report.content import BundleReport, ReportFile
from navit_edge.report.fast import fast_section, in_words
from navit_edge.report.good import good_section
from navit_edge.report.packed import examples_section, packs_section
from navit_edge.report.parts import Place, bytes_text, clipped, count_text, date_text, share_text
from navit_edge.report.right import quantized_section, right_section, verdict_of
from navit_edge.report.side_by_side import comparison_section, names_of

_STYLE = Path(__file__).with_name("style.css")


def render(report: ReportFile) -> str:
    """The document."""
    style = STYLE.read_text(encoding="utf-8") + _STYLE.read_text(encoding="utf-8")
    names = names_of(report.bundles)
    title = " and ".join(names)
    made = f"navit-edge {report.version}, {date_text(report.unix_time)}"
    body: list[Element] = []
    if len(report.bundles) == 1:
        (only,) = report.bundles
        place = Place()
        found = list(_sections(only, place))
        body += [_header(title, made, _glance(only)), _contents(found), *found]
    else:
        assert report.comparison is not None
        compared = comparison_section(report.comparison, report.bundles, Place())
        whole = [compared]
        for prefix, name, one in zip(("a-", "b-"), names, report.bundles, strict=True):
            inside = _sections(one, Place(prefix=prefix, level=3))
            whole.append(tag("section", tag("h2", name), _glance(one), *inside, id=f"{prefix}bundle", cls="bundle"))
        body += [_header(title, made), _contents(whole), *whole]
    return document(f"Report: {title}", style, [tag("main", *body)])


def _header(title: str, made: str, *below: Element) -> Element:
    return tag("header", tag("h1", title), *below, tag("p", f"Made by {made}.", cls="quiet"))


def _contents(sections: list[Element]) -> Element:
    """Links to the sections, by their headings."""
    found = [(one.get("id", ""), "".join(one[0].itertext())) for one in sections]
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title in found]
    return tag("nav", tag("ul", *links), **{"aria-label": "Sections"})


def _sections(report: BundleReport, place: Place) -> Iterator[Element]:
    yield model_section(report.model, place)
    yield engines_section(report.engines, place)
    yield right_section(report, place)
    if report.quantized:
        yield quantized_section(report.quantized, place)
    yield fast_section(report.bench, report.engines, place)
    yield good_section(report.evaluation, place)
    if report.tuned is not None:
        yield tuned_section(report.tuned, place)
    yield needs_section(report, place)
    if report.planned is not None:
        yield packs_section(report.planned, place)
    if report.examples is not None:
        yield examples_section(report.examples, place)
    if report.use:
        yield use_section(report.use, place)
    if report.missing:
        yield missing_section(report.missing, place)


def _glance(report: BundleReport) -> Element:
    """The figures that a person looks for first: of the engine that a session prefers, and of what is the reference."""
    size = (
        f"{report.model.parameters / 1e6:,.1f} M parameters, {bytes_text(report.bytes)} on disk, "
        f"{count_text(len(report.engines), 'engine')}"
    )
    tiles = [("right", verdict_of(report)), ("size", size)]
    if report.bench:
        preferred = [engine.id for engine in report.engines]
        order = {name: place for place, name in enumerate(preferred)}
        first = min(report.bench, key=lambda one: order.get(one.engine, len(order)))
        tiles.append(("fast", f"{first.engine} on {first.device}: {in_words(first)}"))
    found = report.evaluation
    if found is not None and found.rows:
        row = found.rows[found.reference or 0]
        cap = "" if row.cap is None else f", at most {row.cap:,} patches"
        tiles.append(("good", f"{row.engine}, policy {row.policy}{cap}: top-1 {share_text(row.top1)} of "
                      f"{count_text(row.images, 'image')}"))  # fmt: skip
    notes = [tag("p", clipped(note), cls="warning") for note in report.notes]
    shown = tag("dl", *(tag("div", tag("dt", name), tag("dd", clipped(text))) for name, text in tiles), cls="glance")
    return tag("div", shown, *notes)
