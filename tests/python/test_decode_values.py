"""No value is lost unsaid: depth by a file's own range, colour profiles, frames, alpha; judged by the samples
themselves, by Pillow and by LittleCMS."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import UInt8Array, chunk, encoded, picture, png, tiff
from PIL import Image, ImageCms

import navit_edge as ne
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.pixels import as_pixels

DECODER = Decoder()


def decoded(data: bytes, path: Path, decoder: Decoder = DECODER) -> tuple[UInt8Array, str]:
    """RGB, and what was done."""
    path.write_bytes(data)
    found = decoder.decode(path)
    return np.asarray(found.image.convert("RGB")), "; ".join(found.done)


# --- depth ------------------------------------------------------------------------------------------------------

#: All levels, and what lies between them.
DEEP = np.arange(0, 65536, 13, dtype=np.uint16)[:5000].reshape(50, 100)
DEEP_RGB = np.dstack([DEEP, DEEP[:, ::-1], DEEP[::-1]])


def eight(samples: npt.NDArray[Any], maximum: int = 65535) -> UInt8Array:
    """The rule: v * 255 / maximum, rounded."""
    return np.floor(samples.astype(np.float64) * 255 / maximum + 0.5).astype(np.uint8)


def pnm(magic: bytes, samples: npt.NDArray[Any], maximum: int) -> bytes:
    head = magic + b"\n%d %d\n%d\n" % (samples.shape[1], samples.shape[0], maximum)
    return head + samples.astype(">u2" if maximum > 255 else "u1").tobytes()


def ten_bits() -> npt.NDArray[np.uint16]:
    return (DEEP >> 6).astype(np.uint16)


EXACT: dict[str, tuple[bytes, UInt8Array]] = {
    "PNG, gray, 16 bits": (png(DEEP, 0, 16), eight(DEEP)),
    "TIFF, gray, 16 bits": (tiff(DEEP), eight(DEEP)),
    "TIFF, gray, 16 bits, Motorola": (tiff(DEEP, order=">"), eight(DEEP)),
    "TIFF, white is zero, 16 bits": (tiff(DEEP, photometric=0), 255 - eight(DEEP)),
    "TIFF, packed": (encoded("TIFF", Image.fromarray(DEEP), compression="tiff_adobe_deflate"), eight(DEEP)),
    "JPEG 2000, gray, 16 bits": (encoded("JPEG2000", Image.fromarray(DEEP)), eight(DEEP)),
    "PGM, 16 bits": (pnm(b"P5", DEEP, 65535), eight(DEEP)),
    "PGM, 10 bits": (pnm(b"P5", ten_bits(), 1023), eight(ten_bits(), 1023)),
    "PGM, 12 bits": (pnm(b"P5", DEEP >> 4, 4095), eight(DEEP >> 4, 4095)),
    "PGM, values up to 100": (pnm(b"P5", DEEP % 101, 100), eight(DEEP % 101, 100)),
    "PPM, 16 bits": (pnm(b"P6", DEEP_RGB, 65535), eight(DEEP_RGB)),
    "PPM, 10 bits": (pnm(b"P6", DEEP_RGB >> 6, 1023), eight(DEEP_RGB >> 6, 1023)),
    "TIFF, floats": (tiff((DEEP / 65535).astype(np.float32), sample_format=3), eight(DEEP)),
    "TIFF, floats, white is zero": (
        tiff((DEEP / 65535).astype(np.float32), sample_format=3, photometric=0),
        255 - eight(DEEP),
    ),
    "PFM": (
        b"Pf\n100 50\n-1.0\n" + np.ascontiguousarray((DEEP[::-1] / 65535).astype("<f4")).tobytes(),
        eight(DEEP),
    ),
}
#: Pillow keeps the high byte, which is never more than one level off.
NEAR: dict[str, tuple[bytes, UInt8Array]] = {
    "PNG, RGB, 16 bits": (png(DEEP_RGB, 2, 16), eight(DEEP_RGB)),
    "PNG, gray and alpha, 16 bits": (png(np.dstack([DEEP, DEEP]), 4, 16), eight(DEEP)),
    "PNG, RGBA, 16 bits": (png(np.dstack([DEEP_RGB, DEEP]), 6, 16), eight(DEEP_RGB)),
    "TIFF, RGB, 16 bits": (tiff(DEEP_RGB, photometric=2), eight(DEEP_RGB)),
    "TIFF, RGB, 16 bits, Motorola": (tiff(DEEP_RGB, photometric=2, order=">"), eight(DEEP_RGB)),
    "TIFF, RGBA, 16 bits": (
        tiff(np.dstack([DEEP_RGB, DEEP]), photometric=2, extra=[(338, 3, [2])]),
        eight(DEEP_RGB),
    ),
}


@pytest.mark.parametrize("name", [*EXACT, *NEAR])
def test_more_than_eight_bits_become_eight_by_their_full_range(name: str, tmp_path: Path) -> None:
    data, expected = (EXACT | NEAR)[name]
    found, done = decoded(data, tmp_path / "file")
    if expected.ndim == 2:
        expected = np.repeat(expected[:, :, None], 3, 2)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= (0 if name in EXACT else 1)
    if not name.startswith("JPEG 2000, RGB"):
        assert "8" in done or "255" in done, done


def test_one_two_and_four_bits_become_eight_by_their_full_range(tmp_path: Path) -> None:
    for bits in (1, 2, 4):
        levels = np.arange(1 << bits, dtype=np.uint8)
        packed = np.packbits(((levels[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8))
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", len(levels), 1, bits, 0, 0, 0, 0))
        body = chunk(b"IDAT", zlib.compress(b"\0" + packed.tobytes()))
        key = chunk(b"tRNS", struct.pack(">H", 1))
        data = b"\x89PNG\r\n\x1a\n" + header + key + body + chunk(b"IEND", b"")
        (tmp_path / "file").write_bytes(data)
        image = DECODER.decode(tmp_path / "file").image
        assert image.mode == "RGBA"
        gray, alpha = np.asarray(image)[0, :, 0], np.asarray(image)[0, :, 3]
        assert np.array_equal(gray, eight(levels, (1 << bits) - 1))
        assert np.array_equal(alpha, np.where(levels == 1, 0, 255))  # the key is of the file's own values


def test_a_transparent_value_of_sixteen_bits_is_found_before_bits_are_lost(tmp_path: Path) -> None:
    key = int(DEEP[3, 5])
    (tmp_path / "gray").write_bytes(png(DEEP, 0, 16, before=[chunk(b"tRNS", struct.pack(">H", key))]))
    gray = np.asarray(DECODER.decode(tmp_path / "gray").image)
    assert np.array_equal(gray[:, :, 3], np.where(key == DEEP, 0, 255))
    assert np.array_equal(gray[:, :, 0], eight(DEEP))
    colour = DEEP_RGB[3, 5]
    (tmp_path / "rgb").write_bytes(png(DEEP_RGB, 2, 16, before=[chunk(b"tRNS", struct.pack(">HHH", *colour))]))
    alpha = np.asarray(DECODER.decode(tmp_path / "rgb").image)[:, :, 3]
    expected = ((colour >> 8) == (DEEP_RGB >> 8)).all(axis=2)
    assert np.array_equal(alpha == 0, expected)
    opened = Image.open(tmp_path / "rgb")
    for _ in range(2):  # before and after it is loaded; it stays the caller's
        white = ne.to_rgb(opened, alpha="composite")
        assert np.array_equal((white == 255).all(axis=2), expected)
        assert opened.info["transparency"] == tuple(colour)


REFUSED: dict[str, tuple[bytes, str]] = {
    "32-bit integers": (tiff(DEEP.astype(np.uint32)), "unsigned integers of 32 bits"),
    "signed 32-bit integers": (tiff(DEEP.astype(np.int32), sample_format=2), "signed integers of 32 bits"),
    "signed 16-bit integers": (tiff((DEEP // 2).astype(np.int16), sample_format=2), "signed integers of 16 bits"),
    "signed bytes": (tiff((DEEP // 512).astype(np.int8), sample_format=2), "signed integers of 8 bits"),
    "floats above 1": (tiff(DEEP.astype(np.float32), sample_format=3), "floats of 0 to 64987"),
    "floats below 0": (tiff(DEEP.astype(np.float32) / -65535, sample_format=3), "floats of -0.99"),
    "floats that are none": (tiff(np.full((4, 4), np.nan, np.float32), sample_format=3), "floats of nan"),
    "PFM with a scale": (b"Pf\n2 1\n-2.0\n" + np.array([0, 1], "<f4").tobytes(), "with a scale of 2"),
    "planes that Pillow mixes up": (tiff(DEEP_RGB, photometric=2, planar=2), "planes of 16 bits"),
    "64-bit floats": (tiff((DEEP / 65535).astype(np.float64), sample_format=3), "not an image in a format"),
    "a 16-bit PGM that is cut off": (pnm(b"P5", ten_bits(), 1023)[:-1], "ends after 9,999 of 10,000 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_without_a_range_of_their_own_are_refused_with_found_and_expected(name: str, tmp_path: Path) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(ne.InvalidInputError) as caught:
        decoded(data, tmp_path / "file")
    assert reason in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


def test_a_pil_image_follows_the_rule_of_files() -> None:
    gray = np.repeat(eight(DEEP)[:, :, None], 3, 2)
    for image in (Image.fromarray(DEEP), Image.fromarray((DEEP / 65535).astype(np.float32))):
        assert np.array_equal(ne.to_rgb(image), gray)
    swapped = Image.frombytes("I;16B", (100, 50), DEEP.astype(">u2").tobytes())
    assert np.array_equal(ne.to_rgb(swapped), gray)
    with pytest.raises(ne.InvalidInputError, match="image holds integers of 32 bits"):
        ne.to_rgb(Image.fromarray(DEEP.astype(np.int32)))
    assert np.array_equal(ne.to_rgb(Image.open(io.BytesIO(pnm(b"P5", ten_bits(), 1023)))), np.repeat(
        eight(ten_bits(), 1023)[:, :, None], 3, 2))  # fmt: skip


# --- colours ----------------------------------------------------------------------------------------------------


def display_p3() -> bytes:
    """A matrix profile with Display P3's primaries: sRGB's with other colorants, ICC.1:2022 section 10.31."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    columns = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189),
               b"bXYZ": (0.15710, 0.06657, 0.78407)}  # fmt: skip
    (count,) = struct.unpack(">L", data[128:132])
    for entry in range(count):
        tag, offset, _ = struct.unpack(">4sLL", data[132 + 12 * entry : 144 + 12 * entry])
        if tag in columns:
            data[offset + 8 : offset + 20] = struct.pack(">3l", *(round(v * 65536) for v in columns[tag]))
    return bytes(data)


