"""timm's ``NaFlexVit`` (``timm.models.naflexvit``), every registered variant and what its ``NaFlexVitCfg`` can say.

Positions: learned and resampled, learned row plus column, none; rotary: axial, per layer ("mixed"), DINOv3's, and
multimodal RoPE for images. Class token and registers; pooling by mean, maximum, both, class token, attention.

config.json is timm's: ``architecture`` names a variant, ``model_args`` change it, ``pretrained_cfg`` holds what its
transforms need. What training needs (dropout, initialization) is not read.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.fields import Fields, read_patch_px, read_pixels
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import (
    StateMap,
    as_rows,
    as_vector,
    concatenate,
    patch_rows_from_channels_first,
    patch_rows_from_convolution,
)
from navit_edge_export.families.timm_variants import INCEPTION, VARIANTS, pixels_of, side_px_of
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block, LayerScale
from navit_edge_export.layers.embed import PatchEmbed, PrefixTokens
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
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions import (
    InterpolatedFactors,
    InterpolatedTable,
    Resampling,
    RotaryLayers,
    RotaryPositions,
    halves_from_pairs,
)

NAME = "timm-naflexvit"
EPS = 1e-6  # of every norm
ACTIVATIONS = {None: "erf", "gelu": "erf", "gelu_tanh": "tanh", "quick_gelu": "quick", "silu": "silu", "relu": "relu"}
NORMS = {None: "layer", "layernorm": "layer", "layernormfp32": "layer", "rmsnorm": "rms", "rmsnormfp32": "rms"}
POOLINGS = ("avg", "max", "avgmax", "token", "map", "")
ROPES = ("axial", "mixed", "dinov3", "mrope")
#: Fields of NaFlexVitCfg that say nothing about what an image gets in inference.
TRAINING = frozenset(
    (
        "attn_drop_rate", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "drop_path_rate",
        "weight_init", "fix_init", "rope_shift_coords", "rope_jitter_coords", "rope_rescale_coords", "dynamic_img_pad",
        "use_key_only_attn_mask", "enable_patch_interpolator", "pos_embed_grid_size", "input_norm_layer", "img_size",
        "in_chans", "num_classes",
    )
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class NaFlexVitConfig:
    """``NaFlexVitCfg`` under this project's names."""

    architecture: str
    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_token: bool
    registers: int
    embed_bias: bool
    embed_norm: str  # one of norms.make_norm's
    embed_layout: str  # "linear" | "linear-channels-first" | "conv"
    pre_norm: bool
    positions: str  # "table" | "factors" | "none"
    position_entries: tuple[int, int]  # rows, columns of the table(s)
    resampling: dict[str, Any]  # of positions.Resampling
    rotary: str  # "axial" | "mixed" | "dinov3" | "mrope" | "none"
    rotary_temperature: float
    rotary_offset: float
    rotary_reference: tuple[float, float] | None
    rotary_sections: tuple[int, int, int]  # "mrope": time, rows, columns
    rotary_xy: bool  # columns come first
    rotary_halves: bool  # pairs are (p, p + dh/2), not neighbours
    norm: str
    activation: str
    attention: str  # "standard" | "eva" | "rope": how its weights are called
    eva_block: bool  # likewise
    qkv_fused: bool
    key_heads: tuple[int, ...]  # of each block
    qkv_bias: bool
    proj_bias: bool
    qk_norm: bool
    gated_attention: bool
    inner_norm: bool
    gated_mlp: bool
    gated_mlp_split: bool  # gate and up are two tensors
    mlp_norm: bool
    attention_scale: bool
    mlp_scale: bool
    final_norm: bool
    pooled_norm: bool
    pooling: str  # one of POOLINGS
    pools_prefix: bool
    pool_heads: int
    pool_mlp_width: int
    num_classes: int

    @property
    def prefix_tokens(self) -> int:
        """Class token and registers."""
        return int(self.class_token) + self.registers

    def outputs(self) -> tuple[str, ...]:
        """No embedding without pooling, no logits without a head."""
        if not self.pooling:
            return OUTPUTS[2:]
        return OUTPUTS if self.num_classes else OUTPUTS[1:]

    def to_dict(self) -> dict[str, Any]:
        """Every field, in JSON's types."""
        return dataclasses.asdict(self)


