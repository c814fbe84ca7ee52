"""DINOv3: ``DINOv3ViTModel`` of transformers (Siméoni et al., arXiv:2508.10104).

A CLS token and registers in front of the patches; rotary positions of coordinates in [-1, 1], so any size will do;
LayerScale; a plain or a gated MLP; queries and values have a bias, keys have none. The original squashes images to one
square; here each keeps its own size.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import IMAGENET, VisionConfig, patch_embed, read_shared
from navit_edge_export.families.fields import PIL_FILTERS, Fields, read_alpha, read_filter
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import Combine, StateMap, as_rows, concatenate, patch_rows_from_convolution
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block, LayerScale
from navit_edge_export.layers.embed import PrefixTokens
from navit_edge_export.layers.mlps import GatedMlp, Mlp
from navit_edge_export.layers.pooling import ClsPooling
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions.rotary import RotaryPositions

NAME = "dinov3"
MAX_TOKENS = 4096  # 1024 x 1024 pixels; the model itself has no bound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dinov3Config(VisionConfig):
    """Fields of ``DINOv3ViTConfig`` under this project's names."""

    activation: str  # one of mlps.ACTIVATIONS
    gated_mlp: bool
    query_bias: bool
    key_bias: bool
    value_bias: bool
    proj_bias: bool
    mlp_bias: bool
    norm_eps: float
    rope_theta: float
    registers: int
    num_classes: int = 0

    @property
    def prefix_tokens(self) -> int:
        """CLS, then the registers."""
        return 1 + self.registers

    @property
    def qkv_bias(self) -> bool:
        """Whether any of the three has a bias."""
        return self.query_bias or self.key_bias or self.value_bias

    def outputs(self) -> tuple[str, ...]:
        """The CLS token and all tokens."""
        return OUTPUTS[1:]


def read_config(checkpoint: Checkpoint) -> Dinov3Config:
    """From config.json."""
    values = checkpoint.config
    fields = Fields(NAME, values)
    fields.expect("apply_layernorm", True)
    fields.expect("rope_scaling", None)
    fields.expect("rope_parameters", None)
    shared = read_shared(
        NAME,
        checkpoint,
        values,
        normalization=IMAGENET,
        width=384,
        depth=12,
        heads=6,
        mlp_width=1536,
        activation="gelu",
    )
    if shared["width"] % (4 * shared["heads"]):
        fields.refuse("num_attention_heads", "heads whose width is a multiple of 4")
    return Dinov3Config(
        **shared,
        gated_mlp=fields.flag("use_gated_mlp", False),
        query_bias=fields.flag("query_bias", True),
        key_bias=fields.flag("key_bias", False),
        value_bias=fields.flag("value_bias", True),
        proj_bias=fields.flag("proj_bias", True),
        mlp_bias=fields.flag("mlp_bias", True),
        norm_eps=fields.number("layer_norm_eps", 1e-5, above=0),
        rope_theta=fields.number("rope_theta", 100.0, above=0),
        registers=fields.integer("num_register_tokens", 0, least=0),
    )


def make_model(config: Dinov3Config) -> PackedModel:
    """The packed model. "embedding" is the CLS token. The first half of a head's pairs turns with the row, the second
    with the column."""
    width = config.width

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=config.norm_eps)

    def mlp() -> nn.Module:
        if config.gated_mlp:
            return GatedMlp(width, config.mlp_width, bias=config.mlp_bias, activation=config.activation)
        return Mlp(width, config.mlp_width, bias=config.mlp_bias, gelu=config.activation)

    exponents = torch.arange(0, 1, 4 * config.heads / width, dtype=torch.float32)
    bands = 2 * math.pi / config.rope_theta**exponents
    none = torch.zeros_like(bands)
    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        rotary=RotaryPositions(torch.cat([bands, none]), torch.cat([none, bands]), coordinates="centred"),
        prefix=PrefixTokens(config.prefix_tokens, width),
        blocks=[
            Block(
                norm(),
                SelfAttention(width, config.heads, qkv_bias=config.qkv_bias, proj_bias=config.proj_bias),
                norm(),
                mlp(),
                attention_scale=LayerScale(width),
                mlp_scale=LayerScale(width),
            )
            for _ in range(config.depth)
        ],
        norm=norm(),
        pooling=ClsPooling(),
    )


