"""One pre-norm transformer block on packed tokens."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from navit_edge_export.attention import Lowering, SelfAttention
from navit_edge_export.model.config import NaViTConfig


class Mlp(nn.Module):
    """Linear, GELU (exact or by tanh), linear."""

    def __init__(self, width: int, hidden: int, *, bias: bool, gelu: str) -> None:
        super().__init__()
        self.approximate = "tanh" if gelu == "tanh" else "none"
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        y: Tensor = self.down(functional.gelu(self.up(x), approximate=self.approximate))
        return y


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: NaViTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.norm_bias)
        self.attention = SelfAttention(
            config.width,
            config.heads,
            qkv_bias=config.qkv_bias,
            proj_bias=config.proj_bias,
            qk_norm=config.qk_norm,
            norm_bias=config.norm_bias,
            eps=config.norm_eps,
        )
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.norm_bias)
        self.mlp = Mlp(config.width, config.mlp_width, bias=config.mlp_bias, gelu=config.gelu)

    def forward(self, tokens: Tensor, lowering: Lowering) -> Tensor:
        """tokens [T, D] -> [T, D]"""
        tokens = tokens + self.attention(self.attention_norm(tokens), lowering)
        mixed: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return mixed
