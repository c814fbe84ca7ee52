"""What remembering results costs and saves: a hit by the size of the image, a miss, and a still camera.

    python benchmarks/result_cache.py [BUNDLE.navit] [--seconds 2] [--json FILE]

Without a bundle a model of one layer is made, so that what is not the engine shows. All times are medians of wall time,
one image after the other, so run it on an idle machine. `hit` a `submit`
of an array that is remembered, to its result; `file hit` the same of a PNG in memory, and `decode` what that saves
besides; `plain` a `submit` of the array without a cache; `miss` with one that does not know it.

The still camera gives the same frame of 1920 x 1080 again and again; with a cache the engine sees one. The moving one
changes a pixel each time: what a cache that never helps costs.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from python_layer import make_bundle
from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge.machine.cores import usable_cores

#: height x width.
SIZES = ((64, 64), (480, 640), (1080, 1920), (3000, 4000))
CACHE_BYTES = 256 << 20


def median_us(work: Callable[[], object], seconds: float) -> float:
    """Of calls that go on for ``seconds``, at least five."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def photograph(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Smooth colours and some noise, so that a PNG of it has a usual size."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy: npt.NDArray[np.int16] = np.clip(smooth + random.integers(-3, 4, smooth.shape, np.int16), 0, 255)
    return noisy.astype(np.uint8)


def costs_of(plain: ne.Session, caching: ne.Session, height: int, width: int, seconds: float) -> dict[str, Any]:
    image = photograph(height, width)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    data = file.getvalue()
    changing = image.copy()
    count = iter(range(1 << 60))

    def miss() -> object:
        changing.reshape(-1)[:8] = np.frombuffer(next(count).to_bytes(8, "little"), np.uint8)
        return caching.submit(changing).result()

    caching.run([image, data])
    costs = {
        "plain_us": median_us(lambda: plain.submit(image).result(), seconds),
        "miss_us": median_us(miss, seconds),
        "hit_us": median_us(lambda: caching.submit(image).result(), seconds),
        "file_hit_us": median_us(lambda: caching.submit(data).result(), seconds),
        "decode_us": median_us(lambda: plain.decoder.decode(data), seconds),
    }
    assert caching.submit(image).result().cached
    assert caching.submit(data).result().cached
    return {"height_px": height, "width_px": width, "file_bytes": len(data), **costs}


def camera_per_s(session: ne.Session, seconds: float, *, still: bool) -> float:
    """Frames a second through a stream."""
    frame = photograph(1080, 1920)
    end = time.perf_counter() + seconds

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        number = 0
        while time.perf_counter() < end:
            number += 1
            shot = frame
            if not still:
                shot = frame.copy()
                shot.reshape(-1)[:8] = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
            yield shot

    start = time.perf_counter()
    count = sum(1 for _ in session.stream(frames()))
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each number")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.bundle or make_bundle(Path(folder) / "tiny.navit")
        with ne.Session(bundle) as plain, ne.Session(bundle, cache_bytes=CACHE_BYTES) as caching:
            sizes = [costs_of(plain, caching, height, width, args.seconds) for height, width in SIZES]
            cameras = {
                "still": {
                    "plain_per_s": camera_per_s(plain, args.seconds, still=True),
                    "cache_per_s": camera_per_s(caching, args.seconds, still=True),
                },
                "moving": {
                    "plain_per_s": camera_per_s(plain, args.seconds, still=False),
                    "cache_per_s": camera_per_s(caching, args.seconds, still=False),
                },
            }
            report = {
                "version": ne.__version__,
                "engine": plain.engine,
                "device": plain.device,
                "cores": usable_cores(),
                "bundle": bundle.name,
                "images": sizes,
                "cameras": cameras,
            }
    console = Console()
    columns = ("plain", "miss", "hit", "file hit", "decode")
    table = Table("image", *(f"{name}, us" for name in columns), title=f"{plain.engine} on {plain.device}")
    for one in sizes:
        values = (one[f"{name.replace(' ', '_')}_us"] for name in columns)
        table.add_row(f"{one['width_px']} x {one['height_px']}", *(f"{value:,.0f}" for value in values))
    console.print(table)
    for name, camera in cameras.items():
        console.print(
            f"{name} camera, 1920 x 1080: {camera['plain_per_s']:,.1f} frames/s without a cache, "
            f"{camera['cache_per_s']:,.1f} with one"
        )
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
