"""Timing one workload on a session. Every number in a `Measurement` was measured, or is None."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from navit_edge.errors import InvalidInputError
from navit_edge.machine.process_memory import PeakMemory

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from navit_edge.machine.gpu import DeviceMemory
    from navit_edge.session import Session

    Images = Sequence[npt.NDArray[np.uint8]]


#: Most that a warm-up or a measurement may take: a day.
MOST_SECONDS = 86400


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """How long and what to report; names and meanings are trtexec's, and its defaults but for the percentiles.

    warmup_ms: run unmeasured for at least this long, and at least once.
    iterations: measure at least this many runs,
    duration_s: and for at least this many seconds.
    percentiles: of latency, 0 (the fastest run) to 100 (the slowest): see `percentile`.
    """

    warmup_ms: float = 200.0
    iterations: int = 10
    duration_s: float = 3.0
    percentiles: tuple[float, ...] = (50.0, 90.0, 99.0)

    def __post_init__(self) -> None:
        times = (self.warmup_ms / 1e3, self.duration_s)
        if not all(0 <= seconds <= MOST_SECONDS for seconds in times) or self.iterations < 1:  # no NaN, no infinity
            raise InvalidInputError(
                f"warmup {self.warmup_ms:g} ms, {self.iterations} iterations, duration {self.duration_s:g} s; "
                f"expected 0 and up, 1 iteration and up, 0 and up, and no more than {MOST_SECONDS} s each"
            )
        if not self.percentiles or any(not 0 <= p <= 100 for p in self.percentiles):
            text = ", ".join(f"{p:g}" for p in self.percentiles) or "none"
            raise InvalidInputError(f"percentiles {text}; expected one or more from 0 to 100, as 50,90,99")


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values: one of them, never something between two.

    The smallest value that at least ``percent`` % of the values do not exceed.
    """
    # The product is rounded first: 99.9 / 100 * 1000 is 999.0000000000001 in floating point.
    rank = math.ceil(round(percent / 100 * len(ordered), 9))
    return ordered[max(1, rank) - 1]


def summary(times_ms: Sequence[float], percents: Sequence[float]) -> dict[str, float]:
    """ "min", "mean", "max" and one "pNN" for each of ``percents``."""
    ordered = sorted(times_ms)
    named = {f"p{percent:g}": percentile(ordered, percent) for percent in percents}
    return {"min": ordered[0], "mean": statistics.fmean(times_ms), "max": ordered[-1], **named}


def ms_text(value: float) -> str:
    """Milliseconds in three digits, without an exponent: 0.0123 -> "0.01", 12.34 -> "12.3", 1234.5 -> "1234"."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One workload's figures. A run is one call of ``Session.run`` with all of its images.

    tokens: used by the images, in all packs of a run. capacity_tokens: what the engine computed, padding included.
    latency_ms: wall time of a run: "mean", "min", "max" and one "pNN" for each percentile asked for.
    plan_ms: sizing and planning: mean for a run if the session reports it, else timed apart through the same C++
        functions; None if neither was done. unpack_ms: mean for a run; None if the session does not report it.
        Both are part of other_ms.
    device_memory_bytes: in use on the GPU after this was measured, by all processes (DeviceMemory); None without one.
    preprocess_ms, engine_ms: mean for a run, added up over its packs. Where packs run side by side they may add up to
        more than the wall time.
    predicted_ms: of a run's packs by the engine's cost model, preprocessing of whole patches included.
    other_ms: mean of the wall time that is neither; None if a run has several packs, which may overlap.
    peak_resident_bytes: highest resident memory of the whole process while this was measured; None if the system
        does not say.
    """

    name: str
    images: int
    tokens: int
    capacity_tokens: int
    packs: int
    budgets: tuple[int, ...]
    runs: int
    warmup_runs: int
    first_ms: float
    measured_s: float
    latency_ms: dict[str, float]
    images_per_s: float
    tokens_per_s: float
    plan_ms: float | None
    unpack_ms: float | None
    device_memory_bytes: int | None
    preprocess_ms: float
    engine_ms: float
    predicted_ms: float
    other_ms: float | None
    peak_resident_bytes: int | None

    @property
    def fill(self) -> float:
        """Share of the computed tokens that belongs to images."""
        return self.tokens / self.capacity_tokens

    @property
    def prediction_error(self) -> float:
        """(predicted - mean measured) / mean measured, of the time in packs if there is one, else of the run."""
        measured = self.preprocess_ms + self.engine_ms if self.packs == 1 else self.latency_ms["mean"]
        return self.predicted_ms / measured - 1

    def as_json(self) -> dict[str, Any]:
        """The fields, `fill` and `prediction_error` as JSON values."""
        return {**asdict(self), "fill": self.fill, "prediction_error": self.prediction_error}


