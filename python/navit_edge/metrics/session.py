"""What a session has done so far: ``session.metrics``, Prometheus text, and an HTTP endpoint for scraping it.

docs/metrics.md lists every number with its unit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from navit_edge import _core as native
from navit_edge.options import checked_int
from navit_edge.text import without_halves

if TYPE_CHECKING:
    from navit_edge.metrics.server import MetricsServer


class SessionMetrics:
    """``session.metrics``: what the session does. Any thread, at any time; also when closed or broken."""

    def __init__(self, core: native.Session) -> None:
        self._core = core

    def stats(self) -> dict[str, Any]:
        """What the session has done since it was opened, as a dict that ``json.dumps`` takes.

        * ``images``: counts ``submitted``, ``completed``, ``failed``, ``cancelled``, ``scaled_down``, ``dropped`` by a
          stream (cancelled as well if it waited); ``waiting`` now; ``errors``: failed ones by "invalid_input",
          "over_budget", "bundle", "backend". An idle session has submitted = completed + failed + cancelled.
        * ``packs``: counts ``completed``, ``failed``; ``in_flight`` now; ``slots``.
        * ``tokens``: ``used`` by images, and ``padding``, in completed packs.
        * ``deadlines``: completed images that ``met`` or ``missed`` theirs; ``targets``: the same of the target of a
          latency policy.
        * ``cascade``: first results that were ``accepted`` or, for want of time, ``kept``; images that ran ``again``.
        * Of images: ``queue_s`` (submission to the start of the pack), ``latency_s`` (submission to result),
          ``slack_s`` (left of a deadline), ``overrun_s`` (past one), ``image_tokens``. Of completed packs:
          ``preprocess_s``, ``engine_s``, ``unpack_s``, ``pack_s``, ``fill`` (used tokens / T), ``pack_images``. Each
          with ``count``, ``sum``, ``mean``, ``min``, ``max``, ``p50``, ``p90``, ``p99`` (within 1/8; docs/metrics.md
          says how); None if nothing was counted.
        * ``devices``: of each its ``name``, ``device`` in words, ``lost`` (why it takes no more packs, else ""),
          ``slots``, ``in_flight``, and counts ``packs``, ``packs_failed``, ``images``, ``tokens``, ``busy_s``.
        * ``uptime_s``, ``broken``, ``callback_errors``, and the labels ``bundle`` and ``engine``.

        Times are in seconds.
        """
        return {**self._core.metric_labels(), **self._core.metrics()}

    def prometheus(self, labels: Mapping[str, str] | None = None) -> str:
        """The same in Prometheus's text format 0.0.4. ``labels`` are added to ``bundle`` and ``engine``.

        Raises InvalidInputError for a label's name that Prometheus does not allow.
        """
        return native.prometheus([self.labelled(labels or {})])

    def labelled(self, more: Mapping[str, str]) -> tuple[native.Session, list[tuple[str, str]]]:
        """What the core writes Prometheus's text of: the session, and its labels with ``more``."""
        added = ((name, without_halves(value)) for name, value in more.items())
        return self._core, [*self._core.metric_labels().items(), *added]

    def start_trace(self, *, max_events: int = 131072) -> None:
        """Records what happens from now on: when each pack was preprocessed, run and unpacked in which slot, how long
        images waited, and what was dropped, cancelled, late or failed.

        max_events: the last so many are kept, 80 bytes each, 1 to 10000000; 131072 hold some 50000 images: an image
            takes two, a pack four. What is lost is told in the trace.
        Raises InvalidInputError for another number, and if a trace is being recorded already.
        """
        self._core.start_trace(checked_int("max_events", max_events))

    def stop_trace(self) -> dict[str, Any]:
        """Ends the trace and returns it: an object in Chrome's Trace Event Format.

        ``navit_edge.metrics.trace.write`` makes a file of it, which https://ui.perfetto.dev opens.

        What has not ended yet, images that wait and packs in flight, is not in it. Raises InvalidInputError if no
        trace is being recorded.
        """
        trace: dict[str, Any] = json.loads(self._core.stop_trace())
        return trace


class Measured(Protocol):
    """A session, as far as its metrics go."""

    @property
    def metrics(self) -> SessionMetrics: ...


#: One session, or several by the name that their label ``session`` gets.
Sessions: TypeAlias = Measured | Mapping[str, Measured]


def prometheus(sessions: Sessions, *, label: str = "session") -> str:
    """Prometheus's text of one session, or of several as one page: {"front": session, ...} gives session="front".

    label: the name of that label.
    Raises InvalidInputError for two sessions that no label tells apart.
    """
    named = sessions if isinstance(sessions, Mapping) else {"": sessions}
    return native.prometheus([one.metrics.labelled({label: name} if name else {}) for name, one in named.items()])


def serve(sessions: Sessions, port: int, *, host: str = "127.0.0.1") -> MetricsServer:
    """Answers ``GET /metrics`` with ``prometheus(sessions)``, as Triton and TorchServe do, from a thread of its own.

    port: 0 takes a free one; the server's ``port`` and ``url`` say which.
    host: this machine alone by default; "0.0.0.0" lets every machine in, without a password: behind a firewall only.
    Raises InvalidInputError if the port cannot be had.
    """
    from navit_edge.metrics.server import MetricsServer

    prometheus(sessions)  # what would fail fails here, not in a scrape
    return MetricsServer(sessions, port, host)
