"""From image files to the pixels of patches: decoded and resized, on one core, each contender in its own process.

    python benchmarks/files.py [--images 20] [--rounds 5] [--only PNG] [--peers FOLDER] [--output FILE.json]

The files are one photograph, scaled: JPEG and WebP at quality 90, PNG as Pillow writes it. Each is decoded from memory
and resized, bilinear, to the target; alpha is composited before. "core, rows into the resize" is what a session does
with a path; "Pillow, then the core's resize" what it did before and does where no library is, and for WebP. "core,
scaled" is `decode="scaled"`, of JPEG; how far its pixels are from the exact ones, in levels of 255, stands beside it.
"decode alone" is the core's decode to whole pixels: what is left for the resize lies above it. OpenCV decodes by
libraries of its own and has another resize (`INTER_AREA`), so its pixels differ; it drops alpha.

"two threads" is how many times as many files two threads decode as one, by the clock. --peers: other libraries, each in
a folder of its own (files_peers.py).

Milliseconds are those that the core was busy (`time.process_time`), so that what else runs counts less; the median over
rounds of the mean of a round. Memory is what the highest resident size lies above that before the first file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import files_peers
import images as image_sets
import numpy as np
from PIL import Image

SIZES = {"640 x 480": (640, 480), "1920 x 1080": (1920, 1080), "4000 x 3000": (4000, 3000)}
#: Pillow's format, mode and options.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG 4:2:0": ("JPEG", "RGB", {"quality": 90, "subsampling": 2}),
    "JPEG 4:4:4": ("JPEG", "RGB", {"quality": 90, "subsampling": 0}),
    "JPEG 4:2:0, progressive": ("JPEG", "RGB", {"quality": 90, "progressive": True}),
    "PNG, RGB": ("PNG", "RGB", {}),
    "PNG, RGBA": ("PNG", "RGBA", {}),
    "PNG, 256 colours": ("PNG", "P", {}),
    "WebP": ("WEBP", "RGB", {"quality": 90}),
}
WHITE = (255, 255, 255)
TARGET = (224, 224)  # height_px, width_px
BY_CORE = ("core, rows into the resize", "core, scaled", "decode alone")
CONTENDERS = (*BY_CORE, "Pillow, then the core's resize", "OpenCV")


def takes(name: str, kind: str) -> bool:
    """The core decodes no WebP, and only of JPEG less than all."""
    if name == "core, scaled":
        return kind.startswith("JPEG")
    return name not in BY_CORE or kind != "WebP"


def contender(name: str, form: str, size: tuple[int, int]) -> Callable[[bytes], Any]:
    """What turns a file of ``size`` (width_px, height_px) into pixels."""
    if name in files_peers.PEERS:
        return files_peers.peer(name, size, TARGET)
    from navit_edge import _core
    from navit_edge.decode import jpeg, png
    from navit_edge.decode.decoder import Decoder
    from navit_edge.pixels import given_by

    stored = (size[1], size[0])
    if name == "Pillow, then the core's resize":
        if form != "PNG":
            return lambda data: _core.resize(given_by(Decoder().decode(data)).pixels, TARGET)

        def by_pillow(data: bytes) -> Any:
            return _core.resize(_core.to_rgb(given_by(Decoder().decode(data)).pixels, "composite", WHITE), TARGET)

        return by_pillow
    if name == "OpenCV":
        import cv2

        cv2.setNumThreads(1)

        def by_opencv(data: bytes) -> Any:
            image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            return cv2.resize(image, TARGET[::-1], interpolation=cv2.INTER_AREA)

        return by_opencv
    library, why_not = (jpeg if form == "JPEG" else png).library()
    assert library, why_not
    target = None if name == "decode alone" else TARGET
    if form == "PNG":
        return lambda data: _core.decode_png(data, stored, target, alpha="composite")
    mode = "scaled" if name == "core, scaled" else "exact"
    return lambda data: _core.decode_jpeg(data, stored, target, decode=mode)


def difference(data: bytes, size: tuple[int, int]) -> dict[str, float]:
    """Of the scaled pixels from the exact ones, in levels."""
    from navit_edge import _core

    stored = (size[1], size[0])
    exact, scaled = (
        _core.to_rgb(_core.decode_jpeg(data, stored, TARGET, decode=mode), "drop", (0, 0, 0)).astype(np.int64)
        for mode in ("exact", "scaled")
    )
    apart = np.abs(exact - scaled)
    return {"mean_levels": float(apart.mean()), "p99_levels": float(np.percentile(apart, 99)),
            "most_levels": int(apart.max()), "scale": _core.jpeg_scale(stored, TARGET)}  # fmt: skip


def resident(field: str) -> int:
    """VmRSS or VmHWM, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def file_of(size: tuple[int, int], kind: str) -> bytes:
    """The photograph at ``size`` (width_px, height_px)."""
    form, mode, options = KINDS[kind]
    buffer = io.BytesIO()
    with Image.fromarray(image_sets.photograph()) as photograph:
        picture = photograph.resize(size)
        if mode == "RGBA":
            picture.putalpha(Image.linear_gradient("L").resize(size))
        picture.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def measure(name: str, title: str, kind: str, *, count: int, rounds: int) -> dict[str, float]:
    """In this process."""
    size = SIZES[title]
    form = KINDS[kind][0]
    data = file_of(size, kind)
    run = contender(name, form, size)
    contender(name, form, (300, 300))(file_of((300, 300), kind))  # whatever is imported, is
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run(data)
    peak = resident("VmHWM") - before
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(count):
            run(data)
        times.append((time.process_time() - start) / count * 1000)
    found = {"ms": statistics.median(times), "peak_mib": peak / 2**20, "file_bytes": len(data)}
    if name == CONTENDERS[0]:
        found["two_threads"] = statistics.median(two_threads(run, data, count) for _ in range(rounds))
    return found | (difference(data, size) if name == "core, scaled" else {})


