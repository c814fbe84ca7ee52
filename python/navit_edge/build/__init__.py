"""build-engine: ONNX graphs and manifest in, compiled engines out. Needs no torch, so it runs on the target itself."""

from __future__ import annotations

from navit_edge.build.compiler_options import CompilerOptions
from navit_edge.build.job import Event
from navit_edge.build.request import BuildRequest
from navit_edge.build.runner import build_engines

__all__ = ["BuildRequest", "CompilerOptions", "Event", "build_engines"]
