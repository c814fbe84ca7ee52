"""`navit-edge up`: checkpoint to results in one command. Each step is one of the single ones, and is shown as that."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from navit_edge.cli.common import DebugOption, command, err_console
from navit_edge.cli.export import check_checkpoint
from navit_edge.errors import InvalidInputError

#: What else decides a bundle, beside the checkpoint and the options.
_EXPORTERS = ("navit-edge", "torch", "onnx", "onnxscript")


@command
def up(
    source: Annotated[
        Path,
        typer.Argument(
            help="Checkpoint (a file, a Hugging Face folder, or hf:ORG/NAME) or bundle.",
            metavar="CHECKPOINT|BUNDLE",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(help="Images, as run takes them.", metavar="IMAGES...", show_default=False),
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Bundle to make of a checkpoint.",
            metavar="NAME.navit",
            show_default="the checkpoint's name, in this folder",
        ),
    ] = None,
    family: Annotated[str | None, typer.Option(help="As export's.", show_default="guessed", metavar="NAME")] = None,
    labels: Annotated[Path | None, typer.Option(help="As export's.", metavar="FILE", show_default=False)] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="As export's.", show_default="the checkpoint's, or 1024")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="As build-engine's.",
            metavar="NAME",
            show_default="tensorrt-rtx or tensorrt if there is an NVIDIA GPU, else openvino",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="As run's.", metavar="K")] = 3,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="As run's: one line of JSON per image.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="As run's.", metavar="PATH", show_default="standard output")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", metavar="", help="Export and build again even if nothing changed.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """From a checkpoint to results: export, build-engine for this machine, run.

    A step whose result is there and unchanged is skipped. The commands are
    shown as they run, so that you can go on with them. Only export needs
    torch: pip install "navit-edge[export]".
    """
    if (source / "manifest.json").is_file():
        if bundle is not None or family is not None or labels is not None or max_tokens is not None:
            raise typer.BadParameter(
                f"{source} is a bundle; --bundle, --family, --labels and --max-tokens are for a checkpoint"
            )
        made = source
    else:
        check_checkpoint(source, "checkpoint or bundle")
        made = bundle or Path(_name_of(source) + ".navit")
        options = {"--family": family, "--labels": labels, "--max-tokens": max_tokens}
        _export(source, made, {name: str(value) for name, value in options.items() if value is not None}, fresh=fresh)
    _build(made, backend or _backend_of_this_machine(), fresh=fresh)
    words = ["run", str(made), *images, "--top-k", str(top_k)]
    if as_json:
        words.append("--json")
    if output is not None:
        words += ["--output", str(output)]
    _step(*words)


def _export(checkpoint: Path, bundle: Path, options: dict[str, str], *, fresh: bool) -> None:
    """Unless the bundle was made of the same things. What it was made of stands in a file beside it."""
    stamp = bundle.with_suffix(".made-of")
    made_of = _fingerprint(checkpoint, options)
    if bundle.exists():
        known = stamp.read_text(encoding="ascii", errors="replace") if stamp.is_file() else ""
        if known == made_of and not fresh:
            err_console().print(f"{bundle} is there and unchanged", style="dim", soft_wrap=True)
            return
        if not known:
            raise InvalidInputError(
                f"{bundle} is there, and `navit-edge up` did not make it; run it as it is (navit-edge up {bundle} "
                "IMAGES...), or name another bundle with --bundle"
            )
    words = ["export", "--checkpoint", str(checkpoint), "--output", str(bundle)]
    for name, value in options.items():
        words += [name, value]
    stamp.unlink(missing_ok=True)
    _step(*words, *(["--overwrite"] if bundle.exists() else []))
    stamp.write_text(made_of, encoding="ascii")


def _name_of(checkpoint: Path) -> str:
    if _is_of_the_hub(checkpoint):
        return str(checkpoint).partition("@")[0].rpartition("/")[2]
    return checkpoint.name if checkpoint.is_dir() else checkpoint.stem


def _is_of_the_hub(checkpoint: Path) -> bool:
    return str(checkpoint).startswith("hf:")


def _fingerprint(checkpoint: Path, options: dict[str, str]) -> str:
    """SHA-256 of the checkpoint's files (of the Hub: its commit), the options, and the versions of what exports."""
    from navit_edge.bundle.hashing import hash_file

    whole = hashlib.sha256()
    if _is_of_the_hub(checkpoint):
        from navit_edge_export.families.hub import open_hub_folder

        whole.update(f"{checkpoint} {open_hub_folder(checkpoint).commit}\n".encode())
        paths = []
    else:
        paths = (
            sorted(path for path in checkpoint.rglob("*") if path.is_file()) if checkpoint.is_dir() else [checkpoint]
        )
    named = [Path(value) for name, value in options.items() if name == "--labels"]
    for path in (*paths, *named):
        whole.update(f"{path.name} {hash_file(path, follow_links=True).sha256}\n".encode())
    for package in _EXPORTERS:
        if find_spec(package.replace("-", "_")) is not None:
            whole.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    whole.update(repr(sorted(options.items())).encode())
    return whole.hexdigest()


def _backend_of_this_machine() -> str:
    """TensorRT where an NVIDIA GPU and a builder for it are, else OpenVINO."""
    from navit_edge.machine.gpu import read_gpu

    builders = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
    installed = [backend for backend, package in builders.items() if find_spec(package) is not None]
    return installed[0] if installed and read_gpu() is not None else "openvino"


def _build(bundle: Path, backend: str, *, fresh: bool) -> None:
    """Unless an engine of the backend runs here; without a builder, of any backend."""
    from navit_edge.bundle import manifest as manifests

    has_builder = find_spec(backend.replace("-", "_")) is not None
    if not fresh:
        for engine in manifests.load(bundle).engines:
            if (engine.backend == backend or not has_builder) and _runs_here(bundle, engine.id):
                err_console().print(f"{engine.id} is there and runs here", style="dim", soft_wrap=True)
                return
    target = ["--target", "native"] if backend == "tensorrt-rtx" else []
    _step("build-engine", str(bundle), "--backend", backend, *target, *(["--force"] if fresh else []))


def _runs_here(bundle: Path, engine: str) -> bool:
    import navit_edge as ne

    try:
        with ne.Session(bundle, engine=engine):
            return True
    except ne.BackendError:
        return False


def _step(*words: str) -> None:
    """Shows and runs a command; ends with its exit code if it fails. Standard output is for what ``run`` says."""
    from navit_edge.cli.main import app

    err_console().print(f"$ {shlex.join(['navit-edge', *words])}", style="bold", soft_wrap=True)
    group: Any = typer.main.get_command(app)
    with contextlib.ExitStack() as stack:
        if words[0] != "run":
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        code = group.main(args=list(words), prog_name="navit-edge", standalone_mode=False)
    if code:
        raise typer.Exit(int(code))
