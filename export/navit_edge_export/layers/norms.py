"""Normalization layers on the last axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (arXiv:1910.07467)."""

    def __init__(self, *shape: int, eps: float) -> None:
        """``shape`` of the weight: (features,), or (heads, features) if each head has its own."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(*shape))

    def forward(self, x: Tensor) -> Tensor:
        """[..., features] -> [..., features]"""
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


class ScalelessRMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps)."""

    def __init__(self, *, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., features] -> [..., features]"""
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps)


def make_norm(kind: str, features: int, *, eps: float, bias: bool = True) -> nn.Module:
    """ "layer", "rms" or "off"."""
    if kind == "layer":
        return nn.LayerNorm(features, eps=eps, bias=bias)
    if kind == "rms":
        return RMSNorm(features, eps=eps)
    return nn.Identity()


def make_head_norm(kind: str, features: int, *, bias: bool, eps: float, heads: int = 0) -> nn.Module:
    """The normalization of queries or keys, per head: "layer", "rms", "l2" or "off".

    "l2" is x / |x| * sqrt(features) * weight [heads, features], as vit-pytorch has it: "rms" with next to no eps, which
    keeps 0 / 0 away.
    """
    if kind == "l2":
        return RMSNorm(heads, features, eps=1e-24 / features)
    return make_norm(kind, features, eps=eps, bias=bias)
