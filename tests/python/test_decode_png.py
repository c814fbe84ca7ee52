"""PNG files by the C++ core and by Pillow, the oracle: the same bytes, words and errors, whichever decodes."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import png_cases
import pytest
from both_decoders import assert_same, leave_to_pillow, mutated, outcome
from image_files import UInt8Array, chunk
from PIL import Image
from png_files import GRAY, GRAY_ALPHA, KINDS, PALETTE, RGB, RGBA, file_of, samples_of

import navit_edge as ne
from navit_edge import _core
from navit_edge.decode import DecodeOptions, Decoder, png
from navit_edge.decode.by_core import DecodedPixels
from navit_edge.decode.options import Recorded
from navit_edge.doctor.finding import State
from navit_edge.doctor.runtime import decoder_findings
from navit_edge.pixels import given_by
from navit_edge.vocabulary import PROCESSOR_FILTERS

ALL_FILTERS = (0, 1, 2, 3, 4)
SIDES = ((1, 1), (1, 4000), (4000, 1), (2, 3), (5, 8), (8, 5), (33, 17), (40, 64))
WHITE = (255, 255, 255)


@pytest.fixture
def only_pillow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leaves everything to Pillow from its call on."""
    return lambda: leave_to_pillow(monkeypatch)


def files() -> Iterator[tuple[str, bytes]]:
    """Over 400: each colour type and depth, interlaced or not, each filter, pixels in one chunk or many."""
    for seed, ((colour, bits), interlaced, sides) in enumerate(itertools.product(KINDS, (False, True), SIDES)):
        samples = samples_of(colour, bits, *sides, seed)
        yield (
            f"type {colour}, {bits} bits, {interlaced}, {sides}",
            file_of(
                samples,
                colour,
                bits,
                filters=ALL_FILTERS,
                interlaced=interlaced,
                idat_bytes=(1 << 30, 100, 7)[seed % 3],
            ),
        )
    for (colour, bits), kind in itertools.product(KINDS, ALL_FILTERS):
        for interlaced in (False, True):
            samples = samples_of(colour, bits, 11, 13, kind)
            yield (
                f"type {colour}, {bits} bits, filter {kind}",
                file_of(samples, colour, bits, filters=(kind,), interlaced=interlaced),
            )
    yield from png_cases.pillows_own().items()
    yield from png_cases.transparency().items()


def by_core(data: bytes, decoder: Decoder) -> DecodedPixels | None:
    """None: it is left to Pillow."""
    with decoder.open(data) as opened:
        decoded = opened.decode_pixels()
    return decoded if isinstance(decoded, DecodedPixels) else None


def rgb_of(pixels: Any, alpha: str = "drop") -> UInt8Array:
    return _core.to_rgb(pixels, alpha, WHITE)


def test_over_400_files_have_the_bytes_that_pillow_has() -> None:
    decoder = Decoder()
    taken = 0
    for name, data in files():
        found, expected = by_core(data, decoder), given_by(decoder.decode(data))
        if found is None:
            assert "transparent" in name, name
            continue
        for alpha in ("drop", "composite"):
            assert np.array_equal(rgb_of(found.pixels, alpha), rgb_of(expected.pixels, alpha)), name
        assert "; ".join(found.done) == expected.done, name
        taken += 1
    assert taken > 400


def test_samples_of_eight_bits_and_less_are_the_files_own() -> None:
    """Judged by what was written, not by Pillow."""
    for colour, bits, interlaced in itertools.product((GRAY, RGB, RGBA), (1, 2, 4, 8, 16), (False, True)):
        if (colour, bits) not in KINDS:
            continue
        samples = samples_of(colour, bits, 21, 34)
        found = by_core(file_of(samples, colour, bits, filters=ALL_FILTERS, interlaced=interlaced), Decoder())
        assert found is not None
        exact = samples / ((1 << bits) - 1) * 255
        expected = samples >> 8 if bits == 16 and colour != GRAY else np.rint(exact)
        three = np.broadcast_to(expected, (21, 34, 3)) if colour == GRAY else expected[:, :, :3]
        assert np.array_equal(rgb_of(found.pixels), three)


