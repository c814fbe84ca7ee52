"""The reference model: NaViT (arXiv:2307.06304) on packed inputs.

``NaViT``, ``NaViTConfig``, ``SIZES``, ``load_checkpoint`` and ``save_checkpoint`` are imported on first use, so that
``model.config`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from navit_edge.errors import import_or_explain

if TYPE_CHECKING:
    from navit_edge_export.model.checkpoint import load_checkpoint, save_checkpoint
    from navit_edge_export.model.config import SIZES, NaViTConfig
    from navit_edge_export.model.navit import NaViT

__all__ = ["SIZES", "NaViT", "NaViTConfig", "load_checkpoint", "save_checkpoint"]

_HOMES = {
    "SIZES": "config",
    "NaViTConfig": "config",
    "NaViT": "navit",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    if _HOMES[name] != "config":
        import_or_explain("torch", purpose="the reference model", remedy='pip install "navit-edge[export]"')
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
