"""Step "backend": sessions end to end, opened in every way that our back end has.

Images go through a session: decoding aside, all of what a user has. The engine is one that was built, or one on the
stand-in for TensorRT (tests/gpu), in whose place a CUDA graph runs that PyTorch captured; a rehearsal runs that on the
simulated CUDA of tests/simulator.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.oracle.distance import Differences
from proof import foreign, subject
from proof.results import Results
from proof.settings import Settings
from proof.subject import SLOTS, Subject, outputs_of
from proof.timing import median_us

Image = npt.NDArray[np.uint8]
Values = Mapping[str, npt.NDArray[Any]]
#: The device's memory may move by so much while sessions come and go.
MOST_KEPT_BYTES = 16 << 20
SETTLED = 3  # sessions, after which the driver has what it keeps


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to open a session, and what its engine's report then says."""

    name: str
    engine: str = ""  # in place of the subject's own
    options: Mapping[str, str] = field(default_factory=dict)
    slots: int = SLOTS
    graph: str = "captured"  # how the state of the CUDA graphs begins
    memory: str = ""  # where it is asked for


#: Of an engine that needs no CUDA, the names of the first two only.
DEFAULT, ONE_SLOT = Case(name="two slots"), Case(name="one slot", slots=1)
ON_TENSORRT = (
    Case(name="CUDA graphs demanded", options={"cuda_graph": "on"}),
    Case(name="no CUDA graphs", options={"cuda_graph": "off"}, graph="off"),
    Case(name="mapped memory", options={"host_memory": "mapped"}, memory="mapped"),
    Case(name="copied memory", options={"host_memory": "copied"}, memory="pinned"),
)
ON_THE_STAND_IN = (Case(name="captures refused", engine="stand-in-refuses-captures", graph="fallback"),)
TOO_LARGE = "stand-in-too-large"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every case shares. expected: of each image."""

    subject: Subject
    images: Sequence[Image]
    expected: Sequence[Values]

    def session(self, case: Case) -> ne.Session:
        return self.subject.session(engine=case.engine, slots=case.slots, options=case.options)


def run(settings: Settings, results: Results) -> None:
    """Every case, threads, too little memory, foreign plans, and sessions that come and go."""
    count = 9 if settings.quick or settings.device == "cpu" else 60
    with subject.opened(settings, results.file.with_suffix(".navit")) as one:
        results.put("what_ran", one.label)
        images = random_images(count, manifests.load(one.bundle).preprocess.channels)
        bench = Bench(subject=one, images=images, expected=_expected(settings, one, images))
        cases = (DEFAULT, ONE_SLOT, *ON_TENSORRT * one.on_tensorrt, *ON_THE_STAND_IN * (one.stand_in is not None))
        for case in cases:
            _examine(case, bench, settings, results)
        _threads(bench, results)
        if one.stand_in is not None:
            _too_large(bench, results)
        if one.engine.backend == "tensorrt":
            _foreign_plans(bench, results)
        _come_and_go(bench, results, count=8 if settings.quick else 30)
        if one.stand_in is not None:
            results.check("no function of TensorRT was called that the stand-in lacks", one.stand_in.unknown_calls == 0)
    one.judge_simulation(results)


def random_images(count: int, channels: int = 3) -> list[Image]:
    """Of random sizes and pixels; some are resized to their grids."""
    generator = np.random.default_rng(0)
    sizes = [(16 * r, 16 * c) for r, c in ((3, 4), (1, 7), (8, 5))]
    sizes += [(int(h), int(w)) for h, w in generator.integers(30, 170, (count - len(sizes), 2))]
    return [generator.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]


def _expected(settings: Settings, one: Subject, images: Sequence[Image]) -> Sequence[Values]:
    """On the stand-in the graph in float64. Of a built engine, which `navit-edge verify` judges, what it gives itself
    of each image alone: a session that is opened in another way must not change that."""
    if one.stand_in is not None:
        from proof import stand_in_bundle

        return stand_in_bundle.expected(settings, images)
    with one.session(slots=1) as session:
        return [outputs_of(session.run([image])[0]) for image in images]


def _differences(found: Sequence[Any], wanted: Sequence[Values]) -> Differences:
    distance = Differences()
    for result, values in zip(found, wanted, strict=True):
        for name, value in outputs_of(result).items():
            distance.add(values[name], value)
    return distance


def _examine(case: Case, bench: Bench, settings: Settings, results: Results) -> None:
    """All images in two orders, and each alone: the graphs that a first pass captured are replayed on other inputs."""
    count = len(bench.images)
    told: dict[str, Any] = {"label": bench.subject.label}
    with bench.session(case) as session, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for order in (range(count), range(count)[::-1], np.random.default_rng(1).permutation(count)):
            made = session.run([bench.images[i] for i in order])
            _close(f"{case.name}: together", made, [bench.expected[i] for i in order], bench, results)
        alone = [session.run([image])[0] for image in bench.images]
        _close(f"{case.name}: alone", alone, bench.expected, bench, results)
        told["engine"] = session.engine_report
        told["run_us"] = median_us(
            lambda: session.run(list(bench.images)), "cpu", rounds=2 if settings.quick else 9, warmup=1
        )
        told["images_per_s"] = count / told["run_us"] * 1e6
    results.check(f"{case.name}: {case.slots} slots", told["engine"]["slots"] == case.slots)
    if bench.subject.on_tensorrt:
        said = [str(one.message) for one in warned if "without a CUDA graph" in str(one.message)]
        _judge_report(case, bench, told["engine"], len(said), results)
    results.put(case.name, told)


def _judge_report(case: Case, bench: Bench, report: Mapping[str, Any], fallbacks: int, results: Results) -> None:
    """Of an engine of TensorRT's: CUDA graphs, memory, library. fallbacks: warnings of them."""
    used = [budget["cuda_graph"] for budget in report["budgets"] if budget["cuda_graph"] != "not yet"]
    results.check(f"{case.name}: CUDA graphs: {case.graph}", all(state.startswith(case.graph) for state in used))
    results.check(f"{case.name}: budgets that ran", len(used), least=bench.subject.least_budgets)
    if case.memory:
        results.check(f"{case.name}: {case.memory} memory", report["host_memory"] == case.memory)
    if bench.subject.stand_in is not None:
        folder = str(bench.subject.stand_in.folder)
        results.check(f"{case.name}: the library is the stand-in", report["library_path"].startswith(folder))
    results.check(
        f"{case.name}: a fallback is a warning, once a budget", fallbacks == len(used) * (case.graph == "fallback")
    )


