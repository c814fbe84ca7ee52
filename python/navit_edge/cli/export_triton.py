"""`navit-edge export-triton`: a bundle as a model of Triton's model repository."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from navit_edge.cli.common import DebugOption, JsonOption, command, echo_json, facts_table, out_console
from navit_edge.errors import InvalidInputError


@command
def export_triton(
    bundle: Annotated[Path, typer.Argument(help="Bundle with engines.", metavar="BUNDLE", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Model repository: made, or added to.", metavar="DIR", show_default=False),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model, as clients ask for it.", metavar="NAME", show_default="the bundle's"),
    ] = None,
    instances: Annotated[
        int,
        typer.Option(
            help="Processes with a session each: on every GPU, or on the CPU, whose cores they share out.", metavar="N"
        ),
    ] = 1,
    no_decoupled: Annotated[
        bool,
        typer.Option(
            "--no-decoupled",
            metavar="",
            help="One response for all images of a request, which HTTP needs; else each comes as soon as it is ready.",
        ),
    ] = False,
    link: Annotated[
        bool,
        typer.Option("--link", metavar="", help="Name the bundle by its absolute path instead of copying it into DIR."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Replace the model of that name.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a bundle as a model that NVIDIA's Triton Inference Server loads as it is.

    The server's Python needs navit-edge and the engine's library. Requests
    hold images of any sizes. (navit-edge docs triton)
    """
    from navit_edge.triton import ExportRequest, export_repository

    try:
        request = ExportRequest(
            name=name or "", instances=instances, decoupled=not no_decoupled, link=link, overwrite=overwrite
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error
    exported = export_repository(bundle, output, request)
    if as_json:
        echo_json({"repository": str(output), **asdict(exported)})
        return
    console = out_console()
    facts = [
        ("model", f"{exported.name}, version {exported.version}"),
        ("bundle", exported.bundle),
        ("instances", f"{instances}, {exported.kind}"),
        ("responses", "one an image, decoupled: ask by gRPC streams" if exported.decoupled else "one a request"),
    ]
    console.print(facts_table(facts))
    console.print(f"next: tritonserver --model-repository={shlex.quote(str(output.absolute()))}", markup=False)