def two_threads(run: Callable[[bytes], Any], data: bytes, count: int) -> float:
    """How many times as many files two threads decode as one, by the clock."""
    seconds = []
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(run, [data] * (2 * count)))
            seconds.append(time.perf_counter() - start)
    return seconds[0] / seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="kinds that begin so")
    parser.add_argument("--peers", type=Path, help="folder of other libraries")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, count=arguments.images, rounds=arguments.rounds)))
        return
    from end_to_end import hardware
    from rich.console import Console
    from rich.table import Table

    report: dict[str, Any] = {"hardware": hardware(), "images": arguments.images, "rounds": arguments.rounds,
                              "target": TARGET, "load": os.getloadavg()[0], "files": {}}  # fmt: skip
    columns = ("ms", "memory, MiB", "times as fast as Pillow", "two threads", "levels off: mean, 99 %, most")
    table = Table("files", "contender", *columns)
    for title in SIZES:
        for kind in (kind for kind in KINDS if kind.startswith(arguments.only)):
            rows = report["files"][f"{title}, {kind}"] = {}
            peers = [name for name in files_peers.PEERS if arguments.peers and files_peers.takes(name, kind)]
            for name in (*(name for name in CONTENDERS if takes(name, kind)), *peers):
                environment = dict(os.environ)
                if name in peers:
                    environment["PYTHONPATH"] = str(arguments.peers.resolve() / files_peers.PEERS[name].package)
                command = [sys.executable, __file__, "--one", name, title, kind, "--images", str(arguments.images),
                           "--rounds", str(arguments.rounds)]  # fmt: skip
                rows[name] = json.loads(
                    subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
                )
            pillow = rows["Pillow, then the core's resize"]["ms"]
            for name, row in rows.items():
                row["speed"] = pillow / row["ms"]
                figures = (f"{row['ms']:.2f}", f"{row['peak_mib']:.1f}", f"{row['speed']:.2f}")
                both = f"{row['two_threads']:.2f}" if "two_threads" in row else ""
                levels = ", ".join(f"{row[f'{name}_levels']:.3g}" for name in ("mean", "p99", "most") if "scale" in row)
                table.add_row(f"{title}, {kind}", name, *figures, both, levels)
    Console().print(table)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
