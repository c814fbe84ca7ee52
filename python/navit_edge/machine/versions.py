"""Version numbers as NVIDIA's libraries give them, in words."""

from __future__ import annotations

import re


def cuda_version(number: int) -> str:
    """12080 -> "12.8"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def tensorrt_version(number: int) -> str:
    """What getInferLibVersion gives: 101501 -> "10.15.1"; before 10, 8601 -> "8.6.1"."""
    if number < 10000:
        return f"{number // 1000}.{number % 1000 // 100}.{number % 100}"
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"


def rtx_version(number: int) -> str:
    """What TensorRT-RTX's getInferLibVersion gives: 1701 or 10701 -> "1.7.1"."""
    unit = 10000 if number >= 10000 else 1000
    return f"{number // unit}.{number % unit // 100}.{number % 100}"


def as_numbers(version: str) -> tuple[int, ...]:
    """ "10.15.1" -> (10, 15, 1), to be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
