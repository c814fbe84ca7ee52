"""`navit-edge inspect`: what is in a bundle."""

from __future__ import annotations

import shlex
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
    short_version,
    size_text,
)
from navit_edge.tables import Column, number, print_table, text

if TYPE_CHECKING:
    from rich.console import Console

    from navit_edge.bench.plateau import Plateau
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.memory import EngineMemory, EngineNeed


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
    from navit_edge.memory import engine_memory, memory_plan

    options = backend_options(backend_option)
    manifest = manifests.load(bundle)
    memory = {engine.id: memory_plan(bundle, engine.id) for engine in manifest.engines}
    needs = {engine.id: engine_memory(bundle, engine.id) for engine in manifest.engines}
    problems = _problems(bundle, manifest, verify)
    plateaus = _plateaus(bundle, manifest, options) if plateau else {}
    if as_json:
        echo_json(describe(manifest, problems, verify, memory, plateaus, needs))
    else:
        _print(bundle, manifest, problems, verify, memory, needs)
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
    needs: dict[str, EngineNeed],
) -> dict[str, Any]:
    """The manifest as JSON, with the size and the memory of each engine and the state of each file."""
    import dataclasses

    import msgspec

    content: dict[str, Any] = msgspec.to_builtins(manifest)
    for engine in content["engines"]:
        engine["bytes"] = content["files"][engine["file"]]["bytes"]
        engine["memory"] = _memory_json(memory[engine["id"]], needs[engine["id"]])
        if engine["id"] in plateaus:
            engine["memory"]["plateau"] = dataclasses.asdict(plateaus[engine["id"]])
    for name, file in content["files"].items():
        file["state"] = problems.get(name) or ("verified" if verified else "present")
    return content


def _memory_json(memory: EngineMemory, need: EngineNeed) -> dict[str, Any]:
    import dataclasses

    return {
        "threads": memory.threads,
        "budgets": [{**dataclasses.asdict(budget), "total": budget.total} for budget in memory.budgets],
        "slot_bytes": memory.slot_bytes,
        "session_bytes": {str(slots): memory.session_bytes(slots) for slots in (1, 2)},
        "engine": {**dataclasses.asdict(need), "total": need.total},
        "process_bytes": need.process_bytes,
    }


def _print(
    bundle: Path,
    manifest: Manifest,
    problems: dict[str, str],
    verified: bool,
    memory: dict[str, EngineMemory],
    needs: dict[str, EngineNeed],
) -> None:
    from rich.text import Text

    from navit_edge.bundle.manifest import SOURCE_PREFIX
    from navit_edge.cli.preprocessing_output import print_preprocessing

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
        ("patches", f"{preprocess.patch_px} px, {preprocess.channels} channels"),
        *_merging_facts(manifest),
        ("labels", _labels_text(manifest)),
        *_text_facts(manifest),
        (
            "made by",
            ", ".join(
                value if key == "tool" else f"{key} {value}"
                for key, value in manifest.created_by.items()
                if not key.startswith((SOURCE_PREFIX, "sha256 of "))  # --json shows those of the files
            ),
        ),
    ]
    console.print(facts_table(facts))
    console.print()
    print_preprocessing(console, manifest)
    console.print()
    print_table(
        console,
        "graphs",
        [*map(Column, ("graph", "file", "layers in")), number("opset"), Column("inputs"), Column("outputs")],
        [
            (
                graph.id,
                graph.file,
                "float32" if graph.quantization == "none" else graph.quantization,
                str(graph.opset),
                *("\n".join(f"{t.name} {t.dtype} [{', '.join(map(str, t.shape))}]" for t in tensors)
                  for tensors in (graph.inputs, graph.outputs)),
            )
            for graph in manifest.graphs
        ],
    )  # fmt: skip
    console.print()
    if manifest.engines:
        _print_engines(console, manifest)
        console.print()
        _print_memory(console, list(memory.values()))
        _print_needs(console, manifest, needs)
    else:
        console.print(
            f"no engines; build one: navit-edge build-engine {shlex.quote(str(bundle))} --backend openvino",
            soft_wrap=True,
        )
    console.print()
    state = {name: Text("missing or altered", style="red") for name in problems}
    rows = [
        (name, size_text(file.bytes), state.get(name, Text("verified" if verified else "present")))
        for name, file in manifest.files.items()
    ]
    print_table(console, "files", [Column("file"), number("size"), Column("state")], rows)


