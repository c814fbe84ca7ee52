"""navit-edge itself, its plug-ins, and OpenVINO."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from navit_edge.doctor import vendor
from navit_edge.doctor.finding import Finding, State
from navit_edge.doctor.nvidia import Nvidia
from navit_edge.doctor.pytorch import torch_finding
from navit_edge.machine import libraries
from navit_edge.machine.libraries import shared_objects
from navit_edge.machine.probe import Probe
from navit_edge.vocabulary import BACKENDS

_OPENVINO = 'pip install "navit-edge[openvino]"'
_REINSTALL = "pip install --force-reinstall --no-deps navit-edge"
_PRODUCT = {"openvino": "OpenVINO", "tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}


def openvino_findings(answer: dict[str, Any]) -> tuple[Finding, ...]:
    """OpenVINO and its devices. ``answer``: of the probe "openvino"."""
    if "absent" in answer:
        text = "not installed; engines for the CPU need it"
        return (Finding("OpenVINO", State.ABSENT, text, remedy=(_OPENVINO,)),)
    if "version" not in answer:
        return (Finding("OpenVINO", State.PROBLEM, str(answer["error"]), remedy=(_OPENVINO,)),)
    devices = [
        Finding(
            f"OpenVINO {device}",
            State.FOUND,
            f"{told['name']}; computes in {', '.join(told['capabilities'])}",
            facts=told,
        )
        for device, told in answer["devices"].items()
    ]
    return (
        Finding("OpenVINO", State.FOUND, answer["version"], facts={"version": answer["version"]}),
        *devices,
    )


def runtime_findings(
    probe: Probe, *, jetson: bool, nvidia: Nvidia | None = None, openvino: str = ""
) -> tuple[Finding, ...]:
    """navit-edge's version, and each plug-in: whether it, its library and its driver are here.

    openvino: the library that Python finds, in words, or "".
    """
    try:
        here = version("navit-edge")
    except PackageNotFoundError:
        here = "of no stated version (not installed)"
    return (
        Finding("navit-edge", State.FOUND, here, facts={"version": here}),
        *vendor.variable_findings(),
        torch_finding(),
        *decoder_findings(),
        *(backend_finding(probe, name, jetson=jetson, nvidia=nvidia, openvino=openvino) for name in BACKENDS),
    )


def decoder_findings() -> tuple[Finding, ...]:
    """Which library decodes files of each format that the core knows. Facts: its "path", "" if Pillow decodes."""
    from navit_edge.decode import jpeg, png

    decoders = {"JPEG": jpeg.library(), "PNG": png.library()}
    return tuple(_decoder_finding(title, *library) for title, library in decoders.items())


def _decoder_finding(title: str, path: str, why_not: str) -> Finding:
    facts = {"path": path}
    if not path:
        return Finding(title, State.ABSENT, f"decoded by Pillow, to the same pixels: {why_not}", facts=facts)
    return Finding(title, State.FOUND, f"decoded by the core, rows into the resize: {path}", facts=facts)


def backend_finding(
    probe: Probe, name: str, *, jetson: bool = False, nvidia: Nvidia | None = None, openvino: str = ""
) -> Finding:
    """One plug-in: found or not, its library found or not, its driver found or not, so whether it can run.

    Facts: "file" and "origin" of the plug-in that the session takes, "opens" (the dynamic loader takes it), "can_run".
    """
    title = f"backend {name}"
    gpu = nvidia is not None and bool(nvidia.capabilities)
    files = [(file, origin) for file, origin in plugin_files(name) if file.is_file()]
    if not files:
        places = ", ".join(dict.fromkeys(str(file.parent) for file, _ in plugin_files(name) if file.parent.is_dir()))
        return Finding(
            title,
            # A GPU that nothing here can use is worth a word; without one nothing is amiss.
            State.PROBLEM if gpu and name == "tensorrt" else State.ABSENT,
            f"cannot run: plug-in not found (no {files_name(name)} in {places})",
            remedy=install_backend(name, jetson=jetson),
            facts={"opens": False, "can_run": False},
        )
    vendors = shared_objects("openvino", "libopenvino.so.*", "libs") if name == "openvino" else []
    refused: list[str] = []
    taken: tuple[Path, str] | None = None
    answer: dict[str, Any] = {}
    for file, origin in files:
        answer = probe("backend", str(file), *vendors)
        if "error" not in answer:
            taken = (file, origin)
            break
        refused.append(f"{file}: {answer['error']}")
    if taken is None:
        again = (_OPENVINO,) if name == "openvino" else (_REINSTALL,)
        why = _other_release(refused, openvino) or f"it does not open: {'; '.join(refused)}"
        text = f"cannot run: plug-in found, and {why}"
        facts = {"opens": False, "can_run": False}
        return Finding(title, State.PROBLEM, text, remedy=again, facts=facts)
    file, origin = taken
    plugin = "plug-in found" + (f" at {file}, which {origin} names" if origin == libraries.BACKEND_DIR else "")
    if refused:
        plugin += f" (passed over: {'; '.join(refused)})"
    told: dict[str, Any] = {"file": str(file), "origin": origin, "opens": True, **answer}
    if name == "openvino":
        text = f"can run: {plugin}, library {openvino or 'of OpenVINO'} found"
        return Finding(title, State.FOUND, text, facts={**told, "can_run": True})
    library, driver, missing, remedy = _gpu_parts(name, libraries.served_major(file), nvidia, jetson=jetson)
    told["can_run"] = not missing
    text = f"{'cannot' if missing else 'can'} run: {plugin}, {library}, {driver}"
    state = State.FOUND if not missing else State.PROBLEM if gpu else State.ABSENT
    return Finding(title, state, text, remedy=remedy, facts=told)


def _other_release(refused: list[str], found: str) -> str:
    """What is said if the plug-in misses the OpenVINO that it was compiled for: "it needs OpenVINO 2026.4.1, …"."""
    missing = re.search(r"libopenvino\.so\.(\d\d)(\d)(\d): cannot open", " ".join(refused))
    if missing is None:
        return ""
    needs = f"it needs OpenVINO 20{missing[1]}.{missing[2]}.{missing[3]}"
    return f"{needs}; found {found}" if " " in found else f"{needs}, which is not installed"


def _gpu_parts(
    name: str, served: int, nvidia: Nvidia | None, *, jetson: bool
) -> tuple[str, str, bool, tuple[str, ...]]:
    """(what is said of the library, of the driver, whether something is missing, the remedy)."""
    product = _PRODUCT[name]
    full = "" if nvidia is None else nvidia.rtx if name == "tensorrt-rtx" else nvidia.tensorrt
    lean = "" if nvidia is None or name == "tensorrt-rtx" else nvidia.lean
    found = full or lean
    missing = False
    remedy: tuple[str, ...] = ()
    if not found:
        library, missing = f"library of {product} not found", True
        remedy = _install_library(name, jetson=jetson)
    else:
        library = f"library {product} {found} found" + ("" if full else " (lean: version-compatible engines only)")
        if name == "tensorrt" and served and int(found.partition(".")[0]) != served:
            library += f", but the plug-in was compiled for {served}"
            missing, remedy = True, install_backend(name, jetson=jetson)
    if nvidia is None or not nvidia.driver:
        return library, "driver not found", True, remedy
    if not nvidia.capabilities:
        return library, "driver found, GPU not", True, remedy or ("nvidia-smi",)
    return library, f"driver found (CUDA {nvidia.cuda})", missing, remedy


def _install_library(name: str, *, jetson: bool) -> tuple[str, ...]:
    if name == "tensorrt-rtx":
        return ('pip install "navit-edge[tensorrt-rtx]"',)
    return ("sudo apt install nvidia-jetpack",) if jetson else ('pip install "navit-edge[tensorrt]"',)


def install_backend(name: str, *, jetson: bool = False) -> tuple[str, ...]:
    """How to get the backend's library where it was not built.

    A wheel holds the TensorRT plug-in if its build saw headers of TensorRT and CUDA. They are no requirement of
    the build, since most machines have no use for them, and pip builds apart from what is installed: so either the
    system has them, or they are laid into a directory that the build is told of.
    """
    if name == "openvino":
        return (_OPENVINO, _REINSTALL)
    if name == "tensorrt-rtx":
        return ("TensorRT_RTX_ROOT=/path/to/TensorRT-RTX pip install .  # in a checkout of navit-edge",)
    if jetson:
        return (
            "sudo apt install nvidia-jetpack",
            "pip install -C cmake.define.NAVIT_EDGE_TENSORRT=ON .  # in a checkout of navit-edge",
        )
    return (
        "pip install --target build/headers --no-deps -c constraints.txt -r requirements-headers.txt"
        "  # in a checkout of navit-edge",
        'pip install -C cmake.define.NAVIT_EDGE_TENSORRT=ON -C cmake.define.NAVIT_EDGE_HEADERS="$PWD/build/headers" .',
    )


def files_name(backend: str) -> str:
    """ "tensorrt-rtx" -> "libnavit_edge_tensorrt_rtx.so"."""
    return f"libnavit_edge_{backend.replace('-', '_')}.so"


def plugin_files(backend: str) -> list[tuple[Path, str]]:
    """(file, origin) in the order in which csrc/src/engine/backend_loader.cc tries them; the first that opens is taken.

    origin: NAVIT_EDGE_BACKEND_DIR, or "installed".
    """
    from navit_edge import _core

    name = files_name(backend)
    files = [(Path(part) / name, libraries.BACKEND_DIR) for part in libraries.directories_of(libraries.BACKEND_DIR)[0]]
    if _core.__file__ is not None:
        package = Path(_core.__file__).resolve().parent
        here = package / "lib" if (package / "lib").is_dir() else package
        folders = (here, here / "backends", here / "navit_edge/backends", package / "navit_edge/backends")
        files += [(folder / name, "installed") for folder in folders]
    first: dict[Path, str] = {}
    for file, origin in files:
        first.setdefault(file, origin)
    return list(first.items())
