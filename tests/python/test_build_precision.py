"""Precision policies: numbers against ONNX's own evaluator, types by ONNX's checker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from packed_definition import with_definition, written_out
from tiny_bundle import TinyConfig, make_bundle, make_graph, pack_inputs

from navit_edge.compile import precision
from navit_edge.errors import BackendError, BundleError

# Three images, seven padding rows, one image without tokens.
GRIDS = [(3, 4), (5, 2), (1, 3)]
INPUTS = pack_inputs(GRIDS, tokens=32, images=4)
TOLERANCE = {"fp32": 2e-3, "fp16": 5e-3, "bf16": 4e-2}  # of outputs whose standard deviation is 0.5 to 1
POLICIES = list(TOLERANCE)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value."""
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def nodes_of(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_converted_graph_gives_the_numbers_of_the_float32_graph(policy: str) -> None:
    model = make_graph(TinyConfig(), "masked")
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, INPUTS)
    found = ReferenceEvaluator(precision.Conversion(model, policy).convert()).run(None, INPUTS)
    used = [3, 3, sum(r * c for r, c in GRIDS)]  # rows of logits, embedding and tokens that belong to an image
    for rows, e, f in zip(used, expected, found, strict=True):
        assert f.dtype == np.float32
        np.testing.assert_allclose(f[:rows], e[:rows], atol=TOLERANCE[policy], rtol=0)
        assert np.isfinite(f).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_the_converted_graph_is_well_typed_and_keeps_its_interface(policy: str) -> None:
    model = make_graph(TinyConfig(), "masked")
    converted = precision.Conversion(model, policy).convert()
    onnx.checker.check_model(converted, full_check=True)
    assert list(converted.graph.input) == list(model.graph.input)
    assert list(converted.graph.output) == list(model.graph.output)
    assert list(converted.graph.initializer) == list(model.graph.initializer)


@pytest.mark.parametrize("policy", POLICIES)
def test_scores_mask_softmax_norms_pooling_and_head_are_float32(policy: str) -> None:
    converted = precision.Conversion(make_graph(TinyConfig(), "masked"), policy).convert()
    types = types_of(converted)
    softmaxes = nodes_of(converted, "Softmax")
    assert len(softmaxes) == 2
    for softmax in softmaxes:
        assert types[softmax.input[0]] == types[softmax.output[0]] == TensorProto.FLOAT
    (mask,) = nodes_of(converted, "Where")
    assert types[mask.output[0]] == TensorProto.FLOAT
    for norm in nodes_of(converted, "LayerNormalization"):
        assert types[norm.input[0]] == TensorProto.FLOAT
    assert all(types[name] == TensorProto.FLOAT for name in ("tokens", "embedding", "logits"))
    places = [node.output[0] for node in nodes_of(converted, "Sin")]
    assert [types[name] for name in places] == [TensorProto.FLOAT]


@pytest.mark.parametrize(
    ("policy", "linear", "attention", "pixels"),
    [
        ("fp32", TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.FLOAT),
        ("fp16", TensorProto.FLOAT16, TensorProto.FLOAT16, TensorProto.FLOAT16),
        ("bf16", TensorProto.BFLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT16),
    ],
)
def test_products_are_in_the_precision_of_the_policy(policy: str, linear: int, attention: int, pixels: int) -> None:
    converted = precision.Conversion(make_graph(TinyConfig(depth=1), "masked"), policy).convert()
    types = types_of(converted)
    weights = {tensor.name for tensor in converted.graph.initializer}
    casts = {node.output[0]: node.input[0] for node in nodes_of(converted, "Cast")}
    found = {}
    for product in nodes_of(converted, "MatMul"):
        source = casts.get(product.input[1], product.input[1])
        found[source if source in weights else f"attention {len(found)}"] = types[product.output[0]]
    assert [t for name, t in found.items() if name.startswith("attention")] == [attention, attention, TensorProto.FLOAT]
    assert found["embed.weight"] == pixels
    assert found["position.weight"] == found["head.weight"] == TensorProto.FLOAT
    for name in ("q", "k", "v", "out", "up", "down"):
        assert found[f"layers.0.{name}.weight"] == linear


@pytest.mark.parametrize("policy", POLICIES)
def test_the_converted_packed_graph_gives_the_numbers_of_the_float32_graph(policy: str) -> None:
    """With the operator's documented meaning in its place; rows that no sequence holds would be NaN."""
    inputs = pack_inputs(GRIDS, tokens=32, images=4, packed=True)
    expected = ReferenceEvaluator(make_graph(TinyConfig(), "masked")).run(None, INPUTS)
    found = ReferenceEvaluator(
        written_out(precision.Conversion(make_graph(TinyConfig(), "packed"), policy).convert())
    ).run(None, inputs)
    used = [3, 3, sum(r * c for r, c in GRIDS)]
    for rows, e, f in zip(used, expected, found, strict=True):
        np.testing.assert_allclose(f[:rows], e[:rows], atol=TOLERANCE[policy], rtol=0)
        assert np.isfinite(f).all()


