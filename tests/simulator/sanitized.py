"""Rehearses the TensorRT backend on its stand-ins under the address, undefined-behaviour and thread sanitizers.

Usage: python tests/simulator/sanitized.py. Builds what it needs; ends with 1 where a sanitizer finds anything.
OpenVINO and Python are not instrumented: what they do among themselves is not looked at.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # first: its conftest.py, not that of tests/python

import tensorrt_build as trt
from conftest import export_tiny_bundle, make_tiny_model
from test_tensorrt_slots import check_faults_in_flight
from tiny_bundle import make_bundle, pack_inputs

BUDGETS = [(64, 4), (256, 8)]
GRIDS = [[(3, 4), (2, 2)], [(5, 5)], [(8, 8), (7, 6), (1, 9)], [(12, 10), (4, 4)]]
RUNTIMES = {"address,undefined": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0:halt_on_error=1",  # the stand-ins count what is alive
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:ignore_noninstrumented_modules=1:exitcode=66",
}


def main() -> None:
    """Runs every scenario under every sanitizer."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        bundle = make_bundle(place / "tiny.navit")
        plan = trt.simulated_plan(bundle / "graphs" / "masked.onnx", BUDGETS)
        (place / "test.plan").write_bytes(plan)
        trt.with_tensorrt_engine(bundle, plan, BUDGETS)
        packs = {}
        for index, grids in enumerate(GRIDS):
            tokens, images = BUDGETS[index // 2]
            for key, value in pack_inputs(grids, tokens=tokens, images=images, seed=index).items():
                packs[f"{index}/{key}"] = value
        np.savez(place / "packs.npz", **packs)
        pixels = np.random.default_rng(0)
        small, large = (pixels.integers(0, 256, (*size, 3), np.uint8) for size in ((20, 20), (50, 60)))
        np.savez(place / "images.npz", small=small, large=large)
        export_tiny_bundle(make_tiny_model(), place / "small.navit")

        for sanitize, runtimes in RUNTIMES.items():
            tree = trt.build(sanitize)
            preload = [str(tree / "simulator" / "libno_deepbind.so"), *(_runtime(name) for name in runtimes)]
            common = {
                "libraries": [tree / "simulator" / name for name in ("cuda", "cudart", "nvinfer")],
                "settings": {"LD_PRELOAD": ":".join(preload), **OPTIONS},
                "backend": tree / "lib",
            }
            results = place / "results.npz"
            report = trt.rehearse(
                "slots", plan=place / "test.plan", packs=place / "packs.npz", results=results, **common
            )
            assert not report["failures"], report
            print(f"{sanitize}: two slots at once: {report['events']}")
            assert not report["violations"], report
            swept = trt.rehearse("faults_in_flight", plan=place / "test.plan", packs=place / "packs.npz", **common)
            check_faults_in_flight(swept["steps"], captures=True)
            print(f"{sanitize}: a fault at each of {len(swept['steps'])} calls in turn, two slots in flight")
            report = trt.rehearse("threads", bundle=bundle, images=place / "images.npz", **common)
            assert not report["wrong"], report
            print(f"{sanitize}: four threads on one session: {report['events']}")
            swept = trt.rehearse("faults", bundle=bundle, images=place / "images.npz", **common)
            wrong = [step for step in swept["steps"] if step["violations"] or step["live"] or step["wrong"]]
            assert not wrong, wrong
            print(f"{sanitize}: a fault at each of {len(swept['steps']) - 1} calls in turn")
            shown = trt.conformance(place / "small.navit", sanitize, common["settings"])
            print(f"{sanitize}: tests/conformance: {shown.splitlines()[-1].strip('= ')}")


def _runtime(name: str) -> str:
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"gcc has no {name}; install the sanitizers of its version")
    return found


if __name__ == "__main__":
    main()
