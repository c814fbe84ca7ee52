"""From outputs of a model to classes: its own classifier, neighbours, a linear probe, retrieval."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError, import_or_explain

Array: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int64]
#: Outputs [n, width] -> classes [n, up to RANKED], the likeliest first; -1 for none.
Rank: TypeAlias = Callable[[Array], Indices]

#: Classes of an image that are told apart: top-5.
RANKED = 5
#: Of the votes of neighbours: exp(cosine / _TEMPERATURE), as DINO's evaluation has it (Caron et al. 2021).
TEMPERATURE = 0.07
#: Similarities that are held at once.
_CHUNK = 1 << 24


def classifier_head(names: Sequence[str], classes: int) -> Rank:
    """Of logits [n, classes]. Classes of one name are one class, that of the first.

    Among equal logits the class with the lower index comes first.
    """
    same = first_of_name(names, classes)

    def rank(logits: Array) -> Indices:
        ranked = np.argsort(-logits, axis=1, kind="stable")[:, :RANKED]
        return np.where(finite_rows(logits)[:, None], same[ranked], -1)

    return rank


def first_of_name(names: Sequence[str], classes: int) -> Indices:
    """[classes]: of each class the first that has its name; itself if it has none."""
    place: dict[str, int] = {}
    return np.array([place.setdefault(names[i], i) if i < len(names) else i for i in range(classes)], np.int64)


def knn_head(embeddings: Array, targets: Indices, *, neighbors: int) -> Rank:
    """Votes of the nearest embeddings [m, D] by cosine, weighted by exp(cosine / TEMPERATURE).

    targets: class of each. Classes without a vote are not ranked; among equal votes the lower class comes first.
    """
    gallery = normalized(embeddings)
    count = int(targets.max()) + 1
    nearest = min(neighbors, len(gallery))

    def rank(queries: Array) -> Indices:
        ranked = np.full((len(queries), RANKED), -1, np.int64)
        for rows, similar in _similarities(normalized(queries), gallery):
            near = np.argpartition(-similar, nearest - 1, axis=1)[:, :nearest]
            found = np.take_along_axis(similar, near, axis=1).astype(np.float64)
            votes = np.zeros((len(near), count))
            lines = np.arange(len(near))[:, None]
            np.add.at(votes, (lines, targets[near]), np.exp((found - 1) / TEMPERATURE))
            order = np.argsort(-votes, axis=1, kind="stable")[:, :RANKED]
            chosen = np.where(np.take_along_axis(votes, order, axis=1) > 0, order, -1)
            ranked[rows, : chosen.shape[1]] = chosen
        ranked[~finite_rows(queries)] = -1
        return ranked

    return rank


def text_head(embeddings: Array) -> Rank:
    """Of image embeddings: the classes whose text embeddings [classes, D] are the most similar by cosine."""
    gallery = normalized(embeddings)

    def rank(queries: Array) -> Indices:
        ranked = np.full((len(queries), min(RANKED, len(gallery))), -1, np.int64)
        for rows, similar in _similarities(normalized(queries), gallery):
            ranked[rows] = np.argsort(-similar, axis=1, kind="stable")[:, :RANKED]
        ranked[~finite_rows(queries)] = -1
        return ranked

    return rank


def linear_head(embeddings: Array, targets: Indices, *, note: Callable[[str], None]) -> Rank:
    """Logistic regression (scikit-learn, L2, C = 1) on embeddings [m, D], each feature to mean 0 and deviation 1.

    note: called with what is to be known of the fit. Raises MissingPackageError, and InvalidInputError if there is one
    class only.
    """
    linear_model: Any = import_or_explain(
        "sklearn.linear_model", purpose="--head linear", remedy='pip install "navit-edge[evaluate]"'
    )
    if len(np.unique(targets)) < 2:
        raise InvalidInputError(
            "the training images are of one class; a linear head needs two or more: give more classes"
        )
    mean, deviation = embeddings.mean(axis=0, dtype=np.float64), embeddings.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    model = linear_model.LogisticRegression(C=1.0, max_iter=1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit((embeddings - mean) / deviation, targets)
    if any("converge" in str(one.message) for one in caught):
        note("logistic regression did not converge in 1000 iterations")

    def rank(queries: Array) -> Indices:
        finite = finite_rows(queries)
        scores = model.decision_function((np.where(finite[:, None], queries, 0.0) - mean) / deviation)
        if scores.ndim == 1:  # two classes: of the second
            scores = np.stack([-scores, scores], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :RANKED]
        return np.where(finite[:, None], np.asarray(model.classes_, np.int64)[order], -1)

    return rank


class Retrieval:
    """Each image as a query to all others, by cosine. ``nearest``: the class of the most similar one, [n]."""

    def __init__(self, embeddings: Array, targets: Indices) -> None:
        unit = normalized(embeddings)
        count = len(unit)
        finite = finite_rows(embeddings)
        self.nearest = np.full(count, -1, np.int64)
        #: Images of other classes that are at least as similar as the best of the own; -1 if there is no other of it.
        self.before = np.full(count, -1, np.int64)
        for rows, similar in _similarities(unit, unit):
            lines = np.arange(len(similar))
            here = lines + rows.start
            similar[:, ~finite] = -np.inf
            similar[lines, here] = -np.inf
            self.nearest[rows] = targets[np.argmax(similar, axis=1)]
            own = targets[rows][:, None] == targets[None, :]
            best = np.where(own, similar, -np.inf).max(axis=1)
            ahead = (~own & (similar >= best[:, None])).sum(axis=1)
            others = own.sum(axis=1) > 1
            self.before[rows] = np.where(others, ahead, -1)
        self.nearest[~finite] = -1
        self.before[~finite & (self.before >= 0)] = count  # nothing is found by what is no number
        if count < 2:
            self.nearest[:] = -1

    @property
    def asked(self) -> npt.NDArray[np.bool_]:
        """[n]: whether there is another image of the class to be found."""
        return self.before >= 0

    def found(self, k: int) -> npt.NDArray[np.bool_]:
        """[n]: whether one of the class is among the ``k`` most similar ones; one that ties with others comes last."""
        return self.asked & (self.before < k)


def nearest(queries: Array, gallery: Array) -> tuple[Indices, Array]:
    """Of each query [n, D] the most similar row of ``gallery`` [m, D], and the cosine: -1 for what is no number."""
    found, cosine = np.zeros(len(queries), np.int64), np.full(len(queries), -1, np.float32)
    usable = finite_rows(gallery)
    for rows, similar in _similarities(normalized(queries), normalized(gallery)):
        similar[:, ~usable] = -1
        found[rows] = np.argmax(similar, axis=1)
        cosine[rows] = np.take_along_axis(similar, found[rows][:, None], axis=1)[:, 0]
    cosine[~finite_rows(queries)] = -1
    return found, cosine


def normalized(embeddings: Array) -> Array:
    """Rows of length 1; zeros, and what is no number, become zeros."""
    values = np.where(finite_rows(embeddings)[:, None], embeddings, np.float32(0)).astype(np.float32)
    length = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1, keepdims=True))
    return (values / np.where(length == 0, 1.0, length)).astype(np.float32)


def finite_rows(values: Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(values), axis=1)
    return found


def _similarities(queries: Array, gallery: Array) -> Iterator[tuple[slice, Array]]:
    """Some rows at a time: (which, [rows, len(gallery)])."""
    step = max(1, _CHUNK // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        yield rows, queries[rows] @ gallery.T
