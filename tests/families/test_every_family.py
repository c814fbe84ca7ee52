"""Every family through every command, on a checkpoint as its library saves it.

A family that a command cannot take shows here, and a new row of the registry without a checkpoint in
``tiny_checkpoints.py`` does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx_sessions import open_graph, run_graph
from parity import draw_images
from PIL import Image
from tiny_checkpoints import TINY, save_tiny
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bench import calibration
from navit_edge.cli.main import app
from navit_edge_export.families.registry import FAMILIES
from navit_edge_export.preprocess import Pack, pack

Values = npt.NDArray[np.float32]
NAMES = tuple(row.name for row in FAMILIES)
#: Only in `make verify-families`: to the commands each is like the family behind it. Its own tests run everywhere.
LIKE = {
    "vit-pytorch": "navit",
    "dinov2": "dinov3",
    "mistral3": "pixtral",
    "qwen2-vl": "qwen2.5-vl",
    "paddleocr-vl": "moonvit",
    "hunyuan-vl": "glm4v",
    "qwen3-vl": "qwen2.5-vl",
    "lfm2-vl": "siglip2",
}
TRIED = NAMES if "NAVIT_EDGE_TESTS_WHOLE" in os.environ else tuple(name for name in NAMES if name not in LIKE)
#: height_px, width_px of what the commands are given.
SIZES = ((40, 60), (64, 32), (96, 96), (57, 91))
#: In blocks of patches.
GRIDS = ((2, 3), (1, 4), (3, 1))
PADDING = 5


def call(*words: object) -> str:
    """The standard output of a command that succeeds."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, f"{words}: {done.stderr}"
    return done.stdout


def draw_files(folder: Path) -> Path:
    """Images in a folder."""
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def export(family: str, root: Path, *options: str) -> Path:
    """The bundle of a family's checkpoint, whose name export has to find out."""
    bundle = root / f"{family}.navit"
    call("export", "--checkpoint", save_tiny(family, root / "checkpoint"), "-o", bundle, *options)
    return bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_files(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module", params=TRIED)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(request.param, tmp_path_factory.mktemp("family"))


def test_every_row_of_the_registry_has_a_tiny_checkpoint() -> None:
    assert set(TINY) == set(NAMES)
    assert {*LIKE, *LIKE.values()} <= set(NAMES)
    assert not set(LIKE) & set(LIKE.values())


def test_every_command_takes_the_family(bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SECONDS", 0.0)
    call("quantize", bundle, "--calibration", folder)
    call("build-engine", bundle, "--backend", "openvino", "--precision", "fp32,int8", "--token-budgets", "640")
    manifest = ne.load_manifest(bundle)
    assert manifest.model.family == bundle.stem
    assert [engine.precision for engine in manifest.engines] == ["fp32", "int8"]
    assert json.loads(call("inspect", bundle, "--json"))["model"]["family"] == bundle.stem

    for engine in manifest.engines:
        rows = [json.loads(line) for line in call("run", bundle, folder, "--engine", engine.id, "--json").splitlines()]
        assert len(rows) == len(SIZES)
        call("bench", bundle, "--engine", engine.id, "--calibrate")
    assert all(engine.cost is not None for engine in ne.load_manifest(bundle).engines)
    certificate = json.loads(call("verify", bundle, "--json"))
    assert len(certificate["engines"]) == 2
    assert json.loads(call("plan-budgets", bundle, folder, "--json"))


def real_rows(outputs: Mapping[str, Values], packed: Pack) -> list[Values]:
    """Of each output, what belongs to images: nothing of the padding."""
    found = []
    for name, value in outputs.items():
        patches = len(packed.patches) // len(value)  # to a row; towers merge 2 x 2 or more
        rows = len(GRIDS) if name in ("embedding", "logits") else packed.cu_seqlens[-1] // patches
        found.append(value[:rows])
    return found


def run_with_padding(bundle: Path, session: onnxruntime.InferenceSession) -> list[list[Values]]:
    """What a graph gives for images beside padding rows of zeros, and beside padding rows of other bytes."""
    manifest = ne.load_manifest(bundle)
    side, prefix = manifest.preprocess.patch_px, manifest.model.prefix_tokens
    block = max(2, manifest.model.token_merge)  # even, for projectors that merge 2 x 2 patches
    images = draw_images([(rows * block, columns * block) for rows, columns in GRIDS], side)
    packed = pack(images, patch_px=side, prefix_tokens=prefix, padding_tokens=PADDING, padding_images=1)
    inputs = packed.inputs()
    patches = inputs["patches"].copy()
    patches[-PADDING:] = np.random.default_rng(1).integers(0, 256, patches[-PADDING:].shape, np.uint8)
    return [real_rows(run_graph(session, given), packed) for given in (inputs, {**inputs, "patches": patches})]


@pytest.mark.parametrize("lowering", ["masked", "padded"])
def test_padding_rows_change_no_bit_and_graphs_hold_standard_operators_only(bundle: Path, lowering: str) -> None:
    path = bundle / "graphs" / f"{lowering}.onnx"
    model = onnx.load(path, load_external_data=False)
    assert {node.domain for node in model.graph.node} == {""}
    assert {entry.domain for entry in model.opset_import} == {""}
    assert not model.functions
    for one, other in zip(*run_with_padding(bundle, open_graph(path)), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
