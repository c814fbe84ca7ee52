"""16-bit arithmetic in training: autocast, and the scaling of losses that float16 needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from navit_edge.errors import InvalidInputError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
#: Of losses in float16. Less than PyTorch's first one: gradients are of a sum over a pack's images, not of their mean.
FIRST_SCALE = 2.0**8


class Precision:
    """What a training computes in. Parameters, gradients and optimizer stay in float32."""

    def __init__(self, kind: str, device: torch.device) -> None:
        if kind not in PRECISIONS:
            raise InvalidInputError(f'precision "{kind}" is unknown; expected one of {", ".join(PRECISIONS)}')
        self.dtype = PRECISIONS[kind]
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, init_scale=FIRST_SCALE, enabled=kind == "fp16")

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """Around the forward pass. cuDNN's attention is left out on a GPU: it makes a plan for each new shape, and
        packs hardly ever have one of before."""
        with contextlib.ExitStack() as stack:
            if self.dtype is not None:
                stack.enter_context(torch.autocast(self.device.type, dtype=self.dtype))
            if self.device.type == "cuda":
                stack.enter_context(sdpa_kernel(ATTENTION))
            yield
