"""The whole examination, in the order of the report."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from navit_edge.doctor.board import board_findings, jetson_findings
from navit_edge.doctor.engines import Machine, engine_findings, usable
from navit_edge.doctor.finding import Finding, Report, Section, State
from navit_edge.doctor.host import host_findings, limit_findings, storage_findings, thread_findings
from navit_edge.doctor.nvidia import Nvidia
from navit_edge.doctor.runtime import openvino_findings, plugin_files, runtime_findings
from navit_edge.machine.board import Board
from navit_edge.machine.host import Host
from navit_edge.machine.jetson import Jetson
from navit_edge.machine.libraries import served_major
from navit_edge.machine.limits import Limits
from navit_edge.machine.probe import Probe, run_probe
from navit_edge.vocabulary import BACKENDS


def examine(
    bundle: Path | None = None,
    *,
    root: Path = Path("/"),
    probe: Probe = run_probe,
    on_step: Callable[[str], None] = lambda _: None,
) -> Report:
    """Examines the machine and, if one is given, a bundle.

    root: where the files of the system are looked for. probe: asks the vendors' libraries. on_step: called with what
    comes next.

    Raises BundleError where ``bundle`` is no bundle; everything else becomes a finding.
    """
    from navit_edge.bundle import manifest as manifests

    manifest = None if bundle is None else manifests.load(bundle)
    on_step("this machine")
    host = Host.read(root)
    board = Jetson.read(root)
    on_step("NVIDIA")
    plugin = next((file for file, _ in plugin_files("tensorrt") if file.is_file()), None)
    served = 0 if plugin is None else served_major(plugin)
    nvidia = Nvidia.read(probe, root, board, system=host.system, served=served)
    on_step("OpenVINO")
    openvino = probe("openvino")
    on_step("navit-edge")
    runtime = runtime_findings(
        probe, jetson=board is not None, nvidia=nvidia, openvino=f"OpenVINO {openvino.get('version', '')}".strip()
    )
    limits = Limits.read(root)
    machine_findings = [*host_findings(host), *thread_findings(limits), *limit_findings(limits)]
    machine_findings += storage_findings(bundle)
    if board is not None:
        machine_findings += [*jetson_findings(board), *board_findings(Board.read(probe, root), host.memory_bytes)]
    sections = [
        Section(name="this machine", findings=tuple(machine_findings)),
        Section(name="navit-edge", findings=runtime),
        Section(name="OpenVINO", findings=openvino_findings(openvino)),
        Section(name="NVIDIA", findings=nvidia.findings),
    ]
    if bundle is None or manifest is None:
        return Report(sections=tuple(sections))

    opened = {one.name for one in runtime if one.facts.get("opens")}
    machine = Machine(
        nvidia=nvidia,
        board=board,
        system=host.system,
        openvino=openvino.get("version", ""),
        openvino_capabilities=tuple(openvino.get("devices", {}).get("CPU", {}).get("capabilities", ())),
        backends=frozenset(name for name in BACKENDS if f"backend {name}" in opened),
    )
    on_step("the engines")
    engines = engine_findings(bundle, manifest, machine, probe)
    runs = usable(engines)
    broken = ""
    if not engines:
        command = shlex.join(["navit-edge", "build-engine", str(bundle), "--backend", "openvino"])
        engines = (Finding("engines", State.PROBLEM, "the bundle holds none; build one", remedy=(command,)),)
        broken = f"the bundle {bundle} holds no engine; build one: {command}"
    elif not runs:
        ids = ", ".join(one.id for one in manifest.engines)
        command = shlex.join(["navit-edge", "build-engine", str(bundle), "--backend", "openvino"])
        broken = (
            f"no engine of the bundle {bundle} runs here ({ids}); fix one as described above, or build one: {command}"
        )
    sections.append(Section(name=f"bundle {bundle.name}", findings=engines))
    return Report(sections=tuple(sections), bundle=str(bundle), usable=runs, broken=broken)
