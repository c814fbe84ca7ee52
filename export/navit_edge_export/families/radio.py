"""RADIO: ``RadioModel`` of transformers (C-RADIO, Ranzinger et al., arXiv:2312.06709), also as the vision tower of
Nemotron Omni.

A learned table, resampled to the longer side of each image's grid and cut; class tokens and registers in front; no
final norm. "embedding" is some of the class tokens, one beside another, which the original calls the summary. The
original normalizes pixels in the model.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import CLIP, VisionConfig, patch_embed, prefix_of
from navit_edge_export.families.fields import (
    HF_ACTIVATIONS,
    Fields,
    read_alpha,
    read_filter,
    read_patch_px,
    read_pixels,
    vision_values,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import Combine, StateMap, patch_rows_from_channels_first
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block, LayerScale
from navit_edge_export.layers.embed import PrefixTokens
from navit_edge_export.layers.mlps import GatedMlp, Mlp
from navit_edge_export.layers.pooling import PrefixPooling
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling

NAME = "radio"
PREFIXES = ("model.vision_model.", "vision_model.", "model.vision_tower.", "vision_tower.")
MAX_TOKENS = 4096
#: Names of transformers -> of the checkpoints as they were released; that of a block is in front of its parts.
RELEASED = {
    "input_conditioner": "radio_model.input_conditioner",
    "embeddings.patch_projection": "radio_model.model.patch_generator.embedder",
    "embeddings.video_patch_projection": "radio_model.model.patch_generator.video_embedder",
    "embeddings.position_embedding": "radio_model.model.patch_generator.pos_embed",
    "embeddings.cls_register_token": "radio_model.model.patch_generator.cls_token.token",
    "encoder.layer": "radio_model.model.blocks",
    "attention.o_proj": "attn.proj",
    "summary_idxs": "radio_model.summary_idxs",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RadioConfig(VisionConfig):
    """Fields of ``RadioConfig`` of transformers under this project's names."""

    activation: str  # one of mlps.ACTIVATIONS
    gated_mlp: bool
    qkv_bias: bool
    norm_eps: float
    table_side: int
    class_tokens: int
    registers: int
    summary: tuple[int, ...]  # which class tokens the embedding is made of
    layer_scale: float  # of layers that have no learned one
    num_classes: int = 0

    @property
    def prefix_tokens(self) -> int:
        """Class tokens, then registers."""
        return self.class_tokens + self.registers

    def outputs(self) -> tuple[str, ...]:
        """The summary and all tokens."""
        return OUTPUTS[1:]


