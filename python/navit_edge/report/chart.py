"""Points and lines over two axes, as SVG. Colours and sizes of letters are those of style.css."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from navit_edge.page.elements import tag
from navit_edge.report.scale import CHARACTER, Scale, apart, spanning, tick_text, ticks

WIDTH, HEIGHT = 640, 320
LETTERS_PX = 12
HUES = 6  #: of style.css
_TOP, _BOTTOM, _RIGHT = 12, 44, 18
_MARK = 4.2
#: One for each series beside its colour, around (0, 0), for those who see few colours.
_MARKS = (
    "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0Z",
    "M-3.8-3.8h7.6v7.6h-7.6Z",
    "M0-5.4L5.4 0L0 5.4L-5.4 0Z",
    "M0-5L5 4H-5Z",
    "M0 5L5-4H-5Z",
    "M-1.7-5h3.4v3.3H5v3.4H1.7V5h-3.4V1.7H-5v-3.4h3.3Z",
)
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 4")

Place = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Point:
    """low, high: of an interval of y, or of what lies between; None if there is none. text: stands beside the point."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Series:
    """points: in the order in which a line joins them. line: whether one does; intervals are a band then, else bars."""

    name: str
    points: Sequence[Point]
    line: bool = True
    marks: bool = True
    quiet: bool = False  # a line in grey, without a colour of its own


@dataclass(frozen=True, kw_only=True)
class Axis:
    """label: with the unit. named: values that are to be named, in place of round ones. zoomed: need not begin at 0."""

    label: str
    log: bool = False
    zoomed: bool = False
    named: Sequence[float] = ()


def chart(name: str, title: str, says: str, x: Axis, y: Axis, series: Sequence[Series]) -> Element | None:
    """name: an id of the page. title, says: for those who cannot see it. None if there is nothing that can be drawn."""
    series = [_drawable(one, x, y) for one in series]
    points = [point for one in series for point in one.points]
    if not points:
        return None
    heights = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    up = spanning(heights, log=y.log, zoomed=y.zoomed, start=HEIGHT - _BOTTOM, end=_TOP)
    shown_y = [(value, tick_text(value)) for value in ticks(up, most=6)]
    left = 34 + max(len(text) for _, text in shown_y or [(0.0, "")]) * CHARACTER * LETTERS_PX
    along = spanning([point.x for point in points], log=x.log, start=left, end=WIDTH - _RIGHT)
    parts = [*_frame(along, up, x, y, shown_y)]
    taken: list[Place] = [(p - 5, q - 5, p + 5, q + 5) for p, q in _places(series, along, up)]
    hue = 0
    for one in series:
        parts.append(_series(one, along, up, hue))
        parts.append(_texts(one, along, up, hue, taken))
        hue += not one.quiet
    return picture(name, title, says, parts, HEIGHT)


def picture(name: str, title: str, says: str, parts: Sequence[Element], height: float) -> Element:
    """The SVG of a chart, with its words for a reader of screens."""
    return tag(
        "svg", tag("title", title, id=f"{name}-title"), tag("desc", says, id=f"{name}-says"), *parts,
        viewBox=f"0 0 {WIDTH} {height:g}", role="img", **{"aria-labelledby": f"{name}-title {name}-says"},
    )  # fmt: skip


def legend(series: Sequence[Series]) -> Element:
    """Which mark is whose, as a list beside the chart, where no name covers a point."""
    items = []
    hue = 0
    for one in series:
        cls = "quiet" if one.quiet else f"hue{hue % HUES}"
        inside = [tag("path", d="M0 8H26", cls="line", **_dash(hue, quiet=one.quiet))] if one.line else []
        if one.marks:
            inside.append(tag("path", d=_MARKS[hue % HUES], cls="mark", transform="translate(13 8)"))
        swatch = tag("svg", *inside, viewBox="0 0 26 16", width="26", height="16", **{"aria-hidden": "true"})
        items.append(tag("li", swatch, " ", one.name, cls=cls))
        hue += not one.quiet
    return tag("ul", *items, cls="legend")


def _drawable(series: Series, x: Axis, y: Axis) -> Series:
    """Without points that have no place on the axes: no finite numbers, or 0 and less on a logarithmic one."""

    def has_a_place(point: Point) -> bool:
        heights = [one for one in (point.y, point.low, point.high) if one is not None]
        finite = all(math.isfinite(one) for one in (point.x, *heights))
        return finite and (not x.log or point.x > 0) and (not y.log or min(heights) > 0)

    kept = [point for point in series.points if has_a_place(point)]
    return Series(name=series.name, points=kept, line=series.line, marks=series.marks, quiet=series.quiet)


