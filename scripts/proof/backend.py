"""Step "backend": our TensorRT back end, end to end, on a driver; TensorRT itself is a stand-in (tests/gpu).

Images go through a session: decoding aside, all of what a user has but TensorRT's kernels, in whose place a CUDA graph
runs that PyTorch captured. A rehearsal runs it on the simulated CUDA of tests/simulator.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import navit_edge as ne
from navit_edge.oracle.distance import Differences
from navit_edge.verify.verify import TOLERANCES
from proof.cuda_calls import Cuda
from proof.graph_numbers import Values
from proof.results import Results
from proof.settings import Settings
from proof.stand_in import StandIn
from proof.stand_in_bundle import Image, expected, opened
from proof.timing import median_us

#: What each figure of this step says of itself.
LABELS = {
    "cuda": "our back end and PyTorch's CUDA graph on this GPU; a stand-in for TensorRT",
    "cpu": "rehearsed on a simulated CUDA, on the CPU: no figure of a GPU",
}
SLOTS = 2
#: The device's memory may move by so much while sessions come and go.
MOST_KEPT_BYTES = 16 << 20
SETTLED = 3  # sessions, after which the driver has what it keeps


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to open a session, and what its engine's report then says."""

    name: str
    engine: str = "stand-in"
    options: Mapping[str, str] = field(default_factory=dict)
    slots: int = SLOTS
    graph: str = "captured"  # how the state of the CUDA graphs begins
    memory: str = ""  # where it is asked for


