"""Free space where the bundle lies and where temporary files go."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.text import gib

#: A compiler's own temporary files and the reports.
_HEADROOM_BYTES = 256 * 2**20


def storage_findings(bundle: Path | None, temporary: Path | None = None) -> tuple[Finding, ...]:
    """The disks of the bundle and of TMPDIR. An engine is about as large as the weights, and a new one is written
    beside the old one, so a bundle wants twice its weights free."""
    findings = []
    if bundle is not None:
        weights = sum(file.stat().st_size for file in (bundle / "graphs").glob("*") if file.is_file())
        findings.append(_finding("disk of the bundle", bundle, 2 * weights + _HEADROOM_BYTES))
    findings.append(_finding("disk of TMPDIR", temporary or Path(tempfile.gettempdir()), _HEADROOM_BYTES))
    return tuple(findings)


def _finding(name: str, path: Path, wanted_bytes: int) -> Finding:
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
