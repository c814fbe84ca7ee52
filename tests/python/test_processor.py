"""Bundles with the pixels of torchvision or timm: what is recorded, what a session and `verify` make of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from command_line import invoke, words

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import for_pixels, processor_of
from navit_edge.cli.preprocessing_output import preprocessing_of
from navit_edge.verify import golden
from navit_edge_export.model import NaViTConfig
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import prepare

CONFIG = NaViTConfig(width=32, depth=1, heads=4, mlp_width=64, num_classes=3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With torchvision's pixels."""
    path = tmp_path_factory.mktemp("processor") / "small.navit"
    return export_bundle(
        CONFIG, path, max_tokens=64, lowerings=("padded",), resample="bicubic", processor="torchvision"
    )


def photo(height_px: int = 301, width_px: int = 97) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), np.uint8)


def test_torchvisions_pixels_need_schema_2_which_earlier_versions_refuse(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    assert (manifest.schema_version, processor_of(manifest.preprocess)) == (2, "torchvision")
    shown = invoke("inspect", bundle).stdout
    assert any(line.split()[:2] == ["processor", "torchvision"] for line in shown.splitlines()), shown


def test_pillows_pixels_are_written_as_ever_and_timms_need_schema_1_1(bundle: Path) -> None:
    plain = msgspec.structs.replace(manifests.load(bundle), schema_version=1)
    pillow = for_pixels(plain, "pillow", "exact")
    assert (pillow.schema_version, pillow.schema_minor, pillow.preprocess.processor) == (1, *2 * (msgspec.UNSET,))
    assert b"processor" not in manifests.check(pillow, source="x")
    timm = for_pixels(plain, "timm", "exact")
    assert (timm.schema_version, timm.schema_minor, timm.preprocess.processor) == (1, 1, "timm")
    manifests.check(timm, source="x")


def test_the_golden_images_are_torchs_and_the_runtime_makes_the_same_bytes(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    assert golden.mismatches(manifest, manifest.golden) == []
    by_pillow = for_pixels(msgspec.structs.replace(manifest, schema_version=1), "pillow", "exact")
    assert golden.mismatches(by_pillow, manifest.golden)  # the hashes tell the processors apart


def test_a_session_resizes_as_the_bundle_says(bundle: Path, tmp_path: Path) -> None:
    """Its outputs are those of the same pixels, resized by torch before: nothing is left to resize then."""
    pytest.importorskip("openvino")
    from navit_edge.compile import BuildRequest, build_engines

    path = Path(shutil.copytree(bundle, tmp_path / "copy.navit"))
    build_engines(path, BuildRequest(backend="openvino", token_budgets=(64,), precision=("fp32",)))
    found = {}
    for processor in ("torchvision", "pillow"):
        resized = prepare(photo(), patch_px=16, max_tokens=64, resample="bicubic", processor=processor)
        with ne.Session(path) as session:
            whole, sized = (session.run([image])[0] for image in (photo(), resized))
        found[processor] = np.array_equal(whole.logits, sized.logits)
    assert found == {"torchvision": True, "pillow": False}


@pytest.mark.parametrize(
    ("processor", "resample", "message"),
    [
        ("torchvision", "lanczos", "torchvision has bilinear and bicubic here"),
        ("opencv", "bilinear", 'processor "opencv" is unknown; expected one of pillow, torchvision, timm'),
    ],
)
def test_a_processor_that_is_not_to_be_had_is_refused(
    processor: str, resample: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ne.InvalidInputError, match=message):
        export_bundle(CONFIG, tmp_path / "x.navit", resample=resample, processor=processor)  # type: ignore[arg-type]
    assert not (tmp_path / "x.navit").exists()


def test_the_command_takes_a_processor_and_says_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(msgspec.json.encode(CONFIG.to_dict()).decode())
    given = ("export", "--model", "ti16", "--config", tmp_path / "config.json", "--lowerings", "masked")
    result = invoke(*given, "-o", tmp_path / "a.navit", "--processor", "timm")
    assert result.exit_code == 0, result.stderr
    assert "processor timm --processor" in words(result.stderr)
    found = preprocessing_of(manifests.load(tmp_path / "a.navit"))
    assert found["processor"] == {"value": "timm", "from": "--processor"}