CASES = (
    Case(name="CUDA graphs captured"),
    Case(name="one slot", slots=1),
    Case(name="CUDA graphs demanded", options={"cuda_graph": "on"}),
    Case(name="no CUDA graphs", options={"cuda_graph": "off"}, graph="off"),
    Case(name="captures refused", engine="stand-in-refuses-captures", graph="fallback"),
    Case(name="mapped memory", options={"host_memory": "mapped"}, memory="mapped"),
    Case(name="copied memory", options={"host_memory": "copied"}, memory="pinned"),
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every case shares."""

    bundle: Path
    libraries: Path
    stand_in: StandIn
    images: Sequence[Image]
    expected: Sequence[Values]

    def session(self, case: Case) -> ne.Session:
        return ne.Session(
            self.bundle,
            engine=case.engine,
            backend_dirs=[self.libraries / "lib"],
            slots=case.slots,
            options={"tensorrt_dir": str(self.stand_in.folder), **case.options},
        )


def run(settings: Settings, results: Results) -> None:
    """Every case, threads, too little memory, and sessions that come and go."""
    results.put("what_ran", LABELS[settings.device])
    cuda = _cuda(settings)
    small = settings.quick or settings.device == "cpu"
    budgets = ((64, 4), (256, 8)) if small else ((256, 8), (1024, 16), (4096, 64))
    images = _images(9 if small else 60)
    target = results.file.with_name("backend.navit")
    with opened(settings, cuda, target, budgets, slots=SLOTS) as stand_in:
        bench = Bench(bundle=target, libraries=settings.libraries, stand_in=stand_in, images=images,
                      expected=expected(settings, images))  # fmt: skip
        for case in CASES:
            _examine(case, bench, settings, results)
        _threads(bench, results)
        _too_large(bench, results)
        _come_and_go(bench, cuda, results, count=8 if settings.quick else 30)
        results.check("no function of TensorRT was called that the stand-in lacks", stand_in.unknown_calls == 0)
    if cuda.simulated:
        report = cuda.report()
        results.put("events of the simulated CUDA", report["events"])
        results.put("rules of CUDA that were broken", report["violations"])
        results.check("no rule of CUDA was broken", not report["violations"])
        results.check("all that was made was released", not report["live"])


def _cuda(settings: Settings) -> Cuda:
    if settings.device == "cpu":
        return Cuda(settings.libraries / "simulator")
    import torch

    torch.cuda.init()  # type: ignore[no-untyped-call]
    return Cuda()


def _images(count: int) -> list[Image]:
    """Of random sizes and pixels; some are resized to their grids."""
    generator = np.random.default_rng(0)
    sizes = [(16 * r, 16 * c) for r, c in ((3, 4), (1, 7), (8, 5))]
    sizes += [(int(h), int(w)) for h, w in generator.integers(30, 170, (count - len(sizes), 2))]
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def _differences(found: Sequence[Any], wanted: Sequence[Values]) -> Differences:
    distance = Differences()
    for result, values in zip(found, wanted, strict=True):
        for name in ("logits", "embedding", "tokens"):
            if name in values:
                distance.add(values[name], getattr(result, name))  # type: ignore[arg-type]
    return distance


def _examine(case: Case, bench: Bench, settings: Settings, results: Results) -> None:
    """All images in two orders, and each alone: the graphs that a first pass captured are replayed on other inputs."""
    limit, count = TOLERANCES["fp32"], len(bench.images)
    told: dict[str, Any] = {"label": LABELS[settings.device]}
    with bench.session(case) as session, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for order in (range(count), range(count)[::-1], np.random.default_rng(1).permutation(count)):
            made = session.run([bench.images[i] for i in order])
            _close(f"{case.name}: together", _differences(made, [bench.expected[i] for i in order]), limit, results)
        alone = [session.run([image])[0] for image in bench.images]
        _close(f"{case.name}: alone", _differences(alone, bench.expected), limit, results)
        report = session.engine_report
        told["engine"] = report
        told["run_us"] = median_us(
            lambda: session.run(list(bench.images)), "cpu", rounds=2 if settings.quick else 9, warmup=1
        )
        told["images_per_s"] = count / told["run_us"] * 1e6
    used = [budget["cuda_graph"] for budget in report["budgets"] if budget["cuda_graph"] != "not yet"]
    results.check(f"{case.name}: CUDA graphs: {case.graph}", all(state.startswith(case.graph) for state in used))
    results.check(f"{case.name}: more than one budget ran", len(used) > 1)
    results.check(f"{case.name}: {case.slots} slots", report["slots"] == case.slots)
    if case.memory:
        results.check(f"{case.name}: {case.memory} memory", report["host_memory"] == case.memory)
    results.check(
        f"{case.name}: the library is the stand-in", report["library_path"].startswith(str(bench.stand_in.folder))
    )
    said = [str(one.message) for one in warned if "without a CUDA graph" in str(one.message)]
    results.check(
        f"{case.name}: a fallback is a warning, once a budget", len(said) == len(used) * (case.graph == "fallback")
    )
    results.put(case.name, told)


def _close(name: str, distance: Differences, limit: Any, results: Results) -> None:
    results.check(
        f"{name}, relative difference", distance.largest_difference / distance.largest, most=limit.max_relative
    )
    results.check(f"{name}, cosine", min(distance.cosines), least=limit.min_cosine)


def _threads(bench: Bench, results: Results) -> None:
    """Threads that share a session, each with images of its own."""
    wrong: list[str] = []
    with bench.session(CASES[0]) as session:

        def embedding(place: int) -> Any:
            return session.run([bench.images[place]])[0].embedding

        before = [embedding(place) for place in range(len(bench.images))]

        def work(place: int) -> None:
            try:
                found = [embedding(place) for _ in range(5)]
                limit = 1e-4 * np.abs(before[place]).max()
                wrong.extend(f"image {place}" for one in found if not np.abs(one - before[place]).max() <= limit)
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")

        workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    results.put("threads", {"wrong": wrong})
    results.check("four threads on one session get their own results", not wrong)


def _too_large(bench: Bench, results: Results) -> None:
    """An arena that no device has is named with what to do, and the next session opens."""
    try:
        bench.session(Case(name="", engine="stand-in-too-large", slots=1)).close()
        message = ""
    except ne.BackendError as error:
        message = str(error)
    results.put("out_of_memory", message)
    words = ("out of memory at slot 1 of 1", "a slot's arena takes", "free without the slots", "--token-budgets")
    results.check("too little memory is named, with numbers and remedy", all(word in message for word in words))
    with bench.session(CASES[0]) as session:
        made = session.run(list(bench.images))
    _close("after too little memory", _differences(made, bench.expected), TOLERANCES["fp32"], results)


def _come_and_go(bench: Bench, cuda: Cuda, results: Results, *, count: int) -> None:
    """Sessions that open, run and close: the device has its memory back."""
    free = []
    for turn in range(count):
        with bench.session(CASES[turn % 2]) as session:
            session.run(list(bench.images))
        free.append(cuda.free_bytes())
    results.put("free_bytes_after_each_session", free)
    kept = free[SETTLED - 1] - free[-1]
    results.check(f"{count} sessions: bytes that the device has not back", kept, most=MOST_KEPT_BYTES)
