"""What `navit-edge evaluate` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from navit_edge.bench.measure import ms_text
from navit_edge.cli.common import out_console
from navit_edge.tables import Column, number, print_table, text

if TYPE_CHECKING:
    from navit_edge.evaluate import Report, Row
    from navit_edge.evaluate.metrics import Share
    from navit_edge.evaluate.report import Comparison

_HEADS = {
    "classifier": "the bundle's classifier",
    "knn": "votes of {} neighbours among the training images",
    "linear": "logistic regression on embeddings of the training images",
    "retrieval": "the class of the nearest other image",
    "zero-shot": "the class whose text is the nearest",
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
    ks = list(dict.fromkeys(k for row in rows for k in row.recall))
    columns = [number("tokens"), number("top-1 %"), number("top-5 %"), *(number(f"recall@{k}") for k in ks)]
    cells = (
        [
            f"{row.tokens_per_image:.0f}",
            _with_interval(row.top1),
            _percent(row.top5),
            *(_percent(row.recall.get(k)) for k in ks),
        ]
        for row in rows
    )
    _print_table(f"accuracy, with {report.confidence:.0%} intervals", columns, rows, cells)


def _print_comparisons(report: Report, reference: int) -> None:
    from navit_edge.evaluate.report import points_text

    engine, margin = report.rows[reference].engine, points_text(report.margin)
    rows = [row for row in report.rows if row.against_reference is not None]
    columns = [number("same\nanswer %"), number("top-1,\npoints"), number("p,\nHolm"), text("verdict")]
    cells = (_compared(row.against_reference) for row in rows if row.against_reference is not None)
    _print_table(f"against {engine} at the bundle's own tokens; a loss of {margin} matters", columns, rows, cells)


def _print_time(report: Report) -> None:
    title = "time of decoded images: images/s of many in one run, latency of one alone"
    columns = [number("images/s"), number("p50 ms"), number("p99 ms"), Column("on the\nfront")]
    _print_table(title, columns, report.rows, (_times(row) for row in report.rows))


def _print_table(title: str, columns: Sequence[Column], rows: Sequence[Row], cells: Iterable[Sequence[str]]) -> None:
    """Each row begins with which it is, as far as rows differ in that."""
    policies = {row.policy for row in rows} != {"native"}
    which = [Column("engine"), Column("policy"), number("cap")]
    print_table(
        out_console(),
        title,
        [*which, *columns],
        (
            [row.engine, row.policy if policies else "", "" if row.cap is None else str(row.cap), *told]
            for row, told in zip(rows, cells, strict=True)
        ),
    )


def _times(row: Row) -> list[str]:
    if row.timing is None:
        return ["", "", "", ""]
    rate = row.timing.images_per_s
    return [
        f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}",
        ms_text(row.timing.p50_ms),
        ms_text(row.timing.p99_ms),
        "yes" if row.timing.pareto else "",
    ]


def _compared(one: Comparison) -> list[str]:
    from navit_edge.evaluate.report import about

    d = one.difference
    verdict: str = one.verdict
    if one.images_needed is not None:
        verdict += f": ~{about(one.images_needed)} needed"
    return [
        _percent(one.agreement),
        f"{_points(d.value)} ({_points(d.low)} to {_points(d.high)})",
        f"{one.p_holm:.3f}" if one.p_holm >= 0.001 else "<0.001",
        verdict,
    ]


def _with_interval(one: Share) -> str:
    return f"{one.value * 100:.1f} ({one.low * 100:.1f} to {one.high * 100:.1f})"


def _percent(one: Share | None) -> str:
    return "" if one is None else f"{one.value * 100:.1f}"


def _points(value: float) -> str:
    return f"{value * 100:+.1f}"
