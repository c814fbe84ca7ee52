"""What build-engine shows: bars while it works, then engines or, with --dry-run, what they would be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.cli.common import echo_json, err_console, facts_table, out_console, size_text
from navit_edge.tables import Column, number, print_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from navit_edge.bundle.manifest import Budget, Engine, Manifest
    from navit_edge.compile import Event
    from navit_edge.compile.report import BuildReport


class BuildProgress:
    """A bar for each engine; notes above the bars."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        if event.note:
            print_note(self._console, event.note)
        if event.phase:
            if event.engine not in self._bars:
                self._bars[event.engine] = self._progress.add_task(event.engine, total=None, phase="")
            self._progress.update(
                self._bars[event.engine],
                phase=event.phase,
                total=None if event.fraction is None else 1.0,
                completed=event.fraction or 0.0,
            )


def print_note(console: Console, note: str) -> None:
    console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)


def print_engines(bundle: Path, engines: list[Engine], *, as_json: bool) -> None:
    """The engines as they stand in the bundle, with what their reports say."""
    from navit_edge.bundle import manifest as manifests
    from navit_edge.quantize.worth import advise

    manifest = manifests.load(bundle)
    reports = [_read_report(bundle, manifest, engine) for engine in engines]
    on_cpu = any(engine.backend == "openvino" and engine.target == "cpu" for engine in engines)
    advice = advise(bundle, manifest) if on_cpu else None
    if as_json:
        from dataclasses import asdict

        import msgspec

        records = [
            {
                **msgspec.to_builtins(engine),
                "bytes": manifest.files[engine.file].bytes,
                "key": report.key,
                "seconds": report.seconds,
                "lowering": report.lowering,
                "lowering_reason": report.lowering_reason,
                "fused": report.fused,
                "settings": report.settings,
                "notes": report.notes,
            }
            for engine, report in zip(engines, reports, strict=True)
        ]
        echo_json({"bundle": str(bundle), "engines": records, "advice": None if advice is None else asdict(advice)})
        return
    rows = []
    for engine, report in zip(engines, reports, strict=True):
        budgets = "\n".join(budget_text(budget) for budget in engine.budgets)
        size = size_text(manifest.files[engine.file].bytes)
        fused = {True: "yes", False: "no", None: "-"}[report.fused]
        rows.append((engine.id, engine.precision, fused, budgets, engine.file, size))
    heads = ("engine", "precision", "fused", "budgets (tokens × images)", "file", "size")
    console = out_console()
    print_table(console, "", list(map(Column, heads)), rows)
    if advice is not None:
        console.print(f"{advice.text}{f': {advice.command}' if advice.command else ''}", markup=False, soft_wrap=True)


def print_plan(engines: list[dict[str, Any]], *, as_json: bool) -> None:
    """What --dry-run found; see ``navit_edge.compile.dry_run``."""
    from rich.text import Text

    if as_json:
        echo_json({"dry_run": True, "engines": engines})
        return
    console = out_console()
    for engine in engines:
        for note in engine["notes"]:
            print_note(err_console(), note)
        state = "already built" if engine["already_built"] else "to be built"
        console.print(Text.assemble((str(engine["id"]), "bold"), f" ({state})"))
        facts = [("file", engine["file"])]
        if engine["group"] is not None:
            facts.append(("group", engine["group"]["id"]))
        facts.append(("graph", f"{engine['graph']}, lowering {engine['lowering']} ({engine['lowering_reason']})"))
        versions = ", ".join(f"{name} {version}" for name, version in engine["versions"].items())
        facts.append(("library", versions))
        settings = " ".join(
            name if value == "true" else f"{name} {value}" for name, value in engine["settings"].items()
        )
        facts += [("options", settings or "the defaults"), ("key", engine["key"])]
        console.print(facts_table(facts))
        shapes = []
        for profile in engine["profiles"]:
            budget = f"{profile['tokens']} × {profile['images']}"
            for name, shape in profile["shapes"].items():
                shapes.append((budget, name, *(_shape_text(shape[kind]) for kind in ("min", "opt", "max"))))
                budget = ""
        print_table(console, "", list(map(Column, ("budget", "input", "min", "opt", "max"))), shapes)
        if engine["operators"]:
            known = ("int8", "fp8", "bf16", "fp16", "fp32")
            kinds = [p for p in known if any(p in counts for counts in engine["operators"].values())]
            operators = [
                (operator, *(str(counts.get(kind, "")) for kind in kinds))
                for operator, counts in engine["operators"].items()
            ]
            heads = [Column("operator"), *(number(f"nodes in {kind}") for kind in kinds)]
            console.print()
            print_table(console, "", heads, operators)
    console.print("nothing was built (--dry-run)")


def budget_text(budget: Budget) -> str:
    """ "4096 × 128, 37.8 MiB" """
    activations = f", {size_text(budget.activation_bytes)}" if budget.activation_bytes is not None else ""
    return f"{budget.tokens} × {budget.images}{activations}"


def _shape_text(shape: list[int]) -> str:
    return " × ".join(str(extent) for extent in shape)


def _read_report(bundle: Path, manifest: Manifest, engine: Engine) -> BuildReport:
    from navit_edge.bundle.hashing import read_file
    from navit_edge.compile.report import BuildReport
    from navit_edge.errors import BundleError
    from navit_edge.files import decode_json

    try:
        return decode_json(read_file(bundle, manifest, str(engine.report)), BuildReport, source=str(engine.report))
    except BundleError as error:
        raise BundleError(
            f"report of engine {engine.id} cannot be read: {error}; build it again with --force"
        ) from error
