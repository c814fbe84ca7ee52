"""Pre-norm transformer blocks on packed tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from navit_edge_export.layers.attention import Lowering, SelfAttention
from navit_edge_export.positions.rotary import Rotation


class LayerScale(nn.Module):
    """A learned factor for each feature (arXiv:2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        return x * self.scale


class Block(nn.Module):
    """x + scale(attention(norm(x))), then x + scale(mlp(norm(x))); the scales are optional."""

    def __init__(
        self,
        attention_norm: nn.Module,
        attention: SelfAttention,
        mlp_norm: nn.Module,
        mlp: nn.Module,
        *,
        attention_scale: nn.Module | None = None,
        mlp_scale: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.attention_scale = attention_scale
        self.mlp_norm = mlp_norm
        self.mlp = mlp
        self.mlp_scale = mlp_scale

    def forward(self, tokens: Tensor, lowering: Lowering, rotation: Rotation | None = None) -> Tensor:
        """tokens [T, D] -> [T, D]"""
        return self.after_attention(self.attended(tokens, lowering, rotation)[0])

    def attended(self, tokens: Tensor, lowering: Lowering, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """The first half: tokens [T, D] -> [T, D], and attention's queries and keys [T, H, dh]"""
        attended, queries, keys = self.attention.with_heads(self.attention_norm(tokens), lowering, rotation)
        scaled = attended if self.attention_scale is None else self.attention_scale(attended)
        return tokens + scaled, queries, keys

    def after_attention(self, tokens: Tensor) -> Tensor:
        """The second half: tokens [T, D] -> [T, D]"""
        mixed = self.mlp(self.mlp_norm(tokens))
        result: Tensor = tokens + (mixed if self.mlp_scale is None else self.mlp_scale(mixed))
        return result
