"""Whether attention was compiled to one fused kernel, proven from the activation memory that the builder reports.

Memory as a function of the tokens T of a budget is c + a·T + q·T². Fused attention has no term in T²: no table of
T x T ever lies in memory. Unfused it holds the scores of all H heads at least, 2·H bytes for each pair of tokens, and
with a mask that is kept a byte for each pair.

* From an engine's own budgets: between the two largest, q is at most the slope over (T1 + T2). Where that is less than
  half of a 16-bit score table, the scores are not there. It proves fusion and never the opposite, since at small
  budgets a·T outweighs it all.
* From a build made for this, with three budgets T, 2T, 4T of the same number of images (pooling grows with T·N): the
  second difference is q. Measured on TensorRT-RTX 1.7.1 at widths 192 to 1024, up to 16384 tokens: 0 to 0.11 bytes
  fused, 52 not at 6 heads. Up to 8192 it is -0.3 to 0.65, since buffers of fixed size still show.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from navit_edge.bundle.manifest import Budget

#: Bytes for each pair of tokens from which a T x T table must be there; one of a single byte adds 1.
LIMIT_BYTES = 0.5
_LEAST_PROBE_TOKENS = 16384
_PROBE_IMAGES = 8


class Fusion(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict and what it rests on."""

    fused: bool | None  # None: not decided
    evidence: str  # a sentence
    method: str = "none"  # "budgets" | "probe" | "inspector" | "none"
    points: tuple[Budget, ...] = ()  # with activation_bytes
    bytes_per_token_pair: float | None = None  # q ("probe") or its upper bound ("budgets")
    limit: float | None = None  # below it: fused


def probe_budgets(budgets: Sequence[Budget]) -> tuple[Budget, ...]:
    """T, 2T and 4T tokens with the same images, 4T being the largest budget or 16384."""
    top = max(_LEAST_PROBE_TOKENS, *(budget.tokens for budget in budgets))
    images = min(_PROBE_IMAGES, *(budget.images for budget in budgets))
    return tuple(Budget(tokens=t, images=images, target_tokens=t) for t in (top // 4, top // 2, top))


def from_budgets(budgets: Sequence[Budget], heads: int) -> Fusion:
    """What an engine's own budgets say: fused, or not decided."""
    known = [budget for budget in budgets if budget.activation_bytes]
    if len(known) < 2:
        return Fusion(fused=None, evidence="one budget alone, or a builder that names no memory, decides nothing")
    small, large = known[-2:]
    bound = _slope(small, large) / (small.tokens + large.tokens)
    fused = bound < heads or None
    verdict = "fused" if fused else "not decided by these"
    return Fusion(
        fused=fused,
        evidence=(
            f"from {small.tokens} to {large.tokens} tokens activations grow by at most {bound:.2f} bytes for each pair "
            f"of tokens; the 16-bit scores of {heads} heads alone would take {2 * heads}: {verdict}"
        ),
        method="budgets",
        points=(small, large),
        bytes_per_token_pair=round(bound, 3),
        limit=float(heads),
    )


def from_probe(points: Sequence[Budget]) -> Fusion:
    """What three budgets T, 2T, 4T say: fused or not; not decided if the builder gave no memory."""
    if len(points) != 3 or not all(point.activation_bytes for point in points):
        return Fusion(
            fused=None, evidence="the builder's log names no activation memory for each budget", points=tuple(points)
        )
    first, second, third = points
    q = (_slope(second, third) - _slope(first, second)) / (third.tokens - first.tokens)
    fused = q < LIMIT_BYTES
    sizes = ", ".join(f"{(point.activation_bytes or 0) / 2**20:.1f}" for point in points)
    return Fusion(
        fused=fused,
        evidence=(
            f"a build with {first.tokens}, {second.tokens} and {third.tokens} tokens takes {sizes} MiB of activations: "
            f"{max(q, 0.0):.2f} bytes for each pair of tokens, "
            + ("so memory is linear in the budget" if fused else "so memory grows with its square: not fused")
        ),
        method="probe",
        points=tuple(points),
        bytes_per_token_pair=round(q, 3),
        limit=LIMIT_BYTES,
    )


def _slope(small: Budget, large: Budget) -> float:
    """Bytes a token."""
    return ((large.activation_bytes or 0) - (small.activation_bytes or 0)) / (large.tokens - small.tokens)
