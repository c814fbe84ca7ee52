"""HunyuanOCR's vision tower: ``HunYuanVLVisionTransformer`` of transformers.

A learned table, resampled bilinearly to each image's grid, no rotary positions. It ends in a merger: a norm, a
convolution over 2 x 2 patches, an activation, two layers and a norm. "tokens" has one row for each block of patches.
The original puts a token at the end of each row of blocks and one before and behind each image. They are the same for
every image: ``read_separators`` takes them from the checkpoint, and ``with_separators`` puts them in, as the language
model takes them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from navit_edge_export.families import qwen_vl
from navit_edge_export.families.checkpoint import Checkpoint, read_checkpoint
from navit_edge_export.families.common import (
    CLIP,
    TowerConfig,
    map_block,
    patch_embed,
    plain_blocks,
    plain_mlps,
    prefix_of,
    read_shared,
)
from navit_edge_export.families.fields import Fields, expect_patches, vision_values
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, patch_rows_from_convolution
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.layers.mlps import ACTIVATIONS
from navit_edge_export.layers.norms import RMSNorm
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling

if TYPE_CHECKING:
    import numpy.typing as npt

NAME = "hunyuan-vl"
PREFIXES = ("model.vision_tower.", "vision_tower.", "model.vit.", "vit.")
MERGE = qwen_vl.MERGE
MIN_PIXELS, MAX_PIXELS = 512 * 512, 2048 * 2048  # HunYuanVLImageProcessor's
#: Parts of names in transformers -> in checkpoints as they were released.
RELEASED = {
    "layer_norm1": "input_layernorm",
    "layer_norm2": "post_attention_layernorm",
    "mlp.fc1": "mlp.dense_h_to_4h",
    "mlp.fc2": "mlp.dense_4h_to_h",
    "patch_merger": "perceive",
    "patch_merger.proj_conv": "perceive.proj.0",
    "patch_merger.proj_out": "perceive.proj.2",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HunyuanConfig(TowerConfig):
    """Fields of ``HunYuanVLVisionConfig`` under this project's names."""

    norm_eps: float
    table_side: int
    table_kernel: str  # one of positions.interpolated.KERNELS
    out_width: int  # of a token


def read_config(checkpoint: Checkpoint) -> HunyuanConfig:
    """From config.json, of the vision tower or of the whole model."""
    values = vision_values(NAME, checkpoint)
    fields = Fields(NAME, values)
    fields.expect("spatial_merge_size", MERGE)
    fields.expect("temporal_patch_size", 1)
    shared = read_shared(
        NAME,
        checkpoint,
        values,
        normalization=CLIP,
        width=1152,
        depth=27,
        heads=16,
        mlp_width=4304,
        activation="gelu",
    )
    fields.expect("head_dim", shared["width"] // shared["heads"], None)
    eps = fields.number("layer_norm_eps", 1e-5, above=0)  # another name of the same field
    return HunyuanConfig(
        **shared,
        norm_eps=fields.number("rms_norm_eps", eps, above=0),
        table_side=fields.table_side("max_image_size", 2048, patch_px=shared["patch_px"]),
        table_kernel=fields.choice("interpolate_mode", {"bilinear": "bilinear", "bicubic": "bicubic"}, "bilinear"),
        out_width=fields.integer("text_hidden_size", 3072),
    )


class ConvolvedMlp(nn.Module):
    """A block's patches through a layer that is a convolution there, an activation, two layers and a norm."""

    def __init__(self, config: HunyuanConfig) -> None:
        super().__init__()
        width = config.width
        self.activation = ACTIVATIONS[config.activation]
        self.up = nn.Linear(MERGE * MERGE * width, 2 * width)
        self.down = nn.Linear(2 * width, 4 * width)
        self.out = nn.Linear(4 * width, config.out_width)
        self.norm = RMSNorm(config.out_width, eps=config.norm_eps)

    def forward(self, blocks: Tensor) -> Tensor:
        """[M, m*m*D] -> [M, D']"""
        tokens: Tensor = self.norm(self.out(self.down(self.activation(self.up(blocks)))))
        return tokens


def make_model(config: HunyuanConfig) -> PackedModel:
    """The packed model."""
    width, side = config.width, config.table_side
    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(width, side, side, Resampling(kernel=config.table_kernel)),
        blocks=plain_blocks(
            config, lambda: nn.LayerNorm(width, eps=config.norm_eps), plain_mlps(config, config.activation)
        ),
        norm=RMSNorm(width, eps=config.norm_eps),
        merger=PatchMerger(MERGE, ConvolvedMlp(config)),
    )


