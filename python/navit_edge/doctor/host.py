"""The machine itself, what limits this process on it, and its disks, as findings."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.host import Host, native_precisions
from navit_edge.machine.limits import Limits
from navit_edge.machine.text import gib

_HEADROOM_BYTES = 256 * 2**20


def host_findings(host: Host) -> tuple[Finding, ...]:
    """The machine as findings."""
    native = native_precisions(host.flags)
    flags = ", ".join(host.flags) or "none of those that speed up a CPU engine"
    if native:
        flags += f": {' and '.join(native)} in hardware beside fp32"
    elif host.flags:
        flags += ": fp32 only; an engine of another precision would be slower or refused"
    memory = "unknown" if host.memory_bytes is None else gib(host.memory_bytes)
    if host.available_bytes is not None:
        memory += f", {gib(host.available_bytes)} available"
    if host.swap_bytes is not None:
        memory += f", {gib(host.swap_bytes)} of swap" if host.swap_bytes else ", no swap"
    return (
        Finding("processor", State.FOUND, f"{host.cpu} ({host.machine}), {host.cores} usable cores"),
        Finding(
            "instructions",
            State.FOUND,
            flags,
            facts={"flags": list(host.flags), "native_precisions": ["fp32", *native]},
        ),
        Finding(
            "memory",
            State.FOUND,
            memory,
            facts={
                "memory_bytes": host.memory_bytes,
                "available_bytes": host.available_bytes,
                "swap_bytes": host.swap_bytes,
            },
        ),
        Finding("system", State.FOUND, f"{host.system}, kernel {host.kernel}, Python {host.python}"),
    )


def limit_findings(limits: Limits) -> tuple[Finding, ...]:
    """One finding if something limits this process; none otherwise."""
    if limits.cpu_quota is None and limits.memory_bytes is None and not limits.container:
        return ()
    facts = {
        "container": limits.container,
        "affinity": limits.affinity,
        "cpu_quota": limits.cpu_quota,
        "cores": limits.cores,
        "memory_bytes": limits.memory_bytes,
    }
    parts = [f"inside {limits.container}"] if limits.container else []
    if limits.memory_bytes is not None:
        parts.append(f"memory limited to {gib(limits.memory_bytes)}; a process that takes more is killed")
    if limits.cpu_quota is not None:
        parts.append(f"CPU time limited to that of {limits.cpu_quota:g} cores")
        if limits.cpu_quota < limits.physical and limits.cpu_quota != limits.cores:
            parts.append("a quota of whole cores would waste none")
    if limits.cpu_quota is None and limits.memory_bytes is None:
        parts.append("neither CPU time nor memory limited")
    return (Finding("limits", State.FOUND, "; ".join(parts), facts=facts),)


def thread_findings(limits: Limits) -> tuple[Finding, ...]:
    """How many threads a session takes by itself, and why; and the NUMA nodes if there are several."""
    facts = {
        "threads": limits.cores,
        "affinity": limits.affinity,
        "cores": limits.physical,
        "cpu_quota": limits.cpu_quota,
        "numa_nodes": list(limits.numa_nodes),
    }
    threads = Finding("threads", State.FOUND, f"a session takes {limits.why}", facts=facts)
    if len(limits.numa_nodes) < 2:
        return (threads,)
    nodes = ", ".join(f'"numa:{node}"' for node in limits.numa_nodes)
    text = (
        f"{len(limits.numa_nodes)} NUMA nodes, and one engine computes on one socket; "
        f"Session(devices=[{nodes}]) opens one on each node"
    )
    return threads, Finding("NUMA", State.HINT, text, facts={"numa_nodes": list(limits.numa_nodes)})


def storage_findings(bundle: Path | None, temporary: Path | None = None) -> tuple[Finding, ...]:
    """The disks of the bundle and of TMPDIR. An engine is about as large as the weights, and a new one is written
    beside the old one, so a bundle wants twice its weights free."""
    findings = []
    if bundle is not None:
        weights = sum(file.stat().st_size for file in (bundle / "graphs").glob("*") if file.is_file())
        findings.append(_disk_finding("disk of the bundle", bundle, 2 * weights + _HEADROOM_BYTES))
    findings.append(_disk_finding("disk of TMPDIR", temporary or Path(tempfile.gettempdir()), _HEADROOM_BYTES))
    return tuple(findings)


def _disk_finding(name: str, path: Path, wanted_bytes: int) -> Finding:
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Finding(name, State.PROBLEM, f"{path}: {error.strerror}", facts={"path": str(path)})
    facts = {"path": str(path), "free_bytes": free, "wanted_bytes": wanted_bytes}
    text = f"{gib(free)} free at {path}"
    if free >= wanted_bytes:
        return Finding(name, State.FOUND, text, facts=facts)
    return Finding(
        name,
        State.HINT,
        f"{text}; building an engine wants {gib(wanted_bytes)}",
        remedy=(f"df -h {shlex.quote(str(path))}",),
        facts=facts,
    )
