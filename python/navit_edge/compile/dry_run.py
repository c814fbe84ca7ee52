"""What a request would build, without building it: engines, shapes, the precision of each node, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from navit_edge.compile.request import BuildRequest
from navit_edge.compile.runner import plan_builds


def describe(bundle: Path, request: BuildRequest) -> list[dict[str, Any]]:
    """One object for each engine, best first, of plain values.

    Raises what ``build_engines`` raises before its first build: a request that cannot be built is refused here too.
    """
    engines: list[dict[str, Any]] = []
    for item in plan_builds(bundle, request):
        job, preview = item.job, item.preview()
        for engine, key in zip(job.engines, item.keys, strict=True):
            standing = next((found for found in item.standing if found.id == engine.id), None)
            engines.append(
                {
                    "id": engine.id,
                    "backend": job.backend,
                    "target": engine.target,
                    "precision": engine.precision,
                    "graph": job.graph.id,
                    "group": msgspec.to_builtins(engine.group),
                    "lowering": job.graph.lowering,
                    "lowering_reason": job.lowering_reason,
                    "file": f"engines/{job.name}.{job.extension}" if standing is None else standing.file,
                    "key": key,
                    "already_built": standing is not None,
                    "profiles": [
                        {
                            "tokens": budget.tokens,
                            "images": budget.images,
                            "shapes": {name: msgspec.to_builtins(profile) for name, profile in shapes.items()},
                        }
                        for budget, shapes in zip(job.budgets, preview.profiles, strict=True)
                    ],
                    "precision_map": preview.precisions,
                    "operators": preview.operators,
                    "settings": job.settings(),
                    "options": engine.options,
                    "versions": job.versions,
                    "notes": list(job.notes),
                }
            )
    return engines
