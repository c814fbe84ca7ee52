"""Builds engines into a bundle: one process per build, progress on the way, published whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NoReturn, Protocol, cast

import msgspec

from navit_edge import errors
from navit_edge.bundle import edit, hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Engine, File, Manifest
from navit_edge.bundle.staging import staging_directory
from navit_edge.compile.common import worker_environment
from navit_edge.compile.fusion import Fusion
from navit_edge.compile.job import EnginePlan, Event, Job, Outcome, Preview, Task
from navit_edge.compile.memory_budget import within_memory
from navit_edge.compile.report import BuildReport, ProfileReport, host_description
from navit_edge.compile.request import BACKENDS, BuildRequest
from navit_edge.errors import InvalidInputError
from navit_edge.files import decode_json

Progress = Callable[[Event], None]
#: An interrupted build may end by itself at its next step; then it is asked, then killed.
_GRACE_SECONDS = 5.0


class Builder(Protocol):
    """What a module of a backend offers."""

    def plan(self, manifest: Manifest, request: BuildRequest) -> list[Job]:
        """The files to build, best first. Runs in the caller's process and refuses what cannot be built."""

    def preview(self, job: Job, graph: bytes) -> Preview:
        """What ``build`` would do, without the vendor's compiler; ``graph`` is the content of the graph's file."""

    def build(self, task: Task, emit: Progress) -> Outcome:
        """Builds one file. Runs in a process of its own."""


def build_engines(bundle: Path, request: BuildRequest, progress: Progress | None = None) -> list[Engine]:
    """Builds the engines that ``request`` asks for and adds them to ``bundle``.

    bundle: A bundle that export made.
    request: What to build.
    progress: Called with each Event, in this thread.

    Returns the engines as they now stand in the manifest, in order of preference, also those that were there already.

    Raises BundleError: The bundle is damaged, or changed during the build, or the disk is full; it is as it was before.
    Raises BackendError: The vendor's library refuses or fails.
    Raises InvalidInputError: The backend cannot do what is asked here.
    Raises MissingPackageError: The backend's package is not installed.
    Raises KeyboardInterrupt: The build was interrupted; its process has ended and the bundle is as it was before.
    """
    report_progress = progress or (lambda event: None)
    planned = plan_builds(bundle, request)
    finished: list[Engine] = []
    fusions: dict[bytes, Fusion] = {}
    for item in planned:
        for note in item.job.notes:
            report_progress(Event(engine=item.job.name, note=note))
        if item.standing:
            report_progress(Event(engine=item.job.name, phase="already built", fraction=1.0))
            finished += _in_their_groups(item)
        else:
            finished += _build(item, request, fusions, report_progress)
    return finished


def _in_their_groups(item: PlannedBuild) -> list[Engine]:
    """Engines that stand already; a request with other budgets makes them members of another group."""
    engines = [
        engine if plan.group is None else msgspec.structs.replace(engine, group=plan.group)
        for engine, plan in zip(item.standing, item.job.engines, strict=True)
    ]
    return engines if engines == item.standing else edit.regroup(item.bundle, engines)


class PlannedBuild(msgspec.Struct, frozen=True, kw_only=True):
    """One file that a request asks for."""

    bundle: Path
    job: Job
    inputs: dict[str, File]  # what it is built from
    keys: tuple[str, ...]  # one for each engine
    standing: list[Engine]  # the same engines, if the bundle holds them already; else []
    preview: Callable[[], Preview]


def _check_prefix(manifest: Manifest, jobs: Sequence[Job]) -> None:
    """Raises InvalidInputError for a budget that the prefix tokens alone fill."""
    prefix = manifest.model.prefix_tokens
    for job in jobs:
        for budget in job.budgets:
            if budget.tokens <= prefix:
                raise InvalidInputError(
                    f"token budget {budget.tokens}: every image of {manifest.name} has {prefix} prefix tokens before "
                    f"its patches; expected at least {prefix + 1}; give a larger --token-budgets"
                )


