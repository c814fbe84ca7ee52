"""Peak memory of a process that writes results as Parquet and does nothing else, by the number of images.

python benchmarks/parquet_memory.py [--images 300,3000,30000] [--width 192]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from navit_edge.machine.text import kib_fields
from navit_edge.run.rows import Layout, Row
from navit_edge.run.sinks.parquet import ParquetSink


def write(images: int, width: int) -> int:
    """In this process; its peak in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(labels=[], top_k=3, shapes={"embedding": (width,)})
        sink = ParquetSink(Path(folder) / "out", layout, {}, resume=False, overwrite=False, part_rows=8192)
        rng = np.random.default_rng(0)
        for index in range(images):
            classes = [{"index": index % 997 + k, "score": 0.1 + index * 1e-5, "logit": 1.5 + k} for k in range(3)]
            record = {"file": f"{index:06}.jpg", "pixels": [100, 120], "grid": [7, 8], "tokens": 56, "pack": index // 8,
                      "scale": [1.01, 0.99], "latency_ms": 12.3 + index, "top_k": classes}  # fmt: skip
            sink.write(Row(record=record, arrays={"embedding": rng.random(width, np.float32)}))
        sink.flush()
        sink.close()
    return kib_fields(Path("/proc/self/status"))["VmHWM"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="300,3000,30000")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here is not None:
        print(write(given.here, given.width))
        return
    for images in map(int, given.images.split(",")):
        command = [sys.executable, __file__, "--here", str(images), "--width", str(given.width)]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{images} images: peak {peak / (1 << 20):.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
