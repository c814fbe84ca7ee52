"""build-engine: ONNX graphs and manifest in, compiled engines out. Needs no torch, so it runs on the target itself."""

from __future__ import annotations

from navit_edge.compile.compiler_options import CompilerOptions
from navit_edge.compile.job import Event
from navit_edge.compile.request import BuildRequest
from navit_edge.compile.runner import build_engines

__all__ = ["BuildRequest", "CompilerOptions", "Event", "build_engines"]
