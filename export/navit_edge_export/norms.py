"""Normalization layers on the last axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (arXiv:1910.07467)."""

    def __init__(self, features: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """[..., features] -> [..., features]"""
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


def make_head_norm(kind: str, features: int, *, bias: bool, eps: float) -> nn.Module:
    """The normalization of queries or keys, per head: "layer", "rms" or "off"."""
    if kind == "layer":
        return nn.LayerNorm(features, eps=eps, bias=bias)
    if kind == "rms":
        return RMSNorm(features, eps=eps)
    return nn.Identity()
