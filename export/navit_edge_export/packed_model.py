"""A vision transformer on packed tokens: what every family's model is, and all that ``onnx_export`` asks of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from navit_edge import vocabulary
from navit_edge.bundle.merging import Merging
from navit_edge.errors import InvalidInputError
from navit_edge.token_parts import layers_of
from navit_edge.vocabulary import LOWERINGS, Scores
from navit_edge_export.layers.attention import Lowering, MaskedLowering, PackedLowering, PaddedLowering, Windows
from navit_edge_export.layers.attention_map import AttentionMap, find_attention_map
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.embed import PatchLayer
from navit_edge_export.layers.merging import PatchMerger, Projector
from navit_edge_export.layers.pooling import Segments
from navit_edge_export.layers.rollout import Layer, Rollout, find_rollout
from navit_edge_export.layers.token_merging import Merged, MergeInputs, TokenMerging
from navit_edge_export.positions import grid_of_tokens
from navit_edge_export.positions.rotary import Rotation
from navit_edge_export.preprocess import graph_inputs, pack

OUTPUTS = ("logits", "embedding", "tokens")  # those that a config names; a model's parts give the others


class ModelConfig(Protocol):
    """What a family's config must tell, whatever else it holds."""

    @property
    def width(self) -> int:
        """D"""

    @property
    def depth(self) -> int: ...

    @property
    def heads(self) -> int:
        """H"""

    @property
    def prefix_tokens(self) -> int:
        """Rows at the start of each image that are no patches."""

    @property
    def patch_px(self) -> int:
        """P"""

    @property
    def channels(self) -> int:
        """C"""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of pixels / 255, per channel."""

    @property
    def std(self) -> tuple[float, ...]: ...

    @property
    def num_classes(self) -> int:
        """0: no logits."""

    def outputs(self) -> tuple[str, ...]:
        """Which of OUTPUTS the model can give, in that order."""

    def to_dict(self) -> dict[str, Any]:
        """Every field, in JSON's types, for the manifest."""


