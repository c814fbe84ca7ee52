"""The sizing functions of timm and transformers as they were published: the oracles of the sizing rules.

The functions are taken out of the installed wheels' own sources (requirements-oracles.txt) and compiled as they stand.
Importing the modules around them would ask for torchvision, tokenizers and a hub client, which have no part in a size.
"""

from __future__ import annotations
import __future__

import ast
import importlib.metadata
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


def published(package: str, path: str, name: str, names: dict[str, Any]) -> Callable[..., Any]:
    """The function ``name`` of ``path`` in the wheel of ``package``, together with the others that ``names`` lists as
    None; other names are what its module imports."""
    file = Path(str(importlib.metadata.distribution(package).locate_file(path)))
    wanted = {name, *(other for other, value in names.items() if value is None)}
    functions = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name in wanted
    ]
    assert {function.name for function in functions} == wanted, f"{file} has lost some of {sorted(wanted)}"
    space = {key: value for key, value in names.items() if value is not None}
    module = ast.Module(body=list(functions), type_ignores=[])
    # Annotations stay text, as the names in them are not here.
    exec(compile(module, str(file), "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True), space)
    return space[name]


def transformers_naflex() -> Callable[..., tuple[int, int]]:
    """(image_height, image_width, patch_size, max_num_patches) -> (height, width)"""
    path = "transformers/models/siglip2/image_processing_siglip2.py"
    return published("transformers", path, "get_image_size_for_max_num_patches", {})


def timm_naflex() -> Callable[..., tuple[float, tuple[int, int]]]:
    """((height, width), patch_size, max_seq_len) -> (ratio, (height, width))"""
    return published("timm", "timm/data/naflex_transforms.py", "get_image_size_for_seq", {"math": math})


def transformers_smart_resize() -> Callable[..., tuple[int, int]]:
    """(height, width, factor, min_pixels, max_pixels) -> (height, width)"""
    path = "transformers/models/qwen2_vl/image_processing_qwen2_vl.py"
    return published("transformers", path, "smart_resize", {"math": math})


def transformers_glm() -> Callable[..., tuple[int, int]]:
    """(frames, height, width, temporal_factor, factor, min_pixels, max_pixels) -> (height, width)"""
    path = "transformers/models/glm4v/image_processing_glm4v.py"
    return published("transformers", path, "smart_resize", {"math": math})


def transformers_paddleocr() -> Callable[..., tuple[int, int]]:
    """(height, width, factor, min_pixels, max_pixels) -> (height, width)"""
    path = "transformers/models/paddleocr_vl/image_processing_paddleocr_vl.py"
    return published("transformers", path, "smart_resize", {"math": math})


def transformers_pixtral() -> Callable[..., tuple[int, int]]:
    """((height, width), longest_px, patch_size) -> (height, width)"""
    return published(
        "transformers",
        "transformers/models/pixtral/image_processing_pixtral.py",
        "get_resize_output_image_size",
        {"math": math, "_num_image_tokens": None, "get_image_size": lambda size, _format: size},
    )


def transformers_navit_resize() -> Callable[..., tuple[tuple[int, int], tuple[int, int]]]:
    """(height, width, patch_size, merge, max_patches, most patches a side) -> (resized, filled up)"""
    path = "transformers/models/kimi_k25/image_processing_kimi_k25.py"
    return published("transformers", path, "navit_resize", {"math": math})


def transformers_patch_budget() -> Callable[..., tuple[int, int]]:
    """(height, width, patch_size, max_patches, pooling_kernel_size) -> (height, width)"""
    path = "transformers/models/gemma4/image_processing_pil_gemma4.py"
    return published("transformers", path, "get_aspect_ratio_preserving_size", {"math": math})


def timm_center_crop_or_pad() -> Callable[..., np.ndarray]:
    """(image [h, w, 3], (height, width), fill) -> [height, width, 3], on numpy arrays instead of tensors."""

    def pad(image: np.ndarray, ltrb: list[int], fill: tuple[int, int, int], padding_mode: str) -> np.ndarray:
        assert padding_mode == "constant"
        left, top, right, bottom = ltrb
        sides = ((top, bottom), (left, right))
        return np.stack([np.pad(image[..., c], sides, constant_values=fill[c]) for c in range(3)], axis=-1)

    torchvision = SimpleNamespace(
        get_dimensions=lambda image: [image.shape[2], *image.shape[:2]],
        pad=pad,
        crop=lambda image, top, left, height, width: image[top : top + height, left : left + width],
    )
    return published(
        "timm",
        "timm/data/transforms.py",
        "center_crop_or_pad",
        {"F": torchvision, "_setup_size": lambda size: size},
    )
