"""Commands that are run one after another, each with a log, a limit and a state; of gpu_check and gpu_proof."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STEP_LIMIT_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command and what became of it."""

    name: str
    state: str  # "passed" | "failed" | "skipped" (for a failure before it) | "left out" (does not apply here)
    seconds: float = 0.0
    exit_code: int | None = None
    log: str = ""  # file in the archive
    reason: str = ""  # last line of what it printed, or why it was skipped


@dataclass(kw_only=True)
class Check:
    """Runs steps and keeps their results in a folder."""

    folder: Path
    steps: list[Step] = field(default_factory=list)
    limit_s: float = STEP_LIMIT_S

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        limit_s: float | None = None,
    ) -> bool:
        """Runs a command with its output in a log and on the screen; whether it succeeded.

        environment: set beside this process's own. limit_s: after which it is killed with what it started, in place of
        ``self.limit_s``.
        """
        limit_s = self.limit_s if limit_s is None else limit_s
        log = f"{len(self.steps) + 1:02d}-{name}.log"
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        with (self.folder / log).open("w", encoding="utf-8") as file:
            file.write(f"$ {' '.join(str(part) for part in command)}\n")
            file.flush()
            process = subprocess.Popen(
                [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", env={**os.environ, **(environment or {})}, cwd=cwd,
                start_new_session=True,
            )  # fmt: skip
            hung = threading.Event()

            def end() -> None:
                hung.set()
                _kill(process)

            timer = threading.Timer(limit_s, end)
            timer.start()
            last = error = ""
            try:
                for line in process.stdout or ():
                    file.write(line)
                    sys.stdout.write(line)
                    last = line.strip() or last
                    error = line.strip() if line.startswith("error: ") else error
                code = process.wait()
            except KeyboardInterrupt:
                _kill(process)
                self.steps.append(Step(name=name, state="failed", log=log, reason="interrupted"))
                raise
            finally:
                timer.cancel()
                if process.stdout is not None:
                    process.stdout.close()
            if hung.is_set():
                error = f"error: no end within {limit_s:g} s; it said last: {last}"
        state = "passed" if code == 0 else "failed"
        seconds = round(time.perf_counter() - start, 1)
        reason = (error or last or f"exit code {code}, no output") if code else ""
        self.steps.append(Step(name=name, state=state, seconds=seconds, exit_code=code, log=log, reason=reason))
        return code == 0

    def skip(self, name: str, reason: str) -> None:
        """A step that a failure before it made impossible."""
        print(f"\n== {name}: skipped, {reason}", flush=True)
        self.steps.append(Step(name=name, state="skipped", reason=reason))

    def leave_out(self, name: str, reason: str) -> None:
        """A step that this machine has no use for: no failure."""
        print(f"\n== {name}: left out, {reason}", flush=True)
        self.steps.append(Step(name=name, state="left out", reason=reason))


def _kill(process: subprocess.Popen[str]) -> None:
    """It and all that it started, which would keep its output open."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(process.pid, signal.SIGKILL)
