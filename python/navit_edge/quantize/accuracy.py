"""How far a quantized graph's outputs lie from float32's, image by image."""

from __future__ import annotations

from collections.abc import Iterable

from navit_edge.bundle.manifest import TensorSpec
from navit_edge.oracle.distance import Differences
from navit_edge.oracle.packs import Pack, Values
from navit_edge.quantize.report import OutputAccuracy


class Comparison:
    """Collects the difference of two graphs' outputs."""

    def __init__(self, outputs: Iterable[TensorSpec]) -> None:
        self._specs = {spec.name: spec for spec in outputs}
        self._found = {name: Differences() for name in self._specs}

    def add(self, pack: Pack, reference: Values, found: Values) -> None:
        """One pass of both."""
        for name, spec in self._specs.items():
            parts = pack.by_image(spec, reference[name]), pack.by_image(spec, found[name])
            for one, other in zip(*parts, strict=True):
                self._found[name].add(one, other)

    def error(self) -> float:
        """Root mean square of the difference over that of the reference; of the worst output."""
        return max(found.rms for found in self._found.values())

    def table(self) -> tuple[OutputAccuracy, ...]:
        """One row an output, in the graph's order."""
        return tuple(
            OutputAccuracy(
                output=name,
                images=len(found.cosines),
                cosine_min=min(found.cosines),
                cosine_mean=found.cosine_mean,
                max_error=found.largest_difference / found.largest if found.largest > 0 else 0.0,
                rms_error=found.rms,
                top1_agreement=found.agreement if name == "logits" else None,
            )
            for name, found in self._found.items()
            if found.cosines
        )
