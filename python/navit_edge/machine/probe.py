"""What only a vendor's own library can say. Runs in a process of its own, for such a library may crash.

The process prints one JSON object as the last line of its standard output (`main`); `run_probe` starts it and turns a
crash, a hang or nonsense into {"error": ...}.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: ``run_probe``, or what stands in for it.
Probe = Callable[..., dict[str, Any]]

TIMEOUT_S = 120.0
_TOOL_TIMEOUT_S = 10.0
#: Without the current directory in the path, where a file may bear a vendor's name. Of this file alone: importing the
#: package takes ten times as long as most answers.
_MAIN = f"import sys, runpy; sys.path[:] = filter(None, sys.path); runpy.run_path({__file__!r})['main']()"
_CUDA_NAME_BYTES = 256
#: cuDeviceGetAttribute: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, CU_DEVICE_ATTRIBUTE_INTEGRATED.
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18


def run_probe(name: str, *arguments: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The answer of a probe, or {"error": why there is none}. Never raises for what the library does."""
    command = [sys.executable, "-c", _MAIN, name, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout_s:g} s"}
    except OSError as error:
        return {"error": f"a process for it could not be started ({error.strerror})"}
    if done.returncode < 0:
        return {"error": f"it crashed: {_signal_name(-done.returncode)}"}
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"error": f"it ended with code {done.returncode}: {last[0]}"}
    return answer if isinstance(answer, dict) else {"error": "its answer is no JSON object"}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cuda() -> dict[str, Any]:
    """The driver and its GPUs: {"driver": 12080, "gpus": [{"name", "capability", "memory_bytes", "integrated"}]}."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"absent": str(error)}
    version, count = ctypes.c_int(), ctypes.c_int()
    answer: dict[str, Any] = {"gpus": []}
    if library.cuDriverGetVersion(ctypes.byref(version)) == 0:
        answer["driver"] = version.value
    code = library.cuInit(0)
    if code != 0:
        return {**answer, "init_error": _cuda_error(library, code)}
    library.cuDeviceGetCount(ctypes.byref(count))
    for ordinal in range(count.value):
        device, memory = ctypes.c_int(), ctypes.c_size_t()
        name = ctypes.create_string_buffer(_CUDA_NAME_BYTES)
        if library.cuDeviceGet(ctypes.byref(device), ordinal) != 0:
            continue
        library.cuDeviceGetName(name, _CUDA_NAME_BYTES, device)
        library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        values = {}
        for key, attribute in (("major", _MAJOR), ("minor", _MINOR), ("integrated", _INTEGRATED)):
            value = ctypes.c_int()
            library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            values[key] = value.value
        answer["gpus"].append(
            {
                "name": name.value.decode(errors="replace"),
                "capability": 10 * values["major"] + values["minor"],
                "memory_bytes": memory.value,
                "integrated": bool(values["integrated"]),
            }
        )
    return answer


def _cuda_error(library: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    if library.cuGetErrorName(code, ctypes.byref(text)) == 0 and text.value is not None:
        return f"{text.value.decode()} ({code})"
    return f"CUDA error {code}"


def library_version(function: str, *files: str) -> dict[str, Any]:
    """Opens the first of ``files`` that opens and calls its ``int function()``, or for the CUDA runtime
    ``function(int*)``: {"file": ..., "version": 101501}; {"absent": why} if none opens."""
    reasons = []
    for file in files:
        try:
            library = ctypes.CDLL(file)
        except OSError as error:
            reasons.append(str(error))
            continue
        symbol = getattr(library, function, None)
        if symbol is None:
            return {"error": f"{file} has no function {function}", "file": file}
        if function.startswith("cuda"):
            number = ctypes.c_int()
            code = symbol(ctypes.byref(number))
            if code != 0:
                return {"error": f"{function} gave {code}"}
            return {"file": file, "path": _loaded_from(file), "version": number.value}
        symbol.restype = ctypes.c_int32
        return {"file": file, "path": _loaded_from(file), "version": symbol()}
    return {"absent": "; ".join(reasons)}


def _loaded_from(file: str) -> str:
    """The path that the dynamic loader took for a name, as the process's own map says; else the name."""
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return file
    wanted = Path(file).name
    paths = (line.partition("/")[2] for line in lines if "/" in line)
    return next((f"/{path}" for path in paths if Path(path).name.startswith(wanted)), file)


