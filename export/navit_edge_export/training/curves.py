"""What each step was, as lines of JSON that survive a kill, and as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from navit_edge import files
from navit_edge.errors import import_or_explain
from navit_edge_export.training.step import StepReport

LEFT_OUT = ("unreadable", "losses")


class Curve:
    """A file of one JSON object a line, one for each step."""

    def __init__(self, path: Path, *, steps: int) -> None:
        """Keeps the first ``steps`` steps of a file that is there: later ones, and a line that was cut off, go."""
        kept = [line for line in read_curve(path) if line["step"] < steps] if path.exists() else []
        text = "".join(json.dumps(line) + "\n" for line in kept)
        files.write_whole(path, text.encode(), beside=f".{path.name}.partial")
        self._file = path.open("a", encoding="utf-8")

    def add(self, report: StepReport) -> None:
        """One line, given to the system at once."""
        line = {name: value for name, value in vars(report).items() if name not in LEFT_OUT}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """So that a checkpoint never has more steps than the curve, whatever happens."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more steps."""
        self._file.close()


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The steps of a file; a last line that was cut off is left out."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def draw_curve(curve: Sequence[dict[str, Any]], path: Path) -> None:
    """Loss, accuracy, gradient norm and rate by step, as a picture; what the monitor found is marked."""
    matplotlib = import_or_explain(
        "matplotlib", purpose="a picture of curves", remedy='pip install "navit-edge[train]"'
    )
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6), sharex=True)
    for axis, name in zip(axes.flat, ("loss", "accuracy", "gradient_norm", "rate"), strict=True):
        axis.plot([line["step"] for line in curve], [line[name] for line in curve], linewidth=0.8)
        wrong = [line for line in curve if line["wrong"]]
        axis.plot([line["step"] for line in wrong], [line[name] for line in wrong], "rx")
        axis.set_title(name.replace("_", " "))
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
