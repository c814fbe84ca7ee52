"""The feed-forward part of a block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


#: Name -> function. "erf", "tanh" and "quick" are the three GELUs.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "erf": functional.gelu,
    "tanh": _gelu_tanh,
    "quick": _quick_gelu,
    "silu": functional.silu,
    "relu": functional.relu,
}


class Mlp(nn.Module):
    """Linear, activation, linear; optionally a norm in front of the second layer."""

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        bias: bool = True,
        gelu: str = "erf",
        norm: nn.Module | None = None,
        out_width: int | None = None,
    ) -> None:
        """``gelu``: one of ACTIVATIONS."""
        super().__init__()
        self.activation = ACTIVATIONS[gelu]
        self.up = nn.Linear(width, hidden, bias=bias)
        self.norm = norm
        self.down = nn.Linear(hidden, out_width or width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        y = self.activation(self.up(x))
        if self.norm is not None:
            y = self.norm(y)
        z: Tensor = self.down(y)
        return z


class GatedMlp(nn.Module):
    """down(activation(gate(x)) * up(x)): SwiGLU with "silu" (arXiv:2002.05202). Gate and up are one matrix product."""

    def __init__(
        self, width: int, hidden: int, *, bias: bool = True, activation: str = "silu", norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.gate_up = nn.Linear(width, 2 * hidden, bias=bias)
        self.norm = norm
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]"""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        y = self.activation(gate) * up
        if self.norm is not None:
            y = self.norm(y)
        z: Tensor = self.down(y)
        return z
