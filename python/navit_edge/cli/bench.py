"""`navit-edge bench`: how fast an engine is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.bench_compare import print_comparison
from navit_edge.cli.common import (
    DebugOption,
    command,
    echo_json,
    err_console,
    json_text,
    make_progress,
    out_console,
    size_text,
)
from navit_edge.cli.decoding import decoding
from navit_edge.cli.run import Device, Precision, SlotsOption, announce
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.errors import InvalidInputError
from navit_edge.place import check_file_place, write_file

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from navit_edge.bench import BenchReport, Measurement
    from navit_edge.bench.compare import CompareReport
    from navit_edge.bench.workload import Workload
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.machine.gpu import Gpu

_TRTEXEC = "Measuring (names and meanings as in trtexec)"


@command
@decoding
def bench(
    bundle: Annotated[Path, typer.Argument(help="Bundle with an engine.", metavar="BUNDLE", show_default=False)],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Engine or group to measure (inspect lists them). Several: compare them; the first is the reference.",
            show_default="the first that can run",
            metavar="ID",
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this engine in turn with the other, and show ratios.", metavar="ID", show_default=False
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to run on.")] = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="Precision of the engine.")] = Precision.AUTO,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 means all.")] = 0,
    slots: SlotsOption = 0,
    images: Annotated[
        Path | None,
        typer.Option(help="Run these images end to end.", metavar="DIR", show_default=False),
    ] = None,
    sizes: Annotated[
        Path | None,
        typer.Option(
            help="Run random images of these sizes end to end: lines height,width in pixels.",
            metavar="FILE",
            show_default="a built-in set of mixed sizes",
        ),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Measure only packs of these token counts, such as 256,1024.",
            metavar="LIST",
            show_default="powers of two, and the engine's budgets",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write all figures to FILE; - means standard output.", metavar="FILE"),
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
        float, typer.Option(min=0, help="Measure for at least S seconds.", metavar="S", rich_help_panel=_TRTEXEC)
    ] = 3.0,
    percentile: Annotated[
        str, typer.Option(help="Percentiles of the latency.", metavar="LIST", rich_help_panel=_TRTEXEC)
    ] = "50,90,99",
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            metavar="",
            help="Measure the engine's cost model instead and store it in the bundle.",
        ),
    ] = False,
    debug: DebugOption = False,
    *,
    decode: DecodeOptions,
) -> None:
    """Measure an engine on this machine: packs of growing size, then a set of images end to end.

    One run is one call of Session.run. In the packs, images are whole patches
    and need no resize. End to end counts everything except decoding. Memory
    is the peak of the whole process, Python included; GPU memory is that of
    all processes. Two or more engines run in turn, and the table has ratios.
    """
    import navit_edge as ne
    from navit_edge.bench import BenchOptions, BenchReport
    from navit_edge.bench import bench as run_bench
    from navit_edge.bench.compare import CompareReport
    from navit_edge.bench.compare import compare as run_compare
    from navit_edge.bench.plot import plot, plot_comparison
    from navit_edge.compile.request import parse_numbers
    from navit_edge.picture import check_picture

    names = [*(engine or []), *(compare or [])]
    if compare and not engine:
        names.insert(0, "")
    try:
        if images is not None and sizes is not None:
            raise InvalidInputError("both --images and --sizes; expected one of them: leave one out")
        options = BenchOptions(
            warmup_ms=warmup, iterations=iterations, duration_s=duration, percentiles=_parse_percentiles(percentile)
        )
        only = () if budgets is None else parse_numbers(budgets, what="budgets")
        if len(set(names)) != len(names):
            raise InvalidInputError(f"engines {', '.join(names)} are not all different; name each once")
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error
    if calibrate and (images is not None or sizes is not None or plot_file is not None or len(names) > 1):
        raise typer.BadParameter(
            "--calibrate with --images, --sizes, --plot or several engines; it times packs of its own, of one engine; "
            "leave the others out"
        )
    if plot_file is not None:
        check_picture(plot_file, purpose="bench --plot")
    to_stdout = json_file is not None and str(json_file) == "-"
    if json_file is not None and not to_stdout:
        check_file_place(json_file)
    manifest = ne.load_manifest(bundle)
    if calibrate:
        from navit_edge.cli.calibrate import calibrate_engine

        calibrate_engine(
            bundle,
            manifest,
            session_options={
                "device": device.value,
                "engine": names[0] if names else "",
                "precision": precision.value,
                "threads": threads,
                "slots": slots,
            },
            json_file=json_file,
        )
        return
    workload = _workload(manifest, images, sizes, Decoder(decode, Recorded.of(manifest.preprocess)))

    console = err_console()
    for reason in workload.refused if workload is not None else ():
        console.print(f"left out: {reason}", style="yellow", soft_wrap=True, markup=False)

    def open_engine(name: str) -> ne.Session:
        return ne.Session(
            bundle, device=device.value, engine=name, precision=precision.value, threads=threads, slots=slots
        )

    with make_progress(console) as progress:
        task = progress.add_task("opening", total=None, phase="")
        done = -1

        def step(name: str, steps: int) -> None:
            nonlocal done
            done += 1
            progress.update(task, description="measuring", phase=name, completed=done, total=steps)

        report: BenchReport | CompareReport
        if len(names) > 1:
            report = run_compare(
                manifest,
                open_engine,
                names,
                options,
                workload=workload,
                bundle=bundle,
                threads=threads,
                budgets=only,
                on_step=step,
            )
        else:
            report = run_bench(
                manifest,
                lambda: open_engine(names[0] if names else ""),
                options,
                workload=workload,
                bundle=bundle,
                threads=threads,
                budgets=only,
                on_session=announce,
                on_step=step,
            )
        progress.remove_task(task)
    for warning in report.engine_report.get("warnings", []) if isinstance(report, BenchReport) else ():
        console.print(warning, style="yellow", soft_wrap=True, markup=False)
    if to_stdout:
        echo_json(report.as_json())
    else:
        if isinstance(report, CompareReport):
            print_comparison(report)
        else:
            _print(report)
        if json_file is not None:
            write_file(json_file, (json_text(report.as_json()) + "\n").encode())
            console.print(f"wrote {json_file}", soft_wrap=True, markup=False)
    if plot_file is not None:
        if isinstance(report, CompareReport):
            plot_comparison(report, plot_file)
        else:
            plot(report, plot_file)
        console.print(f"wrote {plot_file}", soft_wrap=True, markup=False)


def _parse_percentiles(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise InvalidInputError(f"percentile {text!r}; expected numbers separated by commas, as 50,90,99") from None


def _workload(manifest: Manifest, images: Path | None, sizes: Path | None, decoder: Decoder) -> Workload | None:
    from navit_edge.bench.workload import from_files, from_sizes
    from navit_edge.inputs.images import image_files
    from navit_edge.pixels import load_image

    if sizes is not None:
        return from_sizes(sizes, manifest.preprocess.channels)
    if images is None:
        return None
    if not images.is_dir():
        raise InvalidInputError(f"{images} is not a directory; expected a directory of images")
    found = image_files([images], formats=decoder.options.formats)
    workload = from_files(found.files, lambda file: load_image(file, decoder))
    return replace(workload, refused=(*found.left_out(), *workload.refused))


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
        *([("GPU", _gpu_words(report.gpu))] if report.gpu is not None else []),
        ("machine", f"{report.host.words}; {report.threads} threads; {report.host.system}"),
        ("in flight", f"at most {report.slots} {'pack' if report.slots == 1 else 'packs'}"),
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
    """One table, or three where the terminal is too narrow for one."""
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
        f"{whole.prediction_error:+.1%} end to end, where images are resized, too"
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
