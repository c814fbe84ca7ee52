"""vit-pytorch's NaViT: ``vit_pytorch.na_vit`` and ``vit_pytorch.na_vit_nested_tensor``.

Both normalize the pixels of a patch before and its embedding after the linear layer, add a learned row and a learned
column, normalize queries and keys per head, and pool by the attention of one probe. They differ in:

                        na_vit                                              na_vit_nested_tensor
    query-key norm      L2 * sqrt(dh) * weight per head, scores unscaled    LayerNorm, scores * dh^-1/2
    pooling             plus the probe (a residual)                         attention alone

``na_vit_nested_tensor_3d`` is for video: its patches span frames, which the graph contract does not have.

There is no config file: everything but the pixels' mean and deviation follows from the tensors. The library takes
images of whole patches and no more rows or columns than its tables have; so the sizing rule keeps sides below that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import VisionConfig
from navit_edge_export.families.fields import Fields, read_filter, read_pixels
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, patch_rows_from_channels_first
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.embed import NormedPatchEmbed
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.layers.pooling import AttentionPool, ProbePooling
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions import FactorizedPositions

NAME = "vit-pytorch"
EPS = 1e-5  # of every LayerNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class VitPytorchConfig(VisionConfig):
    """Arguments of ``NaViT`` under this project's names."""

    head_width: int
    rows: int  # of the row table: most rows of an image
    columns: int
    nested: bool  # of na_vit_nested_tensor
    qk_norm: bool
    num_classes: int
    prefix_tokens: int = 0

    def outputs(self) -> tuple[str, ...]:
        """All three."""
        return OUTPUTS


def read_config(checkpoint: Checkpoint) -> VitPytorchConfig:
    """From the tensors' shapes; a config may hold "channels", if they are not 3."""
    tensors = checkpoint.tensors
    if any("frame" in name for name in tensors):
        raise InvalidInputError(
            f"the checkpoint {checkpoint.path} is of na_vit_nested_tensor_3d, whose patches span video frames; the "
            f"family {NAME} supports the models for images"
        )
    fields = Fields(NAME, checkpoint.config)
    nested = "transformer.layers.0.0.to_queries.weight" in tensors
    first = "transformer.layers.0.0."
    width, features = _shape(checkpoint, "to_patch_embedding.1.weight", 2)
    channels = fields.integer("channels", 3)
    patch_px = math.isqrt(features // channels)
    if patch_px**2 * channels != features:
        raise InvalidInputError(
            f"to_patch_embedding.1.weight takes {features} features, which are no square of pixels of {channels} "
            f'channels{_of_other_channels(features)}; give --config with {{"channels": …}}, as it was trained'
        )
    inner = _shape(checkpoint, first + ("to_queries.weight" if nested else "to_q.weight"), 2)[0]
    if nested:
        head_width = _shape(checkpoint, "attn_pool.query_norm.weight", 1)[0]
    else:
        head_width = _shape(checkpoint, first + "q_norm.gamma", 3)[2]
    mean, std = read_pixels(NAME, checkpoint, channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)
    return VitPytorchConfig(
        width=width,
        depth=_depth(tensors),
        heads=inner // head_width,
        head_width=head_width,
        mlp_width=_shape(checkpoint, "transformer.layers.0.1.1.weight", 2)[0],
        patch_px=patch_px,
        channels=channels,
        mean=mean,
        std=std,
        rows=_shape(checkpoint, "pos_embed_height", 2)[0],
        columns=_shape(checkpoint, "pos_embed_width", 2)[0],
        nested=nested,
        qk_norm=not nested or first + "query_norm.weight" in tensors,
        num_classes=_shape(checkpoint, "mlp_head.1.weight", 2)[0],
    )


def make_model(config: VitPytorchConfig) -> PackedModel:
    """The packed model."""
    width, heads = config.width, config.heads
    has_bias = not config.nested  # na_vit's norms hold one, as a buffer of zeros

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=EPS, bias=has_bias)

    def attention_options(qk_norm: bool) -> dict[str, Any]:
        return {
            "qkv_bias": False,
            "proj_bias": False,
            "qk_norm": ("layer" if config.nested else "l2") if qk_norm else "off",
            "norm_bias": False,
            "eps": EPS,
            "head_width": config.head_width,
            "scale": None if config.nested else 1.0,
        }

    pool = AttentionPool(width, heads, **attention_options(True))
    return PackedModel(
        NAME,
        config,
        embed=NormedPatchEmbed(config.patch_px**2 * config.channels, width, mean=config.mean, std=config.std, eps=EPS),
        embed_norm=nn.LayerNorm(width, eps=EPS),
        positions=FactorizedPositions(
            width, kind="learned-absolute", combine="sum", entries=config.rows, column_entries=config.columns
        ),
        blocks=[
            Block(
                norm(),
                SelfAttention(width, heads, **attention_options(config.qk_norm)),
                norm(),
                Mlp(width, config.mlp_width),
            )
            for _ in range(config.depth)
        ],
        norm=norm(),
        pooling=pool if config.nested else ProbePooling(width, pool),
        head=nn.Sequential(norm(), nn.Linear(width, config.num_classes, bias=False)),
    )


