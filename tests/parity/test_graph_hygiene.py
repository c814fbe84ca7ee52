"""What the graphs are made of, apart from the numbers they give."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from covering import OUTPUTS, Exported
from onnx import TensorProto

from navit_edge.bundle import manifest as manifests
from navit_edge_export.graph_export import OPSET
from navit_edge_export.preprocess import pack

EXPECTED_INPUTS = {
    "patches": ("uint8", ("T", 768)),
    "positions": ("int32", ("T", 2)),
    "segment_ids": ("int32", ("T",)),
    "grid_hw": ("int32", ("N", 2)),
    "attention_index": ("int32", ("N", "L")),
    "token_index": ("int32", ("T",)),
}
EXPECTED_OUTPUTS = {
    "logits": ("float32", ("N", 7)),
    "embedding": ("float32", ("N", 32)),
    "tokens": ("float32", ("T", 32)),
}
# The probe's query is the same in every pass: one constant.
FOLDED = {f"pooling.attention.{name}" for name in ("probe", "query.weight", "query.bias")}
# What TensorRT's parser takes, or takes only in part.
REFUSED = {"ScatterND", "ScatterElements", "Resize", "Loop", "If", "Scan", "NonZero", "OneHot"}


def load(exported: Exported, lowering: str, *, weights: bool = False) -> onnx.ModelProto:
    return onnx.load(exported.bundle / "graphs" / f"{lowering}.onnx", load_external_data=weights)


def external(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def test_the_checker_finds_no_fault(exported: Exported, lowering: str) -> None:
    onnx.checker.check_model(exported.bundle / "graphs" / f"{lowering}.onnx", full_check=True)


def test_inputs_and_outputs_are_the_contracts(exported: Exported, lowering: str) -> None:
    graph = next(g for g in manifests.load(exported.bundle).graphs if g.id == lowering)
    assert graph.opset == OPSET == load(exported, lowering).opset_import[0].version
    assert {s.name: (s.dtype, s.shape) for s in graph.outputs} == EXPECTED_OUTPUTS
    assert [s.name for s in graph.outputs] == list(OUTPUTS)
    names = [s.name for s in graph.inputs]
    assert names == [name for name in EXPECTED_INPUTS if name in names]
    assert {"patches", "segment_ids", "grid_hw"} <= set(names)
    assert ("attention_index" in names) == ("token_index" in names) == (lowering == "padded")
    for spec in graph.inputs:
        assert (spec.dtype, spec.shape) == EXPECTED_INPUTS[spec.name]
    session = exported.sessions[lowering]
    assert [value.name for value in session.get_inputs()] == names
    assert [value.name for value in session.get_outputs()] == list(OUTPUTS)


def test_every_input_and_initializer_is_used(exported: Exported, lowering: str) -> None:
    graph = load(exported, lowering).graph
    used = {name for node in graph.node for name in node.input}
    assert {value.name for value in graph.input} <= used
    assert {tensor.name for tensor in graph.initializer} <= used
    produced = {name for node in graph.node for name in node.output}
    assert {v.name for v in graph.output} <= produced
    for node in graph.node:
        assert any(name in used or name in OUTPUTS for name in node.output), f"{node.name} is dead"


def test_segment_ids_are_never_cast_to_int64(exported: Exported, lowering: str) -> None:
    """int64 ids would bring the T x T mask back in TensorRT."""
    model = onnx.shape_inference.infer_shapes(load(exported, lowering), strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in [*model.graph.value_info, *model.graph.input]}
    reached = {"segment_ids"}
    for node in model.graph.node:
        if reached & set(node.input) and node.op_type in {"Cast", "Unsqueeze", "Reshape", "Pad", "Slice", "Concat"}:
            assert node.op_type != "Cast", f"{node.name} casts segment ids"
            for name in node.output:
                assert types[name] == TensorProto.INT32, name
            reached |= set(node.output)
    compared = [n for n in model.graph.node if n.op_type == "Equal" and reached & set(n.input)]
    assert compared
    for node in compared:
        for name in node.input:
            assert types.get(name, TensorProto.INT32) == TensorProto.INT32, name


def test_the_masked_graph_has_the_form_that_tensorrt_fuses(exported: Exported) -> None:
    """MatMul, plus Where(same image, 0, -inf), Softmax, MatMul, once a block."""
    graph = load(exported, "masked").graph
    producers = {name: node for node in graph.node for name in node.output}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer if not external(t)}
    blocks = 0
    for node in graph.node:
        if node.op_type != "Softmax" or producers[node.input[0]].op_type != "Add":
            continue
        parts = {producers[name].op_type: producers[name] for name in producers[node.input[0]].input}
        assert parts.keys() == {"MatMul", "Where"}
        same, present, absent = parts["Where"].input
        assert producers[same].op_type == "Equal"
        assert constants[present] == 0.0
        assert constants[absent] == -np.inf
        blocks += 1
    assert blocks == exported.model.config.depth


def test_every_weight_is_stored_once_for_both_graphs(exported: Exported) -> None:
    masked, padded = load(exported, "masked"), load(exported, "padded")
    places: dict[str, dict[str, str]] = {}
    for model in (masked, padded):
        for tensor in model.graph.initializer:
            if external(tensor):
                place = external(tensor)
                assert place["location"] == "weights.bin"
                assert places.setdefault(tensor.name, place) == place, f"{tensor.name} is stored twice"
    offsets = [place["offset"] for place in places.values()]
    assert len(set(offsets)) == len(offsets)
    parameters = {name for name, _ in exported.model.named_parameters()}
    assert parameters - places.keys() <= FOLDED, "every other parameter keeps its name"
    size = (exported.bundle / "graphs" / "weights.bin").stat().st_size
    assert size == max(int(place["offset"]) + int(place["length"]) for place in places.values())
    assert size < 4 * sum(p.numel() for p in exported.model.parameters()) + 64 * len(places) + 4096


def test_graphs_hold_float32_weights_and_little_else(exported: Exported, lowering: str) -> None:
    path = exported.bundle / "graphs" / f"{lowering}.onnx"
    for tensor in load(exported, lowering).graph.initializer:
        if external(tensor):
            assert tensor.data_type == TensorProto.FLOAT, tensor.name
    assert path.stat().st_size < 200_000


def test_shapes_of_all_values_are_stored(exported: Exported, lowering: str) -> None:
    graph = load(exported, lowering).graph
    known = {v.name: v.type.tensor_type for v in [*graph.value_info, *graph.output]}
    for node in graph.node:
        for name in node.output:
            assert known[name].HasField("shape"), name
            assert known[name].elem_type, name


def test_tokens_is_the_name_of_the_final_norms_output(
    exported: Exported, lowering: str, sized_photographs: list[npt.NDArray[np.uint8]]
) -> None:
    graph = load(exported, lowering).graph
    (node,) = (n for n in graph.node if "tokens" in n.output)
    assert node.op_type == "LayerNormalization"
    assert node.input[1] == "norm.weight"


def test_the_exporters_notes_and_paths_do_not_reach_the_bundle(exported: Exported, lowering: str) -> None:
    content = (exported.bundle / "graphs" / f"{lowering}.onnx").read_bytes()
    for trace in (b".py", b"site-packages", sys.prefix.encode(), str(Path.cwd()).encode(), b"torch", b"stack_trace"):
        assert trace not in content


def test_only_operators_that_tensorrt_takes_are_used(exported: Exported, lowering: str) -> None:
    model = load(exported, lowering)
    assert not model.functions
    assert {entry.domain for entry in model.opset_import} == {""}
    assert not REFUSED & {node.op_type for node in model.graph.node}


def test_tensorrt_rtx_parses_both_graphs(exported: Exported, lowering: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has packages for x86-64 only")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(exported.bundle / "graphs" / f"{lowering}.onnx"))
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    assert [network.get_input(i).name for i in range(network.num_inputs)] == [
        value.name for value in exported.sessions[lowering].get_inputs()
    ]


def test_openvino_runs_the_padded_graph_with_dynamic_shapes(
    exported: Exported, sized_photographs: list[npt.NDArray[np.uint8]]
) -> None:
    import openvino

    path = exported.bundle / "graphs" / "padded.onnx"
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    config = exported.model.config
    for images in (sized_photographs[:5], sized_photographs[4:5], sized_photographs[2:]):
        packed = pack(images, patch_px=config.patch_px, prefix_tokens=config.prefix_tokens, padding_tokens=3)
        inputs = packed.inputs()
        found = compiled({value.any_name: inputs[value.any_name] for value in compiled.inputs})
        for n, image in enumerate(images):
            expected = exported.alone(image)
            assert np.abs(found["logits"][n] - expected["logits"][0]).max() <= 1e-4
            assert np.abs(found["embedding"][n] - expected["embedding"][0]).max() <= 1e-4
