"""What is minimized: a model and its losses as one module, so that DistributedDataParallel wraps both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.training.distillation import Distillation
from navit_edge_export.training.drop_path import DropPath
from navit_edge_export.training.losses import classification_loss


class Losses(NamedTuple):
    """each: [N], with its graph. logits: [N, classes] without."""

    each: Tensor
    logits: Tensor


class Objective(nn.Module):
    """Classification, distillation or both: classification_weight * loss + distillation_weight * (1 - cos)."""

    def __init__(
        self,
        model: PackedModel,
        *,
        loss: str = "softmax",
        smoothing: float = 0.0,
        drop_path: float = 0.0,
        distillation: Distillation | None = None,
        distillation_weight: float = 1.0,
        classification_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if model.head is None:
            raise InvalidInputError("the model has no classifier; expected num_classes of 1 or more")
        self.model = model
        self.loss = loss
        self.smoothing = smoothing
        self.distillation = distillation
        self.weights = (classification_weight, distillation_weight)
        self.drop_path = DropPath(model, drop_path)

    def forward(
        self, inputs: dict[str, Tensor], targets: Tensor, examples: Sequence[int], path_seed: int = 0
    ) -> Losses:
        """inputs of one pack, targets [N, classes], the numbers of its images in the dataset -> losses of each image.

        path_seed: which residual branches are left out.
        """
        if self.training:
            self.drop_path.draw(inputs["segment_ids"], len(targets), path_seed)
        outputs = self.model(**inputs)
        each = self.weights[0] * classification_loss(
            outputs["logits"], targets, kind=self.loss, smoothing=self.smoothing
        )
        if self.distillation is not None:
            each = each + self.weights[1] * self.distillation(outputs["embedding"], examples)
        return Losses(each=each, logits=outputs["logits"].detach())


@torch.no_grad()
def gradient_norm(module: nn.Module) -> float:
    """The 2-norm of all gradients together."""
    norms = [p.grad.float().norm() for p in module.parameters() if p.grad is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
