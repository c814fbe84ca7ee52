"""Animations and files of several pages in `navit-edge run`: their frames, by the decoder of images."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageSequence, TiffImagePlugin
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.decode import DecodeOptions, Decoder
from navit_edge.pixels import Given
from navit_edge.run.media import count, pieces
from navit_edge.run.piece import Piece
from navit_edge.run.sources import Sources

runner = CliRunner()
SIZE = (40, 24)
#: Format -> how Pillow writes an animation of it without a loss.
ANIMATED: dict[str, dict[str, Any]] = {
    "GIF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "speed": 10, "subsampling": "4:4:4"},
}
PAGED: dict[str, dict[str, Any]] = {"TIFF": {}, "MPO": {"quality": 95}}
DURATIONS_MS = [100, 200, 300, 400, 100]


def pictures(number: int = 5) -> list[Image.Image]:
    """A square of gray that moves over a ground that stays, so that frames build on each other."""
    made = []
    for place in range(number):
        values = np.full((SIZE[1], SIZE[0], 3), 64, np.uint8)
        values[4:12, 6 * place : 6 * place + 8] = 200 - 20 * place
        made.append(Image.fromarray(values))
    return made


def write(path: Path, form: str, images: list[Image.Image], **options: Any) -> Path:
    known = ANIMATED | PAGED
    if form == "MPO":  # of which Pillow writes no more right
        images = images[:3]
    images[0].save(path, form, save_all=True, append_images=images[1:], **(known[form] | options))
    return path


def found(path: Path, *, every: int | None = None, fps: float = 0.0, **options: Any) -> list[Piece]:
    return list(pieces(str(path), every=every, fps=fps, **options))


def rgb(piece: Piece) -> npt.NDArray[np.uint8]:
    assert isinstance(piece.image, Given)
    return ne.to_rgb(piece.image.pixels, alpha="composite")


@pytest.mark.parametrize("form", [*ANIMATED, *PAGED])
def test_every_frame_is_what_pillow_composes_for_it(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form, pictures())
    with Image.open(path) as image:
        expected = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    seen = found(path, every=1)
    assert [piece.frame for piece in seen] == list(range(3 if form == "MPO" else 5))
    for piece, values, drawn in zip(seen, expected, pictures(), strict=False):
        np.testing.assert_array_equal(rgb(piece), values)
        assert np.abs(rgb(piece).astype(int) - np.asarray(drawn)).mean() < 3
    assert [piece.frame for piece in found(path, every=2)] == list(range(0, len(seen), 2))
    for piece, values in zip(found(path, every=2), expected[::2], strict=True):
        np.testing.assert_array_equal(rgb(piece), values)


@pytest.mark.parametrize("form", [*ANIMATED, *PAGED])
def test_without_being_asked_for_frames_it_is_one_image_and_that_is_said(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form, pictures())
    assert found(path) == [Piece(image=str(path))]
    assert "first of" in "; ".join(Decoder().decode(path).done)


@pytest.mark.parametrize("form", ANIMATED)
def test_frames_are_shown_for_their_own_durations(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form, pictures(), duration=DURATIONS_MS)
    seen = found(path, every=1)
    assert [piece.time_s for piece in seen] == [0, 0.1, 0.3, 0.6, 1.0]
    assert [piece.frame for piece in found(path, fps=2)] == [0, 2, 4]  # shown at 0, 0.5 and 1 s
    assert [piece.frame for piece in found(path, fps=1000)] == [0, 1, 2, 3, 4]
    assert [piece.time_s for piece in found(path, fps=2)] == [0, 0.3, 1.0]


def test_a_frame_of_no_duration_is_shown_as_browsers_show_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "GIF", pictures(), duration=[0, 10, 20, 100, 100])
    assert [piece.time_s for piece in found(path, every=1)] == [0, 0.1, 0.2, 0.22, 0.32]


@pytest.mark.parametrize("form", PAGED)
def test_pages_have_no_times_and_fps_takes_the_first(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form, pictures())
    assert {piece.time_s for piece in found(path, every=1)} == {None}
    assert found(path, fps=10) == [Piece(image=str(path))]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_file_of_one_frame_is_one_image_whatever_is_asked_for(form: str, tmp_path: Path) -> None:
    pictures(1)[0].save(tmp_path / "a", form)
    for options in ({"every": 1}, {"every": 7}, {"fps": 3.0}):
        assert found(tmp_path / "a", **options) == [Piece(image=str(tmp_path / "a"))]


def test_transparency_of_frames_goes_through_the_models_rule(tmp_path: Path) -> None:
    clear = []
    for image in pictures():
        image.putalpha(Image.fromarray((np.asarray(image)[:, :, 0] > 100).astype(np.uint8) * 255))
        clear.append(image)
    for form in ("PNG", "WEBP", "GIF"):
        path = write(tmp_path / form, form, clear, disposal=2)
        for piece, image in zip(found(path, every=1), clear, strict=True):
            expected = Image.alpha_composite(Image.new("RGBA", SIZE, "white"), image).convert("RGB")
            np.testing.assert_allclose(rgb(piece).astype(int), np.asarray(expected), atol=1)
            assert isinstance(piece.image, Given)
            assert "alpha" in piece.image.done


def test_each_page_is_turned_reduced_and_named_as_an_image_of_its_own(tmp_path: Path) -> None:
    deep = Image.fromarray(np.linspace(0, 65535, 40 * 24).reshape(24, 40).astype(np.uint16))
    turned = TiffImagePlugin.ImageFileDirectory_v2()
    turned[274] = 6
    plain = pictures(1)[0]
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), True) as target:
        for image, info in ((plain, None), (deep, None), (plain, turned)):
            image.save(target, "TIFF", **({"tiffinfo": info} if info else {}))
            target.newFrame()
    seen = found(tmp_path / "a.tif", every=1)
    assert [rgb(piece).shape for piece in seen] == [(24, 40, 3), (24, 40, 3), (40, 24, 3)]
    assert [piece.image.done for piece in seen if isinstance(piece.image, Given)] == [
        "", "16 bits reduced to 8", "turned upright (orientation 6)"
    ]  # fmt: skip
    np.testing.assert_array_equal(rgb(seen[2]), np.rot90(rgb(seen[0]), -1))


def test_a_page_that_cannot_be_decoded_is_an_error_of_its_own(tmp_path: Path) -> None:
    signed = Image.fromarray(np.arange(40 * 24).reshape(24, 40).astype(np.int32))
    first, last = pictures(2)
    write(tmp_path / "a.tif", "TIFF", [first, signed, last])
    seen = found(tmp_path / "a.tif", every=1)
    assert [(piece.frame, piece.error is None) for piece in seen] == [(0, True), (1, False), (2, True)]
    assert str(seen[1].error).startswith(f"{tmp_path / 'a.tif'}, frame 1")
    np.testing.assert_array_equal(rgb(seen[2]), np.asarray(last))


def test_smaller_copies_of_pages_are_no_pages(tmp_path: Path) -> None:
    """As pyramids have them (TIFF's NewSubfileType 1), and masks (4)."""
    kinds = [0, 1, 4, 2]
    infos = []
    for kind in kinds:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[254] = kind
        infos.append(info)
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), True) as target:
        for image, info in zip(pictures(4), infos, strict=True):
            image.save(target, "TIFF", tiffinfo=info)
            target.newFrame()
    assert [piece.frame for piece in found(tmp_path / "a.tif", every=1)] == [0, 3]


