"""What choosing costs: the complexity measure beside the preprocessing of the same image, one thread, processor time.

    python benchmarks/policies.py [--rounds 21]

Every round times both, in turn; the share is the median over rounds of the share within a round. The images are those
of benchmarks/preprocess.py, under a cap of 1024 tokens, or at their own size if that is less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from images import photograph
from PIL import Image
from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json

SIZES = {
    "12 MP": (3000, 4000),
    "1080p": (1080, 1920),
    "640x480": (480, 640),
    "500x375": (375, 500),
    "224x224": (224, 224),
}
LEAST_S = 0.02


def seconds(run: Callable[[], Any], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    table = Table("image", "preprocessing µs", "complexity µs", "share")
    native = to_json(Sizing(rule="native"))
    packer = _core.Packer.of(inputs=["patches"], patch_px=16, sizing=native)
    sizing = to_json(Sizing(rule="token-cap", max_tokens=1024))
    for name, (height, width) in SIZES.items():
        image = np.asarray(Image.fromarray(photograph()).resize((width, height), Image.Resampling.BICUBIC))
        target = _core.resize_targets(np.array([[height, width]], np.int32), patch_px=16, sizing=sizing)[0]
        grid = (int(target[0]), int(target[1]))
        if name == "224x224":
            grid = (16, 16)  # a resize, as in benchmarks/preprocess.py
        runs: list[Callable[[], Any]] = [
            partial(packer.write, [image], [grid]),
            partial(ne.complexity, image),
        ]
        times = [max(1, int(LEAST_S / seconds(run, 20))) for run in runs]
        found = [[seconds(run, count) for run, count in zip(runs, times, strict=True)] for _ in range(rounds)]
        share = statistics.median(one / all_of for all_of, one in found)
        whole, part = (statistics.median(column) * 1e6 for column in zip(*found, strict=True))
        table.add_row(name, f"{whole:.0f}", f"{part:.1f}", f"{share:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
