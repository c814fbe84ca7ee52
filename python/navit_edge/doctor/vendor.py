"""Where the TensorRT plug-ins look for NVIDIA's libraries (csrc/backends/tensorrt/library.cc), and what pip brought."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.probe import shared_objects

Probe = Callable[..., dict[str, Any]]

TENSORRT_DIR = "NAVIT_EDGE_TENSORRT_DIR"
BACKEND_DIR = "NAVIT_EDGE_BACKEND_DIR"
CUDA_DIRECTORY = "/usr/local/cuda/lib64"
MAJORS = (10, 11)  # of TensorRT
CUDA_MAJORS = (13, 12)


def directories_of(variable: str) -> tuple[list[str], list[str]]:
    """The absolute directories of a variable with colons in it, and what is relative, which is not searched."""
    parts = [part for part in os.environ.get(variable, "").split(":") if part]
    return [part for part in parts if part.startswith("/")], [part for part in parts if not part.startswith("/")]


def variable_findings() -> tuple[Finding, ...]:
    """The two variables, where they are set: which of their directories are there."""
    findings = []
    for variable in (BACKEND_DIR, TENSORRT_DIR):
        if not os.environ.get(variable):
            continue
        absolute, relative = directories_of(variable)
        missing = [part for part in absolute if not Path(part).is_dir()]
        text = os.environ[variable]
        if relative:
            # A relative directory of TENSORRT_DIR is an error of the plug-in, of BACKEND_DIR it is passed over.
            what = "is refused by the TensorRT backend" if variable == TENSORRT_DIR else "is not searched"
            text += f"; {', '.join(relative)} is relative and {what}; expected absolute paths with colons between"
        elif missing:
            text += f"; there is no directory {', '.join(missing)}"
        bad = bool(relative or missing)
        remedy = (f"unset {variable}",) if bad else ()
        facts = {"value": os.environ[variable], "missing": missing, "relative": relative}
        state = State.PROBLEM if bad else State.FOUND
        findings.append(Finding(name=variable, state=state, text=text, remedy=remedy, facts=facts))
    return tuple(findings)


def tensorrt_files(stem: str, package: str, majors: tuple[int, ...] = MAJORS) -> dict[str, str]:
    """File -> origin, in the order of the plug-in, which ends with what pip brought. stem: "libnvinfer.so"."""
    return _files([f"{stem}.{major}" for major in majors], [(package, ".", f"{stem}.*")])


def rtx_files() -> dict[str, str]:
    return _files(["libtensorrt_rtx.so.1"], [("tensorrt_rtx_libs", ".", "libtensorrt_rtx.so.*")])


def cuda_runtime_files(served: int) -> dict[str, str]:
    """The newest that the driver serves, older ones, then newer ones. served: major version of CUDA, 0 for none."""
    majors = sorted(CUDA_MAJORS, key=lambda major: (major > served > 0, -major))
    names = [f"libcudart.so.{major}" for major in majors]
    wheels = [(package, "lib", "libcudart.so.*") for package in ("nvidia.cuda_runtime", "nvidia.cu13")]
    return _files(names, wheels, last=CUDA_DIRECTORY)


def _files(names: list[str], wheels: list[tuple[str, str, str]], last: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for directory in directories_of(TENSORRT_DIR)[0]:
        found.update({f"{directory}/{name}": TENSORRT_DIR for name in names})
    found.update(dict.fromkeys(names, "the dynamic loader"))
    if last:
        found.update({f"{last}/{name}": last for name in names})
    if not directories_of(TENSORRT_DIR)[0]:  # a place that is named takes the place of the wheels
        for package, folder, pattern in wheels:
            for file in shared_objects(package, pattern, folder):
                found.setdefault(file, "pip")
    return found


def served_major(plugin: Path) -> int:
    """The major version of TensorRT that a plug-in was compiled for: its headers', as the names that it opens say.

    0 where the file names none.
    """
    try:
        match = re.search(rb"libnvinfer\.so\.(\d+)\0", plugin.read_bytes())
    except OSError:
        return 0
    return int(match[1]) if match is not None else 0


def wheel_findings(answer: dict[str, Any]) -> tuple[Finding, ...]:
    """NVIDIA's packages from pip, each with version and directory. ``answer``: of the probe "wheels"."""
    return tuple(
        Finding(
            name=f"pip {name}",
            state=State.FOUND,
            text=f"{told['version']}" + (f", libraries in {told['directory']}" if told["directory"] else ""),
            facts=told,
        )
        for name, told in sorted(answer.get("wheels", {}).items())
    )


def cuda_of_wheel(file: str, answer: dict[str, Any]) -> int:
    """The major version of CUDA that the package of a library was built for, as its name says; 0 where it is none."""
    for name, told in answer.get("wheels", {}).items():
        match = re.search(r"-cu(\d+)", name)
        if match is not None and told["directory"] and Path(file).parent == Path(told["directory"]):
            return int(match[1])
    return 0
