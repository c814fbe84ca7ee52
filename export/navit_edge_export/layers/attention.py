"""Attention inside each image of a pack, in three lowerings behind one interface.

Letters: T tokens in a pack, N images, L longest image, D width, H heads, dh = D / H. Queries, keys and values come
packed, [T, H, dh]; what comes back is packed, [T, D]. A token attends to the tokens of its own image only.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from navit_edge.compile import packed_attention
from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.norms import make_head_norm
from navit_edge_export.positions.rotary import Rotation

# Added to the score of a key that is not there. Finite, so that an image without tokens gives numbers, not NaN; exp of
# it is 0 in every format; float16 holds it.
ABSENT = -30000.0


NO_PACKED_WINDOWS = (
    "the lowering packed has no attention in windows, whose tokens do not lie one after another; "
    "expected masked or padded"
)

NO_PACKED_ROLLOUT = (
    "the lowering packed has one operator for attention, which does not give its weights, and saliency needs them; "
    "expected masked or padded"
)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Blocks that attend inside square windows of each image's grid, the last ones of a row or column cut off."""

    side: int  # in patches
    full_blocks: frozenset[int] = frozenset()  # which attend to the whole image

    def ids(self, positions: Tensor, token_grid: Tensor) -> Tensor:
        """The window of each token, by the pack row of its first one: positions, token_grid [T, 2] int32 -> [T] int32;
        for images without prefix tokens."""
        inside = torch.remainder(positions, self.side)
        own = torch.arange(positions.shape[0], dtype=torch.int32, device=positions.device)
        return own - inside[:, 0] * token_grid[:, 1] - inside[:, 1]


class Lowering(Protocol):
    """How one graph computes attention."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query, key, value [T, H, dh] -> [T, H*dh]"""
        ...

    def carry(self, row: Tensor, query: Tensor, key: Tensor, scale: float) -> Tensor:
        """A row of weights times the matrix of attention, the mean of its heads: row [T] float32, query, key
        [T, H, dh] -> [T] float32. Scores are not kept from ``attend``, which may never have had them as a table."""
        ...

    def within(self, ids: Tensor) -> Lowering:
        """The same between tokens of one id only: ids [T] int32, of which no two images share one (Windows)."""
        ...


