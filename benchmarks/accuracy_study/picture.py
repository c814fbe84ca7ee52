"""Accuracy against the time of an image, with the Pareto front of each head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_COLOURS = {"fp32": "#1f5fa8", "bf16": "#d55e00", "int8": "#2f7d4f"}
_GREY = "#8a8f98"
_PANELS = (("knn", "votes of {} neighbours"), ("linear", "linear probe"))
#: Where the label of a point is, in points: caps on the right below it, policies on the left above.
_BELOW, _ABOVE = (4, -10), (-4, 5)


def draw(found: dict[str, Any], path: Path) -> None:
    """Writes an SVG file, the same for the same figures."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = [row for row in found["rows"] if row["ms"] is not None]
    smoothed = {row["key"] for row in rows if row["precision"] == "int8"}
    rows = [row for row in rows if row["key"].replace("-plain", "") not in smoothed - {row["key"]}]
    with matplotlib.rc_context({"svg.hashsalt": "accuracy", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(10, 4.6), layout="constrained", facecolor="white")
        panels = figure.subplots(1, 2)
        for axes, (head, words) in zip(panels, _PANELS, strict=True):
            _draw(axes, rows, head)
            axes.set_ylabel("top-1, %")
            axes.set_title(words.format(found["neighbors"]), loc="left", fontsize=11)
        handles = panels[0].get_legend_handles_labels()[0]
        figure.legend(handles=handles, frameon=False, loc="outside lower center", ncols=5, fontsize=9)
        sample = found["sample"]
        figure.suptitle(
            f"DINOv2 ViT-S/14 on clip art: {sample['test']} test images of {len(sample['classes'])} classes, 95 % "
            "intervals (Wilson); numbers: the token cap; filled: on the front",
            x=0.01, ha="left", fontsize=10, color="#333333",
        )  # fmt: skip
        figure.savefig(path, format="svg", metadata={"Date": None})
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def front(rows: Sequence[dict[str, Any]], head: str) -> list[dict[str, Any]]:
    """The rows that no other beats in accuracy and time, fastest first."""
    kept: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["ms"], -row[head]["top1"]["value"])):
        if not kept or row[head]["top1"]["value"] > kept[-1][head]["top1"]["value"]:
            kept.append(row)
    return kept


def _draw(axes: Any, rows: Sequence[dict[str, Any]], head: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    best = front(rows, head)
    axes.plot(
        [row["ms"] for row in best], [100 * row[head]["top1"]["value"] for row in best], color=_GREY, linewidth=1.2,
        linestyle=(0, (5, 3)), zorder=1, label="Pareto front",
    )  # fmt: skip
    for row in rows:
        top1, policy = row[head]["top1"], row["group"] == "policies"
        low, value, high = (100 * top1[name] for name in ("low", "value", "high"))
        colour = _COLOURS[row["precision"]]
        axes.errorbar(
            [row["ms"]], [value], yerr=[[value - low], [high - value]], color=colour, marker="s" if policy else "o",
            markersize=6, markerfacecolor=colour if row in best else "white", ecolor=f"{colour}50", elinewidth=1.0,
            capsize=2, zorder=3,
        )  # fmt: skip
        axes.annotate(
            row["name"] if policy else str(row["cap"]), (row["ms"], value), xytext=_ABOVE if policy else _BELOW,
            textcoords="offset points", ha="right" if policy else "left", fontsize=8, color=colour, zorder=4,
        )  # fmt: skip
    for precision, colour in _COLOURS.items():
        axes.plot([], [], color=colour, marker="o", linestyle="", label=precision)
    axes.plot([], [], color=_COLOURS["fp32"], marker="s", linestyle="", label="fp32, a policy")
    axes.set_xscale("log")
    axes.margins(x=0.09)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("milliseconds of processor time an image")
    axes.grid(color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
