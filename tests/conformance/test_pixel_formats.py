"""Pixels in every format: against Pillow where Pillow knows it, against float64 and OpenCV for Y'CbCr."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import navit_edge as ne
from navit_edge.pixels import load_image

UInt8Array = npt.NDArray[np.uint8]
COLOURS = ((255, 255, 255), (0, 0, 0), (1, 128, 254))
SIDE = st.integers(1, 70)


def random_pixels(seed: int, *shape: int) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def every_value_under_every_alpha() -> UInt8Array:
    """[256, 256, 4]: value and alpha, all 65,536 pairs."""
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    return np.stack([value, value[::-1], 255 - value, alpha], axis=2).astype(np.uint8)


@pytest.mark.parametrize("colour", COLOURS)
def test_compositing_gives_the_bytes_of_pillows_alpha_composite(colour: tuple[int, int, int]) -> None:
    image = every_value_under_every_alpha()
    behind = Image.new("RGBA", (256, 256), (*colour, 255))
    expected = np.asarray(Image.alpha_composite(behind, Image.fromarray(image)).convert("RGB"))
    assert np.array_equal(ne.to_rgb(image, alpha="composite", background=colour), expected)
    bgra = ne.Pixels(np.ascontiguousarray(image[:, :, [2, 1, 0, 3]]), "bgra")
    assert np.array_equal(ne.to_rgb(bgra, alpha="composite", background=colour), expected)


@settings(max_examples=200, deadline=None)
@given(height=SIDE, width=SIDE, seed=st.integers(0, 999), pad=st.integers(0, 9), flip=st.booleans())
def test_every_order_of_channels_gives_the_same_rgb(height: int, width: int, seed: int, pad: int, flip: bool) -> None:
    def wide(image: UInt8Array) -> UInt8Array:
        """The same pixels with other bytes between the rows, upside down in memory where ``flip``."""
        image = image[::-1] if flip else image
        room = random_pixels(seed + 1, height, width + pad, *image.shape[2:])
        room[:, :width] = image
        return room[::-1, :width] if flip else room[:, :width]

    rgba = random_pixels(seed, height, width, 4)
    rgb = np.ascontiguousarray(rgba[:, :, :3])
    assert np.array_equal(ne.to_rgb(wide(rgb)), rgb)
    assert np.array_equal(ne.to_rgb(wide(rgba)), np.asarray(Image.fromarray(rgba).convert("RGB")))
    for name, order in (("bgr", [2, 1, 0]), ("rgbx", [0, 1, 2, 3]), ("bgrx", [2, 1, 0, 3]), ("bgra", [2, 1, 0, 3])):
        pixels = ne.Pixels(wide(np.ascontiguousarray(rgba[:, :, order])), name)
        assert (pixels.height_px, pixels.width_px, pixels.format) == (height, width, name)
        assert np.array_equal(ne.to_rgb(pixels), rgb), name
        source = rgba if name == "bgra" else rgb
        for size in ((height, width), (11, 13)):
            assert np.array_equal(ne.resize(pixels, size), ne.resize(source, size)), name
    gray = wide(np.ascontiguousarray(rgba[:, :, 0]))
    assert np.array_equal(ne.to_rgb(gray), np.asarray(Image.fromarray(gray).convert("RGB")))
    assert np.array_equal(ne.to_rgb(gray[:, :, None]), np.asarray(Image.fromarray(gray).convert("RGB")))


def float_rgb(y: UInt8Array, u: UInt8Array, v: UInt8Array, matrix: str, scale: str) -> npt.NDArray[np.float64]:
    """The definition of ITU-R BT.601 and BT.709 in float64; chroma repeated."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    height, width = y.shape
    cb, cr = (np.repeat(np.repeat(plane, 2, 0), 2, 1)[:height, :width].astype(np.float64) - 128 for plane in (u, v))
    light = y.astype(np.float64)
    if scale == "limited":
        light, cb, cr = (light - 16) * 255 / 219, cb * 255 / 224, cr * 255 / 224
    red = light + 2 * (1 - kr) * cr
    blue = light + 2 * (1 - kb) * cb
    green = (light - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([red, green, blue], axis=2), 0, 255)


