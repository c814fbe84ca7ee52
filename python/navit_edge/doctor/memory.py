"""Whether the engines of a bundle fit into the memory that this process may have (docs/memory.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from navit_edge.doctor.finding import Finding, State

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Manifest


def memory_findings(bundle: Path, manifest: Manifest, most_bytes: int | None) -> tuple[Finding, ...]:
    """One finding for the engines of a CPU: what a process with a session of each is predicted to hold.

    most_bytes: of the machine, or of the control group if that is less; None if nobody knows.
    """
    from navit_edge.memory import PROCESS_BYTES, engine_memory

    needed = {
        engine.id: PROCESS_BYTES + engine_memory(bundle, engine.id).process_bytes
        for engine in manifest.engines
        if engine.target.startswith("cpu")
    }
    if not needed:
        return ()
    text = ", ".join(f"{engine} {-(-bytes_ >> 20)} MiB" for engine, bytes_ in needed.items())
    facts = {"needed_bytes": needed, "most_bytes": most_bytes}
    if most_bytes is None or max(needed.values()) <= most_bytes:
        return (Finding("memory of a session", State.FOUND, f"predicted: {text}", facts=facts),)
    return (
        Finding(
            "memory of a session",
            State.PROBLEM if min(needed.values()) > most_bytes else State.HINT,
            f"predicted: {text}; this process may have {most_bytes >> 20} MiB",
            remedy=(f"navit-edge build-engine {bundle} --backend openvino --memory {most_bytes >> 20}MiB",),
            facts=facts,
        ),
    )
