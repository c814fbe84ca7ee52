"""Which images the study takes, and copies of them with pixels that are resized beforehand."""

from __future__ import annotations

import csv
import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from accuracy_study.resizers import RESIZERS, Pixels, exact
from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.decode import DecodeOptions, Decoder
from navit_edge.evaluate.data import Example, read_examples
from navit_edge.pixels import load_image

PATCH_PX = 14
#: Most patches of an image, in all rows.
MOST = 576
CAPS = (64, 128, 256, MOST)
#: Of bf16, int8 and squares.
FEW_CAPS = (64, 256)
#: Of images that other libraries resize: most shrink.
DRIFT_CAP = 64
#: Of images under policies.
POLICY_CAP = 256
PARTS = ("train", "test")
_CALIBRATION = 64
_DONE = "done"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """folder: of the study. counts: images of each part."""

    folder: Path
    counts: dict[str, int]

    @property
    def calibration(self) -> Path:
        """Training images that are in no other part of the study."""
        return self.folder / "calibration"

    def table(self, part: str, prepared: str = "") -> Path:
        """A CSV file for `navit-edge evaluate`. prepared: which pixels; "": the files themselves."""
        return self.folder / "prepared" / prepared / f"{part}.csv" if prepared else self.folder / f"{part}.csv"


def draw(data: Path, folder: Path, counts: dict[str, int]) -> Sample:
    """A sample of ``data``/train and ``data``/test, each class with its share; the same every time."""
    sample = Sample(folder=folder, counts=counts)
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        examples = read_examples(data / part).examples
        chosen, rest = stratified(examples, counts[part])
        _write_table(sample.table(part), [(str(Path(one.path).resolve()), one.label) for one in chosen])
        if part == "train" and not sample.calibration.exists():
            sample.calibration.mkdir()
            for place, one in enumerate(stratified(rest, _CALIBRATION)[0]):
                shutil.copyfile(one.path, sample.calibration / f"{place:03}{Path(one.path).suffix}")
    return sample


def stratified(examples: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """(so many of them, the rest): of each class its share, by the largest remainders; which ones, by a hash."""
    classes: dict[str, list[Example]] = {}
    for one in sorted(examples, key=lambda one: hashlib.sha256(one.name.encode()).digest()):
        classes.setdefault(one.label, []).append(one)
    exact_share = {label: min(count, len(examples)) * len(ones) / len(examples) for label, ones in classes.items()}
    taken = {label: math.floor(share) for label, share in exact_share.items()}
    missing = min(count, len(examples)) - sum(taken.values())
    for label in sorted(classes, key=lambda label: (taken[label] - exact_share[label], label))[:missing]:
        taken[label] += 1
    chosen = [one for label in sorted(classes) for one in classes[label][: taken[label]]]
    rest = [one for label in sorted(classes) for one in classes[label][taken[label] :]]
    return chosen, rest


def grid_of(height_px: int, width_px: int, cap: int) -> tuple[int, int]:
    """Rows and columns that a session gives an image: its own shape, at most ``cap`` patches."""
    rule = to_json(Sizing(rule="token-cap", max_tokens=MOST))
    size = np.array([[height_px, width_px]], np.int32)
    rows, cols = _core.resize_targets(size, patch_px=PATCH_PX, sizing=rule, max_tokens_per_image=cap)[0]
    return int(rows), int(cols)


def native_patches(height_px: int, width_px: int) -> int:
    """Of an image at its own size, whatever the cap."""
    return max(1, (2 * height_px + PATCH_PX) // (2 * PATCH_PX)) * max(1, (2 * width_px + PATCH_PX) // (2 * PATCH_PX))


def square_of(grid: tuple[int, int]) -> tuple[int, int]:
    """The square with the number of patches nearest to that of a grid."""
    side = max(1, round(math.sqrt(grid[0] * grid[1])))
    return side, side


def prepare(sample: Sample) -> None:
    """The images with the pixels that each of ``preparations`` names, as PNG files of whole patches."""
    todo = {
        key: write for key, write in preparations().items() if not (sample.table("test", key).parent / _DONE).exists()
    }
    decoder = Decoder(DecodeOptions())
    for part in PARTS:
        keys = [key for key in todo if part == "test" or key.startswith(("exact", "square", "fixed"))]
        rows: list[tuple[str, str]] = []
        for place, one in enumerate(read_examples(sample.table(part)).examples if keys else ()):
            rows.append((f"{part}/{place:05}.png", one.label))
            image = load_image(one.path, decoder)
            for key in keys:
                _write_pixels(sample.table(part, key).parent / rows[-1][0], todo[key](image), rows[-1][0])
        for key in keys:
            _write_table(sample.table(part, key), rows)
    for key in todo:
        (sample.table("test", key).parent / _DONE).touch()


def _write_pixels(path: Path, pixels: Pixels, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = PngInfo()  # two images of one colour are no copies of each other
    told.add_text("Title", name)
    Image.fromarray(pixels).save(path, compress_level=1, pnginfo=told)


def preparations() -> dict[str, Callable[[Pixels], Pixels]]:
    """key -> from an image to its pixels."""

    def to_grid(resizer: str, cap: int) -> Callable[[Pixels], Pixels]:
        resize = RESIZERS[resizer][1]
        return lambda image: resize(image, _pixels(grid_of(image.shape[0], image.shape[1], cap)))

    def to_square(cap: int) -> Callable[[Pixels], Pixels]:
        return lambda image: exact(image, _pixels(square_of(grid_of(image.shape[0], image.shape[1], cap))))

    made = {f"{name}-{DRIFT_CAP}": to_grid(name, DRIFT_CAP) for name in RESIZERS}
    made |= {f"square-{cap}": to_square(cap) for cap in FEW_CAPS}
    made["fixed-256"] = lambda image: exact(image, _pixels((16, 16)))
    return made


def _pixels(grid: tuple[int, int]) -> tuple[int, int]:
    return grid[0] * PATCH_PX, grid[1] * PATCH_PX


def _write_table(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        writer.writerows(rows)
