"""The grid of each token's image."""

from __future__ import annotations

import torch
from torch import Tensor


def grid_of_tokens(grid_hw: Tensor, segment_ids: Tensor) -> Tensor:
    """(rows, columns) of each token's own image: grid_hw [N, 2], segment_ids [T] -> [T, 2]; padding rows (id N) get
    (1, 1)."""
    padding = torch.ones(1, 2, dtype=grid_hw.dtype, device=grid_hw.device)
    return torch.cat([grid_hw, padding]).index_select(0, segment_ids)
