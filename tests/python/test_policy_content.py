"""The policy "content": complexity, judged by Pillow's gray, and the tokens that it chooses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from policy_cases import ENGINE, under_rule

import navit_edge as ne
from navit_edge.bundle.sizing_rule import Sizing

Photographs = Mapping[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def native(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle under the rule "native", for choosing only."""
    return under_rule(tiny_bundle, Sizing(rule="native"), tmp_path_factory.mktemp("rule") / "native.navit")


def small_copy(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The copy of docs/policies.md: single pixels in the middle of equal parts, 64 along the longer side."""
    height, width = rgb.shape[:2]
    longest = max(height, width)
    rows, cols = (
        (height, width)
        if longest <= 64
        else (max(1, math.floor(side * 64 / longest + 0.5)) for side in (height, width))
    )
    y = [math.floor((i + 0.5) * height / rows) for i in range(rows)]
    x = [math.floor((i + 0.5) * width / cols) for i in range(cols)]
    return rgb[np.ix_(y, x)]


def gradient_energy(rgb: npt.NDArray[np.uint8]) -> float:
    luma = np.asarray(Image.fromarray(np.ascontiguousarray(small_copy(rgb))).convert("L")).astype(np.float64)
    steps = np.concatenate([np.abs(np.diff(luma, axis=axis)).ravel() for axis in (0, 1)])
    return float(steps.mean()) / 255 if steps.size else 0.0


def test_complexity_is_the_gradient_energy_of_pillows_gray_on_the_same_pixels(photographs: Photographs) -> None:
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in rng.integers(1, 300, (60, 2))]
    images += [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((1, 1), (1, 900), (900, 1), (64, 64), (65, 3))]
    for image in [*photographs.values(), *images]:
        assert ne.complexity(image) == pytest.approx(gradient_energy(image), abs=1e-12)


def test_complexity_does_not_depend_on_the_pixel_format_or_the_stride(photographs: Photographs) -> None:
    rgb = photographs["cat"]
    expected = ne.complexity(rgb)
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    rgbx = np.dstack([rgb, rgb[:, :, 1]])
    wide = np.zeros((rgb.shape[0], rgb.shape[1] + 7, 3), np.uint8)
    wide[:, 5:-2] = rgb
    for same in (
        ne.Pixels(bgr, "bgr"),
        ne.Pixels(rgbx, "rgbx"),
        rgbx,
        rgbx[:, :, :3],
        wide[:, 5:-2],
        Image.fromarray(rgb),
    ):
        assert ne.complexity(same) == expected
    flipped = np.ascontiguousarray(rgb[::-1])[::-1]
    assert ne.complexity(flipped) == expected
    gray = np.asarray(Image.fromarray(rgb).convert("L"))
    assert ne.complexity(gray) == expected
    composite = np.dstack([rgb, np.random.default_rng(1).integers(0, 256, rgb.shape[:2], np.uint8)])
    over = ne.to_rgb(composite, alpha="composite", background=(9, 99, 200))
    found = ne.complexity(composite, alpha="composite", background=(9, 99, 200))
    assert found == pytest.approx(gradient_energy(over), abs=1e-12)


@pytest.mark.parametrize("size", [(300, 451), (64, 90), (33, 7), (2, 1)])
def test_complexity_of_video_frames_is_that_of_their_rgb(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    h, w = size
    half = ((h + 1) // 2, (w + 1) // 2)
    y, u, v = (rng.integers(0, 256, shape, np.uint8) for shape in (size, half, half))
    for matrix in ("bt601", "bt709"):
        for frame in (
            ne.Pixels((y, np.stack([u, v], -1)), "nv12", matrix=matrix),
            ne.Pixels((y, u, v), "i420", matrix=matrix, range="full"),
        ):
            assert ne.complexity(frame) == pytest.approx(gradient_energy(ne.to_rgb(frame)), abs=1e-12)


def test_complexity_does_not_depend_on_the_scale(photographs: Photographs) -> None:
    for image in photographs.values():
        if max(image.shape[:2]) < 64:
            continue
        assert ne.complexity(image.repeat(3, axis=0).repeat(3, axis=1)) == ne.complexity(image)
        half = Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2), Image.Resampling.BOX)
        assert 0.6 < ne.complexity(half) / ne.complexity(image) < 1.1  # a resize takes noise and texture away


def test_content_spends_its_least_on_a_flat_image_and_its_most_on_noise(tiny_session: ne.Session) -> None:
    rng = np.random.default_rng(2)
    flat = np.full((256, 256, 3), 90, np.uint8)
    noise = rng.integers(0, 256, (256, 256, 3), np.uint8)
    policy = ne.Policy.content(min_tokens=25, max_tokens=144)
    less, more = tiny_session.run([flat, noise], policy=policy)
    assert (less.grid, more.grid) == ((5, 5), (12, 12))
    assert less.reason == "content: 25 of 256 tokens (complexity 0.000)"
    assert re.fullmatch(r"content: 144 of 256 tokens \(complexity 0\.2\d\d\)", more.reason)
    (whole,) = tiny_session.run([noise], policy=ne.Policy.content(min_tokens=25))
    assert (whole.grid, whole.reason) == ((16, 16), "")


@settings(max_examples=40, deadline=None)
@given(contrasts=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_more_contrast_never_gives_fewer_tokens(native: Path, contrasts: list[float]) -> None:
    noise = np.random.default_rng(4).normal(0, 1, (256, 256, 1)).repeat(3, axis=2)
    images = [np.clip(128 + 60 * contrast * noise, 0, 255).astype(np.uint8) for contrast in contrasts]
    less, more = (choice.tokens for choice in ne.choose(native, images, ne.Policy.content(), engine=ENGINE))
    assert 64 <= less <= more <= 256


def test_content_without_pixels_is_refused(native: Path) -> None:
    with pytest.raises(ne.InvalidInputError, match=r"image 0: policy content:.*needs the image's pixels"):
        ne.choose(native, [(300, 300)], ne.Policy.content(), engine=ENGINE)
