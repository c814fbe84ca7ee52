"""Import it before timm, transformers or vit-pytorch, which import torchvision. Its wheel for this torch wants CUDA's:
without its compiled operators it imports, once the operators that it registers fake kernels for are declared."""

from __future__ import annotations

import torch

_TORCHVISION = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _TORCHVISION.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
