"""What merging inside the model costs in accuracy, against giving the image fewer tokens of the same computing.

    python benchmarks/merging.py -o benchmarks/merging.json [--only LABEL …]
    python benchmarks/merging.py -o benchmarks/merging.json --table

The shipped clip-art model on its 200 test images (tests/data/clipart/test), in PyTorch and float32, one by one:
top-1 with its Wilson interval at 95 %. Beside it the multiply-adds of an image, counted from the shapes of the products
(linear layers, attention, the pairs of a merge), mean over the images: no time is measured here. Rows are "cap N" (the
sizing rule token-cap with N patches and nothing merged) and "METHOD LAYER:KEEP" (144 patches, merged). "against caps":
points of accuracy above what a cap of the same computing gives, by a straight line between the two nearest caps.
Configurations that the JSON file holds are not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from navit_edge import files
from navit_edge.bundle.merging import parse_merging
from navit_edge.evaluate.metrics import share
from navit_edge_export.model.checkpoint import load_checkpoint
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT
from navit_edge_export.preprocess import prepare

ROOT = Path(__file__).resolve().parents[1]
TEST = ROOT / "tests" / "data" / "clipart" / "test"
MAX_TOKENS = 144  # of the model's training
CAPS = (144, 121, 100, 81, 64, 49, 36)
KEEPS = ("0.75", "0.5", "0.35")
LAYERS = (0, 1, 2)
METHODS = ("tome", "pitome")


def read_images() -> tuple[list[Any], list[int]]:
    """RGB images over white, and the numbers of their classes (folders in their order)."""
    images, labels = [], []
    for number, folder in enumerate(sorted(path for path in TEST.iterdir() if path.is_dir())):
        for path in sorted(folder.iterdir()):
            picture = Image.open(path).convert("RGBA")
            white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            images.append(np.asarray(Image.alpha_composite(white, picture).convert("RGB")))
            labels.append(number)
    return images, labels


def multiply_adds(config: NaViTConfig, patches: int, merge: str | None) -> float:
    """Of one image in the blocks, in millions."""
    merging = None if merge is None else parse_merging(merge, longest=MAX_TOKENS)
    total, count = 0, patches
    for layer in range(config.depth):
        total += count * 4 * config.width**2 + 2 * count * count * config.width
        if merging is not None and layer == merging.layer:
            pairs = sum(size**2 for size in merging.group_sizes(count))
            total += pairs * (config.width // config.heads) + merging.kept_of(count) * count * config.width
            count = merging.kept_of(count)
        total += count * 2 * config.width * config.mlp_width
    return total / 1e6


def run(model: NaViT, images: list[Any], labels: list[int], *, cap: int, merge: str | None) -> dict[str, Any]:
    """Accuracy and multiply-adds of one configuration."""
    model = copy.copy(model)
    model._modules = dict(model._modules)
    if merge is not None:
        model.with_merging(parse_merging(merge, longest=MAX_TOKENS))
    right, computed, patches = 0, 0.0, 0
    for image, label in zip(images, labels, strict=True):
        ready = prepare(image, patch_px=model.config.patch_px, max_tokens=cap)
        count = ready.shape[0] * ready.shape[1] // model.config.patch_px**2
        with torch.inference_mode():
            right += int(model.forward_images([ready])["logits"][0].argmax()) == label
        computed += multiply_adds(model.config, count, merge)
        patches += count
    found = share(right, len(images))
    return {
        "right": right,
        "images": len(images),
        "top1": found.value,
        "low": found.low,
        "high": found.high,
        "patches": patches / len(images),
        "multiply_adds_millions": computed / len(images),
    }


def configurations() -> dict[str, tuple[int, str | None]]:
    """Label -> cap and merge."""
    rows: dict[str, tuple[int, str | None]] = {f"cap {cap}": (cap, None) for cap in CAPS}
    for layer in LAYERS:
        for keep in KEEPS:
            for method in METHODS:
                rows[f"{method} {layer}:{keep}"] = (MAX_TOKENS, f"{layer}:{keep}:{method}")
    return rows


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    caps = sorted((row["multiply_adds_millions"], row["top1"]) for name, row in rows.items() if name.startswith("cap"))
    lines = [
        "| | top-1 (95 % interval) | multiply-adds an image, millions | against caps |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        at = row["multiply_adds_millions"]
        gain = 100 * (row["top1"] - float(np.interp(at, [x for x, _ in caps], [y for _, y in caps])))
        lines.append(
            f"| {name} | {100 * row['top1']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f}) | {at:.0f} "
            f"| {'' if name.startswith('cap') else f'{gain:+.1f}'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[], metavar="LABEL")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, Any]] = files.read_json(arguments.output)["rows"] if arguments.output.exists() else {}
    if not arguments.table:
        torch.set_num_threads(1)
        model = load_checkpoint(ROOT / "examples" / "models" / "clipart.safetensors").eval()
        images, labels = read_images()
        for name, (cap, merge) in configurations().items():
            if name in rows or (arguments.only and name not in arguments.only):
                continue
            rows[name] = run(model, images, labels, cap=cap, merge=merge)
            print(name, rows[name], flush=True)
            content = {"command": "python benchmarks/merging.py", "torch": torch.__version__, "rows": rows}
            arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
