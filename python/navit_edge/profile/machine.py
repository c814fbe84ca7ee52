"""The machine that a profile was made on: what decides how fast an engine is, and nothing that names a machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from navit_edge.machine.gpu import Runner, read_gpu, run
from navit_edge.machine.host import Host
from navit_edge.machine.jetson import Jetson
from navit_edge.machine.power import Power
from navit_edge.machine.probe import Probe


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No serial, no host's name, no user. cores: that a session counts. power: mode of a Jetson, or the governor.
    versions: of the libraries that run engines."""

    cpu: str
    arch: str  # "x86_64", "aarch64"
    cores: int
    flags: tuple[str, ...]
    memory_bytes: int | None
    gpu: str = ""
    driver: str = ""
    board: str = ""  # model of a Jetson
    jetpack: str = ""
    power_source: str = ""  # "nvpmodel", "governor"
    power: str = ""
    versions: dict[str, str] = {}

    @property
    def words(self) -> str:
        """One line: "AMD EPYC, 2 cores, 7.7 GiB of memory"."""
        parts = [self.board or self.cpu, f"{self.cores} core{'' if self.cores == 1 else 's'}"]
        if self.memory_bytes is not None:
            parts.append(f"{self.memory_bytes / 2**30:.1f} GiB of memory")
        if self.gpu and self.gpu != self.board:
            parts.append(self.gpu)
        if self.power:
            parts.append(f"{'power mode' if self.power_source == 'nvpmodel' else 'governor'} {self.power}")
        return ", ".join(parts)


def this_machine(
    root: Path = Path("/"),
    *,
    versions: Mapping[str, str] | None = None,
    probe: Probe | None = None,
    runner: Runner = run,
    gpu: bool = True,
) -> Machine:
    """root: where files are looked for. probe: asks a Jetson's tools; None: its files only. runner: starts nvidia-smi.
    gpu: whether a GPU is looked for, which starts it."""
    host = Host.read(root)
    jetson = Jetson.read(root)
    found = read_gpu(runner, root) if gpu else None
    power = Power.read(root, probe=probe)
    return Machine(
        cpu=host.cpu,
        arch=host.machine,
        cores=host.cores,
        flags=host.flags,
        memory_bytes=host.memory_bytes,
        gpu="" if found is None else found.name,
        driver="" if found is None else found.driver,
        board="" if jetson is None else jetson.model,
        jetpack="" if jetson is None else jetson.jetpack,
        power_source=power.source,
        power=power.mode,
        versions=dict(versions or {}),
    )


def differences(tuned: Machine, here: Machine) -> list[str]:
    """What of ``here`` makes the measurements of ``tuned`` those of another machine, in words."""
    found = []
    names = {"board": "board", "cpu": "CPU", "arch": "architecture", "gpu": "GPU"}
    for name, words in names.items():
        before, now = getattr(tuned, name), getattr(here, name)
        if before != now:
            found.append(f"{words} was {before or 'none'} and is {now or 'none'}")
    if tuned.cores != here.cores:
        found.append(f"cores were {tuned.cores} and are {here.cores}")
    if tuned.power != here.power:
        found.append(f"power mode was {tuned.power or 'not known'} and is {here.power or 'not known'}")
    return found
