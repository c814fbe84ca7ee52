"""The answers of a variant: which images it got right, and what it said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge.evaluate.data import Examples
from navit_edge.evaluate.heads import (
    RANKED,
    Array,
    Indices,
    Rank,
    Retrieval,
    finite_rows,
    first_of_name,
    knn_head,
    linear_head,
)
from navit_edge.evaluate.outputs import Outputs
from navit_edge.text import shown
from navit_edge.vocabulary import Head

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """In the order of the examples. counted: has outputs and a class that is known. predicted: the likeliest class,
    -1 for none. top1, top5: whether the image's class is the likeliest, or among the five; None if there are no more
    than five classes, or no ranking. asked, recall: whether another image of its class is there to be found; by k,
    whether one is among the k nearest; None without embeddings or with one class only."""

    counted: Bools
    predicted: Indices
    top1: Bools
    top5: Bools | None
    asked: Bools | None
    recall: dict[int, Bools]
    not_finite: int


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes that a head tells apart. index: of each name. targets: [n] of the examples; -1: it is not known."""

    index: dict[str, int]
    targets: Indices
    unknown: dict[str, int]  # label -> images of it that do not count


def classes_of(
    head: Head,
    examples: Examples,
    train: Examples | None,
    labels: Sequence[str],
    classes: int,
    texts: Sequence[str] = (),
) -> Classes:
    """labels: of the bundle; without them a label of the data is the number of its class. classes: of its logits.
    texts: names of "zero-shot"; without them those of the data.

    Raises InvalidInputError if no label of the data is known.
    """
    if head == "classifier":
        same = first_of_name(labels, classes)
        index = {name: int(same[place]) for place, name in reversed(list(enumerate(labels[:classes])))}
        numbers = {str(place): int(same[place]) for place in range(classes)}
        index = numbers | index  # a name comes first
        known = f"the bundle's labels ({_some(labels)})" if labels else f"numbers of classes, 0 to {classes - 1}"
    elif texts:
        index = {name: place for place, name in enumerate(texts)}
        known = f"the names of --classes ({_some(texts)})"
    else:
        names = examples.classes if train is None else train.classes
        index = {name: place for place, name in enumerate(names)}
        known = f"the labels of the training images ({_some(names)})"
    targets = np.array([index.get(label, -1) for label in examples.labels], np.int64)
    unknown: dict[str, int] = {}
    for label, target in zip(examples.labels, targets, strict=True):
        if target < 0:
            unknown[label] = unknown.get(label, 0) + 1
    if np.all(targets < 0):
        raise InvalidInputError(
            f"no label of {shown(examples.given)} is known; it has {_some(sorted(unknown))}; expected {known}: name "
            "the classes so, or take --head knn or --head linear with --train"
        )
    return Classes(index=index, targets=targets, unknown=dict(sorted(unknown.items())))


def trained_head(
    kind: Head, outputs: Outputs, train: Examples, classes: Classes, *, neighbors: int, note: Callable[[str], None]
) -> Rank:
    """Of the embeddings of training images; those without one are left out. Raises InvalidInputError."""
    assert outputs.embedding is not None
    usable = outputs.ok & finite_rows(outputs.embedding)
    if not usable.any():
        why = outputs.errors[0] if outputs.errors else "embeddings that are no finite numbers"
        raise InvalidInputError(f"none of {len(usable)} training images of {shown(train.given)} can be used: {why}")
    targets = np.array([classes.index[label] for label in train.labels], np.int64)[usable]
    embeddings = outputs.embedding[usable]
    if kind == "linear":
        return linear_head(embeddings, targets, note=note)
    return knn_head(embeddings, targets, neighbors=neighbors)


def answers_of(
    outputs: Outputs, classes: Classes, head: Rank | None, *, of: Array | None, recall: Sequence[int]
) -> Answers:
    """head: None: retrieval, the class of the nearest other image. of: the outputs that the head takes.

    An image whose outputs are not finite is answered wrongly.
    """
    targets = classes.targets
    counted = outputs.ok & (targets >= 0)
    retrieved = _retrieval(outputs, targets, counted) if recall or head is None else None
    predicted = np.full(len(targets), -1, np.int64)
    top5: Bools | None = None
    if head is not None:
        assert of is not None
        ranked = np.full((len(targets), RANKED), -1, np.int64)
        found = head(of[counted]) if counted.any() else ranked[:0]
        ranked[counted, : found.shape[1]] = found
        predicted = ranked[:, 0]
        if len(set(classes.index.values())) > RANKED:
            top5 = counted & (ranked == targets[:, None]).any(axis=1)
    elif retrieved is not None:
        predicted[counted] = retrieved.nearest
    asked = None
    hits: dict[int, Bools] = {}
    if retrieved is not None and recall and len(np.unique(targets[counted])) > 1:
        asked = _spread(retrieved.asked, counted)
        hits = {k: _spread(retrieved.found(k), counted) for k in recall}
    values = outputs.embedding if of is None else of
    return Answers(
        counted=counted,
        predicted=predicted,
        top1=counted & (predicted == targets),
        top5=top5,
        asked=asked,
        recall=hits,
        not_finite=int((counted & ~finite_rows(values)).sum()) if values is not None else 0,
    )


def _retrieval(outputs: Outputs, targets: Indices, counted: Bools) -> Retrieval | None:
    if outputs.embedding is None or not counted.any():
        return None
    return Retrieval(outputs.embedding[counted], targets[counted])


def _spread(values: Bools, counted: Bools) -> Bools:
    whole = np.zeros(len(counted), np.bool_)
    whole[counted] = values
    return whole


def _some(names: Sequence[str]) -> str:
    words = ", ".join(shown(name) for name in names[:5])
    return f"{words}, … {len(names)} in all" if len(names) > 5 else words
