"""`navit-edge bench`: how fast an engine is here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.bench_compare import print_comparison
from navit_edge.cli.bench_output import print_report
from navit_edge.cli.common import (
    ENGINE_PANEL,
    DebugOption,
    JsonFileOption,
    JsonOption,
    command,
    echo_json,
    err_console,
    json_text,
    make_progress,
)
from navit_edge.cli.decoding import decoding
from navit_edge.cli.devices import DevicesOption, devices_of
from navit_edge.cli.run import SlotsOption, announce
from navit_edge.cli.with_profile import FromProfile, with_profile
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.errors import InvalidInputError
from navit_edge.place import check_file_place, write_file
from navit_edge.vocabulary import Device, EnginePrecision

if TYPE_CHECKING:
    from navit_edge.bench import BenchReport
    from navit_edge.bench.compare import CompareReport
    from navit_edge.bench.workload import Workload
    from navit_edge.bundle.manifest import Manifest

_TRTEXEC = "Measuring (names and meanings as in trtexec)"


@command
@decoding
@with_profile
def bench(
    bundle: Annotated[Path, typer.Argument(help="Bundle with an engine.", metavar="BUNDLE", show_default=False)],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Engine or group to measure (inspect lists them). Several: compare them; the first is the reference.",
            show_default="the first that can run",
            metavar="ID",
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this engine in turn with the other, and show ratios.",
            metavar="ID",
            show_default=False,
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to run on.", rich_help_panel=ENGINE_PANEL)] = "auto",
    devices: DevicesOption = "",
    precision: Annotated[
        EnginePrecision, typer.Option(help="Precision of the engine.", rich_help_panel=ENGINE_PANEL)
    ] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads.", show_default="all cores", rich_help_panel=ENGINE_PANEL)
    ] = 0,
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
            "--token-budgets",
            "--budgets",
            help="Measure only packs of these token counts, such as 256,1024.",
            metavar="LIST",
            show_default="powers of two, and the engine's budgets",
        ),
    ] = None,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
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
    tuned: FromProfile,
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
    if calibrate and devices:
        raise typer.BadParameter("--calibrate times one engine; leave it out", param_hint="--devices")
    several = devices_of(devices)
    if plot_file is not None:
        check_picture(plot_file, purpose="bench --plot")
    if json_file is not None:
        check_file_place(json_file)
    manifest = ne.load_manifest(bundle)
    applied = tuned.applied(
        bundle,
        engine=names[0] if names else "",
        precision=precision,
        device=device,
        threads=threads,
        slots=slots,
    )
    threads, slots = applied.threads, applied.slots
    names = names or ([applied.engine] if applied.engine else [])
    if calibrate:
        from navit_edge.cli.calibrate import calibrate_engine

        calibrate_engine(
            bundle,
            manifest,
            session_options={
                "device": device,
                "engine": names[0] if names else "",
                "precision": precision,
                "threads": threads,
                "slots": slots,
            },
            as_json=as_json,
            json_file=json_file,
        )
        return
    workload = _workload(manifest, images, sizes, Decoder(decode, Recorded.of(manifest.preprocess)))

    console = err_console()
    for reason in workload.refused if workload is not None else ():
        console.print(f"left out: {reason}", style="yellow", soft_wrap=True, markup=False)

    def open_engine(name: str) -> ne.Session:
        return ne.Session(
            bundle, device=device, devices=several, engine=name, precision=precision, threads=threads, slots=slots
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
    if as_json:
        echo_json(report.as_json())
    elif isinstance(report, CompareReport):
        print_comparison(report)
    else:
        print_report(report)
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