def _labels_text(manifest: Manifest) -> str:
    scores = f", scores by {manifest.scores}" if isinstance(manifest.scores, str) else ""
    return f"{len(manifest.labels)}{scores}" if manifest.labels else "none"


def _merging_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Where the model merges tokens, and how many are left; nothing if it does not."""
    from navit_edge.bundle.merging import Merging

    merging = manifest.model.merging
    if not isinstance(merging, Merging):
        return []
    return [
        (
            "merging",
            f"behind the attention of block {merging.layer}, from 0, an image keeps {merging.keep:g} of its patches "
            f"({merging.method}, in groups of up to {merging.group})",
        )
    ]


def _text_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """What the text tower takes and gives, and its engines; nothing if there is none."""
    from navit_edge.bundle.manifest import TextTower

    tower = manifest.text
    if not isinstance(tower, TextTower):
        return []
    tokens, width = (spec.shape[-1] for spec in (tower.inputs[0], tower.outputs[0]))
    engines = ", ".join(engine.id for engine in tower.engines) or "none"
    return [("texts", f"{tower.file}, {tokens} tokens, embeddings of {width}; engines: {engines}")]


def _print_engines(console: Console, manifest: Manifest) -> None:
    print_table(
        console,
        "engines, in order of preference",
        [*map(Column, ("engine", "runs on", "graph", "budgets (tokens × images)")), number("size"), text("built with")],
        [
            (
                engine.id if engine.group is None else f"{engine.id}\nof group {engine.group.id}",
                engine.target,
                engine.graph,
                "\n".join(budget_text(budget) for budget in engine.budgets),
                size_text(manifest.files[engine.file].bytes),
                "\n".join(f"{key} {short_version(value)}" for key, value in engine.builder.items()),
            )
            for engine in manifest.engines
        ],
    )


def _print_memory(console: Console, engines: list[EngineMemory]) -> None:
    """Bytes per slot and budget, and of a whole session."""
    from rich.text import Text

    threads = engines[0].threads
    words = f"host memory with {threads} thread{'s' if threads > 1 else ''} (navit-edge docs memory)"
    console.print(Text(words, style="bold"))
    for memory in engines:
        console.print()
        one, two = (size_text(memory.session_bytes(slots)) for slots in (1, 2))
        print_table(
            console,
            f"{memory.engine}: {one} with one slot, {two} with two",
            [Column("budget"), *map(number, ("inputs", "scratch", "outputs", "a slot"))],
            [
                (
                    f"{budget.tokens} × {budget.images}",
                    *(size_text(part) for part in (budget.inputs, budget.scratch, budget.outputs, budget.total)),
                )
                for budget in memory.budgets
            ],
        )


def _print_needs(console: Console, manifest: Manifest, needs: dict[str, EngineNeed]) -> None:
    """What the engines of a CPU take themselves; of a GPU's nothing is known but the file."""
    rows = [
        (
            engine.id,
            *(size_text(part) for part in (need.library, need.weights, need.activations, need.shapes)),
            size_text(need.process_bytes),
        )
        for engine in manifest.engines
        if engine.target.startswith("cpu")
        for need in (needs[engine.id],)
    ]
    if not rows:
        return
    console.print()
    columns = ("libraries", "weights", "activations", "shapes", "a process grows by")
    print_table(console, "engines themselves, one slot", [Column("engine"), *map(number, columns)], rows)
