"""`navit-edge inspect`: what is in a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from navit_edge.cli.build_output import budget_text
from navit_edge.cli.common import DebugOption, command, fail, out_console, size_text

if TYPE_CHECKING:
    from navit_edge.manifest import Manifest


@command
def inspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle to look into.", metavar="BUNDLE", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="The same as one JSON object.")] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", metavar="", help="Compare every file with its SHA-256; else only that it is there."),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Show a bundle: model, preprocessing, graphs, engines with their budgets, files.

    The exit code is 1 where a file is missing or, with --verify, altered.
    """
    from navit_edge import manifest as manifests

    manifest = manifests.load(bundle)
    problems = _problems(bundle, manifest, verify)
    if as_json:
        typer.echo(json.dumps(describe(manifest, problems, verify), indent=2, ensure_ascii=False))
    else:
        _print(manifest, problems, verify)
    if problems:
        fail("; ".join(problems.values()))


def _problems(bundle: Path, manifest: Manifest, verify: bool) -> dict[str, str]:
    """File -> what is wrong with it."""
    from navit_edge import bundle as bundles

    names = manifest.files if verify else bundles.missing_files(bundle, manifest)
    found = {name: _problem(bundle, manifest, name) for name in names}
    return {name: problem for name, problem in found.items() if problem}


def _problem(bundle: Path, manifest: Manifest, name: str) -> str:
    from navit_edge import bundle as bundles
    from navit_edge.errors import BundleError

    try:
        bundles.verify_files(bundle, manifest, [name])
    except BundleError as error:
        return str(error)
    return ""


def describe(manifest: Manifest, problems: dict[str, str], verified: bool) -> dict[str, Any]:
    """The manifest as JSON, with the size of each engine and the state of each file."""
    import msgspec

    content: dict[str, Any] = msgspec.to_builtins(manifest)
    for engine in content["engines"]:
        engine["bytes"] = content["files"][engine["file"]]["bytes"]
    for name, file in content["files"].items():
        file["state"] = problems.get(name) or ("verified" if verified else "present")
    return content


def _print(manifest: Manifest, problems: dict[str, str], verified: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from navit_edge.sizing import describe as describe_sizing

    console = out_console()
    model, preprocess = manifest.model, manifest.preprocess

    facts = Table.grid(padding=(0, 2))
    prefix = f", {model.prefix_tokens} prefix tokens" if model.prefix_tokens else ""
    for name, value in (
        ("bundle", manifest.name),
        (
            "model",
            f"{model.family}, width {model.width}, depth {model.depth}, heads {model.heads}{prefix}, "
            f"{model.parameters / 1e6:.1f} M parameters",
        ),
        (
            "preprocessing",
            f"{describe_sizing(preprocess.sizing)}, {preprocess.filter}, patches of {preprocess.patch_px} px, "
            f"{preprocess.channels} channels",
        ),
        ("labels", str(len(manifest.labels)) if manifest.labels else "none"),
        ("made by", ", ".join(f"{key} {value}" for key, value in manifest.created_by.items())),
    ):
        facts.add_row(Text(name, style="bold"), Text(value))
    console.print(facts)

    graphs = Table("graph", "file", "layers in", "opset", "inputs", "outputs", title="graphs", title_justify="left")
    for graph in manifest.graphs:
        specs = [
            "\n".join(f"{t.name} {t.dtype} [{', '.join(map(str, t.shape))}]" for t in tensors)
            for tensors in (graph.inputs, graph.outputs)
        ]
        layers = "float32" if graph.quantization == "none" else graph.quantization
        graphs.add_row(graph.id, graph.file, layers, str(graph.opset), *(Text(spec) for spec in specs))
    console.print(graphs)

    if manifest.engines:
        engines = Table(
            "engine", "runs on", "graph", "budgets (tokens × images, activations)", "size", "built with",
            title="engines, in order of preference", title_justify="left",
        )  # fmt: skip
        for engine in manifest.engines:
            engines.add_row(
                engine.id if engine.group is None else f"{engine.id}\nof group {engine.group.id}",
                engine.target,
                engine.graph,
                "\n".join(budget_text(budget) for budget in engine.budgets),
                size_text(manifest.files[engine.file].bytes),
                "\n".join(f"{key} {value}" for key, value in engine.builder.items()),
            )
        console.print(engines)
    else:
        console.print("no engines; build one: navit-edge build-engine BUNDLE --backend openvino")

    files = Table("file", "size", "state", title="files", title_justify="left")
    for name, file in manifest.files.items():
        wrong = Text("missing or altered", style="red")
        files.add_row(name, size_text(file.bytes), wrong if name in problems else "verified" if verified else "present")
    console.print(files)
