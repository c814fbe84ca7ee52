"""From a model to a bundle: its graphs, one weights file, the manifest.

Letters: T tokens in a pack, N images, L longest image, F features of a patch, D width (docs/model.md).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import onnx

from navit_edge.bundle import publish
from navit_edge.bundle import sizing_rule as sizings
from navit_edge.bundle.manifest import (
    MERGING_SCHEMA,
    SCHEMA_VERSION,
    TEXT_SCHEMA_MINOR,
    Graph,
    Manifest,
    Model,
    Preprocess,
    Sizing,
    for_pixels,
)
from navit_edge.bundle.merging import MOST_GROUP, Merging, parse_merging
from navit_edge.errors import InvalidInputError
from navit_edge.text import key_of, shown
from navit_edge.token_parts import layers_of
from navit_edge.verify.verify import TOLERANCES
from navit_edge.vocabulary import (
    ALPHA_RULES,
    DECODES,
    FILTERS,
    ICC_RULES,
    LOWERINGS,
    ORIENTATIONS,
    PROCESSOR_FILTERS,
    PROCESSORS,
    ROLLOUT,
    WHITE,
    AlphaRule,
    Decode,
    Filter,
    Icc,
    Lowering,
    Orientation,
    Processor,
)
from navit_edge_export.golden import golden_images
from navit_edge_export.graph_export import OPSET, export_graph, for_graph
from navit_edge_export.graph_file import save_graph
from navit_edge_export.layers.attention import NO_PACKED_ROLLOUT, NO_PACKED_WINDOWS
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT
from navit_edge_export.packed_model import ModelConfig, PackedModel
from navit_edge_export.text.graph import write_text
from navit_edge_export.weights_file import WeightsFile

if TYPE_CHECKING:
    import onnx_ir as ir

    from navit_edge_export.text.tower import ImportedText

CHANNELS = 3  # of a bundle's images: R, G, B
#: What a bundle holds unless more is asked for: ``packed`` runs nowhere but on a TensorRT that has its kernel.
DEFAULT_LOWERINGS: tuple[Lowering, ...] = ("masked", "padded")

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


def export_bundle(
    model: PackedModel | NaViTConfig,
    out: Path,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    weights: str | None = None,
    record: Mapping[str, str] | None = None,
    sizing: Sizing | str = "token-cap",
    max_tokens: int = 1024,
    resample: Filter = "bilinear",
    processor: Processor = "pillow",
    alpha: AlphaRule = "drop",
    background: tuple[int, int, int] = WHITE,
    orientation: Orientation = "apply",
    icc: Icc = "ignore",
    decode: Decode = "exact",
    outputs: Sequence[str] | None = None,
    lowerings: Sequence[str] = DEFAULT_LOWERINGS,
    text: ImportedText | None = None,
    merge: str | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes ``out`` (``NAME.navit``) and returns its path. The same model, options and versions give the same bytes.

    model: A model, or a config of the reference model, whose weights are then drawn from ``seed``.
    name: The bundle's name; ``out``'s without its suffix if not given.
    labels: One per class.
    weights: For the record: where the weights came from, such as the checkpoint's name.
    record: More of the same, for the manifest's ``created_by``, as ``Imported.record``.
    sizing: The rule, as a struct or as text (``navit_edge.bundle.sizing_rule.parse``).
    max_tokens: Most patches of an image, for the rules "token-cap", "naflex" and "patch-budget" that do not say it
        themselves.
    resample: a filter of Pillow's, such as "bilinear" or "bicubic".
    processor: whose pixels the model gets, bit for bit: "pillow", "torchvision" (bilinear and bicubic only; the bundle
        then needs this version or a later one), or "timm", whose are those of Pillow.
    alpha: "drop" an image's alpha channel, as ``convert("RGB")`` in training does, "composite" the image over
        ``background`` (R, G, B), or "reject" it.
    orientation: "apply": image files are turned upright by EXIF or container, as transformers' ``load_image`` does;
        "as-decoded": only as their decoder does by itself.
    icc: "srgb": image files with a colour profile are converted to sRGB; "ignore": read as they are, as training
        loaders do.
    decode: "scaled": JPEG files that are made smaller are decoded at a part of their sides, unless a session says
        otherwise (docs/inputs.md); the bundle then needs this version or a later one. "exact": all of their pixels.
    outputs: Some of what ``model.outputs()`` names ("logits", "embedding", "tokens", "projected", "deepstack"),
        "tokens@0,3", of blocks, from 0, before the final norm, which lie beside "tokens" in that output
        (``navit_edge.token_parts``), and "attention_map" or "attention_map@heads", how much the attention behind the
        embedding looks at each patch, the mean of the heads or a map for each, or in its place "saliency", the rollout
        of all layers' attention (docs/maps.md). By default "projected"; of a model without it all that give one row per
        image; of one without these its tokens.
    lowerings: Some of "masked", "padded", "packed": a graph each (docs/model.md).
    merge: "LAYER:KEEP" or "LAYER:KEEP:METHOD": after the attention of that block, from 0, each image keeps this part of
        its patches, similar ones merged (docs/tokens.md).
    text: A text tower that becomes a graph beside them (docs/zero-shot.md).

    Raises InvalidInputError: options that do not fit the model.
    Raises BundleError: ``out`` exists (and ``overwrite`` is false) or cannot be written.
    """
    config: ModelConfig = model.config if isinstance(model, PackedModel) else model
    outputs, map_kind = _without_map(outputs)
    parts = _token_parts(model, outputs)
    offered = model.outputs() if isinstance(model, PackedModel) else config.outputs()
    if map_kind is None:
        chosen = _chosen_outputs(offered, outputs, parts)
    else:
        chosen = (*(_chosen_outputs(offered, outputs, parts) if outputs else ()), "attention_map")
    wanted = _chosen_lowerings(lowerings)
    if "packed" in wanted and isinstance(model, PackedModel) and model.windows is not None:
        raise InvalidInputError(f"{model.family}: {NO_PACKED_WINDOWS}")
    if "packed" in wanted and map_kind == "rollout":
        raise InvalidInputError(NO_PACKED_ROLLOUT)
    if max_tokens < 1:
        raise InvalidInputError(f"max_tokens is {max_tokens}; expected 1 and up")
    rule = sizings.parse(sizing, max_tokens=max_tokens) if isinstance(sizing, str) else sizing
    _check_options(config, labels=labels, sizing=rule)
    _check_word("filter", resample, FILTERS)
    _check_processor(processor, resample)
    if isinstance(model, PackedModel):
        _check_merge(model, rule)
    merging = _chosen_merging(merge, wanted, rule)
    _check_word("alpha", alpha, ALPHA_RULES)
    _check_background(background)
    _check_word("orientation", orientation, ORIENTATIONS)
    _check_word("icc", icc, ICC_RULES)
    _check_word("decode", decode, DECODES)
    report = progress or (lambda what, done, total: None)
    steps = len(wanted) + 2 + (text is not None)
    with publish.staged_bundle(out, overwrite=overwrite) as staging:
        report("making the model", 0, steps)
        if isinstance(model, NaViTConfig):
            weights = weights or f"random, seed {seed}"
            model = NaViT(model, seed=seed)
        graph_model = for_graph(model)
        graph_model.token_parts = parts
        if map_kind == "rollout":
            graph_model.with_rollout()
        elif map_kind is not None:
            graph_model.with_attention_map(each_head=map_kind == "heads")
        if merging is not None:
            graph_model.with_merging(merging)
        parameters = {parameter for parameter, _ in graph_model.named_parameters()}
        (staging / "graphs").mkdir()
        graphs = []
        with WeightsFile(staging / "graphs" / "weights.bin") as file:
            for step, lowering in enumerate(wanted):
                report(f"exporting the {lowering} graph", step + 1, steps)
                exported = export_graph(graph_model, lowering, chosen)
                file.move_out(exported.graph, parameters)
                graphs.append(_save_graph(exported, lowering, staging))
        tower = None
        if text is not None:
            report("exporting the text graph", len(wanted) + 1, steps)
            tower = write_text(staging, text)
        report("writing the bundle", steps - 1, steps)
        for graph in graphs:
            onnx.checker.check_model(staging / graph.file)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=shown(name if name is not None else key_of(Path(out).name.removesuffix(".navit"))),
            created_by={**_created_by(weights), **(record or {})},
            model=Model(
                family=model.family,
                width=config.width,
                depth=config.depth,
                heads=config.heads,
                prefix_tokens=config.prefix_tokens,
                token_merge=model.token_merge,
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                config=_recorded_config(model, parts, map_kind),
            ),
            preprocess=Preprocess(
                sizing=rule,
                filter=resample,
                patch_px=config.patch_px,
                channels=config.channels,
                mean=config.mean,
                std=config.std,
                alpha=alpha,
                background=background,
                orientation=orientation,
                icc=icc,
            ),
            graphs=tuple(graphs),
            labels=tuple(labels or ()),
            tolerances=TOLERANCES,
        )
        manifest = for_pixels(manifest, processor, decode)
        manifest = msgspec.structs.replace(manifest, golden=golden_images(manifest.preprocess, model.frames))
        if tower is not None:
            manifest = msgspec.structs.replace(manifest, schema_minor=TEXT_SCHEMA_MINOR, text=tower)
        if model.scores != "softmax":
            manifest = msgspec.structs.replace(manifest, schema_minor=TEXT_SCHEMA_MINOR, scores=model.scores)
        if merging is not None:
            model_record = msgspec.structs.replace(manifest.model, merging=merging)
            manifest = msgspec.structs.replace(manifest, schema_version=MERGING_SCHEMA, model=model_record)
        publish.seal(staging, manifest)
    report("done", steps, steps)
    return Path(out)


