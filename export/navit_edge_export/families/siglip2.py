"""SigLIP2-NaFlex: ``Siglip2VisionModel`` of transformers (Tschannen et al., arXiv:2502.14786).

A learned square table, resampled to each image's grid by antialiased bilinear interpolation; no prefix tokens; an
attention head for the embedding. Of ``Siglip2Model`` the text tower is left out. ``Siglip2ForImageClassification``
pools by the mean, which goes into its classifier.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import (
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


def read_config(checkpoint: Checkpoint) -> Siglip2Config:
    """From config.json, of the vision model or of the whole one."""
    values = vision_values(NAME, checkpoint)
    fields = Fields(NAME, values)
    classifies = "classifier.weight" in checkpoint.tensors
    half = (0.5,) * fields.integer("num_channels", 3)
    shared = read_shared(
        NAME,
        checkpoint,
        values,
        normalization=(half, half),
        width=768,
        depth=12,
        heads=12,
        mlp_width=3072,
        activation="gelu_pytorch_tanh",
    )
    return Siglip2Config(
        **shared,
        norm_eps=fields.number("layer_norm_eps", 1e-6, above=0),
        table_side=fields.square_side("num_patches", 256),
        pooling="mean" if classifies else "map" if fields.flag("vision_use_head", True) else "none",
        num_classes=checkpoint.tensors["classifier.weight"].shape[0] if classifies else 0,
    )


def make_model(config: Siglip2Config) -> PackedModel:
    """The packed model."""
    width, heads = config.width, config.heads

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=config.norm_eps)

    mlp = plain_mlps(config, config.activation)

    pooling: dict[str, nn.Module | None] = {"none": None, "mean": MeanPooling()}
    if config.pooling == "map":
        pooling["map"] = MapPooling(AttentionPool(width, heads, qkv_bias=True, proj_bias=True), norm(), mlp())
    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(
            width, config.table_side, config.table_side, Resampling(kernel="bilinear", antialias=True)
        ),
        blocks=plain_blocks(config, norm, mlp),
        norm=norm(),
        pooling=pooling[config.pooling],
        head=nn.Linear(width, config.num_classes) if config.num_classes else None,
    )


def state_map(config: Siglip2Config, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with the prefix ``vision_model.`` in checkpoints of more than the vision model."""
    prefixed = any(name.startswith("vision_model.") for name in checkpoint.tensors)
    found = StateMap("vision_model." if prefixed else "")
    found.ignore("text_model.*", "logit_scale", "logit_bias")
    found.layer("embed", "embeddings.patch_embedding")
    found.copy("positions.table", "embeddings.position_embedding.weight")
    for n in range(config.depth):
        map_siglip_block(found, n)
    found.layer("norm", "post_layernorm")
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


def read_preprocessing(config: Siglip2Config, checkpoint: Checkpoint) -> Preprocessing:
    """As ``Siglip2ImageProcessor`` does it; 256 patches if the checkpoint does not say."""
    fields = expect_patches(NAME, checkpoint, config.patch_px)
    return Preprocessing(
        sizing=Sizing(rule="naflex", max_tokens=fields.integer("max_num_patches", 256)),
        filter=read_filter(NAME, checkpoint, "bilinear"),
        alpha=read_alpha(NAME, checkpoint, converts=False),
        labels=read_labels(NAME, checkpoint, config.num_classes),
    )
