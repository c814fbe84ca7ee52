"""The float32 reference: what is opened is what ONNX Runtime computes, and what is written is what Polygraphy reads."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from polygraphy.comparator import RunResults
from polygraphy.json import load_json
from tiny_bundle import make_bundle

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.merging import merge_inputs, parse_merging
from navit_edge.oracle.distance import Differences
from navit_edge.oracle.graph import infer, mark_outputs, open_runner, run_graph
from navit_edge.oracle.interchange import inputs_json, outputs_json
from navit_edge.oracle.packs import Pack, Segment
from navit_edge.oracle.reference import pack_images
from navit_edge_export import preprocess

VALUES = np.array([[-1.0, 2.0], [3.0, -4.0]], np.float32)


@pytest.fixture
def model() -> onnx.ModelProto:
    """y = 2 relu(x); the value between has a name that a wildcard would not find."""
    nodes = [
        helper.make_node("Relu", ["x"], ["inner[0]*"]),
        helper.make_node("Add", ["inner[0]*", "inner[0]*"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", 2]) for name in ("x", "y"))
    opset = helper.make_opsetid("", 17)
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y]), ir_version=8, opset_imports=[opset])


def test_inner_values_come_out_by_name_and_inputs_that_nobody_reads_are_left_out(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    packs = [{"x": VALUES, "unread": VALUES}, {"x": -VALUES}]
    marked = mark_outputs(model, ["inner[0]*", "y"])
    assert [value.name for value in model.graph.output] == ["y"]
    for found, sign in zip(run_graph(marked, tmp_path, packs), (1, -1), strict=True):
        np.testing.assert_array_equal(found["inner[0]*"], np.maximum(sign * VALUES, 0))
        np.testing.assert_array_equal(found["y"], 2 * np.maximum(sign * VALUES, 0))


def test_what_the_graph_does_not_take_is_an_error_of_ours(model: onnx.ModelProto, tmp_path: Path) -> None:
    with open_runner(model, tmp_path) as runner, pytest.raises(ne.BackendError, match="cannot run the graph"):
        infer(runner, {"x": VALUES.astype(np.float64)})
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ne.BackendError, match=r"cannot open the graph.*NoSuchOperator"):
        list(run_graph(model, tmp_path, [{"x": VALUES}]))


def test_a_runner_imports_no_torch_and_prints_nothing(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "g.onnx")
    script = """
import sys
from pathlib import Path
import numpy as np
from navit_edge.oracle.graph import infer, open_runner
file = Path(sys.argv[1])
with open_runner(file, file.parent) as runner:
    infer(runner, {"x": np.zeros((3, 2), np.float32)})
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "g.onnx")], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_packs_are_those_of_the_reference_preprocessing(tmp_path: Path) -> None:
    manifest = manifests.load(make_bundle(tmp_path / "tiny.navit"))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((40, 64), (7, 90), (33, 21))]
    prepared = [preprocess.prepare(image, patch_px=4, max_tokens=256) for image in images]
    prefix = manifest.model.prefix_tokens
    expected = preprocess.pack(prepared, patch_px=4, prefix_tokens=prefix, padding_tokens=5, padding_images=2).inputs()
    grids = [(int(rows), int(columns)) for rows, columns in expected["grid_hw"][: len(images)]]
    found = pack_images(images, grids, manifest, padding_tokens=5, padding_images=2).inputs
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_what_is_written_is_what_polygraphy_reads(tmp_path: Path) -> None:
    packs = [{"patches": np.arange(6, dtype=np.uint8).reshape(2, 3)}, {"patches": np.zeros((0, 3), np.uint8)}]
    (tmp_path / "inputs.json").write_bytes(inputs_json(packs))
    for read, pack in zip(load_json(str(tmp_path / "inputs.json")), packs, strict=True):
        assert read["patches"].dtype == np.uint8
        np.testing.assert_array_equal(read["patches"], pack["patches"])
    (tmp_path / "outputs.json").write_bytes(outputs_json([{"y": VALUES}], runner="float32"))
    read = RunResults.load(str(tmp_path / "outputs.json"))
    np.testing.assert_array_equal(read["float32"][0]["y"], VALUES)


def test_what_is_not_a_number_is_never_near() -> None:
    found = Differences()
    found.add(VALUES, VALUES)
    found.add(VALUES, np.full_like(VALUES, np.nan))
    found.add(VALUES, VALUES + 1)
    assert math.isnan(found.largest_difference)
    assert min(found.cosines) == 0
    assert math.isnan(found.rms)
    assert found.largest == 4.0


@pytest.mark.parametrize("padding", [0, 5])
def test_the_rows_of_images_are_known_to_a_graph_that_reads_no_segments(padding: int, tmp_path: Path) -> None:
    manifest = manifests.load(make_bundle(tmp_path / "tiny.navit"))
    images = [np.zeros((8, 12, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)]
    pack = pack_images(images, [(2, 3), (1, 1)], manifest, padding_tokens=padding, padding_images=2)
    whole = pack.used_rows()
    inputs = {name: value for name, value in pack.inputs.items() if name not in ("segment_ids", "grid_hw")}
    np.testing.assert_array_equal(Pack(inputs=inputs, segments=pack.segments).used_rows(), whole)
    np.testing.assert_array_equal(whole, np.arange(7 + padding) < 7)
    rows = np.arange(7 + padding, dtype=np.float32)[:, None]
    parts = Pack(inputs=inputs, segments=pack.segments).rows_of_images(rows)
    assert [part[:, 0].tolist() for part in parts] == [[0, 1, 2, 3, 4, 5], [6]]
    assert pack.rows_of_images(rows[:-1]) == []


@pytest.mark.parametrize("prefix_tokens", [0, 2])
def test_rows_behind_a_merge_are_those_that_their_image_keeps(prefix_tokens: int) -> None:
    merging = parse_merging("1:0.4", longest=16)
    lengths = [prefix_tokens + patches for patches in (40, 1, 16)]  # of several groups, of one
    inputs = merge_inputs(merging, [*lengths, 0, 0], prefix_tokens=prefix_tokens, tokens=100, longest=max(lengths))
    firsts = np.cumsum(lengths) - lengths
    segments = tuple(
        Segment(name="", first=int(first), tokens=count) for first, count in zip(firsts, lengths, strict=True)
    )
    rows = np.arange(len(inputs["merge_rows"]), dtype=np.float32)[:, None]
    pack = Pack(inputs={**inputs, "patches": np.zeros((100, 1), np.uint8)}, segments=segments)
    owners = inputs["merge_segment_ids"]
    for image, part in enumerate(pack.rows_of_images(rows, behind_merge=True)):
        np.testing.assert_array_equal(part[:, 0], np.flatnonzero(owners == image))
        assert len(part) == prefix_tokens + merging.kept_of(lengths[image] - prefix_tokens)
    assert pack.rows_of_images(rows[:-1], behind_merge=True) == []