def test_large_thumbnails_beside_a_photo_are_no_pictures_of_their_own(tmp_path: Path) -> None:
    """As cameras write them into MPO files: type 010002 of the MP attributes (CIPA DC-007)."""
    path = write(tmp_path / "a.mpo", "MPO", pictures(2))
    assert [piece.frame for piece in found(path, every=1)] == [0, 1]
    data = bytearray(path.read_bytes())
    header = data.index(b"MPF\0") + 4
    order = "<" if data[header : header + 2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}L", data, header + 4)
    (tags,) = struct.unpack_from(f"{order}H", data, header + start)
    for place in range(header + start + 2, header + start + 2 + 12 * tags, 12):
        tag, _, _, offset = struct.unpack_from(f"{order}HHLL", data, place)
        if tag == 0xB002:
            struct.pack_into(f"{order}L", data, header + offset + 16, 0x010002)
    path.write_bytes(data)
    assert [piece.frame for piece in found(path, every=1)] == [0]


def test_an_apngs_picture_for_programs_without_animations_is_no_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", "PNG", pictures(), default_image=True)
    seen = found(path, every=1)
    assert [piece.frame for piece in seen] == [0, 1, 2, 3]
    np.testing.assert_array_equal(rgb(seen[0]), np.asarray(pictures()[1]))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("part", [0.5, 0.8, 0.97])
