"""The manifest: what is written is read back, and what contradicts itself is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navit_edge import manifest as manifests
from navit_edge.errors import BundleError
from navit_edge.manifest import (
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


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"schema_version": "1"}', b"\xff\xfe"])
def test_what_is_not_the_json_of_a_manifest_is_called_damaged(raw: bytes) -> None:
    with pytest.raises(BundleError, match=r"x\.navit/manifest\.json is damaged"):
        manifests.parse(raw, source="x.navit/manifest.json")


@pytest.mark.parametrize(("version", "remedy"), [(99, "upgrade navit-edge"), (0, "export the model again")])
def test_another_schema_version_is_refused_with_the_way_out(version: int, remedy: str) -> None:
    content = as_json() | {"schema_version": version, "field_of_that_version": 1}
    with pytest.raises(BundleError, match=f"has schema_version {version}; this version reads 1; {remedy}"):
        parse(content)


def set_path(content: Any, path: str, value: object) -> None:
    """Keys with dots between; with a bar where the keys have dots themselves."""
    *parents, last = path.split("|" if "|" in path else ".")
    for key in parents:
        content = content[int(key) if key.isdigit() else key]
    content[int(last) if last.isdigit() else last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("surprise", 1, "unknown field `surprise`"),
        ("model.surprise", 1, r"unknown field `surprise` - at `\$.model`"),
        ("model.width", "64", r"at `\$.model.width`"),
        ("preprocess.filter", "mitchell", "preprocess.filter is 'mitchell'; known: nearest, box, bilinear"),
        ("preprocess.orientation", "exif", "preprocess.orientation is 'exif'; known: apply, as-decoded"),
        ("preprocess.icc", "p3", "preprocess.icc is 'p3'; known: ignore, srgb"),
        ("preprocess.alpha", "ignore", "preprocess.alpha is 'ignore'; known: drop, composite, reject"),
        (
            "preprocess.background",
            [0, 0, 256],
            r"preprocess.background is \[0, 0, 256\]; expected three values of 0 to",
        ),
        ("preprocess.sizing.rule", "crop", "rule is 'crop'; known: token-cap, native"),
        ("preprocess.sizing.max_tokens", 0, "max_tokens is 0; expected 1 and up"),
        ("preprocess.sizing.fit", "pad", "fit is 'pad', which the rule 'token-cap' does not have"),
        ("preprocess.sizing", {"rule": "fixed", "height_px": 6}, "expected multiples of the patch side"),
        ("engines.0.options", {"tensorrt_dir": "/tmp"}, "hold tensorrt_dir, which name code to load"),
        ("preprocess.patch_px", 0, "patch_px 0"),
        ("preprocess.mean", [0.5], "1 means and 3 stds; expected 3"),
        ("graphs.0.lowering", "packt", "lowering of graph 'masked' is 'packt'; known: masked, padded, packed"),
        ("graphs.0.quantization", "int4", "quantization of graph 'masked' is 'int4'; known: none, int8, fp8"),
        ("graphs.0.file", "graphs/gone.onnx", "'graphs/gone.onnx', which `files` does not list"),
        ("graphs.0.id", "mas/ked", "graph id 'mas/ked'; expected letters"),
        ("graphs.0.inputs.0.dtype", "u8", "dtype of 'patches' of graph 'masked' is 'u8'; known: uint8"),
        ("graphs.0.inputs.0.shape", ["Q", 48], r"has 'Q'; expected T, T/4, N, N\+1, L or 1 and up"),
        ("graphs.0.inputs.0.shape", ["T", 0], r"has 0; expected T, T/4, N, N\+1, L or 1 and up"),
        ("model.token_merge", 3, "token_merge is 3; known: 1, 2"),
        (
            "graphs.0.outputs",
            [{"name": "tokens", "dtype": "float32", "shape": ["T/4", 8]}],
            "tokens of graph 'masked' have 'T/4' rows; expected 'T' with token_merge 1",
        ),
        ("labels", ["cat"], "1 labels for logits of shape"),
        ("engines.0.graph", "padded", r"built from graph 'padded'; the bundle has \['masked'\]"),
        (
            "engines.0.strategy",
            "random",
            "strategy of engine 'openvino-cpu-fp32' is 'random'; known: auto, fifo, first-fit",
        ),
        ("engines.0.precision", "fp12", "'fp12'; known: fp32, fp16, bf16"),
        ("engines.0.float_precision", "int8", "float_precision of engine 'openvino-cpu-fp32' is 'int8'; known: fp32"),
        ("engines.0.budgets", [], "has no budgets"),
        ("engines.0.budgets.0.tokens", 256, r"have \[256, 128\] tokens; expected ascending"),
        ("engines.0.budgets.0.target_tokens", 65, "target_tokens 65; expected"),
        ("engines.0.budgets.0.images", 0, "0 images"),
        ("engines.0.report", "reports/gone.json", "report of engine 'openvino-cpu-fp32' names the file"),
        ("files|graphs/masked.onnx", {"sha256": "00", "bytes": 1}, "expected 64 lower-case hex"),
        ("files|graphs/masked.onnx", {"sha256": HASH, "bytes": -1}, "and a size"),
        ("files|../masked.onnx", {"sha256": HASH, "bytes": 1}, r"names '\.\./masked\.onnx'; expected a relative name"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_with_the_field(path: str, value: object, message: str) -> None:
    content = as_json()
    set_path(content, path, value)
    with pytest.raises(BundleError, match=message):
        parse(content)


@pytest.mark.parametrize("kind", ["graphs", "engines"])
def test_an_id_that_appears_twice_is_refused(kind: str) -> None:
    content = as_json()
    content[kind] *= 2
    with pytest.raises(BundleError, match="appears 2 times; expected once"):
        parse(content)


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
