"""When each frame of a film or an animation is shown: from 0, never back, whatever its timestamps say; and which frames
are shown at the times that ``--fps`` asks for.

A container's timestamps may be missing, restart, leap or have no order. The rule:

* The first frame is shown at 0, every later one after the one before it.
* Timestamps that grow are believed, up to ``MOST_GAP_S`` from frame to frame.
* One timestamp that does not fit between those before and behind it is put into their middle.
* If timestamps go back and stay back, or leap, or are missing, a frame comes when the one before it has been shown
  for its own duration, or else for the usual one; those behind it count from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: A timestamp that is farther from the one before it than a day is none.
MOST_GAP_S = 86_400
#: Durations above it say how long the last frame stands and not what is usual.
_MOST_USUAL_S = 10
_USUAL_S = Fraction(1, 25)
#: Two times that differ by less are the same: containers round, Matroska to milliseconds.
_LEAST_S = 1e-6
_MOST_ROUNDING_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class Stamped(Generic[T]):
    """A frame with what its container says. pts_s, duration_s: None if it says nothing."""

    frame: T
    pts_s: Fraction | None
    duration_s: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class Timed(Generic[T]):
    """time_s: from the first frame. own_s: how long it is shown if none follows."""

    frame: T
    time_s: float
    own_s: float


def seconds(count: Any, unit: Any = 1) -> Fraction | None:
    """``count`` times ``unit`` as an exact number; None if one of them is missing, not finite or no number."""
    try:
        return Fraction(count) * Fraction(unit)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None


def usual_duration_s(rate: Any) -> Fraction:
    """Of a frame, by the frames a second that a header states; 1/25 if they make no sense."""
    stated = seconds(rate)
    return 1 / stated if stated is not None and Fraction(1, _MOST_USUAL_S) <= stated <= 1000 else _USUAL_S


def timed(frames: Iterable[Stamped[T]], usual_s: Fraction = _USUAL_S) -> Iterator[Timed[T]]:
    """``frames`` in the order in which they are decoded, each with its time; one is held back."""
    clock = _Clock(usual_s)
    held: Stamped[T] | None = None
    for following in frames:
        if held is not None:
            yield clock.place(held, following.pts_s)
        held = following
    if held is not None:
        yield clock.place(held, None)


def shown_at(frames: Iterable[Timed[T]], fps: float, *, rounding_s: float = 0.0) -> Iterator[Timed[T]]:
    """The frames that are shown at the times 0, 1/fps, 2/fps, …, each once: a frame is shown until the time of the next
    one, the last for its own duration. One more is held back.

    rounding_s: by how much its container may have rounded a time.
    """
    slack = max(_LEAST_S, min(rounding_s, _MOST_ROUNDING_S) * 1.01)
    held: Timed[T] | None = None
    for following in frames:
        if held is not None and is_shown(held.time_s, following.time_s, fps, slack):
            yield held
        held = following
    if held is not None and is_shown(held.time_s, held.time_s + held.own_s, fps, slack):
        yield held


def is_shown(start_s: float, end_s: float, fps: float, slack: float = _LEAST_S) -> bool:
    """Whether one of the times 0, 1/fps, 2/fps, … lies from ``start_s`` to before ``end_s``."""
    if start_s <= 0.0:
        return True
    return max(1, math.ceil((start_s - slack) * fps)) / fps < end_s - slack


class _Clock:
    def __init__(self, usual_s: Fraction) -> None:
        self._usual_s = usual_s
        self._step_s = usual_s
        self._time: Fraction | None = None
        self._offset = Fraction(0)
        self._before: Fraction | None = None  # the timestamp of the frame before

    def place(self, frame: Stamped[T], following: Fraction | None) -> Timed[T]:
        own = frame.duration_s if frame.duration_s is not None and 0 < frame.duration_s <= MOST_GAP_S else None
        stamp = self._stamp(frame.pts_s, following)
        if self._time is None:
            self._time = Fraction(0)
            self._offset = -stamp if stamp is not None else Fraction(0)
        elif stamp is not None and self._before is not None and 0 < stamp - self._before <= MOST_GAP_S:
            if own is None and stamp - self._before <= _MOST_USUAL_S:
                self._step_s = stamp - self._before
            self._time = stamp + self._offset
        else:
            self._time += self._step_s
            self._offset = self._time - stamp if stamp is not None else self._offset
        if own is not None:
            self._step_s = own if own <= _MOST_USUAL_S else self._usual_s
        self._before = stamp
        return Timed(frame=frame.frame, time_s=float(self._time), own_s=float(own or self._step_s))

    def _stamp(self, stamp: Fraction | None, following: Fraction | None) -> Fraction | None:
        """The timestamp, or what stands for it between its neighbours."""
        before = self._before
        if before is None or following is None or not 0 < following - before <= MOST_GAP_S:
            return stamp if stamp is not None or before is None else before + self._step_s
        if stamp is None:
            return before + min(self._step_s, (following - before) / 2)
        return stamp if before < stamp < following else before + (following - before) / 2
