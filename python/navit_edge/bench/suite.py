"""All measurements of one engine, with what is needed to read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

from navit_edge.bench.measure import BenchOptions, Measurement, measure
from navit_edge.bench.workload import Grid, Workload, ladder, ladder_images, mixed_sizes, planning_ms, synthetic
from navit_edge.bundle.manifest import Engine, Manifest, find_engine
from navit_edge.machine.gpu import DeviceMemory, Gpu, read_gpu
from navit_edge.machine.host import Host
from navit_edge.machine.process_memory import resident_bytes
from navit_edge.planning import PlanLimits, plan_packs
from navit_edge.session import Session

#: Libraries whose version changes the figures; those that are installed are named in a report.
PACKAGES = ("navit-edge", "numpy", "openvino", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu12")


#: Of the JSON: raised if a key is renamed or goes away, not if one is added.
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """What was measured, on what, how.

    gpu: the device of an engine for one; None for the CPU's. device_memory_before_bytes: in use on it before the engine
        was opened.

    packs: one measurement for each rung of the ladder; each run is one pack of images that need no resize.
    end_to_end: the whole set in one run: sizing, planning, resizing, all packs, results; decoding excluded.
    cost_measured: predictions rest on `bench --calibrate`; False: on the model's sizes.
    """

    bundle: str
    engine: str
    precision: str
    device: str
    strategy: str
    dynamic_tokens: bool
    budgets: tuple[int, ...]
    threads: int
    slots: int
    host: Host
    versions: dict[str, str]
    options: BenchOptions
    open_ms: float
    gpu: Gpu | None
    device_memory_before_bytes: int | None
    resident_before_bytes: int | None
    source: str
    decode_ms: float | None
    refused: tuple[str, ...]
    packs: tuple[Measurement, ...]
    end_to_end: Measurement
    engine_report: dict[str, Any]  # Session.engine_report after all runs: what was captured, what fell back
    cost_measured: bool
    unix_time: float

    @property
    def prediction_error(self) -> float:
        """Mean over the packs of |predicted - measured| / measured; of end to end if no pack was measured."""
        return fmean(abs(one.prediction_error) for one in self.packs or (self.end_to_end,))

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "engine",
            **asdict(self),
            "packs": [one.as_json() for one in self.packs],
            "end_to_end": self.end_to_end.as_json(),
            "prediction_error": self.prediction_error,
        }


def bench(
    manifest: Manifest,
    open_session: Callable[[], Session],
    options: BenchOptions,
    *,
    workload: Workload | None = None,
    bundle: Path,
    threads: int = 0,
    budgets: Sequence[int] = (),
    on_session: Callable[[Session], None] = lambda _: None,
    on_step: Callable[[str, int], None] = lambda _name, _steps: None,
) -> BenchReport:
    """Measures the engine that ``open_session`` opens.

    workload: the set for end to end; None takes the built-in one.
    threads: what the session was asked for, for the record.
    budgets: only packs of so many tokens; empty: the ladder.
    on_session: called once with the session; on_step: before each measurement, with its name and how many there are.
    """
    host = Host.read()
    before = resident_bytes()
    gpu = read_gpu() if any(one.backend != "openvino" for one in manifest.engines) else None
    device_memory = None if gpu is None else DeviceMemory(unified=gpu.unified)
    device_before = None if device_memory is None else device_memory.used_bytes()
    start = time.perf_counter()
    session = open_session()
    open_ms = (time.perf_counter() - start) * 1e3
    on_session(session)
    engine = find_engine(manifest, session.engine)
    if workload is None:
        workload = built_in(manifest, engine)
    if engine.backend == "openvino":
        gpu, device_memory, device_before = None, None, None

    limits = PlanLimits.of(bundle, engine, threads=threads)
    rungs = [grids for grids in ladder(manifest, engine, budgets) if _is_one_pack(grids, manifest, limits)]
    packs = []
    for grids in rungs:
        tokens = sum(rows * cols + manifest.model.prefix_tokens for rows, cols in grids)
        name = f"{tokens} tokens"
        on_step(name, len(rungs) + 1)
        images = ladder_images(manifest, grids)
        plan_ms = planning_ms(manifest, engine, images)
        packs.append(measure(session, images, options, name=name, plan_ms=plan_ms, device_memory=device_memory))
    on_step("end to end", len(rungs) + 1)
    plan_ms = planning_ms(manifest, engine, workload.images)
    whole = measure(session, workload.images, options, name="end to end", plan_ms=plan_ms, device_memory=device_memory)
    return BenchReport(
        bundle=bundle.name,
        engine=session.engine,
        precision=session.precision,
        device=session.device,
        strategy=engine.strategy,
        dynamic_tokens=engine.dynamic_tokens,
        budgets=tuple(budget.tokens for budget in engine.budgets),
        threads=threads or host.cores,
        slots=session.slots,
        host=host,
        versions=versions(),
        options=options,
        open_ms=open_ms,
        gpu=gpu,
        device_memory_before_bytes=device_before,
        resident_before_bytes=before,
        source=workload.source,
        decode_ms=workload.decode_ms,
        refused=workload.refused,
        packs=tuple(packs),
        end_to_end=whole,
        engine_report=session.engine_report,
        cost_measured=session.last_report["cost_measured"],
        unix_time=time.time(),
    )


def _is_one_pack(grids: Sequence[Grid], manifest: Manifest, limits: PlanLimits) -> bool:
    """False if the session would rather run several packs of smaller budgets."""
    tokens = [rows * cols + manifest.model.prefix_tokens for rows, cols in grids]
    return len(plan_packs(tokens, limits).packs) == 1


def versions() -> dict[str, str]:
    """Installed package -> version."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def built_in(manifest: Manifest, engine: Engine) -> Workload:
    """The set for end to end if none is given."""
    images = synthetic(mixed_sizes(manifest, engine), channels=manifest.preprocess.channels)
    return Workload(source=f"built-in set of {len(images)} random images, 32 tokens to the cap, seed 0", images=images)
