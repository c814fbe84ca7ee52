"""NaViT (Dehghani et al., "Patch n' Pack", arXiv:2307.06304) on packed inputs."""

from __future__ import annotations

from torch import nn

from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.embed import PatchEmbed, PrefixTokens
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.layers.pooling import AttentionPool, ClsPooling, MapPooling, MeanPooling, MultiPooling
from navit_edge_export.model.config import TABLE_KINDS, NaViTConfig
from navit_edge_export.model.init import init_sin_cos, init_weights
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import FactorizedPositions, InterpolatedTable, Resampling


class NaViT(PackedModel):
    """A NaViT: the reference model."""

    config: NaViTConfig

    def __init__(self, config: NaViTConfig, *, seed: int = 0) -> None:
        """``seed`` draws the weights (init.py)."""
        super().__init__(
            "navit",
            config,
            embed=PatchEmbed(config.patch_features, config.width, mean=config.mean, std=config.std),
            positions=_make_positions(config),
            prefix=PrefixTokens(config.prefix_tokens, config.width) if config.prefix_tokens else None,
            blocks=[_make_block(config) for _ in range(config.depth)],
            norm=_make_norm(config),
            pooling=_make_pooling(config),
            head=nn.Linear(config.width, config.num_classes) if config.num_classes else None,
        )
        init_weights(self, seed)
        if config.position_init == "sin-cos":
            init_sin_cos(self)


def _make_positions(config: NaViTConfig) -> nn.Module:
    entries = config.position_entries
    if config.position_kind in TABLE_KINDS:
        how = Resampling(kernel=TABLE_KINDS[config.position_kind], antialias=config.position_antialias)
        return InterpolatedTable(config.width, entries, entries, how)
    return FactorizedPositions(
        config.width, kind=config.position_kind, combine=config.position_combine, entries=entries
    )


def _make_norm(config: NaViTConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.norm_bias)


def _make_mlp(config: NaViTConfig) -> Mlp:
    return Mlp(config.width, config.mlp_width, bias=config.mlp_bias, gelu=config.gelu)


def _make_block(config: NaViTConfig) -> Block:
    attention = SelfAttention(
        config.width,
        config.heads,
        qkv_bias=config.qkv_bias,
        proj_bias=config.proj_bias,
        qk_norm=config.qk_norm,
        logit_scale=config.logit_scale,
        norm_bias=config.norm_bias,
        eps=config.norm_eps,
    )
    return Block(_make_norm(config), attention, _make_norm(config), _make_mlp(config))


def _make_pooling(config: NaViTConfig) -> nn.Module:
    def attention() -> AttentionPool:
        return AttentionPool(config.width, config.heads, qkv_bias=config.qkv_bias, proj_bias=config.proj_bias)

    if config.pooling == "map":
        return MapPooling(attention(), _make_norm(config), _make_mlp(config))
    if config.pooling == "multi":
        return MultiPooling(config.width, attention(), bias=config.proj_bias)
    return ClsPooling() if config.pooling == "cls" else MeanPooling()