def _save_graph(exported: ir.Model, lowering: Lowering, staging: Path) -> Graph:
    """Stores the graph; returns its manifest entry."""
    file = f"graphs/{lowering}.onnx"
    inputs, outputs = save_graph(exported, staging / file)
    return Graph(id=lowering, lowering=lowering, file=file, opset=OPSET, inputs=inputs, outputs=outputs)


def _chosen_lowerings(lowerings: Sequence[str]) -> tuple[Lowering, ...]:
    unknown = [name for name in lowerings if name not in LOWERINGS]
    if unknown or not lowerings or len(set(lowerings)) != len(lowerings):
        raise InvalidInputError(
            f"lowerings are {', '.join(lowerings) or 'empty'}; expected one or more of {', '.join(LOWERINGS)}, "
            "each once"
        )
    return tuple(name for name in LOWERINGS if name in lowerings)


def _chosen_merging(merge: str | None, lowerings: Sequence[str], sizing: Sizing) -> Merging | None:
    if merge is None:
        return None
    if "packed" in lowerings:
        raise InvalidInputError(
            "merge and the lowering packed: its lengths behind the merge are no input of a graph; expected the "
            "lowerings masked and padded"
        )
    longest = sizing.max_tokens or MOST_GROUP
    return parse_merging(merge, longest=longest)


