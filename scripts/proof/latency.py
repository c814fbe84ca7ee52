"""Step "latency": how long images wait under load, and which deadlines they keep, for each budget of the engine.

An open loop (navit_edge/bench/open_loop.py): images of all sizes arrive by a Poisson process at shares of the measured
peak. Each has a deadline of three times what it takes alone on an idle session. The peak is what `submit` gives when
all images wait at once, so it has the cost of Python's side in it, as the load has.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import navit_edge as ne
from navit_edge._core import Result
from navit_edge.bench.open_loop import Indices, Load, Times, arrivals, offer, percentiles_ms, submit_all, time_alone
from navit_edge.bundle import manifest as manifests
from proof import subject
from proof.results import Results
from proof.settings import Settings
from proof.subject import Subject, outputs_of

Image = npt.NDArray[np.uint8]
SHARES = (0.5, 0.7, 0.9)
DEADLINE = 3.0  # times the time of an image alone
LEAST_PATCHES = 16
MARGIN = 0.75  # of a budget: rules that round sides up must not go beyond it


@dataclass(frozen=True, kw_only=True)
class Extent:
    """images: different ones. batch: images of a burst. load: images that are offered in a load, or if fewer, what
    comes within ``seconds``."""

    images: int
    batch: int
    load: int
    seconds: float
    repeats: int


FULL = Extent(images=32, batch=192, load=20_000, seconds=4.0, repeats=7)
REHEARSAL = Extent(images=12, batch=48, load=400, seconds=4.0, repeats=3)
QUICK = Extent(images=6, batch=12, load=40, seconds=4.0, repeats=1)


def run(settings: Settings, results: Results) -> None:
    """Each image alone, the peak, then a load at each share of it; what time does not suffice for is left out."""
    extent = QUICK if settings.quick else FULL if settings.device == "cuda" else REHEARSAL
    with subject.opened(settings, results.file.with_suffix(".navit")) as one:
        results.put("what_ran", one.label)
        images = images_for(one, extent.images)
        with one.session() as session:
            _measure(one, session, images, extent, results)
            _judge_session(one, session, results)
    one.judge_simulation(results)


def images_for(one: Subject, count: int) -> list[Image]:
    """Random pixels at whole patches: log-uniform from the fewest to what the largest budget or the bundle's rule
    takes, aspects 1:2 to 2:1; the first ones are there for one budget each."""
    manifest = manifests.load(one.bundle)
    side, rule = manifest.preprocess.patch_px, manifest.preprocess.sizing
    generator = np.random.default_rng(0)
    most = [max(1.0, MARGIN * budget - manifest.model.prefix_tokens) for budget in one.budgets]
    if rule.max_tokens:
        most = sorted({min(patches, float(rule.max_tokens)) for patches in most})
    least = min(LEAST_PATCHES, most[0])
    wanted = [*most, *np.exp(generator.uniform(math.log(least), math.log(most[-1]), max(0, count - len(most))))]
    images = []
    for patches in wanted:
        aspect = 2.0 ** generator.uniform(-1, 1)
        rows, columns = (max(1, int((patches * factor) ** 0.5)) for factor in (aspect, 1 / aspect))
        images.append(
            generator.integers(0, 256, (rows * side, columns * side, manifest.preprocess.channels), dtype=np.uint8)
        )
    return images


def _measure(one: Subject, session: ne.Session, images: Sequence[Image], extent: Extent, results: Results) -> None:
    found = [session.submit(image).result() for image in images]  # captures the CUDA graphs, too
    alone_s = np.array([time_alone(session, image, repeats=extent.repeats) for image in images])
    results.put("alone", [
        {"tokens": result.token_count, "budget": result.pack_tokens, "ms": 1e3 * seconds, "label": one.label}
        for result, seconds in zip(found, alone_s, strict=True)
    ])  # fmt: skip
    if not one.engine.dynamic_tokens:
        smallest = [min(budget for budget in one.budgets if budget >= result.token_count) for result in found]
        results.check(
            "each image alone runs in the smallest budget that holds it", smallest == [r.pack_tokens for r in found]
        )
        results.check("budgets that images need", len(set(smallest)), least=one.least_budgets)
    generator = np.random.default_rng(0)
    batch = [images[i] for i in generator.integers(0, len(images), extent.batch)]
    peak = len(batch) / statistics.median([submit_all(session, batch) for _ in range(1 + extent.repeats)][1:])
    results.put("peak_images_per_s", peak)
    rows: list[dict[str, Any]] = []
    left_out: list[float] = []
    for share in SHARES:
        if not results.has_time():
            left_out.append(share)
            continue
        rate = share * peak
        due = arrivals(rate, min(extent.seconds, extent.load / rate), generator)
        chosen = generator.integers(0, len(images), len(due))
        before = session.metrics.stats()["deadlines"]
        load, apart = offered(session, images, due, chosen, limits=DEADLINE * alone_s, alone=found)
        after = session.metrics.stats()["deadlines"]
        rows.append({"label": one.label, "share_of_peak": share, "offered_images_per_s": rate, **summary(load),
                     "generator_late": load.late_sends, "budgets": by_budget(load)})  # fmt: skip
        results.put("loads", rows)
        name = f"load {share:g}"
        results.check(f"{name}: as alone, relative difference", apart, most=one.limit.max_relative)
        counted = sum(after[kept] - before[kept] for kept in ("met", "missed"))
        results.check(f"{name}: deadlines that the session counted", counted, least=len(due), most=len(due))
        results.check(f"{name}: the fullest pack", max(row["most_fill"] for row in rows[-1]["budgets"]), most=1.0)
        known = one.engine.dynamic_tokens or {row["tokens"] for row in rows[-1]["budgets"]} <= set(one.budgets)
        results.check(f"{name}: every pack is of a budget of the engine", known)
    results.put("left_out", left_out)
    results.check("a load was measured", bool(rows))


def offered(
    session: ne.Session, images: Sequence[Image], due: Times, chosen: Indices, *, limits: Times,
    alone: Sequence[Result],
) -> tuple[Load, float]:  # fmt: skip
    """The load, and how far an image's first output was from what it is ``alone``: the largest relative difference."""
    expected = [next(iter(outputs_of(result).values())) for result in alone]
    scales = [np.abs(value).max() for value in expected]
    apart = np.full(len(due), np.nan)

    def look(index: int, result: Result) -> None:
        which = chosen[index]
        value = next(iter(outputs_of(result).values()))
        apart[index] = np.abs(value - expected[which]).max() / scales[which]

    load = offer(session, images, due, chosen, limits=limits, look=look)
    return load, float(np.max(apart))


