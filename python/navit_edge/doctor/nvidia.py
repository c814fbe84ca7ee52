"""NVIDIA's driver, CUDA and TensorRT, as far as they are installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from navit_edge.doctor import vendor
from navit_edge.doctor.driver import TensorRT, driver_findings, needs_finding
from navit_edge.doctor.finding import Finding, State
from navit_edge.machine import libraries
from navit_edge.machine.jetson import Jetson, debian_packages
from navit_edge.machine.probe import Probe
from navit_edge.machine.text import read_text
from navit_edge.machine.versions import cuda_version, rtx_version, tensorrt_version

_DRIVER_FILE = "proc/driver/nvidia/version"
_JETPACK_COMMAND = "sudo apt install nvidia-jetpack"


@dataclass(frozen=True, kw_only=True)
class Nvidia:
    """capabilities: of each GPU, as 87 for 8.7; empty if none can be used. driver: whether libcuda is here.
    cuda: what the driver serves, as "12.8", or "". tensorrt, lean, rtx: version of the runtime library, or "".
    """

    driver: bool
    capabilities: tuple[int, ...]
    cuda: str
    tensorrt: str
    lean: str
    rtx: str
    findings: tuple[Finding, ...]

    @classmethod
    def read(
        cls, probe: Probe, root: Path = Path("/"), board: Jetson | None = None, *, system: str = "", served: int = 0
    ) -> Nvidia:
        """Asks every library in a process of its own, through ``probe``.

        served: the major version of TensorRT that the plug-in was compiled for, which is looked for first; 0 for none.
        """
        driver = probe("cuda")
        cuda_major = driver.get("driver", 0) // 1000
        majors = tuple(sorted(libraries.MAJORS, key=lambda major: major != served))
        files = {
            "cuda": libraries.cuda_runtime_files(cuda_major),
            "tensorrt": libraries.tensorrt_files("libnvinfer.so", "tensorrt_libs", majors),
            "lean": libraries.tensorrt_files("libnvinfer_lean.so", "tensorrt_lean_libs", majors),
            "rtx": libraries.rtx_files(),
        }
        runtime = probe("library_version", "cudaRuntimeGetVersion", *files["cuda"])
        answers = {
            name: probe("library_version", "getInferLibVersion", *files[name]) for name in files if name != "cuda"
        }
        wheels = probe("wheels")
        builders = {name: probe("python_module", name) for name in ("tensorrt", "tensorrt_rtx")}
        jetson = board is not None
        usable = bool(driver.get("gpus"))
        cuda = driver.get("driver")
        versions = {
            "tensorrt": _version(answers["tensorrt"], tensorrt_version),
            "lean": _version(answers["lean"], tensorrt_version),
            "rtx": _version(answers["rtx"], rtx_version),
        }
        packages = debian_packages(root)
        found = tuple(
            TensorRT(
                version=versions[name],
                product="TensorRT for RTX" if name == "rtx" else "TensorRT",
                cuda_major=libraries.cuda_of_wheel(answers[name]["file"], wheels)
                or (_cuda_of_package(packages, versions[name]) if name == "tensorrt" else 0),
            )
            for name in answers
            if versions[name]
        )
        capabilities = tuple(gpu["capability"] for gpu in driver.get("gpus", ()))
        told = {name: _Told(answer=one, files=files[name]) for name, one in answers.items()}
        return cls(
            driver="absent" not in driver and "error" not in driver,
            capabilities=capabilities,
            cuda=cuda_version(cuda) if cuda else "",
            tensorrt=versions["tensorrt"],
            lean=versions["lean"],
            rtx=versions["rtx"],
            findings=(
                *driver_findings(driver, read_text(root / _DRIVER_FILE), jetson=jetson),
                runtime_finding(runtime, cuda_major, jetson=jetson, files=files["cuda"]),
                _library("TensorRT", told["tensorrt"], tensorrt_version,
                         "no libnvinfer; engines of the backend tensorrt need it",
                         (_JETPACK_COMMAND,) if jetson else ('pip install "navit-edge[tensorrt]"',)),
                _library("TensorRT, lean runtime", told["lean"], tensorrt_version,
                         "no libnvinfer_lean; only engines built with --version-compatible can use it",
                         ("pip install tensorrt-lean-cu12-libs",)),
                _library("TensorRT for RTX", told["rtx"], rtx_version,
                         "no libtensorrt_rtx; engines of the backend tensorrt-rtx need it",
                         ('pip install "navit-edge[tensorrt-rtx]"',)),
                *(needs_finding(one, cuda or 0, capabilities, system=system, jetson=jetson)
                  for one in found if usable),
                _jetpacks_builder(packages)
                if jetson and "absent" in builders["tensorrt"] and "python3-libnvinfer" in packages
                else _builder("TensorRT, Python builder", builders["tensorrt"], "tensorrt",
                              _JETPACK_COMMAND if jetson else 'pip install "navit-edge[tensorrt]"'),
                _builder("TensorRT for RTX, Python builder", builders["tensorrt_rtx"], "tensorrt-rtx",
                         'pip install "navit-edge[tensorrt-rtx]"'),
                *vendor.wheel_findings(wheels),
            ),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Told:
    """A probe's answer, and the files that it tried with their origins."""

    answer: dict[str, Any]
    files: dict[str, str]


