"""What TensorRT calls back during a build: its log and its progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from navit_edge.compile.job import Emit, Event

_ACTIVATION = re.compile(r"Total Activation Memory: (\d+) bytes")


def activation_bytes(lines: Sequence[str]) -> list[int]:
    """What the builder's log says of each profile, in order."""
    return [int(match[1]) for line in lines if (match := _ACTIVATION.search(line))]


def make_logger(trt: Any) -> Any:
    """Keeps every line; prints those of INFO and above to standard error, which is the build's log."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []
            self._errors: list[str] = []
            self._warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self._errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self._warnings.append(message)
            if severity <= trt.ILogger.INFO:
                self.lines.append(message)
                print(message, file=sys.stderr)

        def last_error(self) -> str:
            return self._errors[-1] if self._errors else "it does not say why"

        def warnings(self) -> list[str]:
            return list(dict.fromkeys(self._warnings))

    return Logger()


def make_monitor(trt: Any, emit: Emit, phase: str) -> Any:
    """Reports the outermost phase as ``phase``; cancels if nobody listens any more.

    The parent stops listening when it is interrupted; the builder then stops at its next step and frees what it holds.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.cancelled = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = max(1, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            fraction = min(1.0, (step + 1) / self._steps[phase_name]) if phase_name in self._steps else None
            try:
                if fraction is not None:
                    emit(Event(phase=phase, fraction=fraction))
                else:
                    emit(Event())  # is anybody there?
            except OSError:
                self.cancelled = True
            return not self.cancelled

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
