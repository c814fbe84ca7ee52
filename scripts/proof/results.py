"""What a step writes: one JSON file, replaced as a whole after each result, so that a step that is ended keeps it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Results:
    """A step's own. limit_s: after which the step is ended; it leaves out what it has no time for."""

    file: Path
    limit_s: float
    values: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    _start: float = field(default_factory=time.monotonic)

    def put(self, name: str, value: Any) -> None:
        """Adds a result, and writes all of them."""
        self.values[name] = value
        self._write()

    def check(self, name: str, value: float | bool, *, most: float | None = None, least: float | None = None) -> bool:
        """Adds a check that has to hold: a truth, or a number that is within its limits; NaN never is."""
        holds = bool(value) if most is None and least is None else True
        holds = holds and (most is None or value <= most) and (least is None or value >= least)
        number = value if isinstance(value, bool) else float(value)
        shown = number if number == number else None
        limits = {key: limit for key, limit in (("most", most), ("least", least)) if limit is not None}
        self.checks.append({"name": name, "value": shown, **limits, "holds": holds})
        self._write()
        return holds

    def has_time(self, share: float = 0.8) -> bool:
        """Whether less than this share of the limit is used."""
        return time.monotonic() - self._start < share * self.limit_s

    @property
    def failed(self) -> list[str]:
        """Names of the checks that do not hold."""
        return [str(check["name"]) for check in self.checks if not check["holds"]]

    def _write(self) -> None:
        write_json(self.file, {"values": self.values, "checks": self.checks})


def write_json(file: Path, value: Any) -> None:
    """At once: a reader sees the old file or the new one."""
    beside = file.with_suffix(".part")
    beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, file)
