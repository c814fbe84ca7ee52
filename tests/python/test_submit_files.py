"""Image files that are submitted: decoded by the session's threads, through Python and through the C interface."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import png_cases
import pytest
from both_decoders import oriented
from image_files import encoded, picture
from PIL import Image
from test_decode_jpeg import cases

import navit_edge as ne
from navit_edge import _core
from navit_edge.bundle import manifest as manifests
from navit_edge.decode import DecodeOptions, Decoder, jpeg, png
from navit_edge.decode.deferred import Deferred
from navit_edge.pixels import given_by

RGB = picture(90, 140)


@pytest.fixture(scope="module")
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32", decoders=2) as opened:
        yield opened


def close(one: ne.Result, other: ne.Result) -> None:
    """But for the packs they were in."""
    assert (one.error, one.grid, one.pixels, one.decoding) == (None, other.grid, other.pixels, other.decoding)
    assert one.logits is not None
    assert other.logits is not None
    np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=1e-5)


class Held:
    """While it is entered, whoever decodes waits until ``go_on`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        original = Deferred.decode

        def decode(one: Deferred) -> Any:
            self.begun.set()
            assert self.go_on.wait(60)
            return original(one)

        monkeypatch.setattr(Deferred, "decode", decode)


def test_every_kind_of_file_gives_what_run_gives(session: ne.Session, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[274] = 6
    files: dict[str, bytes] = {
        "plain.jpg": encoded("JPEG", RGB),
        "turned.jpg": encoded("JPEG", RGB, exif=turned.tobytes()),
        "cmyk.jpg": encoded("JPEG", Image.fromarray(RGB).convert("CMYK")),
        "plain.png": encoded("PNG", RGB),
        "plain.webp": encoded("WEBP", RGB),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in files]
    expected = session.run(paths)
    ways: list[list[Any]] = [paths, [str(path) for path in paths], list(files.values()),
                             [bytearray(data) for data in files.values()],
                             [io.BytesIO(data) for data in files.values()]]  # fmt: skip
    for images in ways:
        futures = [session.submit(image, tag=place) for place, image in enumerate(images)]
        for place, (future, want) in enumerate(zip(futures, expected, strict=True)):
            result = future.result(60)
            assert result.tag == place
            close(result, want)
        for found, want in zip(session.stream(list(images)) if images is not ways[-1] else [], expected, strict=False):
            close(found, want)


def test_submit_returns_before_its_file_is_decoded(
    session: ne.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG", RGB))
    held = Held(monkeypatch)
    future = session.submit(tmp_path / "a.jpg")
    assert held.begun.wait(60)
    assert not future.done()
    assert session.submit(RGB).result(60).error is None
    assert future.cancel()
    held.go_on.set()
    with pytest.raises(ne.CancelledError):
        future.result(60)
    session.drain(60)


def test_closing_fails_what_waits_and_returns_when_the_decoder_does(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    session = ne.Session(tiny_bundle, precision="fp32", decoders=1)
    futures = [session.submit(encoded("JPEG", RGB)) for _ in range(4)]
    assert held.begun.wait(60)
    closing = threading.Thread(target=session.close)
    closing.start()
    for future in futures:
        assert isinstance(future.exception(60), ne.CancelledError)
    assert closing.is_alive()
    held.go_on.set()
    closing.join(60)
    assert not closing.is_alive()


def test_an_error_of_a_file_is_that_of_run_cause_included(session: ne.Session, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(encoded("JPEG", RGB)[:-200])
    for image in (bad, tmp_path / "none.png", b"no image", b"", tmp_path):
        expected = session.run([image], on_error="return")[0].error
        found = session.submit(image).exception(60)
        assert type(found) is type(expected) is ne.InvalidInputError
        assert str(found) == str(expected).replace("image 0", "image")
        assert type(found.__cause__) is type(expected.__cause__)


def test_what_is_remembered_is_not_decoded_again(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Image.Exif()
    turned[274] = 3
    data = encoded("JPEG", RGB, exif=turned.tobytes())
    with ne.Session(tiny_bundle, precision="fp32", cache_bytes=1 << 20) as session:
        first = session.submit(data).result(60)
        assert (first.cached, first.decoding) == (False, "turned upright (orientation 3)")
        monkeypatch.setattr(Deferred, "open", lambda self: pytest.fail("it was opened again"))
        second = session.submit(data, tag=4).result(60)
        third = next(session.stream([data]))
        for one in (second, third):
            assert (one.cached, one.decoding) == (True, "turned upright (orientation 3)")
            assert np.array_equal(one.logits, first.logits)
        assert second.tag == 4


def test_eight_threads_submit_files_at_once(session: ne.Session) -> None:
    made = [encoded("JPEG" if place % 2 else "PNG", picture(40 + place, 60)) for place in range(8)]
    expected = session.run(made)
    wrong: list[int] = []

    def submit(start: int) -> None:
        order = [(start + place) % 8 for place in range(8)]
        futures = [(place, session.submit(made[place])) for place in order]
        for place, future in futures:
            result = future.result(60)
            if np.abs(result.logits - expected[place].logits).max() > 1e-5:
                wrong.append(place)

    threads = [threading.Thread(target=submit, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_scaled_session_says_so_and_comes_close(tiny_bundle: Path) -> None:
    data = encoded("JPEG", picture(900, 1200), quality=90)
    with ne.Session(tiny_bundle, precision="fp32", decode="scaled") as session:
        assert session.engine_report["decode"]["jpeg"] == "scaled"
        results = [session.run([data])[0], session.submit(data).result(60), next(session.stream([data]))]
        assert session.last_report["decode"] == {"jpeg": "scaled"}
        exact = session.run([np.asarray(Image.open(io.BytesIO(data)))])[0]
        decoder = session.decoder.toward(session._core, None)
        with decoder.open(data) as opened:
            pixels = opened.decode_pixels().pixels  # type: ignore[union-attr]
        size = session._core.resized_size(900, 1200, None)
        assert size is not None
        scaled = _core.to_rgb(pixels, "drop", (0, 0, 0)).astype(int)
        plain = _core.resize(np.asarray(Image.open(io.BytesIO(data))), size, *session._core.resizing).astype(int)
        assert 0 < np.abs(scaled - plain).mean() < 2
        for result in results:
            assert result.decoding == f"decoded at 1/{_core.jpeg_scale((900, 1200), size)} of its sides"
            assert result.pixels == exact.pixels
            assert np.abs(result.logits - exact.logits).max() < np.abs(exact.logits).max()
    with ne.Session(tiny_bundle, precision="fp32") as session:
        assert session.engine_report["decode"]["jpeg"] == "exact"
        assert session.run([data])[0].decoding == ""


def test_a_bundle_says_how_files_are_decoded_and_a_session_may_say_otherwise(bundle_copy: Path) -> None:
    manifests.save(manifests.for_pixels(manifests.load(bundle_copy), "pillow", "scaled"), bundle_copy)
    assert json.loads((bundle_copy / "manifest.json").read_text())["schema_version"] == 2
    data = encoded("JPEG", picture(900, 1200), quality=90)
    with ne.Session(bundle_copy, precision="fp32") as session:
        assert session.engine_report["decode"]["jpeg"] == "scaled"
        results = [session.run([data])[0], session.submit(data).result(60), next(session.stream([data]))]
        assert session.last_report["decode"] == {"jpeg": "scaled"}
        assert all(result.decoding.startswith("decoded at 1/") for result in results)
    with ne.Session(bundle_copy, precision="fp32", decode="exact") as session:
        assert session.engine_report["decode"]["jpeg"] == "exact"
        exact = [session.run([data])[0], session.submit(data).result(60)]
        assert [result.decoding for result in exact] == ["", ""]
    assert not np.array_equal(exact[0].logits, results[0].logits)


@pytest.mark.parametrize("decode", ["fast", 3, "Scaled"])
def test_another_word_for_decoding_is_refused(tiny_bundle: Path, decode: Any) -> None:
    with pytest.raises(ne.InvalidInputError, match=r"decode is .*; expected navit_edge\.DecodeOptions, or one of"):
        ne.Session(tiny_bundle, decode=decode)
    with pytest.raises(ne.InvalidInputError, match=r"jpeg is .*; expected one of exact, scaled"):
        DecodeOptions(jpeg=decode)


# --- what C++ and C callers submit ------------------------------------------------------------------------------


def xmp(orientation: int) -> bytes:
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="%d"/></x:xmpmeta>' % orientation


def jpeg_files() -> dict[str, bytes]:
    made = cases()
    for orientation in range(10):
        made[f"XMP {orientation}"] = encoded("JPEG", RGB, xmp=xmp(orientation))
        made[f"XMP {orientation}, EXIF 6"] = encoded("JPEG", RGB, xmp=xmp(orientation), exif=oriented(6))
        made[f"gray {orientation}"] = encoded("JPEG", RGB[:, :, 0].copy(), exif=oriented(orientation))
    return made


def refused_by_cpp(made: dict[str, bytes], decoder: Decoder) -> set[str]:
    """The names of files that C++ and C callers get an error of; of the others they get what Pillow makes of them."""
    refused = set()
    for name, data in made.items():
        try:
            pixels = _core.decode_file_source(data, decoder.recorded.orientation, decoder.recorded.icc)
        except ne.InvalidInputError:
            refused.add(name)
            continue
        expected = given_by(decoder.decode(data)).pixels
        for alpha in ("drop", "composite"):
            found = _core.to_rgb(pixels, alpha, (9, 8, 7))
            assert np.array_equal(found, _core.to_rgb(expected, alpha, (9, 8, 7))), name
    return refused


@pytest.mark.parametrize("rule", ["apply", "as-decoded"])
@pytest.mark.parametrize("icc", ["ignore", "srgb"])
def test_cpp_and_c_callers_get_of_a_file_what_pillow_makes_of_it_or_an_error(rule: Any, icc: Any) -> None:
    decoder = Decoder(DecodeOptions(orientation=rule, icc=icc))
    assert jpeg.library()[0]
    assert png.library()[0]
    made = jpeg_files()
    profiles = {name for name in made if "profile" in name or name == "sRGB"}
    cut = {"CMYK", "cut off", "cut off in its header", "without its end"}
    assert refused_by_cpp(made, decoder) == cut | (profiles if icc == "srgb" else set())
    made = png_cases.metadata() | png_cases.pillows_own()
    made = {name: data for name, data in made.items() if "text called" not in name}  # which Pillow takes for its own
    refused = refused_by_cpp(made, decoder)
    profiles = {name for name in made if name.endswith("profile")}
    gray = {name for name in made if name.startswith("gray") and name.endswith(("transparent, 1 bits", "16 bits"))}
    warned = {name for name in made if "65000" in name and "16 bits" not in name}
    warned |= {"5,000 chunks", "alpha and transparent colours"}
    assert refused - profiles == gray - {"gray of 16 bits"} | warned
    assert refused & profiles == (profiles if icc == "srgb" else set())


def test_damaged_png_files_are_refused_to_cpp_and_c_callers() -> None:
    made = png_cases.damaged()
    decoder = Decoder()
    assert refused_by_cpp(made, decoder) == set(made) - {"a palette of one bit with 256 colours"}
