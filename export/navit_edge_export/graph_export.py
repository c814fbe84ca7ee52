"""One ONNX graph of a model, weights inside, as the contract wants it (docs/model.md)."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset20 as op
from torch import Tensor, nn

from navit_edge.bundle.merging import Merging
from navit_edge.compile import packed_attention as packed
from navit_edge.errors import InvalidInputError
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.preprocess import graph_inputs, pack

OPSET = 20  # the first with Gelu as one op; TensorRT from 10.0, OpenVINO and ONNX Runtime take it
#: What a bundle holds unless more is asked for: ``packed`` runs nowhere but on a TensorRT that has its kernel.
_DYNAMIC = {
    "patches": {0: "T"},
    "positions": {0: "T"},
    "segment_ids": {0: "T"},
    "grid_hw": {0: "N"},
    "attention_index": {0: "N", 1: "L"},
    "token_index": {0: "T"},
    "cu_seqlens": {0: "N1"},
    "merge_groups": {0: "G"},
    "merge_counts": {0: "G"},
    "merge_rows": {0: "M"},
    "merge_slots": {0: "T"},
    "merge_segment_ids": {0: "M"},
    "merge_attention_index": {0: "N", 1: "A"},
    "merge_token_index": {0: "M"},
}
#: torch cannot tie an extent to another called N (sympy has a function of that name): its name there -> here.
_LENGTHS = {"N1": "N+1", "N1 + 1": "N+2"}
_LENGTHS |= {f"{left}T//{parts}{right}": f"T/{parts}" for parts in (4, 9, 16) for left, right in ("()", ("", ""))}


def export_graph(graph_model: PackedModel, lowering: str, outputs: Sequence[str]) -> ir.Model:
    """One graph, weights inside: inputs and outputs as in the contract, T, N and L dynamic, the final tokens named
    ``tokens`` whether or not they are an output. ``graph_model`` has its patch embedding folded."""
    merging = None if graph_model.merging is None else graph_model.merging.merging
    names = graph_inputs(lowering, merging)
    sample = _sample_inputs(graph_model, merging)
    dims = {letter: torch.export.Dim(letter) for letter in ("T", "N", "L", "N1", "G", "M", "A")}
    traced = [*outputs] if "tokens" in outputs else [*outputs, "tokens"]
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            _Outputs(graph_model, traced),
            kwargs={name: sample[name] for name in names},
            dynamic_shapes={name: {axis: dims[letter] for axis, letter in _DYNAMIC[name].items()} for name in names},
            output_names=traced,
            opset_version=OPSET,
            dynamo=True,
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing; this is a bug in the exporter")
    model = program.model
    tidy(model, outputs)
    if merging is not None:
        words = merging.shapes(graph_model.config.prefix_tokens)
        for value in model.graph.inputs:
            assert value.shape is not None
            value.shape = ir.Shape(words.get(str(dim), dim) for dim in value.shape)
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
        merge_groups: Tensor | None = None,
        merge_counts: Tensor | None = None,
        merge_rows: Tensor | None = None,
        merge_slots: Tensor | None = None,
        merge_segment_ids: Tensor | None = None,
        merge_attention_index: Tensor | None = None,
        merge_token_index: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        results = self.model(
            patches,
            positions,
            segment_ids,
            grid_hw,
            attention_index,
            token_index,
            cu_seqlens,
            merge_groups,
            merge_counts,
            merge_rows,
            merge_slots,
            merge_segment_ids,
            merge_attention_index,
            merge_token_index,
        )
        return tuple(results[name] for name in self.outputs)


def _gather(self: Any, dim: int, index: Any) -> Any:
    """aten.index_select as Gather on the ids as they are; torch's own translation casts them to int64."""
    return op.Gather(self, index, axis=dim)


def _whole(self: ir.Value, divisor: ir.Value) -> ir.Value:
    """aten.floor_divide of int32 as integer Div, which rounds towards 0: the same if the quotient is not negative,
    and negative ones are clamped to 0 (positions.py). torch's own translation goes through float."""
    quotient: ir.Value = op.Div(self, divisor)  # type: ignore[type-var]
    return quotient


#: What becomes otherwise than torch has it.
TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.index_select.default: _gather,
    torch.ops.aten.floor_divide.default: _whole,
}


def _separate_lengths(graph: ir.Graph) -> None:
    """Gives all packed attentions a tensor of their own for the keys' lengths: TensorRT is said to crash if one
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


def for_graph(model: PackedModel) -> PackedModel:
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


def _sample_inputs(model: PackedModel, merging: Merging | None) -> dict[str, Tensor]:
    """Three small images; every extent differs and none is 0 or 1, which torch would fix."""
    config, side = model.config, model.block_side
    grids = [(2 * side, 3 * side), (3 * side, 4 * side), (1 * side, 5 * side)]
    images = [np.zeros((r * config.patch_px, c * config.patch_px, config.channels), np.uint8) for r, c in grids]
    prefix = config.prefix_tokens
    sample = pack(images, patch_px=config.patch_px, prefix_tokens=prefix, padding_tokens=2, frames=model.frames)
    inputs = sample.inputs(merging, prefix_tokens=prefix)
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def tidy(model: ir.Model, outputs: Sequence[str]) -> None:
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


@contextmanager
def quiet() -> Iterator[None]:
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
