"""`navit-edge inspect`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from navit_edge.cli.build_output import budget_text
from navit_edge.cli.common import (
    BackendOptions,
    DebugOption,
    JsonOption,
    backend_options,
    command,
    echo_json,
    facts_table,
    fail,
    out_console,
    size_text,
)

if TYPE_CHECKING:
    from rich.table import Table

    from navit_edge.bench.plateau import Plateau
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.memory import EngineMemory


@command
def inspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle to show.", metavar="BUNDLE", show_default=False)],
    as_json: JsonOption = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", metavar="", help="Compare every file with its SHA-256, not only check that it exists."
        ),
    ] = False,
    plateau: Annotated[
        bool,
        typer.Option(
            "--plateau",
            metavar="",
            help="Run the CPU engines until new shapes add no memory, and show how much they hold (takes minutes).",
        ),
    ] = False,
    backend_option: BackendOptions = None,
    debug: DebugOption = False,
) -> None:
    """Show a bundle: model, preprocessing, graphs, engines with their budgets, files.

    The exit code is 1 if a file is missing or, with --verify, altered.
    """
    from navit_edge.bundle import manifest as manifests
    from navit_edge.memory import memory_plan

    options = backend_options(backend_option)
    manifest = manifests.load(bundle)
    memory = {engine.id: memory_plan(bundle, engine.id) for engine in manifest.engines}
    problems = _problems(bundle, manifest, verify)
    plateaus = _plateaus(bundle, manifest, options) if plateau else {}
    if as_json:
        echo_json(describe(manifest, problems, verify, memory, plateaus))
    else:
        _print(manifest, problems, verify, memory)
        for one in plateaus.values():
            out_console().print(_plateau_text(one), soft_wrap=True, markup=False)
    if problems:
        fail("; ".join(problems.values()))


def _plateaus(bundle: Path, manifest: Manifest, options: dict[str, str]) -> dict[str, Plateau]:
    """Engine of the CPU -> what was measured."""
    from navit_edge.bench.plateau import measure

    return {
        engine.id: measure(bundle, engine.id, options=options)
        for engine in manifest.engines
        if engine.target.startswith("cpu")
    }


def _plateau_text(plateau: Plateau) -> str:
    return (
        f"{plateau.engine}: a process of one session holds {size_text(plateau.plateau_bytes)} at its plateau, "
        f"{size_text(plateau.opened_bytes)} when it opens, {size_text(plateau.closed_bytes)} when it is closed "
        f"({plateau.packs} packs of new shapes)"
    )


def _problems(bundle: Path, manifest: Manifest, verify: bool) -> dict[str, str]:
    """File -> what is wrong with it."""
    from navit_edge.bundle import hashing

    names = manifest.files if verify else hashing.missing_files(bundle, manifest)
    found = {name: _problem(bundle, manifest, name) for name in names}
    return {name: problem for name, problem in found.items() if problem}


def _problem(bundle: Path, manifest: Manifest, name: str) -> str:
    from navit_edge.bundle import hashing
    from navit_edge.errors import BundleError

    try:
        hashing.verify_files(bundle, manifest, [name])
    except BundleError as error:
        return str(error)
    return ""


def describe(
    manifest: Manifest,
    problems: dict[str, str],
    verified: bool,
    memory: dict[str, EngineMemory],
    plateaus: dict[str, Plateau],
) -> dict[str, Any]:
    """The manifest as JSON, with the size and the memory of each engine and the state of each file."""
    import dataclasses

    import msgspec

    content: dict[str, Any] = msgspec.to_builtins(manifest)
    for engine in content["engines"]:
        engine["bytes"] = content["files"][engine["file"]]["bytes"]
        engine["memory"] = _memory_json(memory[engine["id"]])
        if engine["id"] in plateaus:
            engine["memory"]["plateau"] = dataclasses.asdict(plateaus[engine["id"]])
    for name, file in content["files"].items():
        file["state"] = problems.get(name) or ("verified" if verified else "present")
    return content


def _memory_json(memory: EngineMemory) -> dict[str, Any]:
    import dataclasses

    return {
        "threads": memory.threads,
        "budgets": [{**dataclasses.asdict(budget), "total": budget.total} for budget in memory.budgets],
        "slot_bytes": memory.slot_bytes,
        "session_bytes": {str(slots): memory.session_bytes(slots) for slots in (1, 2)},
    }


def _print(manifest: Manifest, problems: dict[str, str], verified: bool, memory: dict[str, EngineMemory]) -> None:
    from rich.table import Table
    from rich.text import Text

    from navit_edge.bundle.sizing_rule import describe as describe_sizing

    console = out_console()
    model, preprocess = manifest.model, manifest.preprocess

    prefix = f", {model.prefix_tokens} prefix tokens" if model.prefix_tokens else ""
    facts = [
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
        (
            "made by",
            ", ".join(value if key == "tool" else f"{key} {value}" for key, value in manifest.created_by.items()),
        ),
    ]
    console.print(facts_table(facts))

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
        console.print(_memory_table(list(memory.values())))
    else:
        console.print("no engines; build one: navit-edge build-engine BUNDLE --backend openvino")

    files = Table("file", "size", "state", title="files", title_justify="left")
    for name, file in manifest.files.items():
        wrong = Text("missing or altered", style="red")
        files.add_row(name, size_text(file.bytes), wrong if name in problems else "verified" if verified else "present")
    console.print(files)


def _memory_table(engines: list[EngineMemory]) -> Table:
    """Bytes per slot and budget, and of a whole session."""
    from rich.table import Table

    threads = engines[0].threads
    table = Table(
        "engine", "budget", "inputs", "scratch", "outputs", "a slot", "a session of 1, 2 slots",
        title=f"host memory with {threads} thread{'s' if threads > 1 else ''} (docs/memory.md)", title_justify="left",
    )  # fmt: skip
    for memory in engines:
        for i, budget in enumerate(memory.budgets):
            last = i == len(memory.budgets) - 1
            table.add_row(
                memory.engine if i == 0 else "",
                f"{budget.tokens} × {budget.images}",
                *(size_text(part) for part in (budget.inputs, budget.scratch, budget.outputs, budget.total)),
                ", ".join(size_text(memory.session_bytes(slots)) for slots in (1, 2)) if last else "",
            )
    return table
