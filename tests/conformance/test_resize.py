"""`navit_edge.resize` against Pillow: every filter, 1, 3 and 4 channels, thousands of sizes; no byte may differ."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import navit_edge as ne
from navit_edge.vocabulary import Filter

UInt8Array = npt.NDArray[np.uint8]
FILTERS: tuple[Filter, ...] = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
MOST_PX = 4000


def pillow(image: UInt8Array, height_px: int, width_px: int, name: str) -> UInt8Array:
    """[height_px, width_px, C] by Pillow; four channels are RGBA.

    Pillow before 13, the newest for Python 3.10, always goes across first. Asked for one side at a time, it goes in the
    order of Pillow 13 (docs/preprocessing.md).
    """
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    filter = Image.Resampling[name.upper()]
    lost = image.shape[0] - height_px
    before_13 = int(PIL.__version__.partition(".")[0]) < 13 and name != "nearest"  # which has no passes
    if before_13 and lost > 0 and lost > 2 * (image.shape[1] - width_px):
        mode = picture.mode
        picture = picture.convert("RGBa") if mode == "RGBA" else picture  # once for both sides, as resize has it
        picture = picture.resize((picture.width, height_px), filter).resize((width_px, height_px), filter)
        resized = np.asarray(picture.convert(mode))
    else:
        resized = np.asarray(picture.resize((width_px, height_px), filter))
    return resized.reshape(height_px, width_px, image.shape[2])


@pytest.fixture(scope="module")
def mosaic(photographs: dict[str, UInt8Array]) -> UInt8Array:
    """Photographs side by side, [4000, 4000, 4]: RGB and an alpha that is 0 or 255 in places."""
    canvas = np.zeros((MOST_PX, MOST_PX, 4), np.uint8)
    tiles = list(photographs.values())
    top = 0
    count = 0
    while top < MOST_PX:
        left, tallest = 0, 0
        while left < MOST_PX:
            tile = tiles[count % len(tiles)]
            count += 1
            part = tile[: MOST_PX - top, : MOST_PX - left]
            canvas[top : top + part.shape[0], left : left + part.shape[1], :3] = part
            left += part.shape[1]
            tallest = max(tallest, part.shape[0])
        top += min(tallest, 150)  # later rows of tiles cover parts of the earlier ones
    alpha = canvas[::-1, :, 1].astype(np.int16) * 2 - 120
    canvas[:, :, 3] = np.clip(alpha, 0, 255)
    return canvas


def random_side(rng: np.random.Generator) -> int:
    """1 to 4000, every order of magnitude as often."""
    return int(np.exp(rng.uniform(0, np.log(MOST_PX + 1))))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", FILTERS)
def test_no_byte_differs_from_pillow_at_random_sizes(name: Filter, channels: int, mosaic: UInt8Array) -> None:
    """120 sizes for each of the 18 pairs: 2,160 in all, up and down, extreme aspects among them."""
    rng = np.random.default_rng([FILTERS.index(name), channels])
    for _ in range(120):
        height, width = random_side(rng), random_side(rng)
        target = random_side(rng), random_side(rng)
        if height * width + target[0] * target[1] > 6e6:  # seconds in Pillow; a few of that kind are below
            height, width = max(1, height // 4), max(1, width // 4)
            target = max(1, target[0] // 4), max(1, target[1] // 4)
        top, left = int(rng.integers(0, MOST_PX - height + 1)), int(rng.integers(0, MOST_PX - width + 1))
        image = mosaic[top : top + height, left : left + width]
        image = image if channels == 4 else np.ascontiguousarray(image[:, :, :channels])
        found = ne.resize(image, target, name)
        assert np.array_equal(found, pillow(image, *target, name)), (image.shape, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((4000, 3000), (432, 592)),
        ((4000, 1), (1, 4000)),
        ((1, 4000), (4000, 1)),
        ((4000, 7), (13, 5)),
        ((3, 4000), (900, 11)),
        ((4000, 4000), (1, 1)),
        ((1, 1), (1000, 1000)),
        ((4000, 500), (16, 480)),  # far more rows than columns go: Pillow 13 goes down first
        ((999, 1001), (1001, 999)),
    ],
)
@pytest.mark.parametrize("name", ["bilinear", "lanczos"])
def test_no_byte_differs_from_pillow_at_extreme_sizes(
    name: Filter, source: tuple[int, int], target: tuple[int, int], mosaic: UInt8Array
) -> None:
    for channels in (1, 3, 4):
        image = np.ascontiguousarray(mosaic[: source[0], : source[1], :channels])
        assert np.array_equal(ne.resize(image, target, name), pillow(image, *target, name))


def test_photographs_come_out_as_pillow_makes_them(photographs: dict[str, UInt8Array]) -> None:
    for image in photographs.values():
        for target in ((224, 224), (16, 512), (448, 32), (image.shape[0], 100), (100, image.shape[1])):
            for name in FILTERS:
                assert np.array_equal(ne.resize(image, target, name), pillow(image, *target, name))


def test_an_image_that_keeps_its_size_keeps_its_bytes(mosaic: UInt8Array) -> None:
    image = mosaic[:123, :77]
    assert np.array_equal(ne.resize(image, (123, 77)), image)


VIEWS: dict[str, Callable[[UInt8Array], UInt8Array]] = {
    "as it is": lambda image: image,
    "a crop, whose rows are further apart": lambda image: image[3:-2, 5:-4],
    "upside down": lambda image: image[::-1],
    "every third row": lambda image: image[::3],
    "every second row from below": lambda image: image[::-2],
}


@settings(max_examples=300, deadline=None)
@given(
    side=st.tuples(st.integers(10, 90), st.integers(10, 90)),
    target=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    view=st.sampled_from(sorted(VIEWS)),
    name=st.sampled_from(FILTERS),
    channels=st.sampled_from([1, 3, 4]),
    seed=st.integers(0, 1000),
)
def test_views_of_any_row_stride_are_resized_as_their_copies(
    side: tuple[int, int], target: tuple[int, int], view: str, name: Filter, channels: int, seed: int
) -> None:
    whole = np.random.default_rng(seed).integers(0, 256, (*side, channels), np.uint8)
    image = VIEWS[view](whole)
    assert np.array_equal(ne.resize(image, target, name), pillow(np.ascontiguousarray(image), *target, name))


def test_channels_in_another_order_and_parts_of_four_are_read_where_they_lie(mosaic: UInt8Array) -> None:
    four = np.ascontiguousarray(mosaic[:61, :83])
    three = np.ascontiguousarray(four[:, :, :3])
    views = [three[:, :, ::-1], four[:, :, :3], four[:, :, 2::-1], four[:, :, 1:], four[:, :, :0:-1], four[:, :1, 1:]]
    for view in views:
        copy = np.ascontiguousarray(view)
        for target in ((30, 40), (100, 90), view.shape[:2]):
            assert np.array_equal(ne.resize(view, target), ne.resize(copy, target))


@pytest.mark.parametrize("level", ["portable", "avx2", "avx512", "neon"])
def test_every_instruction_set_of_this_machine_gives_the_same_bits(level: str) -> None:
    """NAVIT_EDGE_SIMD forces one; csrc/tests/pixels/resize_test.cc compares all of them within a process."""
    program = """
