"""LFM2-VL: SigLIP2-NaFlex's tower and the projector behind it (``Lfm2VlMultiModalProjector`` of transformers).

What it gives is what the language model takes for an image: a row for each 2 x 2 patches ("pixel unshuffle"), row by
row.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families import siglip2
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import prefix_of
from navit_edge_export.families.fields import HF_ACTIVATIONS, Fields, read_alpha, read_filter
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.packed_model import PackedModel

NAME = "lfm2-vl"
TOWERS = (
    "model.vision_tower.vision_model.",
    "model.vision_tower.",
    "vision_tower.vision_model.",
    "vision_tower.",
)
PROJECTORS = ("model.multi_modal_projector.", "multi_modal_projector.")
NORM_EPS = 1e-5  # torch's default: transformers does not say
MIN_TOKENS, MAX_TOKENS = 64, 256  # Lfm2VlImageProcessor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lfm2VlConfig(siglip2.Siglip2TowerConfig):
    """Fields of ``Lfm2VlConfig`` under this project's names."""

    merge: int
    out_width: int
    projector_width: int
    projector_activation: str
    projector_bias: bool
    projector_norm: bool
    # How an image is split (navit_edge.tiles).
    splits: bool = True
    tile_px: int = 512
    least_tiles: int = 2
    most_tiles: int = 10
    tile_tolerance: float = 2.0
    thumbnail: bool = True


def read_config(checkpoint: Checkpoint) -> Lfm2VlConfig:
    """From config.json of the whole model."""
    fields = Fields(NAME, checkpoint.config)
    fields.expect("vision_feature_layer", -1)
    merge = fields.integer("downsample_factor", 2)
    text = Fields(NAME, fields.section("text_config"), where="config.json, text_config")
    tower = siglip2.read_tower(NAME, checkpoint)
    processor = Fields(NAME, checkpoint.processor, where="preprocessor_config.json")
    processor.expect("downsample_factor", merge, None)
    processor.expect("encoder_patch_size", tower["patch_px"], None)
    least, most = (processor.integer(f"{word}_tiles", default) for word, default in (("min", 2), ("max", 10)))
    if most < least:
        processor.refuse("max_tiles", f"numbers from min_tiles, {least}, up")
    return Lfm2VlConfig(
        **tower,
        merge=merge,
        out_width=text.integer("hidden_size", 2560),
        projector_width=fields.integer("projector_hidden_size", 2560),
        projector_activation=fields.choice("projector_hidden_act", HF_ACTIVATIONS, "gelu"),
        projector_bias=fields.flag("projector_bias", True),
        projector_norm=fields.flag("projector_use_layernorm", True),
        splits=processor.flag("do_image_splitting", True) and most > 1,
        tile_px=processor.integer("tile_size", 512),
        least_tiles=least,
        most_tiles=most,
        tile_tolerance=processor.number("max_pixels_tolerance", 2.0, above=0),
        thumbnail=processor.flag("use_thumbnail", True),
    )


def make_model(config: Lfm2VlConfig) -> PackedModel:
    """The packed model."""
    wide = config.merge**2 * config.width
    mlp = Mlp(
        wide,
        config.projector_width,
        bias=config.projector_bias,
        gelu=config.projector_activation,
        out_width=config.out_width,
    )
    norm = nn.LayerNorm(wide, eps=NORM_EPS) if config.projector_norm else nn.Identity()
    return siglip2.make_tower(NAME, config, projector=PatchMerger(config.merge, nn.Sequential(norm, mlp)))


def state_map(config: Lfm2VlConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, and of the checkpoints as they were released."""
    tower = prefix_of(checkpoint, TOWERS)
    found = StateMap(tower)
    found.ignore("*language_model.*", "lm_head.*", f"{tower}head.*")
    siglip2.map_tower(found, config)
    found.prefix = prefix_of(checkpoint, PROJECTORS)
    if config.projector_norm:
        found.layer("projector.mlp.0", "layer_norm")
    found.layer("projector.mlp.1.up", "linear_1", bias=config.projector_bias)
    found.layer("projector.mlp.1.down", "linear_2", bias=config.projector_bias)
    return found


def read_preprocessing(config: Lfm2VlConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As ``Lfm2VlImageProcessor`` does it without splitting (``navit_edge.tiles`` does that), and as it makes the
    thumbnail of an image that it splits: sides are multiples of ``merge`` patches, the area is of ``min_image_tokens``
    to ``max_image_tokens`` rows."""
    fields = Fields(NAME, checkpoint.processor, where="preprocessor_config.json")
    fields.expect("do_resize", True, None)
    # Older checkpoints have them in config.json.
    outer = Fields(NAME, checkpoint.config)
    least = fields.integer("min_image_tokens", outer.integer("min_image_tokens", MIN_TOKENS))
    most = fields.integer("max_image_tokens", outer.integer("max_image_tokens", MAX_TOKENS))
    cell = (config.merge * config.patch_px) ** 2
    return Preprocessing(
        sizing=Sizing(rule="smart-resize", merge=config.merge, min_pixels=least * cell, max_pixels=most * cell),
        filter=read_filter(NAME, checkpoint, "bilinear"),
        alpha=read_alpha(NAME, checkpoint, converts=False),
    )
