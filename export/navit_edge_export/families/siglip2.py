"""SigLIP2-NaFlex: ``Siglip2VisionModel`` of transformers (Tschannen et al., arXiv:2502.14786).

A learned square table, resampled to each image's grid by antialiased bilinear interpolation; no prefix tokens; an
attention head for the embedding. Of ``Siglip2Model`` the text tower is left out. ``Siglip2ForImageClassification``
pools by the mean, which goes into its classifier.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import (
    TowerConfig,
    VisionConfig,
    map_siglip_block,
    patch_embed,
    plain_blocks,
    plain_mlps,
    read_labels,
    read_shared,
)
from navit_edge_export.families.fields import (
    Fields,
    expect_patches,
    read_alpha,
    read_filter,
    vision_values,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, as_vector
from navit_edge_export.layers.merging import Projector
from navit_edge_export.layers.pooling import AttentionPool, MapPooling, MeanPooling
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling

NAME = "siglip2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Siglip2Config(VisionConfig):
    """Fields of ``Siglip2VisionConfig`` under this project's names."""

    activation: str  # one of mlps.ACTIVATIONS
    norm_eps: float
    table_side: int
    pooling: str  # "map" | "mean" | "none"
    num_classes: int
    prefix_tokens: int = 0

    def outputs(self) -> tuple[str, ...]:
        """All that the checkpoint has weights for."""
        if self.num_classes:
            return OUTPUTS
        return OUTPUTS[2:] if self.pooling == "none" else OUTPUTS[1:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Siglip2TowerConfig(TowerConfig):
    """Of the tower that gives the tokens for a language model."""

    norm_eps: float
    table_side: int


def read_config(checkpoint: Checkpoint) -> Siglip2Config:
    """From config.json, of the vision model or of the whole one."""
    classifies = "classifier.weight" in checkpoint.tensors
    uses_head = Fields(NAME, vision_values(NAME, checkpoint)).flag("vision_use_head", True)
    return Siglip2Config(
        **read_tower(NAME, checkpoint),
        pooling="mean" if classifies else "map" if uses_head else "none",
        num_classes=checkpoint.tensors["classifier.weight"].shape[0] if classifies else 0,
    )


def read_tower(family: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """The fields of the tower, whatever lies behind it."""
    values = vision_values(family, checkpoint)
    fields = Fields(family, values)
    half = (0.5,) * fields.integer("num_channels", 3)
    shared = read_shared(
        family,
        checkpoint,
        values,
        normalization=(half, half),
        width=768,
        depth=12,
        heads=12,
        mlp_width=3072,
        activation="gelu_pytorch_tanh",
    )
    return {
        **shared,
        "norm_eps": fields.number("layer_norm_eps", 1e-6, above=0),
        "table_side": fields.square_side("num_patches", 256),
    }


def make_model(config: Siglip2Config) -> PackedModel:
    """The packed model."""
    width, heads = config.width, config.heads
    pooling: dict[str, nn.Module | None] = {"none": None, "mean": MeanPooling()}
    if config.pooling == "map":
        attention = AttentionPool(width, heads, qkv_bias=True, proj_bias=True)
        mlp = plain_mlps(config, config.activation)()
        pooling["map"] = MapPooling(attention, nn.LayerNorm(width, eps=config.norm_eps), mlp)
    return make_tower(
        NAME,
        config,
        pooling=pooling[config.pooling],
        head=nn.Linear(width, config.num_classes) if config.num_classes else None,
    )


def make_tower(
    family: str,
    config: Siglip2Config | Siglip2TowerConfig,
    *,
    pooling: nn.Module | None = None,
    head: nn.Module | None = None,
    projector: Projector | None = None,
) -> PackedModel:
    """The packed model of the tower, and what lies behind it."""

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(config.width, eps=config.norm_eps)

    side = config.table_side
    return PackedModel(
        family,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(config.width, side, side, Resampling(kernel="bilinear", antialias=True)),
        blocks=plain_blocks(config, norm, plain_mlps(config, config.activation)),
        norm=norm(),
        pooling=pooling,
        head=head,
        projector=projector,
    )


def state_map(config: Siglip2Config, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with the prefix ``vision_model.`` in checkpoints of more than the vision model."""
    prefixed = any(name.startswith("vision_model.") for name in checkpoint.tensors)
    found = StateMap("vision_model." if prefixed else "")
    found.ignore("text_model.*", "logit_scale", "logit_bias")
    map_tower(found, config)
    if config.pooling == "map":
        found.make("pooling.attention.probe", "head.probe", by=as_vector)
        for leaf in ("weight", "bias"):
            joint = f"head.attention.in_proj_{leaf}"
            found.make(f"pooling.attention.query.{leaf}", joint, by=lambda w: w[: config.width])
            found.make(f"pooling.attention.key_value.{leaf}", joint, by=lambda w: w[config.width :])
        found.layer("pooling.attention.proj", "head.attention.out_proj")
        found.layer("pooling.norm", "head.layernorm")
        found.layer("pooling.mlp.up", "head.mlp.fc1")
        found.layer("pooling.mlp.down", "head.mlp.fc2")
    else:
        found.ignore("head.*", "vision_model.head.*")
    if config.num_classes:
        found.prefix = ""
        found.layer("head", "classifier")
    return found


def map_tower(found: StateMap, config: VisionConfig) -> None:
    """The names of the tower, behind the map's prefix."""
    found.layer("embed", "embeddings.patch_embedding")
    found.copy("positions.table", "embeddings.position_embedding.weight")
    for n in range(config.depth):
        map_siglip_block(found, n)
    found.layer("norm", "post_layernorm")


def read_preprocessing(config: Siglip2Config, checkpoint: Checkpoint) -> Preprocessing:
    """As ``Siglip2ImageProcessor`` does it; 256 patches if the checkpoint does not say."""
    fields = expect_patches(NAME, checkpoint, config.patch_px)
    return Preprocessing(
        sizing=Sizing(rule="naflex", max_tokens=fields.integer("max_num_patches", 256)),
        filter=read_filter(NAME, checkpoint, "bilinear"),
        alpha=read_alpha(NAME, checkpoint, converts=False),
        labels=read_labels(NAME, checkpoint, config.num_classes),
    )