def _close(name: str, found: Sequence[Any], wanted: Sequence[Values], bench: Bench, results: Results) -> None:
    distance, limit = _differences(found, wanted), bench.subject.limit
    relative = distance.largest_difference / distance.largest
    results.check(f"{name}, relative difference", relative, most=limit.max_relative)
    results.check(f"{name}, cosine", min(distance.cosines), least=limit.min_cosine)


def _threads(bench: Bench, results: Results) -> None:
    """Threads that share a session, each with images of its own."""
    wrong: list[str] = []
    most = bench.subject.limit.max_relative
    with bench.session(DEFAULT) as session:

        def first_output(place: int) -> Any:
            return next(iter(outputs_of(session.run([bench.images[place]])[0]).values()))

        before = [first_output(place) for place in range(len(bench.images))]

        def work(place: int) -> None:
            try:
                found = [first_output(place) for _ in range(5)]
                limit = most * np.abs(before[place]).max()
                wrong.extend(f"image {place}" for one in found if not np.abs(one - before[place]).max() <= limit)
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")

        workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    results.put("threads", {"wrong": wrong})
    results.check("four threads on one session: results that are not their own", len(wrong), most=0)


def _too_large(bench: Bench, results: Results) -> None:
    """An arena that no device has is named with what to do, and the next session opens."""
    try:
        bench.session(Case(name="", engine=TOO_LARGE, slots=1)).close()
        message = ""
    except ne.BackendError as error:
        message = str(error)
    results.put("out_of_memory", message)
    for words in ("out of memory at slot 1 of 1", "a slot's arena takes", "free without the slots", "--token-budgets"):
        results.check(f"too little memory: says {words!r}", words in message)
    with bench.session(DEFAULT) as session:
        _close("after too little memory", session.run(list(bench.images)), bench.expected, bench, results)


def _foreign_plans(bench: Bench, results: Results) -> None:
    """Plans that this TensorRT cannot open are refused with what to do."""
    one = bench.subject
    with bench.session(DEFAULT) as session:
        version = session.engine_report["library_version"]
        cuda = one.opened_cuda()
    target = f"sm{cuda.capability()}" if cuda is not None else one.engine.target
    said = foreign.refusals(
        one.bundle, results.file.with_name("foreign.navit"), version=version, target_name=target, options=one.options,
        backend_dirs=one.backend_dirs,
    )  # fmt: skip
    results.put("foreign_plans", said)
    foreign.judge(said, version, "foreign plans", results)


def _come_and_go(bench: Bench, results: Results, *, count: int) -> None:
    """Sessions that open, run and close: the device has its memory back."""
    free = []
    for turn in range(count):
        with bench.session((DEFAULT, ONE_SLOT)[turn % 2]) as session:
            session.run(list(bench.images))
            cuda = bench.subject.opened_cuda()
        if cuda is not None:
            free.append(cuda.free_bytes())
    if not free:
        results.put("free_bytes_after_each_session", f"left out: {bench.subject.engine.backend} has no CUDA runtime")
        return
    results.put("free_bytes_after_each_session", free)
    kept = free[SETTLED - 1] - free[-1]
    results.check(f"{count} sessions: bytes that the device has not back", kept, most=MOST_KEPT_BYTES)
