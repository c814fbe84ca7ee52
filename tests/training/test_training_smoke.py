"""The recipe of the shipped model, made small, on committed images of clip art: it learns, and goes on when stopped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from navit_edge_export.training.curves import read_curve
from navit_edge_export.training.dataset import read_folder
from navit_edge_export.training.distillation import save_embeddings
from navit_edge_export.training.loop import train
from navit_edge_export.training.recipe import Recipe
from navit_edge_export.training.step import StepReport

STEPS, STOPPED_AT = 80, 33


def small_recipe(repository: Path, table: Path) -> Recipe:
    """ninety_minutes.json with a small model and few steps, and another table of a teacher."""
    recipe = Recipe.from_file(repository / "examples/train/ninety_minutes.json")
    sizes = {"width": 64, "depth": 2, "heads": 2, "mlp_width": 128}
    pools = dataclasses.replace(recipe.resolution.pools[0], min_px=48, max_px=96)
    return dataclasses.replace(
        recipe,
        data=str(repository / "tests/data/clipart/train"),
        test=str(repository / "tests/data/clipart/test"),
        model={**recipe.model, **sizes},
        resolution=dataclasses.replace(recipe.resolution, pools=(pools,)),
        token_budget=512,
        packing=dataclasses.replace(recipe.packing, tokens_per_step=1024),
        rate=dataclasses.replace(recipe.rate, steps=STEPS, warmup_steps=8),
        optimizer=dataclasses.replace(recipe.optimizer, ema=0.95),
        loss=dataclasses.replace(recipe.loss, table=str(table)),
        checkpoint_steps=10,
    )


def test_the_recipe_of_the_shipped_model_learns_and_goes_on_when_it_is_stopped(
    repository: Path, tmp_path: Path
) -> None:
    labels = read_folder(repository / "tests/data/clipart/train").labels
    of_classes = np.random.default_rng(0).normal(size=(labels.max() + 1, 16))  # a teacher that knows the class
    save_embeddings(of_classes[labels].astype(np.float32), tmp_path / "table.safetensors")
    recipe = small_recipe(repository, tmp_path / "table.safetensors")

    def stop(report: StepReport) -> None:
        if report.step == STOPPED_AT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", report=stop)
    train(recipe, tmp_path / "run")
    curve = read_curve(tmp_path / "run/curve.jsonl")
    assert [line["step"] for line in curve] == list(range(STEPS))
    first, last = (np.mean([line["loss"] for line in part]) for part in (curve[:10], curve[-10:]))
    assert last < 0.9 * first
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["test"]["images"] == 200
    assert report["test"]["right"] >= 35  # by chance 11; of the most common class 27
