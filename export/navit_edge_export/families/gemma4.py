"""The vision tower of Gemma 4 and EmbeddingGemma 2: ``Gemma4VisionModel`` of transformers.

A learned table for the columns plus one for the rows; rotary positions, the first half of a head's features by the
column, the second by the row; norms before and after every part; queries, keys and values normalized, and scores that
are not scaled. What it gives is the mean over each block of 3 x 3 patches, times the root of the width: in float32 in
every engine, since these numbers may leave float16.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import TowerConfig, patch_embed, prefix_of, rope_fields
from navit_edge_export.families.fields import (
    HF_ACTIVATIONS,
    Fields,
    expect_patches,
    read_alpha,
    read_filter,
    read_patch_px,
    read_pixels,
    vision_values,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.clipped import ClippedLinear, clip_linears
from navit_edge_export.layers.merging import PatchMean, PatchMerger, Projector
from navit_edge_export.layers.mlps import GatedMlp
from navit_edge_export.layers.norms import RMSNorm, ScalelessRMSNorm
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions.factorized import FactorizedPositions
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

NAME = "gemma4"
PREFIXES = ("model.vision_tower.", "vision_tower.")
SOFT_TOKENS = (70, 140, 280, 560, 1120)  # budgets of Gemma4ImageProcessor
BOUNDS = ("input_min", "input_max", "output_min", "output_max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gemma4Config(TowerConfig):
    """Fields of ``Gemma4VisionConfig`` under this project's names."""

    head_width: int
    key_heads: int
    norm_eps: float
    rope_theta: float
    table_entries: int  # of each of the two tables
    merge: int  # patches a side that a token is the mean of
    clipped: bool  # what goes into linear layers of the blocks and comes out is kept between bounds of each
    standardized: bool  # tokens get an offset and a factor
    out_width: int  # of the language model; 0: the checkpoint has no projector


