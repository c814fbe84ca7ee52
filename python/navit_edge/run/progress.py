"""How far a job is: a bar if somebody looks, a line now and then if nobody does."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from navit_edge.errors import BackendError
from navit_edge.threads import start_thread

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from navit_edge.run.rows import Row

#: Seconds between two lines if standard error is no terminal.
LINE_S = 15.0
#: The rate that the bar shows is of so many seconds.
_WINDOW_S = 10.0
#: Until then the rate is that of the start.
_SETTLED_S = 2.0


class Latencies:
    """A histogram of milliseconds in steps of 2 %, of any length in constant memory."""

    _STEP = math.log(1.02)
    _LOWEST_MS = 1e-3

    def __init__(self) -> None:
        self._counts = [0] * 1200  # up to 2 * 10^7 ms
        self.count = 0

    def add(self, value_ms: float) -> None:
        place = int(math.log(max(value_ms, self._LOWEST_MS) / self._LOWEST_MS) / self._STEP)
        self._counts[min(place, len(self._counts) - 1)] += 1
        self.count += 1

    def percentile(self, share: float) -> float:
        """The middle of the step that holds it; nan without values."""
        rank = math.ceil(share * self.count)
        seen = 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return self._LOWEST_MS * math.exp((place + 0.5) * self._STEP)
        return math.nan


class Progress:
    """console: standard error. quiet: nothing is shown. fill: the share of the packs' capacity that held tokens so far,
    nan if that is unknown. bar: False: lines even on a terminal, such as one that results are written to.

    Entered while the job runs. Memory and time per image are constant.
    """

    def __init__(self, console: Console, *, quiet: bool, bar: bool, fill: Callable[[], float]) -> None:
        self._console = console
        self._quiet = quiet
        self._fill = fill
        self._wants_bar = bar and not quiet and console.is_terminal and not console.is_dumb_terminal
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._total: int | None = None
        self._skipped: Callable[[], int] = lambda: 0
        self._latencies = Latencies()
        self._begun = time.monotonic()
        self._line_due = self._begun + LINE_S
        self._window: deque[tuple[float, int]] = deque([(self._begun, 0)])
        self.done = 0
        self.failed = 0

    def count_with(self, count: Callable[[], int | None], skipped: Callable[[], int]) -> None:
        """Finds out how many images there are while the job runs; ``skipped`` of them were done before it."""
        self._skipped = skipped
        if not self._quiet:
            with suppress(BackendError):  # if there is no thread for it, the bar has no end
                start_thread(self._count, count, name="navit-edge-count")

    def _count(self, count: Callable[[], int | None]) -> None:
        try:
            self._total = count()
        except Exception:  # the job itself comes to what is wrong, and says it
            self._total = None

    def __enter__(self) -> Progress:
        if self._wants_bar:
            from rich.progress import BarColumn, SpinnerColumn, TextColumn
            from rich.progress import Progress as Bar

            width = max(6, min(24, self._console.width - 92))  # the text comes first
            columns = (SpinnerColumn(), BarColumn(bar_width=width), TextColumn("{task.fields[text]}"))
            self._bar = Bar(*columns, console=self._console, transient=True, refresh_per_second=5)
            self._task = self._bar.add_task("", total=None, text="starting")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def add(self, row: Row) -> None:
        """One more result is in the output."""
        self.done += 1
        self.failed += row.failed
        if not row.failed:
            self._latencies.add(float(row.record["latency_ms"]))
        now = time.monotonic()
        if now - self._window[-1][0] > 0.5:
            self._window.append((now, self.done))
            while len(self._window) > 2 and now - self._window[0][0] > _WINDOW_S:
                self._window.popleft()
            if self._bar is not None and self._task is not None:
                total = self._remaining()
                self._bar.update(self._task, completed=self.done, total=total, text=self._text(now))
        if self._bar is None and not self._quiet and now > self._line_due:
            self._line_due = now + LINE_S
            self._console.print(self._text(now), soft_wrap=True, markup=False)

    def note(self, text: str, style: str = "") -> None:
        """A line above the bar."""
        self._console.print(text, style=style, soft_wrap=True, markup=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While something else is printed to the terminal."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def summary(self) -> str:
        """One line on the whole job."""
        seconds = time.monotonic() - self._begun
        parts = [f"{_count_of(self.done)} in {_duration(seconds)}"]
        if self.done:
            parts.append(f"{_rate(self.done / max(seconds, 1e-9))} images/s")
        return ", ".join(parts + self._shares())

    def restore_terminal(self) -> None:
        """The cursor, before the process ends without unwinding."""
        if self._wants_bar:
            self._console.show_cursor(True)

    def _remaining(self) -> int | None:
        return None if self._total is None else max(self._total - self._skipped(), self.done)

    def _text(self, now: float) -> str:
        total = self._remaining()
        then, before = self._window[0]
        rate = (self.done - before) / max(now - then, 1e-9)
        settled = now - self._begun > _SETTLED_S
        parts = [f"{self.done:,}/{total:,} images" if total is not None else _count_of(self.done)]
        if settled:
            parts.append(f"{_rate(rate)} images/s")
        parts += self._shares()
        if settled and total is not None and rate > 0:
            parts.append(f"{_duration((total - self.done) / rate)} left")
        return ", ".join(parts)

    def _shares(self) -> list[str]:
        parts = []
        fill = self._fill()
        if not math.isnan(fill):
            parts.append(f"fill {fill:.0%}")
        if self._latencies.count:
            p50, p99 = (self._latencies.percentile(share) for share in (0.5, 0.99))
            parts.append(f"p50 {_ms(p50)}, p99 {_ms(p99)} ms")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return parts


def _count_of(images: int) -> str:
    return f"{images:,} image{'s' * (images != 1)}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _ms(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
