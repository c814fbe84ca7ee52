"""`navit-edge bench`: how fast an engine is here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.common import DebugOption, command, err_console, make_progress, out_console, size_text
from navit_edge.cli.run import SUFFIXES, Device, Precision
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from navit_edge.bench import BenchReport, Measurement
    from navit_edge.bench.workload import Workload
    from navit_edge.manifest import Manifest

_TRTEXEC = "Measuring (names and meanings as in trtexec)"


@command
def bench(
    bundle: Annotated[Path, typer.Argument(help="Bundle with an engine.", metavar="BUNDLE", show_default=False)],
    engine: Annotated[
        str, typer.Option(help="Engine to measure; see inspect.", show_default="the first that can run", metavar="ID")
    ] = "",
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="Precision of the engine.")] = Precision.AUTO,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all.")] = 0,
    images: Annotated[
        Path | None,
        typer.Option(help="End to end on the images of this directory.", metavar="DIR", show_default=False),
    ] = None,
    sizes: Annotated[
        Path | None,
        typer.Option(
            help="End to end on random images of these sizes: lines height,width in pixels.",
            metavar="FILE",
            show_default="a built-in set of mixed sizes",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write all figures to FILE; - is standard output.", metavar="FILE"),
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw latency and throughput against tokens.", metavar="FILE.png"),
    ] = None,
    warmup: Annotated[
        float,
        typer.Option(min=0, help="Run this long before each measurement.", metavar="MS", rich_help_panel=_TRTEXEC),
    ] = 200.0,
    iterations: Annotated[
        int, typer.Option(min=1, help="Measure at least N runs.", metavar="N", rich_help_panel=_TRTEXEC)
    ] = 10,
    duration: Annotated[
        float, typer.Option(min=0, help="And for at least S seconds.", metavar="S", rich_help_panel=_TRTEXEC)
    ] = 3.0,
    percentile: Annotated[
        str, typer.Option(help="Of latency, in percent.", metavar="LIST", rich_help_panel=_TRTEXEC)
    ] = "50,90,99",
    debug: DebugOption = False,
) -> None:
    """Measure an engine on this machine: packs of growing size, then a set of images end to end.

    A run is one call of Session.run. In the packs, images are whole patches
    and need no resize; end to end counts everything but decoding. Memory is
    the peak of the whole process, Python included.
    """
    import navit_edge as ne
    from navit_edge.bench import BenchOptions
    from navit_edge.bench import bench as run_bench
    from navit_edge.bench.plot import check_plot, plot

    try:
        if images is not None and sizes is not None:
            raise InvalidInputError("both --images and --sizes; expected one of them; leave one out")
        options = BenchOptions(
            warmup_ms=warmup, iterations=iterations, duration_s=duration, percentiles=_parse_percentiles(percentile)
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error
    if plot_file is not None:
        check_plot(plot_file)
    to_stdout = json_file is not None and str(json_file) == "-"
    if json_file is not None and not to_stdout and not json_file.absolute().parent.is_dir():
        raise InvalidInputError(f"{json_file}: no such directory; create it: mkdir -p {json_file.parent}")
    manifest = ne.load_manifest(bundle)
    workload = _workload(manifest, images, sizes)

    console = err_console()
    for reason in workload.refused if workload is not None else ():
        console.print(f"left out: {reason}", style="yellow", soft_wrap=True, markup=False)

    def open_session() -> ne.Session:
        return ne.Session(bundle, device=device.value, engine=engine, precision=precision.value, threads=threads)

    def announce(session: ne.Session) -> None:
        for candidate, usable, detail in session.candidates:
            if not usable:
                console.print(f"passed over {candidate}: {detail}", style="yellow", soft_wrap=True, markup=False)
        console.print(f"engine {session.engine} on {session.device}", soft_wrap=True, markup=False)

    with make_progress(console) as progress:
        task = progress.add_task("opening", total=None, phase="")
        done = -1

        def step(name: str, steps: int) -> None:
            nonlocal done
            done += 1
            progress.update(task, description="measuring", phase=name, completed=done, total=steps)

        report = run_bench(
            manifest,
            open_session,
            options,
            workload=workload,
            bundle=bundle,
            threads=threads,
            on_session=announce,
            on_step=step,
        )
        progress.remove_task(task)
    if to_stdout:
        typer.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(report)
        if json_file is not None:
            json_file.write_text(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            console.print(f"wrote {json_file}", soft_wrap=True, markup=False)
    if plot_file is not None:
        plot(report, plot_file)
        console.print(f"wrote {plot_file}", soft_wrap=True, markup=False)


def _parse_percentiles(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise InvalidInputError(f"percentile {text!r}; expected numbers separated by commas, as 50,90,99") from None


def _workload(manifest: Manifest, images: Path | None, sizes: Path | None) -> Workload | None:
    from navit_edge.bench.workload import from_files, from_sizes
    from navit_edge.pixels import load_image

    if sizes is not None:
        return from_sizes(sizes, manifest.preprocess.channels)
    if images is None:
        return None
    if not images.is_dir():
        raise InvalidInputError(f"{images} is no directory; expected a directory of images")
    files = sorted(file for file in images.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InvalidInputError(f"{images} holds no images; expected files named {', '.join(SUFFIXES)}")
    return from_files(files, load_image)


def _print(report: BenchReport) -> None:
    from rich.table import Table
    from rich.text import Text

    console = out_console()
    facts = Table.grid(padding=(0, 2))
    options = report.options
    budgets = ", ".join(str(budget) for budget in report.budgets)
    form = "each pack as long as its images" if report.dynamic_tokens else "packs padded to the budget"
    for name, value in (
        ("bundle", report.bundle),
        ("engine", f"{report.engine} ({report.precision}); budgets of {budgets} tokens, {form}"),
        ("device", report.device),
        ("machine", f"{report.host.words}; {report.threads} threads; {report.host.system}"),
        ("versions", ", ".join(f"{key} {value}" for key, value in report.versions.items())),
        (
            "measured",
            f"warm-up {options.warmup_ms:g} ms, then at least {options.iterations} runs and {options.duration_s:g} s; "
            f"the session opened in {report.open_ms:.0f} ms",
        ),
    ):
        facts.add_row(Text(name, style="bold"), Text(value))
    console.print(facts)
    console.print()
    if report.packs:
        _print_rows(console, "one pack a run", report, report.packs)
        console.print()
    _print_rows(console, "end to end, all images in one run", report, [report.end_to_end])
    console.print()
    for note in _notes(report):
        console.print(Text(note, style="dim"))


def _print_rows(console: Console, title: str, report: BenchReport, rows: Sequence[Measurement]) -> None:
    """One table, or two where the terminal is too narrow for one."""
    whole = rows[0] is report.end_to_end
    head = ["tokens", "images"] + (["packs"] if whole else [] if report.dynamic_tokens else ["budget"])
    speed = [f"p{p:g} ms" for p in report.options.percentiles] + ["images/s", "tokens/s", "fill"]
    stages = ["preprocess ms", "engine ms", *([] if whole and rows[0].other_ms is None else ["other ms"])]
    stages += ["peak memory", "runs"]
    single = _table(title, head + speed + stages, rows)
    unbounded = console.options.update(width=1000)
    if console.measure(single, options=unbounded).maximum <= console.width:
        console.print(single)
        return
    console.print(_table(title, head + speed, rows))
    console.print()
    console.print(_table(f"{title}: stages, memory", head + stages, rows))


def _table(title: str, columns: Sequence[str], rows: Sequence[Measurement]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        title=Text(title, style="bold"),
        title_justify="left",
        padding=(0, 1),
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        name, _, unit = column.partition(" ")
        table.add_column(f"{name}\n{unit}" if len(column) > 8 and unit else column, justify="right", no_wrap=True)
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
        "preprocess ms": ms_text(row.preprocess_ms),
        "engine ms": ms_text(row.engine_ms),
        "other ms": "" if row.other_ms is None else ms_text(row.other_ms),
        "peak memory": "unknown" if row.peak_resident_bytes is None else size_text(row.peak_resident_bytes),
        "runs": str(row.runs),
    }


def _notes(report: BenchReport) -> list[str]:
    from navit_edge.bench.measure import ms_text

    whole = report.end_to_end
    notes = [f"end to end: {report.source}; decoding excluded"]
    if report.decode_ms is not None:
        notes[0] += f" (it took {ms_text(report.decode_ms / whole.images)} ms an image, timed once while loading)"
    if whole.other_ms is None and whole.preprocess_ms + whole.engine_ms > whole.latency_ms["mean"]:
        notes.append("stages add up to more than the latency: packs ran side by side")
    highest = max(report.options.percentiles)
    fewest = min(row.runs for row in (*report.packs, whole))
    if fewest * (100 - highest) < 100 and highest < 100:
        notes.append(
            f"p{highest:g} of fewer than {100 / (100 - highest):.0f} runs is the slowest of them; "
            "measure more with --iterations or --duration"
        )
    return notes
