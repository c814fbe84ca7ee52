"""How far a quantized graph's outputs lie from float32's, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from navit_edge.bundle.manifest import TensorSpec
from navit_edge.quantize.ort import Runner
from navit_edge.quantize.packs import CalibrationPack
from navit_edge.quantize.report import OutputAccuracy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Outputs = Mapping[str, Array]


class _Sums:
    """Of one output, over images."""

    def __init__(self) -> None:
        self.cosines: list[float] = []
        self.largest_difference = 0.0
        self.largest = 0.0
        self.squares = 0.0
        self.squares_of_difference = 0.0
        self.agreeing = 0

    def add(self, reference: Array, found: Array) -> None:
        import numpy as np

        one, other = reference.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        norms = float(np.linalg.norm(one) * np.linalg.norm(other))
        self.cosines.append(float(one @ other) / norms if norms > 0 else float(not (one.any() or other.any())))
        difference = np.abs(one - other)
        self.largest_difference = max(self.largest_difference, float(difference.max()))
        self.largest = max(self.largest, float(np.abs(one).max()))
        self.squares += float(one @ one)
        self.squares_of_difference += float(difference @ difference)
        self.agreeing += int(one.argmax() == other.argmax())


class Comparison:
    """Collects the difference of two graphs' outputs."""

    def __init__(self, outputs: Iterable[TensorSpec]) -> None:
        self._specs = {spec.name: spec for spec in outputs}
        self._sums = {name: _Sums() for name in self._specs}

    def add(self, pack: CalibrationPack, reference: Outputs, found: Outputs) -> None:
        """One pass of both."""
        for name, spec in self._specs.items():
            for one, other in zip(
                _by_image(pack, spec, reference[name]), _by_image(pack, spec, found[name]), strict=True
            ):
                self._sums[name].add(one, other)

    def error(self) -> float:
        """Root mean square of the difference over that of the reference; of the worst output."""
        return max(_ratio(sums) for sums in self._sums.values())

    def table(self) -> tuple[OutputAccuracy, ...]:
        """One row an output, in the graph's order."""
        return tuple(
            OutputAccuracy(
                output=name,
                images=len(sums.cosines),
                cosine_min=min(sums.cosines),
                cosine_mean=sum(sums.cosines) / len(sums.cosines),
                max_error=sums.largest_difference / sums.largest if sums.largest > 0 else 0.0,
                rms_error=_ratio(sums),
                top1_agreement=sums.agreeing / len(sums.cosines) if name == "logits" else None,
            )
            for name, sums in self._sums.items()
            if sums.cosines
        )


def _ratio(sums: _Sums) -> float:
    return math.sqrt(sums.squares_of_difference / sums.squares) if sums.squares > 0 else 0.0


def _by_image(pack: CalibrationPack, spec: TensorSpec, value: Array) -> Iterator[Array]:
    """The part of an output that belongs to each image of the pack; padding belongs to none."""
    for index, segment in enumerate(pack.segments):
        if spec.shape[0] not in ("T", "T/4"):
            yield value[index]
            continue
        patches = 4 if spec.shape[0] == "T/4" else 1  # that a row stands for
        yield value[segment.first // patches : (segment.first + segment.tokens) // patches]


def compare(
    reference: Runner,
    quantized: Runner,
    packs: Iterable[CalibrationPack],
    outputs: Iterable[TensorSpec],
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[OutputAccuracy, ...]:
    """Runs both over all packs."""
    comparison = Comparison(outputs)
    for done, pack in enumerate(packs):
        comparison.add(pack, reference.run(pack.inputs), quantized.run(pack.inputs))
        progress(done + 1)
    return comparison.table()
