"""NVIDIA's own lean runtime, part of step "environment": our back end opens it, and it refuses a foreign plan.

It is the only library of TensorRT's that is on a public index, and it builds nothing; so no engine runs here.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import navit_edge as ne
from navit_edge.machine.libraries import shared_objects
from proof.engines import copy_with_engines
from proof.results import Results
from proof.settings import Settings

PACKAGE, NAME = "tensorrt_lean_libs", "libnvinfer_lean.so.10"
#: Of another version than any library that is opened here.
OLD_VERSION = "10.3.0"


def run(settings: Settings, results: Results, capability: int) -> None:
    """What is said of a plan that is none, and of one of another version; without a driver, of the driver."""
    file = next((Path(one) for one in [str(settings.libraries / "lean" / NAME), *shared_objects(PACKAGE, NAME)]
                 if Path(one).is_file()), None)  # fmt: skip
    if file is None:
        results.put("lean_runtime", f"left out: no {NAME}; pip install --no-deps tensorrt-lean-cu13-libs")
        return
    number = int(ctypes.CDLL(str(file)).getInferLibVersion())  # safe without a driver, as nothing else of it is
    version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    target = results.file.with_name("lean.navit")
    told: dict[str, Any] = {"version": version, "file": str(file)}
    for case, built_by in (("no plan of TensorRT's", version), ("a plan of another version", OLD_VERSION)):
        plans = {"foreign": b"no plan of TensorRT's"}
        copy_with_engines(settings.bundle, target, plans, budgets=((256, 8),), capability=capability, version=built_by)
        try:
            ne.Session(
                target, engine="foreign", options={"tensorrt_dir": str(file.parent)},
                backend_dirs=[settings.libraries / "lib"],
            ).close()  # fmt: skip
            told[case] = "opened"
        except ne.BackendError as error:
            told[case] = str(error)
    results.put("lean_runtime", told)
    if "no NVIDIA driver on this machine" in told["no plan of TensorRT's"] and settings.device == "cpu":
        words = [("no plan of TensorRT's", f"TensorRT {version} is there"), ("no plan of TensorRT's", NAME)]
    else:
        words = [
            ("no plan of TensorRT's", f"TensorRT {version} cannot open the engine"),
            ("no plan of TensorRT's", "rebuild it here"),
            ("a plan of another version", f"the engine was built by TensorRT {OLD_VERSION}; this is {version} (lean"),
            ("a plan of another version", "rebuild it here"),
        ]
    for case, expected in words:
        results.check(f"lean runtime, {case}: says {expected!r}", expected in told[case])
