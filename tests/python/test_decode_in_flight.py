"""How many bytes of pixels runs and streams decode ahead and hold."""

from __future__ import annotations

import io
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import encoded
from PIL import Image

import navit_edge as ne
from navit_edge.decode import deferred
from navit_edge.decode.decoder import Opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve of 64 x 64 pixels, 16 KiB each when Pillow decodes them; the sixth is none."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(12):
        (folder / f"{number:02}.bmp").write_bytes(encoded("BMP", np.full((64, 64, 3), 20 * number, np.uint8)))
    (folder / "05.bmp").write_bytes(b"no image")
    return sorted(folder.iterdir())


KIB = 1 << 10


@pytest.mark.parametrize(("most_kib", "decoders", "held_kib"), [(40, 1, 40), (40, 4, 40), (1, 1, 16), (1, 4, 16)])
def test_a_stream_holds_no_more_pixels_than_it_may_from_decoding_until_they_are_read(
    files: list[Path], job_bundle: Path, monkeypatch: pytest.MonkeyPatch, most_kib: int, decoders: int, held_kib: int
) -> None:
    """One image is always let in."""
    held, most_held = 0, 0
    lock = threading.Lock()
    decode, given_by = Opened.decode, deferred.given_by

    def count(more: int) -> None:
        nonlocal held, most_held
        with lock:
            held += more
            most_held = max(most_held, held)

    def counted(opened: Opened) -> Any:
        count(opened.pixel_bytes)
        return decode(opened)

    def given(decoded: Any) -> Any:
        found = given_by(decoded)
        weakref.finalize(found.pixels, count, -found.new_bytes)
        return found

    monkeypatch.setattr(Opened, "decode", counted)
    monkeypatch.setattr(deferred, "given_by", given)
    limits = ne.DecodeOptions(max_bytes_in_flight=most_kib * KIB)
    with ne.Session(job_bundle, threads=1, decode=limits, decoders=decoders, batch_wait_ms=50) as session:
        results = list(session.stream([path for path in files if path.stem != "05"]))
    assert [result.index for result in results] == list(range(11))
    assert 16 * KIB <= most_held <= held_kib * KIB


@pytest.fixture(scope="module")
def small_session(job_bundle: Path) -> Iterator[ne.Session]:
    limits = ne.DecodeOptions(max_bytes_in_flight=20 * KIB, max_run_bytes=40 * KIB)
    with ne.Session(job_bundle, threads=1, decode=limits) as opened:
        yield opened


def test_a_stream_of_more_than_fits_gives_every_result_in_order(small_session: ne.Session, files: list[Path]) -> None:
    plain = [small_session.run([path], on_error="return")[0].logits for path in files]
    results = list(small_session.stream(files))
    assert [result.index for result in results] == list(range(12))
    assert [result.error is not None for result in results] == [index == 5 for index in range(12)]
    for result, expected in zip(results, plain, strict=True):
        assert expected is None or np.abs(result.logits - expected).max() <= 1e-5


def test_a_run_of_more_than_one_call_may_hold_says_to_stream(small_session: ne.Session, files: list[Path]) -> None:
    assert len(small_session.run(files[:2])) == 2
    message = r"12 images: the first 3 take more than 40,960 bytes .*session\.stream\(images\).*max_run_bytes"
    with pytest.raises(ne.InvalidInputError, match=message):
        small_session.run(files, on_error="return")
    with pytest.raises(ne.InvalidInputError, match="the first 3 take more"):
        small_session.run([Image.open(io.BytesIO(path.read_bytes())) for path in files[:4]])
    pictures = [Image.fromarray(np.zeros((64, 64, 3), np.uint8)) for _ in range(4)]
    assert len(small_session.run(pictures)) == 4  # they are there already