@pytest.mark.parametrize("alpha", ["drop", "composite"])
@pytest.mark.parametrize(
    "names", [(name, processor) for processor, names in PROCESSOR_FILTERS.items() for name in names]
)
def test_rows_go_into_the_resize_and_give_what_the_whole_image_gives(names: tuple[str, str], alpha: str) -> None:
    decoder = Decoder()
    kinds = ((GRAY, 4), (GRAY, 16), (RGB, 8), (PALETTE, 2), (GRAY_ALPHA, 8), (RGBA, 8), (RGBA, 16))
    targets = ((32, 48), (16, 16), (70, 20), (90, 50), (128, 96), (1, 1))
    for (colour, bits), sides in itertools.product(kinds, ((70, 50), (33, 41), (400, 24))):
        data = file_of(samples_of(colour, bits, *sides), colour, bits, filters=ALL_FILTERS, interlaced=sides[0] == 33)
        whole = rgb_of(given_by(decoder.decode(data)).pixels, alpha)
        for target in targets:
            pixels, transparent = _core.decode_png(data, sides, target, *names, alpha, WHITE)
            assert np.array_equal(rgb_of(pixels), _core.resize(whole, target, *names)), (colour, bits, sides, target)
            assert transparent == (colour in (GRAY_ALPHA, RGBA))
            assert pixels.resized_from == (None if target == sides else sides)


RULES = [
    (icc, orientation, Recorded(alpha=alpha, background=(1, 2, 3)))
    for icc in ("ignore", "srgb") for orientation in ("apply", "as-decoded") for alpha in ("drop", "composite")
]  # fmt: skip


@pytest.mark.parametrize(("icc", "orientation", "recorded"), RULES)
def test_both_decoders_follow_the_same_rules(
    icc: Any, orientation: Any, recorded: Recorded, only_pillow: Callable[[], None]
) -> None:
    decoder = Decoder(DecodeOptions(icc=icc, orientation=orientation), recorded)
    made = png_cases.metadata() | png_cases.damaged() | png_cases.pillows_own()
    found = {name: outcome(decoder, data) for name, data in made.items()}
    assert sum(one[0] == "error" for one in found.values()) > 20
    only_pillow()
    for name, data in made.items():
        assert found[name] == outcome(decoder, data), name


def test_what_the_core_decodes_and_what_is_left_to_pillow() -> None:
    decoder = Decoder()
    made = png_cases.metadata()
    taken = {name for name, data in made.items() if safely_by_core(data, decoder)}
    turned = {
        name for name in made if name[-1] in "2345678" and ("EXIF" in name or "XMP" in name) and "EXIF 1," not in name
    }
    late = {name for name in made if name.startswith(("late EXIF", "late XMP", "a late text", "a late comp"))}
    late |= {"late profile", "late text that inflates", "private chunk"}
    animated = {"animation", "animation beside a picture", "animation of one picture"}
    gray = {f"gray {key} is transparent, {bits} bits" for key, bits in itertools.product((0, 1, 65000), (1, 16))}
    gray |= {name for name in made if name.startswith("gray") and name.endswith(" 16 bits")}
    keyed = gray | {name for name in made if "65000" in name and "16 bits" not in name}  # of which libpng warns
    named = {f"a text called {name}" for name in ("transparency", "interlace", "bbox")}
    other = {"5,000 chunks", "text that inflates", "alpha and transparent colours"}
    assert taken == set(made) - turned - late - animated - keyed - named - other
    taken = {name for name, data in png_cases.damaged().items() if safely_by_core(data, decoder)}
    assert taken == {"a palette of one bit with 256 colours"}


def safely_by_core(data: bytes, decoder: Decoder) -> DecodedPixels | None:
    try:
        return by_core(data, decoder)
    except ne.InvalidInputError:
        return None


def seeds() -> list[bytes]:
    """Small files of several kinds."""
    made = []
    for (colour, bits), interlaced in itertools.product(
        ((RGB, 8), (RGBA, 8), (GRAY, 4), (GRAY, 16), (PALETTE, 8), (GRAY_ALPHA, 8)), (False, True)
    ):
        samples = samples_of(colour, bits, 14, 19) // 8 * 8
        after = (png_cases.text("date:create", b"now"),)
        made.append(file_of(samples, colour, bits, filters=ALL_FILTERS, interlaced=interlaced, after=after))
    return made


def test_files_that_are_cut_off_anywhere_give_what_pillow_gives(only_pillow: Callable[[], None]) -> None:
    decoder = Decoder()
    cut = [data[:size] for data in seeds() for size in range(0, len(data), 1 if data == seeds()[0] else 13)]
    found = [outcome(decoder, data) for data in cut]
    assert sum(one[0] == "error" for one in found) > len(cut) // 2 > 500
    only_pillow()
    for place, data in enumerate(cut):
        assert found[place] == outcome(decoder, data), place


