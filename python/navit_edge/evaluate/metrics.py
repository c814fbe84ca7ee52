"""Shares with their intervals, and whether two sets of answers to the same questions differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import msgspec

#: Of every interval, and 1 - the level of every test.
CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
#: Up to so many changed answers McNemar's test is exact; the chi-squared approximation is as good from there on.
MOST_EXACT = 1000


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` of ``of``, and the Wilson score interval of the share (Wilson 1927)."""

    value: float
    low: float
    high: float
    count: int
    of: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Of two shares of the same images: the second minus the first, and its interval (Tango 1998)."""

    value: float
    low: float
    high: float


def share(count: int, of: int) -> Share:
    """Raises ZeroDivisionError for a share of nothing."""
    p, z2 = count / of, _Z * _Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    # At the ends the formula gives 0 and 1 up to rounding.
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == of else min(1.0, middle + half)
    return Share(value=p, low=low, high=high, count=count, of=of)


def mcnemar(lost: int, gained: int) -> tuple[float, Literal["exact", "chi2"]]:
    """The two-sided p of McNemar's test, and how it was computed.

    lost, gained: images that only the first, and only the second, answers correctly. Exact (binomial with 1/2) up to
    ``MOST_EXACT`` of them together; else chi-squared with one degree of freedom and Edwards' continuity correction.
    """
    changed = lost + gained
    if changed > MOST_EXACT:
        statistic = max(0, abs(lost - gained) - 1) ** 2 / changed
        return math.erfc(math.sqrt(statistic / 2)), "chi2"
    term = total = 1  # changed choose 0, and their sum up to the smaller count
    for k in range(min(lost, gained)):
        term = term * (changed - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / 2**changed), "exact"  # integers divide exactly rounded, whatever their size


def holm(p: Sequence[float]) -> list[float]:
    """Each p of a family of tests, adjusted so that all of them together err with at most the level of one.

    Holm's step-down procedure (Holm 1979): valid whatever the tests have to do with each other. The smallest of m is
    multiplied by m, the next by m - 1 and so on; none is below one that comes before it.
    """
    adjusted = [1.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = highest
    return adjusted


def paired_difference(lost: float, gained: float, images: float) -> Difference:
    """(gained - lost) / images with Tango's score interval: the differences that a score test does not refuse.

    With no changed answer it is z^2 / (images + z^2) wide on both sides, where intervals around the estimate are too
    narrow.
    """
    found = (gained - lost) / images
    return Difference(
        value=found,
        low=_crossing(lost, gained, images, refused=-1.0, kept=found),
        high=_crossing(lost, gained, images, refused=1.0, kept=found),
    )


def _crossing(lost: float, gained: float, images: float, *, refused: float, kept: float) -> float:
    """Between a difference that is not refused and one that is: the last that is not."""
    for _ in range(60):
        middle = (refused + kept) / 2
        if _refuses(lost, gained, images, middle):
            refused = middle
        else:
            kept = middle
    return kept


def _refuses(lost: float, gained: float, images: float, difference: float) -> bool:
    """Tango's score test of a true difference, by the likeliest share of lost answers under it (Tango 1998)."""
    a = 2 * images
    b = -lost - gained + (2 * images - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    lost_share = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))
    variance = images * (2 * lost_share + difference * (1 - difference))
    return (gained - lost - images * difference) ** 2 > _Z * _Z * max(0.0, variance)


def smallest_difference(changed: int, images: int) -> float | None:
    """The smallest difference of two shares that McNemar's test shows at this level, if ``changed`` answers change.

    With fewer than six changed answers none is shown, whichever way they go; then it is that of six. None if there are
    fewer than six images.
    """
    least = next(n for n in range(1, 100) if mcnemar(0, n)[0] <= 1 - CONFIDENCE)
    changed = max(changed, least)
    if changed > images:
        return None
    low, high = changed // 2, changed  # of so many gained ones: not shown, shown
    while high - low > 1:
        middle = (low + high) // 2
        shows = mcnemar(changed - middle, middle)[0] <= 1 - CONFIDENCE
        low, high = (low, middle) if shows else (middle, high)
    return (2 * high - changed) / images


def images_needed(lost: int, gained: int, images: int, margin: float) -> int | None:
    """About how many images show that the loss is below ``margin``, if answers go on to change as they do here.

    None if the loss that was found is not below it, so that more images would not show that.
    """
    if (lost - gained) / images >= margin:
        return None

    def shows(count: int) -> bool:
        scale = count / images
        return paired_difference(lost * scale, gained * scale, count).low >= -margin

    high = images
    while not shows(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high
