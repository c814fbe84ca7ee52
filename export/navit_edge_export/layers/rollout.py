"""Attention rollout (Abnar & Zuidema, arXiv:2005.00928): how much of an image's embedding comes from each patch through
all layers, if attention, averaged over its heads, and the residual beside it mix tokens half and half.

The product of the layers' matrices (A + I) / 2 is never made. One row of weights a pack, that of pooling, goes through
the layers from the last to the first, r <- (r A + r) / 2: a vector times the attention of each image.

Letters: T tokens in a pack, M tokens behind a merge, H heads, dh width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.attention import Lowering
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.pooling import (
    AttentionPool,
    ClsMeanPooling,
    ClsPooling,
    MeanPooling,
    PrefixPooling,
    Segments,
)
from navit_edge_export.layers.token_merging import Merged


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a block attended with: queries and keys [T or M, H, dh]."""

    lowering: Lowering
    query: Tensor
    key: Tensor
    scale: float


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Which weights pooling gives tokens: those that the rows start with."""

    start: Callable[[Tensor, Segments], Tensor]  # tokens, as pooling gets them -> [T or M] float32

    def of(
        self, tokens: Tensor, segments: Segments, layers: Sequence[Layer], merged: Merged | None, merges: int
    ) -> Tensor:
        """[T, 1] float32, 0 of tokens in no image. merges: the block behind whose attention tokens were merged."""
        row, inside = self.start(tokens, segments), segments.member.any(0).float()
        for index, layer in reversed([*enumerate(layers)]):
            if merged is not None and index == merges:
                row = merged.unmerge((row / merged.sizes).unsqueeze(1)).squeeze(1)
            row = 0.5 * (row + layer.lowering.carry(row, layer.query, layer.key, layer.scale))
        if merged is not None:
            inside = merged.unmerge(inside.unsqueeze(1)).squeeze(1)
        return (row * inside).unsqueeze(1)  # what the lowerings leave in padding rows is not said


def find_rollout(family: str, pooling: nn.Module | None, blocks: Sequence[nn.Module]) -> Rollout:
    """Raises InvalidInputError: the model's layers, or its pooling, do not say what an embedding is made of."""
    other = [type(block).__name__ for block in blocks if type(block) is not Block]
    if other:
        raise InvalidInputError(
            f"outputs name saliency; {family} has blocks ({other[0]}) that do not give their queries and keys; export "
            "tokens, and show their norms or distances"
        )
    pools = [] if pooling is None else [part for part in pooling.modules() if isinstance(part, AttentionPool)]
    if pools:
        return Rollout(start=lambda tokens, segments: _by_token(pools[0].weights(tokens, segments).mean(0), segments))
    if type(pooling) is MeanPooling:
        return Rollout(start=lambda _, segments: _mean(segments))
    if isinstance(pooling, (PrefixPooling, ClsPooling, ClsMeanPooling)):
        prefixes = pooling.chosen if isinstance(pooling, PrefixPooling) else (0,)
        return Rollout(start=lambda _, segments: _prefixes(segments, prefixes))
    raise InvalidInputError(
        f"outputs name saliency; {family} does not pool by attention, by a CLS token or by the mean, so nothing says "
        "with which weights its tokens become an embedding; export tokens, and show their norms or distances"
    )


def _by_token(weights: Tensor, segments: Segments) -> Tensor:
    """[N, T] -> [T]: each token's weight in its own image; 0 if it is in none."""
    return torch.where(segments.member, weights, 0.0).sum(0)


def _mean(segments: Segments) -> Tensor:
    member = segments.member.float()
    if segments.sizes is not None:
        member = member * segments.sizes.float()
    return (member / member.sum(1, keepdim=True).clamp(min=1.0)).sum(0)


def _prefixes(segments: Segments, prefixes: Sequence[int]) -> Tensor:
    """The same for each of the prefix tokens of that number, from 0."""
    chosen = torch.stack([segments.rows == -1 - k for k in prefixes]).any(0)
    return (segments.member.any(0) & chosen).float() / len(prefixes)