def read_config(checkpoint: Checkpoint) -> NaFlexVitConfig:
    """From timm's config.json; sizes of tables and heads from the tensors."""
    config, tensors = checkpoint.config, checkpoint.tensors
    top = Fields(NAME, config)
    arguments = config.get("model_args") or {}
    architecture = config.get("architecture", "")
    if architecture not in VARIANTS and not ("architecture" not in config and arguments):
        top.refuse("architecture", f'{", ".join(VARIANTS)}; or "model_args" alone, with the fields of NaFlexVitCfg')
    values = {**VARIANTS.get(architecture, {}), **arguments}
    known = {field for field in _FIELDS if field not in TRAINING}
    fields = Fields(NAME, values, where="config.json, model_args")
    for name in values:
        if name not in known and name not in TRAINING:
            fields.refuse(name, f"the fields {', '.join(sorted(known))}")
    for name in ("block_fn", "mlp_layer"):
        fields.expect(name, None)
    fields.expect("attn_layer", None, "", "attn")
    width, heads = fields.integer("embed_dim", 768), fields.integer("num_heads", 12)
    depth, ratio = fields.integer("depth", 12), fields.number("mlp_ratio", 4.0)
    rotary = fields.choice("rope_type", {None: "none", "": "none", "none": "none", **{r: r for r in ROPES}}, "")
    attention = fields.choice("attn_type", {kind: kind for kind in ("standard", "eva", "rope")}, "standard")
    swiglu, align = fields.flag("swiglu_mlp", False), fields.integer("swiglu_align_to", 0, least=0)
    scale_only = fields.flag("attn_only_layer_scale", False)
    gated = fields.flag("attn_gated", False)
    eva = attention != "standard" or rotary != "none" or swiglu or gated or scale_only or "num_kv_heads" in fields
    if eva and attention == "standard":
        attention = "rope" if rotary != "none" else "eva"
    scaled = "init_values" in fields and (eva or fields.number("init_values") != 0)
    hidden = int(width * ratio)
    mlp_norm = fields.flag("scale_mlp_norm", False)
    pooling = fields.choice("global_pool", {kind: kind for kind in POOLINGS}, "map")
    class_token = fields.flag("class_token", False)
    final_norm = fields.flag("final_norm", True)
    pooled_norm = fields.flag("fc_norm", pooling == "avg") if values.get("fc_norm") is not None else pooling == "avg"
    if not pooling and pooled_norm and final_norm:
        fields.refuse("fc_norm", "a norm in front of the tokens where there is no pooling")
    channels_last = fields.flag("patchify_channels_last", True)
    layout = fields.choice("embed_proj_type", {"linear": "linear", "conv": "conv", None: "conv"}, "linear")
    pretrained = config.get("pretrained_cfg") or {}
    channels = fields.integer("in_chans", 3)
    mean, std = pixels_of(architecture) if architecture else INCEPTION
    mean, std = read_pixels(
        NAME, checkpoint, channels=channels, mean=pretrained.get("mean", mean), std=pretrained.get("std", std)
    )
    positions, entries = _read_positions(fields, checkpoint)
    return NaFlexVitConfig(
        architecture=architecture,
        width=width,
        depth=depth,
        heads=heads,
        mlp_width=hidden + (-hidden % align if swiglu and align else 0),
        patch_px=read_patch_px(fields, values),
        channels=channels,
        mean=mean,
        std=std,
        class_token=class_token,
        registers=fields.integer("reg_tokens", 0, least=0),
        embed_bias=not fields.flag("pre_norm", False),
        embed_norm=fields.choice("embed_norm_layer", {**NORMS, None: "off", "": "off"}, None),
        embed_layout=layout if channels_last or layout == "conv" else "linear-channels-first",
        pre_norm=fields.flag("pre_norm", False),
        positions=positions,
        position_entries=entries,
        resampling=_read_resampling(fields, positions),
        rotary=rotary,
        rotary_temperature=fields.number("rope_temperature", 10000.0),
        rotary_offset=fields.number("rope_grid_offset", 0.0),
        rotary_reference=_read_reference(fields, values) if rotary == "axial" else None,
        rotary_sections=_read_sections(fields, values) if rotary == "mrope" else (0, 0, 0),
        rotary_xy=fields.choice("rope_grid_indexing", {"ij": False, "xy": True}, "ij"),
        rotary_halves=fields.flag("rope_rotate_half", False) or rotary == "mrope",
        norm=fields.choice("norm_layer", {**NORMS, "": "layer"}, None),
        activation=fields.choice("act_layer", {**ACTIVATIONS, "": "erf"}, None),
        attention=attention,
        eva_block=eva,
        qkv_fused=fields.flag("qkv_fused", True) or not eva,
        key_heads=_read_key_heads(fields, values, depth=depth, heads=heads),
        qkv_bias=fields.flag("qkv_bias", True),
        proj_bias=fields.flag("proj_bias", True) or eva,
        qk_norm=fields.flag("qk_norm", False),
        gated_attention=gated,
        inner_norm=fields.flag("scale_attn_inner_norm", False),
        gated_mlp=swiglu,
        gated_mlp_split=swiglu and bool(mlp_norm or align),
        mlp_norm=mlp_norm,
        attention_scale=scaled,
        mlp_scale=scaled and not scale_only,
        final_norm=final_norm and not pooled_norm,
        pooled_norm=final_norm and pooled_norm and bool(pooling),
        pooling=pooling,
        pools_prefix=fields.flag("pool_include_prefix", False) or pooling == "token",
        pool_heads=fields.integer("attn_pool_num_heads", heads) if "attn_pool_num_heads" in fields else heads,
        pool_mlp_width=int(
            width * (fields.number("attn_pool_mlp_ratio") if "attn_pool_mlp_ratio" in fields else ratio)
        ),
        num_classes=tensors["head.weight"].shape[0] if "head.weight" in tensors and pooling else 0,
    )


