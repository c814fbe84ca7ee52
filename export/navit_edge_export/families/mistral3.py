"""Mistral3, Ministral-3 and LightOnOCR: Pixtral's tower, the merger of 2 x 2 patches and the projector behind it
(``Mistral3MultiModalProjector`` and ``LightOnOcrMultiModalProjector`` of transformers).

What it gives is what the language model takes for an image: a row for each 2 x 2 patches, row by row.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from navit_edge_export.families import pixtral
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import prefix_of
from navit_edge_export.families.fields import HF_ACTIVATIONS, Fields
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.layers.norms import RMSNorm
from navit_edge_export.packed_model import PackedModel

NAME = "mistral3"
TOWERS = ("model.vision_tower.", "vision_tower.", "model.vision_encoder.", "vision_encoder.")
PROJECTORS = (
    "model.multi_modal_projector.",
    "multi_modal_projector.",
    "model.vision_projection.",
    "vision_projection.",
)
#: rms_norm_eps of a text_config that does not say: the default of its class in transformers.
TEXT_EPS = {"ministral3": 1e-5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mistral3Config(pixtral.PixtralConfig):
    """Fields of ``Mistral3Config`` and ``LightOnOcrConfig`` under this project's names."""

    merge: int
    out_width: int
    projector_activation: str
    projector_eps: float
    projector_bias: bool


def read_config(checkpoint: Checkpoint) -> Mistral3Config:
    """From config.json of the whole model."""
    fields = Fields(NAME, checkpoint.config)
    fields.expect("vision_feature_layer", -1)
    merge = fields.integer("spatial_merge_size", 2)
    Fields(NAME, checkpoint.processor, where="processor_config.json").expect("spatial_merge_size", merge)
    lighton = "multi_modal_projector" not in prefix_of(checkpoint, PROJECTORS)
    text = Fields(NAME, fields.section("text_config"), where="config.json, text_config")
    model_type = fields.section("text_config").get("model_type", "")
    if not fields.section("text_config"):
        eps = 1e-6 if lighton else 1e-5
    else:
        eps = TEXT_EPS.get(model_type, 1e-6) if isinstance(model_type, str) else 1e-6
    return Mistral3Config(
        **pixtral.read_tower(NAME, checkpoint, patch_px=14),
        merge=merge,
        out_width=text.integer("hidden_size", _out_width(checkpoint)),
        # LightOnOCR's has them in its code.
        projector_activation="erf" if lighton else fields.choice("projector_hidden_act", HF_ACTIVATIONS, "gelu"),
        projector_eps=text.number("rms_norm_eps", eps, above=0),
        projector_bias=False if lighton else fields.flag("multimodal_projector_bias", False),
    )


def _out_width(checkpoint: Checkpoint) -> int | None:
    weight = checkpoint.tensors.get(f"{prefix_of(checkpoint, PROJECTORS)}linear_2.weight")
    return None if weight is None else weight.shape[0]


def make_model(config: Mistral3Config) -> PackedModel:
    """The packed model."""
    wide, out = config.merge**2 * config.width, config.out_width
    mlp = Mlp(config.width, out, bias=config.projector_bias, gelu=config.projector_activation, out_width=out)
    projector = PatchMerger(
        config.merge,
        nn.Sequential(nn.Linear(wide, config.width, bias=False), mlp),
        norm=RMSNorm(config.width, eps=config.projector_eps),
    )
    return pixtral.make_tower(NAME, config, projector=projector)


def state_map(config: Mistral3Config, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, and of the checkpoints as they were released."""
    found = StateMap(prefix_of(checkpoint, TOWERS))
    found.ignore("*language_model.*", "lm_head.*")
    pixtral.map_tower(found, config)
    found.prefix = prefix_of(checkpoint, PROJECTORS)
    found.copy("projector.norm.weight", "norm.weight")
    area = config.merge**2
    found.make("projector.mlp.0.weight", "patch_merger.merging_layer.weight", by=lambda w: features_last(w, area))
    found.layer("projector.mlp.1.up", "linear_1", bias=config.projector_bias)
    found.layer("projector.mlp.1.down", "linear_2", bias=config.projector_bias)
    return found


def features_last(weight: Tensor, area: int) -> Tensor:
    """A linear layer over blocks of ``area`` patches: [D', D * area], as ``unfold`` has them, -> [D', area * D]."""
    return weight.view(len(weight), -1, area).transpose(1, 2).flatten(1)


def read_preprocessing(config: Mistral3Config, checkpoint: Checkpoint) -> Preprocessing:
    """As ``PixtralProcessor`` has it done: sides are multiples of a merged patch. So did LightOnOCR's processor as it
    was released; that of transformers 5.23 rounds to single patches, and its model drops the odd row and column."""
    fields = Fields(NAME, checkpoint.processor, where="preprocessor_config.json")
    fields.expect("do_resize", True, None)
    sides = (config.patch_px, config.merge * config.patch_px)
    fields.expect("patch_size", None, *sides, *({"height": side, "width": side} for side in sides))
    return pixtral.read_processor(NAME, checkpoint, fields, merge=config.merge)
