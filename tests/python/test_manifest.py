"""The manifest: what is written is read back, and what is no bundle is said to be none.

What a reader refuses of its text: ``test_manifest_corpus.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import (
    Budget,
    Engine,
    File,
    Graph,
    Manifest,
    Model,
    Preprocess,
    Sizing,
    TensorSpec,
    is_inside,
)
from navit_edge.errors import BundleError

HASH = "0" * 64


def make_manifest() -> Manifest:
    return Manifest(
        schema_version=manifests.SCHEMA_VERSION,
        name="tiny",
        created_by={"tests": "1"},
        model=Model(family="navit", width=64, depth=2, heads=4, prefix_tokens=0, parameters=1),
        preprocess=Preprocess(
            sizing=Sizing(rule="token-cap", max_tokens=64),
            filter="bilinear",
            patch_px=4,
            channels=3,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        graphs=(
            Graph(
                id="masked",
                lowering="masked",
                file="graphs/masked.onnx",
                opset=20,
                inputs=(TensorSpec(name="patches", dtype="uint8", shape=("T", 48)),),
                outputs=(TensorSpec(name="logits", dtype="float32", shape=("N", 2)),),
            ),
        ),
        engines=(
            Engine(
                id="openvino-cpu-fp32",
                backend="openvino",
                target="cpu",
                precision="fp32",
                graph="masked",
                strategy="similar-length",
                dynamic_tokens=True,
                budgets=(
                    Budget(tokens=64, images=4, target_tokens=32),
                    Budget(tokens=128, images=4, target_tokens=128),
                ),
                file="engines/openvino-cpu.blob",
                builder={"openvino": "1"},
                report="reports/build-openvino-cpu-fp32.json",
            ),
        ),
        labels=("cat", "dog"),
        files={
            name: File(sha256=HASH, bytes=1)
            for name in (
                "graphs/masked.onnx",
                "graphs/weights.bin",
                "engines/openvino-cpu.blob",
                "reports/build-openvino-cpu-fp32.json",
            )
        },
    )


def as_json() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(msgspec.json.encode(make_manifest()))
    return content


def parse(content: dict[str, Any]) -> Manifest:
    return manifests.parse(json.dumps(content).encode(), source="x.navit/manifest.json")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    manifests.save(make_manifest(), tmp_path)
    assert manifests.load(tmp_path) == make_manifest()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_manifest_that_is_not_valid_is_not_saved(tmp_path: Path) -> None:
    manifests.save(make_manifest(), tmp_path)
    with pytest.raises(BundleError):
        manifests.save(msgspec.structs.replace(make_manifest(), graphs=()), tmp_path)
    assert manifests.load(tmp_path) == make_manifest()


def test_a_manifest_that_says_nothing_of_quantization_is_read_as_not_quantized() -> None:
    content = as_json()
    del content["graphs"][0]["quantization"]
    del content["engines"][0]["float_precision"]
    manifest = parse(content)
    assert (manifest.graphs[0].quantization, manifest.engines[0].float_precision) == ("none", "")


def test_a_directory_that_is_missing_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle: no such directory; expected a directory made by"):
        manifests.load(tmp_path / "none.navit")


def test_a_directory_without_manifest_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json in it"):
        manifests.load(tmp_path)


def test_a_file_is_not_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="found a file"):
        manifests.load(tmp_path / "file")


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "..", "../x", "a/../../x", "a//b", "./a", "a/.", "", "a\\b", "C:/x", "manifest.json", "a\0b"],
)
def test_a_name_that_leaves_the_bundle_is_not_inside(name: str) -> None:
    assert not is_inside(name)


@given(st.lists(st.from_regex(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,8}", fullmatch=True), min_size=1, max_size=4))
def test_a_plain_relative_name_is_inside_and_resolves_below_the_bundle(parts: list[str]) -> None:
    name = "/".join(parts)
    assert is_inside(name)
    assert (Path("/bundle") / name).resolve().is_relative_to("/bundle")


@given(st.text(max_size=12))
def test_whatever_is_inside_resolves_below_the_bundle(name: str) -> None:
    if is_inside(name):
        resolved = Path("/bundle.navit", name).resolve()
        assert resolved != Path("/bundle.navit")
        assert resolved.is_relative_to("/bundle.navit")