@pytest.mark.parametrize("scale", ["limited", "full"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@settings(max_examples=60, deadline=None)
@given(height=SIDE, width=SIDE, seed=st.integers(0, 999))
def test_nv12_and_i420_are_within_one_level_of_the_definition(
    matrix: str, scale: str, height: int, width: int, seed: int
) -> None:
    """Odd sides included: chroma has half of each, rounded up."""
    y = random_pixels(seed, height, width)
    uv = random_pixels(seed + 1, (height + 1) // 2, (width + 1) // 2, 2)
    u, v = np.ascontiguousarray(uv[:, :, 0]), np.ascontiguousarray(uv[:, :, 1])
    nv12 = ne.to_rgb(ne.Pixels((y, uv), "nv12", matrix=matrix, range=scale))
    i420 = ne.to_rgb(ne.Pixels([y, u, v], "i420", matrix=matrix, range=scale))
    assert np.array_equal(nv12, i420)
    assert np.abs(nv12 - float_rgb(y, u, v, matrix, scale)).max() <= 0.51  # rounded: half a level, and 2^-16 parts


def test_full_range_bt601_is_within_one_level_of_pillows_ycbcr() -> None:
    y, u, v = random_pixels(1, 64, 64), random_pixels(2, 32, 32), random_pixels(3, 32, 32)
    planes = [Image.fromarray(plane) for plane in (y, np.repeat(np.repeat(u, 2, 0), 2, 1), np.kron(v, np.ones((2, 2))))]
    expected = np.asarray(Image.merge("YCbCr", [plane.convert("L") for plane in planes]).convert("RGB"))
    found = ne.to_rgb(ne.Pixels((y, u, v), "i420", range="full"))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_limited_bt601_is_within_one_level_of_opencv() -> None:
    """OpenCV's own integer formula; [3 h / 2, w] in one array, as it takes them. It cuts off Y below 16."""
    stacked = np.maximum(random_pixels(4, 96, 80), 16)
    for name, code in (("nv12", cv2.COLOR_YUV2RGB_NV12), ("i420", cv2.COLOR_YUV2RGB_I420)):
        found = ne.to_rgb(ne.Pixels(stacked, name))
        assert np.abs(found.astype(int) - cv2.cvtColor(stacked, code)).max() <= 1


def test_planes_may_have_strides_of_their_own() -> None:
    y, uv = random_pixels(5, 21, 33), random_pixels(6, 11, 17, 2)
    room_y, room_uv = random_pixels(7, 21, 40), random_pixels(8, 11, 25, 2)
    room_y[:, :33], room_uv[:, :17] = y, uv
    expected = ne.to_rgb(ne.Pixels((y, uv), "nv12"))
    assert np.array_equal(ne.to_rgb(ne.Pixels((room_y[:, :33], room_uv[:, :17]), "nv12")), expected)
    flipped = ne.Pixels((np.ascontiguousarray(y[::-1])[::-1], uv.reshape(11, 34)), "nv12")
    assert np.array_equal(ne.to_rgb(flipped), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_file_of_any_mode_gives_the_colours_of_convert_rgb(
    mode: str, tmp_path: Path, photographs: dict[str, UInt8Array]
) -> None:
    picture = Image.fromarray(photographs["eye"])
    if "A" in mode:
        picture.putalpha(Image.fromarray(photographs["eye"][:, :, 1]))
    picture = picture.convert("RGBA" if mode == "PA" else mode)
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "YCbCr") else "picture.png")
    (picture.quantize(64) if mode == "PA" else picture).save(path)
    try:
        with Image.open(path) as opened:
            expected = np.asarray(opened.convert("RGB"))
    except OSError as error:
        pytest.skip(f"this Pillow does not read what it wrote: {error}")
    assert np.array_equal(ne.to_rgb(path), expected)
    assert np.array_equal(load_image(path)[:, :, :3], expected)


def test_a_transparent_colour_is_composited_as_pillow_does(tmp_path: Path, photographs: dict[str, UInt8Array]) -> None:
    path = tmp_path / "key.png"
    Image.fromarray(photographs["eye"]).quantize(16).save(path, transparency=3)
    rgba = Image.open(path).convert("RGBA")
    assert 0 in np.asarray(rgba)[:, :, 3]
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, (9, 8, 7, 255)), rgba).convert("RGB")
    assert np.array_equal(ne.to_rgb(path, alpha="composite", background=(9, 8, 7)), np.asarray(expected))


