"""A fixed camera: frames that show what the frame before showed, run each, and with ``stream(still=ne.Still())``.

    python benchmarks/still_camera.py BUNDLE [--frames 300] [--moving 0.1] [--rounds 5] [--output FILE.json]

The film is one photograph at 640 x 427 with a sensor's noise on every frame (normal, 2.5 levels); for a share of the
time something of 80 x 80 pixels moves past. Frames are made beforehand and stay in memory. Every round times each
contender once, in turn; images/s are medians over rounds, the ratio is the median of the ratios within a round. How far
an embedding that came again is from the frame's own is beside it, as a cosine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import images as image_sets
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

import navit_edge as ne

SIDE = 80
NOISE_LEVELS = 2.5
CACHE_BYTES = 64 << 20


def film(count: int, moving: float) -> list[npt.NDArray[np.uint8]]:
    """Something comes once, in the middle."""
    photograph = image_sets.photograph()
    rng = np.random.default_rng(0)
    first = round(count * (1 - moving) / 2)
    frames = []
    for number in range(count):
        frame = photograph.copy()
        step = number - first
        if 0 <= step < count * moving:
            x = 20 + round(step / max(1, count * moving) * (frame.shape[1] - SIDE - 40))
            frame[150 : 150 + SIDE, x : x + SIDE] = 255 - frame[150 : 150 + SIDE, x : x + SIDE]
        noise = rng.normal(0, NOISE_LEVELS, frame.shape)
        frames.append(np.clip(frame + noise, 0, 255).round().astype(np.uint8))
    return frames


def main() -> None:
    from end_to_end import hardware

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--moving", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    frames = film(arguments.frames, arguments.moving)
    seconds: dict[str, list[float]] = {"every frame": [], "still": []}
    with ne.Session(arguments.bundle, device="cpu", cache_bytes=CACHE_BYTES) as session:
        own = [np.array(result.embedding) for result in session.stream(frames)]
        again = list(session.stream(frames, still=ne.Still()))
        pairs = [(a, np.array(b.embedding)) for a, b in zip(own, again, strict=True)]
        cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]
        engine = session.engine
    for _ in range(arguments.rounds):
        for name, found in seconds.items():
            # A session of its own, so that no frame is remembered from the round before.
            cache = CACHE_BYTES if name == "still" else 0
            with ne.Session(arguments.bundle, device="cpu", cache_bytes=cache) as session:
                session.run(frames[:2])
                began = time.perf_counter()
                for result in session.stream(frames, still=ne.Still() if name == "still" else None):
                    if result.error is not None:
                        raise result.error
                found.append(time.perf_counter() - began)
    report: dict[str, Any] = {
        "hardware": hardware(),
        "engine": engine,
        "frames": arguments.frames,
        "moving": arguments.moving,
        "rounds": arguments.rounds,
        "load": os.getloadavg()[0],
        "images_per_second": {name: arguments.frames / statistics.median(found) for name, found in seconds.items()},
        "speed": statistics.median(a / b for a, b in zip(*seconds.values(), strict=True)),
        "frames_run": sum(not result.cached for result in again),
        "least_cosine": min(cosines),
    }
    table = Table("", "images/s")
    for name, rate in report["images_per_second"].items():
        table.add_row(name, f"{rate:.1f}")
    console = Console()
    console.print(table)
    console.print(
        f"{report['speed']:.2f} x; {report['frames_run']} of {arguments.frames} frames run; least cosine of an "
        f"embedding to the frame's own {report['least_cosine']:.5f}"
    )
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