def runtime_finding(
    answer: dict[str, Any], served: int, *, jetson: bool, files: dict[str, str] | None = None
) -> Finding:
    """libcudart. ``served``: the major version of CUDA that the driver serves, 0 if there is no driver."""
    install = (_JETPACK_COMMAND if jetson else "pip install nvidia-cuda-runtime-cu12",)
    absent = "no libcudart; only TensorRT engines need it"
    told = _Told(answer=answer, files=files or {})
    found = _library("CUDA runtime", told, cuda_version, absent, install)
    if served and answer.get("version", 0) // 1000 > served:
        text = (
            f"{found.text} is newer than the driver, which serves CUDA {served}; upgrade the driver, or install CUDA 12"
        )
        return replace(found, state=State.PROBLEM, text=text, remedy=install)
    return found


def _version(answer: dict[str, Any], words: Callable[[int], str]) -> str:
    return words(answer["version"]) if "version" in answer else ""


def _cuda_of_package(packages: dict[str, str], version: str) -> int:
    """Of the Debian package of this version, "10.3.0.30-1+cuda12.5" -> 12; 0 where it is from elsewhere."""
    for name, stated in packages.items():
        match = re.search(r"\+cuda(\d+)\.", stated)
        if re.fullmatch(r"libnvinfer\d+", name) and stated.startswith(f"{version}.") and match is not None:
            return int(match[1])
    return 0


def _library(name: str, told: _Told, words: Callable[[int], str], absent: str, install: tuple[str, ...]) -> Finding:
    answer = told.answer
    if "absent" in answer:
        return Finding(name, State.ABSENT, absent, remedy=install)
    if "version" not in answer:
        return Finding(name, State.PROBLEM, f"it does not load: {answer['error']}", remedy=install)
    file = answer["file"]
    origin = told.files.get(file, "the dynamic loader")
    where = answer.get("path") or file
    facts = {"version": words(answer["version"]), "file": where, "origin": origin}
    text = f"{facts['version']} ({where})"
    if origin == libraries.TENSORRT_DIR:
        text += f", which {libraries.TENSORRT_DIR} names"
    elif origin == "pip":
        text = f"{facts['version']}, from pip ({where})"
    return Finding(name, State.FOUND, text, facts=facts)


def _builder(name: str, answer: dict[str, Any], backend: str, install: str) -> Finding:
    if "absent" in answer:
        text = f"not installed; only build-engine --backend {backend} needs it"
        return Finding(name, State.ABSENT, text, remedy=(install,))
    if "version" not in answer:
        return Finding(name, State.PROBLEM, str(answer["error"]), remedy=(install,))
    return Finding(name, State.FOUND, str(answer["version"]), facts={"version": answer["version"]})


def _jetpacks_builder(packages: dict[str, str]) -> Finding:
    """JetPack's module is there, and this environment does not see it."""
    return Finding(
        "TensorRT, Python builder",
        State.HINT,
        f"{packages['python3-libnvinfer']} is installed for the system's Python, and this environment does not "
        "see it; only build-engine needs it",
        remedy=("python3 -m venv --system-site-packages ~/navit  # then install navit-edge into that one",),
    )
