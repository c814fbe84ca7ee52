"""Section: how good the answers are, and what they take: the rows of evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from navit_edge.evaluate.report import Comparison, Report, Row, points_text
from navit_edge.page.elements import tag
from navit_edge.report.chart import Axis, Point, Series, chart, legend
from navit_edge.report.fast import MOST_LINES
from navit_edge.report.parts import (
    Place,
    clipped,
    count_text,
    facts,
    figure,
    ms_text,
    percent_text,
    rate_text,
    share_text,
    table,
)

_HEADS = {
    "auto": "the classifier",
    "classifier": "the classifier",
    "knn": "nearest neighbours",
    "linear": "a linear probe",
    "retrieval": "the nearest other image",
    "zero-shot": "the nearest text",
}


def good_section(found: Report | None, place: Place) -> Element:
    if found is None:
        return place.section("good", "How good", tag("p", "Not evaluated."))
    drawn = front_chart([("", found)], place)
    data = found.data
    policies = policies_of(found)
    return place.section(
        "good",
        "How good",
        facts(
            [
                ("data", f"{count_text(data.images, 'image')} of {data.classes:,} classes"),
                ("classes by", _HEADS.get(found.head, found.head)),
                ("policy", policies[0] if len(policies) == 1 else ""),
                ("intervals", f"{percent_text(found.confidence)}, Wilson"),
                ("a loss that matters", f"{points_text(found.margin)} of top-1"),
                ("measured on", found.host.get("cpu", "")),
            ]
        ),
        *drawn,
        table(place.id("evaluation"), "Every engine, policy and token cap", *_rows(found)),
        tag("p", _reading(found), cls="quiet"),
        _recalls(found, place),
        tag("ul", *(tag("li", clipped(note)) for note in found.notes[:12])) if found.notes else None,
    )


def policies_of(found: Report) -> list[str]:
    return list(dict.fromkeys(row.policy for row in found.rows))


def front_chart(named: Sequence[tuple[str, Report]], place: Place) -> list[Element]:
    """Top-1 against the time of an image; the Pareto front of each report. Name "": the only one."""
    series, fronts = [], []
    for name, found in named:
        timed = [row for row in found.rows if row.timing is not None and row.timing.images_per_s > 0]
        prefix = f"{name}: " if name else ""
        for engine in dict.fromkeys(row.engine for row in timed):
            points = [_point(row) for row in timed if row.engine == engine]
            series.append(Series(name=f"{prefix}{engine}", points=points, line=False))
        front = sorted((time_ms(row), 100 * row.top1.value) for row in timed if row.timing and row.timing.pareto)
        if len(front) > 1:
            points = [Point(x=x, y=y) for x, y in front]
            fronts.append(Series(name=f"{prefix}Pareto front", points=points, marks=False, quiet=True))
    shown = [*series[:MOST_LINES], *fronts]
    drawn = chart(
        place.id("front"),
        "Top-1 against the time of an image",
        "A point for each row of the table below, with the interval of its top-1.",
        Axis(label="milliseconds an image, many in one run; decoding not counted", log=True),
        _percent_axis(),
        shown,
    )
    made = figure(
        "Up and to the left is better. Bars: intervals of top-1. Numbers: mean tokens an image. Filled: on the Pareto "
        "front, that is, no other row is as right and as fast and better in one of the two.",
        drawn,
        legend(shown),
    )
    return [] if made is None else [made]


def _percent_axis() -> Axis:
    return Axis(label="top-1, %", zoomed=True)


def _point(row: Row) -> Point:
    return Point(
        x=time_ms(row),
        y=100 * row.top1.value,
        low=100 * row.top1.low,
        high=100 * row.top1.high,
        text=f"{row.tokens_per_image:.0f}",
        hollow=row.timing is None or not row.timing.pareto,
    )


def time_ms(row: Row) -> float:
    """Of an image, many in one run."""
    assert row.timing is not None
    return 1e3 / row.timing.images_per_s


def _rows(found: Report) -> tuple[list[str], list[tuple[str, ...]]]:
    several = len(policies_of(found)) > 1
    heads = ["engine", "policy", "most patches →", "tokens an image →", "top-1 →", "top-5 →",
             "against float32 →", "in words", "images/s →", "p50 ms →", "p99 ms →",
             "on the front"]  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            row.engine,
            row.policy if several else "",
            "" if row.cap is None else f"{row.cap:,}",
            f"{row.tokens_per_image:.1f}",
            share_text(row.top1),
            "" if row.top5 is None else share_text(row.top5),
            *_against(found, row),
            "" if row.timing is None else rate_text(row.timing.images_per_s),
            "" if row.timing is None else ms_text(row.timing.p50_ms),
            "" if row.timing is None else ms_text(row.timing.p99_ms),
            "yes" if row.timing is not None and row.timing.pareto else "",
        )
        for row in found.rows
    ]
    return heads, rows


def _recalls(found: Report, place: Place) -> Element | None:
    """Whether an image of the same class is among the nearest others; None if that was not asked."""
    ks = list(dict.fromkeys(k for row in found.rows for k in row.recall))
    if not ks:
        return None
    rows = [
        (
            row.engine,
            row.policy,
            "" if row.cap is None else f"{row.cap:,}",
            *(share_text(row.recall[k]) if k in row.recall else "" for k in ks),
        )
        for row in found.rows
    ]
    heads = ["engine", "policy", "most patches →", *(f"recall@{k} →" for k in ks)]
    return table(place.id("recall"), "An image of the same class among the k nearest others", heads, rows)


def _against(found: Report, row: Row) -> tuple[str, str]:
    """The difference of top-1 from the reference with its interval, and the verdict."""
    one: Comparison | None = row.against_reference
    if one is None:
        is_reference = found.reference is not None and found.rows[found.reference] is row
        return "", "the reference" if is_reference else ""
    change = one.difference
    return f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f})", one.verdict


def _reading(found: Report) -> str:
    if found.reference is None:
        return "Nothing says what a precision costs: no float32 engine was evaluated."
    return (
        "Against float32: points of top-1 over the images that both rows answered, with the interval of the paired "
        f'difference. "no loss": the interval leaves out a loss of {points_text(found.margin)}. "too few images": it '
        'does not. "worse" and "better" are said only if McNemar\'s test says so, for all rows together (Holm).'
    )