def plan_builds(bundle: Path, request: BuildRequest) -> list[PlannedBuild]:
    """What ``build_engines`` would build, best first; raises what it would raise before the first build."""
    bundle = Path(os.path.abspath(bundle))
    manifest = manifests.load(bundle)
    manifests.require_writable(manifest, source=str(bundle))
    builder = cast(Builder, importlib.import_module(BACKENDS[request.backend]))
    request = within_memory(bundle, manifest, request)
    jobs = builder.plan(manifest, request)
    _check_prefix(manifest, jobs)
    inputs = {job.graph.id: _inputs(manifest, job) for job in jobs}
    for names in inputs.values():
        hashing.verify_files(bundle, manifest, list(names))
    return [
        PlannedBuild(
            bundle=bundle,
            job=job,
            inputs=inputs[job.graph.id],
            keys=tuple(_key(job, engine, inputs[job.graph.id]) for engine in job.engines),
            standing=[]
            if request.force
            else _standing(bundle, job, inputs[job.graph.id], require_fused=request.require_fused),
            preview=functools.partial(_preview, builder, bundle, manifest, job),
        )
        for job in jobs
    ]


def _preview(builder: Builder, bundle: Path, manifest: Manifest, job: Job) -> Preview:
    return builder.preview(
        job, hashing.read_file(bundle, manifest, job.graph.file, most_bytes=hashing.MOST_GRAPH_BYTES)
    )


def _build(item: PlannedBuild, request: BuildRequest, fusions: dict[bytes, Fusion], progress: Progress) -> list[Engine]:
    """Builds one file and publishes its engines. ``fusions`` hands on what is known of their kin."""
    bundle, job, inputs = item.bundle, item.job, item.inputs
    kin = _kin(job)
    with contextlib.ExitStack() as stack:
        staging = stack.enter_context(staging_directory(bundle))
        # The compiler opens files by their paths: it gets copies of what was checked, not what stands there by then.
        sources = stack.enter_context(hashing.snapshot(bundle, inputs, directory=staging))
        output = staging / f"{job.name}.{job.extension}"
        task = Task(
            job=job,
            # From where the worker runs: libraries take no path of every bundle, whose name may be no UTF-8.
            graph_path=os.path.relpath(sources / job.graph.file, staging),
            output_path=output.name,
            require_fused=request.require_fused,
            known_fusion=fusions.get(kin),
            timing_cache_path=None if request.timing_cache is None else os.path.abspath(request.timing_cache),
        )
        started = time.perf_counter()
        outcome, notes = _run_worker(task, staging / "build.log", progress)
        seconds = time.perf_counter() - started
        if outcome.fusion is not None and outcome.fusion.fused is not None:
            fusions[kin] = outcome.fusion
        if not output.is_file():
            raise errors.BackendError(f"{job.backend} reported success but wrote no engine; this is a bug")
        profiles = outcome.profiles or ({},) * len(outcome.budgets)
        staged = []
        for plan, key in zip(job.engines, item.keys, strict=True):
            report = BuildReport(
                id=plan.id,
                key=key,
                backend=job.backend,
                target=plan.target,
                precision=plan.precision,
                graph=job.graph.id,
                seconds=round(seconds, 3),
                peak_memory_bytes=outcome.peak_memory_bytes,
                engine_bytes=output.stat().st_size,
                profiles=tuple(
                    ProfileReport(budget=budget, shapes=shapes)
                    for budget, shapes in zip(outcome.budgets, profiles, strict=True)
                ),
                versions={**job.versions, **outcome.builder},
                host=host_description(),
                built_from=inputs,
                options=plan.options,
                settings=job.settings(),
                lowering=job.graph.lowering,
                lowering_reason=job.lowering_reason,
                fused=None if outcome.fusion is None else outcome.fusion.fused,
                fusion=outcome.fusion,
                notes=(*job.notes, *notes),
                details=outcome.details,
            )
            report_path = staging / f"build-{plan.id}.json"
            report_path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
            engine = Engine(
                id=plan.id,
                backend=job.backend,
                target=plan.target,
                precision=plan.precision,
                float_precision=plan.float_precision,
                graph=job.graph.id,
                strategy=job.strategy,
                dynamic_tokens=job.dynamic_tokens,
                budgets=outcome.budgets,
                file=f"engines/{output.name}",
                builder=outcome.builder,
                options=plan.options,
                report=f"reports/{report_path.name}",
                group=plan.group,
            )
            staged.append(edit.StagedEngine(engine=engine, file=output, report=report_path))
        add = edit.add_text_engines if job.graph.id == manifests.TEXT_GRAPH else edit.add_engines
        return add(bundle, staged, built_from=inputs)


