"""Films that want more than they may have: memory, other files, the network, time for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import av
import pytest
from films import box, boxes, gray_levels, write_film
from PIL import Image

from navit_edge.decode import DecodeOptions, Decoder
from navit_edge.errors import InvalidInputError
from navit_edge.run.media import is_video, pieces
from navit_edge.run.sources import Sources
from navit_edge.run.video import frames

LEVELS = gray_levels(10)


def refusal(path: Path) -> str:
    """The error in place of the first frame."""
    with pytest.raises(InvalidInputError) as refused:
        next(frames(str(path)))
    return str(refused.value)


def test_too_many_pixels_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mp4", LEVELS[:2], size=(96, 128))
    decoder = Decoder(DecodeOptions(max_pixels=96 * 128 - 1))
    with pytest.raises(InvalidInputError, match=r"is 96x128 pixels.*expected at most 12,287"):
        list(frames(str(path), decoder=decoder))
    assert len(list(frames(str(path), decoder=Decoder(DecodeOptions(max_pixels=96 * 128))))) == 2


def test_a_header_that_lies_about_the_size_takes_no_memory(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mp4", LEVELS[:3], size=(480, 640))
    data = path.read_bytes()
    stated = (640).to_bytes(2, "big") + (480).to_bytes(2, "big")
    assert data.count(stated) == 1  # of the sample entry
    path.write_bytes(data.replace(stated, (16).to_bytes(2, "big") * 2))
    with pytest.raises(InvalidInputError, match=r"v\.mp4"):
        list(frames(str(path), decoder=Decoder(DecodeOptions(max_pixels=100_000))))
    assert len(list(frames(str(path)))) == 3


def patched(path: Path, values: dict[bytes, tuple[int, int]]) -> None:
    """Box -> at which byte of its content which number of 32 bits is written."""
    data = bytearray(path.read_bytes())
    for kind, (place, value) in values.items():
        start = data.index(kind) + 4 + place
        data[start : start + 4] = value.to_bytes(4, "big")
    path.write_bytes(data)


def test_tables_that_count_a_billion_samples_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """A file of two kilobytes took four gigabytes."""
    path = write_film(tmp_path / "v.mp4", LEVELS)
    many = 1 << 30
    patched(path, {b"stsz": (4, 1), b"stts": (8, many), b"stsc": (12, many)})
    patched(path, {b"stsz": (8, many)})
    assert "1,073,741,824 samples in its tables; expected at most 8,000,000" in refusal(path)
    fragments = write_film(tmp_path / "f.mp4", LEVELS, fragmented=True)
    assert len(list(frames(str(fragments)))) == 10
    patched(fragments, {b"trun": (4, many)})
    assert "1,073,741,8" in refusal(fragments)
    edited = write_film(tmp_path / "e.mp4", LEVELS)
    patched(edited, {b"elst": (4, many)})
    assert "1,073,741,824 edits of 10 samples" in refusal(edited)


LISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{secret}'\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT1S">'
    "<Period><AdaptationSet><Representation><BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_playlist_is_never_followed(kind: str, tmp_path: Path) -> None:
    secret = write_film(tmp_path / "secret.ts", LEVELS[:3])
    path = tmp_path / "v.mp4"
    path.write_text(LISTS[kind].format(secret=secret))
    assert "cannot be decoded" in refusal(path)


@pytest.mark.parametrize(
    "name",
    ["concat:secret.mp4", "file:secret.mp4", "subfile,,start,0,end,0,,:secret.mp4", "pipe:0", "http://127.0.0.1:9/v.mp4",
     "rtsp://127.0.0.1:9/v.mp4", "data:video/mp4;base64,AAAA.mp4", "async:secret.mp4"],
)  # fmt: skip
def test_a_name_is_a_file_and_never_an_address(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "secret.mp4", LEVELS[:3])
    with pytest.raises(InvalidInputError, match="no such file; expected a video"):
        list(frames(name))
    if "/" not in name:
        os.rename(tmp_path / "secret.mp4", tmp_path / name)
        assert len(list(frames(name))) == 3


def test_what_could_wait_for_ever_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "v.mp4")
    opened: list[object] = []
    waiting = threading.Thread(
        target=lambda: opened.extend(pieces(str(tmp_path / "v.mp4"), every=1, fps=0)), daemon=True
    )
    waiting.start()
    waiting.join(60)
    assert not waiting.is_alive()
    (piece,) = opened
    assert "is a pipe" in str(piece.error)  # type: ignore[attr-defined]


def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path: Path) -> None:
    data = write_film(tmp_path / "v.mp4", LEVELS[:2]).read_bytes()
    (tmp_path / "film.jpg").write_bytes(data)
    Image.new("RGB", (40, 24), "red").save(tmp_path / "photo.png")
    os.rename(tmp_path / "photo.png", tmp_path / "photo.mp4")
    Image.new("RGB", (40, 24), "red").save(tmp_path / "p.avif")
    assert [is_video(str(tmp_path / name)) for name in ("v.mp4", "film.jpg", "photo.mp4", "p.avif")] == [
        True, True, False, False
    ]  # fmt: skip
    items = list(Sources(arguments=[str(tmp_path / "film.jpg"), str(tmp_path / "photo.mp4")]).items())
    assert [(Path(item.name.file).name, item.name.frame) for item in items] == [
        ("film.jpg", 0), ("film.jpg", 1), ("photo.mp4", None)
    ]  # fmt: skip


def test_python_ends_while_a_damaged_film_is_open(tmp_path: Path) -> None:
    """FFmpeg's threads log errors through PyAV, which takes Python's lock for it; freeing a decoder waits for them."""
    path = write_film(tmp_path / "v.mp4", LEVELS * 4, options={"g": "1"})
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for at, size in places[3:]:
        data[at + 8 : at + size] = b"\xff" * (size - 8)
    path.write_bytes(data)
    code = (
        "import sys; from navit_edge.run.video import frames\n"
        "for _ in range(20): held = frames(sys.argv[1]); next(held)\n"
        "sys.stdout.write('ends')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ends")


def test_a_compressed_header_is_looked_into(tmp_path: Path) -> None:
    """As QuickTime writes them: the tables of a billion samples, and a header that inflates to gigabytes."""
    path = write_film(tmp_path / "v.mov", LEVELS)
    data = path.read_bytes()
    kind, start, end = boxes(data)[-1]
    assert kind == b"moov"

    def compressed(header: bytes) -> bytes:
        packed = box(b"cmvd", len(header).to_bytes(4, "big") + zlib.compress(header))
        return data[:start] + box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + packed))

    path.write_bytes(compressed(data[start:end]))
    assert len(list(frames(str(path)))) == 10
    many = bytearray(data[start:end])
    place = many.index(b"stsz") + 12
    many[place : place + 4] = (1 << 30).to_bytes(4, "big")
    path.write_bytes(compressed(bytes(many)))
    assert "1,073,741,824 samples" in refusal(path)
    path.write_bytes(compressed(bytes(100 << 20)))
    assert "a compressed header of more than 67,108,864 bytes" in refusal(path)


def test_a_film_that_is_passed_over_ends_when_the_job_does(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mp4", LEVELS)
    asked: list[None] = []

    def stopped() -> bool:
        asked.append(None)
        return len(asked) > 5

    assert [piece.frame for piece in pieces(str(path), every=1000, fps=0, stopped=stopped)] == [0]
    assert len(asked) == 7  # once more at the end, so that there is no error of frames that are missing
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert list(Sources(arguments=[str(path)]).items(reader)) == []
    os.close(reader)
    os.close(writer)


def test_typescript_is_no_video(tmp_path: Path) -> None:
    write_film(tmp_path / "b.ts", LEVELS[:2])
    (tmp_path / "a.ts").write_text("export const a = 1;\n" * 100)
    sources = Sources(arguments=[str(tmp_path)])
    assert [Path(item.name.file).name for item in sources.items()] == ["b.ts", "b.ts"]
    assert sources.skipped == {".ts": 1}
