"""Findings of doctor, and what its probes find: this machine for real, or one without vendors' libraries."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from navit_edge.doctor import Finding, Report
from navit_edge.machine.probe import run_probe


def finding(report: Report, name: str) -> Finding:
    return next(one for section in report.sections for one in section.findings if one.name == name)


@lru_cache
def asked_once(name: str, *arguments: str) -> dict[str, Any]:
    """The real answer; the libraries of this machine stay the same while the tests run."""
    return run_probe(name, *arguments)


def this_machine(name: str, *arguments: str) -> dict[str, Any]:
    """The real probe, asked once for what no test changes."""
    return run_probe(name, *arguments) if name == "engine" else asked_once(name, *arguments)


def no_vendor(name: str, *arguments: str) -> dict[str, Any]:
    """A machine on which no vendor's library is installed; engines are opened for real."""
    return run_probe(name, *arguments) if name == "engine" else {"absent": "not on this machine"}
