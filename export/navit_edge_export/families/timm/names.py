"""What timm calls the weights of NaFlexVit."""

from __future__ import annotations

import torch
from torch import Tensor

from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.state_map import (
    StateMap,
    as_rows,
    as_vector,
    concatenate,
    patch_rows_from_channels_first,
    patch_rows_from_convolution,
)
from navit_edge_export.families.timm.config import NaFlexVitConfig
from navit_edge_export.positions import (
    halves_from_pairs,
)


def state_map(config: NaFlexVitConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of timm."""
    found = StateMap()
    layouts = {
        "linear": None,
        "linear-channels-first": patch_rows_from_channels_first(config.channels),
        "conv": patch_rows_from_convolution,
    }
    found.make("embed.weight", "embeds.proj.weight", by=layouts[config.embed_layout])
    if config.embed_bias:
        found.copy("embed.bias", "embeds.proj.bias")
    else:
        found.make("embed.bias", "embeds.proj.weight", by=lambda weight: weight.new_zeros(weight.shape[0]))
    if config.embed_norm != "off":
        _map_norm(found, config.embed_norm, "embed_norm", "embeds.norm")
    if config.positions == "table":
        found.make("positions.table", "embeds.pos_embed", by=as_rows)
    elif config.positions == "factors":
        found.make("positions.row.table", "embeds.pos_embed_y", by=as_rows)
        found.make("positions.column.table", "embeds.pos_embed_x", by=as_rows)
    tokens = ["embeds.cls_token"] * config.class_token + ["embeds.reg_token"] * bool(config.registers)
    if tokens:
        found.make("prefix.table", *tokens, by=lambda *parts: concatenate(*(as_rows(part) for part in parts)))
    if config.rotary == "mixed":
        first, second = ("column", "row") if config.rotary_xy else ("row", "column")
        found.make(f"rotary.{first}_frequencies", "rope.freqs", by=lambda freqs: freqs[0])
        found.make(f"rotary.{second}_frequencies", "rope.freqs", by=lambda freqs: freqs[1])
    if config.pre_norm:
        _map_norm(found, config.norm, "pre_norm", "norm_pre")
    for n in range(config.depth):
        _map_block(found, config, n)
    if config.final_norm:
        _map_norm(found, config.norm, "norm", "norm")
    if config.pooled_norm:
        _map_norm(found, config.norm, "pooled_norm", "fc_norm")
    if config.pooling == "map":
        found.make("pooling.attention.probe", "attn_pool.latent", by=as_vector)
        found.layer("pooling.attention.query", "attn_pool.q")
        found.layer("pooling.attention.key_value", "attn_pool.kv")
        found.layer("pooling.attention.proj", "attn_pool.proj")
        _map_norm(found, config.norm, "pooling.norm", "attn_pool.norm")
        found.layer("pooling.mlp.up", "attn_pool.mlp.fc1")
        found.layer("pooling.mlp.down", "attn_pool.mlp.fc2")
    if config.num_classes:
        found.layer("head", "head")
    elif not config.pooling:
        found.ignore("head.*")
    return found


def _map_norm(found: StateMap, kind: str, target: str, source: str) -> None:
    found.layer(target, source, bias=kind == "layer")


def _map_block(found: StateMap, config: NaFlexVitConfig, n: int) -> None:
    ours, theirs = f"blocks.{n}", f"blocks.{n}"
    _map_norm(found, config.norm, f"{ours}.attention_norm", f"{theirs}.norm1")
    _map_norm(found, config.norm, f"{ours}.mlp_norm", f"{theirs}.norm2")
    _map_attention(found, config, f"{ours}.attention", f"{theirs}.attn", config.key_heads[n])
    scales = ("gamma_1", "gamma_2") if config.eva_block else ("ls1.gamma", "ls2.gamma")
    if config.attention_scale:
        found.copy(f"{ours}.attention_scale.scale", f"{theirs}.{scales[0]}")
    if config.mlp_scale:
        found.copy(f"{ours}.mlp_scale.scale", f"{theirs}.{scales[1]}")
    if config.gated_mlp_split:
        found.stack(f"{ours}.mlp.gate_up", f"{theirs}.mlp.fc1_g", f"{theirs}.mlp.fc1_x")
        found.layer(f"{ours}.mlp.down", f"{theirs}.mlp.fc2")
    else:
        up = "gate_up" if config.gated_mlp else "up"
        bias = config.proj_bias or config.gated_mlp
        found.layer(f"{ours}.mlp.{up}", f"{theirs}.mlp.fc1", bias=bias)
        found.layer(f"{ours}.mlp.down", f"{theirs}.mlp.fc2", bias=bias)
    if config.mlp_norm:
        _map_norm(found, config.norm, f"{ours}.mlp.norm", f"{theirs}.mlp.norm")


def _map_attention(found: StateMap, config: NaFlexVitConfig, ours: str, theirs: str, key_heads: int) -> None:
    head = config.width // config.heads
    queries, keys = config.heads * head, key_heads * head
    turned = config.rotary != "none" and not config.rotary_halves  # neighbours become halves; see positions/rotary.py

    def reorder(joint: Tensor) -> Tensor:
        """Queries, keys, values [(H + 2 key heads) * dh, ...]."""
        if not turned:
            return joint
        parts = [joint[:queries], joint[queries : queries + keys], joint[queries + keys :]]
        parts[0] = parts[0][halves_from_pairs(config.heads, head)]
        parts[1] = parts[1][halves_from_pairs(key_heads, head)]
        return torch.cat(parts)

    def join(*parts: Tensor) -> Tensor:
        return reorder(torch.cat(parts))

    def join_without_keys(query: Tensor, value: Tensor) -> Tensor:
        return reorder(torch.cat([query, query.new_zeros(keys), value]))

    weights = ["qkv.weight"] if config.qkv_fused else [f"{x}_proj.weight" for x in "qkv"]
    found.make(f"{ours}.qkv.weight", *(f"{theirs}.{name}" for name in weights), by=join)
    if config.qkv_bias:
        if config.attention == "eva":
            biases = ["q_bias", "v_bias"] if config.qkv_fused else ["q_proj.bias", "v_proj.bias"]
            found.make(f"{ours}.qkv.bias", *(f"{theirs}.{name}" for name in biases), by=join_without_keys)
        else:
            biases = ["qkv.bias"] if config.qkv_fused else [f"{x}_proj.bias" for x in "qkv"]
            found.make(f"{ours}.qkv.bias", *(f"{theirs}.{name}" for name in biases), by=join)
    if config.qk_norm:
        order = halves_from_pairs(1, head) if turned else torch.arange(head)
        for target, source in (("query_norm", "q_norm"), ("key_norm", "k_norm")):
            for leaf in ("weight", "bias") if config.norm == "layer" else ("weight",):
                found.make(f"{ours}.{target}.{leaf}", f"{theirs}.{source}.{leaf}", by=lambda vector: vector[order])
    if config.inner_norm:
        _map_norm(found, config.norm, f"{ours}.inner_norm", f"{theirs}.norm")
    if config.gated_attention:
        found.layer(f"{ours}.gate", f"{theirs}.gate", bias=config.qkv_bias)
    found.layer(f"{ours}.proj", f"{theirs}.proj", bias=config.proj_bias)
