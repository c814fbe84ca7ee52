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
    bundle: Path, target: Path, plans: Mapping[str, bytes], *, budgets: Sequence[tuple[int, int]], target_name: str,
    version: str,
) -> None:  # fmt: skip
    """A copy of a bundle whose only engines are these plans, as if TensorRT ``version`` had built them for a GPU that
    is named as "sm89"."""
    manifest = manifests.load(bundle)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns("engines"))
    (target / "engines").mkdir()
    graph = next((graph for graph in manifest.graphs if graph.lowering == "masked"), manifest.graphs[0])
    engines = []
    for name, plan in plans.items():
        engine = Engine(
            id=name, backend="tensorrt", target=target_name, precision="fp32", graph=graph.id,
            strategy="first-fit-decreasing", dynamic_tokens=False, file=f"engines/{name}.plan",
            budgets=tuple(Budget(tokens=t, images=n, target_tokens=t) for t, n in budgets),
            builder={"tensorrt": version},
        )  # fmt: skip
        (target / engine.file).write_bytes(plan)
        engines.append(engine)
    publish.seal(target, msgspec.structs.replace(manifest, engines=tuple(engines)))
