"""The most memory that a job over photographs takes beside the same job over thumbnails: `navit-edge run`, its peak.

    python benchmarks/job_memory.py BUNDLE [--images 200] [--decoders 2] [--rounds 3] [--output FILE.json]

The photographs are one picture of 4000 x 3000 pixels, each brightened a little otherwise, as JPEG (4:2:0, quality 90)
and as PNG; the thumbnails are the same at 224 x 168. A job is a process of its own; its peak is what the kernel says
when it ends, the engine and Python included. The median over rounds, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

#: name -> size (width_px, height_px), suffix
JOBS = {
    "thumbnails": ((224, 168), ".jpg"),
    "12 MP, JPEG": ((4000, 3000), ".jpg"),
    "12 MP, PNG": ((4000, 3000), ".png"),
}
DISTINCT = 8  # files; the others are copies of them, since a session that remembers nothing decodes each


def write_files(folder: Path, size: tuple[int, int], suffix: str, count: int) -> None:
    import images as image_sets

    folder.mkdir()
    photograph = np.asarray(Image.fromarray(image_sets.photograph()).resize(size))
    for index in range(count):
        file = folder / f"{index:03}{suffix}"
        if index >= DISTINCT:
            os.link(folder / f"{index % DISTINCT:03}{suffix}", file)
            continue
        image = Image.fromarray(np.clip(photograph.astype(np.int16) + index, 0, 255).astype(np.uint8))
        if suffix == ".jpg":
            image.save(file, quality=90)
        else:
            image.save(file, compress_level=1)


def write_elsewhere(*told: Any) -> None:
    """In a process of its own: the kernel counts the memory of who starts a job as the job's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(write_files, *told).result()


def peak_bytes(bundle: Path, folder: Path, decoders: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "navit_edge.cli.main", "run", str(bundle), str(folder), "--device", "cpu"]
        command += ["--decoders", str(decoders), "--output", f"{place}/results.jsonl", "--quiet"]
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_maxrss << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--decoders", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    peaks: dict[str, list[int]] = {name: [] for name in JOBS}
    with tempfile.TemporaryDirectory() as place:
        for name, (size, suffix) in JOBS.items():
            write_elsewhere(Path(place) / name, size, suffix, arguments.images)
        for _ in range(arguments.rounds):
            for name, found in peaks.items():
                found.append(peak_bytes(arguments.bundle, Path(place) / name, arguments.decoders))
    from end_to_end import hardware  # which imports PyTorch

    least = statistics.median(peaks["thumbnails"])
    report: dict[str, Any] = {"hardware": hardware(), "images": arguments.images, "decoders": arguments.decoders}
    report |= {"rounds": arguments.rounds, "load": os.getloadavg()[0], "jobs": {}}
    table = Table("job", "peak, MiB", "over thumbnails, MiB")
    for name, found in peaks.items():
        peak = statistics.median(found)
        report["jobs"][name] = {"peak_bytes": peak, "over_thumbnails_bytes": peak - least}
        table.add_row(name, f"{peak / 2**20:.1f}", f"{(peak - least) / 2**20:.1f}")
    Console().print(table)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
