"""Step "lean": NVIDIA's own lean runtime; our back end opens it, and it refuses a foreign plan.

It is the only library of TensorRT's that is on a public index, and it builds nothing; so no engine runs here.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from navit_edge.machine.libraries import shared_objects
from proof import foreign
from proof.results import Results
from proof.settings import Settings

PACKAGE, NAME = "tensorrt_lean_libs", "libnvinfer_lean.so.10"
#: Of the plans, where there is no GPU.
REHEARSED = 90


def run(settings: Settings, results: Results) -> None:
    """What is said of a plan that is none, and of one of another version; without a driver, of the driver."""
    file = next((Path(one) for one in [str(settings.libraries / "lean" / NAME), *shared_objects(PACKAGE, NAME)]
                 if Path(one).is_file()), None)  # fmt: skip
    if file is None:
        results.put("left_out", f"no {NAME}; pip install --no-deps tensorrt-lean-cu13-libs")
        return
    number = int(ctypes.CDLL(str(file)).getInferLibVersion())  # safe without a driver, as nothing else of it is
    version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    results.put("version", version)
    results.put("file", str(file))
    target = f"sm{_capability(settings)}"
    said: dict[str, Any] = foreign.refusals(
        settings.bundle, results.file.with_name("lean.navit"), version=version, target_name=target,
        options={"tensorrt_dir": str(file.parent)}, backend_dirs=[settings.libraries / "lib"],
    )  # fmt: skip
    results.put("said", said)
    if "no NVIDIA driver on this machine" in said[foreign.NO_PLAN] and settings.device == "cpu":
        for words in (f"TensorRT {version} is there", NAME):
            results.check(f"lean runtime, without a driver: says {words!r}", words in said[foreign.NO_PLAN])
    else:
        foreign.judge(said, version, "lean runtime", results, lean=True)


def _capability(settings: Settings) -> int:
    """The GPU's, as 90."""
    if settings.device == "cpu":
        return REHEARSED
    import torch

    major, minor = torch.cuda.get_device_capability(0)
    return 10 * major + minor
