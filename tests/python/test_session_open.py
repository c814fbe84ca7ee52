"""Opening a session: which engine it takes, and what is refused of engines, backends and bundles."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.compile import BuildRequest, build_engines


def words(*parts: str) -> str:
    """A pattern that finds these parts in this order."""
    return "(?s)" + ".*".join(re.escape(part) for part in parts)


# --- engines and devices ----------------------------------------------------------------------------------------


def test_an_unknown_engine_is_refused_with_the_ones_there_are(tiny_bundle: Path) -> None:
    with pytest.raises(ne.BundleError, match=words("tensorrt-sm87-fp16", "openvino-cpu-fp32")):
        ne.Session(tiny_bundle, engine="tensorrt-sm87-fp16")


def test_an_unknown_device_is_refused_with_the_known_ones(tiny_bundle: Path) -> None:
    with pytest.raises(ne.InvalidInputError, match=words("tpu", "auto", "cpu", "gpu")):
        ne.Session(tiny_bundle, device="tpu")


def test_an_unknown_precision_is_refused_with_the_known_ones(tiny_bundle: Path) -> None:
    with pytest.raises(ne.InvalidInputError, match=words("fp12", "fp32", "fp16", "bf16")):
        ne.Session(tiny_bundle, precision="fp12")


def test_a_precision_that_no_engine_has_is_refused_engine_by_engine(tiny_bundle: Path) -> None:
    with pytest.raises(ne.BackendError, match=words("openvino-cpu-fp32", "fp16")):
        ne.Session(tiny_bundle, precision="fp16")


def test_a_gpu_is_refused_where_the_bundle_has_engines_for_the_cpu_only(tiny_bundle: Path) -> None:
    with pytest.raises(ne.BackendError, match=words("gpu", "openvino-cpu-fp32")):
        ne.Session(tiny_bundle, device="gpu")


def test_an_engine_and_a_precision_that_contradict_each_other_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(ne.NavitEdgeError, match=words("openvino-cpu-fp32", "fp16")):
        ne.Session(tiny_bundle, engine="openvino-cpu-fp32", precision="fp16")


def test_the_session_says_which_engine_it_took_and_why(tiny_bundle: Path) -> None:
    session = ne.Session(tiny_bundle, device="cpu", precision="fp32")
    assert session.engine == "openvino-cpu-fp32"
    assert session.precision == "fp32"
    assert "CPU" in session.device
    name, usable, detail = session.candidates[-1]
    assert (name, usable) == (session.engine, True)
    assert "CPU" in detail
    assert session.engine_report["choice"] == {"engine": session.engine, "why": detail}
    assert session.engine in repr(session)


def test_a_bundle_without_engines_says_how_to_build_one(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, lambda manifest: manifest.update(engines=[]))
    with pytest.raises(ne.BackendError, match=words("no engine", "navit-edge build-engine")):
        ne.Session(bundle_copy)


def test_a_backend_that_is_not_installed_is_reported_with_every_path_that_was_tried(
    bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_backend(manifest: dict[str, Any]) -> None:
        manifest["engines"] = manifest["engines"][:1]
        manifest["engines"][0]["backend"] = "imaginary"

    edit_manifest(bundle_copy, other_backend)
    explicit, environment = tmp_path / "explicit", tmp_path / "environment"
    explicit.mkdir()
    environment.mkdir()
    monkeypatch.setenv("NAVIT_EDGE_BACKEND_DIR", str(environment))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAVIT_EDGE_DEBUG", "1")
    (tmp_path / "libnavit_edge_imaginary.so").write_bytes(b"in the working directory, never tried")
    with pytest.raises(ne.BackendError, match=words("imaginary", str(explicit), str(environment))) as caught:
        ne.Session(bundle_copy, backend_dirs=[explicit])
    assert str(tmp_path / "libnavit_edge_imaginary.so") not in str(caught.value)


def test_a_library_that_is_no_backend_is_reported_with_the_loaders_reason(bundle_copy: Path, tmp_path: Path) -> None:
    def other_backend(manifest: dict[str, Any]) -> None:
        manifest["engines"] = manifest["engines"][:1]
        manifest["engines"][0]["backend"] = "imaginary"

    edit_manifest(bundle_copy, other_backend)
    library = tmp_path / "libnavit_edge_imaginary.so"
    library.write_bytes(b"not a library")
    with pytest.raises(ne.BackendError, match=words(str(library))):
        ne.Session(bundle_copy, backend_dirs=[tmp_path])


def test_an_engine_of_another_version_of_openvino_is_refused_before_it_is_opened(bundle_copy: Path) -> None:
    def older(manifest: dict[str, Any]) -> None:
        for engine in manifest["engines"]:
            engine["builder"]["openvino"] = "2024.0.0-1-old"

    edit_manifest(bundle_copy, older)
    with pytest.raises(ne.BackendError, match=words("2024.0.0-1-old", "navit-edge build-engine")):
        ne.Session(bundle_copy)


# --- the bundle -------------------------------------------------------------------------------------------------


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def engine_file(bundle: Path) -> Path:
    manifest = json.loads((bundle / "manifest.json").read_text())
    return Path(bundle / manifest["engines"][0]["file"])


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ne.BundleError, match=words("nowhere.navit", "navit-edge export")):
        ne.Session(tmp_path / "nowhere.navit")


def test_a_file_in_place_of_a_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"onnx")
    with pytest.raises(ne.BundleError, match=words("model.onnx", "directory")):
        ne.Session(path)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ne.BundleError, match=words("manifest.json", "navit-edge export")):
        ne.Session(tmp_path)


def test_a_missing_engine_file_is_refused(bundle_copy: Path) -> None:
    engine_file(bundle_copy).unlink()
    with pytest.raises(ne.NavitEdgeError, match=words("openvino-cpu", "missing", "navit-edge build-engine")) as caught:
        ne.Session(bundle_copy)
    assert isinstance(caught.value, ne.BundleError)


def test_a_truncated_engine_file_is_refused(bundle_copy: Path) -> None:
    path = engine_file(bundle_copy)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ne.BundleError, match=words(path.name, "bytes", "navit-edge build-engine")):
        ne.Session(bundle_copy)


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_a_changed_bit_of_an_engine_is_refused(bundle_copy: Path, where: float) -> None:
    path = engine_file(bundle_copy)
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ne.BundleError, match=words(path.name, "sha256", "navit-edge build-engine")):
        ne.Session(bundle_copy)


def test_an_engine_that_is_a_link_out_of_the_bundle_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    path = engine_file(bundle_copy)
    outside = tmp_path / "outside.blob"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(ne.BundleError, match=words("link", "regular file of the bundle itself")):
        ne.Session(bundle_copy)


def test_a_manifest_that_is_not_json_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "manifest.json").write_text('{"schema_version": 1, ')
    with pytest.raises(ne.BundleError, match=words("manifest.json", "JSON")):
        ne.Session(bundle_copy)


def test_an_empty_manifest_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "manifest.json").write_bytes(b"")
    with pytest.raises(ne.BundleError, match=words("manifest.json", "JSON")):
        ne.Session(bundle_copy)


def test_a_bundle_of_a_later_minor_schema_opens_and_is_never_changed(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, lambda manifest: manifest.update(schema_minor=3, later={"of": "another version"}))
    before = (bundle_copy / "manifest.json").read_bytes()
    with ne.Session(bundle_copy) as session:
        assert session.run([np.zeros((8, 8, 3), np.uint8)])[0].embedding is not None
    refused = words("schema 1.3", "cannot write", "upgrade navit-edge")
    with pytest.raises(ne.BundleError, match=refused):
        build_engines(bundle_copy, BuildRequest(backend="openvino"))
    with pytest.raises(ne.BundleError, match=refused):
        manifests.save(manifests.load(bundle_copy), bundle_copy)
    assert (bundle_copy / "manifest.json").read_bytes() == before


def test_a_bundle_of_another_schema_is_refused(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, lambda manifest: manifest.update(schema_version=99))
    with pytest.raises(ne.BundleError, match=words("schema_version", "99", "1")):
        ne.Session(bundle_copy)


@pytest.mark.parametrize("name", ["../outside.blob", "/etc/passwd", "engines/../../outside.blob"])
def test_a_manifest_that_names_a_file_outside_of_the_bundle_is_refused(bundle_copy: Path, name: str) -> None:
    def escape(manifest: dict[str, Any]) -> None:
        description = manifest["files"].pop(manifest["engines"][0]["file"])
        manifest["files"][name] = description
        for engine in manifest["engines"]:
            engine["file"] = name

    edit_manifest(bundle_copy, escape)
    with pytest.raises(ne.BundleError, match=words(name)):
        ne.Session(bundle_copy)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = {
    "no graphs": (lambda m: m.pop("graphs"), ("graphs",)),
    "a string for a number": (lambda m: m["preprocess"].update(patch_px="16"), ("patch_px",)),
    "a patch of zero": (lambda m: m["preprocess"].update(patch_px=0), ("patch_px",)),
    "an unknown filter": (lambda m: m["preprocess"].update(filter="mitchell"), ("filter", "mitchell", "bilinear")),
    "an unknown rule for alpha": (lambda m: m["preprocess"].update(alpha="ignore"), ("alpha", "ignore", "composite")),
    "a background of two values": (lambda m: m["preprocess"].update(background=[1, 2]), ("background", "R, G, B")),
    "a background out of range": (lambda m: m["preprocess"].update(background=[1, 2, 256]), ("background", "255")),
    "an unknown sizing rule": (lambda m: m["preprocess"]["sizing"].update(rule="square"), ("square", "token-cap")),
    "an unknown strategy": (lambda m: m["engines"][0].update(strategy="random"), ("strategy", "random")),
    "no budgets": (lambda m: m["engines"][0].update(budgets=[]), ("budget",)),
    "a budget of zero": (lambda m: m["engines"][0]["budgets"][0].update(tokens=0), ("tokens",)),
    "a graph that is not there": (lambda m: m["engines"][0].update(graph="none"), ("graph", "none")),
    "a file that is not listed": (lambda m: m["engines"][0].update(file="engines/x.blob"), ("engines/x.blob",)),
    "a hash that is none": (lambda m: next(iter(m["files"].values())).update(sha256="abc"), ("sha256",)),
    "an unknown element type": (lambda m: m["graphs"][1]["inputs"][0].update(dtype="float8"), ("dtype", "float8")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_an_altered_manifest_is_refused_naming_the_field(bundle_copy: Path, case: str) -> None:
    change, parts = CHANGES[case]
    edit_manifest(bundle_copy, change)
    with pytest.raises(ne.BundleError) as caught:
        ne.Session(bundle_copy)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_the_engine_says_what_it_is_and_how_it_runs(tiny_bundle: Path) -> None:
    for precision, threads in (("fp32", 1), ("fp32", 2)):
        session = ne.Session(tiny_bundle, precision=precision, threads=threads)
        report = session.engine_report
        assert report["library"] == "OpenVINO"
        assert report["device"] == session.device
        assert (report["slots"], report["streams"], report["threads"]) == (1, 1, threads)
        why = f"{threads} thread{'' if threads == 1 else 's'}: as asked for"
        assert (session.threads, report["cpu"]["threads"], report["cpu"]["why"]) == (threads, threads, why)
        assert report["precision"] == "f32"
        assert report["operations_by_precision"]["f32"] > 0
        assert "bf16" not in report["operations_by_precision"]
