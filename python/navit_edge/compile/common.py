"""What the builders share."""

from __future__ import annotations

import importlib.metadata
import os
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from navit_edge.bundle.manifest import Budget, Graph, Manifest
from navit_edge.bundle.sizing_rule import most_tokens
from navit_edge.errors import BundleError
from navit_edge.vocabulary import QUANTIZED


def quantization_of(precision: str) -> str:
    """The quantization of the graph that an engine of ``precision`` is built from: "none", "int8" or "fp8"."""
    return precision if precision in QUANTIZED else "none"


def find_graph(manifest: Manifest, lowering: str, quantization: str = "none") -> Graph:
    """The bundle's graph of a lowering. Raises BundleError, naming what there is and the command that makes it."""
    for graph in manifest.graphs:
        if graph.lowering == lowering and graph.quantization == quantization:
            return graph
    if quantization != "none":
        there = ", ".join(graph.id for graph in manifest.graphs) or "none"
        raise BundleError(
            f"the bundle has no {lowering} graph in {quantization}, only {there}; make one: "
            f"navit-edge quantize BUNDLE --calibration DIR --precision {quantization}"
        )
    found = ", ".join(graph.lowering for graph in manifest.graphs) or "none"
    raise BundleError(f"the bundle has no graph of the lowering {lowering!r}, only {found}; export the model again")


def package_version(*names: str) -> str:
    """Version of the first of these distributions that is installed, or "unknown"."""
    installed = (found for name in names for found in importlib.metadata.distributions(name=name))
    return next((distribution.version for distribution in installed), "unknown")


def cap_note(manifest: Manifest, budgets: Sequence[Budget]) -> tuple[str, ...]:
    """A warning if the largest image that preprocessing lets through fits no budget."""
    most = most_tokens(manifest.preprocess.sizing, manifest.preprocess.patch_px)
    if most is None:
        return ()
    longest = most + manifest.model.prefix_tokens
    largest = max(budget.tokens for budget in budgets)
    if longest <= largest:
        return ()
    return (
        f"the largest budget is {largest} tokens, but preprocessing lets images of {longest} through; such images will "
        "be refused; give a larger --token-budgets or run with a lower max_tokens_per_image",
    )


#: What a build's process takes over of the caller's environment: what finds programs, libraries and devices.
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG")
_ENVIRONMENT_PREFIXES = ("LC_", "LD_", "PYTHON", "CUDA", "NV", "TRT_", "TENSORRT", "OPENVINO", "OV_", "NAVIT_EDGE_")


def worker_environment() -> dict[str, str]:
    """For processes that build: they import this very package, wherever it was imported from.

    Nothing else of the caller's is handed on than what a build may need, and strings hash alike in every process.
    TensorRT-RTX 1.7 puts an engine's outputs in the order of their addresses, which the size of the environment moves:
    the same build would come out in two forms.
    """
    here = str(Path(__file__).resolve().parents[2])
    installed = {os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = {
        name: value
        for name, value in sorted(os.environ.items())
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    paths = os.pathsep.join([*([] if here in installed else [here]), *given])
    return {**kept, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"}
