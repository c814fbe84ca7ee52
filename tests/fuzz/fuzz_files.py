"""Mutated image files and films through `Session.run(on_error="return")`: each gives a result, or InvalidInputError
under its name; the images beside it the same bits as without it; no file takes minutes; memory stays within the limits.
Of every second file, and of films, all frames go in, as `navit-edge run --every 1` takes them.

    python tests/fuzz/fuzz_files.py [BUNDLE] --count 100000 [--seed N] [--only JPEG]      # see `make fuzz`

A mutation flips, overwrites, cuts out, repeats or swaps bytes; half of them near the start, where headers are. A file
that is a finding is left as `finding-<seed>-<number>` in the current folder.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import itertools
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

import navit_edge as ne
from navit_edge.run.media import pieces

#: Images in a run: one good one at each end, mutated ones between.
BATCH = 16
#: Frames of a file.
MOST_FRAMES = 8
#: Of logits, packed against alone: the same sums in other orders.
CLOSE = 1e-5
#: What hangs for so long ends the program with a traceback.
PATIENCE_S = 120
MOST_PIXELS = 1 << 22
#: That a batch may add to what is resident before it: its images as large as the limit allows, and decoding one.
MOST_MIB = 600


def corpus() -> dict[str, list[bytes]]:
    """Format -> small files of it."""
    y, x = np.mgrid[0:24, 0:40]
    rgb = Image.fromarray(np.dstack([x * 6, y * 10, x + y]).astype(np.uint8))
    frames = {"save_all": True, "append_images": [rgb.transpose(Image.Transpose.ROTATE_180)], "duration": 40}
    block = Image.Exif()
    block[274] = 6
    variants: dict[str, list[tuple[Image.Image, dict[str, object]]]] = {
        "JPEG": [
            (rgb, {"exif": block}),
            (rgb, {"progressive": True}),
            (rgb.convert("CMYK"), {}),
            (rgb.convert("L"), {}),
        ],
        "MPO": [(rgb, {"save_all": True, "append_images": [rgb]})],
        "PNG": [
            (rgb, {"exif": block}),
            (rgb.quantize(16), {"transparency": 3}),
            (rgb.convert("I;16"), {}),
            (rgb.convert("RGBA"), {}),
            (rgb.convert("1"), {}),
            (rgb, frames),
        ],
        "TIFF": [
            (rgb, {"tiffinfo": {274: 6}}),
            (rgb, {"compression": "tiff_lzw"}),
            (rgb, {"compression": "jpeg"}),
            (rgb.convert("1"), {"compression": "group4"}),
            (rgb.convert("F"), {}),
            (rgb, {"save_all": True, "append_images": [rgb]}),
        ],
        "WEBP": [(rgb, {}), (rgb.convert("RGBA"), {"lossless": True, "exif": block}), (rgb, frames)],
        "GIF": [(rgb, {}), (rgb, frames)],
        "AVIF": [
            (rgb, {"speed": 10}),
            (rgb.convert("RGBA"), {"speed": 10, "exif": block}),
            (rgb, {**frames, "speed": 10}),
        ],
        "BMP": [(rgb, {}), (rgb.quantize(16), {})],
        "PPM": [(rgb, {}), (rgb.convert("I;16"), {})],
        "JPEG2000": [(rgb, {}), (rgb.convert("RGBA"), {"irreversible": True})],
    }
    files: dict[str, list[bytes]] = {}
    for form, made in variants.items():
        for image, options in made:
            buffer = io.BytesIO()
            image.save(buffer, form, **options)
            files.setdefault(form, []).append(buffer.getvalue())
    return files | films()


def films() -> dict[str, list[bytes]]:
    """Container -> small films in it."""
    y, x = np.mgrid[0:24, 0:40]
    files: dict[str, list[bytes]] = {}
    for form, codec, flags in (
        ("MP4", "libx264", "faststart"),
        ("MP4", "libx264", "frag_keyframe+empty_moov"),
        ("MP4", "mpeg4", ""),
        ("MATROSKA", "libx264", ""),
        ("AVI", "mjpeg", ""),
        ("MPEGTS", "libx264", ""),
    ):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film"
            with av.open(
                str(path), "w", format=form.lower(), options={"movflags": flags} if flags else {}
            ) as container:
                stream = container.add_stream(codec, rate=10)
                stream.height, stream.width = 24, 40
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                for place in range(6):
                    values = np.dstack([x * 6, y * 10, x + y + 20 * place]).astype(np.uint8)
                    frame = av.VideoFrame.from_ndarray(values).reformat(format=stream.pix_fmt)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
            files.setdefault(form, []).append(path.read_bytes())
    return files


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        reach = min(len(out), 64) if rng.random() < 0.5 else len(out)
        place = int(rng.integers(0, max(reach, 1)))
        length = int(rng.integers(1, 9))
        kind = rng.choice(7, p=(0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.1))
        if kind == 0:
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[place : place + length] = rng.bytes(length)
        elif kind == 2:
            out[place : place + length] = b"\xff" * length if rng.random() < 0.5 else bytes(length)
        elif kind == 3:
            del out[place : place + length]
        elif kind == 4:
            out[place:place] = out[place : place + 8 * length]
        elif kind == 5:
            del out[max(place, 1) :]
        else:
            other = int(rng.integers(0, len(out)))
            out[place : place + length], out[other : other + length] = (
                out[other : other + length],
                out[place : place + length],
            )
        if not out:
            out = bytearray(b"\0")
    return bytes(out)


def small_bundle(path: Path) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
    from tiny_bundle import TinyConfig, make_bundle

    from navit_edge.compile import BuildRequest, build_engines

    make_bundle(path, TinyConfig(depth=1))
    build_engines(path, BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,)))
    return path


def peak_mib(*, reset: bool = False) -> float:
    """Most resident memory since the last reset, where the kernel lets it be reset."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