class MaskedLowering:
    """One T x T softmax over the pack; foreign pairs get -inf.

    TensorRT recognizes this plain form (float32 scores, -inf, float32 softmax, int32 ids) and compiles it to a kernel
    that compares ids inside and skips foreign tiles. Padding rows have an id of their own, so no row is empty.
    """

    def __init__(self, segment_ids: Tensor, bias: Tensor | None = None) -> None:
        """segment_ids [T] int32; bias [T], added to the scores of each key"""
        self._same = segment_ids.unsqueeze(1) == segment_ids.unsqueeze(0)  # [T, T]
        self._bias = 0.0 if bias is None else bias.float().unsqueeze(0)  # [1, T]

    def within(self, ids: Tensor) -> Lowering:
        """See Lowering. The graph keeps its plain form: other ids are compared."""
        return MaskedLowering(ids)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See Lowering."""
        q, k, v = (x.transpose(0, 1) for x in (query, key, value))  # [H, T, dh]
        scores = ((q * scale) @ k.transpose(-1, -2)).float() + torch.where(self._same, self._bias, -torch.inf)
        mixed = scores.softmax(-1).to(v.dtype) @ v  # [H, T, dh]
        return mixed.transpose(0, 1).flatten(1)

    def carry(self, row: Tensor, query: Tensor, key: Tensor, scale: float) -> Tensor:
        """See Lowering."""
        q, k = (x.transpose(0, 1) for x in (query, key))  # [H, T, dh]
        scores = ((q * scale) @ k.transpose(-1, -2)).float() + torch.where(self._same, self._bias, -torch.inf)
        carried: Tensor = (row @ scores.softmax(-1)).mean(0)
        return carried


class PaddedLowering:
    """Only attention leaves the packed form: it gathers to [N, H, L, dh] and back."""

    def __init__(self, attention_index: Tensor, token_index: Tensor, bias: Tensor | None = None) -> None:
        """attention_index [N, L] int32, token_index [T] int32 (preprocess.Pack); bias [T], added to the scores of each
        key"""
        self._shape = attention_index.shape
        self._rows = attention_index.clamp(min=0).flatten()  # [N*L]
        there = 0.0 if bias is None else bias.float().index_select(0, self._rows).view(self._shape)
        self._present = attention_index >= 0  # [N, L]
        self._mask = torch.where(self._present, there, ABSENT)[:, None, None, :]  # [N, 1, 1, L]
        self._token_index = token_index

    def within(self, ids: Tensor) -> Lowering:
        """See Lowering. Scores stay L x L for each image, and the mask becomes as large, N * L^2: windows save no time
        here."""
        own = ids.index_select(0, self._rows).view(self._shape)  # [N, L]
        same = (own.unsqueeze(2) == own.unsqueeze(1)).unsqueeze(1)  # [N, 1, L, L]
        narrow = copy.copy(self)
        narrow._mask = torch.where(same, self._mask, ABSENT)
        return narrow

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See Lowering."""
        q, k, v = (self._gather(x) for x in (query, key, value))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=self._mask, scale=scale)  # [N, H, L, dh]
        return mixed.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, self._token_index)

    def carry(self, row: Tensor, query: Tensor, key: Tensor, scale: float) -> Tensor:
        """See Lowering."""
        q, k = (self._gather(x) for x in (query, key))
        scores = ((q * scale) @ k.transpose(-1, -2)).float() + self._mask  # [N, H, L, L]
        weights = torch.where(self._present, row.index_select(0, self._rows).view(self._shape), 0.0)  # [N, L]
        carried = (weights[:, None, None, :] @ scores.softmax(-1)).mean(1)  # [N, 1, L]
        return carried.flatten().index_select(0, self._token_index)

    def _gather(self, packed: Tensor) -> Tensor:
        """[T, H, dh] -> [N, H, L, dh]"""
        images, longest = self._shape
        gathered = packed.index_select(0, self._rows)
        return gathered.view(images, longest, *packed.shape[1:]).transpose(1, 2)


class PackedLowering:
    """Attention as one operator over sequences that lie one after another: TensorRT's packed kernel.

    The sequences are the images and, last, the padding rows: TensorRT asks that the lengths end at T, and what a kernel
    leaves in rows that no sequence holds is not said. So every row is computed, and padding rows give finite numbers.
    """

    def __init__(self, cu_seqlens: Tensor, segment_ids: Tensor) -> None:
        """cu_seqlens [N+1] int32 (preprocess.Pack), segment_ids [T]"""
        rows = torch.full((1,), segment_ids.shape[0], dtype=cu_seqlens.dtype, device=cu_seqlens.device)
        self._lengths = torch.cat([cu_seqlens, rows])  # [N+2]

    def within(self, ids: Tensor) -> Lowering:
        """Refused: the tokens of a window do not lie one after another."""
        del ids
        raise InvalidInputError(NO_PACKED_WINDOWS)

    def carry(self, row: Tensor, query: Tensor, key: Tensor, scale: float) -> Tensor:
        """Refused: the operator gives what was attended to, not how much."""
        del row, query, key, scale
        raise InvalidInputError(NO_PACKED_ROLLOUT)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See Lowering."""
        query = query * scale  # the operator does not scale
        if not torch.onnx.is_in_onnx_export():
            return self._one_by_one(query, key, value)
        mixed: Tensor = torch.onnx.ops.symbolic(
            f"{packed_attention.DOMAIN}::{packed_attention.OPERATOR}",
            (query, key, value, None, self._lengths, self._lengths),
            dict(packed_attention.ATTRIBUTES),
            dtype=query.dtype,
            shape=query.shape,
            version=packed_attention.DOMAIN_VERSION,
        )
        return mixed.flatten(1)

    def _one_by_one(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What the operator computes, in PyTorch: one sequence after another."""
        parts = []  # [H, end - start, dh] each
        for start, end in itertools.pairwise(self._lengths.tolist()):
            if end > start:
                q, k, v = (x[start:end].transpose(0, 1) for x in (query, key, value))
                parts.append(functional.scaled_dot_product_attention(q, k, v, scale=1.0))
        return torch.cat(parts, dim=1).transpose(0, 1).flatten(1)


