"""NaViT (Dehghani et al., "Patch n' Pack", arXiv:2307.06304) on packed inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError
from navit_edge_export.attention import LOWERINGS, Lowering, MaskedLowering, PackedLowering, PaddedLowering
from navit_edge_export.model.block import Block, Mlp
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.embed import FoldedPatchEmbed, PatchEmbed, PrefixTokens
from navit_edge_export.model.init import init_weights
from navit_edge_export.pooling import AttentionPool, ClsPooling, MapPooling, MeanPooling, MultiPooling, Segments
from navit_edge_export.positions import FactorizedPositions, grid_of_tokens
from navit_edge_export.preprocess import GRAPH_INPUTS, pack


class NaViT(nn.Module):
    """A NaViT. Which lowering of attention it computes with is decided by its inputs: with ``attention_index`` and
    ``token_index`` the padded one, with ``cu_seqlens`` the packed one, without either the masked one. All
    give the same numbers up to rounding."""

    def __init__(self, config: NaViTConfig, *, seed: int = 0) -> None:
        """``seed`` draws the weights (init.py)."""
        super().__init__()
        self.config = config
        self.embed: PatchEmbed | FoldedPatchEmbed = PatchEmbed(
            config.patch_features, config.width, mean=config.mean, std=config.std
        )
        self.positions = FactorizedPositions(
            config.width, kind=config.position_kind, combine=config.position_combine, entries=config.position_entries
        )
        self.prefix = PrefixTokens(config.prefix_tokens, config.width) if config.prefix_tokens else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.norm_bias)
        self.pooling = _make_pooling(config)
        self.head = nn.Linear(config.width, config.num_classes) if config.num_classes else None
        init_weights(self, seed)

    def forward(
        self,
        patches: Tensor,
        positions: Tensor,
        segment_ids: Tensor,
        grid_hw: Tensor,
        attention_index: Tensor | None = None,
        token_index: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """One pack (the graph contract): patches [T, F] uint8, positions [T, 2], segment_ids [T], grid_hw [N, 2] and,
        for the padded lowering, attention_index [N, L] and token_index [T], for the packed one cu_seqlens [N+1], all
        int32.

        Returns "tokens" [T, D], "embedding" [N, D] and, with a classifier, "logits" [N, classes].
        """
        lowering: Lowering
        if attention_index is not None and token_index is not None:
            lowering = PaddedLowering(attention_index, token_index)
        elif cu_seqlens is not None:
            lowering = PackedLowering(cu_seqlens, segment_ids)
        else:
            lowering = MaskedLowering(segment_ids)
        token_grid = grid_of_tokens(grid_hw, segment_ids) if self.positions.uses_grid else None
        tokens = self.embed(patches) + self.positions(positions, token_grid)
        if self.prefix is not None:
            tokens = self.prefix(tokens, positions)
        for block in self.blocks:
            tokens = block(tokens, lowering)
        tokens = self.norm(tokens)
        outputs = {"tokens": tokens}
        outputs["embedding"] = self.pooling(tokens, Segments(segment_ids, positions, grid_hw.shape[0]))
        if self.head is not None:
            outputs["logits"] = self.head(outputs["embedding"])
        return outputs

    def forward_images(self, images: Sequence[npt.NDArray[np.uint8]], *, lowering: str = "masked") -> dict[str, Tensor]:
        """One pack of images [rows*P, columns*P, C] uint8: the outputs of ``forward``, in the images' order."""
        if lowering not in LOWERINGS:
            raise InvalidInputError(f'lowering "{lowering}" is unknown; expected one of {", ".join(LOWERINGS)}')
        inputs = pack(images, patch_px=self.config.patch_px, prefix_tokens=self.config.prefix_tokens).inputs()
        device = self.norm.weight.device
        tensors = {name: torch.from_numpy(inputs[name]).to(device) for name in GRAPH_INPUTS[lowering]}
        outputs: dict[str, Tensor] = self(**tensors)
        return outputs


def _make_pooling(config: NaViTConfig) -> nn.Module:
    def attention() -> AttentionPool:
        return AttentionPool(config.width, config.heads, qkv_bias=config.qkv_bias, proj_bias=config.proj_bias)

    if config.pooling == "map":
        norm = nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.norm_bias)
        return MapPooling(
            attention(), norm, Mlp(config.width, config.mlp_width, bias=config.mlp_bias, gelu=config.gelu)
        )
    if config.pooling == "multi":
        return MultiPooling(config.width, attention(), bias=config.proj_bias)
    return ClsPooling() if config.pooling == "cls" else MeanPooling()
