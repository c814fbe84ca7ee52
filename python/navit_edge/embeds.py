"""What a language model takes in place of images: the tokens of results, in the layout of its runtime.

    with navit_edge.Session("qwen3-vl.navit") as session:  # exported with --outputs tokens,deepstack
        embeds = for_vllm(session.run(images))
    safetensors.numpy.save_file(embeds, "embeds.safetensors")

Of a bundle that gives "projected" these are the rows, else "tokens".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge._core import Result

Rows = npt.NDArray[np.float32]


def image_grid_thw(results: Sequence[Result]) -> npt.NDArray[np.int64]:
    """[images, 3]: one frame, rows and columns in patches of each, as transformers and vLLM take it."""
    return np.array([(1, *result.grid) for result in results], np.int64).reshape(-1, 3)


def for_vllm(results: Sequence[Result]) -> dict[str, npt.NDArray[Any]]:
    """``multi_modal_data["image"]``: "image_embeds" float32 [rows, D], of all images one after another, and
    "image_grid_thw" int64 [images, 3]. With deepstack a row is [D * (1 + layers)]: the token, then each layer's.

    The order within a row is that of vLLM's tower (vllm/model_executor/models/qwen3_vl.py: what it takes as
    ``image_embeds`` is what its tower gives).

    Raises InvalidInputError: an image failed, or the bundle gives no rows for patches.
    """
    rows = [np.concatenate([_rows_of(result)[:, None], *_layers_of(result)], axis=1) for result in results]
    flat = [one.reshape(len(one), -1) for one in rows]
    return {
        "image_embeds": np.concatenate(flat) if flat else np.zeros((0, 0), np.float32),
        "image_grid_thw": image_grid_thw(results),
    }


def for_transformers(results: Sequence[Result]) -> dict[str, Any]:
    """What ``get_image_features`` of transformers gives, as arrays: "pooler_output", a list with [rows, D] of each
    image; "deepstack_features", a list with such a list for each layer, empty without deepstack; "image_grid_thw".

    Raises InvalidInputError: as ``for_vllm``.
    """
    stacks = [result.deepstack for result in results if result.deepstack is not None]
    layers = stacks[0].shape[1] if stacks else 0
    return {
        "pooler_output": [np.array(_rows_of(result)) for result in results],
        "deepstack_features": [[np.array(one[:, layer]) for one in stacks] for layer in range(layers)],
        "image_grid_thw": image_grid_thw(results),
    }


def _rows_of(result: Result) -> Rows:
    """[rows, D]"""
    if result.error is not None:
        raise InvalidInputError(f"an image failed and has no embeddings: {result.error}") from result.error
    rows = result.tokens if result.projected is None else result.projected
    if rows is None:
        raise InvalidInputError(
            "the bundle gives neither tokens nor projected, which a language model takes; export it with --outputs "
            "tokens or projected"
        )
    return rows


def _layers_of(result: Result) -> list[Rows]:
    """[rows, layers, D], if there is deepstack."""
    return [] if result.deepstack is None else [result.deepstack]
