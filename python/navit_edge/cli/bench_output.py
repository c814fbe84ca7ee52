"""What `navit-edge bench` prints for one engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from navit_edge.cli.common import facts_table, figures_table, out_console, size_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from navit_edge.bench import BenchReport, Measurement
    from navit_edge.machine.gpu import Gpu


def print_report(report: BenchReport) -> None:
    from rich.text import Text

    console = out_console()
    options = report.options
    budgets = ", ".join(str(budget) for budget in report.budgets)
    form = "each pack as long as its images" if report.dynamic_tokens else "packs padded to the budget"
    facts = [
        ("bundle", report.bundle),
        ("engine", f"{report.engine} ({report.precision}); budgets of {budgets} tokens, {form}"),
        ("device", report.device),
        *([("GPU", _gpu_words(report.gpu))] if report.gpu is not None else []),
        ("machine", f"{report.host.words}; {report.threads} threads; {report.host.system}"),
        ("in flight", f"at most {report.slots} {'pack' if report.slots == 1 else 'packs'}"),
        ("versions", ", ".join(f"{key} {value}" for key, value in report.versions.items())),
        (
            "measured",
            f"warm-up {options.warmup_ms:g} ms, then at least {options.iterations} runs and {options.duration_s:g} s; "
            f"the session opened in {report.open_ms:.0f} ms",
        ),
    ]
    console.print(facts_table(facts))
    console.print()
    if report.packs:
        _print_rows(console, "one pack a run", report, report.packs)
        console.print()
    _print_rows(console, "end to end, all images in one run", report, [report.end_to_end])
    console.print()
    for note in _notes(report):
        console.print(Text(note, style="dim"))


def _gpu_words(gpu: Gpu) -> str:
    parts = [gpu.name]
    parts += [f"driver {gpu.driver}"] if gpu.driver else []
    parts += [size_text(gpu.memory_bytes)] if gpu.memory_bytes is not None else []
    parts += ["memory shared with the CPU"] if gpu.unified else []
    parts += [f"power mode {gpu.board['power_mode']}"] if gpu.board.get("power_mode") else []
    if gpu.board.get("clocks_fixed") is False:
        parts.append("clocks not fixed (sudo jetson_clocks)")
    return ", ".join(parts)


def _print_rows(console: Console, title: str, report: BenchReport, rows: Sequence[Measurement]) -> None:
    """One table, or three if the terminal is too narrow for one."""
    whole = rows[0] is report.end_to_end
    head = ["tokens", "images"] + (["packs"] if whole else [] if report.dynamic_tokens else ["budget"])
    speed = [f"p{p:g} ms" for p in report.options.percentiles] + ["images/s", "tokens/s", "fill"]
    stages = ["preprocess ms", "engine ms", *([] if whole and rows[0].other_ms is None else ["other ms"])]
    # What was not measured of any row gets no column; the JSON has it as null.
    stages, memory = (
        [name for name in names if any(_cells(row)[name] for row in rows)]
        for names in (["plan ms", *stages, "unpack ms"], ["peak memory", "GPU memory"])
    )
    model = ["predicted ms", "error", *memory, "runs"]
    single = _table(title, head + speed + stages + model, rows)
    unbounded = console.options.update(width=1000)
    if console.measure(single, options=unbounded).maximum <= console.width:
        console.print(single)
        return
    console.print(_table(title, head + speed, rows))
    console.print()
    console.print(_table(f"{title}: stages", head + stages, rows))
    console.print()
    console.print(_table(f"{title}: by the cost model, memory", [*head, *model], rows))


def _table(title: str, columns: Sequence[str], rows: Sequence[Measurement]) -> Table:
    heads = (column.partition(" ") if len(column) > 8 else (column, "", "") for column in columns)
    table = figures_table(title, [f"{name}\n{unit}" if unit else name for name, _, unit in heads])
    for row in rows:
        cells = _cells(row)
        table.add_row(*(cells[column] for column in columns))
    return table


def _cells(row: Measurement) -> dict[str, str]:
    from navit_edge.bench.measure import ms_text

    return {
        "tokens": str(row.tokens),
        "images": str(row.images),
        "budget": " ".join(str(budget) for budget in row.budgets),
        "packs": str(row.packs),
        **{f"{name} ms": ms_text(value) for name, value in row.latency_ms.items()},
        "images/s": f"{row.images_per_s:.1f}" if row.images_per_s < 1000 else f"{row.images_per_s:.0f}",
        "tokens/s": f"{row.tokens_per_s:.0f}",
        "fill": f"{row.fill:.0%}",
        "predicted ms": ms_text(row.predicted_ms),
        "error": f"{row.prediction_error:+.0%}",
        "preprocess ms": ms_text(row.preprocess_ms),
        "engine ms": ms_text(row.engine_ms),
        "unpack ms": "" if row.unpack_ms is None else ms_text(row.unpack_ms),
        "other ms": "" if row.other_ms is None else ms_text(row.other_ms),
        "peak memory": "" if row.peak_resident_bytes is None else size_text(row.peak_resident_bytes),
        "plan ms": "" if row.plan_ms is None else ms_text(row.plan_ms),
        "GPU memory": "" if row.device_memory_bytes is None else size_text(row.device_memory_bytes),
        "runs": str(row.runs),
    }


def _notes(report: BenchReport) -> list[str]:
    from navit_edge.bench.measure import ms_text

    whole = report.end_to_end
    notes = [f"end to end: {report.source}; decoding excluded"]
    if report.decode_ms is not None:
        notes[0] += f" (it took {ms_text(report.decode_ms / whole.images)} ms an image, timed once while loading)"
    source = "measured by --calibrate" if report.cost_measured else "assumed from the model's sizes; see --calibrate"
    notes.append(
        f"predicted by the cost model ({source}): {report.prediction_error:.1%} off in the mean of the packs, "
        f"{whole.prediction_error:+.1%} end to end, with the resize"
    )
    if whole.other_ms is None and whole.preprocess_ms + whole.engine_ms > whole.latency_ms["mean"]:
        notes.append("stages add up to more than the latency: packs ran side by side")
    if report.gpu is not None and report.device_memory_before_bytes is not None:
        notes.append(
            f"GPU memory: in use by all processes; {size_text(report.device_memory_before_bytes)} before the engine "
            "was opened"
        )
    highest = max(report.options.percentiles)
    fewest = min(row.runs for row in (*report.packs, whole))
    if fewest * (100 - highest) < 100 and highest < 100:
        notes.append(
            f"p{highest:g} of fewer than {100 / (100 - highest):.0f} runs is the slowest of them; "
            "measure more with --iterations or --duration"
        )
    return notes
