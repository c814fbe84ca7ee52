"""One vector per image from the packed tokens.

All reductions are matrix products with, or softmax under, the [N, T] membership table, since the engines' compilers do
not take scatter reductions. Letters: T tokens in a pack, N images, D width, H heads, dh = D / H.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from navit_edge_export.layers.attention import ABSENT, split_heads
from navit_edge_export.layers.norms import make_head_norm

# Doubling steps of a running maximum: enough for images of 2**15 tokens.
MAX_STEPS = 15

#: The id of tokens that pooling leaves out; no image's, and not that of the rows beyond the last.
NO_IMAGE = -2


class Segments:
    """Which token belongs to which image. Images without tokens give finite numbers everywhere."""

    def __init__(self, segment_ids: Tensor, positions: Tensor, images: int, sizes: Tensor | None = None) -> None:
        """segment_ids [T] int32, positions [T, 2] int32, images N; sizes [T]: how many patches a token stands for, if
        tokens were merged"""
        self.ids = segment_ids
        self.rows = positions[:, 0]
        self.sizes = sizes
        numbers = torch.arange(images, dtype=segment_ids.dtype, device=segment_ids.device)
        self.member = segment_ids.unsqueeze(0) == numbers.unsqueeze(1)  # [N, T]

    @staticmethod
    def of_patches(segment_ids: Tensor, positions: Tensor, images: int, sizes: Tensor | None = None) -> Segments:
        """As the constructor, with the prefix tokens left out."""
        return Segments(torch.where(positions[:, 0] < 0, NO_IMAGE, segment_ids), positions, images, sizes)

    def patches(self) -> Segments:
        """The same images with the prefix tokens left out."""
        found = copy.copy(self)
        found.member = self.member & (self.rows >= 0)
        return found

    def mean(self, tokens: Tensor) -> Tensor:
        """Mean of each image's tokens: [T, D] -> [N, D]

        Each token is weighed before the sum, so that a 16-bit engine's sum cannot overflow.
        """
        member = self.member.to(tokens.dtype)
        if self.sizes is not None:
            member = member * self.sizes.to(tokens.dtype)
        return (member / member.sum(1, keepdim=True).clamp(min=1.0)) @ tokens

    def pick(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        """The one token of each image where ``chosen`` [T] holds: [T, D] -> [N, D]; zeros if there is none."""
        return (self.member & chosen.unsqueeze(0)).to(tokens.dtype) @ tokens

    def max(self, tokens: Tensor) -> Tensor:
        """Largest value of each feature over each image's tokens: [T, D] -> [N, D]

        A running maximum over the 1, 2, 4, ... following rows of the same image leaves the image's maximum in its first
        row: [T, D] memory if a masked [N, T, D] maximum would need N times as much.
        """
        ids = self.ids
        for step in range(MAX_STEPS):
            shift = 1 << step
            later = nn.functional.pad(tokens, (0, 0, 0, shift))[shift:]
            later_ids = nn.functional.pad(ids, (0, shift), value=-1)[shift:]
            tokens = torch.where((later_ids == ids).unsqueeze(1), torch.maximum(tokens, later), tokens)
        first = nn.functional.pad(ids, (1, 0), value=-1)[:-1] != ids
        return self.pick(tokens, first)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """One query over each image's tokens: query [H, dh], key and value [T, H, dh] -> [N, H*dh]"""
        pooled = self.weights(query, key, scale).to(value.dtype) @ value.transpose(0, 1)  # [H, N, dh]
        return pooled.transpose(0, 1).flatten(1)

    def weights(self, query: Tensor, key: Tensor, scale: float) -> Tensor:
        """How much the query looks at each of an image's tokens: query [H, dh] of all images, or [N, H, dh], key
        [T, H, dh] -> [H, N, T] float32"""
        rows = query.unsqueeze(1) if query.dim() == 2 else query.transpose(0, 1)  # [H, 1 or N, dh]
        scores = (rows * scale) @ key.permute(1, 2, 0)  # [H, 1 or N, T]
        scores = scores.float() if self.sizes is None else scores.float() + self.sizes.float().log()
        return torch.where(self.member, scores, ABSENT).softmax(-1)


