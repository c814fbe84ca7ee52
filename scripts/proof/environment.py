"""Step "environment": what this machine and its software are, what doctor says of them, and NVIDIA's lean runtime."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from proof import lean
from proof.results import Results
from proof.settings import Settings

#: Whose version bears on the results.
PACKAGES = ("navit-edge", "numpy", "torch", "triton", "onnx", "pillow", "tensorrt", "tensorrt-rtx-cu12")


def run(settings: Settings, results: Results) -> None:
    """Versions, the GPU, doctor's report; then the lean runtime, last, since it is a vendor's."""
    capability = _examine(settings, results)
    lean.run(settings, results, capability)


def _examine(settings: Settings, results: Results) -> int:
    """The GPU's compute capability, as 90; 90 in a rehearsal."""
    capability = 90
    versions: dict[str, Any] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    results.put("versions", versions)
    results.put("system", f"{platform.system()} {platform.machine()}")
    if settings.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            sys.exit("error: PyTorch finds no GPU; check nvidia-smi and that torch is built for CUDA, or --device cpu")
        versions["cuda of torch"] = torch.version.cuda
        gpu = torch.cuda.get_device_properties(0)
        capability = 10 * gpu.major + gpu.minor
        results.put("gpu", {
            "name": gpu.name, "capability": capability, "memory_bytes": gpu.total_memory,
            "multiprocessors": gpu.multi_processor_count,
        })  # fmt: skip
    command = [sys.executable, "-m", "navit_edge.cli.main", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    results.check("doctor ends well", done.returncode == 0)
    if done.returncode:
        results.put("doctor_error", (done.stderr or done.stdout)[-2000:])
        return capability
    sections = json.loads(done.stdout)["sections"]
    findings = {one["name"]: one for section in sections for one in section["findings"]}
    results.put("doctor", {name: {"state": one["state"], "text": one["text"]} for name, one in findings.items()})
    if settings.device == "cuda":
        found = findings.get("GPU 0", {}).get("facts", {})
        results.check("doctor and PyTorch see the same GPU", found.get("capability") == capability)
        wanted = "Hopper: TensorRT, not TensorRT-RTX" if capability == 90 else ""
        results.check("doctor says which TensorRT is for it", wanted in findings.get("GPU 0", {}).get("text", ""))
    return capability
