"""`navit-edge export`: checkpoint to bundle."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec
import typer

from navit_edge import files
from navit_edge.cli.common import (
    DebugOption,
    JsonOption,
    command,
    echo,
    echo_json,
    err_console,
    make_progress,
    size_text,
)
from navit_edge.cli.text_classes import TextClasses, text_classes
from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.text import shown
from navit_edge.token_parts import parse_outputs
from navit_edge.vocabulary import PROCESSOR_FILTERS, WHITE, AlphaRule, Decode, Filter, Icc, Orientation, Processor

if TYPE_CHECKING:
    from navit_edge.bundle.sizing_rule import Sizing
    from navit_edge_export.families.registry import Imported, Preprocessing
    from navit_edge_export.model.config import NaViTConfig

#: How weights are called, and models of the Hub are not.
_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz")
#: Of the reference model (navit_edge_export.model.config.SIZES).
ModelSize: TypeAlias = Literal["ti16", "s16", "b16", "l16"]


@command
@text_classes
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle to write.", metavar="NAME.navit")],
    model: Annotated[ModelSize | None, typer.Option(help="Size of the reference NaViT.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with fields of the model's config. It changes fields of --model or replaces a checkpoint's "
            "config.json.",
            metavar="FILE",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Weights: a safetensors file, a Hugging Face folder, a file of torch.save that holds tensors only, or "
            "hf:ORG/NAME[@REVISION], of which the files that are needed are downloaded.",
            metavar="FILE|DIR|HF:NAME",
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Family of the checkpoint, such as siglip2 (navit-edge docs families).",
            show_default="guessed from its config or its keys",
            metavar="NAME",
        ),
    ] = None,
    mean: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            help="Mean of pixels / 255 in training, if the checkpoint does not say.",
            show_default="the checkpoint's",
            metavar="R G B",
        ),
    ] = None,
    std: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            help="Standard deviation of pixels / 255 in training.", show_default="the checkpoint's", metavar="R G B"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random weights, without --checkpoint.")] = 0,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest number of patches of an image, for the sizing rules token-cap, naflex and patch-budget.",
            show_default="the checkpoint's, or 1024",
        ),
    ] = None,
    sizing: Annotated[
        str | None,
        typer.Option(
            help="Which grid an image gets: token-cap, native, naflex, smart-resize, longest-side, fixed or "
            "navit-resize, with its fields, as smart-resize:merge=2,min_pixels=3136,max_pixels=1003520 (navit-edge "
            "docs preprocessing).",
            show_default="the family's, or token-cap",
            metavar="RULE[:KEY=VALUE,…]",
        ),
    ] = None,
    resample: Annotated[
        Filter | None,
        typer.Option("--filter", help="Filter of the resize.", show_default="the checkpoint's, or bilinear"),
    ] = None,
    processor: Annotated[
        Processor | None,
        typer.Option(
            help="Whose image processor's pixels the model gets, bit for bit.",
            show_default="what transformers would run for the checkpoint, or pillow",
        ),
    ] = None,
    alpha: Annotated[
        AlphaRule | None,
        typer.Option(
            help="Drop an image's alpha channel, composite it over --background, or refuse the image.",
            show_default="the family's, or drop",
        ),
    ] = None,
    background: Annotated[
        tuple[int, int, int],
        typer.Option(help="Red, green and blue behind transparent pixels.", min=0, max=255, metavar="R G B"),
    ] = WHITE,
    orientation: Annotated[
        Orientation | None,
        typer.Option(
            help="Turn image files upright by EXIF or container, or leave them as the decoder gives them.",
            show_default="the family's, or apply",
        ),
    ] = None,
    icc: Annotated[
        Icc, typer.Option(help="Ignore the colour profile of image files, or convert them to sRGB.")
    ] = "ignore",
    decode: Annotated[
        Decode,
        typer.Option(
            help="Decode JPEG files exactly, or, where they are made smaller, at a part of their sides: other pixels."
        ),
    ] = "exact",
    frames: Annotated[
        int,
        typer.Option(
            min=1,
            max=2,
            help="Frames of a film that a patch holds: 2 for videos, of Qwen's line (navit-edge docs families).",
        ),
    ] = 1,
    labels: Annotated[Path | None, typer.Option(help="Text file with one class name per line.", metavar="FILE")] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            help="One or more of logits, embedding, tokens, projected, deepstack, tokens@0,3 (of these blocks), "
            "attention-map, attention-map@heads, saliency.",
            show_default="projected, or what gives one row per image",
            metavar="LIST",
        ),
    ] = None,
    lowerings: Annotated[
        str | None,
        typer.Option(
            help="One or more of masked, padded, packed: one graph per form of attention. packed is for TensorRT "
            "libraries that have its kernel.",
            show_default="masked,padded",
            metavar="LIST",
        ),
    ] = None,
    merge: Annotated[
        str | None,
        typer.Option(
            help="Merge similar tokens inside the model: behind the attention of block LAYER, from 0, each image keeps "
            "the part KEEP of its patches. METHOD: pitome or tome (navit-edge docs tokens).",
            show_default="none merge",
            metavar="LAYER:KEEP[:METHOD]",
        ),
    ] = None,
    text: Annotated[
        bool,
        typer.Option(
            "--text",
            metavar="",
            help="Export the checkpoint's text tower and tokenizer, too (navit-edge docs zero-shot).",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Replace an existing bundle.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
    *,
    by_text: TextClasses,
) -> None:
    """Export a model: ONNX graphs, weights and manifest in one bundle.

    Needs torch: pip install "navit-edge[export]".
    """
    if model is None and config is None and checkpoint is None:
        raise typer.BadParameter("give --model, --config or --checkpoint", param_hint="'--model'")
    if checkpoint is None and any((family, mean, std, frames > 1, text, by_text)):
        raise typer.BadParameter(
            "--family, --mean, --std, --frames, --text and --classes need --checkpoint", param_hint="'--checkpoint'"
        )
    if by_text and labels is not None:
        raise typer.BadParameter("--classes are the labels; leave --labels out", param_hint="'--labels'")
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    for package in ("torch", "onnx", "onnxscript", "safetensors"):
        import_or_explain(package, purpose="export", remedy='pip install "navit-edge[export]"')
    from navit_edge.bundle import manifest as manifests
    from navit_edge.cli.preprocessing_output import preprocessing_of, print_preprocessing, sources_of
    from navit_edge_export.families.registry import DEFAULT_PREPROCESSING, Imported
    from navit_edge_export.onnx_export import DEFAULT_LOWERINGS, export_bundle

    source: Imported | NaViTConfig
    if checkpoint is not None:
        source = _import(checkpoint, family, model, config, mean, std, text=text or bool(by_text), frames=frames)
        if by_text:
            by_text.fold_into(source)
    else:
        source = _load_config(model, config)
    own = source.preprocessing if isinstance(source, Imported) else DEFAULT_PREPROCESSING
    console = err_console()
    if isinstance(source, Imported) and source.reason:
        console.print(f"family: {source.family}, since {source.reason}", style="dim", markup=False, soft_wrap=True)
    if isinstance(source, Imported):
        for note in source.notes:
            console.print(f"note: {note}", style="dim", markup=False, soft_wrap=True)
    for doubt in source.doubts if isinstance(source, Imported) else ():
        console.print(f"warning: {doubt}", style="yellow", markup=False, soft_wrap=True)
    whose, reason = _choose_processor(processor, resample, source)
    given = {
        "mean": mean is not None,
        "std": std is not None,
        "filter": resample is not None,
        "alpha": alpha is not None,
        "orientation": orientation is not None,
        "icc": icc != "ignore",
        "decode": decode != "exact",
        "sizing": sizing is not None,
        "max-tokens": max_tokens is not None,
    }
    sources = sources_of(
        source.sources if isinstance(source, Imported) else {}, [name for name, is_given in given.items() if is_given]
    )
    sources["processor"] = reason
    record = dict(source.record) if isinstance(source, Imported) else {}
    record |= {f"{manifests.SOURCE_PREFIX}{field}": shown(found) for field, found in sources.items()}
    with make_progress(console) as progress:
        bar = progress.add_task("export", total=None, phase="")
        export_bundle(
            source.model if isinstance(source, Imported) else source,
            output,
            labels=by_text.names or (_read_labels(labels) if labels else own.labels),
            seed=seed,
            weights=checkpoint.name if checkpoint else None,
            record=record,
            sizing=_choose_sizing(sizing, max_tokens, own),
            resample=resample or own.filter,
            processor=whose,
            alpha=alpha or own.alpha,
            background=background,
            orientation=orientation or own.orientation,
            icc=icc,
            decode=decode,
            outputs=parse_outputs(outputs) if outputs else None,
            lowerings=tuple(name.strip() for name in lowerings.split(",")) if lowerings else DEFAULT_LOWERINGS,
            merge=merge,
            text=source.text if text and isinstance(source, Imported) else None,
            progress=lambda what, done, total: progress.update(bar, completed=done, total=total, phase=what),
            overwrite=overwrite,
        )
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    manifest = manifests.load(output)
    if as_json:
        echo_json({"bundle": str(output), "bytes": size, "preprocessing": preprocessing_of(manifest)})
        return
    print_preprocessing(console, manifest)
    console.print()
    echo(f"{output} ({size_text(size)})")
    console.print(
        f"next: navit-edge build-engine {output} --backend openvino", style="dim", markup=False, soft_wrap=True
    )


def check_checkpoint(checkpoint: Path, expected: str = "checkpoint") -> None:
    """Raises InvalidInputError if there is no such file or folder, and it is no well-formed hf:ORG/NAME."""
    name = str(checkpoint)
    if name.startswith("hf:"):
        from navit_edge_export.families.hub import parse_name

        parse_name(name)
        return
    if checkpoint.exists():
        return
    address = re.match(r"https?:/+huggingface\.co/(?:models/)?([\w.-]+/[\w.-]+)", name)
    hub_id = address[1] if address else name
    if address or (re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) and checkpoint.suffix not in _WEIGHT_SUFFIXES):
        folder = hub_id.partition("/")[2]
        raise InvalidInputError(
            f"there is no file or folder {name} here; for the model of the Hugging Face Hub give hf:{hub_id}, or "
            f"download it first: hf download {hub_id} --local-dir {folder}, then give {folder} as the checkpoint"
        )
    raise InvalidInputError(f"there is no {expected} {name}; expected a file or a folder; check the path")


def _import(
    checkpoint: Path,
    family: str | None,
    size: str | None,
    config: Path | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    *,
    text: bool,
    frames: int,
) -> Imported:
    from navit_edge_export.families import registry
    from navit_edge_export.families.checkpoint import read_checkpoint

    processor: dict[str, Any] = {}
    if mean is not None:
        processor["image_mean"] = list(mean)
    if std is not None:
        processor["image_std"] = list(std)
    if size is None:
        return registry.import_checkpoint(
            checkpoint, family=family, config=config, processor=processor, text=text, frames=frames
        )
    if family not in (None, "navit"):
        raise InvalidInputError(f"--model names a size of the reference model and --family {family}; leave one out")
    read = read_checkpoint(checkpoint, processor=processor, frames=frames)
    fields = _load_config(size, config).to_dict()
    return registry.import_family(registry.find("navit"), dataclasses.replace(read, config=fields), text=text)


def _choose_processor(
    given: Processor | None, resample: Filter | None, source: Imported | NaViTConfig
) -> tuple[Processor, str]:
    """Whose pixels the model gets, and why."""
    from navit_edge_export.families.registry import Imported

    if given is not None:
        return given, "--processor"
    if not isinstance(source, Imported):
        return "pillow", "default of export"
    own = source.preprocessing.processor
    if resample is not None and resample not in PROCESSOR_FILTERS[own]:
        return "pillow", f"{own} has no filter {resample} here"
    return own, source.sources["processor"]


def _choose_sizing(text: str | None, max_tokens: int | None, own: Preprocessing) -> Sizing:
    from navit_edge.bundle import sizing_rule as sizings

    if text is not None:
        return sizings.parse(text, max_tokens=max_tokens or own.sizing.max_tokens or 1024)
    if max_tokens is None:
        return own.sizing
    if "max_tokens" not in sizings.FIELDS[own.sizing.rule]:
        raise InvalidInputError(
            f"--max-tokens is {max_tokens} and the checkpoint's sizing rule {sizings.describe(own.sizing)}, which has "
            "no such limit; give --sizing, too"
        )
    return msgspec.structs.replace(own.sizing, max_tokens=max_tokens)


def _load_config(size: str | None, path: Path | None) -> NaViTConfig:
    from navit_edge_export.model.config import NaViTConfig, sized

    if path is None:
        if size is None:
            raise InvalidInputError("no model config; give --model or --config")
        return sized(size)
    if size is None:
        return NaViTConfig.from_file(path)
    changes = files.read_json(path)
    if not isinstance(changes, dict):
        raise InvalidInputError(f"the model config {path} is a {type(changes).__name__}; expected an object of fields")
    stated = changes.pop("size", size)
    if stated != size:
        raise InvalidInputError(f"{path} is for size {stated!r} and --model says {size!r}; leave one of them out")
    return NaViTConfig.from_dict({**sized(size).to_dict(), **changes})


def _read_labels(path: Path) -> list[str]:
    # Lines end with \n or \r\n; other separators that Python's splitlines knows belong to a name.
    text = files.read_text(path, expected="labels, one name per line").removeprefix("\ufeff").replace("\r\n", "\n")
    return text.removesuffix("\n").split("\n") if text else []
