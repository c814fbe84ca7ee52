"""Qwen3-VL's vision tower: ``Qwen3VLVisionModel`` of transformers (qwen_vl.py says what it shares), with a learned
square table of positions, resampled to each image's grid. The tower of Qwen3.5 and later is the same, without deepstack
(``Qwen3_5VisionModel``).

The mergers of middle blocks ("deepstack"), which feed the language model's first layers, are left out.
"""

from __future__ import annotations

import dataclasses

from navit_edge_export.families import qwen_vl
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import HALF
from navit_edge_export.families.fields import HF_ACTIVATIONS
from navit_edge_export.families.qwen_vl import QwenVisionConfig
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling

NAME = "qwen3-vl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3VisionConfig(QwenVisionConfig):
    """Fields of ``Qwen3VLVisionConfig`` under this project's names."""

    table_side: int


def read_config(checkpoint: Checkpoint) -> Qwen3VisionConfig:
    """From config.json."""
    fields, _ = qwen_vl.vision_fields(NAME, checkpoint)
    return Qwen3VisionConfig(
        width=fields.integer("hidden_size", 1152),
        out_width=fields.integer("out_hidden_size", 3584),
        mlp_width=fields.integer("intermediate_size", 4304),
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "gelu_pytorch_tanh"),
        table_side=fields.square_side("num_position_embeddings", 2304),
        **qwen_vl.shared_values(NAME, checkpoint, patch_px=16, normalization=HALF),
    )


def make_model(config: Qwen3VisionConfig) -> PackedModel:
    """The packed model."""
    side = config.table_side
    positions = InterpolatedTable(config.width, side, side, Resampling(align_corners=True))
    return qwen_vl.make_tower(NAME, config, positions=positions)


def state_map(config: Qwen3VisionConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers."""
    found = qwen_vl.start_map(checkpoint, patch_bias=True)
    found.ignore("*deepstack_merger_list.*")
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
