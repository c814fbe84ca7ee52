"""Batches of Ray Data, and the columns that results become."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError, import_or_explain

if TYPE_CHECKING:
    from navit_edge.session import Result

#: Outputs that are a vector an image.
VECTORS = ("embedding", "logits")


@dataclass(frozen=True, kw_only=True)
class ColumnLayout:
    """vectors: name -> how many numbers. top_k: how many classes; 0: none. named: classes have labels."""

    vectors: Mapping[str, int]
    top_k: int
    named: bool


def layout_of(
    bundle: str | os.PathLike[str], labels: Sequence[str], outputs: Sequence[str] | None, top_k: int
) -> ColumnLayout:
    """Raises InvalidInputError if the bundle does not give what is asked for."""
    from navit_edge.run.rows import offered_shapes

    offered = {name: shape for name, shape in offered_shapes(Path(bundle)).items() if name in VECTORS}
    known = (*offered, *(("top_k",) if "logits" in offered else ()))
    if isinstance(outputs, str):
        outputs = (outputs,)
    wanted = tuple(outputs) if outputs is not None else tuple(name for name in VECTORS if name in offered)[:1]
    for name in wanted:
        if name not in known:
            raise InvalidInputError(f"outputs has {name!r}, and {Path(bundle).name} gives {', '.join(known)}")
    if top_k < 1:
        raise InvalidInputError(f"top_k is {top_k}; expected how many classes, 1 and up")
    classes = offered["logits"][0] if "top_k" in wanted else 0
    return ColumnLayout(
        vectors={name: offered[name][0] for name in wanted if name != "top_k"},
        top_k=min(top_k, classes),
        named=bool(labels),
    )


def is_table(batch: Any) -> bool:
    """Whether it is a pyarrow table."""
    return type(batch).__module__.partition(".")[0] == "pyarrow" and hasattr(batch, "column_names")


def names_of(batch: Any) -> list[str]:
    return list(batch.column_names if is_table(batch) else batch)


def values_of(batch: Any, name: str) -> list[Any]:
    """Of a column, as Python values or arrays; a row of pixels is an array."""
    if not is_table(batch):
        return [_plain(value) for value in batch[name]]
    column = batch.column(name)
    if hasattr(column.type, "to_pandas_dtype") and "extension" in str(column.type):  # Ray's tensors
        column = column.combine_chunks()
        chunks = getattr(column, "chunks", [column])
        return [np.asarray(value) for chunk in chunks for value in chunk.to_numpy(zero_copy_only=False)]
    return list(column.to_pylist())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def arrays_of(results: Sequence[Result], layout: ColumnLayout) -> dict[str, npt.NDArray[Any]]:
    """The new columns of a numpy batch."""
    found: dict[str, npt.NDArray[Any]] = {name: _vectors(results, name, size) for name, size in layout.vectors.items()}
    if layout.top_k:
        labels, scores = _classes(results, layout)
        found["labels"] = _objects([[] if one is None else one for one in labels])
        found["scores"] = scores
    found["grid"] = np.array([result.grid for result in results], np.int32).reshape(-1, 2)
    found["tokens"] = np.array([result.token_count for result in results], np.int32)
    found["error"] = _objects([None if result.error is None else str(result.error) for result in results])
    return found


def table_of(results: Sequence[Result], layout: ColumnLayout) -> dict[str, Any]:
    """The new columns of a pyarrow batch."""
    pa = import_or_explain("pyarrow", purpose="a pyarrow batch", remedy='pip install "navit-edge[ray]"')

    failed = np.array([result.error is not None for result in results], np.bool_)
    mask = pa.array(failed)

    def fixed(values: npt.NDArray[Any]) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1], mask=mask)

    found: dict[str, Any] = {}
    for name, size in layout.vectors.items():
        found[name] = fixed(_vectors(results, name, size))
    if layout.top_k:
        labels, scores = _classes(results, layout)
        found["labels"] = pa.array(labels, pa.list_(pa.string() if layout.named else pa.int64()))
        found["scores"] = fixed(scores)
    found["grid"] = pa.FixedSizeListArray.from_arrays(
        pa.array(np.array([result.grid for result in results], np.int32).reshape(-1)), 2
    )
    found["tokens"] = pa.array(np.array([result.token_count for result in results], np.int32))
    found["error"] = pa.array([None if result.error is None else str(result.error) for result in results], pa.string())
    return found


def joined(batch: Any, found: Mapping[str, Any], *, without: str | None) -> Any:
    """The batch with new columns; one of the same name is replaced."""
    if not is_table(batch):
        return {name: values for name, values in batch.items() if name != without} | dict(found)
    for name in names_of(batch):
        if name == without or name in found:
            batch = batch.drop_columns([name])
    for name, values in found.items():
        batch = batch.append_column(name, values)
    return batch


def _vectors(results: Sequence[Result], name: str, size: int) -> npt.NDArray[np.float32]:
    """[n, size]; NaN for an image that failed."""
    values = np.full((len(results), size), np.nan, np.float32)
    for row, result in zip(values, results, strict=True):
        if result.error is None:
            row[:] = getattr(result, name)
    return values


def _classes(results: Sequence[Result], layout: ColumnLayout) -> tuple[list[Any], npt.NDArray[np.float32]]:
    scores = np.full((len(results), layout.top_k), np.nan, np.float32)
    labels: list[Any] = []
    for row, result in zip(scores, results, strict=True):
        if result.error is not None:
            labels.append(None)
            continue
        best = result.top_k(layout.top_k)
        row[:] = [one.score for one in best]
        labels.append([one.label if layout.named else one.index for one in best])
    return labels, scores


def _objects(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    found = np.empty(len(values), object)
    found[:] = values
    return found
