"""Checkpoints: safetensors with config, labels and preprocessing as JSON in the metadata. Never pickle."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from navit_edge import files
from navit_edge.vocabulary import AlphaRule
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT

CONFIG_KEY = "navit_edge.config"
PREPROCESSING_KEY = "navit_edge.preprocessing"


def save_checkpoint(
    model: NaViT,
    path: str | os.PathLike[str],
    *,
    labels: Sequence[str] = (),
    max_tokens: int = 0,
    alpha: AlphaRule | None = None,
) -> None:
    """Writes the model's parameters and config to one ``.safetensors`` file.

    What ``navit-edge export`` shall take from it unless its options say otherwise: labels (one a class), max_tokens of
    an image (0: not said), alpha (None: not said).
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    said = {"labels": list(labels), "max_tokens": max_tokens, "alpha": alpha}
    known = {name: value for name, value in said.items() if value}
    metadata = {CONFIG_KEY: model.config.to_json()}
    if known:
        metadata[PREPROCESSING_KEY] = json.dumps(known)
    beside = f".{os.path.basename(path)}.partial"
    files.write_whole(path, _ordered(save(tensors, metadata=metadata)), beside=beside)


def _ordered(raw: bytes) -> bytes:
    """The same file with its metadata by name: safetensors writes them in another order each time."""
    start = 8
    (size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[start : start + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // start) * start)  # tensors begin at a multiple of 8 bytes
    return b"".join([struct.pack("<Q", len(text)), text, raw[start + size :]])


def load_checkpoint(path: Path, config: NaViTConfig | None = None) -> NaViT:
    """Reads a checkpoint. ``config`` is for files without one; if both are there, they must agree.

    Raises InvalidInputError: not a safetensors file, no config, or keys or shapes that do not fit.
    """
    from navit_edge_export.families.checkpoint import Checkpoint, SafetensorsFile
    from navit_edge_export.families.registry import find, import_family

    tensors = SafetensorsFile(path)
    fields = {} if config is None else config.to_dict()
    checkpoint = Checkpoint(path=path, tensors=tensors, config=fields, metadata=tensors.metadata)
    model = import_family(find("navit"), checkpoint).model
    assert isinstance(model, NaViT)
    return model
