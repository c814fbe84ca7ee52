"""The patch merger of vision towers of language models: each block of patches becomes one token.

Letters: T tokens in a pack, D width, m patches a side of a block, M = T / m^2 merged tokens (rounded down: padding rows
need not make whole blocks). Every image's grid is whole blocks, which the sizing rule sees to; there are no prefix
tokens. So the tokens of an image that start at row s of the pack give merged ones that start at row s / m^2, and merged
row k belongs to the image that token m^2 k belongs to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Projector(nn.Module):
    """The tokens through an MLP, each alone. ``side``: patches a side that it merges; ``uses_grid``: whether it looks
    at ``token_grid``."""

    side: int = 1
    uses_grid: bool = False

    def __init__(self, mlp: nn.Module) -> None:
        """``mlp``: [T, D] -> [T, D']."""
        super().__init__()
        self.mlp = mlp

    def forward(self, tokens: Tensor, positions: Tensor, token_grid: Tensor | None) -> Tensor:
        """tokens [T, D] -> [T, D']"""
        projected: Tensor = self.mlp(tokens)
        return projected


class PatchMerger(Projector):
    """The tokens of each block, one beside another, through an MLP; the blocks of an image in row-major order."""

    uses_grid = True

    def __init__(self, side: int, mlp: nn.Module, *, norm: nn.Module | None = None) -> None:
        """``side``: m; ``mlp``: [M, m*m*D] -> [M, D']; ``norm``: of each token before it."""
        super().__init__(mlp)
        self.side = side
        self.norm = norm

    def forward(self, tokens: Tensor, positions: Tensor, token_grid: Tensor | None) -> Tensor:
        """tokens [T, D], positions, token_grid [T, 2] int32 -> [M, D']"""
        assert token_grid is not None
        if self.norm is not None:
            tokens = self.norm(tokens)
        rows = merged_rows(positions, token_grid, self.side)
        merged: Tensor = self.mlp(tokens.index_select(0, rows.flatten()).view(rows.shape[0], -1))
        return merged


class PatchMean(nn.Module):
    """A block's mean times ``factor``; optionally less a learned vector, times another (Gemma 4)."""

    def __init__(self, width: int, patches: int, *, factor: float, standardized: bool) -> None:
        """``patches`` of a block."""
        super().__init__()
        self.patches = patches
        self.factor = factor
        self.shift = nn.Parameter(torch.zeros(width)) if standardized else None
        self.scale = nn.Parameter(torch.ones(width)) if standardized else None

    def forward(self, blocks: Tensor) -> Tensor:
        """[M, patches * D], one patch beside another -> [M, D]"""
        tokens = blocks.view(blocks.shape[0], self.patches, -1).mean(1) * self.factor
        return tokens if self.shift is None or self.scale is None else (tokens - self.shift) * self.scale


def merged_rows(positions: Tensor, token_grid: Tensor, side: int) -> Tensor:
    """Which tokens a merged one is made of: positions, token_grid [T, 2] int32 -> [M, m*m] int32, each block row-major.

    What padding rows make is of no image, and only kept inside of the pack.
    """
    area = side * side
    count = positions.shape[0]
    first = torch.arange(count // area, dtype=torch.int32, device=positions.device) * area  # [M]: tokens of their image
    row, column = positions.index_select(0, first).unbind(1)
    columns = token_grid.index_select(0, first)[:, 1]
    local = row * columns + column  # of token m^2 k in its image
    across = torch.floor_divide(columns, side).clamp(min=1)  # blocks; 1 for padding rows
    block = torch.floor_divide(local, area)
    block_row = torch.floor_divide(block, across)
    block_column = block - block_row * across
    corner = first - local + block_row * side * columns + block_column * side
    steps = [corner + down * columns + right for down in range(side) for right in range(side)]
    return torch.stack(steps, dim=1).clamp(0, count - 1)
