"""What doctor reports: sections of findings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

#: Of the JSON: raised if a key or a state is renamed or goes away, not if one is added.
SCHEMA_VERSION = 1


class State(str, Enum):
    """How a finding bears on running a bundle here."""

    FOUND = "found"  # here, and fit for use
    ABSENT = "absent"  # not here; no fault if nothing needs it
    HINT = "hint"  # here and it works; the remedy makes it faster, safer or its figures steadier
    PROBLEM = "problem"  # here, and it does not work


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    name: what was looked for.
    state: see `State`.
    text: what was found, or why not, in one sentence.
    remedy: commands that mend it, one an entry; empty if nothing is to be mended.
    facts: the same for machines; keys and values as in the JSON.
    """

    name: str
    state: State
    text: str
    remedy: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Findings about one thing."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that doctor found.

    bundle: the bundle that was examined, or None.
    usable: ids of its engines that run here.
    broken: why the bundle cannot run here, or "".
    """

    sections: tuple[Section, ...]
    bundle: str | None = None
    usable: tuple[str, ...] = ()
    broken: str = ""

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; docs/on-device.md describes them."""
        return {
            "schema_version": SCHEMA_VERSION,
            "bundle": self.bundle,
            "usable_engines": list(self.usable),
            "broken": self.broken or None,
            "sections": [
                {
                    "name": section.name,
                    "findings": [{**asdict(one), "state": one.state.value} for one in section.findings],
                }
                for section in self.sections
            ],
        }
