"""What `navit-edge bench` prints for several engines: medians in turn, ratios, and the machine's noise."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

from navit_edge.cli.common import facts_table, out_console
from navit_edge.tables import number, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from navit_edge.bench.compare import CompareReport, Row


def print_comparison(report: CompareReport) -> None:
    """Engines by letter, then a table of packs, then the whole set."""
    from rich.text import Text

    console = out_console()
    options = report.options
    letters = dict(zip(report.engines, ascii_uppercase, strict=False))
    lines = [("bundle", report.bundle)]
    for name, letter in letters.items():
        words = f"{name} ({report.precisions[name]}) on {report.devices[name]}"
        lines.append((f"engine {letter}", words + (", the reference" if name == report.reference else "")))
    lines += [
        ("machine", f"{report.host.words}; {report.threads} threads; {report.host.system}"),
        ("versions", ", ".join(f"{key} {value}" for key, value in report.versions.items())),
        (
            "measured",
            f"all engines in turn, warm-up {options.warmup_ms:g} ms each, then at least {options.iterations} rounds "
            f"and {options.duration_s:g} s",
        ),
    ]
    console.print(facts_table(lines))
    console.print()
    if report.packs:
        _print_rows(console, "one pack a run", report, report.packs, letters)
        console.print()
    _print_rows(console, "end to end, all images in one run", report, [report.end_to_end], letters)
    console.print()
    for note in _notes(report, letters):
        console.print(Text(note, style="dim"))


def _print_rows(
    console: Console, title: str, report: CompareReport, rows: Sequence[Row], letters: dict[str, str]
) -> None:
    from rich.text import Text

    from navit_edge.bench.measure import ms_text

    others = [name for name in report.engines if name != report.reference]
    base = letters[report.reference]
    columns = ["tokens", "images", *(f"{letter}\np50 ms" for letter in letters.values())]
    columns += [*(f"{letters[name]} / {base}" for name in others), f"{base} / {base}\nnoise", "rounds"]
    table: list[list[Text]] = []
    for row in rows:
        ratios = []
        for name in others:
            words = row.ratios[name].words
            style = "" if not row.differs(name) else "green" if row.ratios[name].median < 1 else "yellow"
            ratios.append(Text(words if row.differs(name) else f"{words} (even)", style=style))
        medians = [Text(ms_text(row.latency_ms[name]["p50"])) for name in report.engines]
        cells = [Text(str(row.tokens)), Text(str(row.images)), *medians, *ratios]
        table.append([*cells, Text(row.noise.words), Text(str(row.rounds))])
    print_table(console, title, list(map(number, columns)), table)


def _notes(report: CompareReport, letters: dict[str, str]) -> list[str]:
    base = letters[report.reference]
    noise = max(abs(row.noise.median - 1) + row.noise.margin for row in (*report.packs, report.end_to_end))
    return [
        f"end to end: {report.source}; decoding excluded",
        f"X / {base}: median over the rounds of X's time over {base}'s in the same round, and its margin (95 %); below "
        "1: faster",
        f"{base} / {base}: {base} a second time in each round; equal engines came out up to {noise:.0%} apart here; "
        "(even): no further off 1 than the row's noise and the margin",
    ]
