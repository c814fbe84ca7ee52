"""Linear layers that keep what goes in and what comes out between bounds of their own, as Gemma 4 has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class ClippedLinear(nn.Module):
    """Several layers without bias on one input, whose outputs lie one after another; each clips its own input and
    output."""

    #: A bound that is none: finite, so that it can be stored and checked as every weight is.
    UNBOUNDED = 3e38

    def __init__(self, width: int, outputs: Sequence[int]) -> None:
        """``outputs``: features of each layer."""
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, count, bias=False) for count in outputs)
        most = self.UNBOUNDED
        # [layers, 4]: least and most of the input, least and most of the output
        self.bounds = nn.Parameter(torch.tensor([[-most, most, -most, most]]).repeat(len(outputs), 1))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., all outputs]"""
        found = []
        for layer, bounds in zip(self.layers, self.bounds, strict=True):
            y = layer(_between(x, bounds[0], bounds[1]))
            found.append(_between(y, bounds[2], bounds[3]))
        return torch.cat(found, dim=-1) if len(found) > 1 else found[0]


def _between(x: Tensor, least: Tensor, most: Tensor) -> Tensor:
    # Not as minimum and maximum: the exporter makes one operator of these, and loses the bounds.
    x = torch.where(x < least, least, x)
    return torch.where(x > most, most, x)


def clip_linears(module: nn.Module, layers: Mapping[str, Sequence[int]]) -> None:
    """Puts a ClippedLinear in the place of each linear layer of ``module`` that is named, with its outputs."""
    for name, outputs in layers.items():
        setattr(module, name, ClippedLinear(getattr(module, name).in_features, outputs))
