"""What a row of the output ``tokens`` holds: final tokens and features of middle blocks, side by side.

``navit-edge export --outputs`` names the parts; ``model.config.token_parts`` of the manifest keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Manifest

_LAYERS = re.compile(r"tokens@(\d{1,4}(?:,\d{1,4})*)")


def parse_outputs(text: str) -> list[str]:
    """``--outputs``: names between commas; the numbers behind ``tokens@`` have commas, too."""
    return [name.strip() for name in re.split(r",(?!\s*\d)", text)]


def layers_of(name: str) -> tuple[int, ...]:
    """The blocks, from 0, of ``tokens@3,6,9``; empty for any other name."""
    found = _LAYERS.fullmatch(re.sub(r"\s", "", name))
    return tuple(int(number) for number in found[1].split(",")) if found else ()


def split_tokens(tokens: npt.NDArray[np.float32], manifest: Manifest) -> dict[str, npt.NDArray[np.float32]]:
    """``result.tokens`` [rows, width] by part: "tokens" [rows, D], "tokens@3,6,9" [layers, rows, D].

    The arrays are views. Raises InvalidInputError: the tokens are not of this bundle.
    """
    parts: Sequence[dict[str, Any]] = manifest.model.config.get("token_parts") or [
        {"name": "tokens", "layers": 0, "width": tokens.shape[1]}
    ]
    widths = [max(part["layers"], 1) * part["width"] for part in parts]
    if tokens.ndim != 2 or tokens.shape[1] != sum(widths):
        raise InvalidInputError(
            f"tokens have the shape {list(tokens.shape)}; the bundle {manifest.name} gives [rows, {sum(widths)}]; give "
            "the tokens of a result of this bundle"
        )
    found = {}
    for part, start, width in zip(parts, np.cumsum([0, *widths]), widths, strict=False):
        values = tokens[:, start : start + width]
        if part["layers"]:
            values = values.reshape(len(tokens), part["layers"], part["width"]).swapaxes(0, 1)
        found[part["name"]] = values
    return found
