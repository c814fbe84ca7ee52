"""The float graphs of a bundle as they are quantized: as they were exported, or smoothed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from navit_edge.oracle.packs import Pack, Values
from navit_edge.quantize import calibration
from navit_edge.quantize.channels import Channels
from navit_edge.quantize.layers import Constants, Layer
from navit_edge.quantize.qdq import insert, rounded_to, weight_scales
from navit_edge.quantize.request import QuantizeRequest
from navit_edge.quantize.wiring import Wiring

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
    biases: Values = field(default_factory=dict)  # that take the place of the layers' own

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

    def correct_biases(self, channels: Mapping[str, Channels]) -> None:
        """Takes the mean error of each layer's output out of its bias (Nagel et al. 2019, arXiv:1906.04721, 4.2).

        channels: Of what the layers read.
        """
        wiring, constants = Wiring(self.model), Constants(self.model, self.directory)
        for layer in self.layers:
            place = wiring.bias(self.model.graph.node[layer.node])
            if place is None or layer.activation not in channels:
                continue
            value, weight = channels[layer.activation].rows, self.weights[layer.name]
            rounded = rounded_to(value, self.scales[layer.name], self.precision)
            steps = np.expand_dims(self.channel_scales[layer.name], 1 - layer.axis)
            mean, mean_rounded = value.mean(axis=0), rounded.mean(axis=0)
            matrix = rounded_to(weight, steps, self.precision)
            error = mean_rounded @ matrix - mean @ weight if layer.axis else matrix @ mean_rounded - weight @ mean
            node, index = place
            name = node.input[index] if len(node.input) > index else ""
            self.biases[layer.name] = np.asarray((constants[name] if name else 0.0) - error, np.float32)

    def quantized(self, graph_id: str, names: set[str]) -> onnx.ModelProto:
        """A graph with the layers of these names quantized."""
        own = [layer for layer in self.layers_of[graph_id] if layer.name in names]
        return insert(self.models[graph_id], own, self.scales, self.channel_scales, self.precision, self.biases)
