"""JPEG files by the C++ core and by Pillow, the oracle: the same bytes, words and errors, whichever decodes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from both_decoders import assert_same, leave_to_pillow, mutated, oriented, outcome, profile
from image_files import UInt8Array, encoded, picture
from PIL import Image, ImageCms

import navit_edge as ne
from navit_edge import _core
from navit_edge.decode import DecodeOptions, Decoder, jpeg
from navit_edge.decode.by_core import DecodedPixels
from navit_edge.pixels import Given, given_by

SAMPLINGS = (0x111111, 0x211111, 0x121111, 0x221111, 0x411111)  # 4:4:4, 4:2:2, 4:4:0, 4:2:0, 4:1:1, as OpenCV has them


def noisy(height_px: int, width_px: int, seed: int = 0) -> UInt8Array:
    """A picture with edges, so that chroma that is sampled up another way shows."""
    noise = np.random.default_rng(seed).integers(0, 60, (height_px, width_px, 3))
    return ((picture(height_px, width_px).astype(np.int64) + noise) % 256).astype(np.uint8)


def by_opencv(image: UInt8Array, sampling: int, **options: int) -> bytes:
    """With chroma that Pillow does not write."""
    given = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    for name, value in options.items():
        given += [getattr(cv2, f"IMWRITE_JPEG_{name.upper()}"), value]
    done, data = cv2.imencode(".jpg", image, given)
    assert done
    return bytes(data.tobytes())


def by_pillow(data: bytes) -> UInt8Array:
    """The oracle."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def by_core(data: bytes, resize: tuple[int, int] | None = None, *names: str) -> UInt8Array:
    """uint8 [height_px, width_px(, 3)]. Raises InvalidInputError."""
    with Image.open(io.BytesIO(data)) as image:
        size, gray = (image.height, image.width), image.mode == "L"
    assert jpeg.library() == (jpeg.library()[0], "")
    rgb = _core.to_rgb(_core.decode_jpeg(data, size, resize, *names), "drop", (0, 0, 0))
    return rgb[:, :, 0] if gray else rgb


def files() -> Iterator[bytes]:
    """Over 500: all samplings, sizes about the blocks of each, progressive, restart markers, gray, one pixel a side."""
    sides = ((1, 1), (1, 9), (17, 1), (8, 8), (15, 16), (16, 33), (23, 31), (65, 40))
    for seed, (sampling, (height_px, width_px), quality) in enumerate(
        itertools.product(SAMPLINGS, sides, (35, 75, 98))
    ):
        image = noisy(height_px, width_px, seed)
        yield by_opencv(image, sampling, quality=quality)
        yield by_opencv(image, sampling, quality=quality, progressive=1)
        yield by_opencv(image, sampling, quality=quality, rst_interval=2)
    for seed, ((height_px, width_px), quality, progressive) in enumerate(itertools.product(sides, (5, 60, 95), (0, 1))):
        image = noisy(height_px, width_px, seed)
        options: dict[str, Any] = {"quality": quality, "progressive": bool(progressive)}
        yield encoded("JPEG", image[:, :, 0].copy(), **options)
        yield encoded("JPEG", image, optimize=True, restart_marker_rows=1, **options)
        yield encoded("JPEG", image, keep_rgb=True, **options)


def test_over_500_files_have_the_bytes_that_pillow_has() -> None:
    count = 0
    for data in files():
        assert np.array_equal(by_core(data), by_pillow(data)), count
        count += 1
    assert count > 500


@pytest.mark.parametrize("names", [("bilinear", "pillow"), ("lanczos", "pillow"), ("nearest", "pillow"),
                                   ("bicubic", "torchvision")])  # fmt: skip
@pytest.mark.parametrize("gray", [False, True])
def test_rows_go_into_the_resize_and_give_what_the_whole_image_gives(names: tuple[str, str], gray: bool) -> None:
    sizes = ((70, 50), (50, 300), (33, 41), (400, 24))
    targets = ((32, 48), (16, 16), (70, 20), (90, 50), (128, 96), (1, 1))
    for height_px, width_px in sizes:
        image = noisy(height_px, width_px)
        data = encoded("JPEG", image[:, :, 0].copy() if gray else image)
        whole = by_pillow(data)
        for target in targets:
            expected = _core.resize(whole, target, *names)
            found = by_core(data, target, *names)
            assert np.array_equal(found, expected.reshape(found.shape)), (height_px, width_px, target)