#: Of the output "attention_map": the mean of the last attention's heads, a map for each, or a rollout of all layers.
_MapKind: TypeAlias = Literal["mean", "heads", "rollout"]
_MAPS: dict[str, _MapKind] = {"attention_map": "mean", "attention_map@heads": "heads", "saliency": "rollout"}


def _without_map(outputs: Sequence[str] | None) -> tuple[Sequence[str] | None, _MapKind | None]:
    """The other outputs, and which attention map; None: it was not asked for."""
    found = {name: _MAPS[name.replace("-", "_")] for name in outputs or () if name.replace("-", "_") in _MAPS}
    if len(found) > 1:
        raise InvalidInputError(f"outputs name {' and '.join(found)}; expected one of them")
    rest = [name for name in outputs or () if name not in found]
    return (rest if found else outputs), next(iter(found.values()), None)


def _token_parts(model: PackedModel | NaViTConfig, outputs: Sequence[str] | None) -> tuple[str, ...]:
    """What a row of the output "tokens" is to hold: the final tokens first, then what else was asked for."""
    more = tuple(name for name in outputs or () if name.startswith("tokens@"))
    for name in more:
        layers, depth = layers_of(name), model.config.depth if isinstance(model, PackedModel) else model.depth
        if not layers or sorted(set(layers)) != list(layers) or layers[-1] >= depth:
            raise InvalidInputError(
                f"outputs name {name}; expected ascending blocks from 0 to {depth - 1}, as in tokens@0,{depth - 1}"
            )
        if layers and isinstance(model, PackedModel) and model.merger is not None:
            raise InvalidInputError(
                f"outputs name {name}; {model.family} merges patches, and its blocks give other rows than its tokens; "
                "leave it out"
            )
    return ("tokens", *more) if "tokens" in (outputs or ()) or not more else more


