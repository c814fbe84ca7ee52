"""SIGINT and SIGTERM during a job: the first asks it to stop, the second ends the process."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from navit_edge.errors import BackendError
from navit_edge.threads import start_thread

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """While entered, SIGINT and SIGTERM do not raise: they set ``signal``, make ``fd`` readable and call ``on_stop``.

    A thread of its own waits for them, since the interpreter runs handlers only between two instructions of the main
    thread, which may wait in C++ or for standard input. A second signal ends the process at once with 128 + its number,
    after ``on_abort``; outputs are such that this loses nothing (docs/run.md). A signal that is ignored when the job
    starts, as under ``nohup``, stays ignored. Does nothing outside of the main thread, where handlers cannot be set.
    """

    def __init__(self, *, on_stop: Callable[[], None], on_abort: Callable[[], None]) -> None:
        #: The number of the first signal; 0 until there is one.
        self.signal = 0
        self._on_stop = on_stop
        self._on_abort = on_abort
        #: Readable from the first signal on, for good.
        self.fd, self._wake = os.pipe2(os.O_CLOEXEC)
        self._arrivals, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._handlers: dict[signal.Signals, Any] = {}
        self._old_fd = -1
        self._thread: threading.Thread | None = None
        self._stopping: threading.Thread | None = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._thread = start_thread(self._watch, name="navit-edge-signals")
        self._old_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._handlers[number] = signal.signal(number, _nothing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._thread is not None:
            signal.set_wakeup_fd(self._old_fd)
            self._sender.setblocking(True)
            self._sender.sendall(b"\0")  # no signal has this number: the thread ends
            self._thread.join()
        if self._stopping is not None:
            self._stopping.join()
        self._arrivals.close()
        self._sender.close()
        os.close(self.fd)
        os.close(self._wake)

    def wake(self) -> None:
        """Makes ``fd`` readable without a signal, so that nothing waits for it any more."""
        os.write(self._wake, b"\0")

    def _watch(self) -> None:
        while number := self._arrivals.recv(1)[0]:
            if number not in _SIGNALS:
                continue
            if self.signal:
                try:
                    self._on_abort()
                finally:
                    os._exit(128 + number)
            self.signal = number
            self.wake()
            try:  # it may take long, and a second signal must not wait for it
                self._stopping = start_thread(self._on_stop, name="navit-edge-stopping")
            except BackendError:
                self._on_stop()


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler has to be set for the interpreter to pass a signal on to the wake-up descriptor."""
