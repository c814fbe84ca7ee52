"""Draws which images share a pass: one bar per pack, one colour per image, its thumbnail and grid on its segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 14.0
BAR_IN = 1.0  # height of a bar
GAP_IN = 0.42  # between bars: names of segments too narrow for their name go here
HEAD_IN = 0.8  # title of a panel
FOOT_IN = 0.75  # its axis
LEFT_IN, RIGHT_IN = 0.95, 0.35
MARGIN_IN = 0.09  # around a picture
#: Muted colours, dark text on each is legible.
COLOURS = (
    "#8ecae6", "#ffd166", "#b7e4c7", "#f4a6a6", "#cdb4db", "#ffd6a5", "#a3c4f3",
    "#d4e09b", "#f1c0e8", "#90dbf4", "#e5989b", "#b9fbc0", "#e9c46a", "#c8d5b9",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One image of a pack."""

    image: int  # index into the images
    name: str
    grid: tuple[int, int]  # rows, columns
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One pack: what lies in it, and how many tokens the engine computes on (what no image fills is padding)."""

    segments: Sequence[Segment]
    capacity_tokens: int

    @property
    def used_tokens(self) -> int:
        return sum(segment.tokens for segment in self.segments)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """All packs of one engine. ``limit_tokens`` is where the planner stops filling: the end of the axis."""

    title: str
    subtitle: str
    bars: Sequence[Bar]
    limit_tokens: int


def draw(panels: Sequence[Panel], thumbnails: Sequence[Any], path: Path) -> None:
    """Writes the picture as PNG. ``thumbnails`` are PIL images, one per image."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    heights = [HEAD_IN + len(panel.bars) * (BAR_IN + GAP_IN) + FOOT_IN for panel in panels]
    total = sum(heights)
    with mpl.rc_context({"font.family": "DejaVu Sans", "hatch.linewidth": 0.7}):
        figure = Figure(figsize=(WIDTH_IN, total), dpi=130, facecolor="white")
        top = total
        for panel, height in zip(panels, heights, strict=True):
            bars_in = len(panel.bars) * (BAR_IN + GAP_IN)
            box = (
                LEFT_IN / WIDTH_IN,
                (top - HEAD_IN - bars_in) / total,
                1 - (LEFT_IN + RIGHT_IN) / WIDTH_IN,
                bars_in / total,
            )
            _draw_panel(figure.add_axes(box), panel, thumbnails)
            left = LEFT_IN / WIDTH_IN
            figure.text(left, (top - 0.38) / total, panel.title, fontsize=15, weight="bold", va="center")
            figure.text(left, (top - 0.7) / total, panel.subtitle, fontsize=10.5, color="#444", va="center")
            top -= height
        figure.savefig(path)


