"""From pixels to `patches`: the core against Pillow, OpenCV, PyTorch and NumPy, in one run, as ratios.

    python benchmarks/preprocess.py [--rounds 9] [--output benchmarks/preprocess.json]

Every round times each contender once, in turn; a ratio is the median over rounds of the ratio within a round. One
thread is timed in processor time, which other work on the machine does not lengthen, two in wall time. Each contender
starts from the image in the form that it likes best (an array, a PIL image, a tensor) and ends with the rows of all
images in one array [T, F]. Only Pillow gives the same bytes as the core, and the run checks that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from images import photograph
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.machine.cores import usable_cores

UInt8Array = npt.NDArray[np.uint8]
Run = Callable[[], UInt8Array]
Seconds = dict[str, list[float]]
PATCH_PX = 16
MAX_TOKENS = 1024
#: name -> (height, width, images in a pack)
SETS = {"12 MP": (3000, 4000, 2), "1080p": (1080, 1920, 6), "640x480": (480, 640, 24), "224x224": (224, 224, 96)}
NO_RESIZE = {"12 MP": (3008, 4000, 2), "1080p": (1088, 1920, 6), "640x480": (480, 640, 24), "224x224": (224, 224, 96)}


def sample(height: int, width: int) -> UInt8Array:
    """A photograph at this size."""
    return np.asarray(Image.fromarray(photograph()).resize((width, height), Image.Resampling.BICUBIC))


def cut(image: UInt8Array, out: UInt8Array) -> None:
    """NumPy's patchify: an image [rows * P, cols * P, 3] into rows [rows * cols, F]."""
    rows, cols = image.shape[0] // PATCH_PX, image.shape[1] // PATCH_PX
    out.reshape(rows, cols, PATCH_PX, PATCH_PX, 3)[...] = image.reshape(rows, PATCH_PX, cols, PATCH_PX, 3).transpose(
        0, 2, 1, 3, 4
    )


def in_turn(images: list[Any], grid: tuple[int, int], resized: Callable[[Any], UInt8Array]) -> Run:
    """Resize and cut one image after another, into one array that is used again."""
    tokens = grid[0] * grid[1]
    out = np.empty((len(images) * tokens, PATCH_PX * PATCH_PX * 3), np.uint8)

    def run() -> UInt8Array:
        for index, image in enumerate(images):
            cut(resized(image), out[index * tokens : (index + 1) * tokens])
        return out

    return run


def core(images: list[Any], grid: tuple[int, int], threads: int) -> Run:
    native = to_json(Sizing(rule="native"))
    packer = _core.Packer.of(inputs=["patches"], patch_px=PATCH_PX, sizing=native, threads=threads)
    grids = [grid] * len(images)
    return lambda: packer.write(images, grids)["patches"]


def torch_float(images: list[torch.Tensor], grid: tuple[int, int]) -> Run:
    """As torchvision's tensors: float, antialias, unfold."""
    size = (grid[0] * PATCH_PX, grid[1] * PATCH_PX)

    def run() -> UInt8Array:
        rows = []
        for image in images:
            small = functional.interpolate(image[None].float() / 255, size, mode="bilinear", antialias=True)
            rows.append(functional.unfold(small, PATCH_PX, stride=PATCH_PX)[0].T)
        return torch.cat(rows).numpy()

    return run


def torch_uint8(images: list[torch.Tensor], grid: tuple[int, int]) -> Run:
    """PyTorch's own 8-bit resize of channels-last tensors, then NumPy's patchify."""
    size = (grid[0] * PATCH_PX, grid[1] * PATCH_PX)

    def resized(image: torch.Tensor) -> UInt8Array:
        small = functional.interpolate(image[None], size, mode="bilinear", antialias=True)
        return small[0].permute(1, 2, 0).contiguous().numpy()

    return in_turn(images, grid, resized)


def resize_contenders(image: UInt8Array, count: int, grid: tuple[int, int], threads: int) -> dict[str, Run]:
    """Everyone who resizes and cuts `count` copies of an image."""
    size = (grid[1] * PATCH_PX, grid[0] * PATCH_PX)
    arrays = [image.copy() for _ in range(count)]
    pictures = [Image.fromarray(one) for one in arrays]
    tensors = [torch.from_numpy(one).permute(2, 0, 1) for one in arrays]  # channels last in memory

    def by_pillow(picture: Image.Image) -> UInt8Array:
        return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))

    runs = {
        "navit-edge": core(arrays, grid, threads),
        "Pillow + NumPy": in_turn(pictures, grid, by_pillow),
        "OpenCV INTER_AREA + NumPy": in_turn(arrays, grid, lambda a: cv2.resize(a, size, interpolation=cv2.INTER_AREA)),
        "OpenCV INTER_LINEAR + NumPy": in_turn(
            arrays, grid, lambda a: cv2.resize(a, size, interpolation=cv2.INTER_LINEAR)
        ),
        "PyTorch uint8 antialias + NumPy": torch_uint8(tensors, grid),
        "PyTorch float antialias + unfold": torch_float(tensors, grid),
    }
    assert np.array_equal(runs["navit-edge"](), runs["Pillow + NumPy"]())
    return runs


