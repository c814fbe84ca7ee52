"""timm's NaFlexVit as a packed model."""

from __future__ import annotations

import math

import torch
from torch import nn

from navit_edge_export.families.common import patch_embed
from navit_edge_export.families.timm.config import EPS, NAME, NaFlexVitConfig
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block, LayerScale
from navit_edge_export.layers.embed import PrefixTokens
from navit_edge_export.layers.mlps import GatedMlp, Mlp
from navit_edge_export.layers.norms import make_norm
from navit_edge_export.layers.pooling import (
    AttentionPool,
    ClsPooling,
    MapPooling,
    MaxPooling,
    MeanMaxPooling,
    MeanPooling,
)
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import (
    InterpolatedFactors,
    InterpolatedTable,
    Resampling,
    RotaryLayers,
    RotaryPositions,
)


def make_model(config: NaFlexVitConfig) -> PackedModel:
    """The packed model."""
    width = config.width
    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        embed_norm=None if config.embed_norm == "off" else make_norm(config.embed_norm, width, eps=EPS),
        positions=_make_positions(config),
        rotary=_make_rotary(config),
        prefix=PrefixTokens(config.prefix_tokens, width) if config.prefix_tokens else None,
        pre_norm=make_norm(config.norm, width, eps=EPS) if config.pre_norm else None,
        blocks=[_make_block(config, n) for n in range(config.depth)],
        norm=make_norm(config.norm if config.final_norm else "off", width, eps=EPS),
        pooling=_make_pooling(config),
        pools_prefix=config.pools_prefix,
        pooled_norm=make_norm(config.norm, width, eps=EPS) if config.pooled_norm else None,
        head=nn.Linear(width, config.num_classes) if config.num_classes else None,
    )


def _make_positions(config: NaFlexVitConfig) -> nn.Module | None:
    if config.positions == "none":
        return None
    kind = InterpolatedTable if config.positions == "table" else InterpolatedFactors
    return kind(config.width, *config.position_entries, Resampling(**config.resampling))


def _make_rotary(config: NaFlexVitConfig) -> nn.Module | None:
    pairs = config.width // config.heads // 2
    if config.rotary == "mixed":
        return RotaryLayers(config.depth, config.heads, pairs)
    if config.rotary == "none":
        return None
    if config.rotary == "mrope":
        frequencies = config.rotary_temperature ** -(torch.arange(pairs, dtype=torch.float32) / pairs)
        axis = torch.zeros(pairs, dtype=torch.int64)
        axis[1 : config.rotary_sections[1] * 3 : 3] = 1
        axis[2 : config.rotary_sections[2] * 3 : 3] = 2
        return RotaryPositions(frequencies * (axis == 1), frequencies * (axis == 2))
    bands = config.rotary_temperature ** -(torch.arange(pairs // 2, dtype=torch.float32) / (pairs // 2))
    if config.rotary == "dinov3":
        bands = 2 * math.pi * bands
    first, second = torch.cat([bands, torch.zeros_like(bands)]), torch.cat([torch.zeros_like(bands), bands])
    row, column = (second, first) if config.rotary_xy else (first, second)
    if config.rotary == "dinov3":
        return RotaryPositions(row, column, coordinates="centred", offset=config.rotary_offset)
    if config.rotary_reference is None:
        return RotaryPositions(row, column, offset=config.rotary_offset)
    return RotaryPositions(
        row, column, coordinates="scaled", offset=config.rotary_offset, reference=config.rotary_reference
    )


def _make_block(config: NaFlexVitConfig, n: int) -> Block:
    width = config.width
    mlp_norm = make_norm(config.norm, config.mlp_width, eps=EPS) if config.mlp_norm else None
    mlp: nn.Module
    if config.gated_mlp:
        mlp = GatedMlp(width, config.mlp_width, norm=mlp_norm)
    else:
        mlp = Mlp(width, config.mlp_width, bias=config.proj_bias, gelu=config.activation, norm=mlp_norm)
    attention = SelfAttention(
        width,
        config.heads,
        qkv_bias=config.qkv_bias,
        proj_bias=config.proj_bias,
        qk_norm=config.norm if config.qk_norm else "off",
        eps=EPS,
        key_heads=config.key_heads[n],
        inner_norm=make_norm(config.norm, width, eps=EPS) if config.inner_norm else None,
        gate=nn.Linear(width, width, bias=config.qkv_bias) if config.gated_attention else None,
    )
    return Block(
        make_norm(config.norm, width, eps=EPS),
        attention,
        make_norm(config.norm, width, eps=EPS),
        mlp,
        attention_scale=LayerScale(width) if config.attention_scale else None,
        mlp_scale=LayerScale(width) if config.mlp_scale else None,
    )


def _make_pooling(config: NaFlexVitConfig) -> nn.Module | None:
    if config.pooling == "map":
        return MapPooling(
            AttentionPool(config.width, config.pool_heads, qkv_bias=True, proj_bias=True),
            make_norm(config.norm, config.width, eps=EPS),
            Mlp(config.width, config.pool_mlp_width, gelu=config.activation),
        )
    kinds = {"avg": MeanPooling, "max": MaxPooling, "avgmax": MeanMaxPooling, "token": ClsPooling}
    return kinds[config.pooling]() if config.pooling else None