def state_map(config: VitPytorchConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of vit-pytorch; what it calls gamma and beta are weight and bias in its nested variant."""
    found = StateMap()
    scale, shift = ("weight", "bias") if config.nested else ("gamma", "beta")
    reorder = patch_rows_from_channels_first(config.channels)

    def norm(target: str, source: str, *, bias: bool = not config.nested) -> None:
        found.copy(f"{target}.weight", f"{source}.{scale}")
        if bias:
            found.copy(f"{target}.bias", f"{source}.{shift}")

    found.make("embed.norm.weight", f"to_patch_embedding.0.{scale}", by=reorder)
    found.make("embed.norm.bias", f"to_patch_embedding.0.{shift}", by=reorder)
    found.make("embed.proj.weight", "to_patch_embedding.1.weight", by=reorder)
    found.copy("embed.proj.bias", "to_patch_embedding.1.bias")
    norm("embed_norm", "to_patch_embedding.2", bias=True)
    found.copy("positions.row.table", "pos_embed_height")
    found.copy("positions.column.table", "pos_embed_width")
    query, keys = ("to_queries", ("to_keys", "to_values")) if config.nested else ("to_q", ("to_kv",))
    output = "to_out" if config.nested else "to_out.0"
    for n in range(config.depth):
        ours, attention, mlp = f"blocks.{n}", f"transformer.layers.{n}.0", f"transformer.layers.{n}.1"
        norm(f"{ours}.attention_norm", f"{attention}.norm")
        found.stack(f"{ours}.attention.qkv", *(f"{attention}.{name}" for name in (query, *keys)), bias=False)
        if config.qk_norm:
            _head_norms(found, f"{ours}.attention", attention, nested=config.nested)
        found.layer(f"{ours}.attention.proj", f"{attention}.{output}", bias=False)
        norm(f"{ours}.mlp_norm", f"{mlp}.0")
        found.layer(f"{ours}.mlp.up", f"{mlp}.1")
        found.layer(f"{ours}.mlp.down", f"{mlp}.4")
    norm("norm", "transformer.norm")
    pool = "pooling" if config.nested else "pooling.attention"
    probe = ["attn_pool_queries", f"attn_pool.norm.{scale}"] + ([] if config.nested else [f"attn_pool.norm.{shift}"])
    found.make(f"{pool}.probe", *probe, by=_normed_probe)
    if not config.nested:
        found.copy("pooling.residual", "attn_pool_queries")
    found.layer(f"{pool}.query", f"attn_pool.{query}", bias=False)
    found.stack(f"{pool}.key_value", *(f"attn_pool.{name}" for name in keys), bias=False)
    _head_norms(found, pool, "attn_pool", nested=config.nested)
    found.layer(f"{pool}.proj", f"attn_pool.{output}", bias=False)
    norm("head.0", "mlp_head.0")
    found.layer("head.1", "mlp_head.1", bias=False)
    return found


def read_preprocessing(config: VitPytorchConfig, checkpoint: Checkpoint) -> Preprocessing:
    """The library has none; images of whole patches that its tables can take are left as they are."""
    most = min(config.rows, config.columns) * config.patch_px
    return Preprocessing(
        sizing=Sizing(rule="longest-side", longest_px=most), filter=read_filter(NAME, checkpoint, "bilinear")
    )


def _of_other_channels(features: int) -> str:
    """Which patches the features would be, in words."""
    sides = {channels: math.isqrt(features // channels) for channels in (1, 3, 4)}
    found = [f"{side} x {side} of {n}" for n, side in sides.items() if side * side * n == features]
    return f" (they would be of {' or '.join(found)})" if found else ""


def _head_norms(found: StateMap, target: str, source: str, *, nested: bool) -> None:
    for ours, theirs in (
        ("query_norm", "query_norm" if nested else "q_norm"),
        ("key_norm", "key_norm" if nested else "k_norm"),
    ):
        if nested:
            found.copy(f"{target}.{ours}.weight", f"{source}.{theirs}.weight")
        else:
            found.make(f"{target}.{ours}.weight", f"{source}.{theirs}.gamma", by=lambda gamma: gamma.squeeze(1))


def _normed_probe(probe: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The attention normalizes its queries first; of a constant that is one."""
    return functional.layer_norm(probe, probe.shape, weight, bias, EPS)


def _depth(tensors: Mapping[str, Tensor]) -> int:
    numbers = [int(name.split(".")[2]) for name in tensors if name.startswith("transformer.layers.")]
    return max(numbers, default=-1) + 1


def _shape(checkpoint: Checkpoint, name: str, dimensions: int) -> tuple[int, ...]:
    shape = tuple(checkpoint.tensors[name].shape) if name in checkpoint.tensors else ()
    if len(shape) != dimensions:
        found = f"is of shape {list(shape)}" if shape else "is missing"
        raise InvalidInputError(
            f"{name} {found} in the checkpoint {checkpoint.path}; the family {NAME} reads its config from it and "
            f"expects {dimensions} dimensions; name another family with --family, or save the whole state_dict"
        )
    return shape