def test_pixels_say_of_which_image_they_were_resized() -> None:
    data = encoded("JPEG", noisy(40, 60))
    assert _core.decode_jpeg(data, (40, 60)).resized_from is None
    assert _core.decode_jpeg(data, (40, 60), (40, 60)).resized_from is None
    pixels = _core.decode_jpeg(data, (40, 60), (20, 30))
    assert (pixels.height_px, pixels.width_px, pixels.resized_from, pixels.format) == (20, 30, (40, 60), "rgb")


def cases() -> dict[str, bytes]:
    """What a JPEG file may hold beside its pixels."""
    image = noisy(24, 40)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = {f"orientation {turn}": encoded("JPEG", image, exif=oriented(turn)) for turn in range(9)}
    made["damaged EXIF"] = encoded("JPEG", image, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    made["sRGB"] = encoded("JPEG", image, icc_profile=srgb)
    made["another profile"] = encoded("JPEG", image, icc_profile=profile())
    made["damaged profile"] = encoded("JPEG", image, icc_profile=b"no profile")
    made["gray with a profile"] = encoded("JPEG", image[:, :, 0].copy(), icc_profile=srgb)
    made["CMYK"] = encoded("JPEG", Image.fromarray(image).convert("CMYK"))
    made["RGB, no YCbCr"] = encoded("JPEG", image, keep_rgb=True)
    made["two pictures"] = encoded("MPO", Image.fromarray(image), save_all=True, append_images=[Image.fromarray(image)])
    made["bytes behind the end"] = encoded("JPEG", image) + b"more" * 50
    made["without its end"] = encoded("JPEG", image)[:-2]
    made["cut off"] = encoded("JPEG", image)[:-60]
    made["cut off in its header"] = encoded("JPEG", image)[:150]
    return made


@pytest.fixture
def only_pillow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leaves everything to Pillow from its call on."""
    return lambda: leave_to_pillow(monkeypatch)


@pytest.mark.parametrize("icc", ["ignore", "srgb"])
@pytest.mark.parametrize("orientation", ["apply", "as-decoded"])
def test_both_decoders_follow_the_same_rules(icc: Any, orientation: Any, only_pillow: Callable[[], None]) -> None:
    decoder = Decoder(DecodeOptions(icc=icc, orientation=orientation))
    found = {name: outcome(decoder, data) for name, data in cases().items()}
    only_pillow()
    for name, data in cases().items():
        assert found[name] == outcome(decoder, data), name


def test_what_the_core_decodes_and_what_is_left_to_pillow() -> None:
    taken = set()
    for name, data in cases().items():
        try:
            with Decoder().open(data) as opened:
                if isinstance(opened.decode_pixels(), DecodedPixels):
                    taken.add(name)
        except ne.InvalidInputError:
            pass
    left = {f"orientation {turn}" for turn in range(2, 9)} | {"CMYK", "two pictures"}
    refused = {"without its end", "cut off", "cut off in its header"}
    assert taken == set(cases()) - left - refused


def test_damaged_files_give_what_pillow_gives(only_pillow: Callable[[], None]) -> None:
    image = noisy(40, 56)
    seeds = [
        encoded("JPEG", image),
        encoded("JPEG", image, progressive=True),
        by_opencv(image, 0x121111, rst_interval=1),
    ]
    decoder = Decoder(DecodeOptions(max_pixels=1 << 20))
    damaged = [mutated(seeds[number % len(seeds)], number) for number in range(600)]
    found = [outcome(decoder, data) for data in damaged]
    assert sum(one[0] == "error" for one in found) > 20
    assert sum(one[0] != "error" for one in found) > 100
    only_pillow()
    for number, data in enumerate(damaged):
        assert found[number] == outcome(decoder, data), number


def many_scans(count: int) -> bytes:
    """A progressive file whose last scan comes ``count`` times."""
    data = encoded("JPEG", noisy(16, 16), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def test_a_file_of_too_many_scans_is_refused_before_it_is_decoded(only_pillow: Callable[[], None]) -> None:
    for switch in (lambda: None, only_pillow):
        switch()
        with pytest.raises(ne.InvalidInputError, match=r"^a\.jpg has more than 500 scans"):
            Decoder().decode_pixels(many_scans(600), "a.jpg")
        with pytest.raises(ne.InvalidInputError, match="has more than 500 scans"):
            Decoder().decode(many_scans(600), "a.jpg")
    assert outcome(Decoder(), many_scans(100))[0] == (16, 16, 3)


def test_limits_hold_before_the_first_row() -> None:
    with pytest.raises(ne.InvalidInputError, match="expected at most 100;"):
        Decoder(DecodeOptions(max_pixels=100)).decode_pixels(encoded("JPEG", noisy(24, 40)))
    with pytest.raises(ne.InvalidInputError, match=r"is 24 x 40 pixels .* expected 24 x 41"):
        _core.decode_jpeg(encoded("JPEG", noisy(24, 40)), (24, 41))


def test_a_file_and_its_pixels_give_the_same_result(
    tiny_bundle: Path, tmp_path: Path, only_pillow: Callable[[], None]
) -> None:
    paths = []
    for place, (height_px, width_px) in enumerate(((300, 200), (90, 700), (33, 48), (640, 480))):
        paths.append(tmp_path / f"{place}.jpg")
        paths[-1].write_bytes(encoded("JPEG", noisy(height_px, width_px)))
    arrays = [by_pillow(path.read_bytes()) for path in paths]
    policies = (None, "token-cap:20", "content")
    with ne.Session(tiny_bundle) as session:
        decoder = session.decoder.toward(session._core, None)
        resized = [given_by(decoder.decode_pixels(path)) for path in paths]
        assert any(isinstance(one.pixels, ne.Pixels) and one.pixels.resized_from for one in resized)
        for text in policies:
            policy = ne.Policy.parse(text) if text else None
            expected = session.run(arrays, policy=policy)
            runs = [session.run(paths, policy=policy), list(session.stream(paths, policy=policy))]
            for result in itertools.chain(*(zip(expected, found, strict=True) for found in runs)):
                assert_same(*result)
            futures = [session.submit(path, policy=policy) for path in paths]
            for one, future in zip(expected, futures, strict=True):
                assert_same(one, future.result(60))
        only_pillow()
        for one, other in zip(session.run(arrays), session.run(paths), strict=True):
            assert_same(one, other)


def test_pixels_that_were_resized_for_another_grid_fail_alone(tiny_bundle: Path) -> None:
    data = encoded("JPEG", noisy(300, 200))
    with ne.Session(tiny_bundle) as session:
        size = session._core.resized_size(300, 200, None)
        assert size is not None
        right, wrong = (Given(_core.decode_jpeg(data, (300, 200), to)) for to in (size, (size[0] + 16, size[1])))
        results = session.run([right, wrong], on_error="return")
        assert results[0].error is None
        assert "was resized to" in str(results[1].error)
        content = ne.Policy.parse("content")
        assert session._core.resized_size(300, 200, content) is None
        assert "policy content" in str(session.run([right], on_error="return", policy=content)[0].error)


def test_a_file_that_is_cut_off_fails_alone(tiny_session: ne.Session) -> None:
    whole = encoded("JPEG", noisy(200, 300))
    results = tiny_session.run([whole, whole[: len(whole) // 2], whole], on_error="return")
    assert [result.error is None for result in results] == [True, False, True]
    assert "image file is truncated" in str(results[1].error)


def test_threads_decode_at_once() -> None:
    made = [encoded("JPEG", noisy(120 + place, 90, place), progressive=place % 2 == 0) for place in range(8)]
    expected = [by_pillow(data) for data in made]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for found, image in zip(pool.map(by_core, made), expected, strict=True):
                assert np.array_equal(found, image)