def split_heads(joint: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """[T, parts*H*dh] -> ``parts`` tensors [T, H, dh]"""
    return joint.view(joint.shape[0], parts, heads, joint.shape[1] // (parts * heads)).unbind(1)


class SelfAttention(nn.Module):
    """Multi-head self-attention on packed tokens. Queries, keys and values are one matrix product.

    Optional: normalization of queries and keys per head, rotary positions, fewer heads of keys and values
    (grouped-query attention), a norm of values or of what attention gives, and a gate on it.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        qkv_bias: bool,
        proj_bias: bool,
        qk_norm: str = "off",
        norm_bias: bool = True,
        eps: float = 1e-6,
        head_width: int | None = None,
        key_heads: int | None = None,
        scale: float | None = None,
        value_norm: nn.Module | None = None,
        inner_norm: nn.Module | None = None,
        gate: nn.Module | None = None,
        logit_scale: bool = False,
    ) -> None:
        """
        qk_norm: one of norms.make_head_norm's.
        logit_scale: each head's scores are multiplied with exp of a learned number.
        head_width: dh; D / H if not given.
        key_heads: heads of keys and of values; H if not given.
        scale: of the scores; dh^-1/2 if not given.
        value_norm: of values, per head.
        inner_norm: of [T, H*dh], in front of the last layer.
        gate: [T, D] -> [T, H*dh], of the same input; its sigmoid is multiplied with what attention gives.
        """
        super().__init__()
        self.heads = heads
        self.key_heads = key_heads or heads
        self.head_width = head_width or width // heads
        self.scale = self.head_width**-0.5 if scale is None else scale
        self.qkv = nn.Linear(width, (heads + 2 * self.key_heads) * self.head_width, bias=qkv_bias)
        self.query_norm = make_head_norm(qk_norm, self.head_width, bias=norm_bias, eps=eps, heads=heads)
        self.key_norm = make_head_norm(qk_norm, self.head_width, bias=norm_bias, eps=eps, heads=self.key_heads)
        self.logit_scale = nn.Parameter(torch.zeros(heads)) if logit_scale else None
        self.value_norm = value_norm
        self.inner_norm = inner_norm
        self.gate = gate
        self.proj = nn.Linear(heads * self.head_width, width, bias=proj_bias)

    def forward(self, tokens: Tensor, lowering: Lowering, rotation: Rotation | None = None) -> Tensor:
        """tokens [T, D] -> [T, D]"""
        return self.with_heads(tokens, lowering, rotation)[0]

    def with_heads(
        self, tokens: Tensor, lowering: Lowering, rotation: Rotation | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As forward, and the queries that have attended and the keys that they have attended to, both [T, H, dh]"""
        query, key, value = self._split(self.qkv(tokens))
        query, key = self.query_norm(query), self.key_norm(key)
        if self.value_norm is not None:
            value = self.value_norm(value)
        if self.logit_scale is not None:
            query = query * self.logit_scale.exp().to(query.dtype).unsqueeze(1)
        if rotation is not None:
            query, key = rotation.turn(query), rotation.turn(key)
        if self.key_heads != self.heads:
            repeats = self.heads // self.key_heads
            key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
        mixed = lowering.attend(query, key, value, self.scale)
        if self.inner_norm is not None:
            mixed = self.inner_norm(mixed)
        if self.gate is not None:
            mixed = mixed * self.gate(tokens).sigmoid()
        projected: Tensor = self.proj(mixed)
        return projected, query, key

    def _split(self, joint: Tensor) -> tuple[Tensor, ...]:
        """[T, (H + 2 key heads) * dh] -> queries [T, H, dh], keys and values [T, key heads, dh]"""
        if self.key_heads == self.heads:
            return split_heads(joint, 3, self.heads)
        counts = [self.heads, self.key_heads, self.key_heads]
        return torch.split(joint.view(joint.shape[0], sum(counts), self.head_width), counts, dim=1)
