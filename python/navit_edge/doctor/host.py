"""The machine itself, and what limits this process on it, as findings."""

from __future__ import annotations

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.host import Host, native_precisions
from navit_edge.machine.limits import Limits
from navit_edge.machine.text import gib


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
        if limits.cores < limits.affinity:
            parts.append(
                f"sessions take {limits.cores} thread{'' if limits.cores == 1 else 's'} by themselves, not the "
                f"{limits.affinity} of the affinity"
            )
            if limits.cpu_quota != limits.cores:
                parts.append("a quota of whole cores would waste none")
    if limits.cpu_quota is None and limits.memory_bytes is None:
        parts.append("neither CPU time nor memory limited")
    return (Finding("limits", State.FOUND, "; ".join(parts), facts=facts),)
