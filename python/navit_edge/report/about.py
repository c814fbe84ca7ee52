"""Sections: what the model is, which engines there are, what they need, how to run it, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from navit_edge.bundle.manifest import Budget
from navit_edge.page.elements import tag
from navit_edge.report.content import BundleReport, EngineFacts, Missing, ModelFacts, Use
from navit_edge.report.parts import Place, bytes_text, count_text, date_text, facts, table, words


def model_section(model: ModelFacts, place: Place) -> Element:
    prefix = f", {count_text(model.prefix_tokens, 'prefix token')}" if model.prefix_tokens else ""
    layers = f"{count_text(model.depth, 'layer')} of width {model.width:,}, {count_text(model.heads, 'head')}{prefix}"
    rule = (
        f"The rule for an image's size is {model.sizing}. The resized image is cut into squares of {model.patch_px} × "
        f"{model.patch_px} pixels, and each square is a token."
    )
    labels = words(model.first_labels) if model.labels else ""
    if model.labels > len(model.first_labels):
        labels += f" and {model.labels - len(model.first_labels):,} more"
    outputs = [
        (one.name, f"{one.dtype} [{', '.join(map(str, one.shape))}]", _meaning(one.name)) for one in model.outputs
    ]
    settings = [
        ("size", model.sizing, "sizing"),
        ("resize", f"{model.filter}, as {model.processor} does", "filter"),
        ("mean of pixels / 255", ", ".join(f"{value:g}" for value in model.mean), "mean"),
        ("their standard deviation", ", ".join(f"{value:g}" for value in model.std), "std"),
        ("orientation of photographs", model.orientation, "orientation"),
        ("colour profiles", model.icc, "icc"),
        ("decoding of JPEG files", model.decode, "decode"),
        ("transparency", model.alpha, "alpha"),
    ]
    sources = [(name, value, model.sources.get(key, "")) for name, value, key in settings]
    return place.section(
        "model",
        "What the model is",
        facts(
            [
                ("family", model.family),
                ("size", layers),
                ("parameters", f"{model.parameters:,}"),
                ("weights from", model.made_by.get("weights", "not recorded")),
                ("license", model.license or "not recorded"),
                ("exported with", _exported(model)),
                ("classes", f"{model.labels:,}, scores by {model.scores}: {labels}" if model.labels else "no names"),
                ("texts", "a text tower: classes can be named in words" if model.texts else ""),
            ]
        ),
        tag("p", rule),
        table(place.id("preprocessing"), "From an image to pixels", ["setting", "value", "taken from"], sources),
        table(place.id("outputs"), "What an image gives", ["output", "type and shape", "meaning"], outputs),
    )


def _exported(model: ModelFacts) -> str:
    """Packages and versions, without hashes of files, which the JSON has."""
    left_out = ("tool", "weights", "license")
    found = [
        f"{key} {value}"
        for key, value in model.made_by.items()
        if key not in left_out and not key.startswith("sha256 of ")
    ]
    return words(found)


def _meaning(name: str) -> str:
    return {
        "logits": "a score for each class",
        "embedding": "one vector for the image",
        "tokens": "a vector for each patch, or for each block of merged patches",
        "projected": "what a language model takes",
        "deepstack": "what a language model adds to the hidden states of its first layers",
        "attention_map": "how much the attention behind the embedding looks at each patch",
    }.get(name, "")


def engines_section(engines: Sequence[EngineFacts], place: Place) -> Element:
    rows = [
        (
            one.id,
            one.target,
            one.precision,
            words([_budget(budget) for budget in one.budgets], most=6),
            "the pack's own length" if one.dynamic_tokens else "the budget's",
            bytes_text(one.bytes),
            ", ".join(f"{key} {value.partition('-')[0]}" for key, value in one.builder.items()),
            "" if one.build is None else f"{one.build.seconds:.1f}",
            "" if one.build is None or one.build.fused is None else "yes" if one.build.fused else "no",
        )
        for one in engines
    ]
    heads = [
        "engine", "runs on", "precision", "budgets (tokens × images)", "computes", "size →", "built with",
        "built in s →", "attention in one kernel",
    ]  # fmt: skip
    inside: list[Element] = [
        tag(
            "p",
            "In order of preference: a session takes the first that can run where it is. A pack holds at most a "
            "budget's tokens and images.",
        ),
        table(place.id("engine-table"), "Engines of the bundle", heads, rows),
    ]
    notes = [f"{one.id}: {note}" for one in engines if one.build is not None for note in one.build.notes]
    if notes:
        inside.append(tag("ul", *(tag("li", note) for note in notes[:12])))
    if not engines:
        inside = [tag("p", "None yet.")]
    return place.section("engines", "Which engines", *inside)


def _budget(budget: Budget) -> str:
    return f"{budget.tokens:,} × {budget.images:,}"


def needs_section(report: BundleReport, place: Place) -> Element:
    measured = {one.engine: one for one in report.bench}
    rows = []
    for one in report.engines:
        bench = measured.get(one.id)
        device = [budget.activation_bytes for budget in one.budgets if budget.activation_bytes is not None]
        peaks = [] if bench is None else [row.peak_resident_bytes for row in (*bench.packs, bench.end_to_end)]
        known = [peak for peak in peaks if peak is not None]
        rows.append(
            (
                one.id,
                bytes_text(one.bytes),
                bytes_text(one.memory.engine),
                bytes_text(one.memory.one_slot),
                bytes_text(one.memory.two_slots),
                bytes_text(one.memory.process),
                bytes_text(max(device)) if device else "",
                bytes_text(max(known)) if known else "",
                "" if one.build is None else bytes_text(one.build.peak_memory_bytes),
            )
        )
    threads = report.engines[0].memory.threads if report.engines else 0
    heads = [
        "engine", "file →", "the engine, predicted →", "session, one slot →", "session, two slots →",
        "process, predicted →", "device, activations →",
        "measured peak of the process →", "peak of the build →",
    ]  # fmt: skip
    hosts: dict[str, list[str]] = {}
    for found in report.bench:
        where = (
            f"{found.device}; {found.host.words}; {', '.join(found.host.flags)}; {found.host.system}; {found.threads} "
            f"threads, at most {found.slots} packs in flight; {date_text(found.unix_time)}"
        )
        hosts.setdefault(where, []).append(found.engine)
    built = dict.fromkeys(one.build.cpu for one in report.engines if one.build is not None and one.build.cpu)
    return place.section(
        "needs",
        "What it needs",
        tag(
            "p",
            f"The whole bundle takes {bytes_text(report.bytes)} on disk. A session sets aside, beside what the engine "
            f"itself holds, the memory of the table ({count_text(threads, 'thread')}); the measured peak is of a whole "
            "process, Python included.",
        )
        if report.engines
        else tag("p", f"The whole bundle takes {bytes_text(report.bytes)} on disk."),
        table(place.id("memory"), "Memory", heads, rows) if rows else None,
        facts(
            [
                ("engines were built on", words(list(built))),
                *((f"measured on, {', '.join(names)}", where) for where, names in hosts.items()),
            ]
        ),
    )


def use_section(ways: Sequence[Use], place: Place) -> Element:
    return place.section(
        "use",
        "How to run it",
        *(place.part(one.title, tag("pre", one.text.rstrip("\n"), cls=one.language)) for one in ways),
    )


def missing_section(missing: Sequence[Missing], place: Place) -> Element:
    return place.section(
        "missing",
        "What is missing here",
        tag("p", "Nothing below was measured or found out. Each command makes what is missing."),
        tag("ul", *(tag("li", f"{one.what}: ", tag("code", one.command)) for one in missing)),
    )
