"""Latency and throughput against tokens, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.bench.measure import ms_text
from navit_edge.picture import check_picture, picture_text, write_picture

if TYPE_CHECKING:
    from navit_edge.bench.compare import CompareReport
    from navit_edge.bench.suite import BenchReport

_BLUE, _GREEN, _GREY = "#1f5fa8", "#2f7d4f", "#8a8f98"
#: One an engine, told apart by those who see no red or green (Okabe and Ito).
_COLOURS = ("#1f5fa8", "#d55e00", "#2f7d4f", "#9b4f96", "#6b6b00", "#444444")


def plot(report: BenchReport, path: Path) -> None:
    """Writes a PNG: latency of a pack (median, a band for each percentile), tokens/s, budgets as dotted lines."""
    figure, (latency, throughput) = _page(path, f"{report.bundle}: {report.engine}", _small_print(report))
    _draw_latency(latency, report)
    _draw_throughput(throughput, report)
    tokens = [one.tokens for one in report.packs]
    for axes in (latency, throughput):
        _dress(axes, tokens, () if report.dynamic_tokens else report.budgets)
    _save(figure, path)


def plot_comparison(report: CompareReport, path: Path) -> None:
    """Writes a PNG: latency of a pack for each engine, and its ratio to the reference with the noise as a band."""
    note = (
        f"{report.devices[report.reference]}; {report.host.words}; "
        f"navit-edge {report.versions.get('navit-edge', '?')}\n"
        f"engines in turn: at least {report.options.iterations} rounds and {report.options.duration_s:g} s a point"
    )
    figure, (latency, ratios) = _page(path, f"{report.bundle}: {len(report.engines)} engines", note)
    tokens = [row.tokens for row in report.packs]
    high = f"p{max(report.options.percentiles):g}"
    for engine, colour in zip(report.engines, _COLOURS * len(report.engines), strict=False):
        told = [row.latency_ms[engine] for row in report.packs]
        latency.fill_between(tokens, [one["min"] for one in told], [one[high] for one in told], color=colour,
                             alpha=0.12, linewidth=0)  # fmt: skip
        latency.plot(tokens, [one["p50"] for one in told], color=colour, marker="o", markersize=4.5, label=engine)
        if engine != report.reference:
            found = [row.ratios[engine] for row in report.packs]
            ratios.errorbar(tokens, [one.median for one in found], yerr=[one.margin for one in found], color=colour,
                            marker="o", markersize=4.5, capsize=3, label=engine)  # fmt: skip
    latency.set_yscale("log")
    latency.set_ylim(top=latency.get_ylim()[1] * 2)  # room for the names
    latency.set_title(f"Latency of one pack, ms: median, and min to {high}", loc="left", fontsize=10.5)
    _legend(latency, "upper left")
    low = [min(1.0, row.noise.median) - row.noise.margin for row in report.packs]
    top = [max(1.0, row.noise.median) + row.noise.margin for row in report.packs]
    ratios.fill_between(tokens, low, top, color=_GREY, alpha=0.3, linewidth=0, label="the reference against itself")
    ratios.axhline(1, color=_GREY, linewidth=1.1)
    ratios.set_title(f"Time over that of {report.reference}; below 1: faster", loc="left", fontsize=10.5)
    bottom, ceiling = ratios.get_ylim()
    ratios.set_ylim(max(0.0, bottom * 0.9), ceiling * 1.2)
    _legend(ratios, "upper left")
    for axes in (latency, ratios):
        _dress(axes, tokens, ())
    _save(figure, path)


def _page(path: Path, title: str, small_print: str) -> tuple[Any, Any]:
    """(figure, two axes side by side)."""
    check_picture(path, purpose="bench --plot")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained", facecolor="white")
    axes = figure.subplots(1, 2)
    figure.suptitle(picture_text(title), x=0.008, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(small_print, x=0.008, ha="left", fontsize=8, color=_GREY)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    write_picture(FigureCanvasAgg(figure), path, dpi=160)


def _small_print(report: BenchReport) -> str:
    options = report.options
    return (
        f"{report.device}; {report.host.words}; navit-edge {report.versions.get('navit-edge', '?')}\n"
        f"each point: {options.warmup_ms:g} ms of warm-up, then at least {options.iterations} runs and "
        f"{options.duration_s:g} s"
    )


def _draw_latency(axes: Any, report: BenchReport) -> None:
    tokens = [one.tokens for one in report.packs]
    named = [f"p{p:g}" for p in sorted(report.options.percentiles)]
    middle = "p50" if "p50" in named else named[0]
    low = [one.latency_ms["min"] for one in report.packs]
    centre = [one.latency_ms[middle] for one in report.packs]
    above = named[named.index(middle) + 1 :]
    lower = low
    # From the fastest run up: the darkest band reaches to the lowest percentile above the middle.
    for number, name in enumerate(above or [middle]):
        upper = [one.latency_ms[name] for one in report.packs]
        label = f"min to {name}" if number == 0 else f"to {name}"
        axes.fill_between(tokens, lower, upper, color=_BLUE, alpha=max(0.08, 0.28 - 0.13 * number), linewidth=0,
                          label=label)  # fmt: skip
        lower = upper
    axes.plot(tokens, centre, color=_BLUE, marker="o", markersize=4.5, label="median" if middle == "p50" else middle)
    for x, y in zip(tokens, centre, strict=True):
        text = ms_text(y)
        axes.annotate(text, (x, y), xytext=(-4, 5), textcoords="offset points", ha="right", fontsize=8, color=_BLUE)
    axes.set_yscale("log")
    axes.set_title("Latency of one pack, ms", loc="left", fontsize=10.5)
    axes.set_ylim(min(low) / 1.4, max(max(lower), max(centre)) * 1.6)
    _legend(axes, "upper left")


def _draw_throughput(axes: Any, report: BenchReport) -> None:
    tokens = [one.tokens for one in report.packs]
    rate = [one.tokens_per_s / 1e3 for one in report.packs]
    axes.plot(tokens, rate, color=_GREEN, marker="o", markersize=4.5, label="one pack at a time")
    whole = report.end_to_end.tokens_per_s / 1e3
    axes.axhline(whole, color=_GREY, linestyle=(0, (5, 3)), linewidth=1.2, label=f"end to end, {whole:.3g}")
    axes.set_title("Throughput, thousand image tokens a second", loc="left", fontsize=10.5)
    axes.set_ylim(0, max(*rate, whole) * 1.25)
    _legend(axes, "lower right")


def _legend(axes: Any, place: str) -> None:
    axes.legend(frameon=True, facecolor="white", edgecolor="none", framealpha=0.9, loc=place, fontsize=9)


def _dress(axes: Any, tokens: Sequence[int], budgets: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xlim(min(tokens) / 1.35, max(tokens) * 1.2)
    axes.xaxis.set_major_locator(FixedLocator(_apart(tokens)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("tokens in the pack (dotted: budgets)" if budgets else "tokens in the pack")
    axes.grid(color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for budget in budgets:
        if budget <= max(tokens):
            axes.axvline(budget, color=_GREY, linewidth=1.1, linestyle=":", zorder=1)


def _apart(tokens: Sequence[int]) -> list[int]:
    """Those whose labels do not run into each other; the last one always."""
    kept: list[int] = []
    for value in reversed(tokens):
        if not kept or kept[-1] / value > 1.18:
            kept.append(value)
    return kept[::-1]
