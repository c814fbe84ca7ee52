"""Latency and throughput against tokens, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.bench.measure import ms_text
from navit_edge.errors import InvalidInputError, import_or_explain

if TYPE_CHECKING:
    from navit_edge.bench.suite import BenchReport

_BLUE, _GREEN, _GREY = "#1f5fa8", "#2f7d4f", "#8a8f98"


def check_plot(path: Path) -> None:
    """Raises before anything is measured: MissingPackageError, or InvalidInputError for a suffix that is not .png."""
    if path.suffix.lower() != ".png":
        raise InvalidInputError(f"plot file {path.name!r}; expected a name that ends in .png")
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(f"plot file {path}: no such directory; create it: mkdir -p {path.parent}")
    import_or_explain("matplotlib", purpose="bench --plot", remedy="pip install matplotlib")


def plot(report: BenchReport, path: Path) -> None:
    """Writes a PNG: latency of a pack (median, and the band from min to the highest percentile), and tokens/s."""
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    latency, throughput = figure.subplots(1, 2)
    _draw_latency(latency, report)
    _draw_throughput(throughput, report)
    for axes in (latency, throughput):
        _dress(axes, report)
    figure.suptitle(f"{report.bundle}: {report.engine}", x=0.008, ha="left", fontsize=13, fontweight="bold")
    options = report.options
    figure.supxlabel(
        f"{report.device}; {report.host.words}; navit-edge {report.versions.get('navit-edge', '?')}\n"
        f"each point: {options.warmup_ms:g} ms of warm-up, then at least {options.iterations} runs and "
        f"{options.duration_s:g} s",
        x=0.008,
        ha="left",
        fontsize=8,
        color=_GREY,
    )
    try:
        canvas.print_figure(path, dpi=160)
    except OSError as error:
        raise InvalidInputError(f"plot file {path} cannot be written: {error.strerror}") from error


def _draw_latency(axes: Any, report: BenchReport) -> None:
    tokens = [one.tokens for one in report.packs]
    named = [f"p{p:g}" for p in sorted(report.options.percentiles)]
    middle = "p50" if "p50" in named else named[0]
    low = [one.latency_ms["min"] for one in report.packs]
    high = [one.latency_ms[named[-1]] for one in report.packs]
    centre = [one.latency_ms[middle] for one in report.packs]
    axes.fill_between(tokens, low, high, color=_BLUE, alpha=0.16, linewidth=0, label=f"min to {named[-1]}")
    axes.plot(tokens, centre, color=_BLUE, marker="o", markersize=4.5, label="median" if middle == "p50" else middle)
    for x, y in zip(tokens, centre, strict=True):
        text = ms_text(y)
        axes.annotate(text, (x, y), xytext=(-4, 5), textcoords="offset points", ha="right", fontsize=8, color=_BLUE)
    axes.set_yscale("log")
    axes.set_title("Latency of one pack, ms", loc="left", fontsize=10.5)
    axes.set_ylim(min(low) / 1.4, max(high) * 1.6)
    axes.legend(frameon=True, facecolor="white", edgecolor="none", framealpha=0.9, loc="upper left", fontsize=9)


def _draw_throughput(axes: Any, report: BenchReport) -> None:
    tokens = [one.tokens for one in report.packs]
    rate = [one.tokens_per_s / 1e3 for one in report.packs]
    axes.plot(tokens, rate, color=_GREEN, marker="o", markersize=4.5, label="one pack at a time")
    whole = report.end_to_end.tokens_per_s / 1e3
    axes.axhline(whole, color=_GREY, linestyle=(0, (5, 3)), linewidth=1.2, label=f"end to end, {whole:.3g}")
    axes.set_title("Throughput, thousand image tokens a second", loc="left", fontsize=10.5)
    axes.set_ylim(0, max(*rate, whole) * 1.25)
    axes.legend(frameon=True, facecolor="white", edgecolor="none", framealpha=0.9, loc="lower right", fontsize=9)


def _dress(axes: Any, report: BenchReport) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    tokens = [one.tokens for one in report.packs]
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(tokens) / 1.35, max(tokens) * 1.2)
    axes.xaxis.set_major_locator(FixedLocator(tokens))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("tokens in the pack")
    axes.grid(color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not report.dynamic_tokens:
        for budget in report.budgets:
            if budget <= max(tokens):
                axes.axvline(budget, color=_GREY, linewidth=1.1, linestyle=":", zorder=1)
        axes.set_xlabel("tokens in the pack (dotted: budgets)")
