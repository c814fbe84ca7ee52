"""From a model to a bundle: its graphs, one weights file, the manifest.

Letters: T tokens in a pack, N images, L longest image, F features of a patch, D width (docs/model.md).
"""

from __future__ import annotations

import copy
import importlib.metadata
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import opset20 as op
from torch import Tensor, nn

from navit_edge.bundle import publish
from navit_edge.bundle import sizing_rule as sizings
from navit_edge.bundle.manifest import SCHEMA_VERSION, Graph, Manifest, Model, Preprocess, Sizing, TensorSpec
from navit_edge.compile import packed_attention as packed
from navit_edge.errors import InvalidInputError
from navit_edge.text import key_of, shown
from navit_edge.verify.verify import TOLERANCES
from navit_edge_export.golden import golden_images
from navit_edge_export.layers.attention import LOWERINGS, NO_PACKED_WINDOWS
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT
from navit_edge_export.packed_model import ModelConfig, PackedModel
from navit_edge_export.preprocess import FILTERS, GRAPH_INPUTS, pack
from navit_edge_export.weights_file import WeightsFile

OPSET = 20  # the first with Gelu as one op; TensorRT from 10.0, OpenVINO and ONNX Runtime take it
#: What a bundle holds unless more is asked for: ``packed`` runs nowhere but on a TensorRT that has its kernel.
DEFAULT_LOWERINGS = ("masked", "padded")
ALPHA_RULES = ("drop", "composite", "reject")

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

_DYNAMIC = {
    "patches": {0: "T"},
    "positions": {0: "T"},
    "segment_ids": {0: "T"},
    "grid_hw": {0: "N"},
    "attention_index": {0: "N", 1: "L"},
    "token_index": {0: "T"},
    "cu_seqlens": {0: "N1"},
}
#: torch cannot tie an extent to another called N (sympy has a function of that name): its name there -> here.
_LENGTHS = {"N1": "N+1", "N1 + 1": "N+2", "(T//4)": "T/4", "T//4": "T/4"}


