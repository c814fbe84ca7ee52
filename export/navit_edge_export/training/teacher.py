"""python -m navit_edge_export.training.teacher CHECKPOINT DATA TABLE: a teacher's embeddings of every image, once.

CHECKPOINT: a file or folder that ``navit-edge export --checkpoint`` takes, such as DINOv2's. DATA: the recipe's folder
of class folders. TABLE: what the recipe's ``loss.table`` names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from navit_edge.errors import NavitEdgeError, import_or_explain


def main(arguments: list[str] | None = None) -> int:
    """The command. 1: the checkpoint or the data is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m navit_edge_export.training.teacher",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--max-tokens", type=int, default=256, help="most patches of an image (default 256)")
    chosen = parser.parse_args(arguments)
    try:
        import_or_explain("torch", purpose="a teacher", remedy='pip install "navit-edge[train]"')
        from navit_edge_export.families.registry import import_checkpoint
        from navit_edge_export.training.dataset import read_folder
        from navit_edge_export.training.distillation import save_embeddings, teacher_embeddings

        data = read_folder(chosen.data)
        table = teacher_embeddings(import_checkpoint(chosen.checkpoint).model, data, max_tokens=chosen.max_tokens)
        save_embeddings(table, chosen.table)
    except NavitEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    missing = int(np.isnan(table).any(1).sum())
    print(
        f"{chosen.table}: {len(table) - missing} embeddings of {table.shape[1]} numbers; {missing} images not decoded"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
