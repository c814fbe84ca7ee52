"""What Ray says of the process that this is."""

from __future__ import annotations

import sys
from typing import Any


def assigned() -> dict[str, Any]:
    """Arguments of ``navit_edge.Session`` by what the actor was given: ``threads`` its CPUs, ``device`` "gpu" if it has
    one, else "cpu". Empty outside of an actor."""
    if "ray" not in sys.modules:
        return {}
    import ray

    if not ray.is_initialized():
        return {}
    context = ray.get_runtime_context()
    if context.get_actor_id() is None:
        return {}
    resources: dict[str, float] = context.get_assigned_resources()
    gpu = resources.get("GPU", 0) > 0
    return {"threads": max(1, int(resources.get("CPU", 1))), "device": "gpu" if gpu else "cpu"}
