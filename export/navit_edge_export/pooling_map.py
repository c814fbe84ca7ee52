"""Where a model with attention pooling looks: the weight of every patch of an image in its embedding.

The weights depend on the output "tokens" alone, so no graph has to give them: an engine's tokens are enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.pooling import AttentionPool, Segments
from navit_edge_export.packed_model import PackedModel


def pooling_map(model: PackedModel, tokens: npt.NDArray[np.float32], grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The mean of the heads' weights, float32 [rows, columns] of sum 1.

    tokens: ``Result.tokens`` of an image, float32 [rows * columns, D], of a bundle that was exported from ``model``
        with the output "tokens". grid: ``Result.grid``.
    Raises InvalidInputError: The model pools otherwise, or over other tokens than the patches; the shapes do not fit.
    """
    pool = _attention_pool(model)
    rows, columns = grid
    if tokens.shape != (rows * columns, model.config.width):
        raise InvalidInputError(
            f"tokens are of shape {list(tokens.shape)}; expected [{rows * columns}, {model.config.width}] of a grid of "
            f"{rows} x {columns} patches and this model"
        )
    with torch.inference_mode():
        given = torch.from_numpy(np.array(tokens, np.float32)).to(pool.probe)
        one = torch.zeros(len(given), dtype=torch.int32, device=given.device)
        positions = torch.zeros(len(given), 2, dtype=torch.int32, device=given.device)
        weights = pool.weights(given, Segments(one, positions, images=1)).mean(0)  # [1, T]
    return weights.reshape(rows, columns).cpu().numpy()


def _attention_pool(model: PackedModel) -> AttentionPool:
    pools = (
        [] if model.pooling is None else [part for part in model.pooling.modules() if isinstance(part, AttentionPool)]
    )
    if not pools:
        raise InvalidInputError(
            f"{model.family}: this model has no attention pooling, and so no weights of its patches"
        )
    if model.token_merge > 1 or (model.pools_prefix and model.config.prefix_tokens):
        raise InvalidInputError(f"{model.family}: attention pooling sees other tokens than an image's patches")
    return pools[0]
