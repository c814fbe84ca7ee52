"""`navit-edge verify`: the certificate of a bundle's engines on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.common import DebugOption, JsonOption, command, echo_json, err_console, fail, out_console
from navit_edge.cli.decoding import decoding
from navit_edge.decode import DecodeOptions
from navit_edge.tables import Column, number, print_table, text

if TYPE_CHECKING:
    from navit_edge.verify import Certificate, EngineCertificate
    from navit_edge.verify.certificate import Check
    from navit_edge.verify.compare import Distance


@command
@decoding
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle with engines.", metavar="BUNDLE", show_default=False)],
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Engine to check; repeat for more.", show_default="all that run here", metavar="ID"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images to check with.", show_default="drawn images", metavar="DIR"),
    ] = None,
    as_json: JsonOption = False,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Write the certificate to reports/parity.json of the bundle.")
    ] = True,
    save_inputs: Annotated[
        Path | None,
        typer.Option(
            help="Write the reference's inputs to FILE, for polygraphy run --load-inputs.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    save_outputs: Annotated[
        Path | None,
        typer.Option(
            help="Write the reference's outputs and the values around the worst layer to FILE, for --load-outputs.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
    *,
    decode: DecodeOptions,
) -> None:
    """Check engines on this machine: against float32, packed against alone, and that no image sees another.

    The reference is the bundle's float32 graph in ONNX Runtime, one image at
    a time. The exit code is 1 if an engine exceeds the tolerance that the
    manifest gives for its precision, or breaks another promise.
    """
    from navit_edge.bundle import manifest as manifests
    from navit_edge.bundle.edit import unwritable
    from navit_edge.errors import NavitEdgeError
    from navit_edge.verify import keep
    from navit_edge.verify import verify as examine
    from navit_edge.verify.weights import FINITE_WEIGHTS

    console = err_console()
    if write and (why := unwritable(bundle)):
        note = f"note: {why}; the verdict will be printed and not kept; --no-write asks for that"
        console.print(note, style="yellow", soft_wrap=True, markup=False)
    with console.status("reading the bundle") as status:
        certificate = examine(
            bundle,
            engines=engine or (),
            images=images,
            decode=decode,
            write=False,  # below, so that a bundle that takes no file does not cost the verdict
            save_inputs=save_inputs,
            save_outputs=save_outputs,
            progress=lambda name, phase: status.update(f"{name}: {phase}" if name else phase),
        )
    if as_json:
        import msgspec

        echo_json(msgspec.to_builtins(certificate))
    else:
        _print(certificate)
    for name, why in certificate.not_run.items():
        console.print(f"not run here: {name}: {why}", style="yellow", soft_wrap=True, markup=False)
    lost = ""
    if write:
        try:
            keep(bundle, certificate)
        except NavitEdgeError as error:
            lost = f"what was found is printed and not kept: {error}, or say --no-write"
    if broken := certificate.broken:
        if lost:
            console.print(lost, style="yellow", soft_wrap=True, markup=False)
        for line in _go_on(bundle, certificate, save_inputs, save_outputs):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        remedy = "do not use this engine: build it in another precision, or with --fp32-trunk"
        of_texts = {engine.id for engine in manifests.text_engines(manifests.load(bundle))}
        if all(check.holds for one in certificate.engines for check in one.checks if one.engine not in of_texts):
            remedy = "do not use this engine: export the model again, then build it again"
        if not all(check.holds for check in certificate.bundle):
            remedy = "do not use this bundle here: export the model again, with this version of navit-edge"
        if not all(check.holds for check in certificate.bundle if check.name == FINITE_WEIGHTS):
            remedy = "do not use this bundle: export a checkpoint from before the training diverged"
        fail(f"{broken[0]}{more}; {remedy}")
    if lost:
        fail(lost)


def _go_on(bundle: Path, certificate: Certificate, inputs: Path | None, outputs: Path | None) -> list[str]:
    """How Polygraphy's commands take over at the worst layer."""
    one = next((one for one in certificate.engines if one.worst_layer is not None), None)
    if one is None or one.worst_layer is None:
        return []
    worst = one.worst_layer
    lines = ["to look into the layer yourself, with Polygraphy:"]
    if inputs is None or outputs is None:
        inputs, outputs = Path("inputs.json"), Path("outputs.json")
        saved = ["--save-inputs", str(inputs), "--save-outputs", str(outputs)]
        lines.append(shlex.join(["navit-edge", "verify", str(bundle), "--engine", one.engine, "--no-write", *saved]))
    values = [value for value in (worst.after, worst.value) if value not in ("", "patches")]
    marked = [] if not worst.value else ["--onnx-outputs", *values]
    loaded = ["--load-inputs", str(inputs), "--load-outputs", str(outputs), "--atol", "1e-3", "--rtol", "1e-3"]
    lines.append(shlex.join(["polygraphy", "run", str(bundle / worst.graph), "--onnxrt", *marked, *loaded]))
    return lines


def _print(certificate: Certificate) -> None:
    console = out_console()
    console.print("the bundle on this machine", style="bold")
    _print_checks(certificate.bundle)
    for one in certificate.engines:
        _print_engine(one)


def _print_checks(checks: Sequence[Check]) -> None:
    from rich.text import Text

    rows = [
        (
            Text("yes", style="green") if check.holds else Text("NO", style="bold red"),
            check.name,
            check.found,
            check.expected,
        )
        for check in checks
    ]
    print_table(out_console(), "", [Column(""), *map(text, ("check", "found", "expected"))], rows)
    out_console().print()


def _print_engine(one: EngineCertificate) -> None:
    console = out_console()
    console.print(f"{one.engine} on {one.device}", style="bold", markup=False, soft_wrap=True)
    console.print(f"{one.images}; reference: {one.reference}", markup=False, soft_wrap=True)
    _print_distances("output", one.distances)
    _print_distances("scaled decode, to exact", one.scaled)
    _print_checks(one.checks)
    if one.worst_layer is not None:
        worst = one.worst_layer
        console.print(f"worst layer: {worst.words} ({worst.relative:.1e})", style="red", markup=False, soft_wrap=True)


def _print_distances(head: str, distances: Mapping[str, Distance]) -> None:
    console = out_console()
    if distances:
        figures = ("least\ncosine", "mean\ncosine", "max abs", "of the\nlargest value", "same\nclass")
        rows = [
            (
                name,
                f"{found.least_cosine:.6f}",
                f"{found.mean_cosine:.6f}",
                f"{found.max_abs:.2e}",
                f"{found.relative:.1e}",
                "" if found.top1_agreement is None else f"{found.top1_agreement:.0%}",
            )
            for name, found in distances.items()
        ]
        print_table(console, "", [Column(head), *map(number, figures)], rows)
        console.print()
