"""Rotary positions in two dimensions: queries and keys are turned by angles that grow with row and column.

RoPE (arXiv:2104.09864) over a grid. Every arrangement in use is one formula: the angle of pair p of a head is
``row * row_frequencies[p] + column * column_frequencies[p]``. Pairs of one axis ("axial") have a zero in the other.
A pair is features (p, p + dh/2); a family whose pairs are neighbours (2p, 2p + 1) has its query and key weights
reordered by ``halves_from_pairs`` on import, which changes no score.

Letters: T tokens in a pack, H heads, dh features of a head, K = dh / 2 pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Rotation:
    """The cosines and sines of a pack: [T, 1, K], or [T, H, K] where each head has its own."""

    cosines: Tensor
    sines: Tensor

    def turn(self, x: Tensor) -> Tensor:
        """[T, H, dh] -> [T, H, dh]"""
        first, second = x.chunk(2, dim=-1)
        return torch.cat(
            [first * self.cosines - second * self.sines, second * self.cosines + first * self.sines], dim=-1
        )


def halves_from_pairs(heads: int, features: int) -> Tensor:
    """Which row of a query or key projection [H*dh, D] goes where, so that neighbours (2p, 2p + 1) of each head become
    (p, p + dh/2): ``weight[halves_from_pairs(heads, dh)]``. For a norm's weight [dh], ``heads`` is 1."""
    order = torch.cat([torch.arange(0, features, 2), torch.arange(1, features, 2)])
    return (torch.arange(heads).unsqueeze(1) * features + order).flatten()


class RotaryPositions(nn.Module):
    """Turns pairs by ``row * row_frequencies + column * column_frequencies``; prefix tokens are not turned.

    ``coordinates``:
        "index": the patch's row and column as they are.
        "scaled": (p + offset) * reference / side, for a model trained on ``reference`` patches a side.
        "centred": (p + 1/2 + offset) / side * 2 - 1, in [-1, 1] (DINOv3).
    """

    row_frequencies: Tensor
    column_frequencies: Tensor
    uses_grid: bool

    def __init__(
        self,
        row_frequencies: Tensor,
        column_frequencies: Tensor,
        *,
        coordinates: str = "index",
        offset: float = 0.0,
        reference: tuple[float, float] = (1.0, 1.0),
        learned: bool = False,
    ) -> None:
        """Frequencies: [K], or [H, K] where each head has its own; radians a unit of the coordinate."""
        super().__init__()
        self.coordinates = coordinates
        self.offset = offset
        self.reference = reference
        self.uses_grid = coordinates != "index"
        if learned:
            self.row_frequencies = nn.Parameter(row_frequencies)
            self.column_frequencies = nn.Parameter(column_frequencies)
        else:
            self.register_buffer("row_frequencies", row_frequencies, persistent=False)
            self.register_buffer("column_frequencies", column_frequencies, persistent=False)

    def forward(self, positions: Tensor, token_grid: Tensor | None) -> Rotation:
        """positions [T, 2], token_grid [T, 2] int32 -> the rotation of every token"""
        patch = (positions[:, 0] >= 0)[:, None, None]  # [T, 1, 1]
        angles = torch.zeros((), device=positions.device)
        for axis, frequencies in enumerate((self.row_frequencies, self.column_frequencies)):
            rows = frequencies.reshape(-1, frequencies.shape[-1])  # [1 or H, K]
            angles = angles + self._coordinate(positions, token_grid, axis)[:, None, None] * rows
        angles = torch.where(patch, angles, 0.0)
        return Rotation(angles.cos(), angles.sin())

    def _coordinate(self, positions: Tensor, token_grid: Tensor | None, axis: int) -> Tensor:
        position = positions[:, axis].float()
        if self.coordinates == "index":
            return position + self.offset
        assert token_grid is not None
        side = token_grid[:, axis].float()
        if self.coordinates == "scaled":
            return (position + self.offset) / side * self.reference[axis]
        return (position + 0.5 + self.offset) / side * 2 - 1