def state_map(config: Dinov3Config, checkpoint: Checkpoint) -> StateMap:
    """Names of the published checkpoints (``layer.0``), or those of transformers in memory (``model.layer.0``)."""
    found = StateMap()
    layers = "model.layer" if any(name.startswith("model.layer.") for name in checkpoint.tensors) else "layer"
    found.ignore("embeddings.mask_token")  # of the pretraining
    found.layer("embed", "embeddings.patch_embeddings")
    found.make("embed.weight", "embeddings.patch_embeddings.weight", by=patch_rows_from_convolution)
    registers = ("embeddings.register_tokens",) if config.registers else ()
    if not config.registers:
        found.ignore("embeddings.register_tokens")  # of no rows
    found.make("prefix.table", "embeddings.cls_token", *registers, by=_prefix_rows)
    parts = ("gate_proj", "up_proj") if config.gated_mlp else ("up_proj",)
    biases = [config.query_bias, config.key_bias, config.value_bias]
    for n in range(config.depth):
        ours, theirs = f"blocks.{n}", f"{layers}.{n}"
        found.layer(f"{ours}.attention_norm", f"{theirs}.norm1")
        projections = [f"{theirs}.attention.{x}_proj" for x in "qkv"]
        found.stack(f"{ours}.attention.qkv", *projections, bias=False)
        if config.qkv_bias:
            names = [f"{name}.bias" for name, has in zip(projections, biases, strict=True) if has]
            found.make(f"{ours}.attention.qkv.bias", *names, by=_with_zeros(biases))
        found.layer(f"{ours}.attention.proj", f"{theirs}.attention.o_proj", bias=config.proj_bias)
        found.copy(f"{ours}.attention_scale.scale", f"{theirs}.layer_scale1.lambda1")
        found.layer(f"{ours}.mlp_norm", f"{theirs}.norm2")
        up = "gate_up" if config.gated_mlp else "up"
        found.stack(f"{ours}.mlp.{up}", *(f"{theirs}.mlp.{part}" for part in parts), bias=config.mlp_bias)
        found.layer(f"{ours}.mlp.down", f"{theirs}.mlp.down_proj", bias=config.mlp_bias)
        found.copy(f"{ours}.mlp_scale.scale", f"{theirs}.layer_scale2.lambda1")
    found.layer("norm", "norm")
    return found


def _prefix_rows(*tokens: Tensor) -> Tensor:
    """CLS, then the registers."""
    return concatenate(*(as_rows(one) for one in tokens))


def _with_zeros(there: list[bool]) -> Combine:
    """The biases of queries, keys and values, zeros for those that have none."""

    def combine(*biases: Tensor) -> Tensor:
        rest = iter(biases)
        return concatenate(*(next(rest) if has else torch.zeros_like(biases[0]) for has in there))

    return combine


def read_preprocessing(config: Dinov3Config, checkpoint: Checkpoint) -> Preprocessing:
    """Native resolution, up to MAX_TOKENS; the processor's own squash to 224 x 224 is not what one packs for."""
    fields = Fields(NAME, checkpoint.processor, where="preprocessor_config.json")
    fields.expect("do_resize", True, None)
    # Of fractions, which nothing bounds, others make numbers below 0 and above 1, or take other pixels than ours.
    fields.expect("resample", PIL_FILTERS.index("bilinear"), None)
    return Preprocessing(
        sizing=Sizing(rule="token-cap", max_tokens=MAX_TOKENS),
        filter=read_filter(NAME, checkpoint, "bilinear"),
        alpha=read_alpha(NAME, checkpoint, converts=False),  # DINOv3ViTImageProcessor
    )
