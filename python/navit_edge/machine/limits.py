"""What a container or control group allows this process: CPU time and memory, in cgroup v1 and v2 (cgroups(7))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from navit_edge.machine.text import read_text

#: cgroup v1 writes "no limit" as the largest multiple of a page below 2^63.
_UNLIMITED = 1 << 60


@dataclass(frozen=True, kw_only=True)
class Limits:
    """affinity: processors that this process may be scheduled on, by its mask and its cpuset.
    cpu_quota: CPU time in cores, as 1.5, or None if none is set.
    cores: that can be kept busy, which a session counts: of the affinity with hyper-threads counted once a core, or
        the quota rounded down if that is less.
    physical: cores that the processors of the affinity belong to.
    numa_nodes: that they lie in; empty if the system does not say.
    why: "2 threads: cgroup quota 2.0 of 64 cores".
    memory_bytes: or None if none is set.
    container: "docker", "podman", "kubernetes", "a container", or "".
    """

    affinity: int
    cpu_quota: float | None
    cores: int
    physical: int
    numa_nodes: tuple[int, ...]
    why: str
    memory_bytes: int | None
    container: str

    @classmethod
    def read(cls, root: Path = Path("/")) -> Limits:
        """root: where /proc, /sys and /run are looked for; the affinity is this process's own, unless
        another root says (``csrc/src/base/cores.cc``)."""
        from navit_edge import _core

        groups = read_text(root / "proc/self/cgroup")
        affinity, cpu_quota, cores, physical, nodes, why = _core.cpu_limits(root)
        memory = [*_memory_v2(root, groups), *_memory_v1(root, groups)]
        return cls(
            affinity=affinity,
            cpu_quota=cpu_quota,
            cores=cores,
            physical=physical or affinity,
            numa_nodes=tuple(nodes),
            why=why,
            memory_bytes=min(memory, default=None),
            container=_container(root, groups),
        )


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
