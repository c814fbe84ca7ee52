"""Pixtral's vision tower: ``PixtralVisionModel`` of transformers (Agrawal et al., arXiv:2410.07073).

Rotary positions in two dimensions, RMSNorm before every part and before the first block, SwiGLU, no biases, no final
norm, no prefix tokens. What it gives are the tokens that a projector hands to a language model.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import CLIP, TowerConfig, patch_embed, prefix_of, read_shared, rope_fields
from navit_edge_export.families.fields import (
    Fields,
    expect_patches,
    read_alpha,
    read_filter,
    vision_values,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, patch_rows_from_convolution
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.merging import Projector
from navit_edge_export.layers.mlps import GatedMlp
from navit_edge_export.layers.norms import RMSNorm
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

NAME = "pixtral"
PREFIXES = ("model.vision_tower.", "vision_tower.")
NORM_EPS = 1e-5  # transformers has it in the code, not in the config


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixtralConfig(TowerConfig):
    """Fields of ``PixtralVisionConfig`` under this project's names."""

    rope_theta: float


def read_config(checkpoint: Checkpoint) -> PixtralConfig:
    """From config.json, of the vision model or of the whole one."""
    # Mistral3 merges patches behind this tower, and its processor makes sides multiples of a merged patch.
    for merging in (Fields(NAME, checkpoint.config), Fields(NAME, checkpoint.processor, where="processor_config.json")):
        merging.expect("spatial_merge_size", 1)
    if merger := next((name for name in checkpoint.tensors if name.endswith("merging_layer.weight")), ""):
        raise InvalidInputError(
            f"the checkpoint {checkpoint.path} holds {merger}: patches are merged behind its tower, and its processor "
            "makes other sizes; expected the family mistral3"
        )
    return PixtralConfig(**read_tower(NAME, checkpoint))


def read_tower(family: str, checkpoint: Checkpoint, *, patch_px: int = 16, activation: str = "gelu") -> dict[str, Any]:
    """The fields of the tower, whatever lies behind it; the arguments are the family's defaults."""
    values = vision_values(family, checkpoint)
    fields = Fields(family, values)
    shared = read_shared(
        family,
        checkpoint,
        values,
        normalization=CLIP,
        width=1024,
        depth=24,
        heads=16,
        mlp_width=4096,
        activation=activation,
        patch_px=patch_px,
    )
    fields.expect("head_dim", shared["width"] // shared["heads"], None)
    return {**shared, "rope_theta": rope_fields(family, values).number("rope_theta", 10000.0, above=0)}


def make_model(config: PixtralConfig) -> PackedModel:
    """The packed model."""
    return make_tower(NAME, config)


def make_tower(family: str, config: PixtralConfig, *, projector: Projector | None = None) -> PackedModel:
    """Its frequencies alternate: the even ones of a head turn with the row, the odd ones with the column."""
    width = config.width
    frequencies = axial_frequencies(config.rope_theta, width // config.heads)
    row, column = frequencies[0::2], frequencies[1::2]
    return PackedModel(
        family,
        config,
        embed=patch_embed(config),
        pre_norm=RMSNorm(width, eps=NORM_EPS),
        rotary=RotaryPositions(torch.cat([row, torch.zeros_like(column)]), torch.cat([torch.zeros_like(row), column])),
        blocks=[
            Block(
                RMSNorm(width, eps=NORM_EPS),
                SelfAttention(width, config.heads, qkv_bias=False, proj_bias=False),
                RMSNorm(width, eps=NORM_EPS),
                GatedMlp(width, config.mlp_width, bias=False, activation=config.activation),
            )
            for _ in range(config.depth)
        ],
        norm=torch.nn.Identity(),
        projector=projector,
    )


def state_map(config: PixtralConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with ``vision_tower.`` in front in checkpoints of more than the vision model."""
    found = StateMap(prefix_of(checkpoint, PREFIXES))
    found.ignore("*language_model.*", "*multi_modal_projector.*", "lm_head.*")
    map_tower(found, config)
    return found


def map_tower(found: StateMap, config: PixtralConfig) -> None:
    """The names of the tower, behind the map's prefix."""
    found.make("embed.weight", "patch_conv.weight", by=patch_rows_from_convolution)
    found.make("embed.bias", "patch_conv.weight", by=lambda w: torch.zeros(w.shape[0]))
    found.copy("pre_norm.weight", "ln_pre.weight")
    for n in range(config.depth):
        ours, theirs = f"blocks.{n}", f"transformer.layers.{n}"
        found.copy(f"{ours}.attention_norm.weight", f"{theirs}.attention_norm.weight")
        found.stack(f"{ours}.attention.qkv", *(f"{theirs}.attention.{x}_proj" for x in "qkv"), bias=False)
        found.layer(f"{ours}.attention.proj", f"{theirs}.attention.o_proj", bias=False)
        found.copy(f"{ours}.mlp_norm.weight", f"{theirs}.ffn_norm.weight")
        found.stack(
            f"{ours}.mlp.gate_up", f"{theirs}.feed_forward.gate_proj", f"{theirs}.feed_forward.up_proj", bias=False
        )
        found.layer(f"{ours}.mlp.down", f"{theirs}.feed_forward.down_proj", bias=False)


def read_preprocessing(config: PixtralConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As ``PixtralImageProcessor`` does it."""
    return read_processor(NAME, checkpoint, expect_patches(NAME, checkpoint, config.patch_px))


def read_processor(
    family: str, checkpoint: Checkpoint, fields: Fields, *, longest_px: int = 1024, merge: int = 0
) -> Preprocessing:
    """Scaled down until no side is above ``longest_edge``; ``longest_px`` if the checkpoint does not say. Sides are
    multiples of ``merge`` patches. ``fields`` of the processor."""
    size = Fields(family, fields.section("size"), where="preprocessor_config.json, size")
    if "longest_edge" in size or "height" not in size:
        longest = size.integer("longest_edge", longest_px)
    else:
        longest = size.integer("height")
        size.expect("width", longest)
    return Preprocessing(
        sizing=Sizing(rule="longest-side", longest_px=longest, merge=merge),
        filter=read_filter(family, checkpoint, "bicubic"),
        alpha=read_alpha(family, checkpoint, converts=True),
    )
