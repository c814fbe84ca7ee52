"""Qwen2-VL's vision tower: ``Qwen2VisionTransformerPretrainedModel`` of transformers.

What it shares with its successors is in qwen_vl.py.
"""

from __future__ import annotations

from navit_edge_export.families import qwen_vl
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.fields import HF_ACTIVATIONS
from navit_edge_export.families.qwen_vl import QwenVisionConfig
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.packed_model import PackedModel

NAME = "qwen2-vl"


def read_config(checkpoint: Checkpoint) -> QwenVisionConfig:
    """From config.json; its ``hidden_size`` is that of the language model."""
    fields, _ = qwen_vl.vision_fields(NAME, checkpoint)
    width = fields.integer("embed_dim", 1280)
    return QwenVisionConfig(
        width=width,
        out_width=fields.integer("hidden_size", 3584),
        mlp_width=int(width * fields.number("mlp_ratio", 4)),
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "quick_gelu"),
        **qwen_vl.shared_values(NAME, checkpoint),
    )


def make_model(config: QwenVisionConfig) -> PackedModel:
    """The packed model."""
    return qwen_vl.make_tower(NAME, config)


def state_map(config: QwenVisionConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers."""
    found = qwen_vl.start_map(checkpoint, patch_bias=False)
    for n in range(config.depth):
        qwen_vl.map_tower_block(found, n, mlp=("mlp.fc1", "mlp.fc2"))
    found.layer("norm", "merger.ln_q")
    found.layer("merger.mlp.up", "merger.mlp.0")
    found.layer("merger.mlp.down", "merger.mlp.2")
    return found


def read_preprocessing(config: QwenVisionConfig, checkpoint: Checkpoint) -> Preprocessing:
    """That of all three."""
    return qwen_vl.read_smart_resize(NAME, checkpoint)
