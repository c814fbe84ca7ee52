"""The steps of quantize over one bundle: packs, scales, which layers, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from navit_edge.bundle.manifest import Graph
from navit_edge.compile import precision as precisions
from navit_edge.decode import Decoder
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.oracle.graph import run_graph
from navit_edge.oracle.packs import Pack, Values
from navit_edge.quantize import calibration, sensitivity
from navit_edge.quantize.accuracy import Comparison
from navit_edge.quantize.layers import Layer, find_layers, match, read_weights
from navit_edge.quantize.packs import Packing
from navit_edge.quantize.qdq import insert, weight_scales
from navit_edge.quantize.report import ImageFile, LayerReport, OutputAccuracy
from navit_edge.quantize.request import QuantizeRequest

if TYPE_CHECKING:
    import onnx

#: What is being done, steps done, steps in all.
Progress = Callable[[str, int, int], None]


class Work:
    """What is known of a bundle's graphs, step by step."""

    def __init__(
        self,
        bundle: Path,
        sources: Path,
        graphs: Sequence[Graph],
        request: QuantizeRequest,
        decoder: Decoder,
        progress: Progress,
    ) -> None:
        """``sources``: where the checked copies of the graphs and their weights lie."""
        self.request = request
        self._progress = progress
        self._directory = sources / "graphs"
        self.models = {graph.id: precisions.load((sources / graph.file).read_bytes(), graph.file) for graph in graphs}
        self._layers_of = {graph.id: find_layers(self.models[graph.id]) for graph in graphs}
        # Attention per image costs least on a CPU; the linear layers and their weights are the same in every graph.
        self.judge = next((graph for graph in graphs if graph.lowering == "padded"), graphs[0])
        self.layers = self._layers_of[self.judge.id]
        self._check_layers(graphs)
        self._model = self.models[self.judge.id]
        self._weights = read_weights(self._model, self.layers, self._directory)
        self.packing = Packing(bundle, self.judge.id, decoder)
        self.skipped: tuple[str, ...] = ()
        if not request.auto:
            unwanted = match(self.layers, request.skip_layers)
            self.skipped = tuple(layer.name for layer in self.layers if layer.name in unwanted)
            self._require_some()

    def _check_layers(self, graphs: Sequence[Graph]) -> None:
        if not self.layers:
            raise BundleError(
                f"graph {self.judge.id!r} has no linear layer between patches and tokens; there is nothing to quantize"
            )
        names = {layer.name for layer in self.layers}
        for graph in graphs:
            if {layer.name for layer in self._layers_of[graph.id]} != names:
                raise BundleError(
                    f"graphs {self.judge.id!r} and {graph.id!r} have other linear layers; expected the same; "
                    "export the model again"
                )

    def _require_some(self) -> None:
        if len(self.skipped) == len(self.layers):
            raise InvalidInputError(
                f"all {len(self.layers)} layers would be skipped; expected at least one to quantize; skip fewer"
            )

    @property
    def chosen(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.name not in self.skipped]

    def packs(self, directory: Path, images: Sequence[ImageFile]) -> list[Pack]:
        return self.packing.packs(directory, images, partial(self._progress, "reading images"))

    def calibrate(self, packs: Sequence[Pack]) -> None:
        request, step = self.request, partial(self._progress, "calibrating")
        self._histograms = calibration.observe(self._model, self._directory, self.layers, packs, step)
        self._scales = calibration.choose_scales(
            self._histograms, request.method, request.precision, request.percentile
        )
        self._channel_scales = {
            layer.name: weight_scales(self._weights[layer.name], layer.axis, request.precision) for layer in self.layers
        }

    def quantized(self, graph_id: str, layers: Sequence[Layer]) -> onnx.ModelProto:
        """A graph with the layers of these names quantized."""
        names = {layer.name for layer in layers}
        own = [layer for layer in self._layers_of[graph_id] if layer.name in names]
        return insert(self.models[graph_id], own, self._scales, self._channel_scales, self.request.precision)

    def _run(self, model: onnx.ModelProto, packs: Sequence[Pack]) -> Iterator[Values]:
        return run_graph(model, self._directory, (pack.inputs for pack in packs))

    def choose_layers(self, packs: Sequence[Pack]) -> sensitivity.Scan | None:
        """With --skip-layers auto, the scan that decides."""
        request = self.request
        if not request.auto:
            return None
        few: list[Pack] = []
        for pack in packs:
            if few and sum(len(p.segments) for p in few) >= request.scan_images:
                break
            few.append(pack)
        reference = list(self._run(self._model, few))

        def error_of(layers: Sequence[Layer]) -> float:
            comparison = Comparison(self.judge.outputs)
            found = self._run(self.quantized(self.judge.id, layers), few)
            for pack, expected, values in zip(few, reference, found, strict=True):
                comparison.add(pack, expected, values)
            return comparison.error()

        found = sensitivity.scan(
            error_of,
            self.layers,
            tolerance=request.tolerance,
            count=request.skip_count,
            progress=partial(self._progress, "scanning layers"),
        )
        self.skipped = found.skipped
        self._require_some()
        return found

    def accuracy(
        self, layers: Sequence[Layer], packs: Sequence[Pack], held_packs: Sequence[Pack]
    ) -> dict[str, tuple[OutputAccuracy, ...]]:
        """Set of images -> rows of the table, with these layers quantized."""
        both = [*packs, *held_packs]
        runs = [self._run(model, both) for model in (self._model, self.quantized(self.judge.id, layers))]
        sets = {name: Comparison(self.judge.outputs) for name in ("calibration", "held out")}
        for done, (pack, reference, found) in enumerate(zip(both, *runs, strict=True), 1):
            sets["calibration" if done <= len(packs) else "held out"].add(pack, reference, found)
            self._progress("comparing", done, len(both))
        return {name: comparison.table() for name, comparison in sets.items() if comparison.table()}

    def layer_reports(self) -> tuple[LayerReport, ...]:
        reports = []
        for layer in self.layers:
            histogram, request = self._histograms[layer.name], self.request
            covered = calibration.threshold(histogram, request.method, request.precision, request.percentile)
            reports.append(
                LayerReport(
                    layer=layer.name,
                    quantized=layer.name not in self.skipped,
                    largest=histogram.largest,
                    covered=covered,
                    clipped=calibration.clipped_fraction(histogram, covered),
                    scale=self._scales[layer.name],
                    weight_scale_min=float(self._channel_scales[layer.name].min()),
                    weight_scale_max=float(self._channel_scales[layer.name].max()),
                )
            )
        return tuple(reports)
