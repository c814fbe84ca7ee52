"""MoonViT, Kimi's vision tower, and its projector: ``Kimi_K25VisionModel`` of transformers (arXiv:2504.07491).

A learned table, resampled bicubically to each image's grid, and rotary positions whose frequencies alternate between
column and row. "tokens" is the last hidden state of every patch, "projected" what the language model takes: a row for
each 2 x 2 patches. Frames of videos have a term of their own, images none.

Names and fields are those of transformers, or those of the checkpoints as they were released (Kimi-VL, Kimi K2.5).
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import torch
from torch import Tensor, nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import (
    HALF,
    TowerConfig,
    block_projector,
    map_block,
    patch_embed,
    plain_blocks,
    plain_mlps,
    prefix_of,
    read_shared,
    rope_fields,
)
from navit_edge_export.families.fields import (
    Fields,
    expect_patches,
    read_alpha,
    read_filter,
    vision_values,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, as_rows, patch_rows_from_convolution
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling, halves_from_pairs
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

NAME = "moonvit"
PREFIXES = ("model.vision_tower.", "vision_tower.")
PROJECTORS = ("model.mm_projector.", "mm_projector.", "multi_modal_projector.")
#: The two layers of the projector: in transformers, in Kimi K2.5 and in Kimi-VL.
FIRST_LAYERS = ("in_proj", "proj.0", "linear_1")
LAST_LAYERS = ("out_proj", "proj.2", "linear_2")
PROJECTED = r"(mm_projector\.(out_proj|proj\.2)|multi_modal_projector\.linear_2)\.weight$"
#: Field of Kimi K2.5's or Kimi-VL's vision config as it was released -> its name in transformers.
RELEASED_FIELDS = {
    "vt_hidden_size": "hidden_size",
    "vt_intermediate_size": "intermediate_size",
    "vt_num_attention_heads": "num_attention_heads",
    "vt_num_hidden_layers": "num_hidden_layers",
    "init_pos_emb_height": "pos_emb_height",
    "init_pos_emb_width": "pos_emb_width",
}
NORM_EPS = 1e-5  # transformers has it in the code, not in the config
MERGE = 2
MAX_PATCHES, MOST_A_SIDE = 16384, 512  # Kimi_K25ImageProcessor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoonViTConfig(TowerConfig):
    """Fields of ``Kimi_K25VisionConfig`` under this project's names."""

    rope_theta: float
    table_side: int
    out_width: int = 0  # of the projector; 0: there is none
    projector_eps: float = 1e-5


def as_transformers_has_them(values: dict[str, Any]) -> dict[str, Any]:
    """The vision config's fields by the names of transformers, if they have those of a release."""
    renamed = {ours: values[theirs] for theirs, ours in RELEASED_FIELDS.items() if theirs in values}
    return {**{name: values[name] for name in values}, **renamed} if renamed else values


def read_config(checkpoint: Checkpoint) -> MoonViTConfig:
    """From config.json, of the vision model or of the whole one."""
    values = as_transformers_has_them(vision_values(NAME, checkpoint))
    fields = Fields(NAME, values)
    fields.expect("pos_emb_type", "divided_fixed")
    fields.expect("merge_type", "sd2_tpool")
    fields.expect("mm_projector_type", "patchmerger")
    fields.expect("projector_hidden_act", "gelu")
    fields.expect("merge_kernel_size", [MERGE, MERGE])
    side = fields.integer("pos_emb_height", 64)
    fields.expect("pos_emb_width", side)
    shared = read_shared(
        NAME,
        checkpoint,
        values,
        normalization=HALF,
        width=1152,
        depth=27,
        heads=16,
        mlp_width=4304,
        activation="gelu_pytorch_tanh",
        patch_px=14,
    )
    outer = Fields(NAME, checkpoint.config)
    outer.expect("projection_hidden_size", shared["width"])
    fields.expect("mm_hidden_size", shared["width"])
    out = [name for name in checkpoint.tensors if re.search(PROJECTED, name)]
    return MoonViTConfig(
        **shared,
        rope_theta=rope_fields(NAME, values).number("rope_theta", 10000.0, above=0),
        table_side=side,
        out_width=checkpoint.tensors[out[0]].shape[0] if out else 0,
        projector_eps=outer.number("projection_layer_norm_eps", fields.number("projector_ln_eps", 1e-5), above=0),
    )


