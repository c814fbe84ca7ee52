"""What the builders share."""

from __future__ import annotations

import importlib.metadata
import os
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from navit_edge.errors import BundleError
from navit_edge.manifest import Budget, Graph, Manifest


def find_graph(manifest: Manifest, lowering: str) -> Graph:
    """The bundle's graph of a lowering. Raises BundleError, naming what there is."""
    for graph in manifest.graphs:
        if graph.lowering == lowering:
            return graph
    found = ", ".join(graph.lowering for graph in manifest.graphs) or "none"
    raise BundleError(f"the bundle has no graph of the lowering {lowering!r}, only {found}; export the model again")


def package_version(*names: str) -> str:
    """Version of the first of these distributions that is installed, or "unknown"."""
    installed = (found for name in names for found in importlib.metadata.distributions(name=name))
    return next((distribution.version for distribution in installed), "unknown")


def cap_note(manifest: Manifest, budgets: Sequence[Budget]) -> tuple[str, ...]:
    """A warning where the largest image that preprocessing lets through fits no budget."""
    sizing = manifest.preprocess.sizing
    if sizing.rule != "token-cap":
        return ()
    longest = sizing.max_tokens + manifest.model.prefix_tokens
    largest = max(budget.tokens for budget in budgets)
    if longest <= largest:
        return ()
    return (
        f"the largest budget is {largest} tokens, but preprocessing lets images of {longest} through; such images will "
        "be refused; give a larger --token-budgets or run with a lower max_tokens_per_image",
    )


def worker_environment() -> dict[str, str]:
    """For processes that build: they import this very package, wherever it was imported from."""
    here = str(Path(__file__).resolve().parents[2])
    installed = {os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*([] if here in installed else [here]), *given])}
