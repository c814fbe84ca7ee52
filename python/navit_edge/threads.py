"""Threads of the package. All are daemons: what must end in order when the interpreter ends does so by ``atexit``."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from navit_edge.errors import BackendError

#: How long who must not give up waits for memory before it tries again.
PATIENCE_S = 0.05

T = TypeVar("T")
_Task: TypeAlias = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


def start_thread(body: Callable[..., object], *args: Any, name: str) -> threading.Thread:
    """A thread that runs. Raises BackendError if the system gives none."""
    thread = threading.Thread(target=body, args=args, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise BackendError(
            f'cannot start the thread "{name}": {error}; raise the limit on processes and threads (ulimit -u, and '
            "pids.max of the container), or on memory"
        ) from error
    return thread


def insist(action: Callable[..., object], *args: Any, held: threading.Condition | None = None) -> None:
    """Until there is memory for it: nobody else would do it, and somebody waits for it. held: what it holds
    meanwhile."""
    while True:
        try:
            action(*args)
            return
        except MemoryError:
            if held is not None:
                leave(held)
            time.sleep(PATIENCE_S)


def leave(condition: Any) -> None:
    """``with condition`` stays inside if there is no memory for the call of ``__exit__``."""
    while condition._is_owned():
        condition.release()


class Workers:
    """Up to ``most`` threads, started as there is work. If the system gives fewer, those there are do it, and if
    it gives none, the thread that asks. For one thread's use."""

    def __init__(self, most: int, *, name: str) -> None:
        self._wanted = most
        self._name = name
        self._threads: list[threading.Thread] = []
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()

    def do(self, body: Callable[..., T], *args: Any) -> Future[T]:
        """What ``body(*args)`` will return or raise."""
        if len(self._threads) < self._wanted:
            try:
                self._threads.append(start_thread(self._serve, name=self._name))
            except BackendError:
                self._wanted = len(self._threads)
        task: _Task = (Future(), body, args)
        if self._threads:
            self._tasks.put(task)
        else:
            _carry_out(*task)
        return task[0]

    def close(self) -> None:
        """Ends the threads when they have done what they have begun, and cancels the rest."""
        while not self._tasks.empty():
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:  # a thread was faster
                break
            if task is not None:
                task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            _carry_out(*task)
            del task  # it holds what was decoded


def _carry_out(future: Future[Any], body: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    result, error = None, None
    try:
        result = body(*args)
    except BaseException as raised:
        error = raised
    insist(_settle, future, result, error, held=future._condition)


def _settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # but for telling who waits
        with future._condition:
            future._condition.notify_all()
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
