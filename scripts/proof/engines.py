"""A copy of a bundle with engines of the back end "tensorrt", whoever made their plans."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle import publish
from navit_edge.bundle.manifest import Budget, Engine


def copy_with_engines(
    bundle: Path, target: Path, plans: Mapping[str, bytes], *, budgets: Sequence[tuple[int, int]], capability: int,
    version: str,
) -> None:  # fmt: skip
    """A copy of a bundle whose only engines are these plans, as if TensorRT ``version`` had built them."""
    manifest = manifests.load(bundle)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bundle, target)
    (target / "engines").mkdir(exist_ok=True)
    graph = next(graph for graph in manifest.graphs if graph.lowering == "masked")
    engines = []
    for name, plan in plans.items():
        engine = Engine(
            id=name, backend="tensorrt", target=f"sm{capability}", precision="fp32", graph=graph.id,
            strategy="first-fit-decreasing", dynamic_tokens=False, file=f"engines/{name}.plan",
            budgets=tuple(Budget(tokens=t, images=n, target_tokens=t) for t, n in budgets),
            builder={"tensorrt": version},
        )  # fmt: skip
        (target / engine.file).write_bytes(plan)
        engines.append(engine)
    publish.seal(target, msgspec.structs.replace(manifest, engines=tuple(engines)))