def copy_contenders(image: UInt8Array, count: int, grid: tuple[int, int], threads: int) -> dict[str, Run]:
    """Everyone who moves the bytes of images that keep their size; a plain copy is the ceiling."""
    arrays = [image.copy() for _ in range(count)]
    flat = np.empty((count, *image.shape), np.uint8)

    def copy() -> UInt8Array:
        for index, one in enumerate(arrays):
            np.copyto(flat[index], one)
        return flat

    runs = {
        "navit-edge": core(arrays, grid, threads),
        "memcpy": copy,
        "NumPy": in_turn(arrays, grid, lambda one: one),
    }
    assert np.array_equal(runs["navit-edge"](), runs["NumPy"]())
    return runs


def measured(runs: dict[str, Run], rounds: int, clock: Callable[[], float], least_s: float = 0.03) -> Seconds:
    """Seconds of each run, `rounds` times; short ones are repeated within a round."""
    repeats = {}
    for name, run in runs.items():
        run()
        start = clock()
        run()
        repeats[name] = max(1, round(least_s / max(clock() - start, 1e-9)))
    seconds: Seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            for _ in range(repeats[name]):
                run()
            seconds[name].append((clock() - start) / repeats[name])
    return seconds


def summary(seconds: Seconds, pixels: int, images: int) -> dict[str, Any]:
    ours = seconds["navit-edge"]
    return {
        name: {
            "ms_per_image": 1000 * statistics.median(times) / images,
            "megapixels_per_second": pixels / statistics.median(times) / 1e6,
            "navit_edge_speedup": statistics.median(t / o for t, o in zip(times, ours, strict=True)),
        }
        for name, times in seconds.items()
    }


def hardware() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": usable_cores(),
        "simd": os.environ.get("NAVIT_EDGE_SIMD") or "widest",
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "pillow", "torch", "opencv-python-headless")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    report: dict[str, Any] = {"hardware": hardware(), "rounds": arguments.rounds, "load": os.getloadavg()[0]}
    console = Console()
    for title, sets, make in (("resize", SETS, resize_contenders), ("no resize", NO_RESIZE, copy_contenders)):
        report[title] = {}
        for name, (height, width, count) in sets.items():
            image = sample(height, width)
            if title == "resize" and name != "224x224":
                sizing = to_json(Sizing(rule="token-cap", max_tokens=MAX_TOKENS))
                size = np.array([[height, width]], np.int32)
                rows, columns = _core.resize_targets(size, patch_px=PATCH_PX, sizing=sizing)[0]
                grid = (int(rows), int(columns))
            elif title == "resize":
                grid = (16, 16)  # up to 256 x 256: at its own size there is nothing to resize
            else:
                grid = (height // PATCH_PX, width // PATCH_PX)
            report[title][name] = {"pixels": [height, width], "images": count, "grid": list(grid)}
            table = Table("", "threads", "ms an image", "MP/s", "navit-edge is faster by", title=f"{title}, {name}")
            for threads in arguments.threads:
                cv2.setNumThreads(threads)
                torch.set_num_threads(threads)
                clock = time.process_time if threads == 1 else time.perf_counter
                seconds = measured(make(image, count, grid, threads), arguments.rounds, clock)
                result = summary(seconds, height * width * count, count)
                report[title][name][str(threads)] = result
                for contender, row in result.items():
                    table.add_row(
                        contender,
                        str(threads),
                        f"{row['ms_per_image']:.3f}",
                        f"{row['megapixels_per_second']:.0f}",
                        f"{row['navit_edge_speedup']:.2f} ×",
                    )
            console.print(table)
            arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    for title, sets, make in (("resize", SETS, resize_contenders), ("no resize", NO_RESIZE, copy_contenders)):
        for name, (height, width, count) in sets.items():
            entry = report[title][name]
            image = sample(height, width)
            pair = {str(threads): make(image, count, tuple(entry["grid"]), threads)["navit-edge"] for threads in (1, 2)}
            seconds = measured(pair, arguments.rounds, time.perf_counter)
            entry["two_threads_speedup"] = statistics.median(
                one / two for one, two in zip(seconds["1"], seconds["2"], strict=True)
            )
            console.print(f"{title}, {name}: two threads are {entry['two_threads_speedup']:.2f} × one")
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
