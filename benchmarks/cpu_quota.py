"""Threads under a true CPU quota: what a session takes by itself, against other numbers. Linux, as root.

    sudo python benchmarks/cpu_quota.py BUNDLE [--quotas 1,1.5,2] [--threads 1,2] [--rounds 5] [--nice 0]

Makes a control group below this process's own (version 1 or 2), gives it each quota, runs a child in it, and removes
it. The child opens a session for each number of threads and one by default, and runs the same images in turn; a ratio
is the median over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images as image_sets
from rich.console import Console
from rich.table import Table

PERIOD_US = 100_000
ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def group(quota: float) -> Iterator[Path]:
    """A control group with this quota, in cores."""
    second = (ROOT / "cgroup.controllers").exists()
    folder = (ROOT if second else ROOT / "cpu") / f"navit-edge-quota-{os.getpid()}"
    folder.mkdir()
    try:
        if second:
            (folder / "cpu.max").write_text(f"{round(quota * PERIOD_US)} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(round(quota * PERIOD_US)))
        yield folder
    finally:
        folder.rmdir()


def child(folder: Path, bundle: Path, threads: list[int], rounds: int, nice: int) -> dict[str, Any]:
    (folder / "cgroup.procs").write_text(str(os.getpid()))  # before any library counts cores
    os.nice(nice)
    import navit_edge as ne

    images = image_sets.images_of(image_sets.mixed_grids(8, most=512))
    sessions = {"default": ne.Session(bundle, device="cpu")}
    sessions |= {str(count): ne.Session(bundle, device="cpu", threads=count) for count in threads}
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + 1):  # the first is the warm-up
        for name, session in sessions.items():
            time.sleep(2 * PERIOD_US / 1e6)  # a fresh period for each
            start = time.perf_counter()
            session.run(images)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "why": sessions[name].engine_report["cpu"]["why"],
            "images_per_second": len(images) / statistics.median(own),
            "speed": statistics.median(a / b for a, b in zip(seconds["default"], own, strict=True)),
        }
        for name, own in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--quotas", default="1,1.5,2")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nice", type=int, default=0, help="of the child: below 0 on a busy machine")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads = [int(word) for word in arguments.threads.split(",")]
    if arguments.child is not None:
        found = child(arguments.child, arguments.bundle, threads, arguments.rounds, arguments.nice)
        print(json.dumps(found))
        return
    from end_to_end import hardware

    report: dict[str, Any] = {"hardware": hardware(), "rounds": arguments.rounds, "load": os.getloadavg()[0]}
    table = Table("quota", "threads", "images/s", "over the default")
    for quota in (float(word) for word in arguments.quotas.split(",")):
        with group(quota) as folder:
            command = [sys.executable, *sys.argv, "--child", str(folder)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        report[f"quota {quota:g}"] = found
        for row in found.values():
            table.add_row(f"{quota:g}", row["why"], f"{row['images_per_second']:.2f}", f"{row['speed']:.2f} x")
    Console().print(table)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
