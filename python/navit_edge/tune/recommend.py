"""From the measured table to what is recommended: a function of the table alone, so that every recommendation repeats
from its profile."""

from __future__ import annotations

from collections.abc import Sequence

from navit_edge.bench.measure import ms_text
from navit_edge.errors import InvalidInputError
from navit_edge.planning.budgets import choose_budgets
from navit_edge.profile.schema import Advice, Budgets, Measured, Quality, Recommendation, Trial

#: How much worse than the best answers may be: (balanced, fast).
ALLOWED: dict[Quality, tuple[float, float]] = {
    "top1": (0.01, 0.05),
    "agreement": (0.02, 0.10),
    "similarity": (0.01, 0.05),
}
#: Share of the most images/s at which giving more images at once is worth nothing.
ENOUGH = 0.95
#: Of `navit-edge plan-budgets`: how many budgets, and how many images arrive at once.
BUDGETS = 3
ARRIVALS = (1, 4, 16, 64)
MOST_TOKENS = 8192


def recommend(measured: Measured) -> Advice:
    """Raises InvalidInputError if no setting stays within the memory that is allowed, with the numbers."""
    fits = _within_memory(measured)
    front = pareto_front(measured, fits)
    fast, balanced, best = _by_use(measured, fits)
    count, why = _images_per_run(measured)
    return Advice(
        front=tuple(front),
        fast=fast,
        balanced=balanced,
        best=best,
        images_per_run=count,
        images_per_run_reason=why,
        budgets=_budgets(measured, measured.trials[balanced.trial]),
    )


def quality_of(trial: Trial, kind: Quality) -> float | None:
    """None if it was not measured."""
    if kind == "top1":
        return None if trial.top1 is None else trial.top1.value
    return trial.agreement if kind == "agreement" else trial.similarity


def time_of(trial: Trial, measured: Measured) -> float:
    """Milliseconds that settings are compared by: the 90th percentile of an image alone, or the mean of many."""
    return trial.p90_ms if measured.aim == "latency" else 1e3 / trial.images_per_s


def pareto_front(measured: Measured, among: Sequence[int]) -> list[int]:
    """Of ``among`` those that no other one beats in quality and in time; the fastest first."""
    points = {place: _point(measured, place) for place in among}
    front = [
        place
        for place, (quality, time) in points.items()
        if not any(
            other_quality >= quality and other_time <= time and (other_quality, other_time) != (quality, time)
            for other_quality, other_time in points.values()
        )
    ]
    return sorted(front, key=lambda place: (points[place][1], -points[place][0], place))


def _point(measured: Measured, place: int) -> tuple[float, float]:
    trial = measured.trials[place]
    quality = quality_of(trial, measured.quality)
    assert quality is not None
    return quality, time_of(trial, measured)


def _within_memory(measured: Measured) -> list[int]:
    known = [place for place, trial in enumerate(measured.trials) if quality_of(trial, measured.quality) is not None]
    if measured.quality != "top1":  # a share of few images says little beside one of many
        most = max((measured.trials[place].answered for place in known), default=0)
        known = [place for place in known if measured.trials[place].answered * 2 >= most]
    if not known:
        raise InvalidInputError(f"no setting has a {measured.quality}, so none can be recommended; give more --minutes")
    limit = measured.memory_limit_bytes
    if limit is None:
        return known
    sizes = {place: measured.trials[place].memory_bytes for place in known}
    fits = [place for place, size in sizes.items() if size is not None and size <= limit]
    if not fits:
        least = min((size for size in sizes.values() if size is not None), default=None)
        found = "the system does not say how much any takes" if least is None else f"the smallest takes {_mib(least)}"
        raise InvalidInputError(
            f"no setting stays within {_mib(limit)} of memory: {found}; expected at least that: raise --memory, or "
            "build an engine of fewer tokens"
        )
    return fits