class AttentionPool(nn.Module):
    """Multi-head attention of one learned probe over the tokens of each image."""

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
        scale: float | None = None,
    ) -> None:
        """Arguments as SelfAttention's."""
        super().__init__()
        self.heads = heads
        head_width = head_width or width // heads
        self.scale = head_width**-0.5 if scale is None else scale
        self.probe = nn.Parameter(torch.zeros(width))
        self.query = nn.Linear(width, heads * head_width, bias=qkv_bias)
        self.key_value = nn.Linear(width, 2 * heads * head_width, bias=qkv_bias)
        self.query_norm = make_head_norm(qk_norm, head_width, bias=norm_bias, eps=eps, heads=heads)
        self.key_norm = make_head_norm(qk_norm, head_width, bias=norm_bias, eps=eps, heads=heads)
        self.proj = nn.Linear(heads * head_width, width, bias=proj_bias)

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        key, value = split_heads(self.key_value(tokens), 2, self.heads)
        pooled: Tensor = self.proj(segments.attend(self._query(), self.key_norm(key), value, self.scale))
        return pooled

    def weights(self, tokens: Tensor, segments: Segments) -> Tensor:
        """How much the probe looks at each token: tokens [T, D] -> [H, N, T] float32, an image's tokens sum to 1"""
        key, _ = split_heads(self.key_value(tokens), 2, self.heads)
        return segments.weights(self._query(), self.key_norm(key), self.scale)

    def _query(self) -> Tensor:
        """[H, dh]"""
        query: Tensor = self.query_norm(self.query(self.probe.unsqueeze(0)).view(self.heads, -1))
        return query


class ProbePooling(nn.Module):
    """The probe's attention plus a learned vector: what is left of the probe's residual."""

    def __init__(self, width: int, attention: AttentionPool) -> None:
        super().__init__()
        self.attention = attention
        self.residual = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        pooled: Tensor = self.attention(tokens, segments) + self.residual
        return pooled


class MapPooling(nn.Module):
    """MAP head (Zhai et al., arXiv:2106.04560): the probe's attention, then y + MLP(LayerNorm(y))."""

    def __init__(self, attention: AttentionPool, norm: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.norm = norm
        self.mlp = mlp

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        attended = self.attention(tokens, segments)
        pooled: Tensor = attended + self.mlp(self.norm(attended))
        return pooled


class MeanPooling(nn.Module):
    """The mean of each image's tokens."""

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        return segments.mean(tokens)


class MaxPooling(nn.Module):
    """The largest value of each feature over each image's tokens."""

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        return segments.max(tokens)


class MeanMaxPooling(nn.Module):
    """Half of the mean plus half of the maximum."""

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        return 0.5 * (segments.mean(tokens) + segments.max(tokens))


class ClsPooling(nn.Module):
    """Each image's first prefix token (row -1)."""

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        return segments.pick(tokens, segments.rows == -1)


class PrefixPooling(nn.Module):
    """Some of each image's prefix tokens, side by side."""

    def __init__(self, chosen: Sequence[int]) -> None:
        """``chosen``: numbers of prefix tokens, from 0."""
        super().__init__()
        self.chosen = tuple(chosen)

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, chosen * D]"""
        return torch.cat([segments.pick(tokens, segments.rows == -1 - k) for k in self.chosen], dim=1)


class ClsMeanPooling(nn.Module):
    """The first prefix token and the mean of the patches, prefix tokens left out, side by side."""

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, 2 D]"""
        return torch.cat([segments.pick(tokens, segments.rows == -1), segments.patches().mean(tokens)], dim=1)


class MultiPooling(nn.Module):
    """Mean, maximum and attention side by side, projected back to D."""

    def __init__(self, width: int, attention: AttentionPool, *, bias: bool) -> None:
        super().__init__()
        self.attention = attention
        self.proj = nn.Linear(3 * width, width, bias=bias)

    def forward(self, tokens: Tensor, segments: Segments) -> Tensor:
        """tokens [T, D] -> [N, D]"""
        views = [segments.mean(tokens), segments.max(tokens), self.attention(tokens, segments)]
        pooled: Tensor = self.proj(torch.cat(views, dim=1))
        return pooled
