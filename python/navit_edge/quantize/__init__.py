"""Quantized graphs: Q/DQ around the linear layers of a bundle's graphs, with scales from real images.

``quantize_bundle`` is the whole of it; ``docs/quantize.md`` says what is quantized and why. Needs onnx, onnxruntime
and polygraphy, no torch.
"""

from __future__ import annotations

from navit_edge.quantize.report import QuantizeReport
from navit_edge.quantize.request import QuantizeRequest
from navit_edge.quantize.runner import Quantized, quantize_bundle
from navit_edge.quantize.work import Progress

__all__ = ["Progress", "QuantizeReport", "QuantizeRequest", "Quantized", "quantize_bundle"]
