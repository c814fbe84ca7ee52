"""Which layers cost most when they are quantized, and how many of them have to stay in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from navit_edge.quantize.layers import Layer
from navit_edge.quantize.report import LayerCost, ScanStep

#: Root mean square of the difference over that of float32, of the worst output, if only these layers are quantized.
Error = Callable[[Sequence[Layer]], float]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a scan found: layers by their cost, the worst first, and the tries at leaving the worst in float."""

    costs: tuple[LayerCost, ...]
    steps: tuple[ScanStep, ...]
    skipped: tuple[str, ...]
    within_tolerance: bool


def scan(
    error_of: Error,
    layers: Sequence[Layer],
    *,
    tolerance: float,
    count: int | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scan:
    """Quantizes one layer at a time, then leaves the worst in float: ``count``, or as few as ``tolerance`` needs.

    No more than half of the layers are left in float: beyond that, quantizing is the wrong remedy.
    """
    costs = []
    for done, layer in enumerate(layers):
        progress(done, len(layers))
        costs.append(LayerCost(layer=layer.name, error=error_of([layer])))
    progress(len(layers), len(layers))
    costs.sort(key=lambda cost: (-cost.error, cost.layer))
    steps: list[ScanStep] = []

    def attempt(skipped: int) -> bool:
        names = {cost.layer for cost in costs[:skipped]}
        error = error_of([layer for layer in layers if layer.name not in names])
        steps.append(ScanStep(skipped=skipped, error=error))
        return error <= tolerance

    if count is not None:
        chosen = min(count, len(layers))
        met = attempt(chosen)
    else:
        chosen, met = _fewest(attempt, len(layers) // 2)
    return Scan(
        costs=tuple(costs),
        steps=tuple(steps),
        skipped=tuple(cost.layer for cost in costs[:chosen]),
        within_tolerance=met,
    )


def _fewest(attempt: Callable[[int], bool], most: int) -> tuple[int, bool]:
    """(the least number for which ``attempt`` holds, True), or (``most``, False). Takes it to hold for all above."""
    if attempt(0):
        return 0, True
    if most == 0 or not attempt(most):
        return most, False
    low, high = 0, most  # does not hold for low, holds for high
    while high - low > 1:
        middle = (low + high) // 2
        if attempt(middle):
            high = middle
        else:
            low = middle
    return high, True
