"""The largest token budget whose engine runs in a process of so much memory: by the prediction of docs/memory.md."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from navit_edge import _core
from navit_edge.bundle.manifest import Manifest
from navit_edge.compile.common import find_graph, quantization_of
from navit_edge.compile.request import BuildRequest
from navit_edge.errors import InvalidInputError
from navit_edge.machine.cores import usable_cores
from navit_edge.memory import PROCESS_BYTES

_LEAST_TOKENS = 64


def within_memory(bundle: Path, manifest: Manifest, request: BuildRequest) -> BuildRequest:
    """``request`` with the largest budget, of OpenVINO, that keeps a process of one session under its ``memory_bytes``.

    Raises InvalidInputError: none does; the message has the numbers.
    """
    from navit_edge.compile.openvino import (
        DEFAULT_MAX_IMAGES,
        DEFAULT_MAX_TOKENS,
        TARGET_TOKENS,
        cpu_precisions,
        lowering_of,
    )

    most = request.memory_bytes
    if not most:
        return request

    def needed(tokens: int) -> int:
        images = min(max(request.max_images, default=DEFAULT_MAX_IMAGES), tokens)
        return PROCESS_BYTES + max(
            _core.planned_memory(
                str(bundle),
                find_graph(manifest, lowering_of(request), quantization_of(precision)).id,
                precision,
                manifest.model.parameters * (1 if precision == "int8" else 4),
                tokens=tokens,
                images=images,
                target=min(TARGET_TOKENS, tokens),
                threads=usable_cores(),
            )
            for precision in request.precision or cpu_precisions()
        )

    low, high = _LEAST_TOKENS, max(request.token_budgets, default=DEFAULT_MAX_TOKENS)
    least = needed(min(low, high))
    if least > most:
        raise InvalidInputError(
            f"memory {most >> 20} MiB; a process with an engine of {min(low, high)} tokens needs "
            f"{-(-least >> 20)} MiB, "
            "libraries and weights among them; expected at least that, or --precision with fewer bytes per weight"
        )
    while high - low > 16:
        middle = (low + high) // 32 * 16
        low, high = (middle, high) if needed(middle) <= most else (low, middle)
    tokens = high if needed(high) <= most else low
    return dataclasses.replace(request, token_budgets=(tokens,), memory_bytes=0)