@pytest.mark.parametrize(
    ("options", "low"),
    [
        ({"precision": "fp16"}, TensorProto.FLOAT16),
        ({"precision": "bf16"}, TensorProto.BFLOAT16),
        ({"precision": "fp32"}, TensorProto.FLOAT16),
        ({"precision": "bf16", "fp32_trunk": True}, TensorProto.BFLOAT16),
        ({"precision": "fp16", "float32_products": False}, TensorProto.FLOAT16),
    ],
)
def test_packed_attention_takes_and_gives_16_bits_and_lengths_as_they_are(options: dict[str, Any], low: int) -> None:
    model = make_graph(TinyConfig(), "packed")
    converted = precision.Conversion(model, **options).convert()
    before = nodes_of(model, "TRT_Attention")
    after = nodes_of(converted, "TRT_Attention")
    types = types_of(with_definition(converted))
    assert len(before) == len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert [types[name] for name in new.input[:3]] == [low] * 3
        assert types[new.output[0]] == low
        assert list(new.input[3:]) == list(old.input[3:])
        assert [types[name] for name in new.input[4:]] == [TensorProto.INT32] * 2
        assert list(new.attribute) == list(old.attribute)
    assert {types[norm.input[0]] for norm in nodes_of(converted, "LayerNormalization")} == {TensorProto.FLOAT}
    described = precision.Conversion(model, **options).precision_map()
    kinds = {kind for operator, kind in described.values() if operator == "TRT_Attention"}
    assert kinds == {"bf16" if low == TensorProto.BFLOAT16 else "fp16"}


def test_strict_changes_nothing() -> None:
    model = make_graph(TinyConfig(), "masked")
    converted = precision.Conversion(model, "fp32", strict=True).convert()
    assert list(converted.graph.node) == list(model.graph.node)
    assert {kind for _, kind in precision.Conversion(model, "fp32", strict=True).precision_map().values()} == {"fp32"}


def test_the_sum_through_all_layers_is_float32_under_every_policy() -> None:
    model = make_graph(TinyConfig(depth=3), "masked")
    for policy in POLICIES:
        types = types_of(precision.Conversion(model, policy).convert())
        norms = [node for node in nodes_of(model, "LayerNormalization") if node.output[0] != "tokens"]
        assert len(norms) == 6
        for norm in norms:
            assert types.get(norm.input[0]) == TensorProto.FLOAT


