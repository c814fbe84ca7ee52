"""The reference model's own checkpoints (model/checkpoint.py): config in the file's metadata, keys as they are."""

from __future__ import annotations

from navit_edge.errors import InvalidInputError
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.registry import DEFAULT_PREPROCESSING, Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.model.checkpoint import CONFIG_KEY
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT


def read_config(checkpoint: Checkpoint) -> NaViTConfig:
    """The stored config; one given beside it must agree."""
    stored = checkpoint.metadata.get(CONFIG_KEY)
    given = NaViTConfig.from_fields(checkpoint.config) if checkpoint.config else None
    if stored is None and given is None:
        raise InvalidInputError(
            f'the checkpoint {checkpoint.path} has no "{CONFIG_KEY}" in its metadata; pass the config with --model or '
            "--config"
        )
    config = given if stored is None else NaViTConfig.from_json(stored)
    assert config is not None
    if given is not None and given != config:
        raise InvalidInputError(
            f"the checkpoint {checkpoint.path} holds another config than the one given; leave the config out to use "
            f"the stored one: {config.to_json()}"
        )
    return config


def make_model(config: NaViTConfig) -> NaViT:
    """The reference model."""
    return NaViT(config)


def state_map(config: NaViTConfig, checkpoint: Checkpoint) -> StateMap:
    """Every key as it is."""
    found = StateMap()
    for name, _ in NaViT(config).named_parameters():
        found.copy(name, name)
    return found


def read_preprocessing(config: NaViTConfig, checkpoint: Checkpoint) -> Preprocessing:
    """Checkpoints do not say; the defaults of export."""
    return DEFAULT_PREPROCESSING