def read_config(checkpoint: Checkpoint) -> RadioConfig:
    """From config.json, of the model or of a whole one around it."""
    values = vision_values(NAME, checkpoint)
    fields = Fields(NAME, values)
    fields.expect("num_channels", 3)
    width = fields.integer("hidden_size", 1280)
    heads = fields.integer("num_attention_heads", 16)
    fields.expect("head_dim", width // heads, None)
    patch_px = read_patch_px(fields, values)
    gated = fields.flag("use_swiglu_ffn", False)
    hidden = int(width * fields.number("mlp_ratio", 4.0, above=0))
    class_tokens = fields.integer("num_cls_tokens", 3)
    summary = values.get("summary_idxs", (0, 1))
    if not isinstance(summary, (list, tuple)) or not summary or not all(n in range(class_tokens) for n in summary):
        fields.refuse("summary_idxs", f"a list of class tokens, 0 to {class_tokens - 1}")
    mean, std = _read_normalization(checkpoint, values)
    return RadioConfig(
        width=width,
        depth=fields.integer("num_hidden_layers", 32),
        heads=heads,
        mlp_width=(int(hidden * 2 / 3) + 7) // 8 * 8 if gated else hidden,
        patch_px=patch_px,
        channels=3,
        mean=mean,
        std=std,
        activation="silu" if gated else fields.choice("hidden_act", HF_ACTIVATIONS, "gelu"),
        gated_mlp=gated,
        qkv_bias=fields.flag("qkv_bias", True),
        norm_eps=fields.number("layer_norm_eps", 1e-6, above=0),
        table_side=fields.table_side("max_img_size", 2048, patch_px=patch_px),
        class_tokens=class_tokens,
        registers=fields.integer("num_registers", 7, least=0),
        summary=tuple(summary),
        layer_scale=fields.number("layerscale_value", 1.0),
    )


def _read_normalization(
    checkpoint: Checkpoint, values: dict[str, object]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the processor and, after it, the model make of pixels / 255. In a whole model only the processor does."""
    names = _Names(checkpoint)
    inside = f"{names('input_conditioner')}.norm_mean" in checkpoint.tensors
    plain = ((0.0,) * 3, (1.0,) * 3)
    outer = plain if inside else CLIP
    mean, std = read_pixels(NAME, checkpoint, channels=3, mean=outer[0], std=outer[1])
    if not inside:
        return mean, std
    inner = [
        checkpoint.tensors[f"{names('input_conditioner')}.norm_{name}"].flatten().double() for name in ("mean", "std")
    ]
    centre, scale = torch.tensor(mean).double(), torch.tensor(std).double()
    return tuple((centre + scale * inner[0]).tolist()), tuple((scale * inner[1]).tolist())


class _Names:
    """Names in a checkpoint: those of transformers, or as released."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.prefix = prefix_of(checkpoint, PREFIXES)
        self.released = any(name.startswith(f"{self.prefix}radio_model.") for name in checkpoint.tensors)

    def __call__(self, name: str) -> str:
        """The whole name of a part."""
        return self.prefix + self.part(name)

    def part(self, name: str) -> str:
        """The name behind the prefix."""
        return RELEASED[name] if self.released else name


def make_model(config: RadioConfig) -> PackedModel:
    """The packed model."""
    width, side = config.width, config.table_side

    def mlp() -> nn.Module:
        if config.gated_mlp:
            return GatedMlp(width, config.mlp_width, activation=config.activation)
        return Mlp(width, config.mlp_width, gelu=config.activation)

    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(width, side, side, Resampling(square=True)),
        prefix=PrefixTokens(config.prefix_tokens, width),
        blocks=[
            Block(
                nn.LayerNorm(width, eps=config.norm_eps),
                SelfAttention(width, config.heads, qkv_bias=config.qkv_bias, proj_bias=True),
                nn.LayerNorm(width, eps=config.norm_eps),
                mlp(),
                attention_scale=LayerScale(width),
                mlp_scale=LayerScale(width),
            )
            for _ in range(config.depth)
        ],
        norm=nn.Identity(),
        pooling=PrefixPooling(config.summary),
    )


def state_map(config: RadioConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, or of the checkpoints as they were released."""
    names = _Names(checkpoint)
    found = StateMap(names.prefix)
    if names.prefix:
        found.ignore("*language_model.*", "*audio_tower.*", "*sound_*", "*mlp1.*", "*embed_audio.*", "lm_head.*")
        found.ignore("*multi_modal_projector.*")
    found.ignore(f"{names('input_conditioner')}.*", names("summary_idxs"))
    found.ignore(f"{names('embeddings.video_patch_projection')}.*")  # of frames
    embed = names.part("embeddings.patch_projection")
    found.make("embed.weight", f"{embed}.weight", by=patch_rows_from_channels_first(3))
    found.make("embed.bias", f"{embed}.weight", by=lambda w: torch.zeros(w.shape[0]))
    found.make("positions.table", names.part("embeddings.position_embedding"), by=lambda table: table.flatten(0, -2))
    found.copy("prefix.table", names.part("embeddings.cls_register_token"))
    for n in range(config.depth):
        ours, theirs = f"blocks.{n}", f"{names.part('encoder.layer')}.{n}"
        qkv = ["attn.qkv"] if names.released else [f"attention.{x}_proj" for x in "qkv"]
        found.layer(f"{ours}.attention_norm", f"{theirs}.norm1")
        found.stack(f"{ours}.attention.qkv", *(f"{theirs}.{name}" for name in qkv), bias=config.qkv_bias)
        found.layer(f"{ours}.attention.proj", f"{theirs}.{names.part('attention.o_proj')}")
        found.layer(f"{ours}.mlp_norm", f"{theirs}.norm2")
        if config.gated_mlp:
            found.stack(f"{ours}.mlp.gate_up", f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj")
            found.layer(f"{ours}.mlp.down", f"{theirs}.mlp.down_proj")
        else:
            found.layer(f"{ours}.mlp.up", f"{theirs}.mlp.fc1")
            found.layer(f"{ours}.mlp.down", f"{theirs}.mlp.fc2")
        for part, scale in (("attention", "layer_scale1"), ("mlp", "layer_scale2")):
            if f"{names.prefix}{theirs}.{scale}.lambda1" in checkpoint.tensors:
                found.copy(f"{ours}.{part}_scale.scale", f"{theirs}.{scale}.lambda1")
            else:  # published without
                found.make(f"{ours}.{part}_scale.scale", f"{theirs}.norm1.weight", by=_constant(config.layer_scale))
    return found


def _constant(value: float) -> Combine:
    def make(weight: Tensor) -> Tensor:
        return torch.full_like(weight, value)

    return make


def read_preprocessing(config: RadioConfig, checkpoint: Checkpoint) -> Preprocessing:
    """Native resolution, up to MAX_TOKENS: the model takes any multiples of a patch, and transformers has no processor
    of RADIO's own."""
    Fields(NAME, checkpoint.processor, where="preprocessor_config.json").expect("do_resize", True, None)
    return Preprocessing(
        sizing=Sizing(rule="token-cap", max_tokens=min(MAX_TOKENS, config.table_side**2)),
        filter=read_filter(NAME, checkpoint, "bicubic"),
        alpha=read_alpha(NAME, checkpoint, converts=True),
    )
