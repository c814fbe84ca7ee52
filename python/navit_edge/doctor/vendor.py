"""Variables that say where NVIDIA's libraries are, and packages from pip that hold them, as findings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.libraries import BACKEND_DIR, TENSORRT_DIR, directories_of


def variable_findings() -> tuple[Finding, ...]:
    """The two variables, if they are set: which of their directories are there."""
    findings = []
    for variable in (BACKEND_DIR, TENSORRT_DIR):
        if not os.environ.get(variable):
            continue
        absolute, relative = directories_of(variable)
        missing = [part for part in absolute if not Path(part).is_dir()]
        text = os.environ[variable]
        if relative:
            # A relative directory of TENSORRT_DIR is an error of the plug-in, of BACKEND_DIR it is passed over.
            what = "is refused by the TensorRT backend" if variable == TENSORRT_DIR else "is not searched"
            text += f"; {', '.join(relative)} is relative and {what}; expected absolute paths with colons between"
        elif missing:
            text += f"; there is no directory {', '.join(missing)}"
        bad = bool(relative or missing)
        remedy = (f"unset {variable}",) if bad else ()
        facts = {"value": os.environ[variable], "missing": missing, "relative": relative}
        state = State.PROBLEM if bad else State.FOUND
        findings.append(Finding(variable, state, text, remedy=remedy, facts=facts))
    return tuple(findings)


def wheel_findings(answer: dict[str, Any]) -> tuple[Finding, ...]:
    """NVIDIA's packages from pip, each with version and directory. ``answer``: of the probe "wheels"."""
    return tuple(
        Finding(
            f"pip {name}",
            State.FOUND,
            f"{told['version']}" + (f", libraries in {told['directory']}" if told["directory"] else ""),
            facts=told,
        )
        for name, told in sorted(answer.get("wheels", {}).items())
    )
