"""What each engine of a bundle needs, whether it runs here, and the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from navit_edge.bundle.manifest import Engine, Manifest
from navit_edge.doctor.driver import RTX_CAPABILITIES
from navit_edge.doctor.finding import Finding, State
from navit_edge.doctor.nvidia import Nvidia
from navit_edge.doctor.rebuild import Recipe, for_cpu, for_target, recipe_of
from navit_edge.doctor.runtime import install_backend
from navit_edge.errors import reason_here
from navit_edge.machine.jetson import Jetson
from navit_edge.machine.probe import Probe


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a remedy depends on."""

    nvidia: Nvidia
    board: Jetson | None = None
    system: str = ""  # "Ubuntu 22.04.5 LTS"
    openvino: str = ""  # version, or "" if it does not load
    openvino_capabilities: tuple[str, ...] = ()  # of the CPU
    backends: frozenset[str] = field(default_factory=frozenset)  # whose library loads


def engine_findings(bundle: Path, manifest: Manifest, machine: Machine, probe: Probe) -> tuple[Finding, ...]:
    """One finding for each engine, in the bundle's order; each is opened in a process of its own.

    An engine for a GPU is no problem on a machine without a driver if another engine runs.
    """
    findings = [engine_finding(bundle, manifest, engine, machine, probe) for engine in manifest.engines]
    if not usable(findings):
        return tuple(findings)
    return tuple(
        replace(finding, state=State.ABSENT, remedy=_install_driver(machine))
        if finding.state is State.PROBLEM and _needs_gpu(engine) and not machine.nvidia.driver
        else finding
        for engine, finding in zip(manifest.engines, findings, strict=True)
    )


def engine_finding(bundle: Path, manifest: Manifest, engine: Engine, machine: Machine, probe: Probe) -> Finding:
    """Opens one engine here."""
    answer = probe("engine", str(bundle), engine.id)
    facts = {"engine": engine.id, "needs": needs(engine), "usable": "device" in answer}
    name = f"engine {engine.id}"
    if "device" in answer:
        return Finding(name, State.FOUND, f"runs here on {answer['device']}", facts=facts)
    return Finding(
        name,
        State.PROBLEM,
        f"does not run here: {reason_of(engine.id, str(answer['error']))}",
        remedy=remedy(bundle, engine, machine, answer, recipe_of(bundle, manifest, engine)),
        facts={**facts, "error": str(answer["error"])},
    )


def needs(engine: Engine) -> str:
    """In words: backend, versions, target, precision."""
    built = ", ".join(f"{key} {value}" for key, value in engine.builder.items())
    target = "a CPU" if engine.target == "cpu" else engine.target
    return f"backend {engine.backend}, {target}, {engine.precision}" + (f", built with {built}" if built else "")


def reason_of(engine_id: str, error: str) -> str:
    """The session's reason for one engine as one line, without its frame and without advice, which `remedy` gives.

    The whole error, with what was tried, is in the report's JSON.
    """
    advice = (
        "build one|build navit-edge|rebuild it|pip install|install |expected libcuda|export (?:it )?again|check the"
    )
    return re.sub(rf"; (?:{advice}).*", "", reason_here(engine_id, error)).rstrip(".;:")


def remedy(bundle: Path, engine: Engine, machine: Machine, answer: dict[str, Any], recipe: Recipe) -> tuple[str, ...]:
    """Commands that make this engine, or one in its place, run here; best first. recipe: how it was built."""
    if answer.get("kind") == "BundleError":
        return (recipe.command(bundle),)
    if engine.backend == "openvino":
        return _openvino_remedy(bundle, engine, machine, recipe)
    return _gpu_remedy(bundle, engine, machine, recipe)


def _openvino_remedy(bundle: Path, engine: Engine, machine: Machine, recipe: Recipe) -> tuple[str, ...]:
    if not machine.openvino:
        return ('pip install "navit-edge[openvino]"',)
    if "openvino" not in machine.backends:
        return install_backend("openvino")
    capability = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "int8": "INT8"}.get(engine.precision, "")
    if engine.target == "cpu" and machine.openvino_capabilities and capability not in machine.openvino_capabilities:
        return (for_target(recipe, backend="openvino", precision="fp32").command(bundle, force=False),)
    return (recipe.command(bundle),)


def _gpu_remedy(bundle: Path, engine: Engine, machine: Machine, recipe: Recipe) -> tuple[str, ...]:
    nvidia, jetson = machine.nvidia, machine.board is not None
    on_cpu = for_cpu().command(bundle, force=False) + "  # an engine for the CPU"
    if not nvidia.driver:
        return (*_install_driver(machine), on_cpu)
    if not nvidia.capabilities:
        return ("nvidia-smi", on_cpu)
    here = nvidia.capabilities[0]
    built_for = {int(one) for one in re.findall(r"sm(\d+)", engine.target)}
    if built_for and here not in built_for:
        precision = _precision_for(engine, here)
        if engine.backend == "tensorrt-rtx" and here in RTX_CAPABILITIES:
            elsewhere = for_target(recipe, backend="tensorrt-rtx", precision=precision, target=f"sm{here}")
        else:
            elsewhere = for_target(recipe, backend="tensorrt", precision=precision)
        return (elsewhere.command(bundle, force=False),)
    if engine.backend not in machine.backends:
        return install_backend(engine.backend, jetson=jetson)
    library = nvidia.rtx if engine.backend == "tensorrt-rtx" else nvidia.tensorrt or nvidia.lean
    if not library:
        if engine.backend == "tensorrt-rtx":
            return ('pip install "navit-edge[tensorrt-rtx]"',)
        return ("sudo apt install nvidia-jetpack",) if jetson else ('pip install "navit-edge[tensorrt]"',)
    return (recipe.command(bundle),)


def _needs_gpu(engine: Engine) -> bool:
    return engine.backend != "openvino" or engine.target not in ("cpu", "npu")


def _install_driver(machine: Machine) -> tuple[str, ...]:
    """The system's own command; none for a system whose command is not known here."""
    if machine.board is not None:
        return ("sudo apt install nvidia-jetpack",)
    hint = "  # if this machine has an NVIDIA GPU"
    if machine.system.startswith("Ubuntu"):
        return ("sudo ubuntu-drivers install" + hint,)
    return ("sudo apt install nvidia-driver" + hint,) if machine.system.startswith("Debian") else ()


def _precision_for(engine: Engine, capability: int) -> str:
    """bf16 needs sm80, fp8 sm89."""
    least = {"bf16": 80, "fp8": 89}.get(engine.precision, 0)
    return engine.precision if capability >= least else "fp16"


def usable(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Ids of the engines that run here."""
    return tuple(str(one.facts["engine"]) for one in findings if one.facts.get("usable"))
