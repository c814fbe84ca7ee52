"""Checkpoints: safetensors with the config as JSON in the metadata. Never pickle."""

from __future__ import annotations

from pathlib import Path

from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT

CONFIG_KEY = "navit_edge.config"


def save_checkpoint(model: NaViT, path: Path) -> None:
    """Writes the model's parameters and config to one ``.safetensors`` file."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata={CONFIG_KEY: model.config.to_json()})


def load_checkpoint(path: Path, config: NaViTConfig | None = None) -> NaViT:
    """Reads a checkpoint. ``config`` is for files without one; if both are there, they must agree.

    Raises InvalidInputError: not a safetensors file, no config, or keys or shapes that do not fit.
    """
    from navit_edge_export.families.checkpoint import Checkpoint, SafetensorsFiles
    from navit_edge_export.families.registry import find, import_family

    tensors = SafetensorsFiles([path])
    fields = {} if config is None else config.to_dict()
    checkpoint = Checkpoint(path=path, tensors=tensors, config=fields, metadata=tensors.metadata)
    model = import_family(find("navit"), checkpoint).model
    assert isinstance(model, NaViT)
    return model
