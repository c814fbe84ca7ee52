"""DINOv2: ``Dinov2Model`` and ``Dinov2WithRegistersModel`` of transformers, and their classifiers (Oquab et al.,
arXiv:2304.07193; Darcet et al., arXiv:2309.16588).

A CLS token (then registers, if there are any) in front of the patches; a learned square table, resampled to each
image's grid by bicubic interpolation, antialiased in the models with registers only; LayerScale. The original squashes
or crops images to one size; here each keeps its own, and the CLS token's position is added once and for all.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import IMAGENET, VisionConfig, patch_embed, prefix_of, read_labels
from navit_edge_export.families.fields import (
    HF_ACTIVATIONS,
    Fields,
    read_alpha,
    read_filter,
    read_patch_px,
    read_pixels,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, as_rows, patch_rows_from_convolution
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block, LayerScale
from navit_edge_export.layers.embed import PrefixTokens
from navit_edge_export.layers.mlps import GatedMlp, Mlp
from navit_edge_export.layers.pooling import ClsMeanPooling, ClsPooling
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling

NAME = "dinov2"
PREFIXES = ("dinov2.", "dinov2_with_registers.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dinov2Config(VisionConfig):
    """Fields of ``Dinov2Config`` under this project's names."""

    gated_mlp: bool
    activation: str  # one of mlps.ACTIVATIONS
    qkv_bias: bool
    norm_eps: float
    table_side: int
    registers: int
    antialias: bool
    num_classes: int

    @property
    def prefix_tokens(self) -> int:
        """CLS, then the registers."""
        return 1 + self.registers

    def outputs(self) -> tuple[str, ...]:
        """All that the checkpoint has weights for."""
        return OUTPUTS if self.num_classes else OUTPUTS[1:]


def read_config(checkpoint: Checkpoint) -> Dinov2Config:
    """From config.json; whether there is a classifier, and how many classes, from its weight."""
    values = checkpoint.config
    fields = Fields(NAME, values)
    fields.expect("apply_layernorm", True)
    with_registers = values.get("model_type") == "dinov2_with_registers"
    registers = fields.integer("num_register_tokens", 4, least=0) if with_registers else 0
    width = fields.integer("hidden_size", 768)
    patch_px = read_patch_px(fields, values, default=16 if with_registers else 14)
    channels = fields.integer("num_channels", 3)
    mean, std = read_pixels(NAME, checkpoint, channels=channels, mean=IMAGENET[0], std=IMAGENET[1])
    gated = fields.flag("use_swiglu_ffn", False)
    hidden = int(width * fields.number("mlp_ratio", 4, above=0))
    if gated:  # two thirds, up to a multiple of 8
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
    classifier = checkpoint.tensors.get("classifier.weight")
    return Dinov2Config(
        width=width,
        depth=fields.integer("num_hidden_layers", 12),
        heads=fields.integer("num_attention_heads", 12),
        mlp_width=hidden,
        gated_mlp=gated,
        patch_px=patch_px,
        channels=channels,
        mean=mean,
        std=std,
        activation="silu" if gated else fields.choice("hidden_act", HF_ACTIVATIONS, "gelu"),
        qkv_bias=fields.flag("qkv_bias", True),
        norm_eps=fields.number("layer_norm_eps", 1e-6, above=0),
        table_side=fields.table_side("image_size", 224, patch_px=patch_px),
        registers=registers,
        antialias=with_registers,
        num_classes=0 if classifier is None else classifier.shape[0],
    )


def make_model(config: Dinov2Config) -> PackedModel:
    """The packed model. "embedding" is the CLS token; with a classifier what the classifier sees, [N, 2 D]: the CLS
    token, then the mean of the patches."""
    width = config.width

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=config.norm_eps)

    def mlp() -> nn.Module:
        if config.gated_mlp:
            return GatedMlp(width, config.mlp_width, activation=config.activation)
        return Mlp(width, config.mlp_width, gelu=config.activation)

    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(
            width, config.table_side, config.table_side, Resampling(kernel="bicubic", antialias=config.antialias)
        ),
        prefix=PrefixTokens(config.prefix_tokens, width),
        blocks=[
            Block(
                norm(),
                SelfAttention(width, config.heads, qkv_bias=config.qkv_bias, proj_bias=True),
                norm(),
                mlp(),
                attention_scale=LayerScale(width),
                mlp_scale=LayerScale(width),
            )
            for _ in range(config.depth)
        ],
        norm=norm(),
        pooling=ClsMeanPooling() if config.num_classes else ClsPooling(),
        head=nn.Linear(2 * width, config.num_classes) if config.num_classes else None,
    )


def state_map(config: Dinov2Config, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with the model's name in front in checkpoints of a classifier."""
    found = StateMap(prefix_of(checkpoint, PREFIXES))
    found.ignore("*embeddings.mask_token")  # of the pretraining
    found.make("embed.weight", "embeddings.patch_embeddings.projection.weight", by=patch_rows_from_convolution)
    found.copy("embed.bias", "embeddings.patch_embeddings.projection.bias")
    table = "embeddings.position_embeddings"
    found.make("positions.table", table, by=lambda t: as_rows(t)[1:])
    registers = ("embeddings.register_tokens",) if config.registers else ()
    found.make("prefix.table", "embeddings.cls_token", table, *registers, by=_prefix_rows)
    for n in range(config.depth):
        ours, theirs = f"blocks.{n}", f"encoder.layer.{n}"
        found.layer(f"{ours}.attention_norm", f"{theirs}.norm1")
        parts = [f"{theirs}.attention.attention.{x}" for x in ("query", "key", "value")]
        found.stack(f"{ours}.attention.qkv", *parts, bias=config.qkv_bias)
        found.layer(f"{ours}.attention.proj", f"{theirs}.attention.output.dense")
        found.copy(f"{ours}.attention_scale.scale", f"{theirs}.layer_scale1.lambda1")
        found.layer(f"{ours}.mlp_norm", f"{theirs}.norm2")
        for mine, plain, gated in (("up", "fc1", "weights_in"), ("down", "fc2", "weights_out")):
            name = "gate_up" if config.gated_mlp and mine == "up" else mine
            found.layer(f"{ours}.mlp.{name}", f"{theirs}.mlp.{gated if config.gated_mlp else plain}")
        found.copy(f"{ours}.mlp_scale.scale", f"{theirs}.layer_scale2.lambda1")
    found.layer("norm", "layernorm")
    if config.num_classes:
        found.prefix = ""
        found.layer("head", "classifier")
    return found


def _prefix_rows(cls: Tensor, table: Tensor, *registers: Tensor) -> Tensor:
    """CLS with its position added; registers have none."""
    return torch.cat([as_rows(cls) + as_rows(table)[:1], *(as_rows(one) for one in registers)])


def read_preprocessing(config: Dinov2Config, checkpoint: Checkpoint) -> Preprocessing:
    """Native resolution, up to the size of the table; the processor's own 224 x 224 crop is not what one packs for."""
    Fields(NAME, checkpoint.processor, where="preprocessor_config.json").expect("do_resize", True, None)
    return Preprocessing(
        sizing=Sizing(rule="token-cap", max_tokens=config.table_side**2),
        filter=read_filter(NAME, checkpoint, "bicubic"),
        alpha=read_alpha(NAME, checkpoint, converts=True),  # BitImageProcessor
        labels=read_labels(NAME, checkpoint, config.num_classes),
    )
