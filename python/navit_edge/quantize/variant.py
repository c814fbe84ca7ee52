"""The float graphs of a bundle as they are quantized: as they were exported, or smoothed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from navit_edge.oracle.packs import Pack, Values
from navit_edge.quantize import calibration
from navit_edge.quantize.channels import Channels
from navit_edge.quantize.layers import Layer
from navit_edge.quantize.qdq import insert, weight_scales
from navit_edge.quantize.request import QuantizeRequest

if TYPE_CHECKING:
    import onnx


@dataclass(kw_only=True, eq=False)
class Variant:
    """Graphs that compute the same function, and once calibrated, the scales of their layers."""

    judge: str  # id of the graph that runs
    directory: Path  # where the weights of the graphs lie
    models: Mapping[str, onnx.ModelProto]  # by id of graph
    layers_of: Mapping[str, Sequence[Layer]]
    weights: Values  # by layer
    precision: str
    histograms: dict[str, calibration.Histogram] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    channel_scales: Values = field(default_factory=dict)

    @property
    def model(self) -> onnx.ModelProto:
        """The graph that runs."""
        return self.models[self.judge]

    @property
    def layers(self) -> Sequence[Layer]:
        return self.layers_of[self.judge]

    def calibrate(
        self,
        packs: Sequence[Pack],
        request: QuantizeRequest,
        progress: Callable[[int, int], None],
        channels: dict[str, Channels] | None = None,
    ) -> None:
        """Finds the scales. Raises BundleError if a value is not finite. ``channels``: see ``calibration.observe``."""
        self.histograms = calibration.observe(self.model, self.directory, self.layers, packs, progress, channels)
        self.scales = calibration.choose_scales(self.histograms, request.method, self.precision, request.percentile)
        self.channel_scales = {
            layer.name: weight_scales(self.weights[layer.name], layer.axis, self.precision) for layer in self.layers
        }

    def quantized(self, graph_id: str, names: set[str]) -> onnx.ModelProto:
        """A graph with the layers of these names quantized."""
        own = [layer for layer in self.layers_of[graph_id] if layer.name in names]
        return insert(self.models[graph_id], own, self.scales, self.channel_scales, self.precision)
