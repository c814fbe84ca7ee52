"""How far the numbers of one engine may lie from the same numbers computed otherwise; tokens reach 4.3, logits 2."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    packing: float  # packed against alone: the same operations on tensors of other shapes
    pytorch: float  # against PyTorch in float32


LIMITS = {
    "fp32": Limits(packing=2e-5, pytorch=2e-5),
    "bf16": Limits(packing=0.015, pytorch=0.03),
    # Three bits more than bf16: an eighth of its limits, doubled, since no device has been measured so far.
    "fp16": Limits(packing=0.004, pytorch=0.008),
    "int8": Limits(packing=0.015, pytorch=0.15),
}
