"""What the importers of vision towers share: fields of their configs, how these are read, blocks and their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.fields import HF_ACTIVATIONS, Fields, read_patch_px, read_pixels
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.embed import PatchEmbed
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.packed_model import OUTPUTS

#: (mean, std) of pixels / 255.
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
CLIP: Normalization = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Normalization = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Fields that every family's config has, under this project's names (``packed_model.ModelConfig``)."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Every field, in JSON's types."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerConfig(VisionConfig):
    """Of a tower that gives the tokens for a language model: no prefix tokens, no pooling, no classes."""

    activation: str  # one of mlps.ACTIVATIONS
    prefix_tokens: int = 0
    num_classes: int = 0

    def outputs(self) -> tuple[str, ...]:
        """The tokens."""
        return OUTPUTS[2:]


class ProjectedConfig(Protocol):
    """What ``block_projector`` reads."""

    @property
    def width(self) -> int: ...

    @property
    def out_width(self) -> int: ...


def read_shared(
    family: str,
    checkpoint: Checkpoint,
    values: Mapping[str, Any],
    *,
    normalization: Normalization,
    width: int,
    depth: int,
    heads: int,
    mlp_width: int,
    activation: str,
    patch_px: int = 16,
) -> dict[str, Any]:
    """Values of the shared fields, and of ``activation``, from a config of transformers; the numbers are defaults."""
    fields = Fields(family, values)
    channels = fields.integer("num_channels", 3)
    mean, std = read_pixels(family, checkpoint, channels=channels, mean=normalization[0], std=normalization[1])
    return {
        "width": fields.integer("hidden_size", width),
        "depth": fields.integer("num_hidden_layers", depth),
        "heads": fields.integer("num_attention_heads", heads),
        "mlp_width": fields.integer("intermediate_size", mlp_width),
        "patch_px": read_patch_px(fields, values, default=patch_px),
        "channels": channels,
        "mean": mean,
        "std": std,
        "activation": fields.choice("hidden_act", HF_ACTIVATIONS, activation),
    }


def rope_fields(family: str, values: Mapping[str, Any]) -> Fields:
    """The fields of ``rope_parameters``, of rotary positions along both axes; before transformers 5, ``rope_theta`` of
    the config itself."""
    outer = Fields(family, values)
    outer.expect("rope_scaling", None)
    found = outer.section("rope_parameters")
    if "rope_theta" in outer:
        found = {"rope_theta": values["rope_theta"], **found}
    fields = Fields(family, found, where="config.json, rope_parameters")
    fields.expect("rope_type", "axial", "default")
    return fields


def patch_embed(config: VisionConfig) -> PatchEmbed:
    """A linear layer over the pixels of a patch."""
    features = config.patch_px**2 * config.channels * int(getattr(config, "frames", 1))
    return PatchEmbed(features, config.width, mean=config.mean, std=config.std)


def plain_blocks(config: VisionConfig, norm: Callable[[], nn.Module], mlp: Callable[[], nn.Module]) -> list[Block]:
    """Pre-norm blocks whose layers all have a bias."""
    return [
        Block(norm(), SelfAttention(config.width, config.heads, qkv_bias=True, proj_bias=True), norm(), mlp())
        for _ in range(config.depth)
    ]


def plain_mlps(config: VisionConfig, activation: str) -> Callable[[], Mlp]:
    """Makes MLPs of two layers."""
    return lambda: Mlp(config.width, config.mlp_width, gelu=activation)


def block_projector(config: ProjectedConfig, *, eps: float, side: int = 2) -> PatchMerger:
    """What several towers have in front of a language model: a norm of each token, then an MLP over blocks of ``side``
    x ``side`` of them."""
    wide = side * side * config.width
    mlp = Mlp(wide, wide, out_width=config.out_width)
    return PatchMerger(side, mlp, norm=nn.LayerNorm(config.width, eps=eps))


def map_block(
    found: StateMap,
    ours: str,
    theirs: str,
    *,
    norms: tuple[str, str],
    qkv: Sequence[str],
    proj: str,
    mlp: tuple[str, str],
) -> None:
    """The names of a plain block: those of queries, keys and values are one or three."""
    found.layer(f"{ours}.attention_norm", f"{theirs}.{norms[0]}")
    found.stack(f"{ours}.attention.qkv", *(f"{theirs}.{name}" for name in qkv))
    found.layer(f"{ours}.attention.proj", f"{theirs}.{proj}")
    found.layer(f"{ours}.mlp_norm", f"{theirs}.{norms[1]}")
    found.layer(f"{ours}.mlp.up", f"{theirs}.{mlp[0]}")
    found.layer(f"{ours}.mlp.down", f"{theirs}.{mlp[1]}")


def map_siglip_block(found: StateMap, n: int) -> None:
    """As transformers calls the parts of SigLIP's encoder."""
    attention = [f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")]
    map_block(
        found,
        f"blocks.{n}",
        f"encoder.layers.{n}",
        norms=("layer_norm1", "layer_norm2"),
        qkv=attention[:3],
        proj=attention[3],
        mlp=("mlp.fc1", "mlp.fc2"),
    )


def prefix_of(checkpoint: Checkpoint, prefixes: Sequence[str]) -> str:
    """Which of ``prefixes`` the names have in a checkpoint of more than the vision model; "" if none."""
    return next((p for p in prefixes if any(name.startswith(p) for name in checkpoint.tensors)), "")


def read_labels(family: str, checkpoint: Checkpoint, classes: int) -> tuple[str, ...]:
    """Names of the classes, as transformers stores them; empty if it stores none."""
    fields = Fields(family, checkpoint.config)
    names = fields.section("id2label")
    if not all(isinstance(name, str) for name in names.values()):
        fields.refuse("id2label", "numbers of classes and their names")
    return tuple(names.get(str(n), f"LABEL_{n}") for n in range(classes)) if names else ()