def summary(load: Load, some: npt.NDArray[np.bool_] | slice = slice(None)) -> dict[str, Any]:
    """Of some of the images."""
    return {
        "images": len(load.due[some]), **percentiles_ms(load.latency_s[some]), "met": float(load.met[some].mean()),
    }  # fmt: skip


def by_budget(load: Load) -> list[dict[str, Any]]:
    """For each T of a pack: its images, its packs, and how full these were."""
    rows = []
    for tokens in np.unique(load.pack_tokens):
        there = load.pack_tokens == tokens
        _, pack = np.unique(load.packs[there], return_inverse=True)
        fill = np.bincount(pack, weights=load.tokens[there]) / tokens
        rows.append({
            "tokens": int(tokens), **summary(load, there), "packs": len(fill), "fill": float(fill.mean()),
            "most_fill": float(fill.max()),
        })  # fmt: skip
    return rows


def _judge_session(one: Subject, session: ne.Session, results: Results) -> None:
    report = session.engine_report
    results.put("engine", report)
    if one.on_tensorrt:
        used = [budget["cuda_graph"] for budget in report["budgets"] if budget["cuda_graph"] != "not yet"]
        results.check("CUDA graphs: captured", bool(used) and all(state.startswith("captured") for state in used))
    if one.stand_in is not None:
        results.check("no function of TensorRT was called that the stand-in lacks", one.stand_in.unknown_calls == 0)