import hashlib, numpy as np, navit_edge as ne
rng = np.random.default_rng(1)
digest = hashlib.sha256()
for channels in (1, 3, 4):
    for source, target in (((301, 417), (64, 80)), ((33, 20), (50, 90)), ((200, 9), (16, 16))):
        image = rng.integers(0, 256, (*source, channels), np.uint8)
        for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
            digest.update(ne.resize(image, target, name).tobytes())
print(digest.hexdigest())
"""

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}
        )

    forced = run(NAVIT_EDGE_SIMD=level)
    if forced.returncode == 0:
        assert forced.stdout == run(NAVIT_EDGE_SIMD="").stdout
    else:  # a set that this CPU lacks is refused with those it has, never replaced
        assert level != "portable"
        assert f"NAVIT_EDGE_SIMD is '{level}'; this CPU runs portable" in forced.stderr


WRONG: dict[str, tuple[object, tuple[int, int], str]] = {
    "no pixel": (np.zeros((0, 4, 3), np.uint8), (2, 2), "is empty"),
    "two channels": (np.zeros((4, 4, 2), np.uint8), (2, 2), r"has shape \[4, 4, 2\]"),
    "five channels": (np.zeros((4, 4, 5), np.uint8), (2, 2), r"has shape \[4, 4, 5\]; expected"),
    "not a number": (np.full((4, 4, 3), np.nan), (2, 2), r"has dtype float64.*\.astype\(np.uint8\)"),
    "pixels apart": (np.zeros((4, 8, 3), np.uint8)[:, ::2], (2, 2), "strided view.*np.ascontiguousarray"),
    "mirrored": (np.zeros((4, 8, 3), np.uint8)[:, ::-1], (2, 2), "strided view.*np.ascontiguousarray"),
    "channels first": (np.zeros((4, 8, 3), np.uint8).transpose(1, 0, 2)[:, :, ::2], (2, 2), r"has shape \[8, 4, 2\]"),
    "transposed": (np.zeros((4, 8, 3), np.uint8).transpose(1, 0, 2), (2, 2), "strided view"),
    "one row for all": (np.broadcast_to(np.zeros((1, 8, 3), np.uint8), (5, 8, 3)), (2, 2), "repeats one row"),
    "too wide": (np.zeros((1, (1 << 20) + 1, 3), np.uint8), (2, 2), "at most 1048576 pixels a side; tile it"),
    "no target": (np.zeros((4, 4, 3), np.uint8), (2, 0), r"size is \(2, 0\).*at least 1"),
    "a target too large": (np.zeros((4, 4, 3), np.uint8), (1 << 21, 1), "at most 1048576"),
    "a list": ([[1]], (2, 2), "is of type list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_resized_is_refused_with_the_remedy(case: str) -> None:
    image, size, message = WRONG[case]
    with pytest.raises(ne.InvalidInputError, match=message):
        ne.resize(image, size)  # type: ignore[arg-type]
