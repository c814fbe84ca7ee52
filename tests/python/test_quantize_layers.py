"""Which layers quantize leaves in float: by a scan for outliers, by count, name and pattern."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from quantize_cases import LAYERS, change_weight, load, write_images
from tiny_bundle import make_bundle

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.errors import InvalidInputError
from navit_edge.quantize import QuantizeRequest, quantize_bundle

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


def with_outliers(bundle: Path, layer: str = "layers.1.up", norm: str = "layers.1.norm2") -> Path:
    """One channel of what ``layer`` reads 400 times as large, its weights as much smaller: the same function."""
    change_weight(bundle, f"{norm}.weight", 400.0, at=5)
    change_weight(bundle, f"{norm}.bias", 400.0, at=5)
    change_weight(bundle, f"{layer}.weight", 1 / 400.0, at=5)
    return bundle


def test_the_scan_finds_the_layer_with_outliers_and_leaves_it_in_float(bundle: Path, images: Path) -> None:
    with_outliers(bundle)
    request = QuantizeRequest(calibration=images, skip_layers=("auto",), tolerance=0.05, scan_images=4, smooth="off")
    report = quantize_bundle(bundle, request).report
    assert report.sensitivity[0].layer == "layers.1.up"
    assert len(report.sensitivity) == len(LAYERS)
    assert report.sensitivity[0].error > 5 * report.sensitivity[1].error
    assert report.skipped == ("layers.1.up",)
    assert report.scan[0].skipped == 0
    assert report.scan[0].error > 0.05
    assert min(step.error for step in report.scan if step.skipped == 1) <= 0.05
    for name in ("calibration", "held out"):
        for before, after in zip(report.accuracy_of_all_layers[name], report.accuracy[name], strict=True):
            assert after.rms_error < 0.05 < before.rms_error
    model = load(bundle, "masked-int8")
    assert "layers.1.up.weight.scale" not in {tensor.name for tensor in model.graph.initializer}
    assert [layer.layer for layer in report.layers if not layer.quantized] == ["layers.1.up"]


def test_without_outliers_the_scan_skips_nothing(bundle: Path, images: Path) -> None:
    request = QuantizeRequest(calibration=images, skip_layers=("auto",), scan_images=1, smooth="off")
    report = quantize_bundle(bundle, request).report
    assert report.skipped == ()
    assert [step.skipped for step in report.scan] == [0]
    assert report.accuracy_of_all_layers == {}


def test_a_tolerance_that_cannot_be_met_is_said(bundle: Path, images: Path) -> None:
    request = QuantizeRequest(calibration=images, skip_layers=("auto",), tolerance=1e-6, scan_images=1, smooth="off")
    report = quantize_bundle(bundle, request).report
    assert len(report.skipped) == len(LAYERS) // 2
    assert any("half of the layers in float (6 of 12)" in note for note in report.notes)


def test_layers_are_skipped_by_count_name_and_pattern(bundle: Path, images: Path) -> None:
    def skipped(**options: object) -> tuple[str, ...]:
        return quantize_bundle(bundle, QuantizeRequest(calibration=images, smooth="off", **options)).report.skipped  # type: ignore[arg-type]

    assert skipped(skip_layers=("layers.0.q", "layers.1.*n")) == ("layers.0.q", "layers.1.down")
    assert len(skipped(skip_layers=("auto",), skip_count=2, scan_images=1)) == 2
    assert {graph.id for graph in manifests.load(bundle).graphs} == {"masked", "padded", "masked-int8", "padded-int8"}
    hashing.verify_files(bundle, manifests.load(bundle))
    with pytest.raises(InvalidInputError, match=r"'block\.\*' names no layer; the graph has 12: layers\.0\.q"):
        skipped(skip_layers=("block.*",))
    with pytest.raises(InvalidInputError, match="all 12 layers would be skipped"):
        skipped(skip_layers=("*",))