def state_map(config: HunyuanConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, or of the checkpoints as they were released; in front of them ``vision_tower.``, there
    ``vit.``."""
    prefix = prefix_of(checkpoint, PREFIXES)
    found = StateMap(prefix)
    found.ignore("*language_model.*", "lm_head.*")
    if prefix == "vit.":  # the language model is "model"
        found.ignore("model.*")
    released = any(name.startswith(f"{prefix}perceive.") for name in checkpoint.tensors)
    named = RELEASED if released else {name: name for name in RELEASED}
    merger = named["patch_merger"]
    found.ignore(*(f"{prefix}{merger}.image_{name}" for name in ("begin", "newline", "end", "sep")))
    found.make("embed.weight", "embeddings.patch_embedding.weight", by=patch_rows_from_convolution)
    found.copy("embed.bias", "embeddings.patch_embedding.bias")
    # The first entry is of a class token that there is not.
    found.make("positions.table", "embeddings.position_embedding.weight", by=lambda table: table[1:])
    for n in range(config.depth):
        map_block(
            found,
            f"blocks.{n}",
            f"layers.{n}",
            norms=(named["layer_norm1"], named["layer_norm2"]),
            qkv=[f"self_attn.{x}_proj" for x in "qkv"],
            proj="self_attn.o_proj",
            mlp=(named["mlp.fc1"], named["mlp.fc2"]),
        )
    found.copy("norm.weight", f"{merger}.before_rms.weight")
    convolution = named["patch_merger.proj_conv"]
    found.make("merger.mlp.up.weight", f"{convolution}.weight", by=patch_rows_from_convolution)
    found.copy("merger.mlp.up.bias", f"{convolution}.bias")
    point = named["patch_merger.proj_out"]
    found.make("merger.mlp.down.weight", f"{point}.weight", by=patch_rows_from_convolution)
    found.copy("merger.mlp.down.bias", f"{point}.bias")
    found.layer("merger.mlp.out", f"{merger}.mlp")
    found.copy("merger.mlp.norm.weight", f"{merger}.after_rms.weight")
    return found


def read_preprocessing(config: HunyuanConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As ``HunYuanVLImageProcessor`` does it: bicubic, whatever ``resample`` says."""
    expect_patches(NAME, checkpoint, config.patch_px).expect("merge_size", MERGE, None)
    found = qwen_vl.read_smart_resize(NAME, checkpoint, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    return dataclasses.replace(found, filter="bicubic")


def read_separators(path: Path) -> npt.NDArray[np.float32]:
    """[3, D] of a checkpoint: what stands before an image, at the end of each row of blocks, and behind the image."""
    checkpoint = read_checkpoint(path)
    config = read_config(checkpoint)
    prefix = prefix_of(checkpoint, PREFIXES)
    merger = next(name for name in ("perceive", "patch_merger") if f"{prefix}{name}.image_begin" in checkpoint.tensors)
    read = {name: checkpoint.tensors[f"{prefix}{merger}.{name}"].float() for name in
            ("image_begin", "image_newline", "image_end", "mlp.weight", "mlp.bias", "after_rms.weight")}  # fmt: skip
    newline = read["mlp.weight"] @ read["image_newline"] + read["mlp.bias"]
    rows = torch.stack([read["image_begin"], newline, read["image_end"]])
    scale = torch.rsqrt((rows * rows).mean(-1, keepdim=True) + config.norm_eps)
    separators: npt.NDArray[np.float32] = (rows * scale * read["after_rms.weight"]).numpy()
    return separators


def with_separators(
    tokens: npt.NDArray[np.float32], grid: tuple[int, int], separators: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """As HunyuanOCR's language model takes an image.

    tokens: [rows / 2 * columns / 2, D] of a result whose ``grid`` is (rows, columns).
    separators: [3, D] of ``read_separators``.

    Returns [rows / 2 * (columns / 2 + 1) + 2, D].
    """
    begin, newline, end = separators
    rows, columns = grid[0] // MERGE, grid[1] // MERGE
    lines = tokens.reshape(rows, columns, -1)
    ends = np.broadcast_to(newline, (rows, 1, newline.shape[0]))
    joined = np.concatenate([lines, ends], axis=1).reshape(rows * (columns + 1), -1)
    return np.concatenate([begin[None], joined, end[None]])
