"""Qwen3-VL's vision tower: ``Qwen3VLVisionModel`` of transformers (qwen_vl.py says what it shares), with a learned
square table of positions, resampled to each image's grid. The tower of Qwen3.5 and later is the same, without deepstack
(``Qwen3_5VisionModel``).

The mergers of middle blocks ("deepstack") feed the language model's first layers; ``--outputs tokens,deepstack`` gives
what they do.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from navit_edge_export.families import qwen_vl
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import HALF
from navit_edge_export.families.fields import HF_ACTIVATIONS
from navit_edge_export.families.qwen_vl import MERGE, NORM_EPS, QwenVisionConfig
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling

NAME = "qwen3-vl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3VisionConfig(QwenVisionConfig):
    """Fields of ``Qwen3VLVisionConfig`` under this project's names."""

    table_side: int
    deepstack_blocks: tuple[int, ...] = ()


def read_config(checkpoint: Checkpoint) -> Qwen3VisionConfig:
    """From config.json."""
    fields, values = qwen_vl.vision_fields(NAME, checkpoint)
    depth = fields.integer("depth")
    default = (8, 16, 24) if any("deepstack_merger_list" in name for name in checkpoint.tensors) else ()
    blocks = values.get("deepstack_visual_indexes", default)
    if not isinstance(blocks, (list, tuple)) or not all(isinstance(n, int) and 0 <= n < depth for n in blocks):
        fields.refuse("deepstack_visual_indexes", f"a list of block numbers, below {depth}")
    if list(blocks) != sorted(set(blocks)):
        fields.refuse("deepstack_visual_indexes", "ascending block numbers")
    return Qwen3VisionConfig(
        width=fields.integer("hidden_size", 1152),
        out_width=fields.integer("out_hidden_size", 3584),
        mlp_width=fields.integer("intermediate_size", 4304),
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "gelu_pytorch_tanh"),
        deepstack_blocks=tuple(blocks),
        table_side=fields.square_side("num_position_embeddings", 2304),
        **qwen_vl.shared_values(NAME, checkpoint, patch_px=16, normalization=HALF, video_budget="film"),
    )


def make_model(config: Qwen3VisionConfig) -> PackedModel:
    """The packed model."""
    side = config.table_side
    positions = InterpolatedTable(config.width, side, side, Resampling(align_corners=True))
    wide = MERGE * MERGE * config.width

    def merger() -> PatchMerger:
        """As that of the final tokens; its norm is of whole blocks."""
        norm = nn.LayerNorm(wide, eps=NORM_EPS)
        return PatchMerger(MERGE, nn.Sequential(norm, Mlp(wide, wide, out_width=config.out_width)))

    deepstack = {block: merger() for block in config.deepstack_blocks}
    return qwen_vl.make_tower(NAME, config, positions=positions, deepstack=deepstack)


def state_map(config: Qwen3VisionConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers."""
    found = qwen_vl.start_map(checkpoint, patch_bias=True)
    for place, block in enumerate(config.deepstack_blocks):
        ours, theirs = f"deepstack.{block}.mlp", f"deepstack_merger_list.{place}"
        found.layer(f"{ours}.0", f"{theirs}.norm")
        found.layer(f"{ours}.1.up", f"{theirs}.linear_fc1")
        found.layer(f"{ours}.1.down", f"{theirs}.linear_fc2")
    found.copy("positions.table", "pos_embed.weight")
    for n in range(config.depth):
        qwen_vl.map_tower_block(found, n, mlp=("mlp.linear_fc1", "mlp.linear_fc2"))
    found.layer("norm", "merger.norm")
    found.layer("merger.mlp.up", "merger.linear_fc1")
    found.layer("merger.mlp.down", "merger.linear_fc2")
    return found


def read_preprocessing(config: Qwen3VisionConfig, checkpoint: Checkpoint) -> Preprocessing:
    """That of all three."""
    return qwen_vl.read_smart_resize(NAME, checkpoint)
