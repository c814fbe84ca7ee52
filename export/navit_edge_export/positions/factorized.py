"""Factorized position embeddings of NaViT: one function of the row plus (or beside) one of the column.

Source: Dehghani et al., "Patch n' Pack: NaViT" (arXiv:2307.06304), section 2.1: absolute p in [0, side) or fractional
r = p / side; learned, sinusoidal or Fourier; combined by sum or concatenation. Letters: T tokens in a pack, D width.

Whole and fractional parts are told apart in int32, so that an engine that computes in 16 bits (whose integers end at
256 or 2048) still reads the right entry and the right phase: only values in [0, 1) and angles below 2 pi are rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class LearnedAbsolute(nn.Module):
    """table[p]; positions past the table's end take its last entry."""

    uses_grid = False

    def __init__(self, features: int, entries: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(entries, features))

    def forward(self, position: Tensor, side: Tensor | None) -> Tensor:
        """position [T] int32 -> [T, features]"""
        del side
        return self.table.index_select(0, position.clamp(0, self.table.shape[0] - 1))


class LearnedFractional(nn.Module):
    """A table over [0, 1], read at r = p / side by linear interpolation: u = r * (entries - 1)."""

    uses_grid = True

    def __init__(self, features: int, entries: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(entries, features))

    def forward(self, position: Tensor, side: Tensor | None) -> Tensor:
        """position, side [T] int32 -> [T, features]"""
        side = _sides(side)
        last = self.table.shape[0] - 1
        reach = position * last
        low = torch.floor_divide(reach, side).clamp(0, last - 1)
        weight = ((reach - low * side).float() / side.float()).unsqueeze(1)
        return self.table.index_select(0, low) * (1 - weight) + self.table.index_select(0, low + 1) * weight


class Sinusoidal(nn.Module):
    """(sin, cos) of p / 10000^(2i/features), the absolute position; nothing to learn."""

    uses_grid = False
    frequencies: Tensor

    def __init__(self, features: int, entries: int) -> None:
        super().__init__()
        del entries
        exponent = torch.arange(0, features, 2, dtype=torch.float64) / features
        self.register_buffer("frequencies", (10000.0**-exponent).float(), persistent=False)

    def forward(self, position: Tensor, side: Tensor | None) -> Tensor:
        """position [T] int32 -> [T, features]"""
        del side
        angles = position.float().unsqueeze(1) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Fourier(nn.Module):
    """(sin, cos) of 2^k * pi * r, k < bands, r = p / side, through a learned linear layer (NeRF, arXiv:2003.08934)."""

    uses_grid = True
    bands = 8

    def __init__(self, features: int, entries: int) -> None:
        super().__init__()
        del entries
        self.projection = nn.Linear(2 * self.bands, features, bias=False)

    def forward(self, position: Tensor, side: Tensor | None) -> Tensor:
        """position, side [T] int32 -> [T, features]"""
        side = _sides(side)
        turns = [torch.remainder(position * (1 << k), 2 * side) for k in range(self.bands)]  # of 2 pi each 2 * side
        angles = torch.stack(turns, dim=1).float() / side.float().unsqueeze(1) * math.pi
        projected: Tensor = self.projection(torch.cat([angles.sin(), angles.cos()], dim=1))
        return projected


def _sides(side: Tensor | None) -> Tensor:
    if side is None:
        raise ValueError("fractional positions need the grid of each token's image; pass token_grid")
    return side


_AXES: dict[str, Callable[[int, int], nn.Module]] = {
    "learned-absolute": LearnedAbsolute,
    "learned-fractional": LearnedFractional,
    "sinusoidal": Sinusoidal,
    "fourier": Fourier,
}


class FactorizedPositions(nn.Module):
    """Embeds (row, column): the sum of two D-wide embeddings, or two of D/2 side by side."""

    def __init__(self, width: int, *, kind: str, combine: str, entries: int, column_entries: int | None = None) -> None:
        """``entries`` of the tables; ``column_entries`` if the columns' has another number."""
        super().__init__()
        features = width if combine == "sum" else width // 2
        self.combine = combine
        self.row = _AXES[kind](features, entries)
        self.column = _AXES[kind](features, column_entries or entries)

    @property
    def uses_grid(self) -> bool:
        """Whether ``token_grid`` is needed."""
        return bool(self.row.uses_grid)

    def forward(self, positions: Tensor, token_grid: Tensor | None = None) -> Tensor:
        """positions [T, 2] int32, token_grid [T, 2] int32 (rows, columns of the token's image) -> [T, D]"""
        rows, columns = (None, None) if token_grid is None else (token_grid[:, 0], token_grid[:, 1])
        row = self.row(positions[:, 0], rows)
        column = self.column(positions[:, 1], columns)
        combined: Tensor = row + column if self.combine == "sum" else torch.cat([row, column], dim=1)
        return combined
