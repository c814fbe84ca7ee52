"""The training loop, and what a run leaves behind."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from navit_edge import files
from navit_edge.errors import InvalidInputError, MissingPackageError
from navit_edge_export.model.checkpoint import save_checkpoint
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.preprocess import prepare
from navit_edge_export.training.augment import over
from navit_edge_export.training.curves import draw_curve, read_curve
from navit_edge_export.training.dataset import Dataset, read_folder
from navit_edge_export.training.distributed import join, leave
from navit_edge_export.training.loader import TrainingPack
from navit_edge_export.training.monitor import TrainingStoppedError
from navit_edge_export.training.recipe import Recipe
from navit_edge_export.training.run import Run
from navit_edge_export.training.step import StepReport

WHITE = np.full(3, 255)


def train(
    recipe: Recipe, folder: Path, *, data: Dataset | None = None, report: Callable[[StepReport], None] | None = None
) -> Run:
    """Trains by a recipe until its last step; one that was interrupted goes on, to the same numbers.

    ``folder`` gets curve.jsonl, checkpoints, and at the end model.safetensors, which ``navit-edge export --checkpoint``
    takes, report.json and curve.png. data: instead of the recipe's folder.
    """
    with contextlib.ExitStack() as stack:
        rank = join()
        stack.callback(leave)
        run = Run(recipe, data or read_folder(Path(recipe.data)), folder, rank=rank)
        stack.callback(run.close)
        while not run.is_done:
            for _, packs in run.window():
                done = take_step(run, packs)
                run.record(done)
                if run.is_due:
                    run.save()
                if report is not None and rank.rank == 0:
                    report(done)
        finish(run)
    return run


def take_step(run: Run, packs: list[TrainingPack]) -> StepReport:
    """The run's next step. What the monitor ends is kept in a checkpoint before the error goes on."""
    try:
        return run.stepper.step(run.place.step, packs)
    except TrainingStoppedError:
        run.save()
        raise


def finish(run: Run) -> None:
    """Writes what a training leaves behind, by rank 0."""
    if run.curve is None:
        return
    partial = run.folder / "model.partial"
    save_checkpoint(
        run.trained(), partial, labels=run.data.class_names, max_tokens=most_patches(run), alpha="composite"
    )
    partial.replace(run.folder / "model.safetensors")
    curve = read_curve(run.folder / "curve.jsonl")
    found: dict[str, object] = {
        "steps": run.place.step,
        "classes": list(run.data.class_names),
        "images": len(run.data.labels),
        "images_seen": sum(line["images"] for line in curve),
        "tokens_seen": sum(line["tokens"] for line in curve),
        "packs": None if run.efficiency is None else run.efficiency._asdict(),  # of the last window
        "unreadable": [*getattr(run.data, "unreadable", ()), *sorted(run.unreadable)],
        "monitor": run.stepper.monitor.events,
    }
    if run.recipe.test:
        test = read_folder(Path(run.recipe.test), class_names=run.data.class_names)
        measured = accuracy(run.trained(), test, max_tokens=most_patches(run))
        found["test"] = measured._asdict()
    content = json.dumps(found, indent=1).encode()
    files.write_whole(run.folder / "report.json", content, beside=".report.json.partial")
    try:
        draw_curve(curve, run.folder / "curve.png")
    except MissingPackageError:  # the curve is there as JSON
        return


def most_patches(run: Run) -> int:
    """The most that an image had in the training, whatever its aspect; a bundle of the model takes as many."""
    most_px = max(one.max_px for one in run.recipe.resolution.pools)
    return max(1, (most_px // run.model.config.patch_px) ** 2)


class Accuracy(NamedTuple):
    """Of how many images the largest logit was right."""

    images: int
    right: int
    unreadable: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.right / self.images


@torch.no_grad()
def accuracy(model: PackedModel, data: Dataset, *, max_tokens: int, images_per_pack: int = 16) -> Accuracy:
    """Of images as they are deployed: by the rule token-cap, over white if they are transparent."""
    right = seen = unreadable = 0
    for start in range(0, len(data.labels), images_per_pack):
        images, labels = [], []
        for index in range(start, min(start + images_per_pack, len(data.labels))):
            try:
                image = data.read(index)
            except InvalidInputError:
                unreadable += 1
                continue
            opaque = over(image, WHITE) if image.shape[2] == 4 else image
            images.append(prepare(opaque, patch_px=model.config.patch_px, max_tokens=max_tokens))
            labels.append(data.labels[index])
        if images:
            logits = model.forward_images(images, lowering="padded")["logits"]
            right += int((logits.argmax(1).cpu() == torch.tensor(labels)).sum())
            seen += len(images)
    return Accuracy(images=seen, right=right, unreadable=unreadable)
