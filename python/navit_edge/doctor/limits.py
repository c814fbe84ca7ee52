"""What a container or control group allows this process: CPU time and memory, in cgroup v1 and v2 (cgroups(7))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.text import gib, read_text

#: cgroup v1 writes "no limit" as the largest multiple of a page below 2^63.
_UNLIMITED = 1 << 60


@dataclass(frozen=True, kw_only=True)
class Limits:
    """affinity: cores that this process may be scheduled on.
    cpu_quota: CPU time in cores, as 1.5, or None where none is set.
    cores: that can be kept busy, which a session counts: affinity, or the quota rounded down where that is less.
    memory_bytes: or None where none is set.
    container: "docker", "podman", "kubernetes", "a container", or "".
    """

    affinity: int
    cpu_quota: float | None
    cores: int
    memory_bytes: int | None
    container: str

    @classmethod
    def read(cls, root: Path = Path("/")) -> Limits:
        """root: where /proc, /sys and /run are looked for; the affinity is always this process's own."""
        from navit_edge import _core

        groups = read_text(root / "proc/self/cgroup")
        affinity, cpu_quota, cores = _core.cpu_limits(root)
        memory = [*_memory_v2(root, groups), *_memory_v1(root, groups)]
        return cls(
            affinity=affinity,
            cpu_quota=cpu_quota,
            cores=cores,
            memory_bytes=min(memory, default=None),
            container=_container(root, groups),
        )


def limit_findings(limits: Limits) -> tuple[Finding, ...]:
    """One finding where something limits this process; none otherwise."""
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
    return (Finding(name="limits", state=State.FOUND, text="; ".join(parts), facts=facts),)


def _ancestors(path: str) -> list[str]:
    """ "/a/b" -> ["a/b", "a", ""]: a group is bound by those above it, too."""
    parts = [part for part in path.split("/") if part]
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _groups_v2(root: Path, groups: str) -> list[Path]:
    match = re.search(r"^0::(/.*)$", groups, re.MULTILINE)
    return [root / "sys/fs/cgroup" / one for one in _ancestors(match[1] if match is not None else "/")]


def _groups_v1(root: Path, groups: str, controller: str) -> list[Path]:
    """Inside a container the path may be the host's, while its own group is mounted at the top: both are looked at."""
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            mounts = dict.fromkeys((names, controller))
            return [root / "sys/fs/cgroup" / mount / one for mount in mounts for one in _ancestors(path)]
    return [root / "sys/fs/cgroup" / controller]


def _memory_v2(root: Path, groups: str) -> list[int]:
    texts = [read_text(folder / "memory.max").strip() for folder in _groups_v2(root, groups)]
    return [int(text) for text in texts if text.isdigit()]


def _memory_v1(root: Path, groups: str) -> list[int]:
    texts = [read_text(folder / "memory.limit_in_bytes").strip() for folder in _groups_v1(root, groups, "memory")]
    return [int(text) for text in texts if text.isdigit() and int(text) < _UNLIMITED]


def _container(root: Path, groups: str) -> str:
    if (root / "run/.containerenv").exists():
        return "podman"
    if "kubepods" in groups:
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    return "a container" if re.search(r"/(?:docker|lxc|libpod)[/-]", groups) else ""
