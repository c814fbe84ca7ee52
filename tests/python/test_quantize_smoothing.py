"""Smoothing of quantize: the float graph computes what it computed, and outliers cost next to nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from quantize_cases import Array, Photographs, load, snapshot, write_images
from test_quantize_layers import with_outliers
from tiny_bundle import make_bundle

from navit_edge.bundle import manifest as manifests
from navit_edge.compile import precision as precisions
from navit_edge.errors import InvalidInputError
from navit_edge.quantize import QuantizeRequest, quantize_bundle, strength
from navit_edge.quantize.channels import ROWS, Channels
from navit_edge.quantize.fold import Folding, fold
from navit_edge.quantize.layers import Constants, find_layers, read_weights
from navit_edge.quantize.packs import Packing, list_images
from navit_edge.quantize.smoothing import Group, Transform, find_groups


@pytest.fixture(scope="module")
def images(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(photographs, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("plain") / "tiny.navit", lowerings=("masked", "padded", "packed"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.navit", lowerings=("padded",))


def random_transforms(groups: list[Group], width: dict[str, int]) -> dict[str, Transform]:
    """Shifts and scales from 1/8 to 8 for everything that takes them."""
    rng = np.random.default_rng(0)
    transforms = {}
    for group in groups:
        size = width[group.name]
        shift = rng.normal(0, 1, size) if group.shifts else np.zeros(size)
        scale = np.exp2(rng.uniform(-3, 3, size))
        transforms[group.name] = Transform(shift=shift.astype(np.float32), scale=scale.astype(np.float32))
    return transforms


def folded(model: onnx.ModelProto, directory: Path) -> tuple[onnx.ModelProto, list[Group]]:
    layers, groups = find_layers(model), find_groups(model, find_layers(model))
    weights = read_weights(model, layers, directory)
    width = {layer.name: weights[layer.name].shape[1 - layer.axis] for layer in layers}
    transforms = random_transforms(groups, width)
    folding = Folding(layers, groups, transforms, weights)
    changed, stand = fold(model, layers, groups, folding, Constants(model, directory))
    assert [changed.graph.node[layer.node].input[0] for layer in stand] == [layer.activation for layer in stand]
    return changed, groups


def run(model: onnx.ModelProto, directory: Path, inputs: dict[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(directory))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    wanted = {node.name for node in session.get_inputs()}
    return list(session.run(None, {name: value for name, value in inputs.items() if name in wanted}))


def assert_same(found: list[Array], expected: list[Array]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("lowering", ["masked", "padded"])
def test_a_smoothed_float_graph_computes_what_it_computed(plain: Path, images: Path, lowering: str) -> None:
    model, directory = load(plain, lowering), plain / "graphs"
    changed, groups = folded(model, directory)
    assert Counter(group.kind for group in groups) == {"norm": 4, "values": 2, "factor": 2}
    assert {group.kind for group in groups if group.shifts} == {"norm", "values"}
    for pack in Packing(plain, lowering).packs(images, list_images(images), lambda done, total: None)[:2]:
        assert_same(run(changed, directory, pack.inputs), run(model, directory, pack.inputs))


def test_values_of_packed_attention_are_found_as_in_the_other_graphs(plain: Path) -> None:
    def known(lowering: str) -> list[tuple[object, ...]]:
        model = load(plain, lowering)
        found = find_groups(model, find_layers(model))
        return [(group.layers, group.kind, group.source, group.shifts) for group in found]

    assert known("packed") == known("padded")


#: RMSNorm as it is exported, a gated MLP whose two halves are one product, biases here and there, a second reader.
GATED = """
<ir_version: 9, opset_import: ["" : 20]>
gated (float[T, 6] patches) => (float[T, 6] tokens)
<int64[1] zero = {0}, int64[1] half = {8},
 int64[1] all = {16}, int64[1] one = {1}, float eps = {0.001}>
{
    x = MatMul (patches, w_embed)
    squares = Mul (x, x)
    mean = ReduceMean <keepdims = 1> (squares, one)
    above = Add (mean, eps)
    root = Sqrt (above)
    normed = Div (x, root)
    h = Mul (normed, gain)
    both = MatMul (h, w_gate_up)
    gate = Slice (both, zero, half, one)
    up = Slice (both, half, all, one)
    sigmoid = Sigmoid (gate)
    silu = Mul (gate, sigmoid)
    product = Mul (silu, up)
    mixed = Gemm (product, w_down, b_down)
    y = Add (x, mixed)
    z = LayerNormalization <axis = -1> (y, plain_gain)
    a = MatMul (z, w_last)
    twice = LayerNormalization <axis = -1> (a, plain_gain)
    b = MatMul (twice, w_twice)
    tokens = Add (b, twice)
}
"""


def test_rms_norms_gates_and_values_that_others_read_are_smoothed_without_a_change(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GATED)
    rng = np.random.default_rng(1)
    for name, shape in {
        "gain": [6], "w_embed": [6, 6], "w_gate_up": [6, 16], "w_down": [8, 6], "b_down": [6],
        "plain_gain": [6], "w_last": [6, 6], "w_twice": [6, 6],
    }.items():  # fmt: skip
        value = rng.normal(0, 1, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    changed, groups = folded(model, tmp_path)
    assert [(group.name, group.kind, group.source, group.shifts) for group in groups] == [
        ("w_gate_up", "norm", "", False),  # an RMSNorm has no bias that could take a shift
        ("w_down", "gate", "w_gate_up", False),
        ("w_last", "norm", "", False),  # the product behind it has no place for a bias
        ("w_twice", "factor", "", False),  # its value is read by others, too
    ]
    patches = {"patches": rng.normal(0, 1, (50, 6)).astype(np.float32)}
    assert_same(run(changed, tmp_path, patches), run(model, tmp_path, patches))


def test_planted_outliers_cost_a_small_part_of_what_they_cost_without_smoothing(bundle: Path, images: Path) -> None:
    with_outliers(bundle)
    report = quantize_bundle(bundle, QuantizeRequest(calibration=images)).report
    for name in ("calibration", "held out"):
        for before, after in zip(report.accuracy_unsmoothed[name], report.accuracy[name], strict=True):
            assert after.rms_error < before.rms_error / 5, after.output
    outlier = next(value for value in report.smoothing if value.layers == ("layers.1.up",))
    assert outlier.taken_over_by == "norm"
    assert outlier.error_after < outlier.error_before / 5
    assert all(value.error_after <= value.error_before for value in report.smoothing)
    assert report.settings["--smooth"] == "auto"


def test_nothing_is_computed_beside_the_products_but_one_factor_for_each_activation_function(
    bundle: Path, images: Path
) -> None:
    quantize_bundle(bundle, QuantizeRequest(calibration=images))
    onnx.checker.check_model(bundle / "graphs" / "padded-int8.onnx", full_check=True)
    model = load(bundle, "padded-int8")
    constants = {tensor.name for tensor in model.graph.initializer}
    folded_by_compilers = [
        node for node in model.graph.node if all(name in constants or "weight" in name for name in node.input)
    ]
    kept = Counter(node.op_type for node in model.graph.node) - Counter(node.op_type for node in folded_by_compilers)
    before = Counter(node.op_type for node in load(bundle, "padded").graph.node)
    factors = [node for node in model.graph.node if node.op_type == "Mul" and node.input[0].startswith("gelu")]
    assert kept - before == Counter({"QuantizeLinear": 8, "DequantizeLinear": 8, "Mul": len(factors)})
    assert len(factors) <= 2
    converted = precisions.Conversion(model, "bf16").precision_map()
    for node in factors:  # what goes into QuantizeLinear is not rounded before
        assert converted[node.name] == ("Mul", "fp32")


def test_smoothing_that_costs_more_on_the_calibration_images_is_given_up(
    bundle: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other.navit"))
    quantize_bundle(other, QuantizeRequest(calibration=images, smooth="off"))

    def unsuitable(product: strength._Product, group: Group) -> strength.Choice:
        inert = product.transform(None, shifted=False)
        scale = inert.scale.copy()
        scale[0] = 1e-2  # one channel a hundred times as large as it was
        transform = Transform(shift=inert.shift, scale=scale)
        return strength.Choice(strength=0.5, transform=transform, before=1.0, after=0.0)

    monkeypatch.setattr(strength, "_best", unsuitable)
    report = quantize_bundle(bundle, QuantizeRequest(calibration=images)).report
    assert report.smoothing == ()
    assert any("smoothing was given up" in note for note in report.notes)
    worse = max(row.rms_error for row in report.accuracy_smoothed["calibration"])
    assert worse > max(row.rms_error for row in report.accuracy["calibration"])
    assert snapshot(bundle)["graphs/padded-int8.onnx"] == snapshot(other)["graphs/padded-int8.onnx"]


def test_one_strength_for_all_layers_is_kept_whatever_it_costs(bundle: Path, images: Path) -> None:
    report = quantize_bundle(bundle, QuantizeRequest(calibration=images, smooth=0.5)).report
    assert {(value.strength, value.shifted) for value in report.smoothing} == {(0.5, False)}
    assert report.settings["--smooth"] == "0.5"
    assert report.accuracy_unsmoothed
    assert [graph.id for graph in manifests.load(bundle).graphs] == ["padded", "padded-int8"]


def test_what_only_skipped_layers_read_stays_as_it_is(bundle: Path, images: Path) -> None:
    report = quantize_bundle(bundle, QuantizeRequest(calibration=images, skip_layers=("*.down", "layers.0.q"))).report
    assert {value.layers for value in report.smoothing} == {
        *((f"layers.{i}.q", f"layers.{i}.k", f"layers.{i}.v") for i in (0, 1)),
        *((f"layers.{i}.{name}",) for i in (0, 1) for name in ("out", "up")),
    }
    model = load(bundle, "padded-int8")
    assert not any("down.weight.smoothed" in name for node in model.graph.node for name in node.output)


def test_rows_are_an_even_choice_and_ranges_those_of_every_other_image() -> None:
    values = np.arange(5 * ROWS, dtype=np.float32)[:, None] - 100
    channels = Channels(len(values))
    for image in np.split(values, [1, 7, 1000, 2048]):
        channels.add(image)
    np.testing.assert_array_equal(np.sort(channels.rows, axis=0), values[::5])
    assert [(one.low.item(), one.high.item()) for one, _ in channels.halves] == [
        (-100, 5 * ROWS - 101),  # images 0, 2 and 4
        (-99, 2048 - 101),
    ]
    assert (channels.range.low.item(), channels.range.high.item()) == (-100, 5 * ROWS - 101)
    alone = Channels(3)
    alone.add(values[:3])
    assert len(alone.halves) == 1


def test_a_channel_that_only_some_images_fill_is_judged_on_the_others() -> None:
    rng = np.random.default_rng(0)
    channels = Channels(400)
    for image in range(4):
        rows = rng.normal(0, 1, (100, 8)).astype(np.float32)
        rows[:, 0] *= 0.01 if image % 2 else 1.0
        channels.add(rows)
    product = strength._Product(channels, rng.normal(0, 1, (8, 4)).astype(np.float32), "int8")
    assert product.error(1.0) > 5 * product.error(None)  # its range would be that of the images without it


@pytest.mark.parametrize("value", ["never", -0.1, 1.5, float("nan")])
def test_a_strength_that_is_none_is_refused(value: str | float) -> None:
    with pytest.raises(InvalidInputError, match=f"smooth {value}; expected auto, off, or a strength from 0 to 1"):
        QuantizeRequest(calibration=Path("images"), smooth=value)
