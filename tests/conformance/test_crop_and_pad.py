"""Crops and padding of the sizing rules: the pixels that timm takes, and those that a session sees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from published_sizes import (
    timm_center_crop_or_pad,
)
from sizing_cases import EXAMPLES

import navit_edge as ne
from navit_edge.bundle.sizing_rule import FIELDS, Sizing, to_json
from navit_edge_export.preprocess import place, prepare
from navit_edge_export.sizing import Placement, navit_resize_content, placement, target_grid


@pytest.mark.parametrize("size", [(50, 70), (16, 16), (7, 40), (40, 7), (3, 5), (33, 49), (31, 17)])
def test_a_crop_takes_the_pixels_that_timm_takes(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    sizing = Sizing(rule="native", fit="crop", pad_rgb=(9, 8, 7))
    found = prepare(image, patch_px=16, sizing=sizing)
    assert np.array_equal(found, timm_center_crop_or_pad()(image, found.shape[:2], (9, 8, 7)))
    # A reference that places by hand: the core has its own in csrc/tests/pack/pack_test.cc.
    at = placement(*size, patch_px=16, sizing=sizing)
    assert at is not None
    assert np.array_equal(place(image, *found.shape[:2], at, (9, 8, 7)), found)


def test_padding_keeps_every_pixel_at_its_place() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 16, 3), np.uint8)
    sizing = Sizing(rule="native", fit="pad", pad_rgb=(1, 2, 3))
    padded = prepare(image, patch_px=16, sizing=sizing)
    assert padded.shape == (48, 16, 3)
    assert np.array_equal(padded[:33], image)
    assert (padded[33:] == (1, 2, 3)).all()
    assert placement(33, 16, patch_px=16, sizing=sizing) == Placement(0, 0)
    assert placement(33, 16, patch_px=16, sizing=Sizing(rule="native")) is None


@pytest.fixture
def session_with(bundle_copy: Path):
    """Opens the small bundle under another sizing rule."""

    def open_session(sizing: Sizing, cap: int = 0) -> ne.Session:
        path = bundle_copy / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["preprocess"]["sizing"] = json.loads(to_json(sizing))
        path.write_text(json.dumps(manifest))
        return ne.Session(bundle_copy, precision="fp32", max_tokens_per_image=cap)

    return open_session


@pytest.mark.parametrize("rule", ["native", "native-pad", "native-crop", *sorted(set(FIELDS) - {"native"})])
def test_a_session_sees_the_pixels_that_the_reference_prepares(
    rule: str, session_with, photographs: Mapping[str, npt.NDArray[np.uint8]]
) -> None:
    sizing = EXAMPLES[rule]
    images = [photographs["eye"], photographs["rocket"][:301, :95].copy(), photographs["flower"][:9, :60].copy()]
    found = session_with(sizing).run(images)
    prepared = [prepare(image, patch_px=16, sizing=sizing) for image in images]
    expected = session_with(Sizing(rule="native")).run(prepared)
    for result, same, image, pixels in zip(found, expected, images, prepared, strict=True):
        assert result.grid == same.grid == (pixels.shape[0] // 16, pixels.shape[1] // 16)
        assert np.array_equal(result.tokens, same.tokens)
        assert (same.scale, same.offset) == ((1, 1), (0, 0))
        at = placement(*image.shape[:2], patch_px=16, sizing=sizing)
        if at is None:
            covered = pixels.shape[:2]
            if rule == "navit-resize":  # the rest is filled up
                covered = navit_resize_content(*image.shape[:2], 16, sizing)
                assert (pixels[covered[0] :] == sizing.pad_rgb).all()
                assert (pixels[:, covered[1] :] == sizing.pad_rgb).all()
            assert result.scale == (covered[0] / image.shape[0], covered[1] / image.shape[1])
            assert result.offset == (0, 0)
        else:
            assert (result.scale, result.offset) == ((1, 1), tuple(at))


def test_a_padded_image_above_the_cap_is_resized(session_with) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 60, 3), np.uint8)
    sizing = Sizing(rule="native", fit="pad", pad_rgb=(200, 0, 0))
    small, large = session_with(sizing, cap=12).run([image[:40, :50].copy(), image])
    assert (small.grid, small.scale) == ((3, 4), (1, 1))
    assert large.grid == target_grid(100, 60, patch_px=16, sizing=Sizing(rule="token-cap", max_tokens=12))
    assert large.scale == (large.grid[0] * 16 / 100, large.grid[1] * 16 / 60)