def reported_ms(reports: Sequence[dict[str, Any]], key: str) -> float | None:
    """Mean of a stage that the session times as a whole, or pack by pack; None if it does neither."""
    if all(key in one for one in reports):
        return statistics.fmean(one[key] for one in reports) / 1e3
    if all(key in pack for one in reports for pack in one["packs"]):
        return statistics.fmean(sum(pack[key] for pack in one["packs"]) for one in reports) / 1e3
    return None


def measure(
    session: Session,
    images: Images,
    options: BenchOptions,
    *,
    name: str,
    plan_ms: float | None = None,
    device_memory: DeviceMemory | None = None,
) -> Measurement:
    """Runs ``images`` through ``session`` as `options` say. Raises what ``Session.run`` raises.

    plan_ms: of sizing and planning these images, timed apart, for sessions that do not report it.
    """
    memory = PeakMemory()
    start = time.perf_counter()
    session.run(images)
    first_ms = (time.perf_counter() - start) * 1e3
    warmup_runs = 1
    while (time.perf_counter() - start) * 1e3 < options.warmup_ms:
        session.run(images)
        warmup_runs += 1

    latencies: list[float] = []  # ms
    reports: list[dict[str, Any]] = []
    start = time.perf_counter()
    while len(latencies) < options.iterations or time.perf_counter() - start < options.duration_s:
        begin = time.perf_counter()
        session.run(images)
        latencies.append((time.perf_counter() - begin) * 1e3)
        reports.append(session.last_report)
    measured_s = time.perf_counter() - start

    packs = reports[-1]["packs"]
    tokens = sum(pack["tokens"] for pack in packs)
    stage = {
        key: statistics.fmean(sum(pack[key] for pack in report["packs"]) for report in reports) / 1e3
        for key in ("preprocess_us", "engine_us")
    }
    told_plan_ms = reported_ms(reports, "plan_us")
    latency_ms = summary(latencies, options.percentiles)
    return Measurement(
        name=name,
        images=len(images),
        tokens=tokens,
        capacity_tokens=sum(pack["capacity"] for pack in packs),
        packs=len(packs),
        budgets=tuple(sorted({pack["budget_tokens"] for pack in packs})),
        runs=len(latencies),
        warmup_runs=warmup_runs,
        first_ms=first_ms,
        measured_s=measured_s,
        latency_ms=latency_ms,
        images_per_s=len(images) * len(latencies) / measured_s,
        tokens_per_s=tokens * len(latencies) / measured_s,
        plan_ms=plan_ms if told_plan_ms is None else told_plan_ms,
        unpack_ms=reported_ms(reports, "unpack_us"),
        device_memory_bytes=None if device_memory is None else device_memory.used_bytes(),
        preprocess_ms=stage["preprocess_us"],
        engine_ms=stage["engine_us"],
        predicted_ms=reports[-1]["predicted_us"] / 1e3,
        other_ms=latency_ms["mean"] - stage["preprocess_us"] - stage["engine_us"] if len(packs) == 1 else None,
        peak_resident_bytes=memory.peak_bytes(),
    )
