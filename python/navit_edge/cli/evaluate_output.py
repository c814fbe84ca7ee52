"""What `navit-edge evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from navit_edge.bench.measure import ms_text
from navit_edge.cli.common import figures_table, out_console

if TYPE_CHECKING:
    from rich.table import Table

    from navit_edge.evaluate import Report, Row
    from navit_edge.evaluate.metrics import Share
    from navit_edge.evaluate.report import Comparison

_HEADS = {
    "classifier": "the bundle's classifier",
    "knn": "votes of {} neighbours among the training images",
    "linear": "logistic regression on embeddings of the training images",
    "retrieval": "the class of the nearest other image",
}


def print_report(report: Report) -> None:
    from rich.text import Text

    from navit_edge.evaluate.report import sample_words

    console = out_console()
    head = _HEADS[report.head].format(report.neighbors)
    console.print(
        f"{report.bundle}: {report.data.images:,} images of {report.data.classes:,} classes; {head}", soft_wrap=True
    )
    console.print()
    _print_accuracy(report)
    console.print()
    if report.reference is not None and len(report.rows) > 1:
        _print_comparisons(report, report.reference)
        console.print()
    if any(row.timing is not None for row in report.rows):
        _print_time(report)
        console.print()
    for words in sample_words(report.rows, report.margin):
        console.print(Text(words), soft_wrap=True)
    for note in report.notes:
        console.print(Text(note, style="yellow"), soft_wrap=True)


def _print_accuracy(report: Report) -> None:
    rows = report.rows
    top5 = any(row.top5 is not None for row in rows)
    ks = list(dict.fromkeys(k for row in rows for k in row.recall))
    columns = ["tokens", "top-1 %", *(["top-5 %"] if top5 else []), *(f"recall@{k}" for k in ks)]
    table, cells = _table(rows, f"accuracy, with {report.confidence:.0%} intervals", columns)
    for row, which in zip(rows, cells, strict=True):
        line = [*which, f"{row.tokens_per_image:.0f}", _with_interval(row.top1)]
        line += [_percent(row.top5)] if top5 else []
        table.add_row(*line, *(_percent(row.recall.get(k)) for k in ks))
    out_console().print(table)


def _print_comparisons(report: Report, reference: int) -> None:
    rows = [row for row in report.rows if row.against_reference is not None]
    from navit_edge.evaluate.report import points_text

    engine, margin = report.rows[reference].engine, points_text(report.margin)
    title = f"against {engine} at the bundle's own tokens; a loss of {margin} matters"
    table, cells = _table(rows, title, ["same answer %", "top-1, points", "p", "verdict"])
    for row, which in zip(rows, cells, strict=True):
        if row.against_reference is not None:
            table.add_row(*which, *_compared(row.against_reference))
    out_console().print(table)


def _print_time(report: Report) -> None:
    title = "time of decoded images: images/s of many in one run, latency of one alone"
    table, cells = _table(report.rows, title, ["images/s", "p50 ms", "p99 ms", "on the front"])
    for row, which in zip(report.rows, cells, strict=True):
        if row.timing is None:
            table.add_row(*which, "-", "-", "-", "")
            continue
        rate = row.timing.images_per_s
        table.add_row(
            *which,
            f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}",
            ms_text(row.timing.p50_ms),
            ms_text(row.timing.p99_ms),
            "yes" if row.timing.pareto else "",
        )
    out_console().print(table)


def _table(rows: Sequence[Row], title: str, columns: Sequence[str]) -> tuple[Table, list[list[str]]]:
    """An empty table, and what each row begins with: which it is, as far as rows differ in that."""
    told = {
        "engine": [row.engine for row in rows],
        "policy": [row.policy for row in rows],
        "cap": ["" if row.cap is None else str(row.cap) for row in rows],
    }
    usual = {"policy": {"native"}, "cap": {""}}
    kept = {name: cells for name, cells in told.items() if set(cells) != usual.get(name)}
    table = figures_table(title, [*kept, *columns])
    for column in table.columns[: len(kept)]:
        column.justify = "left"
    return table, [list(cells) for cells in zip(*kept.values(), strict=True)]


def _compared(one: Comparison) -> list[str]:
    d = one.difference
    verdict: str = one.verdict
    if one.images_needed is not None:
        verdict += f": ~{one.images_needed:,} needed"
    return [
        _percent(one.agreement),
        f"{_points(d.value)} ({_points(d.low)} to {_points(d.high)})",
        f"{one.p:.3f}" if one.p >= 0.001 else "<0.001",
        verdict,
    ]


def _with_interval(one: Share) -> str:
    return f"{one.value * 100:.1f} ({one.low * 100:.1f} to {one.high * 100:.1f})"


def _percent(one: Share | None) -> str:
    return "" if one is None else f"{one.value * 100:.1f}"


def _points(value: float) -> str:
    return f"{value * 100:+.1f}"