def _frame(along: Scale, up: Scale, x: Axis, y: Axis, shown_y: Sequence[tuple[float, str]]) -> list[Element]:
    """Both axes with their names and values, and lines across."""
    parts = []
    for value, text in shown_y:
        at = up.at(value)
        parts.append(_line(along.start, at, along.end, at, "grid"))
        parts.append(tag("text", text, x=_n(along.start - 7), y=_n(at + 4), cls="end"))
    wanted = sorted(set(x.named)) or ticks(along)
    for value in apart(along, wanted, letters_px=LETTERS_PX, names=[tick_text(one) for one in wanted]):
        at = along.at(value)
        parts.append(_line(at, up.start, at, up.start + 4, "axis"))
        parts.append(tag("text", tick_text(value), x=_n(at), y=_n(up.start + 18), cls="middle"))
    parts.append(_line(along.start, up.start, along.end, up.start, "axis"))
    middle = (along.start + along.end) / 2
    parts.append(tag("text", x.label, x=_n(middle), y=_n(up.start + 38), cls="middle name"))
    middle = (up.start + up.end) / 2
    parts.append(tag("text", y.label, cls="middle name", transform=f"translate(13 {_n(middle)}) rotate(-90)"))
    return parts


def _places(series: Sequence[Series], along: Scale, up: Scale) -> list[tuple[float, float]]:
    return [(along.at(point.x), up.at(point.y)) for one in series if one.marks for point in one.points]


def _series(one: Series, along: Scale, up: Scale, hue: int) -> Element:
    parts = []
    places = [(along.at(point.x), up.at(point.y)) for point in one.points]
    ranges = [
        (at, up.at(point.low), up.at(point.high))
        for (at, _), point in zip(places, one.points, strict=True)
        if point.low is not None and point.high is not None
    ]
    if one.line and len(ranges) > 1:
        around = [(at, low) for at, low, _ in ranges] + [(at, high) for at, _, high in reversed(ranges)]
        parts.append(tag("path", d=_path(around) + "Z", cls="band"))
    elif not one.line:
        parts += [_bar(at, low, high) for at, low, high in ranges]
    if one.line and len(places) > 1:
        parts.append(tag("path", d=_path(places), cls="line", **_dash(hue, quiet=one.quiet)))
    if one.marks:
        parts += [
            tag("path", d=_MARKS[hue % HUES], cls="mark hollow" if point.hollow else "mark",
                transform=f"translate({_n(at)} {_n(height)})")
            for (at, height), point in zip(places, one.points, strict=True)
        ]  # fmt: skip
    return tag("g", *parts, cls="quiet" if one.quiet else f"hue{hue % HUES}")


def _bar(at: float, low: float, high: float) -> Element:
    """An interval, with its ends."""
    ends = "".join(f"M{_n(at - 4)} {_n(end)}h8" for end in (low, high))
    return tag("path", d=f"M{_n(at)} {_n(low)}V{_n(high)}{ends}", cls="bar")


def _texts(one: Series, along: Scale, up: Scale, hue: int, taken: list[Place]) -> Element:
    """Beside each point on the first side where its text covers no point and no other text; else it is left out, and
    the table has it."""
    parts = []
    for point in one.points:
        if not point.text:
            continue
        at, height = along.at(point.x), up.at(point.y)
        width = len(point.text) * CHARACTER * LETTERS_PX
        sides = [(8.0, -6.0), (-8.0 - width, -6.0), (8.0, 15.0), (-8.0 - width, 15.0), (-width / 2, -9.0)]
        for dx, dy in sides:
            box = (at + dx, height + dy - LETTERS_PX, at + dx + width, height + dy + 2)
            inside = box[0] >= along.start and box[2] <= WIDTH and box[1] >= 0 and box[3] <= up.start
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(tag("text", point.text, x=_n(at + dx), y=_n(height + dy)))
                break
    return tag("g", *parts, cls="quiet" if one.quiet else f"hue{hue % HUES}")


def _overlap(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _dash(hue: int, *, quiet: bool) -> dict[str, str]:
    dashes = "5 4" if quiet else _DASHES[hue % HUES]
    return {"stroke-dasharray": dashes} if dashes else {}


def _line(x1: float, y1: float, x2: float, y2: float, cls: str) -> Element:
    return tag("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), cls=cls)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)


def _n(value: float) -> str:
    return f"{value:.1f}"
