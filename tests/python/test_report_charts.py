"""Charts of `navit-edge report`: no text on another, no point where none is, colours that can be told apart."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import pytest

from navit_edge.report.chart import HEIGHT, WIDTH, Axis, Point, Series, chart
from navit_edge.report.scale import CHARACTER, Scale, apart, tick_text, ticks


def scales() -> list[Scale]:
    rng = np.random.default_rng(5)
    drawn = []
    for log in (False, True):
        for _ in range(100):
            low, high = np.sort(10.0 ** rng.uniform(-4, 6, 2))
            drawn.append(Scale(low=float(low), high=float(high * 1.01), start=50, end=600, log=log))
    return drawn


def test_an_axis_has_a_few_round_names_in_order_and_none_runs_into_another() -> None:
    for scale in scales():
        values = ticks(scale)
        assert 1 <= len(values) <= 14
        assert values == sorted(values)
        assert all(scale.low <= value * (1 + 1e-9) and value <= scale.high * (1 + 1e-9) for value in values)
        kept = apart(scale, values, letters_px=12, names=[tick_text(value) for value in values])
        assert kept[-1] == values[-1]
        edges = [(scale.at(one), len(tick_text(one)) * CHARACTER * 12 / 2) for one in kept]
        for (at, half), (after, other) in itertools.pairwise(edges):
            assert at + half < after - other


def texts_of(picture: Element) -> list[tuple[float, float, float, float]]:
    """Boxes of what stands beside points."""
    found = []
    for group in picture.iter("g"):
        for text in group.iter("text"):
            x, y, width = float(text.get("x", "")), float(text.get("y", "")), len(text.text or "") * CHARACTER * 12
            found.append((x, y - 12, x + width, y + 2))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_names_beside_points_cover_neither_points_nor_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [
        Point(x=float(x), y=float(y), text=f"{1e4 * y:.0f}") for x, y in zip(*rng.uniform(0.1, 9, (2, 40)), strict=True)
    ]
    picture = chart("a", "title", "says", Axis(label="x", log=True), Axis(label="y"), [Series(name="s", points=points)])
    assert picture is not None
    boxes = texts_of(picture)
    assert len(boxes) > 10
    places = re.findall(r"translate\(([\d.]+) ([\d.]+)\)", " ".join(one.get("transform", "") for one in
                        picture.iter("path")))  # fmt: skip
    assert len(places) == len(points)
    for at, one in enumerate(boxes):
        assert 0 <= one[0] <= one[2] <= WIDTH
        assert 0 <= one[1] <= one[3] <= HEIGHT
        for other in boxes[at + 1 :]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
        for x, y in places:
            assert not (one[0] < float(x) < one[2] and one[1] < float(y) < one[3])


def test_points_without_a_place_on_the_axes_are_left_out_and_an_empty_chart_is_none() -> None:
    axes = (Axis(label="x", log=True), Axis(label="y", log=True))
    odd = [Point(x=0, y=1), Point(x=1, y=-1), Point(x=1, y=float("nan")), Point(x=float("inf"), y=1)]
    assert chart("a", "t", "s", *axes, [Series(name="s", points=odd)]) is None
    made = chart("a", "t", "s", *axes, [Series(name="s", points=[*odd, Point(x=2, y=3)])])
    assert made is not None
    assert len(list(made.iter("path"))) == 1


def test_colours_can_be_told_from_the_paper_in_light_and_dark(repository: Path) -> None:
    """WCAG 2.2: 3 for pictures, 4.5 for text."""
    package = repository / "python/navit_edge"
    styles = [(package / folder / "style.css").read_text() for folder in ("page", "report")]
    for dark in (False, True):
        named: dict[str, str] = {}
        for style in styles:
            light, _, rest = style.partition("@media (prefers-color-scheme: dark)")
            for text in (light, rest.partition("} }")[0]) if dark else (light,):
                named |= dict(re.findall(r"--([\w-]+): (#\w+)", text))
        for name, least in [*((f"h{k}", 4.5) for k in range(6)), ("ink", 7), ("quiet", 4.5), ("warn", 4.5)]:
            assert contrast(named[name], named["paper"]) >= least, (name, dark)


def contrast(one: str, other: str) -> float:
    """Of two colours, #rgb or #rrggbb."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
