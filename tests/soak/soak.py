"""Runs images of ever new shapes through one session and looks whether anything of the process grows.

    python tests/soak/soak.py [--bundle DIR] [--seconds 300 | --packs N] [--warm-up 2000] [--option NAME=VALUE ...]

`run`, `submit` and `stream` take turns. Prints what it saw as JSON, and why where the exit code is 1. `make soak` runs
it for five minutes on a tiny model; `tests/python/test_soak.py` runs it for some seconds.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import navit_edge as ne

Image = npt.NDArray[np.uint8]
#: Most growth of the resident memory after the warm-up.
GROWTH = 0.03
#: Most of what packs took that stays when the session is closed.
KEPT = 0.4


def look(packs: int) -> dict[str, int]:
    """What the process holds."""
    status = Path("/proc/self/status").read_text()
    return {
        "packs": packs,
        "resident_kib": int(status.split("VmRSS:")[1].split()[0]),
        "threads": int(status.split("Threads:")[1].split()[0]),
        "mappings": Path("/proc/self/maps").read_text().count("\n"),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def batches(patch_px: int, side: int, most: int) -> Iterator[list[Image]]:
    """Up to `most` images of 1 to `side` patches a side, never the same twice in a while."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (side * patch_px, side * patch_px, 3), np.uint8)
    while True:
        yield [
            noise[: rng.integers(1, side + 1) * patch_px, : rng.integers(1, side + 1) * patch_px]
            for _ in range(rng.integers(1, most + 1))
        ]


def run_all(session: ne.Session, images: list[Image], way: str) -> int:
    """One batch in one of three ways; returns how many packs it took."""
    if way == "run":
        session.run(images)
        return len(session.last_report["packs"])
    if way == "submit":
        results = [future.result() for future in [session.submit(image) for image in images]]
    else:
        results = list(session.stream(iter(images)))
    return len({result.pack for result in results})


def soak(session: ne.Session, patch_px: int, arguments: argparse.Namespace) -> list[dict[str, int]]:
    """What the process held, from the end of the warm-up on."""
    seen: list[dict[str, int]] = []
    end = time.monotonic() + arguments.seconds
    packs, next_look = 0, arguments.warm_up
    for turn, images in enumerate(batches(patch_px, arguments.side, arguments.images)):
        packs += run_all(session, images, ("run", "submit", "stream")[turn % 3])
        if packs >= next_look:
            seen.append(look(packs))
            next_look = packs + arguments.every
        if packs >= arguments.packs if arguments.packs else time.monotonic() >= end and len(seen) >= 6:
            return seen
    return seen


def judge(seen: list[dict[str, int]], growth: float) -> list[str]:
    """What has grown: the medians of the first and the last third, so that no single look decides."""
    third = max(1, len(seen) // 3)
    grown = []
    for field, allowed in (("resident_kib", growth), ("mappings", 0.1), ("threads", 0.0), ("descriptors", 0.0)):
        before = statistics.median(one[field] for one in seen[:third])
        after = statistics.median(one[field] for one in seen[-third:])
        if after > before * (1 + allowed):
            grown.append(f"{field} grew from {before:g} to {after:g}; expected at most {allowed:.0%} more")
    return grown


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="without it a tiny model's")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--packs", type=int, default=0, help="ends after so many packs instead of seconds")
    parser.add_argument("--warm-up", type=int, default=2000, help="packs before the first look")
    parser.add_argument("--every", type=int, default=100, help="packs between two looks")
    parser.add_argument("--side", type=int, default=16, help="most patches a side of an image")
    parser.add_argument("--images", type=int, default=9, help="most images of a batch")
    parser.add_argument("--growth", type=float, default=GROWTH, help="most growth of the resident memory after it")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return examine(arguments.bundle or tiny_bundle(Path(scratch)), arguments)


def tiny_bundle(directory: Path) -> Path:
    """Two layers of width 64 with an engine in float32."""
    from navit_edge.compile import BuildRequest, build_engines

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
    from tiny_bundle import make_bundle

    bundle: Path = make_bundle(directory / "tiny.navit")
    build_engines(
        bundle, BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,))
    )
    return bundle


def examine(bundle: Path, arguments: argparse.Namespace) -> int:
    """The exit code."""
    options = dict(one.split("=", 1) for one in arguments.option)
    patch_px = ne.load_manifest(bundle).preprocess.patch_px
    with ne.Session(bundle, device="cpu", options=options) as session:
        opened = look(0)
        seen = soak(session, patch_px, arguments)
    del session
    gc.collect()
    closed = look(seen[-1]["packs"])
    grown = judge(seen, arguments.growth)
    kept, taken = (one["resident_kib"] - opened["resident_kib"] for one in (closed, seen[-1]))
    if kept > KEPT * taken:
        grown.append(f"{kept} KiB of {taken} KiB stay after the session; expected at most {KEPT:.0%}")
    report: dict[str, Any] = {"grown": grown, "opened": opened, "closed": closed, "seen": seen}
    print(json.dumps(report))
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
