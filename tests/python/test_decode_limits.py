"""Limits are looked at before memory is taken, in words of ours, and nothing of Pillow's own is changed for others."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import chunk, encoded, picture, png, tiff
from PIL import Image
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.decode import Decoder
from navit_edge.decode.limits import MOST_TAG_VALUES


class PeakMemory:
    """How far this process's resident memory rises above what it is now, where the kernel tells."""

    def __init__(self) -> None:
        with suppress(OSError):  # where it cannot be reset, a lower peak before hides less
            Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
        self._before = self._mib()

    @staticmethod
    def _mib() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)

    def grown_mib(self) -> float:
        return self._mib() - self._before


LARGE = 20_000  # a side; 400 million pixels


def _jpeg() -> bytes:
    data = bytearray(encoded("JPEG"))
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", LARGE, LARGE)
    return bytes(data)


def _png() -> bytes:
    header = struct.pack(">IIBBBBB", LARGE, LARGE, 8, 2, 0, 0, 0)
    data = bytearray(encoded("PNG"))
    data[16:29] = header
    data[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(data)


def _webp() -> bytes:
    data = bytearray(encoded("WEBP", exif=b"Exif\0\0II*\0"))  # the extended form, which says its canvas
    assert data[12:16] == b"VP8X"
    data[24:30] = (LARGE - 1).to_bytes(3, "little") * 2
    return bytes(data)


def _gif() -> bytes:
    data = bytearray(encoded("GIF"))
    data[6:10] = struct.pack("<HH", LARGE, LARGE)
    return bytes(data)


def _bmp() -> bytes:
    data = bytearray(encoded("BMP"))
    data[18:26] = struct.pack("<ll", LARGE, LARGE)
    return bytes(data)


def _tiff() -> bytes:
    data = bytearray(tiff(picture(), photometric=2))
    for tag in (256, 257):
        at = data.find(struct.pack("<HHL", tag, 4, 1))
        data[at + 8 : at + 12] = struct.pack("<L", LARGE)
    return bytes(data)


def _jpeg2000() -> bytes:
    data = bytearray(encoded("JPEG2000"))
    at = data.find(b"ihdr")
    data[at + 4 : at + 12] = struct.pack(">LL", LARGE, LARGE)
    at = data.find(b"\xff\x51")
    data[at + 6 : at + 14] = struct.pack(">LL", LARGE, LARGE)
    return bytes(data)


def _avif() -> bytes:
    data = bytearray(encoded("AVIF"))
    at = data.find(b"ispe") + 8
    data[at : at + 8] = struct.pack(">LL", LARGE, LARGE)
    return bytes(data)


FORGED: dict[str, Callable[[], bytes]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "JPEG 2000": _jpeg2000,
    "PPM": lambda: b"P6 %d %d 255 " % (LARGE, LARGE),
    "PGM": lambda: b"P5 %d %d 1023 " % (LARGE, LARGE),
}


@pytest.mark.parametrize("form", FORGED)
def test_too_many_pixels_are_refused_by_the_header_with_the_number_and_the_option(form: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(FORGED[form]())
    peak = PeakMemory()
    with pytest.raises(ne.InvalidInputError) as caught:
        ne.to_rgb(path)
    text = str(caught.value)
    assert text.startswith(
        f"{path} is 20000x20000 pixels (height x width), 400,000,000 in all; expected at most 268,435,"
    )
    assert "max_pixels" in text
    assert "--max-pixels" in text
    assert "bomb" not in text
    assert peak.grown_mib() < 100  # the pixels take 1.6 GB


def test_an_avif_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.avif"
    path.write_bytes(_avif())
    with pytest.raises(ne.InvalidInputError, match=r"photo\.avif"):
        ne.to_rgb(path)


def test_the_limit_can_be_raised_and_lowered(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded("PNG"))
    assert ne.to_rgb(path, decode=ne.DecodeOptions(max_pixels=960)).shape == (24, 40, 3)
    with Image.open(path) as lazy:
        for image in (path, lazy, Image.fromarray(picture())):
            with pytest.raises(ne.InvalidInputError, match=r"is 24x40 pixels .*960 in all; expected at most 959"):
                ne.to_rgb(image, decode=ne.DecodeOptions(max_pixels=959))


def test_a_photo_of_two_hundred_megapixels_is_decoded(tmp_path: Path) -> None:
    """Flat, so that it is small; as gray, so that it takes 200 MB."""
    path = tmp_path / "photo.png"
    rows = zlib.compress(bytes(16385) * 12288, 1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16384, 12288, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Decoder().decode(path).image.size == (16384, 12288)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000", "MPO"])
def test_pillows_own_limit_neither_matters_nor_changes(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = tmp_path / "photo"
    frames = {"save_all": True, "append_images": [Image.fromarray(picture())]} if form in ("MPO", "GIF", "TIFF") else {}
    path.write_bytes(encoded(form, **frames))
    filters = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ne.to_rgb(path).shape == (24, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    assert warnings.filters == filters
    with path.open("rb") as file, pytest.raises(Image.DecompressionBombError):  # the caller's own code keeps its limit
        Image.open(file)
    with pytest.raises(ne.InvalidInputError):
        ne.to_rgb(path, decode=ne.DecodeOptions(max_pixels=10))


def test_a_file_of_too_many_bytes_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)  # a hole
    with pytest.raises(ne.InvalidInputError, match=r"has 1,073,741,825 bytes; expected at most 1,073,741,824; "):
        ne.to_rgb(path)
    path.write_bytes(encoded("PNG"))
    with pytest.raises(ne.InvalidInputError, match="bytes; expected at most 9;"):
        ne.to_rgb(path, decode=ne.DecodeOptions(max_file_bytes=9))


def test_a_file_of_too_many_frames_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(picture(), n, 1)) for n in range(4)]
    for form in ("WEBP", "AVIF", "PNG", "MPO"):
        path = tmp_path / form
        path.write_bytes(encoded(form, frames[0], save_all=True, append_images=frames[1:]))
        with pytest.raises(ne.InvalidInputError, match=r"has 4 frames; expected at most 3; .*max_frames"):
            ne.to_rgb(path, decode=ne.DecodeOptions(max_frames=3))
        assert ne.to_rgb(path, decode=ne.DecodeOptions(max_frames=4)).shape == (24, 40, 3)


# --- metadata ---------------------------------------------------------------------------------------------------


def _inflated(kind: bytes, start: bytes) -> bytes:
    return png(picture(), 2, 8, before=[chunk(kind, start + zlib.compress(bytes(50 << 20)))])


INFLATED: dict[str, bytes] = {
    "text": _inflated(b"zTXt", b"Comment\0\0"),
    "international text": _inflated(b"iTXt", b"Comment\0\1\0\0\0"),
    "a profile": _inflated(b"iCCP", b"profile\0\0"),
    "text behind the pixels": png(
        picture(), 2, 8, after=[chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50 << 20)))]
    ),
}