def export_bundle(
    model: PackedModel | NaViTConfig,
    out: Path,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    weights: str | None = None,
    sizing: Sizing | str = "token-cap",
    max_tokens: int = 1024,
    resample: str = "bilinear",
    alpha: str = "drop",
    background: tuple[int, int, int] = (255, 255, 255),
    orientation: str = "apply",
    icc: str = "ignore",
    outputs: Sequence[str] | None = None,
    lowerings: Sequence[str] = DEFAULT_LOWERINGS,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes ``out`` (``NAME.navit``) and returns its path. The same model, options and versions give the same bytes.

    Args:
        model: A model, or a config of the reference model, whose weights are then drawn from ``seed``.
        name: The bundle's name; ``out``'s without its suffix if not given.
        labels: One per class.
        weights: For the record: where the weights came from, such as the checkpoint's name.
        sizing: The rule, as a struct or as text (``navit_edge.bundle.sizing_rule.parse``).
        max_tokens: Most patches of an image, for the rules "token-cap" and "naflex" that do not say it themselves.
        resample: a filter of Pillow's, such as "bilinear" or "bicubic".
        alpha: "drop" an image's alpha channel, as ``convert("RGB")`` in training does, "composite" the image over
            ``background`` (R, G, B), or "reject" it.
        orientation: "apply": image files are turned upright by EXIF or container, as transformers' ``load_image`` does;
            "as-decoded": only as their decoder does by itself.
        icc: "srgb": image files with a colour profile are converted to sRGB; "ignore": read as they are, as training
            loaders do.
        outputs: Some of "logits", "embedding", "tokens"; by default all that give one row per image, or, where a model
            has none of them, its tokens.
        lowerings: Some of "masked", "padded", "packed": a graph each (docs/model.md).

    Raises:
        InvalidInputError: options that do not fit the model.
        BundleError: ``out`` exists (and ``overwrite`` is false) or cannot be written.
    """
    config: ModelConfig = model.config if isinstance(model, PackedModel) else model
    chosen = _chosen_outputs(config, outputs)
    wanted = _chosen_lowerings(lowerings)
    if "packed" in wanted and isinstance(model, PackedModel) and model.windows is not None:
        raise InvalidInputError(f"{model.family}: {NO_PACKED_WINDOWS}")
    rule = sizings.parse(sizing, max_tokens=max_tokens) if isinstance(sizing, str) else sizing
    _check_options(config, labels=labels, sizing=rule, resample=resample)
    if isinstance(model, PackedModel):
        _check_merge(model, rule)
    _check_alpha(alpha, background)
    _check_decoding(orientation, icc)
    report = progress or (lambda what, done, total: None)
    steps = len(wanted) + 2
    with publish.staged_bundle(out, overwrite=overwrite) as staging:
        report("making the model", 0, steps)
        if isinstance(model, NaViTConfig):
            weights = weights or f"random, seed {seed}"
            model = NaViT(model, seed=seed)
        graph_model = _graph_model(model)
        parameters = {parameter for parameter, _ in graph_model.named_parameters()}
        (staging / "graphs").mkdir()
        graphs = []
        with WeightsFile(staging / "graphs" / "weights.bin") as file:
            for step, lowering in enumerate(wanted):
                report(f"exporting the {lowering} graph", step + 1, steps)
                exported = export_graph(graph_model, lowering, chosen)
                file.move_out(exported.graph, parameters)
                graphs.append(_save_graph(exported, lowering, staging))
        report("writing the bundle", steps - 1, steps)
        for graph in graphs:
            onnx.checker.check_model(staging / graph.file)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name=shown(name if name is not None else key_of(Path(out).name.removesuffix(".navit"))),
            created_by=_created_by(weights),
            model=Model(
                family=model.family,
                width=config.width,
                depth=config.depth,
                heads=config.heads,
                prefix_tokens=config.prefix_tokens,
                token_merge=model.token_merge,
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                config=config.to_dict(),
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
        manifest = msgspec.structs.replace(manifest, golden=golden_images(manifest.preprocess))
        publish.seal(staging, manifest)
    report("done", steps, steps)
    return Path(out)


def export_graph(graph_model: PackedModel, lowering: str, outputs: Sequence[str]) -> ir.Model:
    """One graph, weights inside: inputs and outputs as in the contract, T, N and L dynamic, the final tokens named
    ``tokens`` whether or not they are an output. ``graph_model`` has its patch embedding folded."""
    names = GRAPH_INPUTS[lowering]
    sample = _sample_inputs(graph_model.config, graph_model.token_merge)
    dims = {letter: torch.export.Dim(letter) for letter in ("T", "N", "L", "N1")}
    traced = [*outputs] if "tokens" in outputs else [*outputs, "tokens"]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Outputs(graph_model, traced),
            kwargs={name: sample[name] for name in names},
            dynamic_shapes={name: {axis: dims[letter] for axis, letter in _DYNAMIC[name].items()} for name in names},
            output_names=traced,
            opset_version=OPSET,
            dynamo=True,
            custom_translation_table={
                torch.ops.aten.index_select.default: _gather,
                torch.ops.aten.floor_divide.default: _whole,
            },
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing; this is a bug in the exporter")
    model = program.model
    _tidy(model, outputs)
    return model


class _Outputs(nn.Module):
    """The model with its outputs in a fixed order."""

    def __init__(self, model: PackedModel, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(
        self,
        patches: Tensor,
        positions: Tensor,
        segment_ids: Tensor,
        grid_hw: Tensor,
        attention_index: Tensor | None = None,
        token_index: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        results = self.model(patches, positions, segment_ids, grid_hw, attention_index, token_index, cu_seqlens)
        return tuple(results[name] for name in self.outputs)


def _gather(self: Any, dim: int, index: Any) -> Any:
    """aten.index_select as Gather on the ids as they are; torch's own translation casts them to int64."""
    return op.Gather(self, index, axis=dim)


def _whole(self: ir.Value, divisor: ir.Value) -> ir.Value:
    """aten.floor_divide of int32 as integer Div, which rounds towards 0: the same where the quotient is not negative,
    and negative ones are clamped to 0 (positions.py). torch's own translation goes through float."""
    quotient: ir.Value = op.Div(self, divisor)  # type: ignore[type-var]
    return quotient


def _separate_lengths(graph: ir.Graph) -> None:
    """Gives all packed attentions a tensor of their own for the keys' lengths: TensorRT is said to crash where one
    tensor stands in both places (NVIDIA's TensorRT Edge-LLM keeps them apart, too)."""
    copies: dict[ir.Value, ir.Value] = {}
    for node in [node for node in graph if node.op_type == packed.OPERATOR]:
        lengths = node.inputs[packed.QUERY_LENGTHS]
        producer = lengths.producer() if lengths is not None else None
        if lengths is None or producer is None:
            raise ValueError(f"the lengths of {node.name} are no node's output; this is a bug in the exporter")
        if lengths not in copies:
            output = ir.Value(name=f"{lengths.name}_of_keys", shape=lengths.shape, type=lengths.type)
            copy_of = ir.Node(
                producer.domain,
                producer.op_type,
                producer.inputs,
                list(producer.attributes.values()),
                outputs=[output],
                name=f"{producer.name}_of_keys",
            )
            graph.insert_after(producer, copy_of)
            copies[lengths] = output
        node.replace_input_with(packed.KV_LENGTHS, copies[lengths])


def _name_lengths(graph: ir.Graph) -> None:
    """The extent of cu_seqlens, which torch cannot tie to N, by the contract's name."""
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape(_LENGTHS.get(str(dim), dim) for dim in value.shape)


def _graph_model(model: PackedModel) -> PackedModel:
    """A model for inference whose patch embedding is folded; it shares the other weights."""
    other = sorted({str(p.dtype) for p in model.parameters() if p.dtype != torch.float32})
    if other:
        raise InvalidInputError(
            f"the model has parameters of {', '.join(other)}; graphs are float32; call model.float()"
        )
    graph_model = copy.copy(model)
    graph_model._modules = dict(model._modules)
    graph_model.embed = model.embed.for_graph()
    return graph_model


def _sample_inputs(config: ModelConfig, merge: int) -> dict[str, Tensor]:
    """Three small images; every extent differs and none is 0 or 1, which torch would fix."""
    grids = [(2 * merge, 3 * merge), (3 * merge, 4 * merge), (1 * merge, 5 * merge)]
    images = [np.zeros((r * config.patch_px, c * config.patch_px, config.channels), np.uint8) for r, c in grids]
    sample = pack(images, patch_px=config.patch_px, prefix_tokens=config.prefix_tokens, padding_tokens=2)
    return {name: torch.from_numpy(array) for name, array in sample.inputs().items()}


def _tidy(model: ir.Model, outputs: Sequence[str]) -> None:
    """Drops what the contract does not want: the output ``tokens`` if not asked for, unused inputs and initializers,
    and the exporter's notes (they hold paths and stack traces)."""
    graph = model.graph
    _separate_lengths(graph)
    _name_lengths(graph)
    by_name = {value.name: value for value in graph.outputs}
    graph.outputs[:] = [by_name[name] for name in outputs]
    for value in list(graph.inputs):
        if not value.uses():
            graph.inputs.remove(value)
    for name, value in list(graph.initializers.items()):
        if name.startswith("model."):
            del graph.initializers[name]
            value.name = name.removeprefix("model.")
            graph.initializers[value.name] = value
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        node.metadata_props.clear()
        node.meta.clear()
        node.doc_string = None
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()
        value.meta.clear()
        value.doc_string = None
    graph.metadata_props.clear()
    model.metadata_props.clear()
    model.doc_string = graph.doc_string = None
    graph.name = "navit"
    model.producer_name, model.producer_version = "navit-edge", None


def _save_graph(exported: ir.Model, lowering: str, staging: Path) -> Graph:
    """Stores the graph with inferred shapes; returns its manifest entry."""
    proto = ir.to_proto(exported)
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    file = f"graphs/{lowering}.onnx"
    (staging / file).write_bytes(proto.SerializeToString(deterministic=True))
    return Graph(
        id=lowering,
        lowering=lowering,
        file=file,
        opset=OPSET,
        inputs=tuple(_spec(value) for value in proto.graph.input),
        outputs=tuple(_spec(value) for value in proto.graph.output),
    )


_DTYPES: dict[int, str] = {
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.FLOAT: "float32",
}


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_DTYPES[tensor.elem_type], shape=shape)


