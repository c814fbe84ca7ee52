"""Stochastic depth (arXiv:1603.09382) on packed tokens: a residual branch is left out for whole images of a pack."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError


class DropPath:
    """Hooks on the blocks of a PackedModel: nothing of the model changes, neither its names nor its graphs.

    Block k of n leaves out each of its two branches with probability rate k / (n - 1), and scales what stays by
    1 / (1 - that), so that the mean is what the whole model gives. Without ``draw``, or in evaluation, nothing happens.
    """

    def __init__(self, model: nn.Module, rate: float) -> None:
        if not 0 <= rate < 1:
            raise InvalidInputError(f"drop path: rate is {rate}; expected 0 or more and less than 1")
        blocks = list(getattr(model, "blocks"))  # noqa: B009
        self.rates = [rate * k / max(1, len(blocks) - 1) for k in range(len(blocks))]
        self._factors: list[Tensor] | None = None  # of each branch, [T, 1]
        if rate == 0:
            return
        for index, block in enumerate(blocks):
            for branch, part in enumerate((block.attention, block.mlp)):
                part.register_forward_hook(functools.partial(self._scale, 2 * index + branch))

    def draw(self, segment_ids: Tensor, images: int, seed: int) -> None:
        """For the next passes: which branches each image leaves out. segment_ids [T] int32."""
        if not any(self.rates):
            return
        rng = torch.Generator().manual_seed(seed)
        factors = []
        for rate in self.rates:
            for _ in range(2):
                stays = torch.rand(images, generator=rng) >= rate
                factor = (stays / (1 - rate)).to(segment_ids.device)
                factors.append(factor.index_select(0, segment_ids).unsqueeze(1))
        self._factors = factors

    def _scale(self, branch: int, module: nn.Module, _: Any, output: Tensor) -> Tensor:
        if self._factors is None or not module.training:
            return output
        return output * self._factors[branch].to(output.dtype)
