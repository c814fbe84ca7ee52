"""Dropping patches in training: fewer tokens an image, more images a pass.

Source: Dehghani et al., "Patch n' Pack" (arXiv:2307.06304), continuous token dropping: a constant rate, a rate drawn
for each image from a Beta distribution, or a rate that grows with the image's token count. Blocks: Bao et al.,
"BEiT" (arXiv:2106.08254), appendix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge_export.preprocess import Pack, cumulative_lengths, index_tensors

TOKEN_DROPS = ("none", "constant", "beta", "resolution", "progressive", "loss")
CHOICES = ("uniform", "blocks", "attention")
#: Sides of a dropped block, height / width, and the share of the image's patches that it has.
BLOCK_ASPECT, BLOCK_SHARE = 0.3, (0.05, 0.3)


@dataclass(frozen=True, kw_only=True)
class TokenDrop:
    """How many of an image's patches are dropped, as a rate in [0, 1).

    constant: ``rate``.
    beta: ``max_rate * B``, with B of a Beta distribution of mean u = rate / max_rate and deviation s, from which
        alpha = u (u (1-u) / s^2 - 1) and beta = (1-u) (u (1-u) / s^2 - 1); ``deviation`` is s.
    resolution: a normal distribution around the line from ``min_rate`` at ``min_tokens`` patches to ``max_rate`` at
        ``max_tokens``, of this ``deviation``, draws beyond two deviations rejected.
    progressive: from ``min_rate`` at the start of the training to ``max_rate`` at its end, linearly.
    loss: by the rank of the image's last loss: ``max_rate`` for the easiest, ``min_rate`` for the hardest, half way for
        one that has not been seen.

    choice: which patches go. uniform: any. blocks: rectangles of neighbours, so that what is left does not give away
        what is missing. attention: those that the model attends to least go first (attention.py).
    """

    kind: str = "none"
    choice: str = "uniform"
    rate: float = 0.5
    min_rate: float = 0.1
    max_rate: float = 0.8
    deviation: float = 0.2
    min_tokens: int = 16
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        if self.kind not in TOKEN_DROPS:
            raise InvalidInputError(f'token drop "{self.kind}" is unknown; expected one of {", ".join(TOKEN_DROPS)}')
        if self.choice not in CHOICES:
            raise InvalidInputError(f'choice "{self.choice}" is unknown; expected one of {", ".join(CHOICES)}')
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


def drop_rates(
    drop: TokenDrop,
    patches: Sequence[int],
    rng: np.random.Generator,
    *,
    progress: float = 0.0,
    losses: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """The rate of each image, given its patch counts: N numbers in [0, 1).

    progress: share of the training that is done.
    losses: [N] the last loss of each image, NaN if there is none.
    """
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
    if drop.kind == "progressive":
        share = min(1.0, max(0.0, progress))
        return np.full(len(counts), drop.min_rate + (drop.max_rate - drop.min_rate) * share)
    if drop.kind == "loss":
        return drop.max_rate + (drop.min_rate - drop.max_rate) * _hardness(losses, len(counts))
    return np.zeros(len(counts))


def kept_count(patches: int, rate: float) -> int:
    """How many of an image's patches stay."""
    return max(1, round((1 - rate) * patches))


def choose_patches(
    rows: int,
    columns: int,
    kept: int,
    choice: str,
    rng: np.random.Generator,
    scores: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.int64]:
    """Which ``kept`` of an image's patches stay: their numbers, row-major, ascending.

    scores: [rows * columns], of the choice "attention": a patch is drawn without replacement in proportion to its score
        (Efraimidis and Spirakis, 2006, in the logarithm).
    """
    patches = rows * columns
    if kept >= patches:
        return np.arange(patches)
    if choice == "blocks":
        return np.flatnonzero(~_blocks(rows, columns, patches - kept, rng))
    if choice == "attention" and scores is not None:
        keys = np.log(np.maximum(scores, np.finfo(np.float64).tiny)) + rng.gumbel(size=patches)
        return np.sort(np.argsort(-keys, kind="stable")[:kept])
    return np.sort(rng.permutation(patches)[:kept])


def drop_tokens(pack: Pack, drop: TokenDrop, rng: np.random.Generator) -> Pack:
    """The pack without the dropped patches. An image of n patches at rate d keeps max(1, round((1-d) n)) of them, drawn
    without replacement and left in order; prefix tokens, padding rows and ``grid_hw`` stay as they are. By rates that
    need no more than the pack: progress is 0, and no loss is known."""
    patches = patches_of(pack)
    rates = drop_rates(drop, patches, rng)
    chosen = []
    for (rows, columns), count, rate in zip(pack.grid_hw.tolist(), patches, rates, strict=True):
        kept = kept_count(count, rate) if count else 0
        if count == rows * columns:
            chosen.append(choose_patches(rows, columns, kept, drop.choice, rng))
        else:  # some are gone already
            chosen.append(np.sort(rng.permutation(count)[:kept]))
    return keep_tokens(pack, chosen)


def patches_of(pack: Pack) -> list[int]:
    """How many rows of each image are patches: N numbers."""
    images = len(pack.grid_hw)
    is_patch = (pack.positions[:, 0] >= 0) & (pack.segment_ids < images)
    return [int(n) for n in np.bincount(pack.segment_ids[is_patch], minlength=images)]


def keep_tokens(pack: Pack, chosen: Sequence[npt.NDArray[np.int64]]) -> Pack:
    """The pack with only the ``chosen`` patches of each image, by their numbers among its patches, in order."""
    images = len(pack.grid_hw)
    is_patch = (pack.positions[:, 0] >= 0) & (pack.segment_ids < images)
    keep = ~is_patch
    for n, own in enumerate(chosen):
        keep[np.flatnonzero(is_patch & (pack.segment_ids == n))[own]] = True
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


def _hardness(losses: npt.NDArray[np.float64] | None, images: int) -> npt.NDArray[np.float64]:
    """0 for the image with the least loss, 1 for the one with the largest, 1/2 where none is known."""
    hardness = np.full(images, 0.5)
    if losses is None:
        return hardness
    known = np.flatnonzero(~np.isnan(losses))
    if len(known) > 1:
        ranks = np.argsort(np.argsort(losses[known], kind="stable"), kind="stable")
        hardness[known] = ranks / (len(known) - 1)
    return hardness


def _blocks(rows: int, columns: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Rectangles that cover exactly ``count`` patches: [rows * columns]. The last one loses what is too much."""
    covered = np.zeros((rows, columns), bool)
    while (missing := count - int(covered.sum())) > 0:
        area = rng.uniform(*BLOCK_SHARE) * rows * columns
        aspect = np.exp(rng.uniform(np.log(BLOCK_ASPECT), -np.log(BLOCK_ASPECT)))
        height = min(rows, max(1, round(np.sqrt(area * aspect))))
        width = min(columns, max(1, round(np.sqrt(area / aspect))))
        top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        inside = np.zeros_like(covered)
        inside[top : top + height, left : left + width] = True
        new = np.flatnonzero(inside & ~covered)
        covered.flat[new[:missing]] = True
    return covered.ravel()
