"""The suite on another backend's engines, built on this machine from the same small model; for a person with a device.

NAVIT_EDGE_CONFORMANCE_BACKEND names the backend, NAVIT_EDGE_CONFORMANCE_PRECISIONS its precisions (fp16,bf16). An
engine of each then takes the place of OpenVINO's. scripts/gpu_check.py sets both.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

TOKENS = 1024


def engines() -> list[str]:
    """ "tensorrt:fp16" for each precision that is asked for; empty where nothing is."""
    backend = os.environ.get("NAVIT_EDGE_CONFORMANCE_BACKEND")
    precisions = os.environ.get("NAVIT_EDGE_CONFORMANCE_PRECISIONS", "fp16").split(",")
    return [f"{backend}:{precision}" for precision in precisions] if backend else []


def build(name: str, tiny_bundle: Path, folder: Path, *, tokens: int = TOKENS) -> tuple[Path, str]:
    """Builds the engine ``name`` of `engines` in a copy of the bundle, with one budget of ``tokens``: (copy, id)."""
    from navit_edge.compile import BuildRequest, build_engines

    backend, _, precision = name.partition(":")
    bundle = Path(shutil.copytree(tiny_bundle, folder / "built here.navit"))
    request = BuildRequest(
        backend=backend,
        precision=(precision,),
        token_budgets=(tokens,),
        targets=("native",) if backend == "tensorrt-rtx" else (),
        force=True,
    )
    (engine, *_) = build_engines(bundle, request)
    return bundle, engine.id


def limits_name(precision: str, device: str) -> str:
    """Which limits hold: an fp32 engine of a GPU has its attention in 16 bits (docs/build-engine.md)."""
    return precision if device.startswith("CPU") or precision != "fp32" else "fp16"
