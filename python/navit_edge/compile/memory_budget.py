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

    highest = max(request.token_budgets, default=DEFAULT_MAX_TOKENS)
    tried = [min(_LEAST_TOKENS << k, highest) for k in range(highest.bit_length())]
    need = {tokens: needed(tokens) for tokens in tried}  # it may fall, too: smaller packs resize by other rules
    fitting = [tokens for tokens in tried if need[tokens] <= most]
    if not fitting:
        least = min(tried, key=lambda tokens: need[tokens])
        raise InvalidInputError(
            f"memory {most >> 20} MiB; a process with an engine of {least} tokens needs {-(-need[least] >> 20)} MiB, "
            "libraries and weights among them; expected at least that, or --precision with fewer bytes per weight"
        )
    tokens = fitting[-1]
    high = min((one for one in tried if one > tokens), default=tokens)
    while high - tokens > 16:
        middle = (tokens + high) // 32 * 16
        tokens, high = (middle, high) if needed(middle) <= most else (tokens, middle)
    return dataclasses.replace(request, token_budgets=(tokens,), memory_bytes=0)
