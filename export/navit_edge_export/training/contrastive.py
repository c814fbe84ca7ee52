"""Contrastive losses over more images than memory holds scores for, or passes through the model for.

Letters: N images, D width. Pairs are rows of one index. Sources: sigmoid, Zhai et al. (SigLIP, arXiv:2303.15343);
softmax, Radford et al. (CLIP, arXiv:2103.00020); packs, Gao et al. (GradCache, arXiv:2101.06983). NaViT's section 2.2
computes the loss in chunks for the same reason: a pack holds many images, and a step many packs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from navit_edge.errors import InvalidInputError

KINDS = ("sigmoid", "softmax")


class ContrastiveLoss(nn.Module):
    """Between two sets of embeddings; temperature and bias are learned.

    Scores are t x_i . y_j + b of normalized rows, t = exp(log_scale). sigmoid: the mean over i of
    sum over j of -log sigmoid(z_ij s_ij), z = 1 for pairs and -1 else. softmax: the mean of both directions'
    cross-entropy; b does not matter there.

    chunk: rows of y that scores are computed for at a time: N * chunk of memory, forward and backward. The result is
        the same up to rounding.
    """

    def __init__(self, *, kind: str = "sigmoid", chunk: int = 1024) -> None:
        super().__init__()
        if kind not in KINDS:
            raise InvalidInputError(f'contrastive loss "{kind}" is unknown; expected one of {", ".join(KINDS)}')
        if chunk < 1:
            raise InvalidInputError(f"contrastive loss: chunk is {chunk}; expected at least 1")
        self.kind = kind
        self.chunk = chunk
        self.log_scale = nn.Parameter(torch.tensor(10.0 if kind == "sigmoid" else 1 / 0.07).log())
        self.bias = nn.Parameter(torch.tensor(-10.0 if kind == "sigmoid" else 0.0))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """left, right [N, D] -> a number, float32"""
        x, y = functional.normalize(left.float(), dim=1), functional.normalize(right.float(), dim=1)
        part = _sigmoid_part if self.kind == "sigmoid" else _softmax_part
        parts = [
            checkpoint(part, x, y[start : start + self.chunk], start, self.log_scale, self.bias, use_reentrant=False)
            for start in range(0, len(y), self.chunk)
        ]
        if self.kind == "sigmoid":
            return torch.stack(parts).sum() / len(x)
        rows = torch.stack([one[0] for one in parts]).logsumexp(0)  # [N]
        columns, pairs = (torch.cat([one[k] for one in parts]) for k in (1, 2))
        return (0.5 * (rows + columns) - pairs).mean()


def _scores(x: Tensor, y: Tensor, start: int, log_scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """(scores [N, chunk], which of them are pairs)"""
    scores = x @ y.T * log_scale.exp() + bias
    own = torch.arange(len(x), device=x.device).unsqueeze(1) == torch.arange(start, start + len(y), device=x.device)
    return scores, own


def _sigmoid_part(x: Tensor, y: Tensor, start: int, log_scale: Tensor, bias: Tensor) -> Tensor:
    scores, own = _scores(x, y, start, log_scale, bias)
    return -functional.logsigmoid(torch.where(own, scores, -scores)).sum()


def _softmax_part(x: Tensor, y: Tensor, start: int, log_scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scores, own = _scores(x, y, start, log_scale, bias)
    return scores.logsumexp(1), scores.logsumexp(0), torch.where(own, scores, 0.0).sum(0)


def backward_through_packs(
    embed: Sequence[Callable[[], Tensor]], others: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Gradients of a loss over the images of several packs, with one pack in memory at a time.

    embed: a function for each pack that gives its embeddings [N of the pack, D], the same each time it is called (draw
        what is random from a fixed seed).
    others: [N of all, D] what the embeddings are compared with; its gradient is computed too if it asks for one.

    Each pack passes through the model twice: without a graph for the loss, and once more for its gradients. Returns the
    loss; parameters have the gradients of one pass over everything.
    """
    with torch.no_grad():
        parts = [one() for one in embed]
    together = torch.cat(parts).requires_grad_()
    value = loss(together, others)
    value.backward()  # type: ignore[no-untyped-call]
    assert together.grad is not None
    gradients = torch.split(together.grad, [len(part) for part in parts])
    for one, gradient in zip(embed, gradients, strict=True):
        one().backward(gradient)  # type: ignore[no-untyped-call]
    return value.detach()
