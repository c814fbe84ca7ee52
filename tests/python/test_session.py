"""Wrong inputs each give their own clear error: what was found, what was expected, what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.compile import BuildRequest, build_engines

Photographs = Mapping[str, npt.NDArray[np.uint8]]

RGB = np.zeros((48, 64, 3), np.uint8)


def words(*parts: str) -> str:
    """A pattern that finds these parts in this order."""
    return "(?s)" + ".*".join(re.escape(part) for part in parts)


# --- images -----------------------------------------------------------------------------------------------------


def test_arrays_pil_images_and_paths_give_the_same_numbers(
    tiny_session: ne.Session, photographs: Photographs, tmp_path: Path
) -> None:
    pixels = photographs["cat"]
    path = tmp_path / "cat.png"
    Image.fromarray(pixels).save(path)
    results = tiny_session.run([pixels, Image.fromarray(pixels), path, str(path)])
    for result in results[1:]:
        assert np.abs(result.logits - results[0].logits).max() <= 1e-5


def test_a_tuple_of_images_is_as_good_as_a_list(tiny_session: ne.Session) -> None:
    assert len(tiny_session.run((RGB, RGB))) == 2


def test_an_image_in_another_format_gives_the_result_of_its_rgb(
    tiny_session: ne.Session, photographs: Photographs
) -> None:
    rgb = np.ascontiguousarray(photographs["cat"][100:200, 50:190])
    gray = np.ascontiguousarray(rgb[:, :, 1])
    alpha = np.dstack([rgb, gray])
    reversed_rgb = np.ascontiguousarray(rgb[:, :, ::-1])
    colour = [
        alpha,
        reversed_rgb[:, :, ::-1],
        alpha[:, :, :3],
        photographs["cat"][100:200, 50:190],
        np.ascontiguousarray(rgb[::-1])[::-1],
        ne.Pixels(reversed_rgb, "bgr"),
        Image.fromarray(rgb),
        Image.fromarray(alpha),
    ]
    cases = {"colour": (rgb, colour), "gray": (np.repeat(gray[:, :, None], 3, 2), [gray, Image.fromarray(gray)])}
    embeddings = []
    for expected_pixels, others in cases.values():
        (expected,) = tiny_session.run([expected_pixels])
        embeddings.append(expected.embedding)
        for other in others:
            (found,) = tiny_session.run([other])
            assert found.grid == expected.grid
            assert np.array_equal(found.embedding, expected.embedding)
    assert not np.array_equal(*embeddings)


def test_an_alpha_channel_that_the_bundle_rejects_fails_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "reject.navit"
    shutil.copytree(tiny_bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["preprocess"]["alpha"] = "reject"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    results = ne.Session(bundle).run([RGB, np.dstack([RGB, RGB[:, :, 0]]), RGB], on_error="return")
    assert [result.error is None for result in results] == [True, False, True]
    assert "image 1 has an alpha channel" in str(results[1].error)


WRONG_IMAGES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "zero height": (
        np.zeros((0, 64, 3), np.uint8),
        ("image 1 is empty, [0, 64, 3]", "at least one pixel", "leave it out"),
    ),
    "zero width": (np.zeros((64, 0, 3), np.uint8), ("image 1 is empty, [64, 0, 3]", "at least one pixel")),
    "float pixels": (RGB.astype(np.float32), ("image 1 has dtype float32", "uint8", ".astype(np.uint8)")),
    "16-bit pixels": (RGB.astype(np.uint16), ("image 1 has dtype uint16", "uint8")),
    "strided view": (RGB[:, ::2], ("image 1 is a strided view, [48, 32, 3]", "np.ascontiguousarray")),
    "mirrored": (RGB[:, ::-1], ("image 1 is a strided view, [48, 64, 3]", "np.ascontiguousarray")),
    "two channels": (np.zeros((48, 64, 2), np.uint8), ("image 1 has shape [48, 64, 2]", "[height, width, 3]")),
    "channels first": (np.zeros((3, 48, 64), np.uint8), ("image 1 has shape [3, 48, 64]", "move channels last")),
    "a batch": (np.zeros((2, 48, 64, 3), np.uint8), ("image 1 has shape [2, 48, 64, 3]", "[height, width, 3]")),
    "five dimensions": (np.zeros((1, 1, 48, 64, 3), np.uint8), ("image 1 has shape [1, 1, 48, 64, 3]",)),
    "a list of numbers": ([[1, 2, 3]], ("image 1 is of type list", "numpy array")),
    "None": (None, ("image 1 is of type NoneType", "numpy array")),
    "PIL mode I": (Image.new("I", (8, 8)), ("image 1 holds integers of 32 bits", "at most 16", "array of uint8")),
    "PIL mode F": (Image.new("F", (8, 8), 7), ("image 1 holds floats of 7 to 7", "expected 0 to 1", "array of uint8")),
    "masked array": (np.ma.masked_less(RGB, 1), ("image 1 is a masked array", "no model sees a mask", "filled(0)")),
    "bytes of a file": (b"\x89PNG", ("image 1 is of type bytes", "numpy array")),
    "PIL without pixels": (Image.new("RGB", (0, 8)), ("image 1 is empty, 8x0 pixels", "leave it out")),
    "missing path": ("no/such/photo.jpg", ("no/such/photo.jpg: no such file", "expected an image")),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_a_wrong_image_is_refused_with_what_was_found_and_the_remedy(tiny_session: ne.Session, case: str) -> None:
    image, parts = WRONG_IMAGES[case]
    with pytest.raises(ne.InvalidInputError, match=words(*parts)):
        tiny_session.run([RGB, image])


def test_wrong_images_are_value_errors_too(tiny_session: ne.Session) -> None:
    with pytest.raises(ValueError, match="dtype float32"):
        tiny_session.run([RGB.astype(np.float32)])


def test_a_text_file_is_not_an_image(tiny_session: ne.Session, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no pixels here")
    with pytest.raises(ne.InvalidInputError, match=words("notes.txt: not an image", "convert it to PNG or JPEG")):
        tiny_session.run([path])


def test_a_truncated_photograph_is_refused(tiny_session: ne.Session, photographs: Photographs, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(photographs["cat"]).save(path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ne.InvalidInputError, match=words("cut.png: cannot be decoded", "check the file")):
        tiny_session.run([path])


def test_a_directory_is_not_an_image(tiny_session: ne.Session, tmp_path: Path) -> None:
    with pytest.raises(ne.InvalidInputError, match=re.escape(str(tmp_path))):
        tiny_session.run([tmp_path])


@pytest.mark.parametrize(
    ("images", "parts"),
    [
        ([], ("images is empty", "at least one image")),
        ((), ("images is empty", "at least one image")),
        (RGB, ("images is of type ndarray", "list of images", "run([image])")),
        ("photo.jpg", ("images is of type str", "list of images")),
        (Image.new("RGB", (8, 8)), ("images is of type Image", "list of images")),
        (iter([RGB]), ("iterator", "list of images")),
        (None, ("images is of type NoneType", "list of images")),
    ],
)
def test_what_is_not_a_list_of_images_is_refused(tiny_session: ne.Session, images: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(ne.InvalidInputError, match=words(*parts)):
        tiny_session.run(images)


def test_an_unknown_way_to_handle_errors_is_refused(tiny_session: ne.Session) -> None:
    with pytest.raises(ne.InvalidInputError, match=words("on_error is 'ignore'", '"raise" or "return"')):
        tiny_session.run([RGB], on_error="ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_one_wrong_image_fails_alone(tiny_session: ne.Session, photographs: Photographs, case: str) -> None:
    wrong, parts = WRONG_IMAGES[case]
    good = [photographs["cat"], photographs["eye"]]
    expected = tiny_session.run(good)
    results = tiny_session.run([good[0], wrong, good[1]], on_error="return")
    assert isinstance(results[1].error, ne.InvalidInputError)
    assert re.search(words(*parts), str(results[1].error))
    assert results[1].logits is None
    for found, want in zip((results[0], results[2]), expected, strict=True):
        assert found.error is None
        assert np.abs(found.logits - want.logits).max() <= 1e-5


def test_a_list_of_only_wrong_images_gives_their_errors(tiny_session: ne.Session) -> None:
    results = tiny_session.run([RGB.astype(np.float64), "no/such/photo.jpg"], on_error="return")
    assert "float64" in str(results[0].error)
    assert "no such file" in str(results[1].error)


# --- budgets ----------------------------------------------------------------------------------------------------


def test_an_image_above_every_budget_is_refused_with_its_tokens_and_the_remedy(small_budget_bundle: Path) -> None:
    session = ne.Session(small_budget_bundle, precision="fp32")
    large = np.zeros((256, 256, 3), np.uint8)  # 256 tokens
    with pytest.raises(ne.OverBudgetError, match=words("image 1", "256 tokens", "64", "budget")) as caught:
        session.run([RGB, large])
    assert isinstance(caught.value, ValueError)
    results = session.run([RGB, large, RGB], on_error="return")
    assert isinstance(results[1].error, ne.OverBudgetError)
    assert np.abs(results[0].logits - results[2].logits).max() <= 1e-5


def test_a_lower_cap_on_tokens_makes_a_large_image_fit(small_budget_bundle: Path) -> None:
    session = ne.Session(small_budget_bundle, precision="fp32", max_tokens_per_image=64)
    (result,) = session.run([np.zeros((256, 256, 3), np.uint8)])
    assert result.grid == (8, 8)


def test_a_negative_cap_or_number_of_threads_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(ne.InvalidInputError, match="max_tokens_per_image"):
        ne.Session(tiny_bundle, max_tokens_per_image=-1)
    with pytest.raises(ne.InvalidInputError, match="threads"):
        ne.Session(tiny_bundle, threads=-1)


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
    with pytest.raises(ne.BackendError, match=words("openvino-cpu-fp32", "gpu")):
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


def test_no_message_runs_over_several_lines_or_lacks_an_end(tiny_session: ne.Session) -> None:
    for image, _ in WRONG_IMAGES.values():
        (result,) = tiny_session.run([image], on_error="return")
        text = str(result.error)
        assert "\n" not in text
        assert 20 < len(text) < 400


def test_the_engine_says_what_it_is_and_how_it_runs(tiny_bundle: Path) -> None:
    for precision, threads in (("fp32", 1), ("fp32", 2)):
        session = ne.Session(tiny_bundle, precision=precision, threads=threads)
        report = session.engine_report
        assert report["library"] == "OpenVINO"
        assert report["device"] == session.device
        assert (report["slots"], report["streams"], report["threads"]) == (1, 1, threads)
        assert report["precision"] == "f32"
        assert report["operations_by_precision"]["f32"] > 0
        assert "bf16" not in report["operations_by_precision"]
