"""Trains the model that `navit-edge demo` runs: a NaViT of 152,000 parameters that names the shape in a drawn picture.

Ten minutes on one core: python scripts/train_demo_model.py shapes.safetensors. Then, for what the package ships:
navit-edge export --checkpoint shapes.safetensors --labels shapes.txt --max-tokens 256 -o shapes.navit
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from navit_edge.demo.pictures import SHAPES, draw_picture
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.model.checkpoint import save_checkpoint
from navit_edge_export.preprocess import prepare

CONFIG = NaViTConfig(
    width=48,
    depth=3,
    heads=3,
    mlp_width=192,
    position_kind="learned-absolute",  # so that neighbours look alike in small and large pictures
    position_entries=24,
    num_classes=len(SHAPES),
)
MAX_TOKENS = 256
BATCH = 32
HELD_OUT = 25  # pictures of each shape, with the seeds from 0: those of the demo are among them
Pictures = list[tuple[npt.NDArray[np.uint8], int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument("--pictures", type=int, default=600, help="to train on, of each shape")
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rng = random.Random(0)
    held_out = pictures(range(HELD_OUT))
    pool = pictures(range(10_000, 10_000 + arguments.pictures))
    model = NaViT(CONFIG, seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=arguments.steps, pct_start=0.1)
    started = time.monotonic()
    for step in range(1, arguments.steps + 1):
        batch = rng.sample(pool, BATCH)
        logits = model.forward_images([varied(image, rng) for image, _ in batch], lowering="padded")["logits"]
        loss = nn.functional.cross_entropy(logits, torch.tensor([label for _, label in batch]), label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == arguments.steps:
            seconds = time.monotonic() - started
            print(
                f"step {step}: loss {loss.item():.3f}, {accuracy(model, held_out):.1%} held out, {seconds:.0f} s",
                flush=True,
            )
            save_checkpoint(model, arguments.output)


def pictures(seeds: range) -> Pictures:
    """Pictures of every shape with their class, brought onto their grids."""
    return [
        (prepare(np.asarray(draw_picture(shape, seed=seed)), patch_px=CONFIG.patch_px, max_tokens=MAX_TOKENS), label)
        for label, shape in enumerate(SHAPES)
        for seed in seeds
    ]


def varied(image: npt.NDArray[np.uint8], rng: random.Random) -> npt.NDArray[np.uint8]:
    """Turned, mirrored, with its colours exchanged or inverted: the shape is the same."""
    image = np.rot90(image, rng.randrange(4))
    if rng.random() < 0.5:
        image = image[:, ::-1]
    image = image[:, :, rng.sample(range(3), 3)]
    return np.ascontiguousarray(255 - image if rng.random() < 0.5 else image)


def accuracy(model: NaViT, held_out: Pictures) -> float:
    """Of the pictures that the model was not trained on, how many it names."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(held_out), BATCH):
            part = held_out[start : start + BATCH]
            logits = model.forward_images([image for image, _ in part], lowering="padded")["logits"]
            right += int((logits.argmax(1) == torch.tensor([label for _, label in part])).sum())
    return right / len(held_out)


if __name__ == "__main__":
    main()
