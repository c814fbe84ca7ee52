"""What a ``Result`` says of itself: its best classes, plain values, arrays, a line of text.

``Result`` is a C++ class (csrc/bindings/bind_result.cc), whose methods of these names call the functions here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import InvalidInputError
from navit_edge.options import whole, whole_pair
from navit_edge.text import without_halves
from navit_edge.vocabulary import OUTPUTS, Scores

if TYPE_CHECKING:
    from navit_edge._core import Result

#: The attributes of a result that are arrays.
ARRAYS = OUTPUTS

SIZE = "(height_px, width_px), whole numbers"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A class of an image. label: "" if the bundle has no labels. score: the softmax of the logits, or each one's
    sigmoid if the bundle says that (classes of texts: docs/zero-shot.md)."""

    index: int
    label: str
    score: float
    logit: float


#: The classes of a result, by something other than its logits: (result, how many) -> the best first.
Classify: TypeAlias = Callable[["Result", int], list[Prediction]]


def predictions(
    logits: npt.ArrayLike, labels: Sequence[str], top_k: int, *, scores: Scores = "softmax"
) -> list[Prediction]:
    """The ``top_k`` highest of ``logits`` [classes], the first of equal ones first."""
    values = np.asarray(logits, np.float64)
    found = probabilities(values, scores)
    return [
        Prediction(index=int(i), label=labels[i] if labels else "", score=float(found[i]), logit=float(values[i]))
        for i in np.argsort(-values, kind="stable")[:top_k]
    ]


def probabilities(logits: npt.ArrayLike, scores: Scores = "softmax") -> npt.NDArray[np.float64]:
    """The score of each class, float64 [classes]."""
    values = np.asarray(logits, np.float64)
    if scores == "sigmoid":
        return sigmoid(values)
    found: npt.NDArray[np.float64] = np.exp(values - values.max())
    found /= found.sum()
    return found


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """1 / (1 + e^-x), without an overflow; float32 of float32."""
    found: npt.NDArray[Any] = np.exp(-np.logaddexp(logits.dtype.type(0), -logits))
    return found


def top_k(result: Result, k: object) -> list[Prediction]:
    """``Result.top_k``."""
    expected = "how many classes, 1 and up"
    count = whole("k", k, expected)
    if count < 1:
        raise InvalidInputError(f"k is {k!r}; expected {expected}")
    logits = result.logits
    if logits is None:
        if result.error is not None:
            raise InvalidInputError(f"the image failed and has no classes: {result.error}") from result.error
        raise InvalidInputError(
            "the bundle gives no logits, and without them an image has no classes; export it with --outputs logits, or "
            "compare embeddings"
        )
    return predictions(logits, result.labels, count, scores=result.scores)


def to_dict(result: Result, top_k: int) -> dict[str, Any]:
    """``Result.to_dict``."""
    return values_of(result, result.labels, top_k)


def values_of(result: Result, labels: Sequence[str], top_k: int, *, classify: Classify | None = None) -> dict[str, Any]:
    """What ``navit-edge run`` writes of an image, the name of its file apart. labels: if empty, classes are indices.
    classify: in place of the bundle's own classes, which have names."""
    if result.error is not None:
        return error_values(result.error)
    values: dict[str, Any] = {
        "pixels": [int(side) for side in result.pixels],
        "grid": [int(side) for side in result.grid],
        "tokens": int(result.token_count),
        "scale": [round(side, 6) for side in result.scale],
        "pack": int(result.pack),
        "latency_ms": round(float(result.latency_ms), 3),
    }
    if result.total_token_count != result.token_count:
        values["total_tokens"] = int(result.total_token_count)
    if result.reason:
        values["reason"] = without_halves(result.reason)
    if classify is not None:
        values["top_k"] = [_plain(one, named=True) for one in classify(result, top_k)]
    elif result.logits is not None:
        values["top_k"] = [_plain(one, named=bool(labels)) for one in result.top_k(top_k)]
    elif result.embedding is not None:
        values["embedding_norm"] = math.sqrt(float(np.square(np.asarray(result.embedding, np.float64)).sum()))
    return values


