"""How much the attention behind an image's embedding looks at each patch: the probe's of attention pooling, or that of
the CLS token in the last block. One row of scores an image, never a table of T x T.

Letters: T tokens in a pack, N images, H heads, dh width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.pooling import AttentionPool, ClsMeanPooling, ClsPooling, PrefixPooling, Segments


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """Where a model's map comes from, and whether heads have one each."""

    pool: AttentionPool | None  # None: the last block's attention
    prefixes: tuple[int, ...]  # then: the prefix tokens that look, from 0
    each_head: bool  # False: the mean of the heads

    def of_pool(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D], as pooling gets them -> [T, maps] float32"""
        assert self.pool is not None
        return self._by_token(self.pool.weights(tokens, segments), segments)

    def of_block(self, attention: SelfAttention, query: Tensor, key: Tensor, segments: Segments) -> Tensor:
        """query, key [T, H, dh] of the last block -> [T, maps] float32; of several prefix tokens the mean"""
        found = [
            segments.weights(
                segments.pick(query.flatten(1), segments.rows == -1 - k).reshape(-1, *query.shape[1:]),
                key,
                attention.scale,
            )
            for k in self.prefixes
        ]
        return self._by_token(torch.stack(found).mean(0) if len(found) > 1 else found[0], segments)

    def _by_token(self, weights: Tensor, segments: Segments) -> Tensor:
        """[H, N, T] -> [T, maps]: each token's weight in its own image; 0 if it is in none."""
        own = torch.where(segments.member, weights, 0.0).sum(1).transpose(0, 1)  # [T, H]
        return own if self.each_head else own.mean(1, keepdim=True)


def find_attention_map(
    family: str, pooling: nn.Module | None, blocks: Sequence[nn.Module], *, each_head: bool
) -> AttentionMap:
    """Raises InvalidInputError: nothing behind the model's embedding looks at patches one by one."""
    pools = [] if pooling is None else [part for part in pooling.modules() if isinstance(part, AttentionPool)]
    if pools:
        return AttentionMap(pool=pools[0], prefixes=(), each_head=each_head)
    prefixes = pooling.chosen if isinstance(pooling, PrefixPooling) else (0,)
    if not isinstance(pooling, (PrefixPooling, ClsPooling, ClsMeanPooling)):
        raise InvalidInputError(
            f"outputs name attention_map; {family} pools neither by attention nor by a CLS token, so no attention says "
            "how much its embedding looks at a patch; export tokens, and show their norms or distances"
        )
    if type(blocks[-1]) is not Block:
        raise InvalidInputError(
            f"outputs name attention_map; the last block of {family} is of a kind that does not give its queries and "
            "keys; export tokens, and show their norms or distances"
        )
    return AttentionMap(pool=None, prefixes=prefixes, each_head=each_head)
