"""`navit-edge tune`: how to run a bundle on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.byte_sizes import bytes_of
from navit_edge.cli.common import (
    DebugOption,
    JsonOption,
    check_bundle_first,
    command,
    echo_json,
    err_console,
    standard_output,
)
from navit_edge.errors import InvalidInputError
from navit_edge.place import check_file_place, write_file
from navit_edge.vocabulary import Aim

if TYPE_CHECKING:
    from rich.console import Console

    from navit_edge.tune import Step

_AIM = "What to tune for"
_SPACE = "What to try"
_OUTPUT = "Output"


@command
def tune(
    bundle: Annotated[Path, typer.Argument(help="Bundle with engines.", metavar="BUNDLE", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Images as you will run them.", metavar="DIR", show_default="the folder of --labels, if it is one"
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labelled images, as of evaluate: then accuracy counts, else the answers that stay the same.",
            metavar="DATA",
            show_default=False,
        ),
    ] = None,
    target_ms: Annotated[
        float | None,
        typer.Option(
            help="The 90th percentile of the latency of an image alone must be within it.",
            metavar="MS",
            show_default="none",
            rich_help_panel=_AIM,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Most memory of the process, without the images' pixels.",
            metavar="SIZE",
            show_default="no limit",
            rich_help_panel=_AIM,
        ),
    ] = None,
    power: Annotated[
        str,
        typer.Option(
            help="The power mode (Jetson) or the governor that the machine must be in; it is read and never set.",
            metavar="MODE",
            show_default="whatever it is in",
            rich_help_panel=_AIM,
        ),
    ] = "",
    aim: Annotated[
        Aim | None,
        typer.Option(
            help="Compare settings by the latency of an image alone, or by images/s.",
            show_default="latency with --target-ms, else throughput",
            rich_help_panel=_AIM,
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="Take no longer than about this.", metavar="N", rich_help_panel=_AIM)
    ] = 10.0,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Engine or group (inspect lists them); repeat for more.",
            show_default="all that run here",
            metavar="ID",
            rich_help_panel=_SPACE,
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            help="CPU threads, such as 0,1,2; 0 means all cores.",
            metavar="LIST",
            show_default="all, and powers of two below",
            rich_help_panel=_SPACE,
        ),
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(
            help="Packs in flight, such as 0,1,2; 0 means as the engine decides.",
            metavar="LIST",
            show_default="0,1,2 on a CPU, 0,1,3 on a GPU",
            rich_help_panel=_SPACE,
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            help="Token caps, such as 64,128,256.",
            metavar="LIST",
            show_default="powers of two from 64",
            rich_help_panel=_SPACE,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Policy beside the token caps, as of run; repeat for more.",
            metavar="POLICY",
            show_default="native, content, a cascade if there are classes, and latency with --target-ms",
            rich_help_panel=_SPACE,
        ),
    ] = None,
    timed_images: Annotated[
        int, typer.Option(min=1, help="Measure with so many images of DIR.", metavar="N", rich_help_panel=_SPACE)
    ] = 48,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The profile.", metavar="FILE", rich_help_panel=_OUTPUT)
    ] = Path("profile.json"),
    share: Annotated[
        Path | None,
        typer.Option(
            help="Also write the figures without any name, path or image: to send.",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", metavar="", help="Continue a tuning that did not end.", rich_help_panel=_OUTPUT),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", metavar="", help="Start anew, and replace the profile.", rich_help_panel=_OUTPUT),
    ] = False,
    as_json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress.", rich_help_panel=_OUTPUT)
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Find how to run a bundle on this machine: engine, threads, slots, and tokens of an image.

    It measures with sessions, each in a process of its own, and writes a
    profile with a recommendation for each use: fast, balanced, best.
    Session(profile=...), run, serve and bench take it. --resume continues
    after Ctrl-C, or after any crash.
    """
    import msgspec

    import navit_edge as ne
    from navit_edge.cli.tune_output import print_profile
    from navit_edge.compile.request import parse_numbers
    from navit_edge.tune import TuneRequest
    from navit_edge.tune import tune as run_tuning
    from navit_edge.tune.share import share as shared

    check_bundle_first("tune", bundle, [path for path in (images, labels) if path is not None])
    if images is None and labels is not None and labels.is_dir():
        images = labels
    if images is None:
        raise typer.BadParameter("it is missing; expected a folder of images", param_hint="--images")
    if resume and overwrite:
        raise typer.BadParameter("both are given; expected one of them", param_hint="--resume, --overwrite")
    try:
        request = TuneRequest(
            target_ms=target_ms,
            memory_bytes=None if memory is None else bytes_of(memory, "--memory"),
            minutes=minutes,
            aim=aim,
            power=power,
            engines=engine or (),
            threads=() if threads is None else parse_numbers(threads, what="threads"),
            slots=() if slots is None else parse_numbers(slots, what="slots"),
            tokens=() if tokens is None else parse_numbers(tokens, what="tokens"),
            policies=policy or (),
            images=timed_images,
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error
    if share is not None:
        check_file_place(share)
    standard_output()
    console = err_console()
    with _Progress(console, quiet=quiet) as progress:
        profile = run_tuning(
            bundle,
            images,
            output,
            request,
            labels=labels,
            resume=resume,
            overwrite=overwrite,
            on_step=progress.show,
            on_refused=lambda why: console.print(f"left out: {why}", style="yellow", soft_wrap=True, markup=False),
        )
    if as_json:
        echo_json(msgspec.to_builtins(profile))
    else:
        print_profile(profile)
    console.print(f"wrote {output}", soft_wrap=True, markup=False)
    if share is not None:
        content = msgspec.json.format(msgspec.json.encode(shared(profile, ne.load_manifest(bundle))), indent=1)
        write_file(share, content + b"\n")
        console.print(f"wrote {share}: look at it before you send it", soft_wrap=True, markup=False)


class _Progress:
    """A bar of the time that is left at most; where no terminal shows it move, nothing."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("decoding images", total=None, left="")

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, step: Step) -> None:
        left = max(0, round(step.of_seconds - step.seconds))
        self._bar.update(
            self._task,
            description=step.words,
            total=step.of_seconds,
            completed=min(step.seconds, step.of_seconds),
            left=f"at most {left // 60}:{left % 60:02} left",
        )
