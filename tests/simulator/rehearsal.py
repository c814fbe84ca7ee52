"""Scenarios that tests run in a process of their own, whose library path decides what stands for NVIDIA's libraries.

Usage: python rehearsal.py SCENARIO JSON_ARGUMENTS. The last line printed is the scenario's result in JSON.
With the stand-ins of this directory a rehearsal shows our host logic, not how NVIDIA's libraries behave.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import navit_edge as ne

if TYPE_CHECKING:
    from backend_abi import Arrays, OpenEngine

Images = list[npt.NDArray[np.uint8]]
ENGINE = "tensorrt-test"
OUTPUTS = ("logits", "embedding", "tokens")
COPIES = ("copy to the device", "copy from the device")


class Stand:
    """The controls of the stand-ins."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcudart.so.12")

    def reset(self, fail_at: int = 0) -> None:
        """Starts afresh, as a new process would; call number ``fail_at`` will fail."""
        self._library.navit_edge_sim_reset(ctypes.c_long(fail_at))

    def fail_next(self, call: str) -> None:
        """The next call named ``call`` will fail."""
        self._library.navit_edge_sim_fail_next(call.encode())

    def report(self) -> dict[str, Any]:
        """Calls, broken rules, objects alive and events since the reset."""
        text = ctypes.create_string_buffer(1 << 16)
        self._library.navit_edge_sim_report(text, ctypes.c_size_t(len(text)))
        found: dict[str, Any] = json.loads(text.value)
        return found

    def protect(self, array: npt.NDArray[Any], read_only: bool) -> None:
        """A write to page-locked memory that is read only ends the process."""
        address, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        assert self._library.navit_edge_sim_protect(address, size, int(read_only)) == 0


def _session(bundle: str, backend: str, options: dict[str, str] | None = None, slots: int = 0) -> ne.Session:
    return ne.Session(bundle, engine=ENGINE, backend_dirs=[backend], options=options, slots=slots)


def _images(path: str) -> Images:
    with np.load(path) as archive:
        return [archive[name] for name in archive.files]


def open_(bundle: str, backend: str, options: dict[str, str] | None = None) -> dict[str, Any]:
    """Opens a bundle: the device, or the error."""
    try:
        session = _session(bundle, backend, options)
        return {"device": session.device, "engine": session.engine_report}
    except ne.NavitEdgeError as error:
        return {"type": type(error).__name__, "message": str(error)}


def numerics(
    bundle: str, backend: str, images: str, results: str, options: dict[str, str] | None = None, repeats: int = 3
) -> dict[str, Any]:
    """Runs all images together, several times, and each alone; writes every output of every run."""
    stand, pixels = Stand(), _images(images)
    session = _session(bundle, backend, options)
    made: dict[str, Any] = {}
    packs = []
    before = session.engine_report
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for repeat in range(repeats):
            # Another order each time: what a replay would keep of the last run shows.
            order = np.random.default_rng(repeat).permutation(len(pixels))
            for place, result in zip(order, session.run([pixels[i] for i in order]), strict=True):
                made |= {f"together{repeat}_{place}_{name}": getattr(result, name) for name in OUTPUTS}
            packs.append([pack["budget_tokens"] for pack in session.last_report["packs"]])
        for place, image in enumerate(pixels):
            result = session.run([image])[0]
            made |= {f"alone_{place}_{name}": getattr(result, name) for name in OUTPUTS}
    np.savez(results, **made)
    found = {"device": session.device, "before": before, "engine": session.engine_report}
    found["warnings"] = [str(warning.message) for warning in warned]
    del result, session
    gc.collect()
    return {**found, "packs": packs, **stand.report()}


