"""The steps of quantize over one bundle: packs, smoothing, scales, which layers, accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from navit_edge.quantize.channels import Channels
from navit_edge.quantize.layers import Layer, find_layers, match, read_weights
from navit_edge.quantize.packs import Packing
from navit_edge.quantize.report import ImageFile, LayerReport, OutputAccuracy, SmoothedValue
from navit_edge.quantize.request import AUTO, OFF, QuantizeRequest
from navit_edge.quantize.smoothed import Smoothed, smooth
from navit_edge.quantize.variant import Variant

if TYPE_CHECKING:
    import onnx

#: What is being done, steps done, steps in all.
Progress = Callable[[str, int, int], None]
#: Set of images (one of SETS) -> rows of the table.
Tables = dict[str, tuple[OutputAccuracy, ...]]
SETS = ("calibration", "held out")


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
        layers_of = {graph.id: find_layers(self.models[graph.id]) for graph in graphs}
        # Attention per image costs least on a CPU; the linear layers and their weights are the same in every graph.
        self.judge = next((graph for graph in graphs if graph.lowering == "padded"), graphs[0])
        self.layers = layers_of[self.judge.id]
        self._check_layers(layers_of)
        self._plain = Variant(
            judge=self.judge.id,
            directory=self._directory,
            models=self.models,
            layers_of=layers_of,
            weights=read_weights(self.models[self.judge.id], self.layers, self._directory),
            precision=request.precision,
        )
        self._variant = self._plain  # what is published
        self.smoothed: Smoothed | None = None
        self.packing = Packing(bundle, self.judge.id, decoder)
        self.skipped: tuple[str, ...] = ()
        if not request.auto:
            unwanted = match(self.layers, request.skip_layers)
            self.skipped = tuple(layer.name for layer in self.layers if layer.name in unwanted)
            self._require_some()

    def _check_layers(self, layers_of: Mapping[str, Sequence[Layer]]) -> None:
        if not self.layers:
            raise BundleError(
                f"graph {self.judge.id!r} has no linear layer between patches and tokens; there is nothing to quantize"
            )
        names = {layer.name for layer in self.layers}
        for graph_id, layers in layers_of.items():
            if {layer.name for layer in layers} != names:
                raise BundleError(
                    f"graphs {self.judge.id!r} and {graph_id!r} have other linear layers; expected the same; "
                    "export the model again"
                )

    def _require_some(self) -> None:
        if len(self.skipped) == len(self.layers):
            raise InvalidInputError(
                f"all {len(self.layers)} layers would be skipped; expected at least one to quantize; skip fewer"
            )

    @property
    def chosen(self) -> set[str]:
        """Names of the layers that are quantized."""
        return {layer.name for layer in self.layers} - set(self.skipped)

    def packs(self, directory: Path, images: Sequence[ImageFile]) -> list[Pack]:
        return self.packing.packs(directory, images, partial(self._progress, "reading images"))

    def calibrate(self, packs: Sequence[Pack]) -> None:
        """Finds the scales of the graphs as they are and, if that is asked for, of the smoothed ones."""
        smoothing = self.request.smooth
        channels: dict[str, Channels] | None = None if smoothing == OFF else {}
        self._plain.calibrate(packs, self.request, partial(self._progress, "calibrating"), channels)
        if channels is None:
            return
        self.smoothed = smooth(
            self._plain,
            channels,
            packs,
            strength=None if isinstance(smoothing, str) else smoothing,
            skipped=self.skipped,
            progress=partial(self._progress, "smoothing"),
        )
        if self.smoothed.variant is not None:
            smoothed: dict[str, Channels] = {}
            step = partial(self._progress, "calibrating what is smoothed")
            self.smoothed.variant.calibrate(packs, self.request, step, smoothed)
            self.smoothed.variant.correct_biases(smoothed)
            self._variant = self.smoothed.variant

    def quantized(self, graph_id: str) -> onnx.ModelProto:
        """A graph as it is published."""
        return self._variant.quantized(graph_id, self.chosen)

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
        reference = list(self._run(self._plain.model, few))

        def error_of(layers: Sequence[Layer]) -> float:
            comparison = Comparison(self.judge.outputs)
            found = self._run(self._variant.quantized(self.judge.id, {layer.name for layer in layers}), few)
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

    def accuracy(self, packs: Sequence[Pack], held_packs: Sequence[Pack]) -> dict[str, Tables]:
        """ "published" and, if that differs, "all layers" (none skipped), "unsmoothed" or "smoothed" -> tables.

        With --smooth auto, smoothing is given up if the error on the calibration images is larger with it.
        """
        quantized = {"published": self.quantized(self.judge.id)}
        if self.skipped:
            names = {layer.name for layer in self.layers}
            quantized["all layers"] = self._variant.quantized(self.judge.id, names)
        if self._variant is not self._plain:
            quantized["unsmoothed"] = self._plain.quantized(self.judge.id, self.chosen)
        found = self._compare(quantized, packs, held_packs)
        errors = {name: max(row.rms_error for row in tables["calibration"]) for name, tables in found.items()}
        if self.request.smooth == AUTO and errors.get("unsmoothed", math.inf) < errors["published"]:
            smoothed, self._variant = found["published"], self._plain
            return {**self.accuracy(packs, held_packs), "smoothed": smoothed}
        return found

    def _compare(
        self, quantized: Mapping[str, onnx.ModelProto], packs: Sequence[Pack], held_packs: Sequence[Pack]
    ) -> dict[str, Tables]:
        """The tables of each graph against the float32 graph."""
        both = [*packs, *held_packs]
        sets = {name: {part: Comparison(self.judge.outputs) for part in SETS} for name in quantized}
        runs = [self._run(model, both) for model in (self._plain.model, *quantized.values())]
        for done, (pack, reference, *values) in enumerate(zip(both, *runs, strict=True), 1):
            for comparisons, value in zip(sets.values(), values, strict=True):
                comparisons[SETS[done > len(packs)]].add(pack, reference, value)
            self._progress("comparing", done, len(both))
        return {
            name: {part: comparison.table() for part, comparison in comparisons.items() if comparison.table()}
            for name, comparisons in sets.items()
        }

    @property
    def given_up(self) -> bool:
        """Whether the graphs were smoothed, and lose more then."""
        return self.smoothed is not None and self.smoothed.variant not in (None, self._variant)

    def smoothing_reports(self) -> tuple[SmoothedValue, ...]:
        """What was chosen for each value; nothing if it was given up."""
        return () if self.smoothed is None or self.given_up else self.smoothed.values

    def layer_reports(self) -> tuple[LayerReport, ...]:
        reports = []
        variant, request = self._variant, self.request
        for layer in self.layers:
            histogram = variant.histograms[layer.name]
            covered = calibration.threshold(histogram, request.method, request.precision, request.percentile)
            reports.append(
                LayerReport(
                    layer=layer.name,
                    quantized=layer.name not in self.skipped,
                    largest=histogram.largest,
                    covered=covered,
                    clipped=calibration.clipped_fraction(histogram, covered),
                    scale=variant.scales[layer.name],
                    weight_scale_min=float(variant.channel_scales[layer.name].min()),
                    weight_scale_max=float(variant.channel_scales[layer.name].max()),
                )
            )
        return tuple(reports)
