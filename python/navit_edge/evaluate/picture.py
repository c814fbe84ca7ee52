"""Accuracy against time, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.errors import InvalidInputError
from navit_edge.picture import check_picture, picture_text, write_picture

if TYPE_CHECKING:
    from navit_edge.evaluate.report import Report, Row

_GREY = "#8a8f98"
#: One an engine, told apart by those who see no red or green (Okabe and Ito).
_COLOURS = ("#1f5fa8", "#d55e00", "#2f7d4f", "#9b4f96", "#6b6b00", "#444444")
#: One a policy.
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_PURPOSE = "evaluate --plot"
#: About the size of the axes, in points.
_SIZE_PT = (430, 280)


def plot(report: Report, path: Path) -> None:
    """Writes a PNG: a point for each row with its interval, the Pareto front as a line.

    Raises InvalidInputError if no row has been timed, and what ``check_picture`` raises.
    """
    check_picture(path, purpose=_PURPOSE)
    rows = [row for row in report.rows if row.timing is not None]
    if not rows:
        raise InvalidInputError("no row has times to be drawn; evaluate without --timed-images 0")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    title = picture_text(f"{report.bundle}: top-1 against time, {_head_words(report)}")
    figure.suptitle(title, x=0.008, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel("\n".join(map(picture_text, _small_print(report))), x=0.008, ha="left", fontsize=8, color=_GREY)
    _draw_front(axes, rows)
    _draw_rows(axes, rows)
    _dress(axes, rows)
    write_picture(FigureCanvasAgg(figure), path, dpi=160)


def time_ms(row: Row) -> float:
    """Of an image, many in one run."""
    assert row.timing is not None
    return 1e3 / row.timing.images_per_s


def _draw_front(axes: Any, rows: Sequence[Row]) -> None:
    front = sorted((time_ms(row), 100 * row.top1.value) for row in rows if row.timing and row.timing.pareto)
    axes.plot(
        [x for x, _ in front], [y for _, y in front], color=_GREY, linewidth=1.4, linestyle=(0, (5, 3)), zorder=1,
        label="Pareto front",
    )  # fmt: skip


def _draw_rows(axes: Any, rows: Sequence[Row]) -> None:
    engines = list(dict.fromkeys(row.engine for row in rows))
    policies = list(dict.fromkeys(row.policy for row in rows))
    for row in rows:
        colour = _COLOURS[engines.index(row.engine) % len(_COLOURS)]
        marker = _MARKERS[policies.index(row.policy) % len(_MARKERS)]
        on_front = row.timing is not None and row.timing.pareto
        x, y = time_ms(row), 100 * row.top1.value
        below, above = 100 * (row.top1.value - row.top1.low), 100 * (row.top1.high - row.top1.value)
        axes.errorbar(
            [x], [y], yerr=[[max(0.0, below)], [max(0.0, above)]], color=colour, marker=marker, markersize=6.5,
            markerfacecolor=colour if on_front else "white", ecolor=f"{colour}80", elinewidth=1.1, capsize=3, zorder=3,
        )  # fmt: skip
    _draw_tokens(axes, rows, [_COLOURS[engines.index(row.engine) % len(_COLOURS)] for row in rows])
    for place, engine in enumerate(engines):
        axes.plot([], [], color=_COLOURS[place % len(_COLOURS)], marker="o", linestyle="", label=picture_text(engine))
    if len(policies) > 1:
        for place, policy in enumerate(policies):
            axes.plot(
                [], [], color=_GREY, marker=_MARKERS[place % len(_MARKERS)], linestyle="", label=picture_text(policy)
            )
    figure = axes.get_figure()
    figure.legend(handles=axes.get_legend_handles_labels()[0], frameon=False, loc="outside right center", fontsize=9)


def _draw_tokens(axes: Any, rows: Sequence[Row], colours: Sequence[str]) -> None:
    """Beside each point, on the first side where it covers no point and no other number, if there is one."""
    from matplotlib.patheffects import withStroke

    times = [math.log(time_ms(row)) for row in rows]
    heights = [row.top1.value for row in rows]
    low, high = min(row.top1.low for row in rows), max(row.top1.high for row in rows)
    # About where the points lie, in points of text (1/72 inch).
    across, along = _SIZE_PT[0] / max(max(times) - min(times), 0.4), _SIZE_PT[1] / max(1.2 * (high - low), 0.01)
    points = [(x * across, y * along) for x, y in zip(times, heights, strict=True)]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    for row, (x, y), colour in zip(rows, points, colours, strict=True):
        text = f"{row.tokens_per_image:.0f}"
        sides = [(6.0, 4.0), (6.0, -11.0), (-6.0 - 5 * len(text), 4.0), (-6.0 - 5 * len(text), -11.0)]
        boxes = [(x + dx, y + dy, x + dx + 5 * len(text), y + dy + 7) for dx, dy in sides]
        free = [place for place, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)]
        best = free[0] if free else 0
        taken.append(boxes[best])
        axes.annotate(
            text, (time_ms(row), 100 * row.top1.value), xytext=sides[best], textcoords="offset points", fontsize=8,
            color=colour, path_effects=[withStroke(linewidth=2, foreground="white")], zorder=4,
        )  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _dress(axes: Any, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    times = [time_ms(row) for row in rows]
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 1.25, max(times) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = min(row.top1.low for row in rows), max(row.top1.high for row in rows)
    room = 8 * max(high - low, 0.01)
    axes.set_ylim(max(-2.0, 100 * low - room), min(102.0, 100 * high + room))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("milliseconds an image, many in one run; decoding not counted")
    axes.set_ylabel("top-1, %")
    axes.grid(color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _head_words(report: Report) -> str:
    neighbors = f" of {report.neighbors} neighbours" if report.neighbors is not None else ""
    words = {
        "knn": f"votes{neighbors}",
        "linear": "linear probe",
        "retrieval": "nearest other image",
        "zero-shot": "nearest text",
    }
    return words.get(report.head, "classifier")


def _small_print(report: Report) -> list[str]:
    devices = ", ".join(dict.fromkeys(row.device for row in report.rows))
    return [
        f"{report.data.images:,} images of {report.data.classes:,} classes; bars: {report.confidence:.0%} intervals "
        "(Wilson); numbers: mean tokens an image; filled: on the front",
        f"{devices}; navit-edge {report.versions.get('navit-edge', '?')}",
    ]
