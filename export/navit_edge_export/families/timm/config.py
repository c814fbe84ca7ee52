"""The config of timm's NaFlexVit: read from config.json, sizes of tables and heads from the tensors."""

from __future__ import annotations

import dataclasses
from typing import Any

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.vocabulary import FILTERS
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import HALF, VisionConfig
from navit_edge_export.families.fields import Fields, read_patch_px, read_pixels
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.timm.variants import VARIANTS, pixels_of, side_px_of
from navit_edge_export.packed_model import OUTPUTS

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
class NaFlexVitConfig(VisionConfig):
    """``NaFlexVitCfg`` under this project's names."""

    architecture: str
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
        fields.refuse("fc_norm", "a norm in front of the tokens without pooling")
    channels_last = fields.flag("patchify_channels_last", True)
    layout = fields.choice("embed_proj_type", {"linear": "linear", "conv": "conv", None: "conv"}, "linear")
    pretrained = config.get("pretrained_cfg") or {}
    channels = fields.integer("in_chans", 3)
    mean, std = pixels_of(architecture) if architecture else HALF
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


def read_preprocessing(config: NaFlexVitConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As timm's NaFlex transform of evaluation does it, for as many patches as the square image of the config has."""
    pretrained = checkpoint.config.get("pretrained_cfg") or {}
    fields = Fields(NAME, pretrained, where="config.json, pretrained_cfg")
    side = side_px_of(config.architecture)
    size = pretrained.get("input_size") or (3, side, side)
    filters = {name: name for name in FILTERS}
    return Preprocessing(
        sizing=Sizing(rule="naflex", max_tokens=(size[1] // config.patch_px) * (size[2] // config.patch_px)),
        filter=fields.choice("interpolation", filters, "bicubic"),
        orientation="as-decoded",  # timm reads files with Image.open(...).convert("RGB")
        labels=_read_labels(checkpoint, config.num_classes),
    )


def _read_labels(checkpoint: Checkpoint, classes: int) -> tuple[str, ...]:
    """Names of the classes, one for each; empty if the checkpoint does not say, or has no classifier."""
    names = checkpoint.config.get("label_names")
    if names is None or not classes:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) != classes:
        Fields(NAME, checkpoint.config).refuse("label_names", f"a list of {classes} names, one for each class")
    return tuple(names)


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