def make_model(config: NaFlexVitConfig) -> PackedModel:
    """The packed model."""
    width = config.width
    return PackedModel(
        NAME,
        config,
        embed=PatchEmbed(config.patch_px**2 * config.channels, width, mean=config.mean, std=config.std),
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


def read_preprocessing(config: NaFlexVitConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As timm's NaFlex transform of evaluation does it, for as many patches as the square image of the config has."""
    pretrained = checkpoint.config.get("pretrained_cfg") or {}
    fields = Fields(NAME, pretrained, where="config.json, pretrained_cfg")
    side = side_px_of(config.architecture)
    size = pretrained.get("input_size") or (3, side, side)
    filters = {name: name for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")}
    return Preprocessing(
        sizing=Sizing(rule="naflex", max_tokens=(size[1] // config.patch_px) * (size[2] // config.patch_px)),
        filter=fields.choice("interpolation", filters, "bicubic"),
        orientation="as-decoded",  # timm reads files with Image.open(...).convert("RGB")
        labels=tuple(checkpoint.config.get("label_names") or ()),
    )


# --- the parts of a config


#: All of NaFlexVitCfg's; TRAINING among them.
_FIELDS = frozenset(
    (
        "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "scale_mlp_norm", "num_kv_heads", "qkv_bias",
        "qk_norm", "proj_bias", "scale_attn_inner_norm", "init_values", "class_token", "reg_tokens", "pos_embed",
        "pos_embed_interp_mode", "pos_embed_ar_preserving", "pos_embed_antialias", "pos_embed_align_corners",
        "pos_embed_use_grid_sample", "rope_type", "rope_temperature", "rope_ref_feat_shape", "rope_grid_offset",
        "rope_grid_indexing", "rope_rotate_half", "rope_mrope_section", "patchify_channels_last", "pre_norm",
        "final_norm", "fc_norm", "global_pool", "pool_include_prefix", "attn_pool_num_heads", "attn_pool_mlp_ratio",
        "embed_proj_type", "embed_norm_layer", "norm_layer", "act_layer", "block_fn", "mlp_layer", "attn_layer",
        "attn_type", "attn_gated", "swiglu_mlp", "swiglu_align_to", "qkv_fused", "attn_only_layer_scale",
        *TRAINING,
    )
)  # fmt: skip


def _read_positions(fields: Fields, checkpoint: Checkpoint) -> tuple[str, tuple[int, int]]:
    """Kind and entries of the tables; as many as the tensors have."""
    kinds = {"learned": "table", "factorized": "factors", "none": "none", "": "none", None: "none"}
    kind = fields.choice("pos_embed", kinds, "learned")

    def shape(name: str) -> list[int]:
        return list(checkpoint.tensors[name].shape) if name in checkpoint.tensors else []

    if kind == "table":
        table = shape("embeds.pos_embed")
        return kind, (table[1], table[2]) if len(table) == 4 else (1, 1)
    if kind == "factors":
        rows, columns = shape("embeds.pos_embed_y"), shape("embeds.pos_embed_x")
        return kind, (rows[1] if len(rows) == 3 else 1, columns[1] if len(columns) == 3 else 1)
    return kind, (1, 1)


def _read_resampling(fields: Fields, positions: str) -> dict[str, Any]:
    square = fields.flag("pos_embed_ar_preserving", False)
    if positions != "table":
        return {"kernel": "bilinear", "square": square}
    kernel = fields.choice("pos_embed_interp_mode", {"bilinear": "bilinear", "bicubic": "bicubic"}, "bicubic")
    antialias = fields.flag("pos_embed_antialias", True) and not fields.flag("pos_embed_use_grid_sample", False)
    align = fields.flag("pos_embed_align_corners", False)
    if antialias and align:
        fields.refuse("pos_embed_align_corners", "it without pos_embed_antialias")
    return {"kernel": kernel, "antialias": antialias, "align_corners": align, "square": square}


def _read_reference(fields: Fields, values: dict[str, Any]) -> tuple[float, float] | None:
    value = values.get("rope_ref_feat_shape")
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        fields.refuse("rope_ref_feat_shape", "rows and columns")
    return float(value[0]), float(value[1])


def _read_sections(fields: Fields, values: dict[str, Any]) -> tuple[int, int, int]:
    value = values.get("rope_mrope_section")
    if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(isinstance(n, int) for n in value):
        fields.refuse("rope_mrope_section", "three numbers: time, rows, columns")
    return value[0], value[1], value[2]


def _read_key_heads(fields: Fields, values: dict[str, Any], *, depth: int, heads: int) -> tuple[int, ...]:
    value = values.get("num_kv_heads")
    found = [heads if value is None else value] * depth if not isinstance(value, (list, tuple)) else list(value)
    if len(found) != depth or not all(isinstance(n, int) and 0 < n <= heads and heads % n == 0 for n in found):
        fields.refuse("num_kv_heads", f"divisors of num_heads, {heads}: one, or one for each block")
    return tuple(found)


# --- the parts of a model


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


# --- names


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