def error_values(error: Exception) -> dict[str, Any]:
    """What takes the place of the values if the image failed."""
    return {"error_type": type(error).__name__, "error": without_halves(str(error))}


def numpy(result: Result, copy: bool) -> dict[str, npt.NDArray[np.float32]]:
    """``Result.numpy``."""
    found: dict[str, npt.NDArray[np.float32]] = {
        name: array for name in ARRAYS if (array := getattr(result, name)) is not None
    }
    return {name: array.copy() for name, array in found.items()} if copy else found


def on_grid(result: Result, values: npt.ArrayLike | None, fill: float) -> npt.NDArray[Any]:
    """``Result.on_grid``."""
    rows, cols = result.grid
    seen = rows * cols if result.kept is None else len(result.kept)
    given = result.tokens if values is None else np.asarray(values)
    if given is None:
        raise InvalidInputError(
            "the result has no tokens to put on the grid; export with --outputs tokens, or give values"
        )
    if given.ndim < 1 or len(given) != seen:
        raise InvalidInputError(
            f"there are values of shape {given.shape} for {seen} patches; expected a row for each patch that the model "
            "saw, and no merged ones"
        )
    if result.kept is None:
        return given.reshape(rows, cols, *given.shape[1:])
    grid = np.full((rows * cols, *given.shape[1:]), fill, given.dtype)
    grid[result.kept] = given
    return grid.reshape(rows, cols, *given.shape[1:])


def on_image(
    result: Result, values: npt.ArrayLike | None, filter: str, fill: float, size: tuple[int, int] | None
) -> npt.NDArray[np.float32]:
    """``Result.on_image``."""
    rows = _rows_of_map(result, attention(result) if values is None else np.asarray(values))
    pixels = (0, 0) if size is None else whole_pair("size", size, SIZE)
    picture = _core.map_on_image(
        result, np.ascontiguousarray(rows.reshape(len(rows), -1), np.float32), filter, fill, pixels
    )
    return picture.reshape(*picture.shape[:2], *rows.shape[1:])


def attention(result: Result) -> npt.NDArray[np.float32]:
    """How much an image's embedding looks at each patch, the mean of the maps of ``attention_map``: float32 [n]. Raises
    InvalidInputError if there are none."""
    if result.attention_map is None:
        if result.error is not None:
            raise InvalidInputError(f"the image failed and has no attention map: {result.error}") from result.error
        raise InvalidInputError(
            "the result has no attention map; export with --outputs attention-map, or give values for each patch"
        )
    mean: npt.NDArray[np.float32] = result.attention_map.mean(1)
    return mean


def _rows_of_map(result: Result, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[n, ...] of a map that has a row for each patch, or the shape of the grid, of merged cells too."""
    rows, cols = result.grid
    seen = rows * cols if result.kept is None else len(result.kept)
    if given.dtype.kind not in "fiub" or given.size == 0:
        raise InvalidInputError(
            f"values are of {given.dtype} and shape {given.shape}; expected numbers, a row for each patch"
        )
    if given.ndim < 2 or len(given) == seen:
        return np.atleast_1d(given)
    high, wide = given.shape[:2]
    if rows % high == 0 and cols % wide == 0 and rows // high == cols // wide:
        flat: npt.NDArray[Any] = given.reshape(high * wide, *given.shape[2:])
        return flat if result.kept is None or high != rows else flat[result.kept]
    return given


def describe(result: Result) -> str:
    """``repr`` of a result."""
    if result.error is not None:
        return f"<navit_edge.Result failed: {type(result.error).__name__}: {result.error}>"
    rows, cols = result.grid
    parts = [f"grid {rows} x {cols}", f"{result.token_count} tokens"]
    if result.logits is not None:
        (best,) = result.top_k(1)
        parts.append(f"top-1 {repr(best.label) if best.label else best.index} {best.score:.3f}")
    elif result.embedding is not None:
        parts.append(f"embedding of {len(result.embedding)}")
    return f"<navit_edge.Result {', '.join(parts)}>"


def _plain(one: Prediction, *, named: bool) -> dict[str, Any]:
    return {
        **({"label": one.label} if named else {"index": one.index}),
        "score": one.score,
        "logit": one.logit,
    }