class Finding(Exception):  # noqa: N818
    """What must not happen."""


def run(session: ne.Session, paths: list[Path], good: npt.NDArray[np.uint8], expected: npt.NDArray[np.float32]) -> int:
    """One batch; how many of the files were refused. ``expected``: logits of ``good`` alone. Raises Finding."""
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    refused: set[Path] = set()
    images: list[tuple[Path, Any]] = []
    for place, path in enumerate(paths):
        for image, error in frames_of(path, session) if place % 2 or is_film(path) else [(path, None)]:
            if error is None:
                images.append((path, image))
            else:
                check_error(error, path)
                refused.add(path)
    results = session.run([good, *(image for _, image in images), good], on_error="return")
    decoded = [image for (_, image), result in zip(images, results[1:-1], strict=True) if result.error is None]
    without = session.run([good, *decoded, good])  # the same packs
    faulthandler.cancel_dump_traceback_later()
    for result, same in ((results[0], without[0]), (results[-1], without[-1])):
        if result.error is not None or not np.array_equal(result.logits, same.logits):
            raise Finding(f"a good image gave {result.error or 'other numbers than without the bad ones'}")
        if np.abs(result.logits - expected).max() > CLOSE:
            raise Finding("a good image gave other numbers than alone")
    for (path, _), result in zip(images, results[1:-1], strict=True):
        if result.error is not None:
            check_error(result.error, path)
            refused.add(path)
    return len(refused)


def is_film(path: Path) -> bool:
    return path.name.endswith(("MP4", "MATROSKA", "AVI", "MPEGTS"))


def frames_of(path: Path, session: ne.Session) -> list[tuple[Any, Exception | None]]:
    found = itertools.islice(pieces(str(path), every=1, fps=0.0, decoder=session.decoder), MOST_FRAMES)
    return [(piece.image, piece.error) for piece in found]


def check_error(error: Exception, path: Path) -> None:
    if not isinstance(error, ne.InvalidInputError) or not str(error).startswith(str(path)):
        raise Finding(f"{type(error).__name__}: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", help="a small one is made where none is given")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, of what it finds in damaged metadata
    files = corpus()
    forms = [arguments.only] if arguments.only else sorted(files)
    rng = np.random.default_rng(arguments.seed)
    good = np.ascontiguousarray(rng.integers(0, 256, (24, 40, 3), np.uint8))
    counts: Counter[str] = Counter()
    options = ne.DecodeOptions(max_pixels=MOST_PIXELS)
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle or small_bundle(Path(folder) / "small.navit")
        session = ne.Session(bundle, threads=1, decode=options)
        expected = session.run([good])[0].logits
        run(session, [], good, expected)
        done = 0
        while done < arguments.count:
            paths = []
            for number in range(min(BATCH, arguments.count - done)):
                form = forms[(done + number) % len(forms)]
                path = Path(folder) / f"{number}-{form}"
                path.write_bytes(mutated(files[form][int(rng.integers(len(files[form])))], rng))
                paths.append(path)
                counts[form] += 1
            before = peak_mib(reset=True)
            try:
                counts["refused"] += run(session, paths, good, expected)
                if peak_mib() > before + MOST_MIB:
                    raise Finding(f"resident memory rose from {before:.0f} to {peak_mib():.0f} MiB")
            except Exception as error:
                for path in paths:
                    Path(f"finding-{arguments.seed}-{done}-{path.name}").write_bytes(path.read_bytes())
                sys.exit(f"a finding in files {done} to {done + len(paths)}, which lie here: {error}")
            done += len(paths)
    print(f"{done} files: {dict(counts)}")


if __name__ == "__main__":
    main()