def _chosen_lowerings(lowerings: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in lowerings if name not in LOWERINGS]
    if unknown or not lowerings or len(set(lowerings)) != len(lowerings):
        raise InvalidInputError(
            f"lowerings are {', '.join(lowerings) or 'empty'}; expected one or more of {', '.join(LOWERINGS)}, "
            "each once"
        )
    return tuple(name for name in LOWERINGS if name in lowerings)


def _chosen_outputs(config: ModelConfig, outputs: Sequence[str] | None) -> tuple[str, ...]:
    offered = config.outputs()
    if outputs is None:
        return tuple(name for name in offered if name != "tokens") or offered
    unknown = [name for name in outputs if name not in offered]
    if unknown or not outputs or len(set(outputs)) != len(outputs):
        raise InvalidInputError(
            f"outputs are {', '.join(outputs) or 'empty'}; expected one or more of {', '.join(offered)}, each once"
            + ("; logits need a classifier: num_classes above 0" if "logits" in unknown else "")
        )
    return tuple(name for name in offered if name in outputs)


def _check_options(config: ModelConfig, *, labels: Sequence[str] | None, sizing: Sizing, resample: str) -> None:
    if labels and len(labels) != config.num_classes:
        raise InvalidInputError(
            f"found {len(labels)} labels; the model has {config.num_classes} classes; give one label per class or none"
        )
    if wrong := sizings.fault(sizing, config.patch_px):
        raise InvalidInputError(f"sizing: {wrong}")
    if resample not in FILTERS:
        raise InvalidInputError(f'filter "{resample}" is unknown; expected one of {", ".join(FILTERS)}')


def _check_merge(model: PackedModel, sizing: Sizing) -> None:
    merge = model.token_merge
    block_px = merge * model.config.patch_px
    if merge == 1 or (sizing.rule == "smart-resize" and sizing.merge % merge == 0):
        return
    if sizing.rule == "fixed" and sizing.height_px % block_px == 0 and sizing.width_px % block_px == 0:
        return
    raise InvalidInputError(
        f"{model.family} merges {merge} x {merge} patches, and the sizing rule {sizing.rule} gives grids that are "
        f"not whole blocks; expected smart-resize with merge={merge}, or fixed sides, multiples of {block_px} pixels"
    )


def _check_alpha(alpha: str, background: tuple[int, int, int]) -> None:
    if alpha not in ALPHA_RULES:
        raise InvalidInputError(f'alpha "{alpha}" is unknown; expected one of {", ".join(ALPHA_RULES)}')
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise InvalidInputError(f"background is {background}; expected red, green and blue, each of 0 to 255")


def _check_decoding(orientation: str, icc: str) -> None:
    for name, value, known in (
        ("orientation", orientation, ("apply", "as-decoded")),
        ("icc", icc, ("ignore", "srgb")),
    ):
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's chatter off the terminal; errors still raise."""
    names = ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