def make_model(config: MoonViTConfig) -> PackedModel:
    """The packed model."""
    width = config.width
    one = axial_frequencies(config.rope_theta, width // config.heads // 2)
    none = torch.zeros_like(one)

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=NORM_EPS)

    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(width, config.table_side, config.table_side, Resampling(kernel="bicubic")),
        rotary=RotaryPositions(torch.stack([none, one], 1).flatten(), torch.stack([one, none], 1).flatten()),
        blocks=plain_blocks(config, norm, plain_mlps(config, config.activation)),
        norm=norm(),
        projector=block_projector(config, eps=config.projector_eps) if config.out_width else None,
    )


def state_map(config: MoonViTConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, or those of the checkpoints as they were released; ``save_pretrained`` mixes them."""
    found = StateMap(prefix_of(checkpoint, PREFIXES))
    found.ignore("*language_model.*", "lm_head.*")

    def there(*names: str) -> str:
        return next((name for name in names if f"{found.prefix}{name}.weight" in checkpoint.tensors), names[0])

    patch_layer = there("patch_embed.proj", "encoder.patch_embed.proj")
    found.make("embed.weight", f"{patch_layer}.weight", by=patch_rows_from_convolution)
    found.copy("embed.bias", f"{patch_layer}.bias")
    released = any(name.endswith(".wqkv.weight") for name in checkpoint.tensors)
    leaf = "weight" if released else "position_embeddings"
    found.make("positions.table", f"patch_embed.pos_emb.{leaf}", by=as_rows)
    for n in range(config.depth):
        ours, theirs = f"blocks.{n}", f"encoder.blocks.{n}" if released else f"layers.{n}"
        map_block(
            found,
            ours,
            theirs,
            norms=("norm0", "norm1") if released else ("norm1", "norm2"),
            qkv=[f"attn.{x}_proj" for x in "qkv"],
            proj="wo" if released else "attn.proj",
            mlp=("mlp.fc0", "mlp.fc1") if released else ("mlp.fc1", "mlp.fc2"),
        )
        for name in ("weight", "bias") if released else ():
            found.make(
                f"{ours}.attention.qkv.{name}",
                f"{theirs}.wqkv.{name}",
                by=lambda w: turned_by_halves(w, config.heads),
            )
    found.layer("norm", "encoder.final_layernorm" if released else "final_layernorm")
    if config.out_width:
        found.prefix = ""
        layers = {"norm": ("pre_norm",), "mlp.up": FIRST_LAYERS, "mlp.down": LAST_LAYERS}
        for part, names in layers.items():
            found.layer(f"projector.{part}", there(*(f"{prefix}{name}" for prefix in PROJECTORS for name in names)))
    return found


def turned_by_halves(joint: Tensor, heads: int) -> Tensor:
    """Queries, keys and values [3 D, ...]: neighbours of the first two that turn together, put half a head apart."""
    queries, keys, values = joint.chunk(3)
    order = halves_from_pairs(heads, len(queries) // heads)
    return torch.cat([queries[order], keys[order], values])


def read_preprocessing(config: MoonViTConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As ``Kimi_K25ImageProcessor`` does it: scaled down, then filled up to whole blocks with black; Kimi-VL's does the
    same, and refuses sides that this one scales down."""
    fields = expect_patches(NAME, checkpoint, config.patch_px)
    released = fields.integer("in_patch_limit", fields.integer("in_token_limit", MAX_PATCHES))
    patches = fields.integer("max_patches", released)
    fields.expect("merge_size", MERGE, None)
    fields.expect("fixed_output_tokens", None)
    size = Fields(NAME, fields.section("size"), where="preprocessor_config.json, size")
    side = size.integer("max_height", fields.integer("patch_limit_on_one_side", MOST_A_SIDE))
    size.expect("max_width", side)
    return Preprocessing(
        sizing=Sizing(rule="navit-resize", max_tokens=patches, longest_px=side * config.patch_px, merge=MERGE),
        filter=read_filter(NAME, checkpoint, "bicubic"),
        alpha=read_alpha(NAME, checkpoint, converts=True),
    )
