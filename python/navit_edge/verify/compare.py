"""How far two sets of outputs lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from navit_edge.oracle.distance import Differences
from navit_edge.oracle.packs import Array
from navit_edge.oracle.reference import Outputs
from navit_edge.vocabulary import OUTPUTS


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
        values = {name: getattr(result, name) for name in OUTPUTS}
        found.append({name: np.array(value) for name, value in values.items() if value is not None})
    return found


def distances(ours: Sequence[Outputs], reference: Sequence[Outputs]) -> dict[str, Distance]:
    """Output -> how far ``ours`` lies from ``reference``; both hold the same images in the same order."""
    return {
        name: _distance(name, [one[name] for one in ours], [one[name] for one in reference]) for name in reference[0]
    }


def _distance(name: str, ours: Sequence[Array], reference: Sequence[Array]) -> Distance:
    found = Differences()
    for expected, value in zip(reference, ours, strict=True):
        found.add(expected, value)
    max_abs = float(np.float32(found.largest_difference))
    return Distance(
        least_cosine=min(found.cosines),
        mean_cosine=float(np.mean(found.cosines)),
        max_abs=max_abs,
        relative=max_abs / found.largest if found.largest > 0 else float(max_abs > 0),
        top1_agreement=found.agreement if name == "logits" and reference[0].size > 1 else None,
    )


def largest_relative(ours: Sequence[Outputs], reference: Sequence[Outputs]) -> float:
    """The largest ``relative`` of all outputs."""
    return max(distance.relative for distance in distances(ours, reference).values())


def same_bits(ours: Sequence[Outputs], others: Sequence[Outputs]) -> bool:
    """Whether all outputs of all images are equal, bit by bit."""
    return all(a[name].tobytes() == b[name].tobytes() for a, b in zip(ours, others, strict=True) for name in b)


def all_finite(outputs: Sequence[Outputs]) -> bool:
    return all(bool(np.isfinite(value).all()) for one in outputs for value in one.values())