@pytest.mark.parametrize("name", INFLATED)
def test_metadata_that_inflates_is_passed_over_and_the_image_decoded(name: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(INFLATED[name])
    peak = PeakMemory()
    decoder = Decoder()
    found = decoder.decode(path)
    assert np.array_equal(np.asarray(found.image), picture())
    assert found.done == ("text and profile passed over, since they are too large",)
    assert decoder.size_of(path) == (24, 40)
    assert peak.grown_mib() < 30


@pytest.mark.parametrize("form", ["PPM", "JPEG", "PNG"])
def test_a_header_in_millions_of_pieces_is_given_up(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("navit_edge.decode.files.MOST_READS", 2000)
    jpeg = encoded("JPEG")
    data = {
        "PPM": b"P6 #" + b" " * 3000 + encoded("PPM")[2:],
        "JPEG": jpeg[:2] + b"\xff\xfe\0\3a" * 3000 + jpeg[2:],
        "PNG": png(picture(), 2, 8, before=[chunk(b"prVt", b"")] * 3000),
    }
    path = tmp_path / "photo"
    path.write_bytes(data[form])
    with pytest.raises(ne.InvalidInputError, match="has a header that takes more than 2,000 reads"):
        ne.to_rgb(path)
    path.write_bytes(encoded(form))
    assert ne.to_rgb(path).shape == (24, 40, 3)


METADATA: dict[str, bytes] = {
    "TIFF, a tag of a million strips": tiff(picture(), photometric=2, extra=[(33922, 3, [0] * (MOST_TAG_VALUES + 1))]),
    "TIFF, a tag that claims gigabytes": tiff(picture(), photometric=2).replace(
        struct.pack("<HHL", 279, 4, 1), struct.pack("<HHL", 279, 4, 1 << 30)
    ),
    "PNG, a palette of megabytes": png(picture()[:, :, 0], 3, 8, before=[b"\0\x10\0\0PLTE" + bytes(4 << 18)]),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_would_fill_memory_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(METADATA[name])
    peak = PeakMemory()
    with pytest.raises(ne.InvalidInputError, match=str(path)):
        ne.to_rgb(path)
    assert peak.grown_mib() < 60


def test_a_header_that_lies_costs_its_own_image_alone(tmp_path: Path) -> None:
    """200 million pixels by the header and none behind it, in a process that may take 1 GB: whatever happens there,
    memory refused included, is the image's error."""
    lies = tmp_path / "lies.png"
    header = struct.pack(">IIBBBBB", 16_000, 16_000, 8, 6, 0, 0, 0)
    lies.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))))
    good = tmp_path / "good.png"
    good.write_bytes(encoded("PNG"))
    code = (
        "import resource, sys, navit_edge as ne\n"
        "from navit_edge.pixels import gathered\n"
        "from navit_edge.decode import Decoder\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "given, refused = gathered([sys.argv[1], sys.argv[2], sys.argv[1]], Decoder(), on_error='return')\n"
        "assert list(refused) == [1] and type(refused[1]) is ne.InvalidInputError, refused\n"
        "print(refused[1])"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(good), str(lies)], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert str(lies) in ran.stdout


