"""Section: which settings suit a machine: the profile of tune."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from navit_edge.page.elements import tag
from navit_edge.profile.schema import Profile, Quality, Trial
from navit_edge.report.chart import Axis, Point, Series, chart, legend
from navit_edge.report.fast import MOST_LINES
from navit_edge.report.parts import (
    Place,
    bytes_text,
    count_text,
    facts,
    figure,
    ms_text,
    percent_text,
    rate_text,
    table,
    words,
)
from navit_edge.tune.recommend import time_of
from navit_edge.vocabulary import USES, Aim

_QUALITY: dict[Quality, str] = {
    "top1": "top-1",
    "agreement": "answers as the reference's",
    "similarity": "embeddings alike to the reference's",
}

_TIME: dict[Aim, str] = {
    "latency": "milliseconds an image alone, p90; decoding not counted",
    "throughput": "milliseconds an image, many in one run; decoding not counted",
}
_HEADS = ["engine", "policy", "threads →", "slots →", "tokens an image →", "p50 ms →", "p90 ms →", "p99 ms →",
          "images/s →", "memory →", "quality →"]  # fmt: skip


def suited_section(profile: Profile, place: Place) -> Element:
    measured = profile.measured
    rows = [_row(use, profile.trial(use), measured.quality) for use in USES]
    reasons = [tag("li", tag("b", use), f": {profile.advice.of(use).reason}") for use in USES]
    limits = [
        "" if measured.target_ms is None else f"p90 within {measured.target_ms:g} ms",
        "" if measured.memory_limit_bytes is None else f"memory of at most {bytes_text(measured.memory_limit_bytes)}",
    ]
    return place.section(
        "tuned",
        "Which settings",
        facts(
            [
                ("measured on", profile.machine.words),
                ("images", f"{measured.images:,}; {count_text(len(measured.trials), 'setup')} and policies compared"),
                ("wanted", ", ".join(filter(None, limits))),
                ("reference", f"{measured.reference}, all tokens"),
                ("budgets", profile.advice.budgets.reason),
                ("images in a run", profile.advice.images_per_run_reason),
                ("not run", words(list(measured.not_run))),
            ]
        ),
        None if measured.complete else tag("p", "Time was up before everything was measured.", cls="warning"),
        table(place.id("profile"), "Recommendations by use", ["use", *_HEADS], rows),
        tag("ul", *reasons),
        _front(profile, place),
        table(
            place.id("trials"),
            "All that was compared",
            ["trial", *_HEADS],
            [_row(_named(at, profile), trial, measured.quality) for at, trial in enumerate(measured.trials)],
        ),
    )


def _row(name: str, trial: Trial, quality: Quality) -> tuple[str, ...]:
    setup = trial.setup
    good = quality_of(trial, quality)
    return (
        name,
        setup.engine,
        trial.policy,
        f"{setup.threads:,}" if setup.threads else "all",
        f"{setup.slots:,}" if setup.slots else "auto",
        f"{trial.tokens_per_image:.1f}",
        ms_text(trial.p50_ms),
        ms_text(trial.p90_ms),
        ms_text(trial.p99_ms),
        rate_text(trial.images_per_s),
        bytes_text(trial.memory_bytes),
        "" if good is None else f"{good:.4f}" if quality == "similarity" else percent_text(good),
    )


def quality_of(trial: Trial, quality: Quality) -> float | None:
    if quality == "top1":
        return None if trial.top1 is None else trial.top1.value
    return trial.agreement if quality == "agreement" else trial.similarity


def _named(at: int, profile: Profile) -> str:
    uses = [use for use in USES if profile.advice.of(use).trial == at]
    front = ["on the front"] if at in profile.advice.front else []
    return ", ".join([str(at), *uses, *front])


def _front(profile: Profile, place: Place) -> Element | None:
    """Quality against the time of an image alone, in the engines that were compared; the front as a line."""
    measured = profile.measured
    percent = measured.quality != "similarity"
    points: dict[str, list[Point]] = {}
    front: list[Point] = []
    for at, trial in enumerate(measured.trials):
        good = quality_of(trial, measured.quality)
        if good is None:
            continue
        scale = 100 if percent else 1
        around = trial.top1 if measured.quality == "top1" else None
        point = Point(
            x=time_of(trial, measured),
            y=scale * good,
            low=None if around is None else scale * around.low,
            high=None if around is None else scale * around.high,
            text=f"{trial.tokens_per_image:.0f}",
            hollow=at not in profile.advice.front,
        )
        points.setdefault(trial.setup.engine, []).append(point)
        if at in profile.advice.front:
            front.append(Point(x=point.x, y=point.y))
    shown = [Series(name=name, points=found, line=False) for name, found in list(points.items())[:MOST_LINES]]
    if len(front) > 1:
        ordered = sorted(front, key=lambda point: point.x)
        shown.append(Series(name="Pareto front", points=ordered, marks=False, quiet=True))
    drawn = chart(
        place.id("tuned-front"),
        "Quality against time",
        "A point for each row of the table below.",
        Axis(label=_TIME[measured.aim], log=True),
        Axis(label=f"{_QUALITY[measured.quality]}{', %' if percent else ''}", zoomed=True),
        shown,
    )
    caption = "Up and to the left is better. Numbers: mean tokens an image. Filled: on the Pareto front."
    return figure(caption, drawn, legend(shown))