def python_module(name: str) -> dict[str, Any]:
    """Imports a module: {"version": "10.3.0"}, {"absent": why} or {"error": why}."""
    import importlib

    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return {"absent": f"no Python package {name}"}
        return {"error": f"{name} is installed and does not import: {error}"}
    except Exception as error:  # vendors raise what they like
        return {"error": f"{name} is installed and does not import: {type(error).__name__}: {error}"}
    return {"version": str(getattr(module, "__version__", "of no stated version"))}


def openvino() -> dict[str, Any]:
    """{"version": ..., "devices": {"CPU": {"name": ..., "capabilities": [...]}}}."""
    answer = python_module("openvino")
    if "version" not in answer:
        return answer
    import openvino as ov

    core = ov.Core()
    devices = {}
    for device in core.available_devices:
        devices[device] = {
            "name": str(core.get_property(device, "FULL_DEVICE_NAME")),
            "capabilities": sorted(str(one) for one in core.get_property(device, "OPTIMIZATION_CAPABILITIES")),
        }
    return {"version": ov.get_version(), "devices": devices}


def backend(file: str, *vendor_files: str) -> dict[str, Any]:
    """Loads a backend library as the session does: {"abi": 1} or {"error": why}."""
    for vendor in vendor_files:
        try:
            ctypes.CDLL(vendor)
        except OSError as error:
            return {"error": str(error)}
    try:
        library = ctypes.CDLL(file)
    except OSError as error:
        return {"error": str(error)}
    symbol = getattr(library, "navit_edge_backend", None)
    if symbol is None:
        return {"error": f"{file} does not export navit_edge_backend, so it is not a backend"}
    from navit_edge import _core

    abi = _core.backend_abi_version
    symbol.restype = ctypes.c_void_p
    if not symbol(ctypes.c_uint32(abi)):
        return {"error": f"{file} does not have version {abi} of the backend ABI; it belongs to another release"}
    return {"abi": abi}


def engine(bundle: str, engine_id: str) -> dict[str, Any]:
    """Opens one engine of a bundle: {"device": ...} or {"error": why}."""
    import navit_edge as ne

    os.environ["NAVIT_EDGE_DEBUG"] = "1"  # an error lists what was tried
    try:
        session = ne.Session(bundle, engine=engine_id)
    except ne.NavitEdgeError as error:
        return {"error": str(error), "kind": type(error).__name__}
    return {"device": session.device}


def command(*words: str) -> dict[str, Any]:
    """Runs a tool that only reads: {"text": what it printed, "code": 0}, {"absent": why} or {"error": why}."""
    try:
        done = subprocess.run(
            list(words), capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        return {"absent": f"no {words[0]}"}
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": f"{words[0]}: {error}"}
    return {"text": done.stdout, "code": done.returncode}


def wheels() -> dict[str, Any]:
    """NVIDIA's packages from pip: {"wheels": {"tensorrt-lean-cu12-libs": {"version": ..., "directory": ...}}}.

    directory: of the first shared library, "" if the package has none.
    """
    from importlib.metadata import distributions

    found: dict[str, dict[str, str]] = {}
    for one in distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower()
        if name in found or not re.fullmatch(r"tensorrt(-.+)?|nvidia-cuda-runtime(-cu\d+)?", name):
            continue
        library = next((file for file in one.files or () if re.search(r"\.so(\.\d+)*$", file.name)), None)
        directory = "" if library is None else str(Path(str(one.locate_file(library))).parent)
        found[name] = {"version": one.version, "directory": directory}
    return {"wheels": found}


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "cuda": cuda,
    "library_version": library_version,
    "python_module": python_module,
    "openvino": openvino,
    "backend": backend,
    "engine": engine,
    "command": command,
    "wheels": wheels,
}


def main() -> None:
    """Answers on standard output."""
    answer = PROBES[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    # Past the destructors of vendor libraries: the answer is out, and a crash at exit would hide it.
    os._exit(0)