def test_half_a_file_gives_its_frames_and_then_where_it_stopped(form: str, part: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    images = [Image.fromarray(rng.integers(0, 256, (24, 40, 3), np.uint8)) for _ in range(6)]
    path = write(tmp_path / "a", form, images)
    assert all(piece.error is None for piece in found(path, every=1))
    whole = [rgb(piece) for piece in found(path, every=1)]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    seen = found(path, every=1)
    good = [piece for piece in seen if piece.error is None]
    bad = [piece for piece in seen if piece.error is not None]
    assert bad
    assert all(str(piece.error).startswith(str(path)) for piece in bad)
    if form in ("GIF", "PNG", "WEBP"):
        assert len(good) >= 2
        assert len(bad) == 1
        assert seen[-1] is bad[0]
        assert bad[0].frame is None
    for piece in good:
        assert piece.frame is not None
        np.testing.assert_array_equal(rgb(piece), whole[piece.frame])


def test_limits_hold_for_every_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "TIFF", [pictures(1)[0], Image.new("RGB", (400, 400)), pictures(1)[0]])
    decoder = Decoder(DecodeOptions(max_pixels=10_000))
    seen = found(path, every=1, decoder=decoder)
    assert seen[0].error is None
    assert "160,000 in all; expected at most 10,000" in str(seen[1].error)
    gif = write(tmp_path / "a.gif", "GIF", pictures())
    seen = found(gif, every=1, decoder=Decoder(DecodeOptions(max_frames=3)))
    assert [piece.frame for piece in seen] == [0, 1, 2, None]
    assert "has more than 3 frames" in str(seen[-1].error)


def test_a_later_page_with_a_tag_of_millions_of_numbers_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "TIFF", pictures(2))
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<L", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<L", data, first + 2 + 12 * entries)
    struct.pack_into("<L", data, second + 2 + 4, 1 << 30)
    path.write_bytes(data)
    seen = found(path, every=1)
    assert seen[0].error is None
    assert "TIFF tag" in str(seen[-1].error)


def test_pages_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", "TIFF", pictures(3))
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<L", data, 4)
    place = first
    for _ in range(2):
        (entries,) = struct.unpack_from("<H", data, place)
        link = place + 2 + 12 * entries
        (place,) = struct.unpack_from("<L", data, link)
    (entries,) = struct.unpack_from("<H", data, place)
    struct.pack_into("<L", data, place + 2 + 12 * entries, first)
    path.write_bytes(data)
    assert [piece.frame for piece in found(path, every=1)][:3] == [0, 1, 2]


def test_a_job_over_animations_gives_what_the_session_gives_for_their_frames(job_bundle: Path, tmp_path: Path) -> None:
    gif = write(tmp_path / "a.gif", "GIF", pictures(), duration=100)
    still = tmp_path / "b.png"
    pictures(1)[0].save(still)
    arguments = ["run", job_bundle, gif, still, "--every", 2, "--json", "--save", "embedding"]
    done = runner.invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(Path(row["file"]).name, row.get("frame"), row.get("time_s")) for row in rows] == [
        ("a.gif", 0, 0.0), ("a.gif", 2, 0.2), ("a.gif", 4, 0.4), ("b.png", None, None)
    ]  # fmt: skip
    with ne.Session(job_bundle) as session:
        for row in rows[:3]:
            (result,) = session.run([np.asarray(pictures()[row["frame"]])])
            assert result.embedding is not None
            np.testing.assert_allclose(row["embedding"], result.embedding, atol=1e-5)
    one = runner.invoke(app, ["run", str(job_bundle), str(gif), "--json"])
    (row,) = [json.loads(line) for line in one.stdout.splitlines()]
    assert "frame" not in row
    assert "the first of several frames" in row["reason"]


@pytest.mark.parametrize("form", [*ANIMATED, *PAGED])
def test_the_count_is_that_of_the_header_or_left_open(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", form, pictures())
    said = count(str(path), every=2, fps=0)
    assert said == (None if form in ("GIF", "TIFF") else 2 if form == "MPO" else 3)
    assert count(str(path), every=None, fps=0) == 1
    assert Sources(arguments=[str(path)], every=2).count() == said


def test_frames_stay_what_they_are_when_the_next_is_decoded(tmp_path: Path) -> None:
    """Pillow decodes into the same memory."""
    for form in ANIMATED | PAGED:
        path = write(tmp_path / form, form, pictures())
        held = found(path, every=1)
        again = [rgb(piece).copy() for piece in pieces(str(path), every=1, fps=0)]
        for piece, values in zip(held, again, strict=True):
            np.testing.assert_array_equal(rgb(piece), values)
        assert len({rgb(piece).tobytes() for piece in held}) == len(held)


def test_heic_of_several_pictures_has_them_all(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    file = heif.from_pillow(pictures()[0])
    for image in pictures()[1:3]:
        file.add_from_pillow(image)
    buffer = io.BytesIO()
    try:
        file.save(buffer, quality=90)
    except RuntimeError:
        pytest.skip("this libheif does not encode HEVC")
    (tmp_path / "a.heic").write_bytes(buffer.getvalue())
    seen = found(tmp_path / "a.heic", every=1)
    assert [piece.frame for piece in seen] == [0, 1, 2]
    for piece, image in zip(seen, pictures(), strict=False):
        assert np.abs(rgb(piece).astype(int) - np.asarray(image)).mean() < 6