def read_config(checkpoint: Checkpoint) -> Gemma4Config:
    """From config.json, of the vision model or of the whole one."""
    values = vision_values(NAME, checkpoint)
    fields = Fields(NAME, values)
    fields.expect("attention_bias", False, None)
    fields.expect("num_channels", 3)
    mean, std = read_pixels(NAME, checkpoint, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    width, heads = fields.integer("hidden_size", 768), fields.integer("num_attention_heads", 12)
    key_heads = fields.integer("num_key_value_heads", 12)
    if heads % key_heads:
        fields.refuse("num_key_value_heads", f"divisors of the {heads} heads")
    head_width = fields.integer("head_dim", 64)
    if head_width % 4:
        fields.refuse("head_dim", "multiples of 4")
    merge = fields.choice("pooling_kernel_size", {2: 2, 3: 3, 4: 4}, 3)
    patch_px = read_patch_px(fields, values)
    expect_patches(NAME, checkpoint, patch_px).expect("pooling_kernel_size", merge, None)
    return Gemma4Config(
        width=width,
        depth=fields.integer("num_hidden_layers", 16),
        heads=heads,
        mlp_width=fields.integer("intermediate_size", 3072),
        patch_px=patch_px,
        channels=3,
        # The tower takes 2 (x - 1/2) of the processor's pixels.
        mean=tuple(m + s / 2 for m, s in zip(mean, std, strict=True)),
        std=tuple(s / 2 for s in std),
        activation=fields.choice("hidden_activation", HF_ACTIVATIONS, "gelu_pytorch_tanh"),
        head_width=head_width,
        key_heads=key_heads,
        norm_eps=fields.number("rms_norm_eps", 1e-6, above=0),
        rope_theta=rope_fields(NAME, values).number("rope_theta", 100.0, above=0),
        table_entries=fields.integer("position_embedding_size", 10240),
        merge=merge,
        clipped=fields.flag("use_clipped_linears", False),
        standardized=fields.flag("standardize", False),
        out_width=_projector_width(checkpoint),
    )


def _projector_name(checkpoint: Checkpoint) -> str:
    """Beside the tower in a whole model."""
    return f"{prefix_of(checkpoint, PREFIXES).removesuffix('vision_tower.')}embed_vision.embedding_projection.weight"


def _projector_width(checkpoint: Checkpoint) -> int:
    name = _projector_name(checkpoint)
    return int(checkpoint.tensors[name].shape[0]) if name in checkpoint.tensors else 0


def make_projector(config: Gemma4Config) -> Projector | None:
    """A norm and a layer, to what the language model takes."""
    if not config.out_width:
        return None
    norm = ScalelessRMSNorm(eps=config.norm_eps)
    return Projector(nn.Sequential(norm, nn.Linear(config.width, config.out_width, bias=False)))


def make_model(config: Gemma4Config) -> PackedModel:
    """The packed model."""
    width, eps = config.width, config.norm_eps
    one = axial_frequencies(config.rope_theta, config.head_width // 2)
    none = torch.zeros_like(one)

    def make_block() -> Block:
        block = Block(
            RMSNorm(width, eps=eps),
            SelfAttention(
                width,
                config.heads,
                qkv_bias=False,
                proj_bias=False,
                qk_norm="rms",
                eps=eps,
                head_width=config.head_width,
                key_heads=config.key_heads,
                scale=1.0,
                value_norm=ScalelessRMSNorm(eps=eps),
            ),
            RMSNorm(width, eps=eps),
            GatedMlp(width, config.mlp_width, bias=False, activation=config.activation),
            attention_scale=RMSNorm(width, eps=eps),
            mlp_scale=RMSNorm(width, eps=eps),
        )
        if config.clipped:
            query, key = config.heads * config.head_width, config.key_heads * config.head_width
            clip_linears(block.attention, {"qkv": (query, key, key), "proj": (width,)})
            clip_linears(block.mlp, {"gate_up": (config.mlp_width,) * 2, "down": (width,)})
        return block

    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=FactorizedPositions(width, kind="learned-absolute", combine="sum", entries=config.table_entries),
        rotary=RotaryPositions(torch.cat([none, one]), torch.cat([one, none])),
        blocks=[make_block() for _ in range(config.depth)],
        norm=nn.Identity(),
        merger=PatchMerger(
            config.merge, PatchMean(width, config.merge**2, factor=width**0.5, standardized=config.standardized)
        ),
        projector=make_projector(config),
    )


def state_map(config: Gemma4Config, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with ``vision_tower.`` in front in checkpoints of the whole model."""
    prefix = prefix_of(checkpoint, PREFIXES)
    found = StateMap(prefix)
    if prefix:
        found.ignore("*language_model.*", "*audio_tower.*", "*embed_audio.*", "lm_head.*")
    embed = "patch_embedder.input_proj.weight"
    found.copy("embed.weight", embed)
    found.make("embed.bias", embed, by=lambda w: torch.zeros(w.shape[0]))
    for axis, name in enumerate(("column", "row")):
        table = "patch_embedder.position_embedding_table"
        found.make(f"positions.{name}.table", table, by=lambda tables, axis=axis: tables[axis])
    for n in range(config.depth):
        _map_block(found, config, f"blocks.{n}", f"encoder.layers.{n}")
    if config.standardized:
        found.copy("merger.mlp.shift", "std_bias")
        found.copy("merger.mlp.scale", "std_scale")
    if config.out_width:
        found.prefix = ""
        found.copy("projector.mlp.1.weight", _projector_name(checkpoint))
    return found


def _map_block(found: StateMap, config: Gemma4Config, ours: str, theirs: str) -> None:
    for name, norm in (
        ("attention_norm", "input_layernorm"),
        ("attention_scale", "post_attention_layernorm"),
        ("mlp_norm", "pre_feedforward_layernorm"),
        ("mlp_scale", "post_feedforward_layernorm"),
    ):
        found.copy(f"{ours}.{name}.weight", f"{theirs}.{norm}.weight")
    one = halves_from_quarters(1, config.head_width)
    for name in ("query", "key"):
        found.make(
            f"{ours}.attention.{name}_norm.weight", f"{theirs}.self_attn.{name[0]}_norm.weight", by=lambda w: w[one]
        )
    query = halves_from_quarters(config.heads, config.head_width)
    key = halves_from_quarters(config.key_heads, config.head_width)
    layers: dict[str, list[tuple[str, Tensor | None]]] = {  # of ours -> those of theirs, and the order of their rows
        "attention.qkv": [("self_attn.q_proj", query), ("self_attn.k_proj", key), ("self_attn.v_proj", None)],
        "attention.proj": [("self_attn.o_proj", None)],
        "mlp.gate_up": [("mlp.gate_proj", None), ("mlp.up_proj", None)],
        "mlp.down": [("mlp.down_proj", None)],
    }
    for name, parts in layers.items():
        sources = [f"{theirs}.{source}.linear.weight" for source, _ in parts]
        orders = [order for _, order in parts]
        if not config.clipped:
            found.make(
                f"{ours}.{name}.weight",
                *sources,
                by=lambda *weights, orders=orders: torch.cat(
                    [w if order is None else w[order] for w, order in zip(weights, orders, strict=True)]
                ),
            )
            continue
        for index, (source, order) in enumerate(zip(sources, orders, strict=True)):
            found.make(
                f"{ours}.{name}.layers.{index}.weight",
                source,
                by=lambda w, order=order: w if order is None else w[order],
            )
        bounds = [f"{theirs}.{source}.{bound}" for source, _ in parts for bound in BOUNDS]
        found.make(f"{ours}.{name}.bounds", *bounds, by=_bounds)


def _bounds(*values: Tensor) -> Tensor:
    """[layers, 4], finite."""
    most = ClippedLinear.UNBOUNDED
    return torch.stack(values).clamp(-most, most).view(-1, len(BOUNDS))


def halves_from_quarters(heads: int, features: int) -> Tensor:
    """Which row of a query or key projection goes where: each half of a head turns by itself there, p with p + dh/4."""
    first, second, third, fourth = torch.arange(features).chunk(4)
    order = torch.cat([first, third, second, fourth])
    return (torch.arange(heads).unsqueeze(1) * features + order).flatten()


def read_preprocessing(config: Gemma4Config, checkpoint: Checkpoint) -> Preprocessing:
    """As ``Gemma4ImageProcessor`` does it: every image gets about the area of ``max_soft_tokens`` blocks of patches."""
    fields = Fields(NAME, checkpoint.processor, where="preprocessor_config.json")
    known: dict[Any, int] = {count: count for count in SOFT_TOKENS}
    tokens = fields.choice("max_soft_tokens", known, 280)
    return Preprocessing(
        sizing=Sizing(rule="patch-budget", merge=config.merge, max_tokens=tokens * config.merge**2),
        filter=read_filter(NAME, checkpoint, "bicubic"),
        alpha=read_alpha(NAME, checkpoint, converts=True),
    )
