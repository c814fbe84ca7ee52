"""Learned position tables, resampled in the graph to each image's own grid.

As ``torch.nn.functional.interpolate`` resamples them. An axis of S entries seen by a side of n patches has, for
patch i, its centre at c = (S / n)(i + 1/2) and weighs entry j by k((j + 1/2 - c) / s). With antialias s = max(S / n, 1)
and the weights are divided by their sum; without, s = 1 and entries beyond the table repeat its edge. k is the triangle
("bilinear") or the cubic kernel ("bicubic"), of a = -0.5 with antialias and a = -0.75 without.

(j + 1/2 - c) / s is the fraction ((2j + 1) n - S (2i + 1)) / 2 max(S, n), or / 2n: both parts are found in int32, so
that an engine that computes in 16 bits (whose integers end at 256 or 2048) rounds only a value within the kernel's
reach.

Letters: T tokens in a pack, S entries of an axis, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

KERNELS = ("bilinear", "bicubic")
#: Without antialias a kernel reaches the same few entries at any scale: 4 of a table, or 16. A table of up to this many
#: times as many is read by a product with all of it, a larger one by gathers, which cost less from about there. With
#: antialias any number of entries may count, so that it is always a product, with [T, entries] memory.
DENSE_ENTRIES_PER_TAP = 64


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How a table is resampled."""

    kernel: str = "bilinear"  # one of KERNELS
    antialias: bool = False
    align_corners: bool = False  # the outer patches' centres fall on the outer entries; not with antialias
    square: bool = False  # both axes are resampled to the longer side, and the shorter one reads a part of it

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel!r}; expected one of {', '.join(KERNELS)}")
        if self.antialias and self.align_corners:
            raise ValueError("align_corners and antialias are both set; expected one of them at most")

    @property
    def reach(self) -> int:
        """Entries on either side of the centre that the kernel may weigh, before it is stretched."""
        return 1 if self.kernel == "bilinear" else 2

    def sides(self, grid: Tensor) -> Tensor:
        """grid [T, 2] int32 (rows, columns) -> [T, 2] int32: the sides that the table is resampled to."""
        return grid.amax(1, keepdim=True).expand_as(grid) if self.square else grid

    def fraction(self, position: Tensor, side: Tensor, entry: Tensor, entries: int) -> tuple[Tensor, Tensor]:
        """(j + 1/2 - c) / s as numerator and denominator, int32, of the shape that the inputs broadcast to."""
        if self.align_corners:
            gaps = (side - 1).clamp(min=1)
            return entry * gaps - position * (entries - 1), gaps
        numerator = (2 * entry + 1) * side - entries * (2 * position + 1)
        return numerator, 2 * (side.clamp(min=entries) if self.antialias else side)

    def weigh(self, numerator: Tensor, denominator: Tensor) -> Tensor:
        """The kernel at a fraction, float32."""
        near = torch.minimum(numerator.abs(), self.reach * denominator)
        x = near.float() / denominator.float()
        if self.kernel == "bilinear":
            return 1 - x
        a = -0.5 if self.antialias else -0.75
        inner = ((a + 2) * x - (a + 3)) * x * x + 1
        outer = ((x - 5) * x + 8) * x * a - 4 * a
        return torch.where(near <= denominator, inner, outer)


def dense_weights(how: Resampling, position: Tensor, side: Tensor, entries: int) -> Tensor:
    """What each entry of an axis adds to each token: position, side [T] int32 -> [T, S]."""
    margin = 0 if how.antialias else how.reach
    entry = torch.arange(-margin, entries + margin, dtype=position.dtype, device=position.device)
    numerator, denominator = how.fraction(position.unsqueeze(1), side.unsqueeze(1), entry, entries)
    weights = how.weigh(numerator, denominator)  # [T, margin + S + margin]
    if how.antialias:
        return weights / weights.sum(1, keepdim=True)
    first = weights[:, : margin + 1].sum(1, keepdim=True)  # what lies before the table falls to its first entry
    last = weights[:, entries + margin - 1 :].sum(1, keepdim=True)
    return torch.cat([first, weights[:, margin + 1 : entries + margin - 1], last], dim=1)


def taps(how: Resampling, position: Tensor, side: Tensor, entries: int) -> list[tuple[Tensor, Tensor]]:
    """The entries that an axis' kernel reaches without antialias, and their weights: [T] int32 and [T, 1] each."""
    numerator, denominator = how.fraction(position, side, torch.zeros_like(position), entries)
    lowest = torch.floor_divide(denominator * how.reach - numerator, denominator) - how.reach
    found = []
    for step in range(1 - how.reach, how.reach + 1):
        entry = lowest + step
        weight = how.weigh(numerator + entry * denominator, denominator)
        found.append((entry.clamp(0, entries - 1), weight.unsqueeze(1)))
    return found


class InterpolatedTable(nn.Module):
    """A learned table [S_rows, S_columns, D]."""

    uses_grid = True

    def __init__(self, width: int, rows: int, columns: int, how: Resampling) -> None:
        super().__init__()
        self.how = how
        self.rows, self.columns = rows, columns
        self.table = nn.Parameter(torch.zeros(rows * columns, width))

    def forward(self, positions: Tensor, token_grid: Tensor | None) -> Tensor:
        """positions, token_grid [T, 2] int32 -> [T, D]"""
        assert token_grid is not None
        sides = self.how.sides(token_grid)
        row, column = positions[:, 0].clamp(min=0), positions[:, 1].clamp(min=0)  # prefix tokens have negative ones
        few = (2 * self.how.reach) ** 2 * DENSE_ENTRIES_PER_TAP
        if self.rows * self.columns > few and not self.how.antialias:
            return self._tapped(row, column, sides)
        down = dense_weights(self.how, row, sides[:, 0], self.rows)
        across = dense_weights(self.how, column, sides[:, 1], self.columns)
        found: Tensor = (down.unsqueeze(2) * across.unsqueeze(1)).flatten(1) @ self.table
        return found

    def _tapped(self, row: Tensor, column: Tensor, sides: Tensor) -> Tensor:
        total: Tensor | None = None
        across = taps(self.how, column, sides[:, 1], self.columns)
        for down_entry, down_weight in taps(self.how, row, sides[:, 0], self.rows):
            for entry, weight in across:
                part = self.table.index_select(0, down_entry * self.columns + entry) * (down_weight * weight)
                total = part if total is None else total + part
        assert total is not None
        return total


class InterpolatedFactors(nn.Module):
    """A learned table for the rows [S_rows, D] plus one for the columns [S_columns, D]."""

    uses_grid = True

    def __init__(self, width: int, rows: int, columns: int, how: Resampling) -> None:
        super().__init__()
        self.how = how
        self.row = nn.ParameterDict({"table": nn.Parameter(torch.zeros(rows, width))})
        self.column = nn.ParameterDict({"table": nn.Parameter(torch.zeros(columns, width))})

    def forward(self, positions: Tensor, token_grid: Tensor | None) -> Tensor:
        """positions, token_grid [T, 2] int32 -> [T, D]"""
        assert token_grid is not None
        sides = self.how.sides(token_grid)
        parts: list[Tensor] = []
        for axis, table in enumerate((self.row["table"], self.column["table"])):
            position = positions[:, axis].clamp(min=0)
            parts.append(dense_weights(self.how, position, sides[:, axis], table.shape[0]) @ table)
        return parts[0] + parts[1]