@pytest.mark.parametrize(("policy", "low"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_with_a_float32_trunk_only_attention_is_in_16_bits(policy: str, low: int) -> None:
    model = make_graph(TinyConfig(depth=2), "masked")
    converted = precision.Conversion(model, policy, fp32_trunk=True).convert()
    onnx.checker.check_model(converted, full_check=True)
    types = types_of(converted)
    weights = {tensor.name for tensor in model.graph.initializer}
    products = nodes_of(model, "MatMul")
    attention = [p for p in products if p.input[1] not in weights and p.input[1] != "tokens"]  # tokens: pooling
    assert len(attention) == 4
    for product in products:
        assert types[product.output[0]] == (low if product in attention else TensorProto.FLOAT)


def test_a_float32_trunk_brings_bf16_nearer_to_float32() -> None:
    model = make_graph(TinyConfig(depth=8), "masked")
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(["tokens"], INPUTS)
    used = sum(r * c for r, c in GRIDS)

    def error(fp32_trunk: bool) -> float:
        converted = precision.Conversion(model, "bf16", fp32_trunk=fp32_trunk).convert()
        (found,) = ReferenceEvaluator(converted).run(["tokens"], INPUTS)
        return float(np.sqrt(np.square(found[:used] - expected[:used]).mean()))

    assert error(True) < 0.5 * error(False)


def test_the_precision_map_is_what_the_conversion_does() -> None:
    model = make_graph(TinyConfig(), "masked")
    found = precision.Conversion(model, "bf16").precision_map()
    converted = precision.Conversion(model, "bf16").convert()
    types = types_of(converted)
    names = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
    nodes = {node.name: node for node in converted.graph.node}
    assert len(found) > 60
    for name, (operator, kind) in found.items():
        assert nodes[name].op_type == operator
        if operator in ("MatMul", "Softmax", "LayerNormalization", "Gelu", "Transpose"):
            assert names[types[nodes[name].output[0]]] == kind


def test_without_float32_products_there_is_none() -> None:
    converted = precision.Conversion(make_graph(TinyConfig(), "masked"), "fp16", float32_products=False).convert()
    onnx.checker.check_model(converted, full_check=True)
    types = types_of(converted)
    assert {types[node.output[0]] for node in nodes_of(converted, "MatMul")} == {TensorProto.FLOAT16}


def rms_graph(width: int) -> onnx.ModelProto:
    """patches -> a linear layer -> RMS normalization and an exact GELU, both written out -> tokens."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(12, width)).astype(np.float32),
        "eps": np.float32(1e-6),
        "gain": rng.normal(1, 0.1, width).astype(np.float32),
        "half": np.float32(0.5),
        "one": np.float32(1),
        "root": np.float32(2**0.5),
        "axes": np.array([-1]),
    }
    node = onnx.helper.make_node
    nodes = [
        node("Cast", ["patches"], ["x"], to=TensorProto.FLOAT),
        node("MatMul", ["x", "w"], ["y"]),
        node("Mul", ["y", "y"], ["square"]),
        node("ReduceMean", ["square", "axes"], ["mean"]),
        node("Add", ["mean", "eps"], ["shifted"]),
        node("Sqrt", ["shifted"], ["rms"]),
        node("Reciprocal", ["rms"], ["inverse"]),
        node("Mul", ["y", "inverse"], ["normal"]),
        node("Mul", ["normal", "gain"], ["scaled"]),
        node("Div", ["scaled", "root"], ["divided"]),
        node("Erf", ["divided"], ["erf"]),
        node("Add", ["erf", "one"], ["plus"]),
        node("Mul", ["scaled", "plus"], ["product"]),
        node("Mul", ["product", "half"], ["tokens"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "rms",
        [onnx.helper.make_tensor_value_info("patches", TensorProto.UINT8, ["T", 12])],
        [onnx.helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["T", width])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


def test_squares_of_a_norm_that_is_written_out_do_not_overflow_in_16_bits() -> None:
    model = rms_graph(8)
    inputs = {"patches": np.full((3, 12), 255, np.uint8)}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, inputs)
    converted = precision.Conversion(model, "fp16").convert()
    onnx.checker.check_model(converted, full_check=True)
    (found,) = ReferenceEvaluator(converted).run(None, inputs)
    squares = np.square(inputs["patches"].astype(np.float32) @ onnx.numpy_helper.to_array(model.graph.initializer[0]))
    assert squares.max() > np.finfo(np.float16).max
    np.testing.assert_allclose(found, expected, atol=3e-3)
    types = types_of(converted)
    assert types["square"] == types["mean"] == types["normal"] == types["erf"] == TensorProto.FLOAT
    assert types["y"] == TensorProto.FLOAT16


def test_a_graph_output_inside_of_the_trunk_stays_float32() -> None:
    model = rms_graph(8)
    model.graph.output.append(onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 8]))
    converted = precision.Conversion(model, "fp16").convert()
    onnx.checker.check_model(converted, full_check=True)
    inputs = {"patches": np.arange(24, dtype=np.uint8).reshape(2, 12)}
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(["y"], inputs)[0]
    found = ReferenceEvaluator(converted).run(["y"], inputs)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=0.05)


def test_weights_stay_in_their_file_and_are_not_read(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    (bundle / "graphs" / "weights.bin").unlink()
    converted = precision.Conversion(
        precision.load((bundle / "graphs" / "masked.onnx").read_bytes(), "masked.onnx"), "bf16"
    ).convert()
    external = [t for t in converted.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert len(external) > 30
    assert all(t.data_type == TensorProto.FLOAT for t in external)


def test_a_graph_without_tokens_is_refused() -> None:
    model = rms_graph(8)
    model.graph.node[-1].output[0] = "features"
    model.graph.output[0].name = "features"
    with pytest.raises(BundleError, match="no value named tokens"):
        precision.Conversion(model, "fp16").convert()


def test_control_flow_is_refused_by_name() -> None:
    model = rms_graph(8)
    branch = onnx.helper.make_graph([], "branch", [], [])
    flag = onnx.numpy_helper.from_array(np.array(True), "flag")
    model.graph.initializer.append(flag)
    model.graph.node.append(
        onnx.helper.make_node("If", ["flag"], ["z"], name="fork", then_branch=branch, else_branch=branch)
    )
    with pytest.raises(BackendError, match=r"'fork' \(If\) is control flow"):
        precision.Conversion(model, "fp16").convert()


def test_a_file_that_is_no_graph_is_refused() -> None:
    with pytest.raises(BundleError, match=r"masked\.onnx is not an ONNX graph"):
        precision.load(b"\x00not a graph", "masked.onnx")


def test_a_norm_of_the_pixels_stays_float32() -> None:
    rng = np.random.default_rng(0)
    node = onnx.helper.make_node
    constants = {
        "centre": np.float32(128),
        "scale": np.ones(12, np.float32),
        "w": rng.normal(size=(12, 8)).astype(np.float32),
    }
    graph = onnx.helper.make_graph(
        [
            node("Cast", ["patches"], ["x"], to=TensorProto.FLOAT),
            node("Sub", ["x", "centre"], ["centred"]),
            node("LayerNormalization", ["centred", "scale"], ["normal"]),
            node("MatMul", ["normal", "w"], ["tokens"]),
        ],
        "normed",
        [onnx.helper.make_tensor_value_info("patches", TensorProto.UINT8, ["T", 12])],
        [onnx.helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["T", 8])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    found = dict(precision.Conversion(model, "bf16").precision_map().values())
    assert found == {"Cast": "fp32", "Sub": "fp32", "LayerNormalization": "fp32", "MatMul": "fp16"}
    onnx.checker.check_model(precision.Conversion(model, "bf16").convert(), full_check=True)