def test_damaged_files_give_what_pillow_gives(only_pillow: Callable[[], None]) -> None:
    decoder = Decoder(DecodeOptions(max_pixels=1 << 20))
    kinds = seeds()
    damaged = [mutated(kinds[number % len(kinds)], number) for number in range(600)]
    damaged += [mended(mutated(kinds[number % len(kinds)], number)) for number in range(600, 1800)]
    damaged += [with_damaged_rows(kinds[number % len(kinds)], number) for number in range(1800, 2200)]
    found = [outcome(decoder, data) for data in damaged]
    assert sum(one[0] == "error" for one in found) > 500
    assert sum(one[0] != "error" for one in found) > 200
    only_pillow()
    for number, data in enumerate(damaged):
        assert found[number] == outcome(decoder, data), number


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) as far as chunks can be followed."""
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def mended(data: bytes) -> bytes:
    """With right lengths and checksums, so that what is damaged lies deeper."""
    return data[:8] + b"".join(chunk(name, content) for name, content in chunks_of(data))


def with_damaged_rows(data: bytes, number: int) -> bytes:
    """Bytes changed in what is compressed, its own sum right: filters, samples, the number of rows."""
    chunks = list(chunks_of(data))
    raw = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
    rows = chunk(b"IDAT", zlib.compress(mutated(raw, number)))
    pixels = [name for name, _ in chunks].index(b"IDAT")
    before, after = chunks[:pixels], [one for one in chunks[pixels:] if one[0] != b"IDAT"]
    return data[:8] + b"".join(chunk(*one) for one in before) + rows + b"".join(chunk(*one) for one in after)


def test_limits_hold_before_the_first_row() -> None:
    data = file_of(samples_of(RGB, 8, 24, 40), RGB, 8)
    with pytest.raises(ne.InvalidInputError, match="expected at most 100;"):
        Decoder(DecodeOptions(max_pixels=100)).decode_pixels(data)
    with pytest.raises(ne.InvalidInputError, match=r"is 24 x 40 pixels .* expected 24 x 41"):
        _core.decode_png(data, (24, 41))


def test_alpha_that_is_to_be_refused_is_left_to_the_session() -> None:
    data = file_of(samples_of(RGBA, 8, 24, 40), RGBA, 8)
    assert by_core(data, Decoder(recorded=Recorded(alpha="reject"))) is None
    assert by_core(file_of(samples_of(RGB, 8, 24, 40), RGB, 8), Decoder(recorded=Recorded(alpha="reject"))) is not None


PEAK = """
import json, sys
from pathlib import Path
from navit_edge import _core
from navit_edge.decode import Decoder

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

data, small = (Path(path).read_bytes() for path in sys.argv[2:4])
if sys.argv[1] == "core":
    run = lambda data, *size: _core.decode_png(data, size, (16, 16))
else:
    run = lambda data, *size: Decoder().decode(data)
