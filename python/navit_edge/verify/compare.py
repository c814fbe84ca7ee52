"""How far two sets of outputs lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

#: What one image gave: output name -> logits [classes], embedding [D] or tokens [rows * columns, D].
Outputs = dict[str, npt.NDArray[np.float32]]


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """One output of all images against the reference's."""

    least_cosine: float  # over images; each image's output taken as one vector
    mean_cosine: float
    max_abs: float
    relative: float  # max_abs over the largest absolute value of this output in the reference
    top1_agreement: float | None = None  # share of images whose largest logit is the same class; logits only


def outputs_of(results: Sequence[Any]) -> list[Outputs]:
    """Copies of what each image gave; ``results`` are those of ``Session.run``."""
    found: list[Outputs] = []
    for result in results:
        values = {"logits": result.logits, "embedding": result.embedding, "tokens": result.tokens}
        found.append({name: np.array(value) for name, value in values.items() if value is not None})
    return found


def distances(ours: Sequence[Outputs], reference: Sequence[Outputs]) -> dict[str, Distance]:
    """Output -> how far ``ours`` lies from ``reference``; both hold the same images in the same order."""
    return {
        name: _distance(name, [one[name] for one in ours], [one[name] for one in reference]) for name in reference[0]
    }


def _distance(
    name: str, ours: Sequence[npt.NDArray[np.float32]], reference: Sequence[npt.NDArray[np.float32]]
) -> Distance:
    scale = max(float(np.abs(one).max()) for one in reference)
    max_abs = max(float(np.abs(a - b).max()) for a, b in zip(ours, reference, strict=True))
    cosines = [_cosine(a, b) for a, b in zip(ours, reference, strict=True)]
    agreement: float | None = None
    if name == "logits" and reference[0].size > 1:
        same = [int(a.argmax()) == int(b.argmax()) for a, b in zip(ours, reference, strict=True)]
        agreement = sum(same) / len(same)
    return Distance(
        least_cosine=min(cosines),
        mean_cosine=float(np.mean(cosines)),
        max_abs=max_abs,
        relative=max_abs / scale if scale > 0 else float(max_abs > 0),
        top1_agreement=agreement,
    )


def _cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else float(not a.any() and not b.any())


def largest_relative(ours: Sequence[Outputs], reference: Sequence[Outputs]) -> float:
    """The largest ``relative`` of all outputs."""
    return max(distance.relative for distance in distances(ours, reference).values())


def same_bits(ours: Sequence[Outputs], others: Sequence[Outputs]) -> bool:
    """Whether all outputs of all images are equal, bit by bit."""
    return all(a[name].tobytes() == b[name].tobytes() for a, b in zip(ours, others, strict=True) for name in b)


def all_finite(outputs: Sequence[Outputs]) -> bool:
    return all(bool(np.isfinite(value).all()) for one in outputs for value in one.values())