def _run_worker(task: Task, log_path: Path, progress: Progress) -> tuple[Outcome, list[str]]:
    """Runs one build in its own process; ends that process whatever happens here."""
    read_end, write_end = os.pipe()
    with contextlib.ExitStack() as stack:
        events = stack.enter_context(os.fdopen(read_end, "rb"))
        with os.fdopen(write_end, "wb"), log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "navit_edge.compile.worker", str(write_end)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(write_end,),
                cwd=log_path.parent,  # Python looks for modules there; the caller's may hold anything
                start_new_session=True,  # a Ctrl-C reaches this process, which then ends that one
                env=worker_environment(),
            )
        stack.callback(_end, process, events)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(msgspec.json.encode(task))
        outcome: Outcome | None = None
        notes: list[str] = []
        failure: Event | None = None
        for line in events:
            event = msgspec.json.decode(line, type=Event)
            if event.outcome is not None:
                outcome = event.outcome
            elif event.error:
                failure = event
            else:
                if event.note:
                    notes.append(event.note)
                if event.note or event.phase:
                    progress(msgspec.structs.replace(event, engine=task.job.name))
        code = process.wait()
    if failure is not None:
        _raise(task.job, failure)
    if code != 0 or outcome is None:
        _raise_crash(task.job, code, log_path)
    return outcome, notes


class WorkerError(Exception):
    """The traceback of a build's process, as the cause of the error that is raised here."""


def _raise(job: Job, failure: Event) -> NoReturn:
    cause = WorkerError(f"in the build's process:\n{failure.traceback}")
    if failure.error_type == "DiskFull":
        raise errors.BundleError(
            f"the disk is full: {failure.error}; the bundle is as it was before; free some space and build again"
        ) from cause
    kind = getattr(errors, failure.error_type, None)
    if failure.error_type == "MissingPackageError" or not (
        isinstance(kind, type) and issubclass(kind, errors.NavitEdgeError)
    ):
        message = f"building {job.name} failed: {failure.error_type}: {failure.error}"
        raise errors.BackendError(f"{message}; run again with --debug for the details") from cause
    raise kind(failure.error) from cause


def _raise_crash(job: Job, code: int, log_path: Path) -> NoReturn:
    tail = log_path.read_text(errors="replace").strip().splitlines()[-20:]
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    hint = "; the machine may be out of memory" if code == -signal.SIGKILL else ""
    last = f"; it said last: {tail[-1]}" if tail else ""
    raise errors.BackendError(
        f"building {job.name} failed: its process {how}{hint}{last}; the bundle is as it was before"
    ) from WorkerError("its output:\n" + "\n".join(tail))


def _end(process: subprocess.Popen[bytes], events: IO[bytes]) -> None:
    """Ends a build that is still running: nobody listens to it any more, at which TensorRT's monitor cancels it."""
    events.close()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
    finally:  # also if a second Ctrl-C ends the waiting
        if process.poll() is None:
            process.kill()
            process.wait()


def _inputs(manifest: Manifest, job: Job) -> dict[str, File]:
    """The files that the build reads: the graph and the weights that lie beside it."""
    directory = job.graph.file.rpartition("/")[0]
    return {
        name: file
        for name, file in manifest.files.items()
        if name == job.graph.file or (name.rpartition("/")[0] == directory and not name.endswith(".onnx"))
    }


def _key(job: Job, plan: EnginePlan, inputs: dict[str, File]) -> str:
    """What decides one engine: the graph, the options and the versions. Notes are for the reader."""
    content = msgspec.json.encode({"job": job.decisive(plan), "inputs": inputs}, order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _kin(job: Job) -> bytes:
    """The same for jobs that differ in nothing but their budgets: what is fused in one is fused in all."""
    return msgspec.json.encode(msgspec.structs.replace(job.decisive(job.engines[0]), name="", engines=(), budgets=()))


def _standing(bundle: Path, job: Job, inputs: dict[str, File], *, require_fused: bool) -> list[Engine]:
    """The job's engines, if the bundle holds all of them, built of the same things and unaltered; else [].

    With ``require_fused`` an engine whose fusion was not proven as strictly does not count.
    """
    manifest = manifests.load(bundle)
    by_id = {engine.id: engine for engine in (*manifest.engines, *manifests.text_engines(manifest))}
    standing: list[Engine] = []
    for plan in job.engines:
        engine = by_id.get(plan.id)
        if engine is None or engine.report is None:
            return []
        try:
            hashing.verify_files(bundle, manifest, [engine.file])
            report = decode_json(hashing.read_file(bundle, manifest, engine.report), BuildReport, source=engine.report)
        except errors.BundleError:
            return []
        if report.key != _key(job, plan, inputs):
            return []
        if require_fused and not (report.fused and report.fusion is not None and report.fusion.method == "probe"):
            return []
        standing.append(engine)
    return standing
