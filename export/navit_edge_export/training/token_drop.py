"""Dropping patches in training: fewer tokens an image, more images a pass.

Source: Dehghani et al., "Patch n' Pack" (arXiv:2307.06304), continuous token dropping: a constant rate, a rate drawn
for each image from a Beta distribution, or a rate that grows with the image's token count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge_export.preprocess import Pack, cumulative_lengths, index_tensors

TOKEN_DROPS = ("none", "constant", "beta", "resolution")


@dataclass(frozen=True, kw_only=True)
class TokenDrop:
    """How many of an image's patches are dropped, as a rate in [0, 1).

    constant: ``rate``.
    beta: ``max_rate * B``, with B of a Beta distribution of mean u = rate / max_rate and deviation s, from which
        alpha = u (u (1-u) / s^2 - 1) and beta = (1-u) (u (1-u) / s^2 - 1); ``deviation`` is s.
    resolution: a normal distribution around the line from ``min_rate`` at ``min_tokens`` patches to ``max_rate`` at
        ``max_tokens``, of this ``deviation``, draws beyond two deviations rejected.
    """

    kind: str = "none"
    rate: float = 0.5
    min_rate: float = 0.1
    max_rate: float = 0.8
    deviation: float = 0.2
    min_tokens: int = 16
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        if self.kind not in TOKEN_DROPS:
            raise InvalidInputError(f'token drop "{self.kind}" is unknown; expected one of {", ".join(TOKEN_DROPS)}')
        for name in ("rate", "min_rate", "max_rate"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InvalidInputError(f"token drop: {name} is {value}; expected 0 or more and less than 1")
        if self.deviation <= 0:
            raise InvalidInputError(f"token drop: deviation is {self.deviation}; expected more than 0")
        if not 0 < self.min_tokens < self.max_tokens:
            raise InvalidInputError(
                f"token drop: min_tokens {self.min_tokens} and max_tokens {self.max_tokens}; expected 0 < min < max"
            )
        if self.kind == "beta":
            if not 0 < self.rate < self.max_rate:
                raise InvalidInputError(
                    f"token drop: rate is {self.rate}; beta needs 0 < rate < max_rate {self.max_rate}"
                )
            mean = self.rate / self.max_rate
            limit = (mean * (1 - mean)) ** 0.5
            if self.deviation >= limit:
                raise InvalidInputError(
                    f"token drop: deviation is {self.deviation}; a Beta distribution of mean {mean:.3g} needs less "
                    f"than {limit:.3g}"
                )


def drop_rates(drop: TokenDrop, patches: Sequence[int], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The rate of each image, given its patch counts: N numbers in [0, 1)."""
    counts = np.asarray(patches, np.float64)
    if drop.kind == "constant":
        return np.full(len(counts), drop.rate)
    if drop.kind == "beta":
        mean = drop.rate / drop.max_rate
        strength = mean * (1 - mean) / drop.deviation**2 - 1
        return drop.max_rate * rng.beta(mean * strength, (1 - mean) * strength, len(counts))
    if drop.kind == "resolution":
        place = (counts - drop.min_tokens) / (drop.max_tokens - drop.min_tokens)
        middle = drop.min_rate + (drop.max_rate - drop.min_rate) * np.clip(place, 0, 1)
        noise = rng.standard_normal(len(counts))
        while (far := np.abs(noise) > 2).any():
            noise[far] = rng.standard_normal(int(far.sum()))
        return np.clip(middle + drop.deviation * noise, 0, np.nextafter(1, 0))
    return np.zeros(len(counts))


def drop_tokens(pack: Pack, drop: TokenDrop, rng: np.random.Generator) -> Pack:
    """The pack without the dropped patches. An image of n patches at rate d keeps max(1, round((1-d) n)) of them, drawn
    without replacement and left in order; prefix tokens, padding rows and ``grid_hw`` stay as they are."""
    images = len(pack.grid_hw)
    is_patch = pack.positions[:, 0] >= 0
    rows = [np.flatnonzero(is_patch & (pack.segment_ids == n)) for n in range(images)]
    rates = drop_rates(drop, [len(r) for r in rows], rng)
    keep = ~is_patch | (pack.segment_ids == images)
    for own, rate in zip(rows, rates, strict=True):
        if len(own):
            keep[rng.permutation(own)[: max(1, round((1 - rate) * len(own)))]] = True
    segment_ids = pack.segment_ids[keep]
    lengths = np.bincount(segment_ids, minlength=images + 1)
    attention_index, token_index = index_tensors(lengths[:images], padding_tokens=int(lengths[images]))
    return Pack(
        patches=pack.patches[keep],
        positions=pack.positions[keep],
        segment_ids=segment_ids,
        grid_hw=pack.grid_hw,
        attention_index=attention_index,
        token_index=token_index,
        cu_seqlens=cumulative_lengths(lengths[:images]),
    )
