"""python -m navit_edge_export.training RECIPE.json FOLDER: trains, or goes on with what was interrupted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from navit_edge.errors import NavitEdgeError, import_or_explain


def main(arguments: list[str] | None = None) -> int:
    """The command. 1: the recipe or the data is at fault, or the training was not stable. 130: Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m navit_edge_export.training", description=__doc__)
    parser.add_argument("recipe", type=Path, help="JSON: docs/training.md lists its fields")
    parser.add_argument("folder", type=Path, help="where the run is kept; run the command again to go on")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="a line every N steps (default 10)")
    chosen = parser.parse_args(arguments)
    try:
        import_or_explain("torch", purpose="training", remedy='pip install "navit-edge[train]"')
        from navit_edge_export.training.loop import train
        from navit_edge_export.training.recipe import Recipe
        from navit_edge_export.training.step import StepReport

        def tell(done: StepReport) -> None:
            if done.step % max(1, chosen.every) == 0 or done.wrong:
                line = (
                    f"step {done.step}: loss {done.loss:.4f}, right {done.accuracy:.1%}, gradient norm "
                    f"{done.gradient_norm:.3g}, {done.images} images, {done.tokens} tokens, {done.packs} packs"
                )
                print(line + (f", {done.wrong}" if done.wrong else ""), flush=True)

        run = train(Recipe.from_file(chosen.recipe), chosen.folder, report=tell)
    except NavitEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on from the last checkpoint", file=sys.stderr)
        return 130
    if run.rank.rank == 0:
        print(f"{chosen.folder / 'model.safetensors'}: export it with navit-edge export --checkpoint")
    return 0


if __name__ == "__main__":
    sys.exit(main())
