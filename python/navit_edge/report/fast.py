"""Section: how fast: latency against tokens, percentiles, stages, end to end."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from navit_edge.bench.measure import Measurement
from navit_edge.bench.suite import BenchReport
from navit_edge.bundle.manifest import Cost
from navit_edge.page.elements import tag
from navit_edge.report.bars import Block, Row, bars, key
from navit_edge.report.chart import Axis, Point, Series, chart, legend
from navit_edge.report.content import EngineFacts
from navit_edge.report.parts import Place, count_text, facts, figure, ms_text, percent_text, rate_text, table

#: Engines on one chart that the eye still tells apart.
MOST_LINES = 6
_STAGES = ("preprocessing", "engine", "the rest: planning, unpacking, Python")
Named = tuple[str, BenchReport]


def fast_section(measured: Sequence[BenchReport], engines: Sequence[EngineFacts], place: Place) -> Element:
    costs = [(one.id, one.cost) for one in engines if one.cost is not None]
    if not measured and not costs:
        return place.section("fast", "How fast", tag("p", "Not measured."))
    named = [(one.engine, one) for one in measured]
    return place.section(
        "fast",
        "How fast",
        *(_measured(named, place) if measured else [tag("p", "Not measured by bench.")]),
        _costs(costs, place) if costs else None,
    )


def latency_charts(named: Sequence[Named], place: Place) -> list[Element]:
    """Latency and throughput of one pack against its tokens."""
    shown = named[:MOST_LINES]
    tokens = [float(pack.tokens) for _, one in shown for pack in one.packs]
    axis = Axis(label="tokens in the pack", log=True, named=tokens)
    left_out = f" {len(named) - MOST_LINES} more engines are in the table." if len(named) > MOST_LINES else ""
    latency = chart(
        place.id("latency"),
        "Latency of one pack against its tokens",
        "A line for each engine: the median time of a pack of so many tokens. The numbers are in the table below.",
        axis,
        Axis(label="milliseconds a pack", log=True),
        [Series(name=name, points=_latencies(one, alone=len(shown) == 1)) for name, one in shown],
    )
    rates = [
        Series(name=name, points=[Point(x=pack.tokens, y=pack.tokens_per_s) for pack in one.packs])
        for name, one in shown
    ]
    throughput = chart(
        place.id("throughput"),
        "Image tokens a second against the tokens of a pack",
        "A line for each engine, one pack at a time. The numbers are in the table below.",
        axis,
        Axis(label="tokens a second"),
        rates,
    )
    made = [
        figure(
            "Median time of one pack; the band reaches from the fastest run to the highest percentile that was asked "
            f"for. Both axes are logarithmic.{left_out}",
            latency,
            legend(rates),
        ),
        figure("One pack at a time; more tokens in a pack use the device better, up to a point.", throughput,
               legend(rates)),
    ]  # fmt: skip
    return [one for one in made if one is not None]


def _latencies(report: BenchReport, *, alone: bool) -> list[Point]:
    return [
        Point(
            x=pack.tokens,
            y=middle_ms(pack),
            low=pack.latency_ms.get("min"),
            high=pack.latency_ms.get(highest(pack)),
            text=ms_text(middle_ms(pack)) if alone else "",
        )
        for pack in report.packs
    ]


def middle_ms(pack: Measurement) -> float:
    """The median if it was asked for, else the mean."""
    return pack.latency_ms.get("p50", pack.latency_ms.get("mean", 0.0))


def highest(pack: Measurement) -> str:
    """The name of the highest percentile."""
    asked = [name for name in pack.latency_ms if name[:1] == "p" and name[1:].replace(".", "", 1).isdigit()]
    return max(asked, key=lambda name: float(name[1:]), default="max")


def _measured(named: Sequence[Named], place: Place) -> list[Element]:
    made = latency_charts(named, place)
    for at, (name, one) in enumerate(named):
        made.append(place.part(name, *_one(one, place, at)))
    return made


def in_words(report: BenchReport) -> str:
    """The pack in the middle of those that were measured, and all images in one run."""
    said = ""
    if report.packs:
        pack = report.packs[len(report.packs) // 2]
        high = highest(pack)
        said = (
            f"A pack of {count_text(pack.tokens, 'token')} takes {ms_text(middle_ms(pack))} ms, and "
            f"{ms_text(pack.latency_ms.get(high, 0.0))} ms at {high}. "
        )
    whole = report.end_to_end
    return (
        f"{said}{count_text(whole.images, 'image')} in one run take {ms_text(middle_ms(whole))} ms: "
        f"{rate_text(whole.images_per_s)} a second."
    )


def _one(report: BenchReport, place: Place, at: int) -> list[Element | None]:
    options = report.options
    stages = _stages(report, place, at)
    measured = (
        f"warm-up {options.warmup_ms:g} ms, then at least {count_text(options.iterations, 'run')} and "
        f"{options.duration_s:g} s a row; the session opened in {report.open_ms:,.0f} ms"
    )
    source = "measured" if report.cost_measured else "assumed from the model's sizes"
    return [
        tag("p", in_words(report)),
        facts(
            [
                ("device", f"{report.device}; {report.host.words}"),
                ("measured", measured),
                ("end to end", f"{report.source}; decoding not counted"),
                ("predictions", f"{percent_text(report.prediction_error)} off in the mean; costs {source}"),
            ]
        ),
        stages,
        _table(report, place, at),
    ]


def _table(report: BenchReport, place: Place, at: int) -> Element:
    rows = [*report.packs, report.end_to_end]
    percentiles = list(dict.fromkeys(name for row in rows for name in row.latency_ms if name[:1] == "p"))
    heads = ["what", "tokens →", "images →", "packs →", "fastest ms →", *(f"{name} ms →" for name in percentiles),
             "slowest ms →", "preprocessing ms →", "engine ms →", "images/s →", "tokens/s →", "fill →",
             "runs →"]  # fmt: skip
    cells = [
        (
            "end to end" if row is report.end_to_end else "one pack",
            f"{row.tokens:,}",
            f"{row.images:,}",
            f"{row.packs:,}",
            _ms(row, "min"),
            *(_ms(row, name) for name in percentiles),
            _ms(row, "max"),
            ms_text(row.preprocess_ms),
            ms_text(row.engine_ms),
            rate_text(row.images_per_s),
            rate_text(row.tokens_per_s),
            percent_text(row.fill) if row.capacity_tokens else "",
            f"{row.runs:,}",
        )
        for row in rows
    ]
    return table(f"{place.id('bench')}-{at}", f"Times of {report.engine}", heads, cells)


def _ms(row: Measurement, name: str) -> str:
    return ms_text(row.latency_ms[name]) if name in row.latency_ms else ""


def _stages(report: BenchReport, place: Place, at: int) -> Element | None:
    """Where the time of one pack goes, in parts of it: packs of all lengths on one chart."""
    rows = []
    for pack in report.packs[:16]:
        if pack.other_ms is None:
            continue
        parts = (pack.preprocess_ms, pack.engine_ms, max(0.0, pack.other_ms))
        total = sum(parts)
        if not 0 < total < float("inf"):
            continue
        blocks = [
            Block(width=100 * part / total, hue=hue, says=f"{name}: {ms_text(part)} ms")
            for hue, (name, part) in enumerate(zip(_STAGES, parts, strict=True))
        ]
        rows.append(Row(name=f"{pack.tokens:,} tokens", blocks=blocks, note=f"{ms_text(total)} ms"))
    name = f"{place.id('stages')}-{at}"
    says = "A row for each length of a pack, its mean time split into stages. The table below has the numbers."
    drawn = bars(name, f"Stages of a pack on {report.engine}", says, "% of the mean time of a pack", rows)
    return figure("Where the mean time of a pack goes.", drawn, key([(one, k) for k, one in enumerate(_STAGES)]))


def _costs(costs: Sequence[tuple[str, Cost]], place: Place) -> Element:
    rows = [
        (
            name,
            cost.device,
            f"{cost.threads:,}",
            f"{cost.packs:,}",
            f"{cost.r_squared:.4f}",
            percent_text(cost.mean_error),
            "; ".join(
                f"{one.fixed_us:.0f} + {one.us_per_token:.4g} T + {one.us_per_score:.3g} S" for one in cost.budgets[:4]
            ),
        )
        for name, cost in costs
    ]
    heads = ["engine", "device", "threads →", "packs →", "R² →", "mean error →", "µs of a pack, by budget"]
    return place.part(
        "The measured cost model",
        tag("p", "Plans and latency targets predict by it; T is the tokens of a pack, S its scores of attention."),
        table(place.id("costs"), "Cost models", heads, rows),
    )
