"""Which files are decoded: formats by content, added and left out; what starts a program or blocks is never opened."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from image_files import WRITTEN, encoded, picture
from PIL import Image

import navit_edge as ne
from navit_edge.decode import FORMATS
from navit_edge.decode.formats import NEVER

GOOD = picture()


# --- what is never decoded --------------------------------------------------------------------------------------


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program gs, first on PATH; the file that it makes when somebody runs it."""
    program, ran = tmp_path / "bin" / "gs", tmp_path / "ran"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho x >> {ran}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return ran


def test_no_file_starts_a_program(tmp_path: Path, ghostscript: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(GOOD).save(buffer, "EPS")
    path = tmp_path / "photo.jpg"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ne.InvalidInputError, match=r"PostScript \(EPS\), not an image in a format that is decoded"):
        ne.to_rgb(path)
    refused = r"image \(.*photo\.jpg\) is EPS, a PostScript program.*never decoded"
    with Image.open(path) as image, pytest.raises(ne.InvalidInputError, match=refused):
        ne.to_rgb(image)  # the caller's own Image.open let it through; its load would run gs
    assert not ghostscript.exists()


@pytest.mark.parametrize("form", NEVER)
def test_interpreters_are_not_decoded_even_if_asked_for(form: str) -> None:
    with pytest.raises(ne.InvalidInputError, match=f"formats names {form}, .*never decoded"):
        ne.DecodeOptions(formats=(*FORMATS, form.lower()))


def test_formats_can_be_added_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"  # found by what it holds
    path.write_bytes(encoded("TGA"))
    with pytest.raises(ne.InvalidInputError, match="not an image in a format that is decoded"):
        ne.to_rgb(path)
    assert np.array_equal(ne.to_rgb(path, decode=ne.DecodeOptions(formats=("tga",))), GOOD)
    path.write_bytes(encoded("PNG"))
    with pytest.raises(ne.InvalidInputError, match=r"format that is decoded \(TGA\)"):
        ne.to_rgb(path, decode=ne.DecodeOptions(formats=("TGA",)))
    with pytest.raises(ne.InvalidInputError, match=r"formats names XYZ, which Pillow does not know; known: .*TGA"):
        ne.DecodeOptions(formats=("XYZ",))


OTHER_CONTENTS = {
    "an HTML page": b"<!DOCTYPE html><html>404</html>",
    "a PDF": b"%PDF-1.7",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "text (JSON?)": b'{"error": "not found"}',
    "an empty file": b"",
    "JPEG XL": b"\xff\x0a" + bytes(64),
    "an ISO media file (MP4, MOV)": b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + bytes(64),
}


@pytest.mark.parametrize("what", OTHER_CONTENTS)
def test_a_file_that_is_something_else_is_named_for_what_it_is(tmp_path: Path, what: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(OTHER_CONTENTS[what])
    with pytest.raises(ne.InvalidInputError) as caught:
        ne.to_rgb(path)
    assert what in str(caught.value)


def test_heic_is_decoded_by_pillow_heif_and_pillows_registry_is_left_alone(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.jpg"
    with path.open("wb") as file:
        pillow_heif.from_pillow(Image.fromarray(picture(48, 64))).save(file, quality=95)
    expected = np.asarray(pillow_heif.open_heif(path).to_pillow().convert("RGB"))
    assert np.array_equal(ne.to_rgb(path), expected)
    assert np.abs(expected.astype(int) - picture(48, 64)).mean() < 8
    assert "HEIF" not in Image.OPEN


def test_heic_without_pillow_heif_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("navit_edge.decode.formats.find_spec", lambda name: None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(99))
    with pytest.raises(ne.InvalidInputError, match=r"photo\.heic is HEIC .*pip install pillow-heif"):
        ne.to_rgb(path)


def test_many_threads_may_decode_the_first_image_of_a_process(tmp_path: Path) -> None:
    for form in WRITTEN:
        (tmp_path / form).write_bytes(encoded(form))
    code = (
        "import sys, pathlib, concurrent.futures as f; import navit_edge as ne\n"
        "files = sorted(pathlib.Path(sys.argv[1]).iterdir()) * 4\n"
        "assert {a.shape for a in f.ThreadPoolExecutor(8).map(ne.to_rgb, files)} == {(24, 40, 3)}"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


# --- what is no regular file ------------------------------------------------------------------------------------


def test_what_could_block_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # paths of sockets are short
        server.bind("socket.jpg")
    kinds = {"pipe.jpg": "pipe", "socket.jpg": "socket", "/dev/zero": "device", ".": "folder"}
    done = threading.Event()

    def refuse_all() -> None:
        for name, kind in kinds.items():
            with pytest.raises(ne.InvalidInputError, match=f"is a {kind}.*expected an image file"):
                ne.to_rgb(tmp_path / name)
        done.set()

    thread = threading.Thread(target=refuse_all, daemon=True)
    thread.start()
    thread.join(120)
    assert done.is_set()


def test_a_path_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    for path, reason in ((loop, "symbolic links"), ("nul\0.jpg", "null"), (tmp_path / ("x" * 300), "too long")):
        with pytest.raises(ne.InvalidInputError, match=f"cannot be opened .*{reason}"):
            ne.to_rgb(path)
