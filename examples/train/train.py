"""The whole training loop, written out: python examples/train/train.py RECIPE.json FOLDER.

`python -m navit_edge_export.training` does the same with errors in words, ranks and a report at the end. Write your own
loop like this one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from navit_edge_export.model import save_checkpoint
from navit_edge_export.training.dataset import read_folder
from navit_edge_export.training.recipe import Recipe
from navit_edge_export.training.run import Run


def main(recipe: Recipe, folder: Path) -> None:
    """Trains; run it again to go on after an interruption."""
    run = Run(recipe, read_folder(Path(recipe.data)), folder)
    while not run.is_done:
        for _, packs in run.window():  # images that were planned together; a step's packs at a time
            done = run.stepper.step(run.place.step, packs)  # forward and backward of each pack, one optimizer step
            run.record(done)
            if run.is_due:
                run.save()
            print(f"{done.step}: loss {done.loss:.4f}, {done.accuracy:.0%} of {done.images} images right")
    run.close()
    save_checkpoint(run.trained(), folder / "model.safetensors", labels=run.data.class_names)


if __name__ == "__main__":
    main(Recipe.from_file(Path(sys.argv[1])), Path(sys.argv[2]))