def lut_cmyk() -> bytes:
    """A CMYK profile of 2 ** 4 nodes (lut8Type to Lab, ICC.1:2001 section 6.5.7): ink takes lightness, no colour."""
    nodes = b"".join(
        bytes([int(255 * (1 - min(1.0, 0.3 * (c + m + y) + k * 0.9))), 128, 128])
        for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
    )  # fmt: skip
    matrix = struct.pack(">9l", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + bytes(range(256)) * 4 + nodes + bytes(range(256)) * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3l", 63190, 65536, 54061)
    text = b"Ink of the tests\0"
    named = b"desc" + bytes(4) + struct.pack(">L", len(text)) + text + bytes(78)
    rights = b"text" + bytes(4) + b"none\0"
    tags = {b"desc": named, b"cprt": rights, b"wtpt": white, b"A2B0": table, b"A2B1": table}
    directory, body, at = struct.pack(">L", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value = value.ljust(-(-len(value) // 4) * 4, b"\0")
        directory += name + struct.pack(">LL", at + len(body), len(value))
        body += value
    size = 128 + len(directory) + len(body)
    head = struct.pack(">L", size) + bytes(4) + b"\2\x10\0\0prtrCMYKLab " + struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head += b"acsp" + bytes(28) + struct.pack(">3l", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + directory + body


def by_littlecms(image: Image.Image, profile: bytes) -> UInt8Array:
    """The oracle: LittleCMS through ImageCms, relative colorimetric with black point compensation."""
    return np.asarray(
        ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    )


SRGB = Decoder(DecodeOptions(icc="srgb"))


def test_wide_gamut_is_converted_where_asked_and_otherwise_read_as_training_does(tmp_path: Path) -> None:
    profile = display_p3()
    for form, options in (("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("TIFF", {}), ("AVIF", {})):
        data = encoded(form, picture(), icc_profile=profile, **options)
        plain = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        found, done = decoded(data, tmp_path / "file")
        assert np.array_equal(found, plain), form
        assert done.startswith("profile ignored ("), form
        converted, done = decoded(data, tmp_path / "file", SRGB)
        assert np.array_equal(converted, by_littlecms(Image.fromarray(plain), profile)), form
        assert np.abs(converted.astype(int) - plain).max() > 20
        assert done.startswith("converted to sRGB from "), form


def test_a_profile_that_is_srgb_changes_nothing_and_is_not_worth_a_word(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for decoder in (DECODER, SRGB):
        found, done = decoded(encoded("PNG", icc_profile=profile), tmp_path / "file", decoder)
        assert np.array_equal(found, picture())
        assert done == ""


def test_cmyk_goes_through_its_profile_also_as_adobe_inverts_it(tmp_path: Path) -> None:
    profile = lut_cmyk()
    cmyk = Image.merge("CMYK", [*Image.fromarray(picture(64, 64)).split(), Image.new("L", (64, 64), 40)])
    for form, options in (("TIFF", {}), ("JPEG", {"quality": 100, "subsampling": 0})):  # Pillow's JPEGs are Adobe's
        data = encoded(form, cmyk, icc_profile=profile, **options)
        read = Image.open(io.BytesIO(data))
        assert read.mode == "CMYK"
        naive, done = decoded(data, tmp_path / "file")
        assert np.array_equal(naive, np.asarray(read.convert("RGB")))
        assert done == "CMYK converted without its profile (Ink of the tests)"
        converted, done = decoded(data, tmp_path / "file", SRGB)
        assert np.array_equal(converted, by_littlecms(read, profile))
        assert done == "converted to sRGB from Ink of the tests"
        assert np.abs(converted.astype(int) - naive).mean() > 20
    _, done = decoded(encoded("TIFF", cmyk), tmp_path / "file", SRGB)
    assert done == "CMYK converted without a profile"


def test_gray_and_alpha_keep_what_they_are_through_a_profile(tmp_path: Path) -> None:
    profile = display_p3()
    rgba = np.dstack([picture(), picture()[:, :, 0]])
    data = encoded("PNG", rgba, icc_profile=profile)
    (tmp_path / "file").write_bytes(data)
    image = SRGB.decode(tmp_path / "file").image
    assert np.array_equal(np.asarray(image)[:, :, 3], rgba[:, :, 3])
    assert np.array_equal(np.asarray(image)[:, :, :3], by_littlecms(Image.fromarray(picture()), profile))
    gray = encoded("JPEG", Image.fromarray(picture()[:, :, 0]), icc_profile=profile)
    found, _ = decoded(gray, tmp_path / "file", SRGB)
    assert np.array_equal(found, by_littlecms(Image.open(io.BytesIO(gray)).convert("RGB"), profile))


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (b"no profile at all", "damaged"),
        (display_p3()[:200], "damaged"),
        (lut_cmyk(), "Ink of the tests"),  # of other channels than the image
        (display_p3() + bytes(5 << 20), "bytes"),
    ],
)
def test_a_profile_that_cannot_be_used_is_said_and_the_image_read_as_srgb(
    profile: bytes, words: str, tmp_path: Path
) -> None:
    data = encoded("TIFF", picture(), icc_profile=profile)
    for decoder, start in ((DECODER, "profile ignored ("), (SRGB, "read as sRGB, since its profile cannot be used (")):
        found, done = decoded(data, tmp_path / "file", decoder)
        assert np.array_equal(found, picture())
        assert done.startswith(start)
        assert words in done


def test_lab_is_read_by_its_meaning(tmp_path: Path) -> None:
    soft = (picture() // 4 + 96).astype(np.uint8)  # eight bits of Lab are coarse where colours are strong
    lab = ImageCms.profileToProfile(
        Image.fromarray(soft), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    found, done = decoded(encoded("TIFF", lab), tmp_path / "file")
    assert np.abs(found.astype(int) - soft).max() <= 4
    assert done == "Lab converted to sRGB"


# --- what is said -----------------------------------------------------------------------------------------------


def test_the_frame_that_is_read_is_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(picture(), 5 * n, 1)) for n in range(3)]
    several = {"save_all": True, "append_images": frames[1:]}
    said = {
        "GIF": "the first of several frames",
        "PNG": "the first of 3 frames",
        "WEBP": "the first of 3 frames",
        "TIFF": "the first of several pages",
        "AVIF": "the first of 3 frames",
        "MPO": "the first of 3 pictures",
    }
    for form, words in said.items():
        data = encoded(form, frames[0], **several)
        found, done = decoded(data, tmp_path / "file")
        assert done == words
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        chosen = Image.open(io.BytesIO(data))
        chosen.seek(2)  # a PIL image is read where it stands, and nothing has to be said
        assert as_pixels(chosen).done == ""


@pytest.fixture(scope="module")
def session(job_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(job_bundle, threads=1) as opened:
        yield opened


def test_results_say_what_was_done_however_the_image_came(session: ne.Session, tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png(DEEP, 0, 16))
    (tmp_path / "plain.png").write_bytes(encoded("PNG"))
    images = [tmp_path / "deep.png", tmp_path / "plain.png"]
    ways = [
        session.run(images),
        [session.submit(image).result(60) for image in images],
        list(session.stream(images)),
    ]
    for deep, plain in ways:
        assert deep.reason == deep.decoding == "16 bits reduced to 8"
        assert deep.sizing == plain.reason == plain.decoding == ""


def test_what_was_decoded_is_told_apart_from_what_was_scaled_down(session: ne.Session, tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png(DEEP, 0, 16))
    (result,) = session.run([tmp_path / "deep.png"], policy=ne.Policy.token_cap(9))
    assert result.decoding == "16 bits reduced to 8"
    assert result.sizing.startswith("token cap 9: ")
    assert result.reason == f"{result.decoding}; {result.sizing}"


def test_what_becomes_of_alpha_is_said_where_there_is_any() -> None:
    half, opaque = np.dstack([picture(), picture()[:, :, 0]]), np.dstack([picture(), np.full((24, 40), 255, np.uint8)])
    over = Decoder(recorded=Recorded(alpha="composite", background=(1, 2, 3)))
    for image, drop, composite in (
        (Image.fromarray(half), "alpha dropped", "alpha composited over 1,2,3"),
        (Image.fromarray(opaque), "", ""),
        (half, "alpha dropped", "alpha composited over 1,2,3"),
        (picture(), "", ""),
        (ne.Pixels(half, "bgra"), "alpha dropped", "alpha composited over 1,2,3"),
    ):
        assert as_pixels(image, decoder=DECODER).done == drop
        assert as_pixels(image, decoder=over).done == composite
