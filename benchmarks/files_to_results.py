"""From files to results: sessions that decode, on 1 and 2 threads and scaled, against Pillow and the same engine.

    python benchmarks/files_to_results.py BUNDLE [--images 48] [--rounds 5] [--output benchmarks/files_to_results.json]

The files are JPEGs of one photograph, scaled: as of a web page, a film, a camera. Pillow decodes in batches of 16, in
this thread or in two, and `run` takes each batch while nobody decodes: what one writes first. "pixels" are the decoded
images themselves through `stream`: what decoding adds lies above it. Every round times each contender once, in turn; a
ratio is the median over rounds of the ratio within a round. All but "scaled" give the same numbers, which the run
checks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import images as image_sets
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

import navit_edge as ne

SIZES = {"640 x 480": (640, 480), "1920 x 1080": (1920, 1080), "4000 x 3000": (4000, 3000)}
BATCH = 16
Embeddings = list[npt.NDArray[np.float32]]


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def by_pillow(session: ne.Session, paths: Sequence[Path], threads: int) -> Embeddings:
    embeddings: Embeddings = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(paths), BATCH):
            batch = list(pool.map(pixels, paths[start : start + BATCH]))
            embeddings += [np.asarray(result.embedding, np.float32) for result in session.run(batch)]
    return embeddings


def by_stream(session: ne.Session, images: Sequence[Any]) -> Embeddings:
    with session.stream(images) as stream:
        return [np.asarray(result.embedding, np.float32) for result in stream]


def main() -> None:
    from end_to_end import hardware

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=196, help="most tokens of an image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    settings: dict[str, Any] = {"device": "cpu", "max_tokens_per_image": arguments.tokens}
    one = ne.Session(arguments.bundle, decoders=1, **settings)
    two = ne.Session(arguments.bundle, decoders=2, **settings)
    scaled = ne.Session(arguments.bundle, decoders=2, decode="scaled", **settings)
    decoded: list[npt.NDArray[np.uint8]] = []  # the image of all files
    contenders: dict[str, Callable[[Sequence[Path]], Embeddings]] = {
        "Pillow, then run": lambda paths: by_pillow(one, paths, 1),
        "Pillow in 2 threads, then run": lambda paths: by_pillow(one, paths, 2),
        "stream, 1 decoder": lambda paths: by_stream(one, paths),
        "stream, 2 decoders": lambda paths: by_stream(two, paths),
        "stream, 2 decoders, scaled": lambda paths: by_stream(scaled, paths),
        "pixels": lambda paths: by_stream(one, [decoded[-1]] * len(paths)),
    }
    report: dict[str, Any] = {
        "hardware": hardware(),
        "engine": one.engine,
        "images": arguments.images,
        "tokens": arguments.tokens,
        "rounds": arguments.rounds,
        "load": os.getloadavg()[0],
        "sizes": {},
    }
    table = Table("files", "contender", "images/s", "over Pillow, then run")
    for title, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{index:03}.jpg" for index in range(arguments.images)]
            Image.fromarray(image_sets.photograph()).resize(size).save(paths[0], quality=90)
            for path in paths[1:]:
                path.write_bytes(paths[0].read_bytes())
            decoded[:] = [pixels(paths[0])]
            reference = np.stack(contenders["Pillow, then run"](paths))
            for name, run in contenders.items():  # also the warm-up
                found = np.stack(run(paths))
                assert name.endswith("scaled") or np.allclose(
                    found, reference, atol=1e-2 * float(np.abs(reference).max())
                ), name
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(arguments.rounds):
                for name, run in contenders.items():
                    start = time.perf_counter()
                    run(paths)
                    seconds[name].append(time.perf_counter() - start)
        first = seconds["Pillow, then run"]
        report["sizes"][title] = {
            name: {
                "images_per_second": len(paths) / statistics.median(own),
                "speed": statistics.median(a / b for a, b in zip(first, own, strict=True)),
            }
            for name, own in seconds.items()
        }
        for name, row in report["sizes"][title].items():
            table.add_row(title, name, f"{row['images_per_second']:.1f}", f"{row['speed']:.2f} x")
    Console().print(table)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
