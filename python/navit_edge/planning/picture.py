"""A plan as a picture: a row for each pack, a block for each image, as wide as its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from navit_edge.picture import check_picture, picture_text, write_picture

if TYPE_CHECKING:
    from navit_edge.planning import Plan, PlanLimits

_COLOURS = ("#1f5fa8", "#2f7d4f", "#b0632a", "#7a4b94", "#3b8ea5", "#a03d52")
_LATE, _ROOM, _GREY = "#c62828", "#eceff1", "#8a8f98"
#: Rows that can be told apart on one picture.
MOST_ROWS = 60


def draw(
    plan: Plan, limits: PlanLimits, names: Sequence[str], tokens: Sequence[int], *, title: str, path: Path
) -> None:
    """Writes a PNG. Of more than MOST_ROWS packs the first are drawn, and the picture says so."""
    check_picture(path, purpose="plan --plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = plan.packs[:MOST_ROWS]
    figure = Figure(figsize=(11, 1.5 + 0.3 * len(shown)), layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    widest = max(_room(limits, pack.tokens, pack.budget) for pack in shown)
    late = set(plan.late)
    for row, pack in enumerate(shown):
        axes.barh(row, _room(limits, pack.tokens, pack.budget), height=0.72, color=_ROOM, edgecolor="#cfd4d9")
        left = 0
        for place, image in enumerate(pack.images):
            colour = _LATE if image in late else _COLOURS[place % len(_COLOURS)]
            axes.barh(row, tokens[image], left=left, height=0.72, color=colour, edgecolor="white", linewidth=0.8)
            if tokens[image] > 0.06 * widest:
                text = picture_text(Path(names[image]).stem[: max(3, int(90 * tokens[image] / widest))])
                axes.text(left + tokens[image] / 2, row, text, ha="center", va="center", color="white", fontsize=7)
            left += tokens[image]
        axes.text(widest * 1.01, row, f"{pack.predicted_ms:.1f} ms", va="center", fontsize=8, color=_GREY)
    axes.set_yticks(range(len(shown)), [f"pack {row}" for row in range(len(shown))], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.1)
    axes.set_xlabel("tokens (grey: free, and computed if packs are padded to their budget)", fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    left_out = f"; the first {len(shown)} of {len(plan.packs)} packs" if len(shown) < len(plan.packs) else ""
    marked = "; red: late" if late else ""
    axes.set_title(
        f"{picture_text(title)}: {len(tokens)} images in {len(plan.packs)} packs, predicted {plan.predicted_ms:.1f} ms"
        f"{left_out}{marked}",
        loc="left",
        fontsize=11,
    )
    write_picture(canvas, path, dpi=150)


def _room(limits: PlanLimits, tokens: int, budget: int) -> int:
    """As wide as the pack may get: its budget, or where filling stops if T is the pack's own."""
    most, _, target, _ = limits.budgets[budget]
    return max(tokens, target) if limits.cost.dynamic_tokens else most
