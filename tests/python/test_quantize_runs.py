"""Runs of quantize: the same again, other options, what is refused, and what stays if a run is interrupted."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from quantize_cases import change_weight, load, snapshot, write_images
from tiny_bundle import make_bundle

from navit_edge.bundle import hashing, publish
from navit_edge.bundle import manifest as manifests
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.quantize import QuantizeRequest, quantize_bundle
from navit_edge.quantize.packs import split

Photographs = Mapping[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def images(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(photographs, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("plain") / "tiny.navit")


@pytest.fixture
def bundle(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "tiny.navit"))


def test_the_same_again_is_not_made_again_and_by_force_gives_the_same_bytes(bundle: Path, images: Path) -> None:
    request = QuantizeRequest(calibration=images, max_images=3)
    first = quantize_bundle(bundle, request)
    before = snapshot(bundle)
    again = quantize_bundle(bundle, request)
    assert (first.standing, again.standing) == (False, True)
    assert again.graphs == first.graphs
    assert again.report == first.report
    assert snapshot(bundle) == before
    forced = quantize_bundle(bundle, dataclasses.replace(request, force=True))
    assert not forced.standing
    assert {g.file: before[g.file] for g in first.graphs} == {g.file: snapshot(bundle)[g.file] for g in forced.graphs}


def test_other_options_replace_the_graphs_and_what_was_built_of_them(bundle: Path, images: Path) -> None:
    from navit_edge.compile import BuildRequest, build_engines

    quantize_bundle(bundle, QuantizeRequest(calibration=images, max_images=3))
    build_engines(bundle, BuildRequest(backend="openvino", precision=("int8", "fp32")))
    done = quantize_bundle(
        bundle, QuantizeRequest(calibration=images, max_images=3, method="percentile", percentile=99.0)
    )
    manifest = manifests.load(bundle)
    assert [engine.id for engine in manifest.engines] == ["openvino-cpu-fp32"]
    assert any("openvino-cpu-int8" in note for note in done.report.notes)
    hashing.verify_files(bundle, manifest)
    on_disk = {name for name in snapshot(bundle) if name != "manifest.json"}
    assert on_disk == set(manifest.files)
    clipped = {layer.layer: layer.clipped for layer in done.report.layers}
    assert all(0.002 < fraction <= 0.0101 for fraction in clipped.values())


def test_a_folder_without_images_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    with pytest.raises(InvalidInputError, match=r"holds no images \(1 entry skipped: 1 \.txt\); expected files named"):
        quantize_bundle(bundle, QuantizeRequest(calibration=tmp_path / "empty"))
    with pytest.raises(InvalidInputError, match="no such directory; expected a directory of images"):
        quantize_bundle(bundle, QuantizeRequest(calibration=tmp_path / "missing"))


def test_a_file_that_cannot_be_decoded_is_left_out_and_said(bundle: Path, images: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(images, tmp_path / "images"))
    (directory / "broken.png").write_bytes(b"not a picture")
    report = quantize_bundle(bundle, QuantizeRequest(calibration=directory, holdout=0.0)).report
    assert [item.name for item in report.left_out] == ["broken.png"]
    assert "not an image in a format that is decoded" in report.left_out[0].why
    assert "broken.png" not in {image.name for image in report.calibration}
    assert any("1 files were left out" in note for note in report.notes)
    assert any("no image was held out" in note for note in report.notes)
    for path in directory.rglob("*.png"):
        path.write_bytes(b"not a picture")
    with pytest.raises(InvalidInputError, match=r"none of 9 images .* can be used"):
        quantize_bundle(bundle, QuantizeRequest(calibration=directory, holdout=0.0))


def test_an_altered_bundle_is_refused_before_anything_is_read_of_it(bundle: Path, images: Path) -> None:
    with (bundle / "graphs" / "weights.bin").open("r+b") as file:
        file.write(b"\x01\x02")
    with pytest.raises(BundleError, match=r"weights\.bin was altered"):
        quantize_bundle(bundle, QuantizeRequest(calibration=images))


def test_activations_that_are_not_finite_name_the_layer_and_the_image(bundle: Path, images: Path) -> None:
    change_weight(bundle, "layers.0.up.bias", 1e38)
    change_weight(bundle, "layers.0.down.weight", 1e38)
    before = snapshot(bundle)
    with pytest.raises(
        BundleError, match=r"layer layers\.1\.q reads \d+ values that are not finite, of the images .*png"
    ):
        quantize_bundle(bundle, QuantizeRequest(calibration=images))
    assert snapshot(bundle) == before


def test_weights_that_are_not_finite_are_refused(bundle: Path, images: Path) -> None:
    change_weight(bundle, "layers.0.q.weight", np.float32(np.nan))
    with pytest.raises(BundleError, match=r"weight layers\.0\.q\.weight holds values that are not finite"):
        quantize_bundle(bundle, QuantizeRequest(calibration=images))


def test_a_graph_without_linear_layers_is_refused(bundle: Path, images: Path) -> None:
    for lowering in ("masked", "padded"):
        model = load(bundle, lowering)
        norm = next(node for node in model.graph.node if node.output[0] == "tokens")
        first = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
        norm.input[0] = first.input[0]  # past all layers
        onnx.save(model, bundle / "graphs" / f"{lowering}.onnx")
    publish.seal(bundle, manifests.load(bundle))
    with pytest.raises(BundleError, match="has no linear layer between patches and tokens"):
        quantize_bundle(bundle, QuantizeRequest(calibration=images))


@pytest.mark.parametrize("phase", ["reading images", "calibrating", "comparing"])
def test_an_interrupted_run_leaves_the_bundle_as_it_was(bundle: Path, images: Path, phase: str) -> None:
    before = snapshot(bundle)

    def interrupt(what: str, done: int, total: int) -> None:
        if what == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_bundle(bundle, QuantizeRequest(calibration=images), interrupt)
    assert snapshot(bundle) == before


def test_a_run_that_dies_while_it_publishes_leaves_the_bundle_as_it_was(
    bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize_bundle(bundle, QuantizeRequest(calibration=images))
    before = snapshot(bundle)
    save = manifests.save_in

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifests, "save_in", die)
    with pytest.raises(KeyboardInterrupt):
        quantize_bundle(bundle, QuantizeRequest(calibration=images, method="mse"))
    monkeypatch.setattr(manifests, "save_in", save)
    assert snapshot(bundle) == before
    hashing.verify_files(bundle, manifests.load(bundle))


def test_a_bundle_whose_weights_change_meanwhile_is_not_published_into(bundle: Path, images: Path) -> None:
    def alter(what: str, done: int, total: int) -> None:
        if what == "comparing" and done == total:
            change_weight(bundle, "head.weight", 2.0)

    with pytest.raises(BundleError, match="changed while it was being quantized"):
        quantize_bundle(bundle, QuantizeRequest(calibration=images), alter)
    assert [graph.id for graph in manifests.load(bundle).graphs] == ["masked", "padded"]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_every_image_is_either_calibrated_with_or_held_out(fraction: float, count: int) -> None:
    from navit_edge.quantize.report import ImageFile

    given = [ImageFile(name=str(i), sha256="") for i in range(count)]
    kept, held = split(given, fraction)
    assert sorted(int(image.name) for image in [*kept, *held]) == list(range(count))
    assert kept
    assert len(held) == min(int(count * fraction + 1e-9), count - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "known: int8, fp8"),
        ({"method": "best"}, "known: minmax, percentile, mse, entropy"),
        ({"method": "entropy", "precision": "fp8"}, "entropy with fp8"),
        ({"percentile": 0}, "percentile 0; expected above 0"),
        ({"holdout": 1.0}, "holdout 1; expected a fraction"),
        ({"max_images": 0}, "max images 0; expected 1 and up"),
        ({"skip_layers": ("auto", "x")}, "auto alone"),
        ({"skip_count": 2}, "skip count 2; expected 0 and up, with --skip-layers auto"),
        ({"tolerance": 0.0}, "tolerance 0; expected above 0"),
    ],
)
def test_options_that_are_none_are_refused_with_what_is_known(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        QuantizeRequest(calibration=Path("images"), **options)  # type: ignore[arg-type]