class PackedModel(nn.Module):
    """Embedding, positions, blocks, norm, pooling and head; a family says which.

    Which lowering of attention is computed is decided by the inputs: with ``attention_index`` and ``token_index`` the
    padded one, with ``cu_seqlens`` the packed one, without either the masked one. All give the same numbers up to
    rounding.

    A family whose order of work differs overrides ``forward``, or one of the steps it is made of.
    """

    def __init__(
        self,
        family: str,
        config: ModelConfig,
        *,
        embed: PatchLayer,
        blocks: Sequence[nn.Module],
        norm: nn.Module,
        embed_norm: nn.Module | None = None,
        positions: nn.Module | None = None,
        rotary: nn.Module | None = None,
        prefix: nn.Module | None = None,
        pre_norm: nn.Module | None = None,
        pooling: nn.Module | None = None,
        pools_prefix: bool = True,
        pooled_norm: nn.Module | None = None,
        head: nn.Module | None = None,
        merger: PatchMerger | None = None,
        projector: Projector | None = None,
        deepstack: Mapping[int, Projector] | None = None,
        windows: Windows | None = None,
    ) -> None:
        """
        blocks: (tokens, lowering, rotation or None) -> tokens
        norm: The final norm; what it gives is the output "tokens".
        embed_norm: Of the embedded patches, before positions are added.
        positions: (positions, token_grid) -> [T, D], added to the embedded patches; has ``uses_grid``.
        rotary: (positions, token_grid) -> Rotation, one for all blocks, or a list with one for each; ``uses_grid``.
        prefix: (tokens, positions) -> tokens, with the prefix tokens in their rows.
        pre_norm: Of the tokens that go into the first block.
        pooling: (tokens, Segments) -> [N, D]
        pools_prefix: Whether pooling sees the prefix tokens.
        pooled_norm: Of what pooling gives; that is the output "embedding".
        head: Embedding -> logits.
        merger: (tokens, positions, token_grid) -> [T / m^2, D'], in place of the output "tokens"; no prefix tokens.
        projector: (tokens, positions, token_grid) -> [T / m^2, D'], the output "projected", of what "tokens" are; no
            prefix tokens if it merges.
        deepstack: Number of a block -> merger of what it gives, as ``merger`` is one of the final tokens; all of one
            side and width.
        windows: Which blocks attend inside windows; no prefix tokens.
        """
        super().__init__()
        self.family = family
        self.config = config
        self.embed: PatchLayer = embed
        self.embed_norm = embed_norm
        self.positions = positions
        self.rotary = rotary
        self.prefix = prefix
        self.pre_norm = pre_norm
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.pooling = pooling
        self.pools_prefix = pools_prefix
        self.pooled_norm = pooled_norm
        self.head = head
        self.merger = merger
        self.projector = projector
        self.deepstack = nn.ModuleDict({str(block): part for block, part in (deepstack or {}).items()})
        self.windows = windows
        self.scores: Scores = "softmax"  # what the score of a class is
        self.merging: TokenMerging | None = None
        self.token_parts: tuple[str, ...] = ("tokens",)  # what a row of the output "tokens" holds (token_parts.py)
        self.attention_map: AttentionMap | None = None  # of the output "attention_map", if that is to be computed
        self.rollout: Rollout | None = None  # the same output, of all layers

    @property
    def token_merge(self) -> int:
        """Patches a side that the output "tokens" has one row for."""
        return 1 if self.merger is None else self.merger.side

    @property
    def frames(self) -> int:
        """Of a film that a patch holds."""
        return int(getattr(self.config, "frames", 1))

    def merge_of(self, output: str) -> int:
        """Patches a side that a row of "tokens", "projected" or "deepstack" stands for; 1 of others."""
        sides = {"tokens": self.token_merge}
        if self.projector is not None:
            sides["projected"] = self.token_merge * self.projector.side
        for part in self.deepstack.values():
            assert isinstance(part, Projector)
            sides["deepstack"] = part.side
        return sides.get(output, 1)

    @property
    def block_side(self) -> int:
        """Patches a side of the blocks that every image's grid is made of, so that all outputs merge whole ones."""
        return math.lcm(*map(self.merge_of, vocabulary.OUTPUTS))

    def outputs(self) -> tuple[str, ...]:
        """All that it can give, in the order of ``vocabulary.OUTPUTS``."""
        has = {"projected": self.projector is not None, "deepstack": len(self.deepstack) > 0}
        return tuple(name for name in vocabulary.OUTPUTS if has.get(name, name in self.config.outputs()))

    def forward(
        self,
        patches: Tensor,
        positions: Tensor,
        segment_ids: Tensor,
        grid_hw: Tensor,
        attention_index: Tensor | None = None,
        token_index: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        merge_groups: Tensor | None = None,
        merge_counts: Tensor | None = None,
        merge_rows: Tensor | None = None,
        merge_slots: Tensor | None = None,
        merge_segment_ids: Tensor | None = None,
        merge_attention_index: Tensor | None = None,
        merge_token_index: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """One pack (the graph contract): patches [T, F] uint8, positions [T, 2], segment_ids [T], grid_hw [N, 2] and,
        for the padded lowering, attention_index [N, L] and token_index [T], for the packed one cu_seqlens [N+1], all
        int32. With ``merging``, too, what the host says of it (``navit_edge.bundle.merging.merge_inputs``).

        Returns "tokens" [T, D] ([T / m^2, D'] with a merger; wider with more ``token_parts``) and, as far as the model
        has them, "projected" [T / m^2, D'], "deepstack" [T / m^2, layers, D'], "embedding" [N, D] and "logits"
        [N, classes]. With ``attention_map`` set, too, "attention_map" [T, maps].
        """
        lowering = choose_lowering(segment_ids, attention_index, token_index, cu_seqlens)
        token_grid = grid_of_tokens(grid_hw, segment_ids) if self._uses_grid() else None
        tokens = self.embed_tokens(patches, positions, token_grid)
        rotation = None if self.rotary is None else self.rotary(positions, token_grid)
        inner = lowering
        images = grid_hw.shape[0]
        merged: Merged | None = None
        looked: Tensor | None = None
        layers: list[Layer] = []  # for the rollout
        parts: dict[str, list[Tensor]] = {}
        stack: list[Tensor] = []
        if self.windows is not None and token_grid is not None:
            inner = lowering.within(self.windows.ids(positions, token_grid))
        for index, block in enumerate(self.blocks):
            own: Rotation | None = rotation[index] if isinstance(rotation, list) else rotation
            full = self.windows is None or index in self.windows.full_blocks
            merges = self.merging is not None and index == self.merging.merging.layer
            of_block = self.attention_map is not None and self.attention_map.pool is None
            looks = of_block and index == len(self.blocks) - 1
            rolls = self.rollout is not None
            halves = cast(Block, block) if merges or looks or rolls else None  # attention by itself
            attends = lowering if full else inner
            if halves is None:
                tokens = block(tokens, attends, own)
            else:
                tokens, queries, keys = halves.attended(tokens, attends, own)
            if rolls:
                assert halves is not None
                layers.append(Layer(lowering=attends, query=queries, key=keys, scale=halves.attention.scale))
            if looks:
                assert self.attention_map is not None
                assert halves is not None
                segments = Segments(segment_ids, positions, images, None if merged is None else merged.sizes)
                looked = _unmerged(self.attention_map.of_block(halves.attention, queries, keys, segments), merged)
            if self.merging is not None and merges:
                given = _merge_inputs(
                    merge_groups,
                    merge_counts,
                    merge_rows,
                    merge_slots,
                    merge_segment_ids,
                    merge_attention_index,
                    merge_token_index,
                )
                merged = self.merging(tokens, positions, keys, given)
                tokens, inner = merged.tokens, _lowering_after(given, merged)
                lowering, segment_ids, positions = inner, given.segment_ids, merged.positions
            if halves is not None:
                tokens = halves.after_attention(tokens)
            if str(index) in self.deepstack:
                stack.append(self.deepstack[str(index)](tokens, positions, token_grid))
            for name in self.token_parts:
                if index in layers_of(name):
                    parts.setdefault(name, []).append(tokens if merged is None else merged.unmerge(tokens))
        tokens = self.norm(tokens)
        final = tokens if self.merger is None else self.merger(tokens, positions, token_grid)
        if merged is not None:
            final = merged.unmerge(tokens)
        parts["tokens"] = [final]
        found = [part for name in self.token_parts for part in parts[name]]
        outputs = {"tokens": torch.cat(found, dim=1) if len(found) > 1 else found[0]}
        if self.projector is not None:
            outputs["projected"] = self.projector(final, positions, token_grid)
        if stack:
            outputs["deepstack"] = torch.stack(stack, dim=1)
        if self.pooling is not None:
            make = Segments if self.pools_prefix else Segments.of_patches
            sizes = None if merged is None else merged.sizes
            segments = make(segment_ids, positions, images, sizes)
            pooled = self.pooling(tokens, segments)
            if self.attention_map is not None and self.attention_map.pool is not None:
                looked = _unmerged(self.attention_map.of_pool(tokens, segments), merged)
            if self.rollout is not None:
                merging = -1 if self.merging is None else self.merging.merging.layer
                looked = self.rollout.of(tokens, segments, layers, merged, merging)
            outputs["embedding"] = pooled if self.pooled_norm is None else self.pooled_norm(pooled)
            if self.head is not None:
                outputs["logits"] = self.head(outputs["embedding"])
        if looked is not None:
            outputs["attention_map"] = looked
        return outputs

    def embed_tokens(self, patches: Tensor, positions: Tensor, token_grid: Tensor | None) -> Tensor:
        """What goes into the first block: patches [T, F] uint8, positions and token_grid [T, 2] int32 -> [T, D]"""
        tokens = self.embed(patches)
        if self.embed_norm is not None:
            tokens = self.embed_norm(tokens)
        if self.positions is not None:
            tokens = tokens + self.positions(positions, token_grid)
        if self.prefix is not None:
            tokens = self.prefix(tokens, positions)
        ready: Tensor = tokens if self.pre_norm is None else self.pre_norm(tokens)
        return ready

    def with_merging(self, merging: Merging) -> None:
        """Merges tokens from now on. Raises InvalidInputError: the model has no such block, or cannot merge."""
        depth = len(self.blocks)
        if not 0 <= merging.layer < depth:
            raise InvalidInputError(
                f"merge names block {merging.layer}; {self.family} has the blocks 0 to {depth - 1}; name one of them"
            )
        reasons = {
            "its blocks turn queries and keys by each token's place, and a merged token has several": self.rotary,
            "its blocks attend inside windows, and a merged token may lie in several": self.windows,
            "rows of its outputs are blocks of patches": self.merger or self.projector or (self.deepstack or None),
            "its blocks are of a kind that cannot stop between attention and MLP": (
                None if type(self.blocks[merging.layer]) is Block else self.blocks[merging.layer]
            ),
        }
        for reason, found in reasons.items():
            if found is not None:
                raise InvalidInputError(
                    f"{self.family} cannot merge tokens: {reason}; leave merge out, or give its images fewer tokens"
                )
        self.merging = TokenMerging(merging, depth)

    def with_attention_map(self, *, each_head: bool = False) -> None:
        """Computes the output "attention_map" from now on: a map for each head, or their mean. Raises
        InvalidInputError: the model has no such attention."""
        self.attention_map = find_attention_map(self.family, self.pooling, [*self.blocks], each_head=each_head)

    def with_rollout(self) -> None:
        """Computes the output "attention_map" from now on as the rollout of all layers' attention. Raises
        InvalidInputError: the model has no such thing."""
        self.rollout = find_rollout(self.family, self.pooling, [*self.blocks])

    def _uses_grid(self) -> bool:
        parts = (self.positions, self.rotary, self.merger, self.projector, *self.deepstack.values())
        return self.windows is not None or any(part is not None and bool(part.uses_grid) for part in parts)

    def forward_images(self, images: Sequence[npt.NDArray[np.uint8]], *, lowering: str = "masked") -> dict[str, Tensor]:
        """One pack of images [rows*P, columns*P, C] uint8, or [frames, rows*P, columns*P, C]: the outputs of
        ``forward``, in the images' order."""
        if lowering not in LOWERINGS:
            raise InvalidInputError(f'lowering "{lowering}" is unknown; expected one of {", ".join(LOWERINGS)}')
        config = self.config
        packed = pack(images, patch_px=config.patch_px, prefix_tokens=config.prefix_tokens, frames=self.frames)
        merging = None if self.merging is None else self.merging.merging
        inputs = packed.inputs(merging, prefix_tokens=config.prefix_tokens)
        device = next(self.parameters()).device
        tensors = {name: torch.from_numpy(inputs[name]).to(device) for name in graph_inputs(lowering, merging)}
        outputs: dict[str, Tensor] = self(**tensors)
        return outputs


def choose_lowering(
    segment_ids: Tensor,
    attention_index: Tensor | None,
    token_index: Tensor | None,
    cu_seqlens: Tensor | None,
) -> Lowering:
    """The lowering that the inputs are made for."""
    if attention_index is not None and token_index is not None:
        return PaddedLowering(attention_index, token_index)
    if cu_seqlens is not None:
        return PackedLowering(cu_seqlens, segment_ids)
    return MaskedLowering(segment_ids)


def _unmerged(looked: Tensor, merged: Merged | None) -> Tensor:
    """[T, maps] of what may be [M, maps]: a merged token's weight is shared among its patches."""
    return looked if merged is None else merged.unmerge(looked / merged.sizes.unsqueeze(1))


def _merge_inputs(*given: Tensor | None) -> MergeInputs:
    groups, counts, rows, slots, segment_ids, attention_index, token_index = given
    if groups is None or counts is None or rows is None or slots is None or segment_ids is None:
        raise InvalidInputError(
            "the model merges tokens and was not told which; expected the inputs of navit_edge.bundle.merging"
        )
    return MergeInputs(groups, counts, rows, slots, segment_ids, attention_index, token_index)


def _lowering_after(given: MergeInputs, merged: Merged) -> Lowering:
    """Attention behind a merge, in which a key counts as often as it has patches."""
    bias = merged.sizes.log()
    if given.attention_index is not None and given.token_index is not None:
        return PaddedLowering(given.attention_index, given.token_index, bias)
    return MaskedLowering(given.segment_ids, bias)
