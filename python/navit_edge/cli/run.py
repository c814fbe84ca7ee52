"""`navit-edge run`: images through a bundle into a table or a file."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from navit_edge.cli.byte_sizes import MaxMemoryOption, bytes_of
from navit_edge.cli.common import (
    ENGINE_PANEL,
    BackendOptions,
    DebugOption,
    backend_options,
    check_bundle_first,
    command,
    err_console,
)
from navit_edge.cli.decoding import decoding
from navit_edge.cli.devices import DevicesOption, devices_of
from navit_edge.cli.on_ray import OnRay, job_on, on_ray
from navit_edge.cli.run_output import (
    Format,
    check_files,
    check_output,
    end,
    format_of,
    kept_arrays,
    open_output,
    place_of,
    to_terminal,
    write_report,
)
from navit_edge.cli.text_classes import TextClasses, text_classes
from navit_edge.cli.with_profile import FromProfile, with_profile
from navit_edge.decode import DecodeOptions
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import Device, EnginePrecision, Overflow

SlotsOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Packs in flight at once.",
        metavar="N",
        show_default="the engine decides, 2 on a GPU",
        rich_help_panel=ENGINE_PANEL,
    ),
]


_INPUT = "Input"
_OUTPUT = "Output"
_TOKENS = "Tokens of an image"
#: Of results of key frames that --still remembers.
_STILL_CACHE_BYTES = 64 << 20


@command
@decoding
@text_classes
@on_ray
@with_profile
def run(
    bundle: Annotated[Path, typer.Argument(help="Bundle with an engine.", metavar="BUNDLE", show_default=False)],
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, videos, folders, patterns in quotes, or - for paths on standard input.",
            metavar="IMAGES...",
            show_default=False,
        ),
    ],
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", metavar="", help="Search subfolders too.", rich_help_panel=_INPUT),
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            metavar="",
            help="Paths on standard input end with a NUL (find -print0).",
            rich_help_panel=_INPUT,
        ),
    ] = False,
    every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Run every Nth frame of a video, an animation, or a file of several pages.",
            metavar="N",
            rich_help_panel=_INPUT,
            show_default="all of a video, the first of others",
        ),
    ] = None,
    fps: Annotated[
        float,
        typer.Option(
            min=0,
            help="Run this many frames per second of a video or an animation.",
            metavar="F",
            show_default="all",
            rich_help_panel=_INPUT,
        ),
    ] = 0.0,
    still: Annotated[
        bool,
        typer.Option(
            "--still",
            metavar="",
            help="Of a video of a fixed camera, run the frames that show something new; others get the result before.",
            rich_help_panel=_INPUT,
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write results.",
            metavar="PATH",
            rich_help_panel=_OUTPUT,
            show_default="standard output",
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Format of the results.",
            rich_help_panel=_OUTPUT,
            show_default="by the suffix of PATH (.jsonl, .parquet), else table",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            metavar="",
            help="Print JSON on standard output instead of a table: one object a line for each image (--format jsonl).",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    save: Annotated[
        str,
        typer.Option(
            help="What to keep besides the classes: any of logits, embedding, tokens; or none.",
            metavar="LIST",
            rich_help_panel=_OUTPUT,
            show_default="parquet, numpy: embedding; else none",
        ),
    ] = "",
    top_k: Annotated[
        int, typer.Option(min=1, help="Classes to show of each image.", metavar="K", rich_help_panel=_OUTPUT)
    ] = 3,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Continue where the output ends; start it if there is none.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", metavar="", help="Replace the results of an existing output.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    part_rows: Annotated[
        int, typer.Option(min=1, help="Images per part of a Parquet folder.", metavar="N", rich_help_panel=_OUTPUT)
    ] = 8192,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", help="Show no progress and no summary.", rich_help_panel=_OUTPUT),
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="Write a trace of the session, for ui.perfetto.dev.",
            metavar="FILE.json",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write how many images ran, failed and were done before, and which entries were skipped.",
            metavar="FILE.json",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with the images, their patches, classes and packs (the first 200 images).",
            metavar="FILE.html",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            help="Write each image with its attention map over it, or the norms of its tokens (navit-edge docs maps).",
            metavar="DIR",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device to run on.", rich_help_panel=ENGINE_PANEL)] = "auto",
    devices: DevicesOption = "",
    engine: Annotated[
        str,
        typer.Option(
            help="Engine or group to use (inspect lists them).",
            show_default="the first that can run",
            metavar="ID",
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = "",
    precision: Annotated[
        EnginePrecision, typer.Option(help="Precision of the engine.", rich_help_panel=ENGINE_PANEL)
    ] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads.", show_default="all cores", rich_help_panel=ENGINE_PANEL)
    ] = 0,
    slots: SlotsOption = 0,
    max_memory: MaxMemoryOption = "0",
    backend_option: BackendOptions = None,
    decoders: Annotated[
        int,
        typer.Option(
            min=0,
            max=256,
            help="Threads that decode files.",
            show_default="as many as keep the engine busy",
            metavar="N",
            rich_help_panel=_INPUT,
        ),
    ] = 0,
    max_tokens: Annotated[
        int,
        typer.Option(
            min=0,
            help="Scale images down to this many patches.",
            show_default="the bundle's own limit",
            rich_help_panel=_TOKENS,
        ),
    ] = 0,
    policy: Annotated[
        str | None,
        typer.Option(
            help="Tokens per image: native, fast, balanced, quality, token-cap:N, latency:20ms, cascade:N,0.8 or "
            "content (navit-edge docs policies); alone or with +drop:blank, +drop:random,keep=0.5 (navit-edge docs "
            "tokens).",
            metavar="POLICY",
            show_default="native, or the profile's",
            rich_help_panel=_TOKENS,
        ),
    ] = None,
    overflow: Annotated[
        Overflow,
        typer.Option(
            help="If an image is larger than every token budget: fail it, or scale it down to the largest that fits "
            "(downscale); no model takes split yet.",
            rich_help_panel=_TOKENS,
        ),
    ] = "error",
    debug: DebugOption = False,
    *,
    decode: DecodeOptions,
    by_text: TextClasses,
    where: OnRay | None,
    tuned: FromProfile,
) -> None:
    """Run images of any size through a bundle. You get one result per image, in input order.

    If an image fails, its result has the error, the others complete, and the
    exit code is 1. SIGINT and SIGTERM finish the packs in flight and exit
    with 130 and 143. --resume continues after them, and after any crash.
    """
    import navit_edge as ne
    from navit_edge.run import film
    from navit_edge.run.html import JobPage
    from navit_edge.run.job import run_job, traced
    from navit_edge.run.journal import fingerprint
    from navit_edge.run.overlays import Overlays, require_map
    from navit_edge.run.progress import Progress
    from navit_edge.run.rows import layout_of
    from navit_edge.run.sources import Sources

    film.silence()
    check_bundle_first("run", bundle, images)
    place = place_of(output)
    kind = format_of(place, form, as_json)
    check_output(place, kind, resume=resume, overwrite=overwrite)
    check_files(trace=trace, report=report, html=html)
    if overlay is not None:
        try:
            require_map(bundle)
        except InvalidInputError as error:
            raise typer.BadParameter(str(error), param_hint="--overlay") from None
    if where is not None and trace is not None:
        raise typer.BadParameter("actors write no trace; expected it without --ray", param_hint="--trace")
    if where is not None and devices:
        raise typer.BadParameter("each actor has a device of its own; leave it out", param_hint="--devices")
    if where is not None and still:
        raise typer.BadParameter("actors get frames in no order; expected it without --ray", param_hint="--still")
    if every is not None and fps > 0:
        raise typer.BadParameter("both are given; expected one of them", param_hint="--every, --fps")
    applied = tuned.applied(
        bundle,
        engine=engine,
        precision=precision,
        device=device,
        threads=threads,
        slots=slots,
        policy=policy or "",
        max_memory=bytes_of(max_memory, "--max-memory"),
    )
    try:
        chosen = ne.Policy.parse(applied.policy or "native")
    except InvalidInputError as error:
        raise typer.BadParameter(str(error), param_hint="--policy") from None
    options = backend_options(backend_option)
    kept = kept_arrays(save, kind, bundle)
    classifier = by_text.classifier(bundle, threads=threads) if by_text else None
    classify = None if classifier is None else classifier.top_k
    if not math.isfinite(fps):
        raise typer.BadParameter(f"{fps}; expected a number of frames", param_hint="--fps")
    sources = Sources(
        arguments=images,
        recursive=recursive,
        null=null,
        every=every,
        fps=fps,
        formats=decode.formats,
        stdin=getattr(sys.stdin, "buffer", None),
    )
    try:
        sources.check_arguments()
    except InvalidInputError as error:
        raise typer.BadParameter(str(error), param_hint="IMAGES") from None
    sources.check()
    console = err_console()
    asked = {
        "device": device,
        "devices": devices_of(devices),
        "engine": applied.engine,
        "precision": precision,
        "threads": applied.threads,
        "slots": applied.slots,
        "max_memory": applied.max_memory,
        "max_tokens_per_image": max_tokens,
        "overflow": overflow,
        "decode": decode,
        "options": options,
        **({"cache_bytes": _STILL_CACHE_BYTES} if still else {}),
    }
    watched = bool(html or overlay)
    with job_on(where, bundle, asked, chosen, kept, top_k, by_text, decoders, with_results=watched, still=still) as (
        session,
        feed,
    ):
        if not quiet:
            announce(session)
        layout = layout_of(bundle, labels=by_text.names or session.labels, top_k=top_k, save=kept, classify=classify)
        mixed = kind == "jsonl" and to_terminal(place)  # lines would run into the bar
        progress = Progress(console, quiet=quiet, bar=not mixed, fill=feed.fill)
        job = fingerprint(
            bundle,
            engine=session.engine,
            format=kind,
            max_tokens=max_tokens,
            policy=str(chosen),
            overflow=overflow,
            every=every or 1,
            fps=fps,
            **({"animations": "every frame"} if every == 1 else {}),
            save=",".join(kept),
            top_k=top_k,
            **({"still": True} if still else {}),
            **_decoding_of(decode),
            **by_text.fingerprint(),
        )
        page = None if html is None else JobPage(bundle, session, top_k=top_k, classify=classify)
        overlays = None if overlay is None else Overlays(overlay, bundle, session)
        sink = open_output(place, kind, layout, job, progress, resume=resume, overwrite=overwrite, part_rows=part_rows)
        try:
            with traced(session, trace):
                # A policy has a reason for every image.
                scaled = overflow == "downscale" and str(chosen) == "native"
                outcome = run_job(
                    replace(sources, decoder=session.decoder, films=ne.load_manifest(bundle).frames == 1),
                    sink,
                    layout,
                    progress,
                    feed,
                    show_scaled=scaled,
                    watch=[one.take for one in (page, overlays) if one is not None],
                )
        finally:
            sink.close()
    if report is not None:
        write_report(report, outcome)
    if html is not None and page is not None:
        page.write(html, outcome)
    end(outcome, console, quiet=quiet, place=place)


def _decoding_of(decode: DecodeOptions) -> dict[str, str]:
    """What of decoding changes results, where it is not the bundle's own."""
    said = {"orientation": decode.orientation, "icc": decode.icc, "decode": decode.jpeg}
    return {name: value for name, value in said.items() if value is not None}


def announce(session: Any) -> None:
    """Which engine runs, which were passed over, and whether it has fewer slots, so that no fallback is silent."""
    from navit_edge.doctor.engines import reason_of

    console = err_console()
    for candidate, usable, detail in session.candidates:
        if not usable:
            why = reason_of(candidate, detail)
            console.print(f"passed over {candidate}: {why}", style="yellow", soft_wrap=True, markup=False)
        elif detail != session.device:
            console.print(f"{candidate}: {detail}", style="yellow", soft_wrap=True, markup=False)
    console.print(f"engine {session.engine} on {session.device}", soft_wrap=True, markup=False)