@pytest.mark.skipif(
    int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow before 13 does not lend its memory safely"
)
@pytest.mark.parametrize("mode", ["RGB", "RGBX", "RGBA", "L"])
def test_a_pil_image_is_read_where_it_lies(mode: str) -> None:
    from navit_edge.pixels import as_pixels

    image = Image.fromarray(random_pixels(9, 30, 41, 3)).convert(mode)
    pixels = as_pixels(image).pixels
    assert isinstance(pixels, ne.Pixels)
    before = ne.to_rgb(pixels)
    assert np.array_equal(before, np.asarray(image.convert("RGB")))
    image.paste(77 if mode == "L" else (77, 77, 77, 255)[: len(image.getbands())], (0, 0, 41, 30))
    assert (ne.to_rgb(pixels) == 77).all()  # nothing was copied


def test_a_pil_image_in_several_blocks_of_memory_is_copied() -> None:
    from navit_edge.pixels import as_pixels

    image = Image.new("RGB", (3000, 2000), (1, 2, 3))
    found = as_pixels(image).pixels
    assert isinstance(found, np.ndarray)
    assert (ne.to_rgb(image) == (1, 2, 3)).all()


def test_pixels_keep_their_arrays_alive() -> None:
    planes = [random_pixels(1, 400, 400), random_pixels(2, 200, 200), random_pixels(3, 200, 200)]
    expected = ne.to_rgb(ne.Pixels([plane.copy() for plane in planes], "i420"))
    pixels = ne.Pixels(planes, "i420")
    planes.clear()
    [np.zeros((400, 400), np.uint8) for _ in range(10)]  # would take freed memory
    assert np.array_equal(ne.to_rgb(pixels), expected)


def image_of(*shape: int) -> UInt8Array:
    return np.zeros(shape, np.uint8)


WRONG: dict[str, tuple[object, str, str]] = {
    "an unknown format": (image_of(4, 4, 3), "yuyv", "format is 'yuyv'; expected one of gray, rgb"),
    "three channels for four": (image_of(4, 4, 3), "bgra", "has 3 channels and the format 'bgra'; expected.*4"),
    "a reversed view with a format": (image_of(4, 4, 3)[:, :, ::-1], "bgr", "as the camera or decoder gave it"),
    "odd sides in one array": (image_of(6, 5), "nv12", "expected.*even sides; pass the planes apart"),
    "rows that are no 3 h / 2": (image_of(7, 4), "i420", "has 7 rows"),
    "one array of I420 with gaps": (image_of(6, 8)[:, :4], "i420", "adjacent rows"),
    "too few planes": ((image_of(4, 4),), "nv12", r"has 1 planes; expected 2, \(y, uv\)"),
    "a small chroma plane": (
        (image_of(5, 5), image_of(2, 2, 2)),
        "nv12",
        r"plane uv.*has shape.*expected uint8 \[3, 3, 2\]",
    ),
    "chroma of another type": ((image_of(4, 4), np.zeros((2, 2), np.int8), image_of(2, 2)), "i420", "plane u.*int8"),
    "colour as the Y plane": ((image_of(4, 4, 3), image_of(2, 2, 2)), "nv12", "plane y of pixels has 3 channels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_pixels_that_are_not_what_the_format_says_are_refused(case: str) -> None:
    planes, name, message = WRONG[case]
    with pytest.raises(ne.InvalidInputError, match=message):
        ne.Pixels(planes, name)  # type: ignore[arg-type]


def test_alpha_is_refused_where_the_option_says_so() -> None:
    with pytest.raises(ne.InvalidInputError, match='has an alpha channel, and alpha is "reject"'):
        ne.to_rgb(image_of(4, 4, 4), alpha="reject")
    with pytest.raises(ne.InvalidInputError, match="expected one of drop, composite, reject"):
        ne.to_rgb(image_of(4, 4, 4), alpha="ignore")  # type: ignore[arg-type]
    with pytest.raises(ne.InvalidInputError, match="expected one of bt601, bt709"):
        ne.Pixels(image_of(6, 4), "nv12", matrix="bt2020")
    with pytest.raises(ne.InvalidInputError, match="expected one of limited, full"):
        ne.Pixels(image_of(6, 4), "nv12", range="tv")
