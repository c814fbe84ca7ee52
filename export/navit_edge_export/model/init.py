"""Random weights that make outputs of order one, so that an untrained model still tells images apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from navit_edge_export.positions import InterpolatedTable
from navit_edge_export.positions.factorized import Sinusoidal


def init_weights(model: nn.Module, seed: int) -> None:
    """Fills every parameter, in name order, from one generator: the same seed gives the same bytes.

    Matrices get a truncated normal of deviation 1/sqrt(fan-in), tables and probes one of 0.5, biases one of 0.02, and
    norm weights 1 plus one of 0.02, so that a bias or a weight left out somewhere shows.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            leaf = name.rpartition(".")[2]
            if leaf in ("table", "probe"):
                deviation, mean = 0.5, 0.0
            elif leaf in ("bias", "logit_scale"):
                deviation, mean = 0.02, 0.0
            elif parameter.ndim == 2:
                deviation, mean = parameter.shape[1] ** -0.5, 0.0
            else:
                deviation, mean = 0.02, 1.0
            nn.init.trunc_normal_(
                parameter, mean, deviation, mean - 2 * deviation, mean + 2 * deviation, generator=generator
            )


def init_sin_cos(model: nn.Module) -> None:
    """Learned tables of positions as the sinusoidal embedding of their entries: what "sinusoidal" computes, as a start.

    A table of rows and columns gets that of its row plus that of its column.
    """
    positions = getattr(model, "positions")  # noqa: B009
    with torch.no_grad():
        if isinstance(positions, InterpolatedTable):
            row, column = (_sin_cos(count, positions.table.shape[1]) for count in (positions.rows, positions.columns))
            positions.table.copy_((row.unsqueeze(1) + column.unsqueeze(0)).flatten(0, 1))
            return
        for axis in (positions.row, positions.column):
            axis.table.copy_(_sin_cos(*axis.table.shape))


def _sin_cos(entries: int, features: int) -> Tensor:
    """[entries, features]"""
    found: Tensor = Sinusoidal(features, entries)(torch.arange(entries, dtype=torch.int32), None)
    return found
