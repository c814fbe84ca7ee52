"""Random weights that make outputs of order one, so that an untrained model still tells images apart."""

from __future__ import annotations

import torch
from torch import nn


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
            elif leaf == "bias":
                deviation, mean = 0.02, 0.0
            elif parameter.ndim == 2:
                deviation, mean = parameter.shape[1] ** -0.5, 0.0
            else:
                deviation, mean = 0.02, 1.0
            nn.init.trunc_normal_(
                parameter, mean, deviation, mean - 2 * deviation, mean + 2 * deviation, generator=generator
            )
