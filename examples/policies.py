"""What each policy chooses for real photographs: a table, and a picture of the grids. Nothing is run.

    python examples/policies.py BUNDLE [--engine ID] [--output policies.png] [POLICY ...]

The photographs come from the wheels of scikit-image and scikit-learn (pip install navit-edge[demo]).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from photographs import write_photographs
from PIL import Image
from rich.console import Console
from rich.table import Table

import navit_edge as ne

POLICIES = ("native", "balanced", "fast", "token-cap:256", "latency:50ms", "content")
CELL_IN = 1.9  # side of a photograph in the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("policies", nargs="*", default=POLICIES, metavar="POLICY")
    parser.add_argument("--engine", default="", help="the first of the bundle, if not given")
    parser.add_argument("--output", type=Path, default=Path("policies.png"))
    arguments = parser.parse_args()
    manifest = ne.load_manifest(arguments.bundle)
    engine = arguments.engine or manifest.engines[0].id
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder))
        choices = {
            text: ne.choose(arguments.bundle, paths, ne.Policy.parse(text), engine=engine)
            for text in arguments.policies
        }
        table = Table("photograph", "pixels", "complexity", *choices)
        for index, path in enumerate(paths):
            with Image.open(path) as image:
                size = f"{image.height} × {image.width}"
            cells = [f"{one[index].grid[0]} × {one[index].grid[1]} = {one[index].tokens}" for one in choices.values()]
            table.add_row(path.stem, size, f"{ne.complexity(path):.3f}", *cells)
        cost = ne.CostModel.of(arguments.bundle, engine)
        console = Console(width=200)
        console.print(table)
        console.print(f"{engine}: cost {'measured' if cost.measured else 'assumed'}")
        draw(paths, choices, manifest.preprocess.patch_px, arguments.output)
    console.print(f"wrote {arguments.output}")


def draw(paths: Sequence[Path], choices: dict[str, list[ne.Choice]], patch_px: int, output: Path) -> None:
    """A row a photograph, a column a policy: the photograph as the model sees it, with its patches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(CELL_IN * len(choices) + 1.2, CELL_IN * len(paths) + 0.4), dpi=110, layout="constrained")
    axes = figure.subplots(len(paths), len(choices), squeeze=False)
    for row, path in enumerate(paths):
        with Image.open(path) as image:
            pixels = image.convert("RGB")
        for column, (text, chosen) in enumerate(choices.items()):
            rows, cols = chosen[row].grid
            seen = pixels.resize((cols * patch_px, rows * patch_px), Image.Resampling.BILINEAR)
            cell = axes[row][column]
            cell.imshow(seen, interpolation="nearest", extent=(0, cols, rows, 0))
            cell.set_xticks(range(cols + 1), [""] * (cols + 1))
            cell.set_yticks(range(rows + 1), [""] * (rows + 1))
            cell.tick_params(length=0)
            cell.grid(color="white", alpha=0.45, linewidth=0.4)
            cell.set_xlabel(f"{rows} × {cols} = {rows * cols}", fontsize=9, labelpad=1)
            if row == 0:
                cell.set_title(text, fontsize=10)
            if column == 0:
                cell.set_ylabel(path.stem, fontsize=9)
    figure.savefig(output)


if __name__ == "__main__":
    main()