def _draw_panel(axes: Axes, panel: Panel, thumbnails: Sequence[Any]) -> None:
    """The bars of one engine. Vertical unit: inches, the first pack on top."""
    pitch = BAR_IN + GAP_IN
    widest = max(panel.limit_tokens, *(bar.capacity_tokens for bar in panel.bars))
    axes.set_xlim(0, widest)
    axes.set_ylim(0, len(panel.bars) * pitch)
    inches_per_token = (WIDTH_IN - LEFT_IN - RIGHT_IN) / widest
    for index, bar in enumerate(panel.bars):
        bottom = (len(panel.bars) - 1 - index) * pitch
        start = 0
        label_end_in = 0.0  # right end of the last name above the bar
        taken_in = 0.0  # to the right of the last segment
        for segment in bar.segments:
            last = segment is bar.segments[-1]
            room_in = (widest - start - segment.tokens) * inches_per_token if last else 0.0
            pen = _Pen(axes, start, bottom, inches_per_token)
            label_end_in, taken_in = _draw_segment(pen, segment, thumbnails[segment.image], room_in, label_end_in)
            start += segment.tokens
        _draw_rest(axes, start, bar.capacity_tokens, widest, bottom, inches_per_token, taken_in)
    axes.set_yticks([(len(panel.bars) - 1 - i) * pitch + BAR_IN / 2 for i in range(len(panel.bars))])
    axes.set_yticklabels(
        [f"pack {i}\n{bar.used_tokens / bar.capacity_tokens:.0%} full" for i, bar in enumerate(panel.bars)], fontsize=10
    )
    step = next(s for s in (64, 128, 256, 512, 1024, 4096, 16384, 1 << 30) if widest / s <= 9)
    axes.set_xticks(range(0, widest + 1, step))
    axes.set_xlabel("tokens (one token is one patch)", fontsize=10.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


@dataclass(frozen=True)
class _Pen:
    """Draws at inches from the lower left corner of a segment."""

    axes: Axes
    start_tokens: int
    bottom_in: float
    inches_per_token: float

    def text(self, x_in: float, y_in: float, content: str, **style: Any) -> None:
        x = self.start_tokens + x_in / self.inches_per_token
        self.axes.text(x, self.bottom_in + y_in, content, color="#1b1b1b", zorder=4, **style)

    def picture(self, x_in: float, y_in: float, height_in: float, thumbnail: Any) -> None:
        width = height_in * thumbnail.width / thumbnail.height / self.inches_per_token
        x, y = self.start_tokens + x_in / self.inches_per_token, self.bottom_in + y_in
        extent = (x, x + width, y, y + height_in)
        self.axes.imshow(thumbnail, extent=extent, aspect="auto", zorder=3, interpolation="lanczos")


def _draw_segment(
    pen: _Pen, segment: Segment, thumbnail: Any, room_in: float, label_end_in: float
) -> tuple[float, float]:
    """``room_in``: inches free to the right; ``label_end_in``: from there on no name stands above the bar yet.

    Returns the new end of the names above, and the inches used to the right of the segment.
    """
    from matplotlib.patches import Rectangle

    colour = COLOURS[segment.image % len(COLOURS)]
    corner = (pen.start_tokens, pen.bottom_in)
    pen.axes.add_patch(Rectangle(corner, segment.tokens, BAR_IN, facecolor=colour, edgecolor="white", linewidth=1.5))
    start_in, width_in = pen.start_tokens * pen.inches_per_token, segment.tokens * pen.inches_per_token
    aspect = thumbnail.width / thumbnail.height
    full_in = BAR_IN - 2 * MARGIN_IN  # height of a picture that takes the whole bar
    grid = "{} × {}".format(*segment.grid)

    text_x_in = 2 * MARGIN_IN + full_in * aspect
    if width_in - text_x_in - MARGIN_IN > 1.15:  # picture and text side by side
        pen.picture(MARGIN_IN, MARGIN_IN, full_in, thumbnail)
        pen.text(text_x_in, 0.72, segment.name, fontsize=11, weight="bold", va="center")
        pen.text(text_x_in, 0.47, f"{grid} patches", fontsize=9, va="center")
        pen.text(text_x_in, 0.27, f"{segment.tokens} tokens", fontsize=9, va="center")
        return label_end_in, 0.0
    beside_in = 0.6 * full_in  # height of a picture to the right of its segment
    if width_in < 0.35 and room_in > beside_in * aspect + 1.5:  # both to the right, where no image lies
        text_x_in = width_in + beside_in * aspect + 2 * MARGIN_IN
        pen.picture(width_in + MARGIN_IN, (BAR_IN - beside_in) / 2, beside_in, thumbnail)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        pen.text(text_x_in, 0.6, f"← {segment.name}", fontsize=9, weight="bold", va="center", bbox=box)
        pen.text(text_x_in, 0.4, f"{grid}, {segment.tokens} tokens", fontsize=8.5, va="center", bbox=box)
        return label_end_in, beside_in * aspect + 1.5
    picture_in = min(full_in, (width_in - 2 * MARGIN_IN) / aspect)
    if picture_in > 0.03:
        pen.picture((width_in - picture_in * aspect) / 2, (BAR_IN - picture_in) / 2, picture_in, thumbnail)
    for label, weight, size in ((f"{segment.name} {grid}", "bold", 0.088), (segment.name, "normal", 0.068)):
        left_in = start_in + (width_in - size * len(label)) / 2
        if left_in >= label_end_in and (weight == "normal" or size * len(label) < width_in):
            pen.text(width_in / 2, BAR_IN + 0.03, label, fontsize=8.5, weight=weight, ha="center", va="bottom")
            return left_in + size * len(label), 0.0
    pen.text(width_in / 2, -0.04, segment.name, fontsize=8, ha="center", va="top")
    return label_end_in, 0.0


def _draw_rest(
    axes: Axes, used: int, capacity: int, limit: int, bottom: float, inches_per_token: float, taken_in: float
) -> None:
    """Padding that the engine computes on (hatched), then room that costs nothing (outlined)."""
    from matplotlib.patches import Rectangle

    free = used + taken_in / inches_per_token  # from here on there is room for text

    if capacity > used:
        style: dict[str, Any] = {"facecolor": "#eeeeee", "edgecolor": "#9a9a9a", "hatch": "////", "linewidth": 0}
        axes.add_patch(Rectangle((used, bottom), capacity - used, BAR_IN, **style))
        if (capacity - free) * inches_per_token > 1.6:
            axes.text(
                (free + capacity) / 2, bottom + BAR_IN / 2, f"padding, {capacity - used} tokens", fontsize=9.5,
                ha="center", va="center", color="#333", bbox={"facecolor": "white", "edgecolor": "none", "pad": 2.5},
            )  # fmt: skip
    if limit > capacity:
        axes.add_patch(
            Rectangle((capacity, bottom), limit - capacity, BAR_IN, facecolor="none", edgecolor="#bbbbbb", ls=":", lw=1)
        )
        if (limit - max(free, capacity)) * inches_per_token > 1.4:
            axes.text(
                (max(free, capacity) + limit) / 2, bottom + BAR_IN / 2, "not computed", fontsize=9.5,
                ha="center", va="center", color="#888",
            )  # fmt: skip
