"""Commands that are run one after another, each with a log, a limit and a state; of gpu_check and gpu_proof."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import reduction
from pathlib import Path
from typing import Any

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
        shown = [str(part) for part in command]

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(
                shown, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                env={**os.environ, **(environment or {})}, cwd=cwd, start_new_session=True,
            )  # fmt: skip

        return self._follow(name, f"$ {' '.join(shown)}", start, limit_s)

    def run_function(
        self,
        name: str,
        function: Callable[..., object],
        arguments: Sequence[object],
        *,
        preload: Sequence[str],
        limit_s: float | None = None,
    ) -> bool:
        """The same of a function of a module, in a process that is forked off one which has imported ``preload``."""
        shown = f"{function.__module__}.{function.__name__}({', '.join(map(str, arguments))})"
        return self._follow(name, shown, lambda: Forked(function, arguments, preload), limit_s)

    def _follow(
        self, name: str, shown: str, start: Callable[[], subprocess.Popen[str] | Forked], limit_s: float | None
    ) -> bool:
        limit_s = self.limit_s if limit_s is None else limit_s
        log = f"{len(self.steps) + 1:02d}-{name}.log"
        print(f"\n== {name}", flush=True)
        began = time.perf_counter()
        with (self.folder / log).open("w", encoding="utf-8") as file:
            file.write(f"{shown}\n")
            file.flush()
            process = start()
            hung = threading.Event()

            def end() -> None:
                hung.set()
                _kill(process.pid)

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
                _kill(process.pid)
                self.steps.append(Step(name=name, state="failed", log=log, reason="interrupted"))
                raise
            finally:
                timer.cancel()
                if process.stdout is not None:
                    process.stdout.close()
            if hung.is_set():
                error = f"error: no end within {limit_s:g} s; it said last: {last}"
        state = "passed" if code == 0 else "failed"
        seconds = round(time.perf_counter() - began, 1)
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


class Forked:
    """A function in a process forked off Python's fork server, which has imported what all of them need and started no
    thread and no GPU. To be used as a ``subprocess.Popen`` is."""

    def __init__(self, function: Callable[..., object], arguments: Sequence[object], preload: Sequence[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preload))  # of the first call; the server stays
        reader, writer = os.pipe()
        self._process = context.Process(target=_run_forked, args=(_Descriptor(writer), function, arguments))
        self._process.start()
        os.close(writer)
        self.pid = self._process.pid or 0
        self.stdout = open(reader, encoding="utf-8", errors="replace")  # noqa: SIM115

    def wait(self) -> int | None:
        """The exit code; negative for a signal."""
        self._process.join()
        return self._process.exitcode


class _Descriptor:
    """A file descriptor that a process is started with."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (reduction.DupFd(self._number),)


def _detached(duplicate: Any) -> int:
    return int(duplicate.detach())


def _run_forked(output: int, function: Callable[..., object], arguments: Sequence[object]) -> None:
    os.setsid()  # so that what it starts ends with it
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    function(*arguments)


def _kill(pid: int) -> None:
    """It and all that it started, which would keep its output open."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(pid, signal.SIGKILL)
