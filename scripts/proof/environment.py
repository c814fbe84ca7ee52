"""Step "environment": what this machine and its software are, and what doctor says of them."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from proof.results import Results
from proof.settings import Settings

#: Whose version bears on the results; no list of all that is installed, which is nobody's business.
PACKAGES = (
    "navit-edge", "numpy", "torch", "triton", "onnx", "pillow", "openvino", "tensorrt", "tensorrt-cu12",
    "tensorrt-cu13", "tensorrt-lean-cu12-libs", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13",
)  # fmt: skip
#: Of nvidia-smi: no serial number, no other processes.
FIELDS = "name,driver_version,memory.total,power.limit,clocks.max.sm"
DOCTOR = "doctor.json"
CHECKOUT = Path(__file__).resolve().parents[2]


def run(settings: Settings, results: Results) -> None:
    """Versions, the GPU, and doctor's report, which also lies beside the results; without an engine of TensorRT's,
    PyTorch has to see the GPU too."""
    results.put("versions", versions())
    if shutil.which("nvidia-smi") is not None:
        command = ["nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout + done.stderr)
        results.put("nvidia_smi", (done.stdout + done.stderr).splitlines())
    capability = _of_pytorch(results) if settings.device == "cuda" and not settings.backend else None
    report = results.file.with_name(DOCTOR)
    command = [sys.executable, "-m", "navit_edge.cli.main", "doctor", "--json-file", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, flush=True)
    if not results.check("doctor ends well", done.returncode == 0):
        results.put("doctor_error", (done.stderr or done.stdout)[-2000:])
        return
    found = findings(report)
    results.put("doctor", {name: {"state": one["state"], "text": one["text"]} for name, one in found.items()})
    if capability is not None:
        gpu = found.get("GPU 0", {})
        results.check("doctor and PyTorch see the same GPU", gpu.get("facts", {}).get("capability") == capability)
        wanted = "Hopper: TensorRT, not TensorRT-RTX" if capability == 90 else ""
        results.check("doctor says which TensorRT is for it", wanted in gpu.get("text", ""))


def versions() -> dict[str, str]:
    """What takes part: Python, system, packages, and the commit of the checkout if there is one."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    git = shutil.which("git")
    if git is not None and (CHECKOUT / ".git").exists():
        command = [git, "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found["commit"] = done.stdout.strip()
    return found


def findings(report: Path) -> dict[str, Any]:
    """Of doctor's report: name -> finding; none if there is no report."""
    try:
        sections = json.loads(report.read_text(encoding="utf-8"))["sections"]
    except (OSError, ValueError, KeyError):
        return {}
    return {one["name"]: one for section in sections for one in section["findings"]}


def _of_pytorch(results: Results) -> int:
    """The GPU's compute capability, as 90."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("error: PyTorch finds no GPU; check nvidia-smi and that torch is built for CUDA, or --device cpu")
    gpu = torch.cuda.get_device_properties(0)
    capability = 10 * gpu.major + gpu.minor
    results.put("gpu", {
        "name": gpu.name, "capability": capability, "memory_bytes": gpu.total_memory,
        "multiprocessors": gpu.multi_processor_count, "cuda of torch": torch.version.cuda,
    })  # fmt: skip
    return int(capability)
