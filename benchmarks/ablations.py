"""What each part of the training method is worth: small models, all trained for as many steps of about as many tokens.

    python examples/train/clipart.py clipart
    python -m navit_edge_export.training.teacher DINOV2 clipart/train clipart/teacher.safetensors --max-tokens 144
    python benchmarks/ablations.py clipart -o benchmarks/ablations.json [--only NAME …] [--table]

A run of the table below differs from the first, `base`, in one thing; runs in any order and of padded batches differ
from `no distillation`. Each is trained with `threads` 1 and judged on the test images by the rule token-cap. Runs that
the JSON file holds are not run again. --table prints the file. Accuracy is the mean over seeds, with the Wilson
interval at 95 % of one seed's test images, as all seeds have the same; images/s are those of the training by processor
time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from navit_edge import files
from navit_edge.evaluate.metrics import share
from navit_edge.machine.host import Host
from navit_edge_export.preprocess import GRAPH_INPUTS, Pack
from navit_edge_export.training.curves import read_curve
from navit_edge_export.training.dataset import ArrayDataset, Dataset, read_folder
from navit_edge_export.training.loader import TrainingPack
from navit_edge_export.training.loop import accuracy, train
from navit_edge_export.training.recipe import Recipe

SIDE_PX = 128
BASE: dict[str, Any] = {
    "data": "train",
    "model": {"width": 96, "depth": 4, "heads": 3, "mlp_width": 384, "patch_px": 16, "position_entries": 16},
    "token_budget": 1024,
    "packing": {"tokens_per_step": 2048, "max_images": 64, "order": "area"},
    "resolution": {"pools": [{"kind": "side", "min_px": 64, "max_px": SIDE_PX}]},
    "augment": {"flip": 0.5, "crop": 0.6, "brightness": 0.3, "contrast": 0.3, "background": "half-white"},
    "rate": {"peak": 0.002, "steps": 300, "warmup_steps": 30, "decay": "cosine", "floor": 0.02},
    "optimizer": {"weight_decay": 0.05, "ema": 0.98},
    "loss": {"smoothing": 0.1, "table": "teacher", "distillation_weight": 4.0},
    "monitor": {"attention_steps": 20},
    "threads": 1,
    "checkpoint_steps": 10_000,
}
#: Name -> what differs from BASE, seeds. "square" is the shape of the images, "padded" that of batches: no fields.
RUNS: dict[str, tuple[dict[str, Any], int]] = {
    "base": ({}, 3),
    "square": ({"square": True}, 3),
    "no distillation": ({"loss": {"table": ""}}, 3),
    "drop 0.3": ({"drop": {"kind": "constant", "rate": 0.3}}, 3),
    "drop 0.5": ({"drop": {"kind": "constant", "rate": 0.5}}, 3),
    "drop 0.5, blocks": ({"drop": {"kind": "constant", "rate": 0.5, "choice": "blocks"}}, 1),
    "drop 0.5, attention": ({"drop": {"kind": "constant", "rate": 0.5, "choice": "attention"}}, 1),
    "drop 0.3, beta": ({"drop": {"kind": "beta", "rate": 0.3, "max_rate": 0.6, "deviation": 0.2}}, 1),
    "progressive resolution": ({"resolution": {"scale": {"kind": "linear", "start": 0.6, "end": 1.0}}}, 1),
    "qk_norm off": ({"model": {"qk_norm": "off"}}, 1),
    "pooling mean": ({"model": {"pooling": "mean"}}, 1),
    "pooling cls": ({"model": {"pooling": "cls"}}, 1),
    "positions learned-absolute": ({"model": {"position_kind": "learned-absolute"}}, 1),
    "positions fourier": ({"model": {"position_kind": "fourier"}}, 1),
    "positions sinusoidal": ({"model": {"position_kind": "sinusoidal"}}, 1),
    "one image a pack": ({"packing": {"max_images": 1}}, 1),
    "any order": ({"loss": {"table": ""}, "packing": {"order": "random"}}, 1),
    "padded batches": ({"padded": True, "loss": {"table": ""}, "monitor": {"attention_steps": 0}}, 3),
    "padded batches, any order": (
        {
            "padded": True,
            "loss": {"table": ""},
            "monitor": {"attention_steps": 0},
            "packing": {"order": "random"},
        },
        3,
    ),
}
NOT_FIELDS = ("square", "padded")


def recipe_of(changes: dict[str, Any], *, seed: int, table: Path) -> Recipe:
    """BASE with the changes; fields of objects one by one."""
    values: dict[str, Any] = json.loads(json.dumps(BASE))
    values["loss"]["table"], values["seed"] = str(table), seed
    for name, change in changes.items():
        if name not in NOT_FIELDS:
            values[name] = {**values[name], **change} if isinstance(values.get(name), dict) else change
    return Recipe.from_dict(values)


def in_memory(data: Dataset, *, square: bool) -> ArrayDataset:
    """Images reduced to SIDE_PX, or squashed to squares of as many pixels, at most SIDE_PX² of them."""

    def reduced(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        image = Image.fromarray(pixels)
        if square:
            side = min(SIDE_PX, round((image.width * image.height) ** 0.5))
            return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
        image.thumbnail((2 * SIDE_PX, 2 * SIDE_PX), Image.Resampling.BOX)
        return np.asarray(image)

    images = [reduced(data.read(number)) for number in range(len(data.labels))]
    return ArrayDataset(images=images, labels=data.labels, class_names=data.class_names)


def padded(pack: Pack) -> Pack:
    """The same images as a batch [N, L], N * L rows: each is padded to the longest, through every layer."""
    images, longest = pack.attention_index.shape
    absent = pack.attention_index.ravel() < 0
    rows = np.where(absent, 0, pack.attention_index.ravel())
    everywhere = np.arange(images * longest, dtype=np.int32)
    return Pack(
        patches=np.where(absent[:, None], np.uint8(0), pack.patches[rows]),
        positions=np.where(absent[:, None], np.int32(0), pack.positions[rows]),
        segment_ids=np.where(absent, np.int32(images), pack.segment_ids[rows]),
        grid_hw=pack.grid_hw,
        attention_index=np.where(absent, np.int32(-1), everywhere).reshape(images, longest),
        token_index=everywhere,
        cu_seqlens=pack.cu_seqlens,
    )


@contextlib.contextmanager
def batches(*, are_padded: bool) -> Iterator[None]:
    """While it is open, the model is given packs as they are, or padded."""
    as_they_are = TrainingPack.inputs

    def inputs(self: TrainingPack, lowering: str, device: torch.device) -> dict[str, torch.Tensor]:
        arrays = padded(self.pack).inputs()
        return {name: torch.from_numpy(arrays[name]).to(device) for name in GRAPH_INPUTS[lowering]}

    if are_padded:
        TrainingPack.inputs = inputs  # type: ignore[method-assign]
    try:
        yield
    finally:
        TrainingPack.inputs = as_they_are  # type: ignore[method-assign]


def run(name: str, seed: int, data: ArrayDataset, test: ArrayDataset, table: Path) -> dict[str, Any]:
    """One training and its accuracy."""
    recipe = recipe_of(RUNS[name][0], seed=seed, table=table)
    with tempfile.TemporaryDirectory() as folder, batches(are_padded="padded" in RUNS[name][0]):
        began = time.process_time()
        done = train(recipe, Path(folder), data=data)
        seconds = time.process_time() - began
        curve = read_curve(Path(folder) / "curve.jsonl")
    measured = accuracy(done.trained(), test, max_tokens=(SIDE_PX // 16) ** 2)
    logits = [line["attention"]["max_logit"] for line in curve if line.get("attention")]
    return {
        "name": name,
        "seed": seed,
        "right": measured.right,
        "of": measured.images,
        "images_seen": sum(line["images"] for line in curve),
        "tokens_seen": sum(line["tokens"] for line in curve),
        "processor_s": round(seconds, 1),
        "last_loss": float(np.mean([line["loss"] for line in curve[-20:]])),
        "largest_attention_logit": max(logits, default=None),
        "steps_not_taken": sum(not line.get("taken", True) for line in curve),
    }


def table_of(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown."""
    of_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        of_name.setdefault(row["name"], []).append(row)
    lines = [
        "| run | seeds | accuracy | 95 % interval | by seed | tokens | images/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in [name for name in RUNS if name in of_name]:
        some = of_name[name]
        found = share(round(sum(row["right"] for row in some) / len(some)), some[0]["of"])
        each = ", ".join(f"{100 * row['right'] / row['of']:.1f}" for row in some)
        speed = sum(row["images_seen"] for row in some) / sum(row["processor_s"] for row in some)
        lines.append(
            f"| {name} | {len(some)} | {100 * found.value:.1f} % | {100 * found.low:.1f} to {100 * found.high:.1f} % "
            f"| {each} | {some[0]['tokens_seen'] / 1e6:.2f} M | {speed:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what examples/train/clipart.py made, with teacher.safetensors in it")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=tuple(RUNS), default=tuple(RUNS))
    parser.add_argument("--table", action="store_true", help="print what the file holds, and run nothing")
    chosen = parser.parse_args()
    content: dict[str, Any] = {"machine": Host.read().words, "base": BASE, "runs": []}
    if chosen.output.exists():
        content = json.loads(chosen.output.read_text(encoding="utf-8"))
    rows = content["runs"]
    if chosen.table:
        print(table_of(rows))
        return
    held = {(row["name"], row["seed"]) for row in rows}
    wanted = [(name, seed) for seed in range(3) for name in chosen.only if seed < RUNS[name][1]]
    folders = {part: read_folder(chosen.folder / part) for part in ("train", "test")}
    made: dict[tuple[str, bool], ArrayDataset] = {}
    for name, seed in (one for one in wanted if one not in held):
        square = "square" in RUNS[name][0]
        for part in ("train", "test"):
            if (part, square) not in made:
                made[part, square] = in_memory(folders[part], square=square)
        table = chosen.folder / "teacher.safetensors"
        rows.append(run(name, seed, made["train", square], made["test", square], table))
        files.write_whole(
            chosen.output, (json.dumps(content, indent=1) + "\n").encode(), beside=f".{chosen.output.name}.partial"
        )
        print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
