"""Section: two bundles beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from navit_edge.page.elements import tag
from navit_edge.report.content import BundleReport, Comparison, Difference
from navit_edge.report.fast import latency_charts
from navit_edge.report.good import front_chart
from navit_edge.report.parts import Place, bytes_text, clipped, ms_text, rate_text, table
from navit_edge.report.right import verdict_of

_TITLES = {
    "size": "Sizes",
    "certificate": "Distance from float32",
    "speed": "Speed",
    "accuracy": "Answers",
}
_READING = {
    "size": "Exact numbers: of a smaller one nothing follows but that it is smaller.",
    "certificate": "Each engine against the float32 graph of its own bundle. A smaller difference is no better model.",
    "speed": "Medians. In brackets: the range of the difference, from the fastest run of one against the slowest "
    "percentile of the other. One is called faster only if the two ranges of times have no value in common. Both were "
    "measured apart, so a machine that was busier for one of them shows as a difference.",
    "accuracy": "In brackets: the interval of the difference at 95 % (Newcombe), which takes the two for separate "
    "samples. One is called better only if the interval leaves out 0.",
}


def comparison_section(found: Comparison, bundles: Sequence[BundleReport], place: Place) -> Element:
    names = names_of(bundles)
    groups = [group for group in _TITLES if any(one.group == group for one in found.differences)]
    inside: list[Element] = [_facts(bundles, names, place)]
    for group in groups:
        rows = [one for one in found.differences if one.group == group]
        listed = table(
            place.id(f"compare-{group}"),
            _TITLES[group],
            ["figure", f"{names[0]} →", f"{names[1]} →", "difference →", "in words"],
            [_row(one, names) for one in rows],
        )
        drawn: list[Element] = []
        if group == "speed":
            drawn = latency_charts(
                [(f"{name}: {one.engine}", one) for name, report in zip(names, bundles, strict=True)
                 for one in report.bench], place,
            )  # fmt: skip
        elif group == "accuracy":
            drawn = front_chart(
                [(name, report.evaluation) for name, report in zip(names, bundles, strict=True)
                 if report.evaluation is not None], place,
            )  # fmt: skip
        inside.append(place.part(_TITLES[group], tag("p", _READING[group]), *drawn, listed))
    if found.notes:
        inside.append(place.part("Not compared", tag("ul", *(tag("li", clipped(note)) for note in found.notes))))
    return place.section("comparison", f"{names[0]} and {names[1]} side by side", *inside)


def names_of(bundles: Sequence[BundleReport]) -> list[str]:
    """What the bundles are called on the page: their names, with a number if both have the same."""
    names = [clipped(one.name) for one in bundles]
    return [f"{name} ({k + 1})" for k, name in enumerate(names)] if len(set(names)) < len(names) else names


def _facts(bundles: Sequence[BundleReport], names: Sequence[str], place: Place) -> Element:
    def row(what: str, *values: str) -> tuple[str, ...]:
        return (what, *values)

    models = [one.model for one in bundles]
    rows = [
        row("family", *(one.family for one in models)),
        row("width, layers, heads", *(f"{one.width:,}, {one.depth:,}, {one.heads:,}" for one in models)),
        row("images", *(one.sizing for one in models)),
        row("patches", *(f"{one.patch_px} px" for one in models)),
        row("classes", *(f"{one.labels:,}" for one in models)),
        row("engines", *(", ".join(engine.id for engine in one.engines) or "none" for one in bundles)),
        row("certificate", *map(verdict_of, bundles)),
    ]
    return table(place.id("compare-facts"), "What they are", ["", *names], rows)


def _row(one: Difference, names: Sequence[str]) -> tuple[str, ...]:
    around = ""
    if one.low is not None and one.high is not None:
        around = f" ({_signed(one.low, one.unit)} to {_signed(one.high, one.unit)})"
    return (
        one.what,
        _value(one.first, one.unit),
        _value(one.second, one.unit),
        _signed(one.value, one.unit) + around,
        _words(one, names),
    )


def _value(value: float, unit: str) -> str:
    if unit == "bytes":
        return bytes_text(round(value))
    if unit == "ms":
        return f"{ms_text(value)} ms"
    if unit == "%":
        return f"{value:.1f} %"
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2e}" if abs(value) < 1 else rate_text(value)


def _signed(value: float, unit: str) -> str:
    if value == 0:
        return "0"
    return ("+" if value > 0 else "\N{MINUS SIGN}") + _value(abs(value), unit).removesuffix(" %")


def _words(one: Difference, names: Sequence[str]) -> str:
    if one.better is not None:
        return f"{names[one.better]} is {'faster' if one.group == 'speed' else 'better'}: {one.why}"
    if one.verdict == "not shown":
        return f"no difference shown: {one.why}"
    if one.verdict == "no interval":
        return "no interval: nothing says how far it scatters"
    return "the same" if one.first == one.second else ""