def _recorded_config(model: PackedModel, parts: Sequence[str], map_kind: _MapKind | None) -> dict[str, Any]:
    """The family's config, the parts of a row of "tokens" if they are more than the final tokens, and whether the
    attention map is a rollout."""
    config = model.config.to_dict()
    if tuple(parts) != ("tokens",):
        wide = getattr(model.config, "out_width", model.config.width)
        config["token_parts"] = [{"name": name, "layers": len(layers_of(name)), "width": wide} for name in parts]
    if map_kind == "rollout":
        config["attention_map"] = ROLLOUT
    return config


def _chosen_outputs(offered: Sequence[str], outputs: Sequence[str] | None, parts: Sequence[str]) -> tuple[str, ...]:
    if outputs is None:
        small = tuple(name for name in offered if name in ("logits", "embedding"))
        return ("projected",) if "projected" in offered else small or ("tokens",)
    if tuple(parts) != ("tokens",):
        outputs = [*(name for name in outputs if name not in ("tokens", *parts)), "tokens"]
    unknown = [name for name in outputs if name not in offered]
    if unknown or not outputs or len(set(outputs)) != len(outputs):
        raise InvalidInputError(
            f"outputs are {', '.join(outputs) or 'empty'}; expected one or more of {', '.join(offered)}, each once"
            + ("; logits need a classifier: num_classes above 0" if "logits" in unknown else "")
        )
    return tuple(name for name in offered if name in outputs)


def _check_options(config: ModelConfig, *, labels: Sequence[str] | None, sizing: Sizing) -> None:
    if config.channels != CHANNELS:
        raise InvalidInputError(
            f"the model takes images of {config.channels} channels; expected {CHANNELS}, which is what every image has "
            "here (gray ones have three equal channels): train or fold its patch embedding for three"
        )
    if labels and len(labels) != config.num_classes:
        raise InvalidInputError(
            f"found {len(labels)} labels; the model has {config.num_classes} classes; give one label per class or none"
        )
    if wrong := sizings.fault(sizing, config.patch_px):
        raise InvalidInputError(f"sizing: {wrong}")


def _check_merge(model: PackedModel, sizing: Sizing) -> None:
    merge = model.block_side
    block_px = merge * model.config.patch_px
    if merge == 1 or (sizing.merge and sizing.merge % merge == 0):
        return
    if sizing.rule == "fixed" and sizing.height_px % block_px == 0 and sizing.width_px % block_px == 0:
        return
    raise InvalidInputError(
        f"{model.family} merges {merge} x {merge} patches, and the sizing rule {sizing.rule} gives grids that are "
        f"not whole blocks; expected smart-resize, longest-side, patch-budget or navit-resize with merge={merge}, or "
        f"fixed sides, multiples of {block_px} pixels"
    )


def _check_background(background: tuple[int, int, int]) -> None:
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise InvalidInputError(f"background is {background}; expected red, green and blue, each of 0 to 255")


def _check_processor(processor: Processor, resample: Filter) -> None:
    _check_word("processor", processor, PROCESSORS)
    if resample not in PROCESSOR_FILTERS[processor]:
        raise InvalidInputError(
            f'processor is "{processor}" and the filter "{resample}"; {processor} has '
            f"{' and '.join(PROCESSOR_FILTERS[processor])} here: name one of them, or the processor pillow"
        )


def _check_word(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InvalidInputError(f'{name} "{value}" is unknown; expected one of {", ".join(known)}')


def _created_by(weights: str | None) -> dict[str, str]:
    """Versions of what wrote the bundle and where the weights came from."""
    created = {"tool": "navit-edge export"}
    for package in ("navit-edge", "torch", "onnx", "onnxscript"):
        created[package] = _version(package)
    created["weights"] = shown(weights or "given by the caller")
    return created


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "not installed"
