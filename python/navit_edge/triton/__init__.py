"""A bundle as a model of NVIDIA's Triton Inference Server: ``navit-edge export-triton`` (docs/triton.md)."""

from __future__ import annotations

from navit_edge.triton.repository import Exported, ExportRequest, export_repository

__all__ = ["ExportRequest", "Exported", "export_repository"]
