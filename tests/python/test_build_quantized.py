"""int8 engines on this machine's CPU, and the types of a quantized graph for TensorRT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from PIL import Image

import navit_edge as ne
from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.compile import BuildRequest, build_engines, precision
from navit_edge.compile.openvino import cpu_precisions
from navit_edge.compile.report import BuildReport
from navit_edge.machine.host import Host, native_precisions
from navit_edge.quantize import QuantizeRequest, quantize_bundle

Photographs = Mapping[str, npt.NDArray[np.uint8]]
#: Whether this processor multiplies in int8. Otherwise the numbers of int8 are computed in float32.
HAS_PRODUCTS = "int8" in native_precisions(Host.read().flags)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small exported model in int8, calibrated on the photographs, with its OpenVINO engine."""
    directory = tmp_path_factory.mktemp("int8")
    (directory / "images").mkdir()
    for name in photographs:
        Image.fromarray(photographs[name]).save(directory / "images" / f"{name}.png")
    path = Path(shutil.copytree(tiny_bundle, directory / "tiny.navit"))
    quantize_bundle(path, QuantizeRequest(calibration=directory / "images", holdout=0.0))
    build_engines(path, BuildRequest(backend="openvino", precision=("int8",), token_budgets=(1024,)))
    return path


def read_report(bundle: Path, engine: str) -> BuildReport:
    return msgspec.json.decode((bundle / f"reports/build-{engine}.json").read_bytes(), type=BuildReport)


def test_openvino_computes_every_quantized_layer_in_int8_where_the_processor_can(bundle: Path) -> None:
    report = read_report(bundle, "openvino-cpu-int8")
    layers = report.details["linear_layers"]
    assert sum(layers.values()) > 8  # qkv, proj, up and down of two layers; pixels, pooling and head are not quantized
    if HAS_PRODUCTS:
        assert layers["i8"] == 8
        assert set(layers) == {"i8", "f32"}  # compiled so; precision of the rest is decided at import
    else:
        assert set(layers) == {"f32"}
    assert any("no int8 products" in note for note in report.notes) != HAS_PRODUCTS
    assert report.graph == "padded-int8"
    assert set(report.built_from) == {"graphs/padded-int8.onnx", "graphs/weights.bin"}


def test_the_int8_engine_stands_beside_the_others_and_is_smaller(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    hashing.verify_files(bundle, manifest)
    by_id = {engine.id: engine for engine in manifest.engines}
    int8, fp32 = by_id["openvino-cpu-int8"], by_id["openvino-cpu-fp32"]
    assert (int8.precision, int8.graph, int8.dynamic_tokens) == ("int8", "padded-int8", True)
    assert int8.float_precision == cpu_precisions()[0]
    assert fp32.float_precision == ""
    assert int8.file != fp32.file
    if HAS_PRODUCTS:  # otherwise the weights stay in float32
        assert (bundle / int8.file).stat().st_size < (bundle / fp32.file).stat().st_size


def test_an_engine_with_int8_products_runs_only_where_there_are_some(bundle: Path, tmp_path: Path) -> None:
    """As a processor with them compiles it."""
    import openvino

    copy = Path(shutil.copytree(bundle, tmp_path / "tiny.navit"))
    manifest = manifests.load(copy)
    name = next(engine.file for engine in manifest.engines if engine.id == "openvino-cpu-int8")
    compiled = openvino.Core().compile_model(
        copy / "graphs/padded-int8.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    (copy / name).write_bytes(compiled.export_model().getvalue())
    content = json.loads((copy / "manifest.json").read_bytes())
    content["files"][name] = msgspec.to_builtins(hashing.hash_file(copy / name))
    (copy / "manifest.json").write_bytes(json.dumps(content).encode())
    if HAS_PRODUCTS:
        with ne.Session(copy, engine="openvino-cpu-int8") as session:
            assert session.precision == "int8"
    else:
        with pytest.raises(ne.BackendError, match=r"with int8 products \(VNNI\), and this one has none"):
            ne.Session(copy, engine="openvino-cpu-int8")


def test_a_session_runs_the_int8_engine_near_to_float32(bundle: Path, photographs: Photographs) -> None:
    int8, fp32 = (ne.Session(bundle, precision=name) for name in ("int8", "fp32"))
    assert (int8.engine, int8.precision) == ("openvino-cpu-int8", "int8")
    images = list(photographs.values())
    for one, other in zip(int8.run(images), fp32.run(images), strict=True):
        assert one.grid == other.grid
        for name in ("logits", "embedding", "tokens"):
            a, b = (getattr(result, name).ravel().astype(np.float64) for result in (one, other))
            assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.998, name
            assert not np.array_equal(a, b)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


@pytest.mark.parametrize(("policy", "low"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_between_q_and_dq_is_int8_and_both_operands_come_out_in_one_type(bundle: Path, policy: str, low: int) -> None:
    model = precision.Conversion(
        precision.load((bundle / "graphs" / "masked-int8.onnx").read_bytes(), "masked-int8.onnx"), policy
    ).convert()
    types = types_of(model)
    writers = {name: node for node in model.graph.node for name in node.output}
    products = 0
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":  # what is rounded is float32, by a float32 scale
            assert types[node.input[0]] == types[node.input[1]] == TensorProto.FLOAT
            assert types[node.output[0]] == TensorProto.INT8
        if node.op_type == "DequantizeLinear":
            assert types[node.input[1]] == types[node.output[0]] == low
        operands = [writers.get(name) for name in node.input[:2]]
        if node.op_type == "Gemm" and all(o is not None and o.op_type == "DequantizeLinear" for o in operands):
            assert types[node.output[0]] == low
            products += 1
        if node.op_type in ("LayerNormalization", "Softmax", "Gelu"):
            assert types[node.input[0]] == TensorProto.FLOAT
    assert products == 8


def test_the_strongly_typed_int8_graph_gives_the_numbers_of_the_quantized_graph(
    bundle: Path, photographs: Photographs
) -> None:
    from navit_edge_export import preprocess

    images = [preprocess.prepare(photographs[name], patch_px=16, max_tokens=64) for name in ("cat", "page")]
    pack = preprocess.pack(images, patch_px=16, padding_tokens=5).inputs()
    path = bundle / "graphs" / "masked-int8.onnx"
    model = onnx.load(path)
    inputs = {value.name: pack[value.name] for value in model.graph.input}
    expected = ReferenceEvaluator(model).run(["logits"], inputs)[0]
    for policy, tolerance in (("fp16", 0.02), ("bf16", 0.1)):
        found = ReferenceEvaluator(precision.Conversion(model, policy).convert()).run(["logits"], inputs)[0]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=tolerance)
