"""`navit-edge evaluate`: accuracy and speed of engines, policies and token caps on labelled images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.common import (
    ENGINE_PANEL,
    BackendOptions,
    DebugOption,
    JsonFileOption,
    JsonOption,
    backend_options,
    check_bundle_first,
    command,
    err_console,
    standard_output,
)
from navit_edge.cli.decoding import decoding
from navit_edge.cli.run import SlotsOption, announce
from navit_edge.cli.text_classes import TextClasses, text_classes
from navit_edge.decode import DecodeOptions
from navit_edge.errors import InvalidInputError
from navit_edge.place import check_file_place, write_file
from navit_edge.vocabulary import Device, Head, Overflow

if TYPE_CHECKING:
    from navit_edge.evaluate.request import Variant
    from navit_edge.session import Session

_ROWS = "Rows of the report"
_HEAD = "From outputs to classes"
_OUTPUT = "Output"


@command
@decoding
@text_classes
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle with engines.", metavar="BUNDLE", show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of class folders, or a CSV or Parquet file with the columns path and label.",
            metavar="DATA",
            show_default=False,
        ),
    ],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Engine or group (inspect lists them); repeat for more.",
            show_default="all that run here",
            metavar="ID",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Only engines of these precisions, such as fp32,int8.",
            metavar="LIST",
            show_default="all",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Tokens per image, as of run; repeat for more.",
            metavar="POLICY",
            show_default="native",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            help="Scale images down to these many patches, such as 64,128,256; 0 means as the bundle says.",
            metavar="LIST",
            show_default="0",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    head: Annotated[
        Head,
        typer.Option(
            help="The bundle's classifier; neighbours or a linear probe in embeddings of --train; the nearest other "
            "image of DATA; or the nearest text (zero-shot), of --classes or of DATA's own labels.",
            show_default="the classifier",
            rich_help_panel=_HEAD,
        ),
    ] = "auto",
    train: Annotated[
        Path | None,
        typer.Option(
            help="Training images of knn and linear, in the form of DATA.",
            metavar="DATA",
            show_default=False,
            rich_help_panel=_HEAD,
        ),
    ] = None,
    neighbors: Annotated[
        int, typer.Option(min=1, help="Neighbours that vote.", metavar="N", rich_help_panel=_HEAD)
    ] = 20,
    recall: Annotated[
        str, typer.Option(help="Values of k of recall@k, or none.", metavar="LIST", rich_help_panel=_HEAD)
    ] = "1,5,10",
    margin: Annotated[
        float,
        typer.Option(help="Loss of top-1 that matters, in points.", metavar="POINTS", rich_help_panel=_OUTPUT),
    ] = 1.0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Keep all outputs and the report in this folder.",
            metavar="DIR",
            show_default="nothing is kept",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", metavar="", help="Continue what the folder has; start it if it is new.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", metavar="", help="Replace what the folder has.", rich_help_panel=_OUTPUT),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw accuracy against time, with the Pareto front.",
            metavar="FILE.png",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress.", rich_help_panel=_OUTPUT)
    ] = False,
    timed_images: Annotated[
        int,
        typer.Option(
            min=0,
            help="Measure time with so many images of DATA; 0: not at all.",
            metavar="N",
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = 64,
    duration: Annotated[
        float,
        typer.Option(
            min=0,
            help="Measure images/s, and latency, for at least S seconds.",
            metavar="S",
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = 1.0,
    device: Annotated[Device, typer.Option(help="Device to run on.", rich_help_panel=ENGINE_PANEL)] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads.", show_default="all cores", rich_help_panel=ENGINE_PANEL)
    ] = 0,
    slots: SlotsOption = 0,
    backend_option: BackendOptions = None,
    decoders: Annotated[
        int,
        typer.Option(
            min=0,
            max=256,
            help="Threads that decode files.",
            show_default="as many as keep the engine busy",
            metavar="N",
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = 0,
    overflow: Annotated[
        Overflow,
        typer.Option(
            help="If an image is larger than every token budget: fail it, or scale it down to the largest that fits.",
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = "error",
    debug: DebugOption = False,
    *,
    decode: DecodeOptions,
    by_text: TextClasses,
) -> None:
    """Measure accuracy and speed of engines, policies and token caps on labelled images.

    Each row is compared with the float32 engine at the bundle's own tokens:
    how many answers are the same, the difference of top-1, and McNemar's p.
    Images that cannot be decoded are counted and left out. --resume continues
    an interrupted evaluation.
    """
    from navit_edge.compile.request import parse_numbers, parse_words
    from navit_edge.doctor.engines import reason_of
    from navit_edge.evaluate import EvaluateRequest, InterruptedEvaluation
    from navit_edge.evaluate import evaluate as run_evaluation
    from navit_edge.evaluate.picture import plot as draw
    from navit_edge.evaluate.runner import report_json
    from navit_edge.picture import check_picture

    check_bundle_first("evaluate", bundle, [data])
    if resume and overwrite:
        raise typer.BadParameter("both are given; expected one of them", param_hint="--resume, --overwrite")
    if output is None and (resume or overwrite):
        raise typer.BadParameter("without --output there is nothing to continue", param_hint="--resume, --overwrite")
    try:
        request = EvaluateRequest(
            engines=engine or (),
            precisions=() if precision is None else parse_words(precision),
            policies=policy or ("native",),
            caps=(0,) if tokens is None else parse_numbers(tokens, what="tokens"),
            head=head,
            classes=by_text.names,
            **({"templates": by_text.templates} if by_text else {}),
            neighbors=neighbors,
            recall=() if recall == "none" else parse_numbers(recall, what="recall"),
            margin=margin / 100,
            timed_images=timed_images,
            duration_s=duration,
            device=device,
            threads=threads,
            slots=slots,
            overflow=overflow,
            options=backend_options(backend_option),
            decode=decode,
            decoders=decoders,
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error
    if plot is not None:
        if timed_images == 0:
            raise typer.BadParameter("with --timed-images 0 there is no time to draw", param_hint="--plot")
        check_picture(plot, purpose="evaluate --plot")
    if json_file is not None:
        check_file_place(json_file)
    standard_output()
    console = err_console()

    def said(session: Session, variant: Variant, number: int, of: int) -> None:
        if not quiet:
            announce(session)
            cap = f", at most {variant.cap} patches" if variant.cap else ""
            console.print(f"row {number} of {of}: policy {variant.policy}{cap}", soft_wrap=True, markup=False)

    try:
        report = run_evaluation(
            bundle,
            data,
            request,
            train=train,
            folder=output,
            resume=resume,
            overwrite=overwrite,
            console=None if quiet else console,
            on_session=said,
        )
    except InterruptedEvaluation as error:
        import signal

        again = "; --resume continues from here" if output is not None else ""
        sys.stderr.write(f"interrupted by {signal.Signals(error.signal).name}{again}\n")
        raise typer.Exit(128 + error.signal) from None
    if as_json:
        typer.echo(report_json(report), nl=False, file=standard_output())
    else:
        from navit_edge.cli.evaluate_output import print_report

        print_report(report)
    if json_file is not None:
        write_file(json_file, report_json(report).encode())
        console.print(f"wrote {json_file}", soft_wrap=True, markup=False)
    for name, why in report.not_run.items():
        console.print(f"not run here: {name}: {reason_of(name, why)}", style="yellow", soft_wrap=True, markup=False)
    if plot is not None:
        draw(report, plot)
        console.print(f"wrote {plot}", soft_wrap=True, markup=False)
