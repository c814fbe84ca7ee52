"""navit-edge itself, its backend libraries, and OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from navit_edge.doctor.finding import Finding, State
from navit_edge.doctor.probe import shared_objects

Probe = Callable[..., dict[str, Any]]

BACKENDS = ("openvino", "tensorrt", "tensorrt-rtx")
_OPENVINO = "pip install navit-edge[openvino]"
_REINSTALL = "pip install --force-reinstall --no-deps navit-edge"


def openvino_findings(answer: dict[str, Any]) -> tuple[Finding, ...]:
    """OpenVINO and its devices. ``answer``: of the probe "openvino"."""
    if "absent" in answer:
        text = "not installed; engines for the CPU need it"
        return (Finding(name="OpenVINO", state=State.ABSENT, text=text, remedy=(_OPENVINO,)),)
    if "version" not in answer:
        return (Finding(name="OpenVINO", state=State.PROBLEM, text=str(answer["error"]), remedy=(_OPENVINO,)),)
    devices = [
        Finding(
            name=f"OpenVINO {device}",
            state=State.FOUND,
            text=f"{told['name']}; computes in {', '.join(told['capabilities'])}",
            facts=told,
        )
        for device, told in answer["devices"].items()
    ]
    return (
        Finding(name="OpenVINO", state=State.FOUND, text=answer["version"], facts={"version": answer["version"]}),
        *devices,
    )


def runtime_findings(probe: Probe, *, jetson: bool) -> tuple[Finding, ...]:
    """navit-edge's version, and each backend library: found and loadable, or why not."""
    try:
        here = version("navit-edge")
    except PackageNotFoundError:
        here = "of no stated version (not installed)"
    return (
        Finding(name="navit-edge", state=State.FOUND, text=here, facts={"version": here}),
        *(backend_finding(probe, name, jetson=jetson) for name in BACKENDS),
    )


def backend_finding(probe: Probe, name: str, *, jetson: bool = False) -> Finding:
    """One backend's library."""
    file_name = f"libnavit_edge_{name.replace('-', '_')}.so"
    places = backend_places()
    file = next((place / file_name for place in places if (place / file_name).is_file()), None)
    title = f"backend {name}"
    if file is None:
        text = f"no {file_name} in {', '.join(str(place) for place in places)}"
        return Finding(name=title, state=State.ABSENT, text=text, remedy=install_backend(name, jetson=jetson))
    vendor = shared_objects("openvino", "libopenvino.so.*", "libs") if name == "openvino" else []
    answer = probe("backend", str(file), *vendor)
    if "error" in answer:
        remedy = (_OPENVINO,) if name == "openvino" else (_REINSTALL,)
        return Finding(name=title, state=State.PROBLEM, text=f"it does not load: {answer['error']}", remedy=remedy)
    return Finding(name=title, state=State.FOUND, text=f"loads ({file})", facts={"file": str(file), **answer})


def install_backend(name: str, *, jetson: bool = False) -> tuple[str, ...]:
    """How to get the backend's library where it was not built."""
    if name == "openvino":
        return (_OPENVINO, _REINSTALL)
    if name == "tensorrt-rtx":
        return ("TensorRT_RTX_ROOT=/path/to/TensorRT-RTX pip install .  # in a checkout of navit-edge",)
    if jetson:
        return ("sudo apt install nvidia-jetpack", "pip install .  # in a checkout of navit-edge")
    return ("TensorRT_ROOT=/path/to/TensorRT pip install .  # in a checkout of navit-edge",)


def backend_places() -> list[Path]:
    """Directories that the session searches: NAVIT_EDGE_BACKEND_DIR, then beside its own library."""
    from navit_edge import _core

    places = [Path(part) for part in os.environ.get("NAVIT_EDGE_BACKEND_DIR", "").split(":") if part.startswith("/")]
    origin = _core.__file__
    if origin is not None:
        here = Path(origin).resolve().parent
        places += [place for place in (here / "lib", here / "lib64", here / "backends", here) if place.is_dir()]
    return list(dict.fromkeys(places))
