"""Merging of similar tokens inside the model, without training, each image by itself.

ToMe (Bolya et al., arXiv:2210.09461): each ``stride``-th token of a group is one that others merge into; each of the
others finds the most similar of these, and the most similar pairs merge. PiToMe (Tran et al., arXiv:2405.16148): only
tokens of high energy, which are like many others, take part, so that small distinct things stay. A merged token is the
mean of its patches; how many they are is its size, and the logarithm of the size is added to its scores as a key
(proportional attention).

No operator sorts or scatters: ranks are counted, sums are products with one-hot tables. Equal scores are told apart by
their place, so every engine decides alike. Letters as in ``navit_edge.bundle.merging``; S slots of a group, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from navit_edge.bundle.merging import Merging

#: Below every similarity and every energy.
LEAST = -30000.0


@dataclass(frozen=True)
class MergeInputs:
    """What the host says of a merge, int32 (``navit_edge.bundle.merging.merge_inputs``)."""

    groups: Tensor  # [G, W]
    counts: Tensor  # [G, 2]
    rows: Tensor  # [M]
    slots: Tensor  # [T]
    segment_ids: Tensor  # [M]
    attention_index: Tensor | None  # [N, A], of the padded lowering only
    token_index: Tensor | None  # [M]


@dataclass(frozen=True)
class Merged:
    """Tokens after the merge, and the way back."""

    tokens: Tensor  # [M, D]
    positions: Tensor  # [M, 2] int32: of prefix tokens their own, of others (0, 0)
    sizes: Tensor  # [M] float32: patches that a token is the mean of
    home: Tensor  # [T] int32: the row that each token has become a part of

    def unmerge(self, tokens: Tensor) -> Tensor:
        """[M, D] -> [T, D]: each token gets what it has become a part of."""
        return tokens.index_select(0, self.home)


class TokenMerging(nn.Module):
    """One merge, by what ``merging`` says."""

    def __init__(self, merging: Merging, depth: int) -> None:
        """``depth``: blocks of the model, of which PiToMe's margin depends on."""
        super().__init__()
        self.merging = merging
        self.margin = 0.9 - 0.9 * merging.layer / depth

    def forward(self, tokens: Tensor, positions: Tensor, keys: Tensor, given: MergeInputs) -> Merged:
        """tokens [T, D], positions [T, 2] int32, keys [T, H, dh] of the block's attention"""
        groups, width = given.groups, self.merging.group
        present = groups >= 0  # [G, W]
        members = groups.clamp(min=0).flatten()
        place = torch.arange(width, dtype=torch.int32, device=tokens.device)  # [W]
        leaving = present.to(torch.int32).sum(1, keepdim=True, dtype=torch.int32) - given.counts[:, :1]  # [G, 1]

        metric = keys.float().mean(1)
        metric = metric * (metric * metric).sum(-1, keepdim=True).clamp(min=1e-12).rsqrt()
        metric = metric.index_select(0, members).view(-1, width, metric.shape[1])
        # Cosines less 1: near 0 where tokens are alike, so that an engine in 16 bits still tells these pairs apart.
        ones = torch.ones_like(metric[:, :, :1])
        alike = torch.cat([metric, ones], 2) @ torch.cat([metric, -ones], 2).transpose(1, 2)  # [G, W, W]
        movable, into = self._split(alike, present, place, leaving)
        scores = torch.where(into.unsqueeze(1), alike, LEAST)  # [G, W, W]: rows merge into columns
        best = scores.amax(-1)  # [G, W]
        at_best = torch.where(scores >= best.unsqueeze(2), place, width).amin(-1).clamp(max=width - 1)  # [G, W] int32
        merges = movable & (_ranks(torch.where(movable, best, LEAST), place) < leaving)  # [G, W]

        stays = (present & ~merges).float()
        before = (place.unsqueeze(1) < place.unsqueeze(0)).float()  # [W, W]
        slot = (stays @ before).to(torch.int32)  # [G, W]
        start = torch.arange(groups.shape[0], dtype=torch.int32, device=tokens.device).unsqueeze(1) * width
        target = slot.flatten().index_select(0, (start + at_best).flatten()).view(-1, width)
        slot = torch.where(merges, target, slot)

        numbers = torch.arange(self.merging.slots, dtype=torch.int32, device=tokens.device)
        table = ((slot.unsqueeze(1) == numbers.unsqueeze(1)) & present.unsqueeze(1)).to(tokens.dtype)  # [G, S, W]
        sizes = table.sum(-1, keepdim=True).clamp(min=1.0)  # [G, S, 1]
        sums = table @ tokens.index_select(0, members).view(-1, width, tokens.shape[1])
        means = (sums / sizes).flatten(0, 1)  # [G*S, D]

        # Made of the host's numbers: what reads tokens decides in which precision an engine adds them up.
        ones = torch.ones_like(given.slots, dtype=tokens.dtype)
        zeros = torch.zeros_like(given.counts).repeat_interleave(self.merging.slots, 0)
        row = (given.counts[:, 1:] + slot).flatten()  # [G*W]
        prefix = -1 - given.slots
        return Merged(
            tokens=torch.cat([tokens, means]).index_select(0, given.rows),
            positions=torch.cat([positions, zeros]).index_select(0, given.rows),
            sizes=torch.cat([ones, sizes.flatten()]).index_select(0, given.rows).float(),
            home=torch.where(prefix >= 0, prefix, row.index_select(0, given.slots.clamp(min=0))),
        )

    def _split(self, alike: Tensor, present: Tensor, place: Tensor, leaving: Tensor) -> tuple[Tensor, Tensor]:
        """Which tokens may merge, and which others may merge into: alike [G, W, W] (cosines less 1), present [G, W],
        place [W], leaving [G, 1] -> [G, W] bool twice"""
        stride = self.merging.stride
        if self.merging.method == "tome":
            into = torch.remainder(place, stride) == 0
            return present & ~into, present & into
        beyond = alike + (1 - self.margin)
        near = torch.where(beyond >= 0, alike + 1, beyond.exp() - 1)
        energy = torch.where(present.unsqueeze(1), near, 0.0).sum(-1)  # [G, W]; times the members, all alike
        rank = _ranks(torch.where(present, energy, LEAST), place)
        targets = torch.floor_divide(leaving + (stride - 2), max(stride - 1, 1))
        taking_part = present & (rank < leaving + targets)
        into = torch.remainder(rank, stride) == 0
        return taking_part & ~into, taking_part & into


def _ranks(values: Tensor, place: Tensor) -> Tensor:
    """How many of a group come before each, the largest value first, of equal ones the first: values [G, W], place [W]
    -> [G, W] int32"""
    one, other = values.unsqueeze(2), values.unsqueeze(1)
    before = (other > one) | ((other == one) & (place.unsqueeze(0) < place.unsqueeze(1)))
    return before.to(torch.int32).sum(-1, dtype=torch.int32)
