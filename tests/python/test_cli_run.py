"""`navit-edge run`: what it prints of images, and of those that cannot be run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from command_line import invoke, words
from PIL import Image
from tiny_bundle import make_bundle

from navit_edge import compile as build_package
from navit_edge.bundle import manifest as manifests


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a.png": (16, 24), "b.png": (40, 12), "c.png": (100, 90)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def run_json(*arguments: object) -> tuple[list[dict[str, Any]], Any]:
    result = invoke("run", *arguments, "--json")
    return [json.loads(line) for line in result.stdout.splitlines()], result


def test_run_prints_one_json_object_an_image_in_order(built: Path, images: Path) -> None:
    files = [images / name for name in ("c.png", "a.png", "b.png")]
    records, result = run_json(built, *files, "--top-k", "2")
    assert result.exit_code == 0, result.stderr
    assert [record["file"] for record in records] == [str(file) for file in files]
    assert [record["pixels"] for record in records] == [[100, 90], [16, 24], [40, 12]]
    assert [record["grid"] for record in records[1:]] == [[4, 6], [10, 3]]
    for record in records:
        assert list(record) == ["file", "pixels", "grid", "tokens", "scale", "pack", "latency_ms", "top_k"]
        assert record["tokens"] == record["grid"][0] * record["grid"][1] <= 256
        assert len(record["top_k"]) == 2
    assert "engine openvino-cpu-fp32 on " in result.stderr


def test_run_prints_the_logits_of_the_engine_and_their_softmax(built: Path, images: Path) -> None:
    """Against OpenVINO itself on an image whose sides are multiples of the patch, so that nothing is resized."""
    (record,), _ = run_json(built, images / "a.png", "--top-k", "5")
    from tiny_bundle import pack_inputs

    inputs = pack_inputs([(4, 6)], padded=True)
    pixels = np.asarray(Image.open(images / "a.png"))
    inputs["patches"] = pixels.reshape(4, 4, 6, 4, 3).transpose(0, 2, 1, 3, 4).reshape(24, 48)
    engine = manifests.load(built).engines[0]
    compiled = openvino.Core().import_model((built / engine.file).read_bytes(), "CPU", dict(engine.options))
    logits = compiled(inputs)["logits"][0].astype(np.float64)
    scores = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-logits)
    assert [item["label"] for item in record["top_k"]] == [f"class {i}" for i in order]
    np.testing.assert_allclose([item["logit"] for item in record["top_k"]], logits[order], atol=1e-5)
    np.testing.assert_allclose([item["score"] for item in record["top_k"]], scores[order], atol=1e-5)


def test_run_takes_a_directory_and_prints_a_table(built: Path, images: Path) -> None:
    result = invoke("run", built, images)
    assert result.exit_code == 0, result.stderr
    for text in ("a.png", "b.png", "c.png", "16 × 24", "4 × 6", "class "):
        assert text in result.stdout
    assert "notes.txt" not in result.stdout


def test_an_image_that_cannot_be_run_is_reported_and_the_others_complete(built: Path, images: Path) -> None:
    records, result = run_json(built, images / "a.png", images / "notes.txt", images / "gone.png", images / "b.png")
    assert result.exit_code == 1
    assert ["error" in record for record in records] == [False, True, True, False]
    assert "no such file" in records[2]["error"]
    assert "error: 2 of 4 images failed: " in result.stderr
    table = invoke("run", built, images / "a.png", images / "gone.png")
    assert table.exit_code == 1
    assert "no such file" in words(table.stdout)


def test_a_directory_without_images_is_refused(built: Path, tmp_path: Path) -> None:
    result = invoke("run", built, tmp_path)
    assert result.exit_code == 1
    assert "holds no images" in result.stderr


def test_an_engine_that_is_not_there_is_refused_with_those_that_are(built: Path, images: Path) -> None:
    result = invoke("run", built, images / "a.png", "--engine", "openvino-cpu-fp8")
    assert result.exit_code == 1
    assert "openvino-cpu-fp32" in result.stderr


def test_an_engine_that_is_passed_over_is_said(tmp_path: Path, images: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    for backend, precision in (("tensorrt-rtx", "fp16"), ("openvino", "fp32")):
        request = build_package.BuildRequest(backend=backend, precision=(precision,), token_budgets=(256,))
        build_package.build_engines(bundle, request)
    _, result = run_json(bundle, images / "a.png")
    assert result.exit_code == 0, result.stderr
    assert "passed over tensorrt-rtx-sm86+sm89+sm120-fp16: " in result.stderr
    assert "engine openvino-cpu-fp32 on " in result.stderr
