"""What doctor says of threads, on recorded machines: the core counts, Python tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from navit_edge.doctor.finding import State
from navit_edge.doctor.host import thread_findings
from navit_edge.machine.limits import Limits

MACHINES = {
    one["name"]: one
    for one in json.loads((Path(__file__).parents[1] / "data/machines/machines.json").read_text())["machines"]
}


def limits_of(machine: dict[str, Any], root: Path) -> Limits:
    for file, text in machine["files"].items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return Limits.read(root)


def test_doctor_says_how_many_threads_a_session_takes_and_why(tmp_path: Path) -> None:
    name = "docker, version 1, host's group names, its own group mounted alone"
    (one,) = thread_findings(limits_of(MACHINES[name], tmp_path))
    assert (one.state, one.text) == (State.FOUND, "a session takes 2 threads: cgroup quota 2.0 of 64 cores")
    assert one.facts == {"threads": 2, "affinity": 64, "cores": 64, "cpu_quota": 2.0, "numa_nodes": [0]}


def test_several_numa_nodes_are_a_hint_that_names_the_devices(tmp_path: Path) -> None:
    name = "kubernetes, version 2: the pod's quota bounds its containers"
    _, numa = thread_findings(limits_of(MACHINES[name], tmp_path))
    assert numa.state is State.HINT
    assert 'devices=["numa:0", "numa:1"]' in numa.text
