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
from typing import Any

import numpy as np
import numpy.typing as npt

import navit_edge as ne

Images = list[npt.NDArray[np.uint8]]
ENGINE = "tensorrt-test"
OUTPUTS = ("logits", "embedding", "tokens")


class Stand:
    """The controls of the stand-ins."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcudart.so.12")

    def reset(self, fail_at: int = 0) -> None:
        """Starts afresh, as a new process would; call number ``fail_at`` will fail."""
        self._library.navit_edge_sim_reset(ctypes.c_long(fail_at))

    def report(self) -> dict[str, Any]:
        """Calls, broken rules, objects alive and events since the reset."""
        text = ctypes.create_string_buffer(1 << 16)
        self._library.navit_edge_sim_report(text, ctypes.c_size_t(len(text)))
        found: dict[str, Any] = json.loads(text.value)
        return found


def _session(bundle: str, backend: str, options: dict[str, str] | None = None, slots: int = 0) -> ne.Session:
    return ne.Session(bundle, engine=ENGINE, backend_dirs=[backend], options=options, slots=slots)


def _images(path: str) -> Images:
    with np.load(path) as archive:
        return [archive[name] for name in archive.files]


def open_(bundle: str, backend: str, options: dict[str, str] | None = None) -> dict[str, Any]:
    """Opens a bundle: the device, or the error."""
    try:
        return {"device": _session(bundle, backend, options).device}
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
    device = session.device
    del result, session
    gc.collect()
    return {"device": device, "packs": packs, **stand.report()}


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
    from backend_abi import OpenEngine

    stand = Stand()
    with np.load(packs) as archive:
        count = 1 + max(int(name.split("/")[0]) for name in archive.files)
        given = [
            {name.split("/")[1]: archive[name] for name in archive.files if int(name.split("/")[0]) == pack}
            for pack in range(count)
        ]
    engine = OpenEngine(f"{backend}/libnavit_edge_tensorrt.so", plan, slots=2, options=options)
    made: dict[str, npt.NDArray[np.float32]] = {}
    failures: list[str] = []

    def work(slot: int) -> None:
        try:
            for repeat in range(repeats):
                for pack in np.random.default_rng([slot, repeat]).permutation(count):
                    t, n = len(given[pack]["patches"]), len(given[pack]["grid_hw"])
                    shapes = {"logits": (n, 5), "embedding": (n, 64), "tokens": (t, 64)}
                    for name, value in engine.run(slot, given[pack], shapes).items():
                        made[f"{slot}/{repeat}/{pack}/{name}"] = value
        except Exception as error:
            failures.append(f"slot {slot}: {error}")

    workers = [threading.Thread(target=work, args=(slot,)) for slot in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    engine.close()
    np.savez(results, **made)
    return {"failures": failures, **stand.report()}


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


SCENARIOS = {"open": open_, "numerics": numerics, "threads": threads, "slots": slots, "faults": faults}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](**json.loads(sys.argv[2]))))
