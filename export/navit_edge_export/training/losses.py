"""Losses of one image each, so that packs of any size add up to the same mean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from navit_edge.errors import InvalidInputError

CLASSIFICATIONS = ("softmax", "sigmoid")


def classification_loss(logits: Tensor, targets: Tensor, *, kind: str = "softmax", smoothing: float = 0.0) -> Tensor:
    """logits, targets [N, classes] -> [N], float32.

    softmax: cross-entropy. sigmoid: binary cross-entropy of each class, summed, as NaViT's classifier is trained.
    smoothing: targets become (1 - s) targets + s / classes.
    """
    if kind not in CLASSIFICATIONS:
        raise InvalidInputError(f'loss "{kind}" is unknown; expected one of {", ".join(CLASSIFICATIONS)}')
    smooth = targets * (1 - smoothing) + smoothing / targets.shape[1]
    if kind == "sigmoid":
        return functional.binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none").sum(1)
    return -(smooth * logits.float().log_softmax(1)).sum(1)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cos of the angle between the rows: [N, D], [N, D] -> [N], float32."""
    return 1 - functional.cosine_similarity(student.float(), teacher.float(), dim=1)


@torch.no_grad()
def correct(logits: Tensor, targets: Tensor) -> int:
    """How many images have their largest logit where their target is largest."""
    return int((logits.argmax(1) == targets.argmax(1)).sum())
