"""Sections: does it give the right numbers: the certificate of verify, and what quantize found."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from navit_edge.page.elements import tag
from navit_edge.report.bars import Block, Row, bars
from navit_edge.report.content import BundleReport, Quantized
from navit_edge.report.parts import Place, count_text, date_text, facts, figure, percent_text, table, words
from navit_edge.verify.certificate import Certificate, Check, EngineCertificate


def verdict_of(report: BundleReport) -> str:
    """In one sentence."""
    found = report.certificate
    if found is None:
        return "Nobody has checked: there is no certificate."
    checks = [*found.bundle, *(check for one in found.engines for check in one.checks)]
    broken = found.broken
    if broken:
        return f"{count_text(len(broken), 'check')} of {len(checks)} did not hold: do not trust the engines concerned."
    return f"All {count_text(len(checks), 'check')} hold, of {count_text(len(found.engines), 'engine')}."


def right_section(report: BundleReport, place: Place) -> Element:
    found = report.certificate
    if found is None:
        return place.section("right", "Is it right", tag("p", verdict_of(report), cls="verdict unknown"))
    standing = {one.id: one.standing for one in report.engines}
    good = not found.broken
    return place.section(
        "right",
        "Is it right",
        tag("p", verdict_of(report), cls="verdict holds" if good else "verdict broken"),
        tag(
            "p",
            "The reference is the bundle's own float32 graph, one image at a time in ONNX Runtime. A difference is the "
            "largest one of any image, over the largest value of that output. That an engine computes what the model "
            "says is no proof that the model is good.",
        ),
        *_distances(found, place),
        _checks(f"{place.id('checks')}-bundle", "Of the bundle on this machine", found.bundle),
        *(_engine(one, place, at, standing=standing.get(one.engine, True)) for at, one in enumerate(found.engines)),
        tag("ul", *(tag("li", f"not run: {name}: {why.splitlines()[0] if why else ''}") for name, why in
                    list(found.not_run.items())[:12])) if found.not_run else None,
    )  # fmt: skip


def _distances(found: Certificate, place: Place) -> list[Element]:
    rows, drawn = [], []
    for one in found.engines:
        for output, distance in one.distances.items():
            most = one.tolerance.max_relative
            used = distance.relative / most if most > 0 else float("inf")
            rows.append(
                (
                    one.engine,
                    output,
                    f"{distance.relative:.2e}",
                    f"{most:.2e}",
                    f"{distance.least_cosine:.6f}",
                    f"{distance.mean_cosine:.6f}",
                    "" if distance.top1_agreement is None else percent_text(distance.top1_agreement),
                )
            )
            if 0 <= used < float("inf"):
                drawn.append(_tolerance_row(one, output, used))
    if not rows:
        return []
    heads = ["engine", "output", "largest difference →", "allowed →", "least cosine →", "mean cosine →", "same class →"]
    picture = bars(
        place.id("tolerance"),
        "How much of its tolerance each engine uses",
        "A bar for each engine and output: its largest difference as a part of what the precision may differ. The "
        "numbers are in the table that follows.",
        "% of the allowed difference",
        drawn[:24],
    )
    shown = figure("Largest difference from float32, as a part of what is allowed for the precision.", picture)
    listed = table(place.id("distances"), "Against float32", heads, rows)
    return [listed] if shown is None else [shown, listed]


def _tolerance_row(one: EngineCertificate, output: str, used: float) -> Row:
    within = min(used, 1.0)
    says = f"{one.engine}, {output}: {percent_text(used)} of the allowed difference"
    blocks = [Block(width=100 * within, hue=0 if used <= 1 else 1, says=says)]
    blocks.append(Block(width=100 * (1 - within), hue=-1, says="allowed"))
    return Row(name=f"{one.precision} {output}", blocks=blocks, note=percent_text(used))


def _engine(one: EngineCertificate, place: Place, at: int, *, standing: bool) -> Element:
    stale = "" if standing else "The engine was built anew since: this is of another file."
    worst = "" if one.worst_layer is None else one.worst_layer.words
    return place.part(
        f"{one.engine} on {one.device}",
        tag("p", stale, cls="warning") if stale else None,
        facts(
            [
                ("images", one.images),
                ("reference", one.reference),
                ("examined", f"{date_text(one.unix_time)}, {one.host.get('cpu', '')}"),
                ("where it leaves the tolerance", worst),
            ]
        ),
        _checks(f"{place.id('checks')}-{at}", f"Checks of {one.engine}", one.checks),
    )


def _checks(name: str, caption: str, checks: Sequence[Check]) -> Element | None:
    if not checks:
        return None
    rows = [
        (check.name, tag("b", "yes" if check.holds else "NO", cls="holds" if check.holds else "broken"), check.found,
         check.expected)
        for check in checks
    ]  # fmt: skip
    return table(name, caption, ["check", "holds", "found", "expected"], rows)


def quantized_section(found: Sequence[Quantized], place: Place) -> Element:
    return place.section("quantized", "What 8 bits cost", *(_quantized(one, place, at) for at, one in enumerate(found)))


def _quantized(one: Quantized, place: Place, at: int) -> Element:
    rows = [
        (
            row.output,
            where,
            f"{row.images:,}",
            f"{row.cosine_min:.6f}",
            f"{row.cosine_mean:.6f}",
            f"{row.max_error:.2e}",
            f"{row.rms_error:.2e}",
            "" if row.top1_agreement is None else percent_text(row.top1_agreement),
        )
        for where, found in one.accuracy.items()
        for row in found
    ]
    heads = ["output", "images", "count →", "least cosine →", "mean cosine →", "largest difference →",
             "root mean square →", "same class →"]  # fmt: skip
    return place.part(
        one.precision,
        facts(
            [
                ("scales by", one.method),
                ("calibrated with", count_text(one.calibration_images, "image")),
                ("judged on others", count_text(one.held_out_images, "image") if one.held_out_images else "none"),
                ("layers", f"{one.layers - len(one.kept_in_float):,} of {one.layers:,} quantized"),
                ("left in float", words(one.kept_in_float)),
                ("smoothed", count_text(one.smoothed, "value") if one.smoothed else ""),
                ("hardest layers", words([f"{layer.layer} ({layer.error:.3g})" for layer in one.worst_layers], most=4)),
            ]
        ),
        table(f"{place.id('quantized')}-{at}", "The quantized graph against float32", heads, rows),
        tag("ul", *(tag("li", note) for note in one.notes[:12])) if one.notes else None,
    )
