"""What `make demo` shows: images that the shipped model has not seen, and demo/report.html."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from test_page import check_self_contained

import navit_edge as ne
from navit_edge_export.model.checkpoint import PREPROCESSING_KEY
from navit_edge_export.pooling_map import pooling_map
from navit_edge_export.preprocess import prepare

if TYPE_CHECKING:
    from navit_edge_export.model import NaViT

MODULES = ("demo_console", "demo_bundle", "demo_run", "demo_compare", "demo_report", "demo_images", "clipart")


@pytest.fixture
def examples(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, whose modules can be imported."""
    monkeypatch.syspath_prepend(str(repository / "examples"))
    monkeypatch.syspath_prepend(str(repository / "examples" / "train"))
    yield repository / "examples"
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_images_of_the_demo_are_small_and_one_of_each_class_that_no_training_has_seen(examples: Path) -> None:
    import clipart
    import demo_images

    chosen: dict[str, Any] = demo_images.chosen()
    assert {image.part for image in chosen.values()} == {"test"}
    assert {image.label for image in chosen.values()} == {image.label for image in clipart.read_list()}
    assert {path.name for path in (examples / "images").glob("*.png")} == set(chosen)
    assert sum(path.stat().st_size for path in (examples / "images").iterdir()) < 400_000
    for name in chosen:
        with Image.open(examples / "images" / name) as image:
            assert max(image.size) <= demo_images.SIDE_PX


def test_the_report_shows_every_image_its_verdict_and_where_the_model_looked(
    examples: Path, tiny_model: NaViT, tiny_bundle: Path, tmp_path: Path
) -> None:
    import demo_report
    import demo_run

    manifest = ne.load_manifest(tiny_bundle)
    engine = next(one for one in manifest.engines if one.id == "openvino-cpu-fp32")
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((48, 64), (32, 32), (80, 40))]
    names = ("<img src=x onerror=alert(1)>.png", "b.png", "photograph.png")
    samples = [
        demo_run.Sample(path=tmp_path / name, pixels=image, truth="" if name == "photograph.png" else "b")
        for name, image in zip(names, pixels, strict=True)
    ]
    run = demo_run.run_engine(tiny_bundle, engine, samples)
    page = tmp_path / "report.html"
    demo_report.write_report(run, samples, manifest, tiny_model, page)
    read = check_self_contained(page.read_text(encoding="utf-8"))
    assert [name in read.text for name in names] == [True] * 3
    assert len(read.of("img", "weights")) == 3
    assert read.text.count("wrong: it is b") == 2  # the tiny bundle has no labels
    assert "0 of 2 are right" in read.text

    for image, result in zip(pixels, run.results, strict=True):  # the engine's tokens give PyTorch's weights
        preprocess = manifest.preprocess
        one = prepare(image, patch_px=preprocess.patch_px, sizing=preprocess.sizing, resample=preprocess.filter)
        expected = pooling_map(tiny_model, tiny_model.forward_images([one])["tokens"].detach().numpy(), result.grid)
        assert result.tokens is not None
        found = pooling_map(tiny_model, result.tokens, result.grid)
        assert abs(float(found.sum()) - 1.0) < 1e-5
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_shipped_model_has_a_class_for_each_image_of_the_demo(examples: Path) -> None:
    import demo_bundle
    from safetensors import safe_open

    with safe_open(demo_bundle.CHECKPOINT, framework="np") as checkpoint:
        labels = json.loads(checkpoint.metadata()[PREPROCESSING_KEY])["labels"]
    assert {label.replace(" ", "-") for label in labels} == {path.stem for path in (examples / "images").glob("*.png")}


def test_a_bundle_of_the_demo_is_named_for_its_model_and_exports_the_tokens(examples: Path) -> None:
    import demo_bundle as bundles

    shipped = bundles.Choice(checkpoint=bundles.CHECKPOINT)
    assert shipped.bundle.name == "clipart.navit"
    assert shipped.options[:2] == ["--checkpoint", "examples/models/clipart.safetensors"]
    assert "--max-tokens" not in shipped.options  # the checkpoint says it
    random = bundles.Choice(checkpoint=None, size="s16")
    assert random.bundle.name == "navit-s16.navit"
    assert random.options[:4] == ["--model", "s16", "--seed", "0"]
    for choice in (shipped, random):
        assert choice.options[choice.options.index("--outputs") + 1] == "logits,embedding,tokens"
