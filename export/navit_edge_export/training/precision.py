"""16-bit arithmetic in training: autocast, and the scaling of losses that float16 needs."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from navit_edge.errors import InvalidInputError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """What a training computes in. Parameters, gradients and optimizer stay in float32."""

    def __init__(self, kind: str, device: torch.device) -> None:
        if kind not in PRECISIONS:
            raise InvalidInputError(f'precision "{kind}" is unknown; expected one of {", ".join(PRECISIONS)}')
        self.dtype = PRECISIONS[kind]
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=kind == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """For the forward pass."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)
