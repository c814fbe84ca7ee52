"""quantize: what of a graph is quantized, where the scales come from, and what it costs by ONNX Runtime's numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from quantize_cases import LAYERS, Array, Photographs, constants, load, precision_of, write_images
from tiny_bundle import make_bundle

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.oracle.graph import run_graph
from navit_edge.oracle.packs import Pack
from navit_edge.quantize import QuantizeRequest, calibration, quantize_bundle
from navit_edge.quantize.layers import find_layers
from navit_edge.quantize.packs import Packing, list_images
from navit_edge.quantize.qdq import LARGEST, SMALLEST_SCALE, round_to, scale_of
from navit_edge.quantize.report import QuantizeReport


@pytest.fixture(scope="module")
def images(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(photographs, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("plain") / "tiny.navit")


@pytest.fixture
def bundle(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "tiny.navit"))


@pytest.fixture(scope="module", params=["int8", "fp8"])
def quantized(
    request: pytest.FixtureRequest, plain: Path, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    bundle = Path(shutil.copytree(plain, tmp_path_factory.mktemp(request.param) / f"{request.param}.navit"))
    quantize_bundle(bundle, QuantizeRequest(calibration=images, precision=request.param, smooth="off"))
    return bundle


def test_quantized_graphs_stand_beside_the_float32_graphs_which_stay_as_they_were(plain: Path, quantized: Path) -> None:
    precision = precision_of(quantized)
    before, after = manifests.load(plain), manifests.load(quantized)
    assert [(g.id, g.quantization) for g in after.graphs] == [
        ("masked", "none"),
        ("padded", "none"),
        (f"masked-{precision}", precision),
        (f"padded-{precision}", precision),
    ]
    assert {name: after.files[name] for name in before.files} == before.files
    assert set(after.files) - set(before.files) == {
        f"graphs/masked-{precision}.onnx",
        f"graphs/padded-{precision}.onnx",
        f"reports/quantize-{precision}.json",
    }
    hashing.verify_files(quantized, after)
    for old, new in zip(before.graphs, after.graphs[2:], strict=True):
        assert (new.lowering, new.inputs, new.outputs) == (old.lowering, old.inputs, old.outputs)
        onnx.checker.check_model(quantized / new.file, full_check=True)


def test_the_weights_stay_in_the_one_file_and_in_float32(quantized: Path) -> None:
    for lowering in ("masked", "padded"):
        old, new = (load(quantized, name) for name in (lowering, f"{lowering}-{precision_of(quantized)}"))
        for one, other in zip(old.graph.initializer, new.graph.initializer, strict=False):
            assert one == other
        added = list(new.graph.initializer)[len(old.graph.initializer) :]
        assert all(tensor.data_location != TensorProto.EXTERNAL for tensor in added)
        assert sum(len(tensor.raw_data) for tensor in added) < 20_000


@pytest.mark.parametrize("lowering", ["masked", "padded"])
def test_only_the_linear_layers_hold_q_dq(quantized: Path, lowering: str) -> None:
    model = load(quantized, f"{lowering}-{precision_of(quantized)}")
    writers = {name: node for node in model.graph.node for name in node.output}
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in model.graph.node:
        quantized_inputs = [name for name in node.input if name in dequantized]
        if quantized_inputs:  # whatever reads a dequantized value is a linear layer, with both operands so
            assert node.op_type == "MatMul"
            assert quantized_inputs == list(node.input)
            weight = writers[writers[node.input[1]].input[0]].input[0]
            found.append(weight.removesuffix(".weight"))
        if node.op_type == "QuantizeLinear":
            assert [other.op_type for other in model.graph.node if node.output[0] in other.input] == [
                "DequantizeLinear"
            ]
    assert found == LAYERS
    kinds = {
        writers[node.input[0]].op_type
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in writers
    }
    assert kinds == {"LayerNormalization", "Gelu", "Reshape" if lowering == "masked" else "Gather"}


def test_layers_that_read_the_same_value_share_its_q_dq(quantized: Path) -> None:
    model = load(quantized, f"padded-{precision_of(quantized)}")
    activations = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and not n.input[0].endswith(".weight")]
    assert len(activations) == 8  # q, k and v read one value
    assert len({node.input[0] for node in activations}) == 8


def test_each_output_channel_of_a_weight_has_a_scale_of_its_own_and_zero_points_are_zero(quantized: Path) -> None:
    precision = precision_of(quantized)
    model = load(quantized, f"masked-{precision}")
    values = constants(model, quantized)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    kind = TensorProto.INT8 if precision == "int8" else TensorProto.FLOAT8E4M3FN
    count = 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert types[node.input[2]] == kind
            assert not np.asarray(values[node.input[2]], np.float32).any()
        if node.op_type == "QuantizeLinear" and node.input[0] in values:
            weight, scales = values[node.input[0]], values[node.input[1]]
            (axis,) = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
            assert axis == 1  # [fan_in, fan_out]
            assert scales.shape == (weight.shape[1],)
            largest = np.abs(weight).max(axis=0) / LARGEST[precision]
            assert np.all(scales >= largest)
            assert np.all(scales <= np.maximum(largest * 1.01, SMALLEST_SCALE))
            count += 1
        elif node.op_type == "QuantizeLinear":
            assert values[node.input[1]].shape == ()
    assert count == len(LAYERS)


def test_scales_lose_nothing_in_bf16_and_fp16(quantized: Path) -> None:
    model = load(quantized, f"padded-{precision_of(quantized)}")
    scales = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith(".scale")]
    flat = np.concatenate([scale.ravel() for scale in scales])
    assert len(flat) > 1000
    assert np.array_equal(flat.astype(np.float16).astype(np.float32), flat)
    bf16 = (flat.view(np.uint32) & 0xFFFF0000).view(np.float32)  # bfloat16 is the upper half
    assert np.array_equal(bf16, flat)


@pytest.mark.parametrize("largest", [0.0, 1e-6, 3.3e-3, 0.1, 1.0, 126.9, 127.0, 5e4])
@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_scale_covers_what_it_is_to_cover_and_little_more(largest: float, precision: str) -> None:
    scale = scale_of(largest, precision)
    assert scale * LARGEST[precision] >= largest
    assert scale <= max(largest / LARGEST[precision] * (1 + 2**-7), SMALLEST_SCALE)


def test_packs_of_calibration_are_those_of_the_reference_preprocessing(
    plain: Path, images: Path, photographs: Photographs
) -> None:
    from navit_edge_export import preprocess

    packing = Packing(plain, "padded")
    packs = packing.packs(images, list_images(images), lambda done, total: None)
    assert sum(len(pack.segments) for pack in packs) == len(photographs)
    for pack in packs:
        names = [Path(segment.name).stem for segment in pack.segments]
        prepared = [preprocess.prepare(photographs[name], patch_px=4, max_tokens=256) for name in names]
        expected = preprocess.pack(prepared, patch_px=4).inputs()
        assert list(pack.inputs) == [name for name in expected if name != "cu_seqlens"]  # of the packed graph alone
        for name, value in pack.inputs.items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def with_padding(pack: Pack, rows: int) -> Pack:
    """The pack with so many rows of no image behind it, of whatever stands there."""
    filled = {"patches": 255, "positions": 10_000, "segment_ids": len(pack.inputs["grid_hw"])}
    inputs = {
        name: np.concatenate([value, np.full((rows, *value.shape[1:]), filled[name], value.dtype)])
        if name in filled
        else value
        for name, value in pack.inputs.items()
    }
    return Pack(inputs=inputs, segments=pack.segments)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_padding_rows_do_not_touch_the_scales(plain: Path, images: Path, method: str) -> None:
    packs = Packing(plain, "masked").packs(images, list_images(images), lambda done, total: None)
    assert all(pack.used_rows().all() for pack in packs)
    model = load(plain, "masked")
    scales = []
    for padding in (0, 300):
        padded = [with_padding(pack, padding) for pack in packs]
        histograms = calibration.observe(model, plain / "graphs", find_layers(model), padded)
        scales.append(calibration.choose_scales(histograms, method, "int8", 99.9))
    one, other = scales
    assert list(one) == LAYERS
    for name, scale in one.items():
        assert other[name] == pytest.approx(scale, rel=0.01), name


def test_the_report_gives_the_accuracy_that_onnx_runtime_measures(quantized: Path, images: Path, plain: Path) -> None:
    precision = precision_of(quantized)
    report = read_report(quantized)
    held = {image.name for image in report.held_out}
    assert {image.name for image in report.calibration} | held == {image.name for image in list_images(images)}
    assert len(held) == 2
    packs = Packing(plain, "padded").packs(images, list(report.held_out), lambda done, total: None)
    sessions = [
        onnxruntime.InferenceSession(quantized / "graphs" / f"{name}.onnx")  # with its own integer kernels
        for name in ("padded", f"padded-{precision}")
    ]
    rows = {row.output: row for row in report.accuracy["held out"]}
    for output in ("logits", "embedding"):
        cosines, agreeing = [], 0
        for pack in packs:
            one, other = (session.run([output], pack.inputs)[0] for session in sessions)
            for a, b in zip(one, other, strict=True):
                cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
                agreeing += int(a.argmax() == b.argmax())
        assert rows[output].images == len(cosines) == 2
        assert rows[output].cosine_min == pytest.approx(min(cosines), abs=2e-3)
        assert rows[output].cosine_mean == pytest.approx(np.mean(cosines), abs=2e-3)
        assert min(cosines) > 0.99
        if output == "logits":
            assert rows[output].top1_agreement == agreeing / 2
    assert set(report.accuracy) == {"calibration", "held out"}
    for table in report.accuracy.values():
        assert [row.output for row in table] == ["logits", "embedding", "tokens"]
        for row in table:
            assert 0 < row.rms_error < 0.1
            assert 0 < row.max_error < 0.2


def test_both_lowerings_give_the_same_quantized_numbers(quantized: Path, images: Path, plain: Path) -> None:
    precision = precision_of(quantized)
    results = []
    for lowering in ("masked", "padded"):
        packs = Packing(plain, lowering).packs(images, list_images(images), lambda done, total: None)
        model = load(quantized, f"{lowering}-{precision}")
        found = run_graph(model, quantized / "graphs", (pack.inputs for pack in packs))
        results.append(np.concatenate([values["logits"] for values in found]))
    # A rounding may fall the other way where sums were added in another order: one step of one value.
    np.testing.assert_allclose(results[0], results[1], atol=0.02)


def read_report(bundle: Path) -> QuantizeReport:
    name = next(name for name in manifests.load(bundle).files if name.startswith("reports/quantize-"))
    return msgspec.json.decode((bundle / name).read_bytes(), type=QuantizeReport)


def test_the_report_says_what_the_scales_rest_on(quantized: Path, images: Path) -> None:
    report = read_report(quantized)
    assert report.precision == precision_of(quantized)
    assert report.method == "minmax"
    assert [layer.layer for layer in report.layers] == LAYERS
    for layer in report.layers:
        assert layer.quantized
        assert layer.covered == layer.largest > 0
        assert layer.clipped == 0.0
        assert layer.scale == scale_of(layer.covered, report.precision)
        assert 0 < layer.weight_scale_min < layer.weight_scale_max
    assert report.skipped == ()
    assert report.calibration_tokens > 1000
    assert str(images) not in (quantized / f"reports/quantize-{report.precision}.json").read_text()
    assert any("only 6 images to calibrate with" in note for note in report.notes)
    assert report.built_from == {
        name: file for name, file in manifests.load(quantized).files.items()
        if name in ("graphs/masked.onnx", "graphs/padded.onnx", "graphs/weights.bin")
    }  # fmt: skip


def test_methods_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 100_000), [200.0]]).astype(np.float32)
    histogram = calibration.Histogram()
    for part in np.array_split(values, 7):
        histogram.add(part)
    assert int(histogram.counts.sum()) == len(values)
    found = {m: calibration.threshold(histogram, m, "int8", 99.9) for m in ("minmax", "percentile", "mse", "entropy")}
    assert found["minmax"] == 200.0
    exact = float(np.quantile(np.abs(values), 0.999))
    assert found["percentile"] == pytest.approx(exact, abs=2 * histogram.range / 4096)
    assert found["entropy"] < 20.0  # one value in 100,000 does not decide
    assert clip_error(values, found["mse"]) <= min(clip_error(values, t) for t in (found["entropy"], 200.0, 100.0, 5.0))


def clip_error(values: Array, covered: float) -> float:
    """Mean square error of int8 with this range, by numpy."""
    scale = covered / 127
    return float(np.square(np.clip(np.rint(values / scale), -127, 127) * scale - values).mean())


def test_rounding_to_fp8_is_that_of_onnx() -> None:
    values = np.concatenate([np.geomspace(1e-4, 600, 5000), [0.0, 448.0, 2**-9, 2**-10]]).astype(np.float32)
    node = onnx.helper.make_node("Cast", ["x"], ["q"], to=TensorProto.FLOAT8E4M3FN)
    back = onnx.helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT)
    info = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    graph = onnx.helper.make_graph([node, back], "cast", [info[0]], [info[1]])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": values})
    np.testing.assert_array_equal(round_to(values.astype(np.float64), "fp8"), expected)