run(small, 20, 30)
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
run(data, 3000, 4000)
print(json.dumps(resident("VmHWM") - before))
"""


def test_a_picture_of_12_megapixels_is_never_in_memory(tmp_path: Path) -> None:
    row = np.arange(4000 * 3, dtype=np.int64).reshape(1, 4000, 3) % 251
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(row, (3000, 4000, 3)).astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    large.write_bytes(buffer.getvalue())
    small.write_bytes(file_of(samples_of(RGB, 8, 20, 30), RGB, 8))
    peaks = {}
    for who in ("core", "Pillow"):
        command = [sys.executable, "-c", PEAK, who, str(large), str(small)]
        peaks[who] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peaks["Pillow"] > 4000 * 3000 * 3
    assert peaks["core"] < 4 << 20  # a hundredth of the rows: 40 of 12,000 bytes, the rest is the process's own


def files_in(folder: Path) -> list[Path]:
    """Files of several kinds, as paths."""
    made = []
    kinds = ((RGB, 8), (RGBA, 8), (GRAY, 1), (GRAY, 8), (PALETTE, 4), (GRAY_ALPHA, 8), (RGB, 16))
    for place, ((colour, bits), sides) in enumerate(
        zip(kinds, ((300, 200), (90, 700), (33, 48), (640, 480), (50, 70), (120, 121), (64, 65)), strict=True)
    ):
        made.append(folder / f"{place}.png")
        samples = samples_of(colour, bits, *sides)
        made[-1].write_bytes(file_of(samples, colour, bits, filters=ALL_FILTERS, interlaced=place == 3))
    return made


@pytest.mark.parametrize("alpha", ["drop", "composite"])
def test_a_session_gives_of_a_file_what_it_gives_where_pillow_decodes(
    alpha: str, job_bundle: Path, tmp_path: Path, only_pillow: Callable[[], None]
) -> None:
    bundle = Path(shutil.copytree(job_bundle, tmp_path / "copy.navit"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["preprocess"] |= {"alpha": alpha, "background": [10, 200, 30]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    paths = files_in(tmp_path)
    policies = (None, "token-cap:20", "content")
    with ne.Session(bundle) as session:
        decoder = session.decoder.toward(session._core, None)
        assert decoder.recorded.alpha == alpha
        resized = [given_by(decoder.decode_pixels(path)) for path in paths]
        assert any(isinstance(one.pixels, ne.Pixels) and one.pixels.resized_from for one in resized)
        found = {text: results_of(session, paths, text) for text in policies}
        only_pillow()
        for text in policies:
            for one, other in zip(found[text], results_of(session, paths, text), strict=True):
                assert_same(one, other)


def results_of(session: ne.Session, paths: list[Path], text: str | None) -> list[ne.Result]:
    """By every way that takes a file."""
    policy = ne.Policy.parse(text) if text else None
    futures = [session.submit(path, policy=policy) for path in paths]
    run = session.run(paths, policy=policy)
    return [*run, *session.stream(paths, policy=policy), *(future.result(60) for future in futures)]


def test_a_file_that_is_cut_off_fails_alone(job_bundle: Path) -> None:
    whole = file_of(samples_of(RGB, 8, 200, 300), RGB, 8)
    with ne.Session(job_bundle) as session:
        results = session.run([whole, whole[: len(whole) // 2], whole], on_error="return")
    assert [result.error is None for result in results] == [True, False, True]
    assert "image file is truncated" in str(results[1].error)


def test_doctor_says_which_libraries_decode(only_pillow: Callable[[], None]) -> None:
    found = {finding.name: finding for finding in decoder_findings()}
    assert list(found) == ["JPEG", "PNG"]
    for title, word in (("JPEG", "libjpeg"), ("PNG", "libpng16")):
        assert found[title].state is State.FOUND
        assert word in str(found[title].facts["path"]) in found[title].text
    assert found["PNG"].facts["path"] == png.library()[0]
    only_pillow()
    for finding in decoder_findings():
        assert (finding.state, finding.facts["path"]) == (State.ABSENT, "")
        assert "decoded by Pillow, to the same pixels: switched off" in finding.text


WITHOUT = """
import sys
from pathlib import Path
from navit_edge import _core
from navit_edge.decode import Decoder, png

found = _core.open_png_library(sys.argv[1])
print(*found, sep="\\n")
data = Path(sys.argv[2]).read_bytes()
print(type(Decoder().decode_pixels(data)).__name__)
try:
    print(_core.decode_file_source(data, "apply", "ignore").format)
except Exception as error:
    print(error)
"""


def test_without_a_library_pillow_decodes_and_other_callers_are_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "libpng16.so.16").write_text("no library")  # the loader finds it before the system's
    (tmp_path / "a.png").write_bytes(file_of(samples_of(RGB, 8, 24, 40), RGB, 8))
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "libpng16.so.16"), str(tmp_path / "a.png")]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    path, why_not, decoded, error = ran.stdout.splitlines()
    assert (path, decoded) == ("", "Decoded")
    for said in (why_not, error):
        assert "libpng16.so.16 cannot be opened" in said
        assert "apt install libpng16-16" in said


def test_a_library_that_cannot_be_used_gives_way_to_the_systems(tmp_path: Path) -> None:
    (tmp_path / "libpng16.so").write_text("no library")
    (tmp_path / "a.png").write_bytes(file_of(samples_of(RGB, 8, 24, 40), RGB, 8))
    shown = []
    for path in (str(tmp_path / "libpng16.so"), ""):
        command = [sys.executable, "-c", WITHOUT, path, str(tmp_path / "a.png")]
        shown.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())
    given, system = shown
    assert (given[0], given[2:]) == (system[0], system[2:])  # the same, or neither
    assert (system[2:] == ["DecodedPixels", "rgb"]) == bool(system[0])


def test_threads_decode_at_once() -> None:
    made = [
        file_of(samples_of(colour, bits, 90, 77, bits), colour, bits, filters=ALL_FILTERS) for colour, bits in KINDS
    ]
    expected = [rgb_of(given_by(Decoder().decode(data)).pixels) for data in made]

    def one(data: bytes) -> UInt8Array:
        return rgb_of(_core.decode_png(data, (90, 77))[0])

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for found, image in zip(pool.map(one, made), expected, strict=True):
                assert np.array_equal(found, image)
