"""How many cores this process can keep busy: counted in one place, ``csrc/src/base/cores.cc``."""

from __future__ import annotations

from navit_edge import _core


def usable_cores() -> int:
    """What a session takes if nobody names a number of threads: the cores of the affinity mask, hyper-threads counted
    once, or the CPU time that control groups allow, rounded down and at least 1, if that is less."""
    return _core.cpu_limits()[2]
