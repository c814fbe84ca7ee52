"""Videos in `navit-edge run`: frames as images, in the colours of the stream. Each video is made here, by PyAV."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.errors import InvalidInputError, MissingPackageError
from navit_edge.run.sources import Name, Sources
from navit_edge.run.video import count_frames, frames, image_of

Array = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 70, 38  # planes of FFmpeg have rows of 96 and 64 bytes for it
runner = CliRunner()


def write_video(path: Path, planes: list[Array], *, codec: str = "ffv1", form: str = "yuv420p", rate: int = 10) -> Path:
    """planes: of each frame, as ``VideoFrame.from_ndarray`` takes them for ``form``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, form
        for values in planes:
            for packet in stream.encode(av.VideoFrame.from_ndarray(values, format=form)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def random_frames(count: int) -> list[Array]:
    rng = np.random.default_rng(5)
    return [rng.integers(16, 236, (HEIGHT * 3 // 2, WIDTH), np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve lossless frames at ten a second."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mkv", random_frames(12))


def test_frames_are_the_planes_that_were_encoded_and_lie_where_ffmpeg_has_put_them(clip: Path) -> None:
    found = list(frames(str(clip)))
    assert [frame.index for frame in found] == list(range(12))
    np.testing.assert_allclose([frame.time_s for frame in found], np.arange(12) / 10, atol=1e-3)
    for frame, planes in zip(found, random_frames(12), strict=True):
        assert isinstance(frame.image, ne.Pixels)
        assert (frame.image.format, frame.image.height_px, frame.image.width_px) == ("i420", HEIGHT, WIDTH)
        np.testing.assert_array_equal(ne.to_rgb(frame.image), ne.to_rgb(ne.Pixels(planes, "i420")))


def test_a_frame_outlives_its_decoder_and_its_planes_are_not_copied() -> None:
    frame = av.VideoFrame.from_ndarray(random_frames(1)[0], format="yuv420p")
    image = image_of(frame)
    before = ne.to_rgb(image)
    view = np.frombuffer(frame.planes[0], np.uint8)
    view[:] = 235  # what the frame holds now is what the image holds
    assert (ne.to_rgb(image) != before).any()
    bright = ne.to_rgb(image)
    del frame, view
    np.testing.assert_array_equal(ne.to_rgb(image), bright)


@pytest.mark.parametrize("colorspace", [1, 5, 6, 2])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_and_range_are_the_streams(colorspace: int, full: bool) -> None:
    """Flat colours, so that chroma needs no interpolation; the oracle is FFmpeg's own conversion (swscale)."""
    for colour in ((90, 240, 30), (200, 90, 180), (128, 60, 210)):
        planes = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        for plane, value in zip(frame.planes, colour, strict=True):
            np.frombuffer(plane, np.uint8)[:] = value
        frame.colorspace, frame.color_range = colorspace, 2 if full else 1
        ours = ne.to_rgb(image_of(frame))
        source = 1 if colorspace == 1 else 5
        oracle = frame.reformat(
            format="rgb24", src_colorspace=source, src_color_range=2 if full else 1, dst_color_range=2
        ).to_ndarray()
        assert np.abs(ours.astype(int) - oracle).max() <= 2


@pytest.mark.parametrize(
    ("form", "ours"),
    [("nv12", "nv12"), ("rgb24", "rgb"), ("bgr24", "bgr"), ("rgba", "rgba"), ("bgra", "bgra"), ("bgr0", "bgrx")],
)
def test_formats_whose_bytes_we_read_are_borrowed(form: str, ours: str) -> None:
    rng = np.random.default_rng(1)
    frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), format="rgb24")
    frame = frame.reformat(format=form)
    image = image_of(frame)
    assert isinstance(image, ne.Pixels)
    assert image.format == ours
    if ours != "nv12":
        np.testing.assert_array_equal(ne.to_rgb(image), frame.to_ndarray(format="rgb24"))
    else:
        planar = image_of(frame.reformat(format="yuv420p"))
        np.testing.assert_array_equal(ne.to_rgb(image), ne.to_rgb(planar))


@pytest.mark.parametrize("form", ["yuv444p", "yuv422p10le", "gray"])
def test_other_formats_become_rgb_by_ffmpeg(form: str) -> None:
    rng = np.random.default_rng(1)
    frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), format="rgb24")
    frame = frame.reformat(format=form)
    image = image_of(frame)
    assert isinstance(image, np.ndarray) or form == "gray"
    assert ne.to_rgb(image).shape == (HEIGHT, WIDTH, 3)


