"""Successive halving: many candidates measured for a short time, the better ones again for longer (Jamieson and
Talwalkar 2016, https://arxiv.org/abs/1502.07943). Knows nothing of engines.

With n candidates, a factor of 3 and three rounds of 1, 3 and 9 s this takes n + 3 n/3 + 9 n/9 = 3 n s; a grid that
measures every one as long as the last round does takes 9 n s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Ranked(Generic[A]):
    """A candidate after the search. cost: of what it was compared by, less is better; the mean of its measurements,
    each as heavy as it was long. rounds: in which it was measured."""

    candidate: A
    cost: float
    rounds: int


@dataclass
class _Known:
    weight: float = 0.0
    total: float = 0.0
    rounds: int = 0
    failed: bool = False

    def add(self, cost: float, weight: float) -> None:
        self.weight += weight
        self.total += weight * cost
        self.rounds += 1

    @property
    def cost(self) -> float:
        return self.total / self.weight


def lengths(seconds: float, *, factor: float, rounds: int) -> list[float]:
    """Of the measurements of each round: each ``factor`` times as long as those before."""
    return [seconds * factor**number for number in range(rounds)]


def successive_halving(
    candidates: Sequence[A],
    measure: Callable[[A, int, float], float | None],
    *,
    seconds: float,
    factor: float = 3.0,
    rounds: int = 3,
    group_of: Callable[[A], Hashable] | None = None,
    may_begin: Callable[[A, float], bool] = lambda candidate, seconds: True,
) -> list[Ranked[A]]:
    """The candidates that were measured, best first; those that lasted for more rounds before all others.

    measure: (candidate, round, seconds) -> cost, less is better; None: it cannot run, and is left out.
    group_of: the best of each group lasts whatever the other groups do: here one of each engine.
    may_begin: asked before each measurement; if it says no, that one and all later ones are left out, and what is known
        so far is ranked. The first candidates are measured first.
    """
    known: dict[A, _Known] = {}
    alive = list(dict.fromkeys(candidates))
    for number, length in enumerate(lengths(seconds, factor=factor, rounds=rounds)):
        for candidate in alive:
            if not may_begin(candidate, length):
                return _ranked(known)
            cost = measure(candidate, number, length)
            one = known.setdefault(candidate, _Known())
            if cost is None or not math.isfinite(cost):
                one.failed = True
            else:
                one.add(cost, length)
        alive = [candidate for candidate in alive if not known[candidate].failed]
        if len({group_of(one) if group_of else None for one in alive}) == len(alive):
            break  # the best of each group is found
        if number + 1 < rounds:
            alive = _survivors(alive, known, math.ceil(len(alive) / factor), group_of)
    return _ranked(known)


def _survivors(
    alive: Sequence[A], known: dict[A, _Known], count: int, group_of: Callable[[A], Hashable] | None
) -> list[A]:
    order = sorted(alive, key=lambda one: known[one].cost)
    kept = set(order[:count])
    if group_of is not None:
        best: dict[Hashable, A] = {}
        for one in order:
            best.setdefault(group_of(one), one)
        kept |= set(best.values())
    return [one for one in alive if one in kept]


def _ranked(known: dict[A, _Known]) -> list[Ranked[A]]:
    found = [
        Ranked(candidate=candidate, cost=one.cost, rounds=one.rounds)
        for candidate, one in known.items()
        if not one.failed
    ]
    return sorted(found, key=lambda one: (-one.rounds, one.cost))
