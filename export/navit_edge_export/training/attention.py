"""What a model attends to: how healthy its attention is, and which patches count least.

Letters: T tokens in a pack, N images, H heads, dh = D / H. Scores are computed again, image by image, from the queries
and keys of a pass: memory for one image's at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.training.loader import TrainingPack
from navit_edge_export.training.randomness import generator
from navit_edge_export.training.token_drop import choose_patches, keep_tokens

#: A head is dead if what it gives is less than this share of what the largest one of its layer gives.
DEAD_SHARE = 1e-3


@dataclass(kw_only=True)
class Seen:
    """One layer's queries and keys [T, H, dh], after their norms, and what its heads give [T, H * dh]."""

    scale: float | Tensor  # or [H, 1, 1]
    heads: int
    query: Tensor = field(default_factory=lambda: torch.empty(0))
    key: Tensor = field(default_factory=lambda: torch.empty(0))
    mixed: Tensor = field(default_factory=lambda: torch.empty(0))

    def scores(self, start: int, stop: int) -> Tensor:
        """[H, n, n] float32 of the tokens start..stop-1, which are one image's."""
        query, key = self.query[start:stop].float(), self.key[start:stop].float()
        if key.shape[1] != query.shape[1]:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        return (query.transpose(0, 1) * self.scale) @ key.permute(1, 2, 0)


class AttentionHealth(NamedTuple):
    """Of some images of one pack. max_logit: the largest score of all layers. entropy: of attention, the mean over
    layers, heads and tokens, as a share of the largest possible one; least_entropy: of the head that has least.
    dead_heads: heads that give next to nothing."""

    max_logit: float
    entropy: float
    least_entropy: float
    dead_heads: int


@contextmanager
def watched(model: PackedModel, *, last_only: bool = False) -> Iterator[list[Seen]]:
    """While it is open, passes of the model fill what is yielded: a Seen for each block, or for the last one.

    Raises InvalidInputError for a model that turns queries and keys by their positions: its scores are others.
    """
    if model.rotary is not None:
        raise InvalidInputError("attention cannot be watched in a model with rotary positions; expected added ones")
    blocks = list(model.blocks)[-1:] if last_only else list(model.blocks)
    seen: list[Seen] = []
    hooks = []
    for block in blocks:
        attention = block.attention
        assert isinstance(attention, SelfAttention)
        learned = attention.logit_scale
        scale = attention.scale if learned is None else attention.scale * learned.detach().exp().view(-1, 1, 1)
        own = Seen(scale=scale, heads=attention.heads)
        seen.append(own)
        hooks += [
            attention.query_norm.register_forward_hook(_keep(own, "query")),
            attention.key_norm.register_forward_hook(_keep(own, "key")),
            attention.proj.register_forward_pre_hook(_keep_input(own)),
        ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation, so that nothing is left out at random; then as before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _keep(own: Seen, name: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        del module, inputs
        setattr(own, name, output.detach())

    return hook


def _keep_input(own: Seen) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor]) -> None:
        del module
        own.mixed = inputs[0].detach()

    return hook


@torch.no_grad()
def attention_health(
    model: PackedModel, pack: TrainingPack, *, lowering: str, device: torch.device, most_images: int = 4
) -> AttentionHealth:
    """Of the first images of a pack; one more pass of the model."""
    with evaluating(model), watched(model) as seen:
        model(**pack.inputs(lowering, device))
    ends = pack.pack.cu_seqlens[: most_images + 1].tolist()
    largest, dead = -np.inf, 0
    entropies = []
    for layer in seen:
        own = torch.zeros(layer.heads, dtype=torch.float64)
        for start, stop in itertools.pairwise(ends):
            scores = layer.scores(start, stop)
            largest = max(largest, float(scores.max()))
            logs = scores.log_softmax(-1)
            most = np.log(max(stop - start, 2))
            own += (-(logs.exp() * logs).sum(-1).mean(1) / most).double().cpu()
        entropies.append(own / (len(ends) - 1))
        given = layer.mixed.float().view(len(layer.mixed), layer.heads, -1).pow(2).mean((0, 2)).sqrt()
        dead += int((given <= DEAD_SHARE * given.max()).sum())
    all_heads = torch.stack(entropies)
    return AttentionHealth(
        max_logit=largest, entropy=float(all_heads.mean()), least_entropy=float(all_heads.min()), dead_heads=dead
    )


@torch.no_grad()
def attention_received(
    model: PackedModel, pack: TrainingPack, *, lowering: str, device: torch.device
) -> npt.NDArray[np.float64]:
    """[T]: how much the tokens of its image attend to a token in the last block, the mean over heads and tokens. An
    image's sum to 1."""
    with evaluating(model), watched(model, last_only=True) as seen:
        model(**pack.inputs(lowering, device))
    received = np.zeros(len(pack.pack.patches))
    for start, stop in itertools.pairwise(pack.pack.cu_seqlens.tolist()):
        received[start:stop] = seen[0].scores(start, stop).softmax(-1).mean((0, 1)).double().cpu().numpy()
    return received


def drop_by_attention(
    model: PackedModel, pack: TrainingPack, *, lowering: str, device: torch.device, seed: int
) -> TrainingPack:
    """A whole pack without the patches that its plan drops: those that receive least attention are the likeliest."""
    kept = [image.kept for image in pack.images]
    if all(image.kept == image.rows * image.columns for image in pack.images):
        return pack
    received = attention_received(model, pack, lowering=lowering, device=device)
    rng = generator(seed, "patches", *pack.number)
    prefix = model.config.prefix_tokens
    chosen = []
    for image, start, count in zip(pack.images, pack.pack.cu_seqlens.tolist(), kept, strict=False):
        scores = received[start + prefix : start + prefix + image.rows * image.columns]
        chosen.append(choose_patches(image.rows, image.columns, count, "attention", rng, scores))
    return TrainingPack(**{**vars(pack), "pack": keep_tokens(pack.pack, chosen)})
