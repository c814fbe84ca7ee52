"""One result as every output has it: a record of plain values, and arrays beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge.result import Classify, error_values, values_of
from navit_edge.vocabulary import OUTPUTS

if TYPE_CHECKING:
    from navit_edge.run.sources import Item
    from navit_edge.session import Result

Array = npt.NDArray[np.float32]

#: What --save takes -> the name of the array in results. ``tokens`` in a record is how many there are.
ARRAYS: dict[str, str] = {name: "token_features" if name == "tokens" else name for name in OUTPUTS}
#: Those with a row for each image; the others have rows for its patches.
VECTORS = ("logits", "embedding")


@dataclass(frozen=True, kw_only=True)
class Row:
    """record: plain values, ready for JSON; "error" and "error_type" in it if the image failed.
    arrays: float32 views by the names of ``ARRAYS``: logits [classes], embedding [D], token_features and
        projected [rows, D], deepstack [rows, layers, D], attention_map [rows, maps].
    """

    record: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return "error" in self.record


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a row holds, known before the first result. shapes: of each array by its name in ``ARRAYS``, without its
    rows. classify: the classes of a result, in place of the bundle's own."""

    labels: Sequence[str]
    top_k: int
    shapes: dict[str, tuple[int, ...]]
    classify: Classify | None = None

    def row(self, item: Item, result: Result) -> Row:
        return named(item, failed(item.error) if item.error is not None else self.values(result))

    def values(self, result: Result) -> Row:
        """What a row has of a result, whatever image it is of."""
        if result.error is not None:
            return failed(result.error)
        arrays = {array: getattr(result, name) for name, array in ARRAYS.items()}
        return Row(
            record=values_of(result, self.labels, self.top_k, classify=self.classify),
            arrays={name: a for name, a in arrays.items() if name in self.shapes and a is not None},
        )


def named(item: Item, values: Row) -> Row:
    """The row of an image: its name, and what its result says."""
    record: dict[str, Any] = {"file": item.name.file}
    if item.name.frame is not None:
        record["frame"] = item.name.frame
    if item.time_s is not None:
        record["time_s"] = round(item.time_s, 6)
    return Row(record=record | values.record, arrays=values.arrays)


def failed(error: Exception) -> Row:
    """Of an image that has an error in place of a result."""
    return Row(record=error_values(error))


def offered_shapes(bundle: Path) -> dict[str, tuple[int, ...]]:
    """What a bundle's results have, as --save names it -> its shape, without its rows."""
    from navit_edge.bundle import manifest as manifests

    shapes: dict[str, tuple[int, ...]] = {}
    for graph in manifests.load(bundle).graphs:
        for output in graph.outputs:
            if output.name in ARRAYS:
                shapes[output.name] = tuple(int(extent) for extent in output.shape[1:])
    return shapes


def layout_of(
    bundle: Path, *, labels: Sequence[str], top_k: int, save: Sequence[str], classify: Classify | None = None
) -> Layout:
    """``save``: what is kept of each image beside its record, of ``ARRAYS``. ``classify``: as of
    ``Layout``; it needs the output "embedding".

    Raises InvalidInputError if the bundle does not give it.
    """
    offered = offered_shapes(bundle)
    if classify is not None and "embedding" not in offered:
        raise InvalidInputError(
            f"--classes needs the output embedding, and {bundle.name} gives {', '.join(offered)}; export it again with "
            "--outputs embedding"
        )
    for name in save:
        if name not in offered:
            raise InvalidInputError(
                f"--save has {name}, and {bundle.name} gives {', '.join(offered)}; choose from these"
            )
    shapes = {ARRAYS[name]: offered[name] for name in ARRAYS if name in save}
    return Layout(labels=labels, top_k=top_k, shapes=shapes, classify=classify)
