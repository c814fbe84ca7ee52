"""Scenarios with several packs in flight, run as those of rehearsal.py: in a process whose library path decides what
stands for NVIDIA's libraries. With the stand-ins they show our host logic, not how NVIDIA's libraries behave.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import numpy as np
from rehearsal import OUTPUTS, Stand, _images

import navit_edge as ne


def runs(
    bundle: str,
    backend: str,
    images: str,
    results: str,
    sessions: list[dict[str, Any]],
    options: dict[str, str] | None = None,
    repeats: int = 2,
) -> dict[str, Any]:
    """Opens a session with the arguments of each of ``sessions``; runs all images, several times, then each alone.

    Writes every output of every run, under "<session>/<run>/<image>/<output>". Gives for each session what it says of
    itself and of its packs.
    """
    stand, pixels = Stand(), _images(images)
    made: dict[str, Any] = {}
    found = []
    for number, arguments in enumerate(sessions):
        session = ne.Session(bundle, backend_dirs=[backend], options=options, **arguments)
        packs, most = [], []
        turns = [list(range(len(pixels)))] * repeats + [[index] for index in range(len(pixels))]
        for turn, indices in enumerate(turns):
            for index, result in zip(indices, session.run([pixels[i] for i in indices]), strict=True):
                made |= {f"{number}/{turn}/{index}/{name}": getattr(result, name) for name in OUTPUTS}
            packs.append(session.last_report["packs"])
            most.append(session.last_report["most_in_flight"])
        engine, slots, detail = session.engine, session.slots, session.candidates[-1][2]
        found.append({"engine": engine, "slots": slots, "detail": detail, "packs": packs, "most_in_flight": most})
        del result, session
    np.savez(results, **made)
    gc.collect()
    return {"sessions": found, **stand.report()}


def error(bundle: str, backend: str, options: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """Opens a session: its slots and what it says of itself, or the error."""
    stand = Stand()
    try:
        session = ne.Session(bundle, backend_dirs=[backend], options=options, **arguments)
        found: dict[str, Any] = {"slots": session.slots, "detail": session.candidates[-1][2]}
        del session
    except ne.NavitEdgeError as failure:
        found = {"type": type(failure).__name__, "message": str(failure)}
    gc.collect()
    return {**found, **stand.report()}


def faults(
    bundle: str, backend: str, images: str, slots: int, engine: str, stride: int, options: dict[str, str] | None = None
) -> dict[str, Any]:
    """Lets calls fail while several packs are in flight: every ``stride``-th of the first two runs of a session."""
    stand, pixels = Stand(), _images(images)

    def open_session() -> ne.Session:
        return ne.Session(bundle, backend_dirs=[backend], options=options, slots=slots, engine=engine)

    stand.reset()
    session = open_session()
    opened = stand.report()["calls"]
    clean = [result.embedding for result in session.run(pixels)]
    most = session.last_report["most_in_flight"]
    session.run(pixels)
    calls = stand.report()["calls"]
    del session
    steps = []
    for number in range(opened + 1, calls + 1, stride):
        gc.collect()
        stand.reset(number)
        step: dict[str, Any] = {"errors": [], "wrong": 0, "after": ""}
        session = open_session()
        for _ in range(3):
            try:
                found = [result.embedding for result in session.run(pixels)]
            except ne.NavitEdgeError as failure:
                step["errors"].append(f"{type(failure).__name__}: {failure}")
                step["after"] = "broken" if "this engine is broken" in str(failure) else "failed once"
            else:
                step["wrong"] += sum(not np.allclose(a, b, atol=1e-5) for a, b in zip(found, clean, strict=True))
                step["after"] = "works"
        del session
        gc.collect()
        step |= stand.report()
        steps.append(step)
    return {"most_in_flight": most, "steps": steps}


SCENARIOS = {"runs": runs, "error": error, "faults": faults}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](**json.loads(sys.argv[2]))))