def threads(bundle: str, backend: str, images: str) -> dict[str, Any]:
    """One session, four threads with images of their own: whether each gets what it got alone."""
    stand, pixels = Stand(), _images(images)
    session = _session(bundle, backend)
    alone = [session.run([image])[0].embedding for image in pixels]
    wrong: list[str] = []

    def work(index: int, session: ne.Session) -> None:
        for _ in range(5):
            found = session.run([pixels[index]])[0].embedding
            if not np.array_equal(found, alone[index]):
                wrong.append(f"image {index}")

    workers = [threading.Thread(target=work, args=(i % len(pixels), session)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    del session
    gc.collect()
    return {"wrong": wrong, **stand.report()}


def slots(
    backend: str, plan: str, packs: str, results: str, repeats: int = 8, options: dict[str, str] | None = None
) -> dict[str, Any]:
    """One engine with two slots, a thread on each: every thread runs every pack, in an order of its own."""
    stand, given = Stand(), _packs(packs)
    engine = _engine(backend, plan, 2, options)
    made: dict[str, npt.NDArray[np.float32]] = {}
    failures: list[str] = []

    def work(slot: int) -> None:
        try:
            for repeat in range(repeats):
                for pack in np.random.default_rng([slot, repeat]).permutation(len(given)):
                    for name, value in _run(engine, slot, given[pack]).items():
                        made[f"{slot}/{repeat}/{pack}/{name}"] = value
                    engine.report()  # from the thread of a slot, beside the other's runs
        except Exception as error:
            failures.append(f"slot {slot}: {error}")

    _two_threads(work)
    engine_report = engine.report()
    engine.close()
    np.savez(results, **made)
    return {"failures": failures, "engine": engine_report, **stand.report()}


def lent(backend: str, plan: str, packs: str, results: str, options: dict[str, str] | None = None) -> dict[str, Any]:
    """Packs in the engine's own memory, which nothing may write to while they run, between packs of the caller's."""
    stand, given = Stand(), _packs(packs)
    engine = _engine(backend, plan, 2, options)
    made: dict[str, npt.NDArray[np.float32]] = {}
    copies = []
    for turn, pack in enumerate([0, 1, 2, 0, 1, 3, 2]):
        for slot in (0, 1):
            arrays = engine.lend(slot, given[pack])
            for array in arrays.values():
                assert array.ctypes.data % 64 == 0
                stand.protect(array, True)
            before = stand.report()["events"]
            for name, value in _run(engine, slot, arrays).items():
                made[f"lent/{turn}/{slot}/{pack}/{name}"] = value
            after = stand.report()["events"]
            copies.append([after.get(kind, 0) - before.get(kind, 0) for kind in COPIES])
            for array in arrays.values():
                stand.protect(array, False)
            for name, value in _run(engine, slot, given[3 - pack]).items():
                made[f"copied/{turn}/{slot}/{3 - pack}/{name}"] = value
    none = [engine.memory(0, "tokens", 4), engine.memory(0, "nothing", 4), engine.memory(0, "patches", 1 << 30)]
    refused = []
    for ask in (lambda: engine.memory(2, "patches", 4), lambda: engine.query("nothing")):
        try:
            ask()
        except Exception as error:
            refused.append(str(error))
    cut = [engine.query("report"), engine.query("report", 20), engine.query("report", 1)]
    engine.close()
    np.savez(results, **made)
    return {"copies": copies, "none": none, "refused": refused, "cut": cut, **stand.report()}


def refusals(backend: str, plan: str, packs: str) -> dict[str, Any]:
    """Two slots fail at once, each at a budget of its own: what each is told."""
    stand, given = Stand(), _packs(packs)
    engine = _engine(backend, plan, 2)
    told: dict[int, list[str]] = {0: [], 1: []}

    def work(slot: int) -> None:
        for _ in range(5):
            try:
                _run(engine, slot, given[2 * slot])
            except Exception as error:
                told[slot].append(str(error))

    _two_threads(work)
    engine.close()
    return {"told": [told[0], told[1]], **stand.report()}


def leaks(backend: str, plan: str, packs: str, options: dict[str, str] | None = None) -> dict[str, Any]:
    """Opens, runs and closes an engine again and again: what is alive after each, and the process's memory."""
    stand, given = Stand(), _packs(packs)
    alive, memory_kib = [], []
    for _ in range(30):
        engine = _engine(backend, plan, 2, options)
        for _ in range(3):
            for pack in given:
                _run(engine, 0, pack)
        engine.close()
        alive.append(stand.report()["live"])
        status = Path("/proc/self/status").read_text().split("VmRSS:")[1]
        memory_kib.append(int(status.split()[0]))
    return {"alive": alive, "memory_kib": memory_kib, **stand.report()}


# What two slots call at once. A sweep by number may miss one of them, as the order of their calls is another each time.
CALLED_IN_FLIGHT = ("cudaMemcpyAsync", "cudaStreamSynchronize", "enqueueV3")
CAPTURE_CALLS = ("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphLaunch")


def faults_in_flight(backend: str, plan: str, packs: str, options: dict[str, str] | None = None) -> dict[str, Any]:
    """Lets each call fail in turn while two slots run, by number and by name; then what each slot says afterwards."""
    stand, given = Stand(), _packs(packs)
    engine = _engine(backend, plan, 2, options)
    clean = [_run(engine, 0, pack) for pack in given]
    engine.close()

    def life(call: str = "") -> dict[str, Any]:
        step: dict[str, Any] = {"errors": [], "wrong": 0, "after": ["not opened"]}
        try:
            engine = _engine(backend, plan, 2, options)
        except Exception as error:
            step["errors"].append(str(error))
            return {**step, "in_flight": False, **stand.report()}

        def work(slot: int) -> None:
            for pack in (2 * slot, 2 * slot + 1, 2 * slot):
                try:
                    found = _run(engine, slot, given[pack])
                except Exception as error:
                    step["errors"].append(str(error))
                else:
                    step["wrong"] += _differ(found, clean[pack])

        if call:
            stand.fail_next(call)
        _two_threads(work)
        step["in_flight"] = bool(stand.report()["failed_call"])
        step["after"] = []
        for slot in (0, 1):
            try:
                found = _run(engine, slot, given[slot])
            except Exception as error:
                step["errors"].append(str(error))
                step["after"].append("broken" if "engine is broken" in str(error) else "failed")
            else:
                step["wrong"] += _differ(found, clean[slot])
                step["after"].append("works")
        step["broken"] = engine.report().get("broken", "")
        engine.close()
        return {**step, **stand.report()}

    captures = (options or {}).get("cuda_graph") != "off"
    steps = []
    for call in CALLED_IN_FLIGHT + (CAPTURE_CALLS if captures else ()):
        stand.reset()
        steps.append({"call": call, **life(call)})
    for number in range(1, 5000):
        stand.reset(number)
        step = life()
        if step["after"] != ["not opened"] and not step["in_flight"]:
            return {"steps": steps}  # no call that is made while the slots run has this number
        steps.append(step)
    raise AssertionError("the faults found no end")


def _packs(path: str) -> list[Arrays]:
    with np.load(path) as archive:
        count = 1 + max(int(name.split("/")[0]) for name in archive.files)
        return [
            {name.split("/")[1]: archive[name] for name in archive.files if int(name.split("/")[0]) == pack}
            for pack in range(count)
        ]


def _engine(backend: str, plan: str, slots: int, options: dict[str, str] | None = None) -> OpenEngine:
    from backend_abi import OpenEngine

    return OpenEngine(f"{backend}/libnavit_edge_tensorrt.so", plan, slots=slots, options=options)


def _run(engine: OpenEngine, slot: int, pack: Arrays) -> Arrays:
    t, n = len(pack["patches"]), len(pack["grid_hw"])
    return engine.run(slot, pack, {"logits": (n, 5), "embedding": (n, 64), "tokens": (t, 64)})


def _differ(found: Arrays, expected: Arrays) -> bool:
    return not all(np.allclose(found[name], expected[name], atol=1e-5, equal_nan=True) for name in expected)


def _two_threads(work: Callable[[int], None]) -> None:
    workers = [threading.Thread(target=work, args=(slot,)) for slot in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def faults(bundle: str, backend: str, images: str, options: dict[str, str] | None = None) -> dict[str, Any]:
    """Lets each call fail in turn, first while the libraries are loaded, then in a whole life of a session.

    With one slot, which is an error where it does not open; the default would try again.
    """
    stand, pixels = Stand(), _images(images)
    loading = []
    for number in range(1, 1000):
        stand.reset(number)
        try:
            session = _session(bundle, backend, options, slots=1)
        except ne.NavitEdgeError as error:
            loading.append({"call": stand.report()["failed_call"], "message": str(error)})
            continue
        break
    stand.reset()
    clean = [session.run([image])[0].embedding for image in pixels]
    del session

    steps = []
    for number in range(1, 5000):
        gc.collect()
        stand.reset(number)
        step: dict[str, Any] = {"errors": [], "wrong": 0, "after": "not opened"}
        session = None
        try:
            session = _session(bundle, backend, options, slots=1)
        except ne.NavitEdgeError as error:
            step["errors"].append(f"{type(error).__name__}: {error}")
        if session is not None:
            step["after"] = "works"
            for turn in range(4):
                if turn == 3 and not step["errors"]:
                    break  # the last turn shows what follows a fault in the one before
                for image, expected in zip(pixels, clean, strict=True):
                    try:
                        found = session.run([image])[0].embedding
                    except ne.NavitEdgeError as error:
                        step["errors"].append(f"{type(error).__name__}: {error}")
                        step["after"] = "broken" if "this engine is broken" in str(error) else "failed once"
                    else:
                        step["wrong"] += not np.allclose(found, expected, atol=1e-5)
                        step["after"] = "works"
            del session
        gc.collect()
        step |= stand.report()
        steps.append(step)
        if not step["failed_call"]:
            return {"loading": loading, "steps": steps}
        stand.reset()
        _session(bundle, backend, options, slots=1)  # a process that starts again works
    raise AssertionError("the faults found no end")


SCENARIOS = {
    "open": open_,
    "numerics": numerics,
    "threads": threads,
    "slots": slots,
    "lent": lent,
    "refusals": refusals,
    "leaks": leaks,
    "faults": faults,
    "faults_in_flight": faults_in_flight,
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](**json.loads(sys.argv[2]))))
