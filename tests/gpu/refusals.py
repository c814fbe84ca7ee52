"""What the stand-in of this directory and our back end refuse on it, in a process of its own, on the simulated CUDA.

Usage: python refusals.py LIBRARIES BUNDLE FOLDER. The last line printed is JSON: case -> what was said, or given.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proof import backend, subject
from proof.cuda_calls import Cuda
from proof.settings import Settings
from proof.subject import Subject

import navit_edge as ne


def main() -> None:
    """Every case."""
    libraries, bundle, folder = (Path(argument) for argument in sys.argv[1:])
    settings = Settings(device="cpu", quick=True, bundle=bundle, libraries=libraries)
    told: dict[str, Any] = {}
    target = folder / "refusals.navit"
    with subject.opened(settings, target, slots=1) as one:
        cuda, stand_in = one.cuda, one.stand_in
        assert cuda is not None
        assert stand_in is not None

        def open_it(slots: int = 1) -> Callable[[], object]:
            return lambda: one.session(slots=slots).close()

        told["two slots of one graph"] = _said(open_it(slots=2))
        with one.session(slots=1):
            told["a graph that another session has"] = _said(open_it())
        told["closed again"] = _said(open_it())
        told["graphs demanded of a plan that refuses captures"] = _said(
            lambda: _run(one, {"cuda_graph": "on"}, "stand-in-refuses-captures")
        )
        for name, plan in (("no plan", b"\0\1\2\3 a plan of TensorRT's"), ("a model that no one captured", b"")):
            file = target / "engines" / "stand-in.plan"
            kept = file.read_bytes()
            file.write_bytes(plan or stand_in.plan("other"))
            _seal(target)
            told[name] = _said(open_it())
            file.write_bytes(kept)
            _seal(target)
        told["afterwards"] = _said(open_it())
        told["unknown calls"] = stand_in.unknown_calls
    report = cuda.report()
    told["broken rules"], told["alive"] = report["violations"], report["live"]
    told["a child graph that nothing waits for"] = _unordered(cuda, libraries)
    print(json.dumps(told))


def _run(one: Subject, options: dict[str, str], engine: str) -> None:
    with one.session(slots=1, options=options, engine=engine) as session:
        session.run(backend.random_images(3))


def _said(call: Callable[[], object]) -> str:
    try:
        call()
    except ne.BackendError as error:
        return str(error)
    return ""


def _seal(target: Path) -> None:
    from navit_edge.bundle import manifest as manifests
    from navit_edge.bundle import publish

    publish.seal(target, manifests.load(target))


def _unordered(cuda: Cuda, libraries: Path) -> list[str]:
    """The simulated CUDA's own rule: a node is added to a capture, and the stream goes on without it."""
    driver = ctypes.CDLL(str(libraries / "simulator" / "cuda" / "libcuda.so.1"))
    stream = cuda.make_stream()
    child, graph, node = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    for made in (child, graph):
        cuda.call("cudaStreamBeginCapture", stream, 0)
        if made is graph:
            status, identity, captured = ctypes.c_int(), ctypes.c_uint64(), ctypes.c_void_p()
            after, count = ctypes.c_void_p(), ctypes.c_size_t()
            driver.cuStreamGetCaptureInfo_v2(
                stream, ctypes.byref(status), ctypes.byref(identity), ctypes.byref(captured), ctypes.byref(after),
                ctypes.byref(count),
            )  # fmt: skip
            driver.cuGraphAddChildGraphNode(ctypes.byref(node), captured, after, count, child)
        cuda.call("cudaStreamEndCapture", stream, ctypes.byref(made))
    for made in (child, graph):
        cuda.call("cudaGraphDestroy", made)
    cuda.call("cudaStreamDestroy", stream)
    broken: list[str] = cuda.report()["violations"]
    return broken


if __name__ == "__main__":
    main()
