"""Which kernels an engine's attention became, by the names that TensorRT's inspector gives its layers.

Only a machine that can open the engine can be asked: `tensorrt` builds on one, ahead-of-time builds do not. Names are
evidence and no promise of the library: they may add a "fused" if memory decides nothing, and never take one away.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from navit_edge.compile.fusion import Fusion

#: As TensorRT 10 and 11 name fused attention: "_gemm_mha_v2", "fmha_v2_flash_attention", "/layers.0/mha", "IAttention".
_FUSED = re.compile(r"mha|flash_?attention|iattention", re.IGNORECASE)
_MOST_NAMES = 64


def layer_names(trt: Any, plan: Any, log: Any) -> list[str]:
    """Names of the engine's layers, in order. Raises RuntimeError where it cannot be opened or names none."""
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise RuntimeError(f"the engine does not open here: {log.last_error()}")
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = json.loads(text)["Layers"]
        names = [layer if isinstance(layer, str) else str(layer["Name"]) for layer in layers]
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"the inspector's answer has another form: {error}") from error
    if not names:
        raise RuntimeError("the inspector names no layer; build with --profiling-verbosity layer_names_only")
    return names


def describe(trt: Any, plan: Any, log: Any) -> dict[str, Any]:
    """For the build report: {"layers": count, "attention_kernels": names}, or {"inspector": why there is nothing}."""
    try:
        names = layer_names(trt, plan, log)
    except (RuntimeError, AttributeError) as error:  # a library without the one or the other
        return {"inspector": str(error)}
    return {"layers": len(names), "attention_kernels": [name for name in names if _FUSED.search(name)][:_MOST_NAMES]}


def add_evidence(found: Fusion, details: dict[str, Any], depth: int) -> Fusion:
    """``found`` with what the names say; fused if memory left it open and each of ``depth`` layers has a kernel."""
    kernels = details.get("attention_kernels")
    if not kernels:
        return found
    words = f"the inspector names {len(kernels)} kernels of fused attention, such as {kernels[0]}"
    if found.fused is None and len(kernels) >= depth:
        return msgspec.structs.replace(found, fused=True, method="inspector", evidence=f"{words}; {found.evidence}")
    return msgspec.structs.replace(found, evidence=f"{found.evidence}; {words}")
