"""The resize with torchvision's bytes against the one with Pillow's: the same images and grids, in turn, one thread.

    python benchmarks/processors.py [--rounds 9] [--output benchmarks/processors.json]

A ratio is the median over rounds of the ratio within a round; times are the process's own, which other work on the
machine does not lengthen. The run checks that the bytes are those of Pillow and of torch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from preprocess import MAX_TOKENS, PATCH_PX, SETS, Run, UInt8Array, hardware, in_turn, measured, sample, torch_uint8
from rich.console import Console
from rich.table import Table

from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
#: Images of as many sizes as there are: the weights of both axes are made anew for each.
MIXED = "24 sizes"


def grid_of(height: int, width: int) -> tuple[int, int]:
    sizing = to_json(Sizing(rule="token-cap", max_tokens=256, upscale=True))
    if height * width > MAX_TOKENS * PATCH_PX**2:
        sizing = to_json(Sizing(rule="token-cap", max_tokens=MAX_TOKENS))
    rows, columns = _core.resize_targets(np.array([[height, width]], np.int32), patch_px=PATCH_PX, sizing=sizing)[0]
    return int(rows), int(columns)


def core(images: list[Any], grids: list[tuple[int, int]], name: str, processor: str) -> Run:
    packer = _core.Packer.of(
        inputs=["patches"], patch_px=PATCH_PX, sizing=to_json(Sizing(rule="native")), filter=name, processor=processor
    )
    return lambda: packer.write(images, grids)["patches"]


def check(image: UInt8Array, grid: tuple[int, int], name: str) -> None:
    """Both are what their libraries make of one image."""
    size = (grid[1] * PATCH_PX, grid[0] * PATCH_PX)
    pillow = in_turn([Image.fromarray(image)], grid, lambda one: np.asarray(one.resize(size, FILTERS[name])))
    assert np.array_equal(core([image], [grid], name, "pillow")(), pillow())
    if name == "bilinear":
        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
        assert np.array_equal(core([image], [grid], name, "torchvision")(), torch_uint8([tensor], grid)())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"hardware": hardware(), "rounds": arguments.rounds, "load": os.getloadavg()[0]}
    table = Table("images", "filter", "Pillow's, ms an image", "torchvision's", "ratio")
    rng = np.random.default_rng(0)
    sets = {name: [sample(height, width)] * count for name, (height, width, count) in SETS.items()}
    sets[MIXED] = [sample(int(height), int(width)) for height, width in rng.integers(200, 700, (24, 2))]
    for title, images in sets.items():
        grids = [grid_of(*image.shape[:2]) for image in images]
        for name in FILTERS:
            check(images[0], grids[0], name)
            runs = {whose: core(images, grids, name, whose) for whose in ("pillow", "torchvision")}
            seconds = measured(runs, arguments.rounds, time.process_time)
            pairs = zip(seconds["torchvision"], seconds["pillow"], strict=True)
            row = {
                **{whose: 1000 * statistics.median(times) / len(images) for whose, times in seconds.items()},
                "ratio": statistics.median(own / other for own, other in pairs),
            }
            report.setdefault(title, {})[name] = row
            table.add_row(title, name, f"{row['pillow']:.3f}", f"{row['torchvision']:.3f}", f"{row['ratio']:.3f}")
    Console().print(table)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
