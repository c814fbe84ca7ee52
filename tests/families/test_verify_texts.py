"""`navit-edge verify` of a bundle with texts: its engine for texts against ONNX Runtime, and planted faults."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle import publish
from navit_edge.cli.main import app
from navit_edge.verify import Certificate, verify

TEXT_ENGINE = "openvino-cpu-text"


@pytest.fixture
def bundle(siglip2_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(siglip2_bundle, tmp_path / "x.navit")


def change_weights(bundle: Path, factor: float) -> None:
    """Of the text graph, after its engine was built; the bundle is sealed again."""
    path = bundle / "text" / "weights.bin"
    values = np.fromfile(path, np.float32)
    values[len(values) // 3 : len(values) // 2] *= np.float32(factor)
    values.tofile(path)
    publish.seal(bundle, manifests.load(bundle))


def test_an_engine_for_texts_is_judged_beside_those_for_images(bundle: Path) -> None:
    certificate = verify(bundle)
    assert certificate.broken == []
    assert certificate.not_run == {}
    (images, texts) = certificate.engines
    assert (images.engine, texts.engine, texts.images) == ("openvino-cpu-fp32", TEXT_ENGINE, "12 texts")
    distance = texts.distances["text embedding"]
    assert distance.relative < 1e-5
    assert distance.least_cosine > 0.999999
    assert [check.name for check in texts.checks][-1] == "one text changed, the others bit-equal"
    again = verify(bundle, engines=[TEXT_ENGINE])
    assert [one.engine for one in again.engines] == [TEXT_ENGINE]
    kept = msgspec.json.decode((bundle / "reports" / "parity.json").read_bytes(), type=Certificate)
    assert {one.engine for one in kept.engines} == {images.engine, TEXT_ENGINE}
    assert kept.bundle == certificate.bundle


def test_an_engine_that_embeds_texts_otherwise_is_found(bundle: Path) -> None:
    change_weights(bundle, 3.0)
    result = CliRunner().invoke(app, ["verify", str(bundle), "--engine", TEXT_ENGINE])
    assert result.exit_code == 1
    assert f"{TEXT_ENGINE}: text embedding as in float32" in result.stderr
    assert "export the model again, then build it again" in " ".join(result.stderr.split())


def test_weights_of_texts_that_are_no_numbers_are_named(bundle: Path) -> None:
    change_weights(bundle, np.nan)
    (broken,) = verify(bundle, engines=[TEXT_ENGINE], write=False).broken
    assert broken.startswith(f"{TEXT_ENGINE}: every weight is a finite number: ")


def test_without_tokenizers_the_engine_for_texts_is_left_out_with_the_reason(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    certificate = verify(bundle, write=False)
    assert [one.engine for one in certificate.engines] == ["openvino-cpu-fp32"]
    assert "tokenizers" in certificate.not_run[TEXT_ENGINE]
    with pytest.raises(ne.MissingPackageError, match="tokenizers"):
        verify(bundle, engines=[TEXT_ENGINE], write=False)
