"""What looking for blank patches adds to preprocessing, one thread.

    python benchmarks/blank_patches.py [--rounds 21] [--json FILE]

Every round times both, in turn; the share is the median over rounds of the share within a round. A photograph, in which
nothing is blank, and a page of text. What dropping them saves and costs: fewer_tokens.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from images import photograph
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.compile.report import host_description

LEAST_S = 0.02
RANGE = 16
TEXT = "a page of text as a scanner gives it with margins and some space between its paragraphs"


def page(height_px: int, width_px: int) -> npt.NDArray[np.uint8]:
    """Paragraphs in the upper half, margins around."""
    image = Image.new("RGB", (width_px, height_px), "white")
    draw = ImageDraw.Draw(image)
    words_of_text = TEXT.split(" ")
    for line in range(height_px // 32):
        if line % 6 < 5:
            words = [words_of_text[(line * 7 + i * 3) % len(words_of_text)] for i in range(width_px // 60)]
            draw.text((width_px // 10, height_px // 12 + 16 * line), " ".join(words), fill="black")
    return np.asarray(image)


def seconds(run: Callable[[], Any], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times


def overhead(rounds: int) -> list[dict[str, Any]]:
    packer = _core.Packer.of(inputs=["patches"], patch_px=16, sizing=to_json(Sizing(rule="native")))
    sizing = to_json(Sizing(rule="token-cap", max_tokens=1024))
    rows = []
    for name, (height, width) in {"1080p": (1080, 1920), "640 x 480": (480, 640), "500 x 375": (375, 500)}.items():
        pictures = {
            "photograph": np.asarray(Image.fromarray(photograph()).resize((width, height), Image.Resampling.BICUBIC)),
            "page": page(height, width),
        }
        for what, image in pictures.items():
            target = _core.resize_targets(np.array([[height, width]], np.int32), patch_px=16, sizing=sizing)[0]
            grid = (int(target[0]), int(target[1]))
            runs: list[Callable[[], Any]] = [
                partial(packer.write, [image], [grid]),
                partial(packer.write, [image], [grid], blank_range=RANGE),
            ]
            kept = len(packer.write([image], [grid], blank_range=RANGE)["patches"])
            times = max(1, int(LEAST_S / seconds(runs[0], 20)))
            found = [[seconds(run, times) for run in runs] for _ in range(rounds)]
            rows.append(
                {
                    "image": f"{name}, {what}",
                    "patches": grid[0] * grid[1],
                    "kept": kept,
                    "preprocessing_us": statistics.median(whole for whole, _ in found) * 1e6,
                    "with_blank_us": statistics.median(blank for _, blank in found) * 1e6,
                    "share": statistics.median(blank / whole - 1 for whole, blank in found),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = overhead(args.rounds)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
    if args.json is not None:
        host = {"host": host_description(), "rows": rows}
        args.json.write_text(json.dumps(host, indent=2) + "\n")


if __name__ == "__main__":
    main()
