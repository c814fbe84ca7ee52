"""Several engines of one bundle, run in turn, so that what disturbs the machine disturbs them alike.

A round runs every engine once, in an order that turns from round to round, and the reference a second time. What is
reported is the median over the rounds of each engine's time over the reference's in the same round: a machine that
slows down for a while changes both. The reference against itself says how far two equal engines come out apart here.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.bench.measure import BenchOptions, percentile, summary
from navit_edge.bench.suite import SCHEMA_VERSION, built_in, versions
from navit_edge.bench.workload import Workload, ladder, ladder_images
from navit_edge.bundle.manifest import Engine, Manifest
from navit_edge.errors import InvalidInputError
from navit_edge.machine.host import Host

if TYPE_CHECKING:
    from navit_edge.bench.measure import Images
    from navit_edge.session import Session


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Of the times of two engines in the same rounds. median below 1: faster than the reference.

    margin: half the width of the interval that holds the true median in about 95 of 100 cases: 1.57 times the distance
    of the quartiles over the root of the rounds (McGill, Tukey, Larsen: Variations of box plots, 1978).
    """

    median: float
    margin: float

    @property
    def words(self) -> str:
        """ "0.52 ± 0.01"."""
        return f"{self.median:.2f} ± {self.margin:.2f}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One workload. latency_ms: engine -> "min", "p50"…; ratios: engine -> to the reference, those but the reference.
    noise: the reference's second time in each round over its first."""

    name: str
    images: int
    tokens: int
    rounds: int
    latency_ms: dict[str, dict[str, float]]
    ratios: dict[str, Ratio]
    noise: Ratio

    def differs(self, engine: str) -> bool:
        """Whether the ratio is off 1 by more than the noise and both margins."""
        ratio = self.ratios[engine]
        return abs(ratio.median - 1) > ratio.margin + self.noise.margin + abs(self.noise.median - 1)


@dataclass(frozen=True, kw_only=True)
class CompareReport:
    """engines: the reference first; devices and precisions as their sessions say."""

    bundle: str
    engines: tuple[str, ...]
    precisions: dict[str, str]
    devices: dict[str, str]
    threads: int
    host: Host
    versions: dict[str, str]
    options: BenchOptions
    source: str
    packs: tuple[Row, ...]
    end_to_end: Row
    unix_time: float

    @property
    def reference(self) -> str:
        return self.engines[0]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "compare",
            **asdict(self),
            "reference": self.reference,
        }


def compare(
    manifest: Manifest,
    open_session: Callable[[str], Session],
    engines: Sequence[str],
    options: BenchOptions,
    *,
    bundle: Path,
    workload: Workload | None = None,
    threads: int = 0,
    budgets: Sequence[int] = (),
    on_step: Callable[[str, int], None] = lambda _name, _steps: None,
) -> CompareReport:
    """Measures engines in turn. ``engines``: ids, the reference first; "" is the first that runs here.

    Packs are those that every engine can take whole. Raises InvalidInputError for fewer than two engines, or one twice.
    """
    sessions = {session.engine: session for session in (open_session(name) for name in engines)}
    if len(sessions) < 2 or len(sessions) != len(engines):
        names = ", ".join(name or "(the first that runs)" for name in engines)
        raise InvalidInputError(f"engines {names} to be compared; expected two or more different ones; see inspect")
    opened = [one for name in sessions for one in manifest.engines if one.id == name]
    smallest = min(opened, key=lambda one: one.budgets[-1].target_tokens)
    if workload is None:
        workload = built_in(manifest, smallest)
    rungs = [grids for grids in ladder(manifest, smallest, budgets) if all(_holds(one, len(grids)) for one in opened)]
    rows = []
    for grids in rungs:
        tokens = sum(rows_ * cols + manifest.model.prefix_tokens for rows_, cols in grids)
        on_step(f"{tokens} tokens", len(rungs) + 1)
        rows.append(in_turn(sessions, ladder_images(manifest, grids), options, name=f"{tokens} tokens"))
    on_step("end to end", len(rungs) + 1)
    whole = in_turn(sessions, workload.images, options, name="end to end")
    host = Host.read()
    return CompareReport(
        bundle=bundle.name,
        engines=tuple(sessions),
        precisions={name: session.precision for name, session in sessions.items()},
        devices={name: session.device for name, session in sessions.items()},
        threads=threads or host.cores,
        host=host,
        versions=versions(),
        options=options,
        source=workload.source,
        packs=tuple(rows),
        end_to_end=whole,
        unix_time=time.time(),
    )


def _holds(engine: Engine, images: int) -> bool:
    return engine.budgets[-1].images >= images


def in_turn(sessions: dict[str, Session], images: Images, options: BenchOptions, *, name: str) -> Row:
    """One workload on every session, round by round. The first session is the reference."""
    for session in sessions.values():
        start = time.perf_counter()
        session.run(images)
        while (time.perf_counter() - start) * 1e3 < options.warmup_ms:
            session.run(images)
    reference, *others = sessions
    turn = [(reference, False), *((other, False) for other in others), (reference, True)]
    times: dict[tuple[str, bool], list[float]] = {key: [] for key in turn}  # ms
    start = time.perf_counter()
    while len(times[turn[0]]) < options.iterations or time.perf_counter() - start < options.duration_s:
        shift = len(times[turn[0]]) % len(turn)
        for key in [*turn[shift:], *turn[:shift]]:
            begin = time.perf_counter()
            sessions[key[0]].run(images)
            times[key].append((time.perf_counter() - begin) * 1e3)
    base = times[reference, False]
    return Row(
        name=name,
        images=len(images),
        tokens=sum(pack["tokens"] for pack in sessions[reference].last_report["packs"]),
        rounds=len(base),
        latency_ms={one: summary(times[one, False], (50.0, *options.percentiles)) for one in sessions},
        ratios={other: ratio(times[other, False], base) for other in others},
        noise=ratio(times[reference, True], base),
    )


def ratio(times: Sequence[float], base: Sequence[float]) -> Ratio:
    """Round by round, and the median of that."""
    values = sorted(a / b for a, b in zip(times, base, strict=True))
    spread = percentile(values, 75) - percentile(values, 25)
    return Ratio(median=statistics.median(values), margin=1.57 * spread / math.sqrt(len(values)))
