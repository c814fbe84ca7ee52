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

COORDINATES = ("index", "scaled", "centred")


@dataclass(frozen=True)
class Rotation:
    """The cosines and sines of a pack: [T, 1, K], or [T, H, K] if each head has its own."""

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


def axial_frequencies(theta: float, features: int) -> Tensor:
    """theta^(-2i / features) for the pairs i of ``features`` features, descending: [features / 2], float32."""
    exponents = torch.arange(0, features, 2, dtype=torch.float32) / features
    return 1.0 / torch.tensor(theta, dtype=torch.float32) ** exponents


class RotaryPositions(nn.Module):
    """Turns pairs by ``row * row_frequencies + column * column_frequencies``; prefix tokens are not turned.

    ``coordinates``:
        "index": the patch's row and column, plus ``offset``.
        "scaled": (p + offset) * reference / side, for a model trained on ``reference`` (rows, columns).
        "centred": (p + 1/2 + offset) / side * 2 - 1, in [-1, 1] (DINOv3).
    """

    row_frequencies: Tensor
    column_frequencies: Tensor

    def __init__(
        self,
        row_frequencies: Tensor,
        column_frequencies: Tensor,
        *,
        coordinates: str = "index",
        offset: float = 0.0,
        reference: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Frequencies: [K], radians a unit of the coordinate."""
        super().__init__()
        if coordinates not in COORDINATES:
            raise ValueError(f"coordinates is {coordinates!r}; expected one of {', '.join(COORDINATES)}")
        self.coordinates = coordinates
        self.offset = offset
        self.reference = reference
        self.uses_grid = coordinates != "index"
        self.register_buffer("row_frequencies", row_frequencies.float(), persistent=False)
        self.register_buffer("column_frequencies", column_frequencies.float(), persistent=False)

    def forward(self, positions: Tensor, token_grid: Tensor | None) -> Rotation:
        """positions [T, 2], token_grid [T, 2] int32 -> the rotation of every token"""
        row, column = (self._coordinate(positions, token_grid, axis) for axis in (0, 1))
        angles = row * self.row_frequencies + column * self.column_frequencies  # [T, K]
        return make_rotation(angles.unsqueeze(1), positions)

    def _coordinate(self, positions: Tensor, token_grid: Tensor | None, axis: int) -> Tensor:
        """[T, 1]"""
        position = positions[:, axis].float().unsqueeze(1)
        if self.coordinates == "index":
            return position + self.offset
        assert token_grid is not None
        side = token_grid[:, axis].float().unsqueeze(1)
        if self.coordinates == "scaled":
            return (position + self.offset) / side * self.reference[axis]
        return (position + 0.5 + self.offset) / side * 2 - 1


class RotaryLayers(nn.Module):
    """Learned frequencies of their own for each block and each head (arXiv:2403.13298); a list of rotations."""

    uses_grid = False

    def __init__(self, depth: int, heads: int, pairs: int) -> None:
        super().__init__()
        self.row_frequencies = nn.Parameter(torch.zeros(depth, heads, pairs))
        self.column_frequencies = nn.Parameter(torch.zeros(depth, heads, pairs))

    def forward(self, positions: Tensor, token_grid: Tensor | None) -> list[Rotation]:
        """positions [T, 2] int32 -> the rotation of every token, for each block"""
        del token_grid
        row, column = (positions[:, axis].float()[:, None, None] for axis in (0, 1))  # [T, 1, 1]
        found = []
        for down, across in zip(self.row_frequencies, self.column_frequencies, strict=True):
            found.append(make_rotation(row * down + column * across, positions))  # [T, H, K]
        return found


def make_rotation(angles: Tensor, positions: Tensor) -> Rotation:
    """From angles [T, 1 or H, K], in radians; prefix tokens are left as they are."""
    angles = torch.where((positions[:, 0] >= 0)[:, None, None], angles, 0.0)
    return Rotation(angles.cos(), angles.sin())