def _by_use(measured: Measured, fits: Sequence[int]) -> tuple[Recommendation, Recommendation, Recommendation]:
    """(fast, balanced, best)"""
    target = measured.target_ms
    met = [place for place in fits if target is None or measured.trials[place].p90_ms <= target]
    if target is not None and not met:
        nearest = min(fits, key=lambda place: (measured.trials[place].p90_ms, place))
        why = f"no setting has a p90 within {target:g} ms; this one comes nearest: {_figures(measured, nearest)}"
        one = Recommendation(trial=nearest, reason=why)
        return one, one, one
    limits = "" if target is None else f" of those with a p90 within {target:g} ms"
    top = min(met, key=lambda place: (-_point(measured, place)[0], _point(measured, place)[1], place))
    best = _point(measured, top)
    found = []
    for allowed in reversed(ALLOWED[measured.quality]):
        near = [place for place in met if _point(measured, place)[0] >= best[0] - allowed - 1e-12]
        fastest = min(near, key=lambda place: (_point(measured, place)[1], -_point(measured, place)[0], place))
        faster = best[1] / _point(measured, fastest)[1]
        than = "" if fastest == top else f", {faster:.2g} × as fast as best"
        why = f"the fastest{limits} that answers at most {_gap(measured.quality, allowed)} worse than the best{than}"
        found.append(Recommendation(trial=fastest, reason=f"{why}: {_figures(measured, fastest)}"))
    why = f"the best answers{limits}: {_figures(measured, top)}"
    return found[0], found[1], Recommendation(trial=top, reason=why)


def _figures(measured: Measured, place: int) -> str:
    trial = measured.trials[place]
    return (
        f"{quality_text(trial, measured.quality)}, p90 {ms_text(trial.p90_ms)} ms, "
        f"{number_text(trial.images_per_s)} images/s, {trial.tokens_per_image:.0f} tokens an image"
    )


def quality_text(trial: Trial, kind: Quality) -> str:
    """ "top-1 81.5 % (75.5 to 86.3)", "97.0 % of the reference's answers", "cosine 0.993"."""
    value = quality_of(trial, kind)
    if value is None:
        return ""
    if kind == "top1" and trial.top1 is not None:
        return f"top-1 {value * 100:.1f} % ({trial.top1.low * 100:.1f} to {trial.top1.high * 100:.1f})"
    return f"{value * 100:.1f} % of the reference's answers" if kind == "agreement" else f"cosine {value:.3f}"


def number_text(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _gap(kind: Quality, allowed: float) -> str:
    if kind == "similarity":
        return f"{allowed:g} of the cosine"
    points = allowed * 100
    return f"{points:g} point{'s' * (points != 1)}"


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _images_per_run(measured: Measured) -> tuple[int | None, str]:
    rows = sorted(measured.together, key=lambda one: one.images)
    if not rows:
        return None, "not measured: time was up"
    most = max(rows, key=lambda one: one.images_per_s)
    enough = next(one for one in rows if one.images_per_s >= ENOUGH * most.images_per_s)
    if enough is rows[0]:
        return enough.images, (
            f"{enough.images} at a time is as fast as any: {number_text(enough.images_per_s)} images/s, at most "
            f"{number_text(most.images_per_s)}"
        )
    return enough.images, (
        f"{enough.images} at a time give {number_text(enough.images_per_s)} images/s, {rows[0].images} at a time "
        f"{number_text(rows[0].images_per_s)}; more gain less than {1 - ENOUGH:.0%}"
    )


def _budgets(measured: Measured, trial: Trial) -> Budgets:
    facts = next((one for one in measured.engines if one.id == trial.setup.engine), None)
    if facts is None or facts.cost is None:
        why = f"{trial.setup.engine} takes packs of any size, so there are no token budgets to choose"
        return Budgets(tokens=(), images=(), reason=why)
    cap = _cap_of(trial.policy)
    lengths = [min(tokens, cap) if cap else tokens for tokens, _ in measured.tokens]
    weights = [float(count) for _, count in measured.tokens]
    chosen = choose_budgets(
        lengths,
        weights,
        count=BUDGETS,
        images_per_run=ARRIVALS,
        cost=facts.cost,
        max_tokens=max(MOST_TOKENS, *lengths),
    )
    return Budgets(
        tokens=chosen.tokens,
        images=chosen.images,
        reason=(
            f"runs of {', '.join(map(str, ARRIVALS))} of these images take the least predicted time with them: "
            f"{chosen.fill:.0%} of the computed tokens are an image's"
        ),
    )


def _cap_of(policy: str) -> int:
    """Of "token-cap:256"; 0 for other policies."""
    name, _, value = policy.partition(":")
    return int(value) if name == "token-cap" and value.isdigit() else 0
