"""The reference model's own checkpoints (model/checkpoint.py): config in the file's metadata, keys as they are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import msgspec

from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import AlphaRule
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.registry import DEFAULT_PREPROCESSING, Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.model.checkpoint import CONFIG_KEY, PREPROCESSING_KEY
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a checkpoint says of the preprocessing; empty: nothing."""

    labels: tuple[str, ...] = ()
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    alpha: AlphaRule | None = None


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
    """What the metadata says (model/checkpoint.py), otherwise the defaults of export."""
    stored = checkpoint.metadata.get(PREPROCESSING_KEY)
    own = "the model's config"
    if stored is None:
        return dataclasses.replace(DEFAULT_PREPROCESSING, sources={"mean": own, "std": own})
    try:
        said = msgspec.json.decode(stored, type=Said)
    except msgspec.DecodeError as error:
        raise InvalidInputError(
            f'the checkpoint {checkpoint.path} has "{PREPROCESSING_KEY}" in its metadata, which is not as expected: '
            f"{error}"
        ) from error
    if said.labels and len(said.labels) != config.num_classes:
        raise InvalidInputError(
            f"the checkpoint {checkpoint.path} has {len(said.labels)} labels; "
            f"its model has {config.num_classes} classes"
        )
    sizing = DEFAULT_PREPROCESSING.sizing
    if said.max_tokens:
        sizing = msgspec.structs.replace(sizing, max_tokens=said.max_tokens)
    sources = {"mean": own, "std": own}
    sources |= dict.fromkeys(_said(said), f"the checkpoint's metadata, {PREPROCESSING_KEY}")
    return dataclasses.replace(
        DEFAULT_PREPROCESSING,
        sizing=sizing,
        alpha=said.alpha or DEFAULT_PREPROCESSING.alpha,
        labels=said.labels,
        sources=sources,
    )


def _said(said: Said) -> list[str]:
    return ["sizing"] * bool(said.max_tokens) + ["alpha"] * (said.alpha is not None)