def test_run_takes_the_limits_on_its_command_line(job_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    (tmp_path / "b.tga").write_bytes(encoded("TGA"))
    command = ["run", str(job_bundle), str(tmp_path / "a.png"), str(tmp_path / "b.tga"), "--json", "-q"]
    rows = CliRunner().invoke(app, [*command, "--max-pixels", "959"]).stdout.splitlines()
    assert "expected at most 959" in rows[0]
    assert "not an image in a format that is decoded" in rows[1]
    assert CliRunner().invoke(app, [*command, "--also-decode", "tga"]).exit_code == 0
    rows = CliRunner().invoke(app, [*command, "--max-file-bytes", "9"]).stdout.splitlines()
    assert all("expected at most 9" in row for row in rows)
    wrong = CliRunner().invoke(app, [*command, "--also-decode", "EPS"])
    assert wrong.exit_code == 2
    assert "never decoded" in " ".join(wrong.stderr.replace("│", " ").split())


WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"max_pixels": 0}, "max_pixels is 0; expected a whole number, 1 and up"),
    ({"max_file_bytes": 1.5}, "max_file_bytes is 1.5"),
    ({"max_frames": True}, "max_frames is True"),
    ({"max_run_bytes": 1 << 63}, "max_run_bytes is"),
    ({"orientation": "exif"}, "orientation is 'exif'; expected one of apply, as-decoded, or None"),
    ({"icc": "Adobe"}, "icc is 'Adobe'; expected one of ignore, srgb, or None"),
    ({"formats": "PNG"}, "formats is 'PNG'; expected a tuple of names"),
    ({"formats": ()}, "formats is empty"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ne.InvalidInputError) as caught:
        ne.DecodeOptions(**options)
    assert message in str(caught.value)


def test_numbers_of_numpy_are_numbers() -> None:
    assert ne.DecodeOptions(max_pixels=np.int64(5)).max_pixels == 5  # type: ignore[arg-type]
