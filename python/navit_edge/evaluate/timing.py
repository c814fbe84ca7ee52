"""How fast a variant is, by the same clock as `navit-edge bench`: images that are decoded already."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.bench.measure import BenchOptions, measure, summary
from navit_edge.bench.workload import MOST_DECODED_BYTES
from navit_edge.errors import NavitEdgeError
from navit_edge.evaluate.report import Timing
from navit_edge.pixels import load_image

if TYPE_CHECKING:
    from navit_edge.decode import Decoder
    from navit_edge.evaluate.data import Examples
    from navit_edge.session import Session


class TimedImages:
    """Images spread evenly over the data, decoded once for all variants, within 1 GiB."""

    def __init__(self, examples: Examples, count: int, decoder: Decoder) -> None:
        total = examples.count()
        self._places = [place * total // count for place in range(count)] if count < total else list(range(total))
        self._examples = examples
        self._decoder = decoder
        self._images: dict[int, npt.NDArray[np.uint8]] | None = None

    def of(self, ok: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.uint8]]:
        """Those that a variant has outputs of."""
        if self._images is None:
            self._images = {}
            room = MOST_DECODED_BYTES
            for place in self._places:
                try:
                    image = load_image(self._examples.examples[place].path, self._decoder)
                except NavitEdgeError:  # it is counted where it is run
                    continue
                room -= image.nbytes
                if room < 0:
                    break
                self._images[place] = image
        return [image for place, image in self._images.items() if ok[place]]


def measure_timing(session: Session, images: Sequence[Any], duration_s: float) -> Timing | None:
    """None if there is no image to measure with."""
    if not images:
        return None
    options = BenchOptions(warmup_ms=0, iterations=1, duration_s=duration_s, percentiles=(50,))
    together = measure(session, images, options, name="evaluate")
    for image in images:
        session.run([image])
    alone: list[float] = []
    start = time.perf_counter()
    while not alone or time.perf_counter() - start < duration_s:
        for image in images:
            begin = time.perf_counter()
            session.run([image])
            alone.append((time.perf_counter() - begin) * 1e3)
    latency = summary(alone, (50, 99))
    return Timing(
        images=len(images),
        runs=together.runs,
        images_per_s=together.images_per_s,
        p50_ms=latency["p50"],
        p99_ms=latency["p99"],
    )
