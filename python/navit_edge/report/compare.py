"""Two reports side by side: what differs, and what of it is more than chance.

Answers: the interval of the difference of two shares of separate samples, by Newcombe's hybrid score method (Newcombe
1998, method 10) from the Wilson intervals of both. Both evaluations may have seen the same images; the interval of
paired answers, which takes both sets of answers, would be narrower.
Speed: a run's times from the fastest run to the highest percentile that both know; if the two ranges have a value in
common, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from navit_edge.bench.measure import Measurement
from navit_edge.bench.suite import BenchReport
from navit_edge.evaluate.metrics import Share
from navit_edge.evaluate.report import Row
from navit_edge.report.content import BundleReport, Comparison, Difference, Verdict

_OFF = "their machines differ, so their times say nothing of the bundles"


def compare(first: BundleReport, second: BundleReport) -> Comparison:
    """What both reports know, and notes on what only one of them does."""
    notes: list[str] = []
    rows = [*_sizes(first, second, notes), *_certificates(first, second)]
    rows += _speeds(first, second, notes)
    rows += _answers(first, second, notes)
    return Comparison(differences=tuple(rows), notes=tuple(notes))


def _exact(group: str, what: str, unit: str, first: float, second: float) -> Difference:
    verdict: Verdict = "exact"
    return Difference(group=group, what=what, unit=unit, first=first, second=second, verdict=verdict)


def _sizes(first: BundleReport, second: BundleReport, notes: list[str]) -> Iterator[Difference]:
    yield _exact("size", "parameters", "", first.model.parameters, second.model.parameters)
    yield _exact("size", "bundle", "bytes", first.bytes, second.bytes)
    mine, its = ({one.id: one for one in report.engines} for report in (first, second))
    for name in mine:
        if name in its:
            yield _exact("size", f"{name}: file", "bytes", mine[name].bytes, its[name].bytes)
            slots = (mine[name].memory.one_slot, its[name].memory.one_slot)
            yield _exact("size", f"{name}: memory of a session with one slot, beside the engine", "bytes", *slots)
    for names, report in ((set(mine) - set(its), first), (set(its) - set(mine), second)):
        if names:
            notes.append(f"only {report.name} has the engines {', '.join(sorted(names))}")


def _certificates(first: BundleReport, second: BundleReport) -> Iterator[Difference]:
    """Each engine against the float32 graph of its own bundle: numbers, of which less is not a better bundle."""
    mine, its = (
        {} if report.certificate is None else {one.engine: one.distances for one in report.certificate.engines}
        for report in (first, second)
    )
    for engine in mine:
        for output in mine[engine]:
            if output in its.get(engine, {}):
                what = f"{engine}: largest difference of {output} from float32, of the largest value"
                yield _exact("certificate", what, "", mine[engine][output].relative, its[engine][output].relative)


def _speeds(first: BundleReport, second: BundleReport, notes: list[str]) -> Iterator[Difference]:
    its = {one.engine: one for one in second.bench}
    for mine in first.bench:
        other = its.get(mine.engine)
        if other is None:
            continue
        if _machine(mine) != _machine(other):
            notes.append(f"{mine.engine}: {_OFF}: {' / '.join(_machine(mine))} and {' / '.join(_machine(other))}")
            continue
        packs = {one.tokens: one for one in other.packs}
        for pack in mine.packs:
            if pack.tokens in packs:
                yield _speed(f"{mine.engine}: a pack of {pack.tokens:,} tokens", pack, packs[pack.tokens])
        if mine.source == other.source and mine.end_to_end.images == other.end_to_end.images:
            yield _speed(f"{mine.engine}: end to end, {mine.source}", mine.end_to_end, other.end_to_end)
        else:
            notes.append(f"{mine.engine}: end to end, other images ran: {mine.source}; {other.source}")
    measured = [{one.engine for one in report.bench} for report in (first, second)]
    if not measured[0] & measured[1]:
        notes.append("no engine was measured in both: give --bench for both bundles to compare their speed")


def _machine(report: BenchReport) -> tuple[str, ...]:
    host = report.host
    return (report.device, host.cpu, f"{host.cores} cores", f"{report.threads} threads", f"{report.slots} slots")


def _speed(what: str, mine: Measurement, other: Measurement) -> Difference:
    common = [name for name in mine.latency_ms if name in other.latency_ms]
    middle = "p50" if "p50" in common else "mean"
    high = max((name for name in common if name[0] == "p"), key=lambda name: float(name[1:]), default="max")
    first, second = mine.latency_ms, other.latency_ms
    low, top = second["min"] - first[high], second[high] - first["min"]
    verdict: Verdict = "lower" if top < 0 else "higher" if low > 0 else "not shown"
    return Difference(
        group="speed",
        what=what,
        unit="ms",
        first=first[middle],
        second=second[middle],
        low=low,
        high=top,
        verdict=verdict,
        better={"lower": 1, "higher": 0}.get(verdict),
        why=f"{middle}; the times from the fastest run to {high} "
        + ("have values in common" if verdict == "not shown" else "have no value in common"),
    )


def _answers(first: BundleReport, second: BundleReport, notes: list[str]) -> Iterator[Difference]:
    mine, its = first.evaluation, second.evaluation
    if mine is None or its is None:
        notes.append("not both were evaluated: give --evaluate for both bundles to compare their answers")
        return
    if (mine.head, mine.data.images, mine.data.classes) != (its.head, its.data.images, its.data.classes):
        notes.append(
            f"the evaluations are not of the same data or head: {mine.data.images:,} images, head {mine.head}; "
            f"{its.data.images:,} images, head {its.head}"
        )
        return
    notes.append(
        "both evaluations have as many images; that they are the same ones is yours to know. Each interval is of 95 % "
        "for itself: of twenty, about one is off"
    )
    others = {(row.engine, row.policy, row.cap): row for row in its.rows}
    for row in mine.rows:
        other = others.get((row.engine, row.policy, row.cap))
        if other is not None:
            yield _accuracy(row, other)
            if row.timing is not None and other.timing is not None:
                yield Difference(
                    group="accuracy", what=f"{_row_name(row)}: images/s, in evaluate", unit="",
                    first=row.timing.images_per_s, second=other.timing.images_per_s, verdict="no interval",
                )  # fmt: skip


def _row_name(row: Row) -> str:
    cap = "" if row.cap is None else f", at most {row.cap} patches"
    return f"{row.engine}, policy {row.policy}{cap}"


def _accuracy(row: Row, other: Row) -> Difference:
    low, high = difference_of(row.top1, other.top1)
    verdict: Verdict = "higher" if low > 0 else "lower" if high < 0 else "not shown"
    return Difference(
        group="accuracy",
        what=f"{_row_name(row)}: top-1",
        unit="%",
        first=100 * row.top1.value,
        second=100 * other.top1.value,
        low=100 * low,
        high=100 * high,
        verdict=verdict,
        better={"higher": 1, "lower": 0}.get(verdict),
        why=f"{row.top1.of:,} and {other.top1.of:,} images; the interval of the difference "
        + ("holds 0" if verdict == "not shown" else "leaves out 0"),
    )


def difference_of(first: Share, second: Share) -> tuple[float, float]:
    """The interval of the second share minus the first, of separate samples: Newcombe's hybrid score interval."""
    found = second.value - first.value
    return (
        found - math.hypot(second.value - second.low, first.high - first.value),
        found + math.hypot(second.high - second.value, first.value - first.low),
    )