def indices(path: Path, **options: Any) -> list[int]:
    return [frame.index for frame in frames(str(path), **options)]


def test_every_and_fps_choose_frames_by_place_and_by_time(clip: Path) -> None:
    assert indices(clip, every=5) == [0, 5, 10]
    assert indices(clip, fps=10) == indices(clip, fps=25) == list(range(12))
    assert indices(clip, fps=3) == [0, 3, 6, 10]  # what is shown at 0, 1/3, 2/3, 1 second
    assert indices(clip, fps=0.5) == [0]
    assert count_frames(str(clip), every=5) == 3
    assert count_frames(str(clip), fps=3) == 4


def test_frames_of_varying_duration_are_chosen_by_their_times(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "varying.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for values, time_ms in zip(random_frames(6), (500, 510, 520, 1600, 1700, 2600), strict=True):
            frame = av.VideoFrame.from_ndarray(values, format="yuv420p")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert indices(tmp_path / "varying.mkv", fps=1) == [0, 2, 4]  # shown at 0, 1 and 2 s: of 0 ms, 20 ms, 1200 ms


@pytest.mark.parametrize(("form", "damage"), [("mkv", "zeros"), ("mkv", "cut off"), ("mp4", "zeros")])
def test_a_damaged_video_gives_the_frames_up_to_there_and_then_its_error(
    form: str, damage: str, tmp_path: Path
) -> None:
    """FFmpeg itself ends a Matroska file that is cut off, and skips over a hole in it, without an error."""
    path = write_video(tmp_path / f"clip.{form}", random_frames(12), codec="ffv1" if form == "mkv" else "libx264")
    whole = [ne.to_rgb(frame.image) for frame in frames(str(path))]
    content = path.read_bytes()
    middle = len(content) // 2
    rest = bytes(4000) + content[middle + 4000 :] if damage == "zeros" else b""
    path.write_bytes(content[:middle] + rest)
    *good, bad = Sources(arguments=[str(path)]).items()
    assert 4 <= len(good) < 12
    for place, item in enumerate(good[:4]):
        assert item.name == Name(str(path), place)
        assert item.image is not None
        np.testing.assert_array_equal(ne.to_rgb(item.image), whole[place])
    assert bad.name == Name(str(path))
    assert ("cannot be decoded after frame" if form == "mp4" else "its header says 1.2 s") in str(bad.error)


@pytest.mark.parametrize("content", [b"", b"no video", bytes(5000)])
def test_what_is_no_video_is_an_error_of_its_own(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"cannot be decoded|is an empty file"):
        list(frames(str(path)))
    with pytest.raises(InvalidInputError, match="no such file; expected a video"):
        list(frames(str(tmp_path / "gone.mp4")))
    assert count_frames(str(path)) == 1  # its error


def test_without_pyav_a_video_is_refused_with_the_remedy(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r'pip install "navit-edge\[run\]"'):
        list(Sources(arguments=[str(clip)]).items())


def test_a_run_over_a_video_gives_what_the_session_gives_for_its_frames(
    clip: Path, job_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    arguments = ["run", job_bundle, clip, tmp_path / "bad.mp4", "--every", 5, "--json", "--save", "embedding"]
    done = runner.invoke(app, [*map(str, arguments)])
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["file"], row.get("frame"), row.get("time_s")) for row in rows] == [
        (str(clip), 0, 0.0), (str(clip), 5, 0.5), (str(clip), 10, 1.0), (str(tmp_path / "bad.mp4"), None, None)
    ]  # fmt: skip
    assert "cannot be decoded" in rows[-1]["error"]
    with ne.Session(job_bundle) as session:
        for row in rows[:3]:
            (result,) = session.run([ne.Pixels(random_frames(12)[row["frame"]], "i420")])
            assert result.embedding is not None
            np.testing.assert_allclose(row["embedding"], result.embedding, atol=1e-5)
