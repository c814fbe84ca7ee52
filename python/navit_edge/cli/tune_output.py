"""What `navit-edge tune` and `navit-edge profile show` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from navit_edge.bench.measure import ms_text
from navit_edge.cli.common import facts_table, out_console, size_text
from navit_edge.tables import Column, number, print_table
from navit_edge.tune.recommend import number_text, quality_of
from navit_edge.vocabulary import USES

if TYPE_CHECKING:
    from navit_edge.profile import Profile
    from navit_edge.profile.presets import Preset
    from navit_edge.profile.schema import Measured, Trial

_QUALITIES = {"top1": "top-1", "agreement": "same\nanswers", "similarity": "cosine"}


def print_profile(profile: Profile) -> None:
    """The table, and what is recommended."""
    console = out_console()
    measured, advice = profile.measured, profile.advice
    console.print(f"{profile.bundle.name} on {profile.machine.words}", style="bold", markup=False, soft_wrap=True)
    console.print(_words(measured), markup=False, soft_wrap=True)
    console.print()
    uses = {use: advice.of(use).trial for use in USES}
    names = {place: ", ".join(use for use in USES if uses[use] == place) for place in uses.values()}
    figures = ("tokens", "images/s", "p90\nms", "p99\nms", "memory", _QUALITIES[measured.quality])
    columns = [Column("use"), Column("engine"), Column("policy"), number("threads"), number("slots")]
    print_table(
        console,
        "",
        [*columns, *map(number, figures), Column("front")],
        [
            (
                names.get(place, ""),
                trial.setup.engine,
                _short(trial.policy),
                _or_default(trial.setup.threads, "all"),
                _or_default(trial.setup.slots, "auto"),
                f"{trial.tokens_per_image:.0f}",
                number_text(trial.images_per_s),
                ms_text(trial.p90_ms),
                ms_text(trial.p99_ms),
                "" if trial.memory_bytes is None else size_text(trial.memory_bytes),
                _quality(trial, measured),
                "*" if place in advice.front else "",
            )
            for place, trial in enumerate(measured.trials)
        ],
    )
    console.print()
    rows: list[tuple[str, str]] = [(use, advice.of(use).reason) for use in USES]
    rows.append(("images at once", advice.images_per_run_reason))
    budgets = ",".join(map(str, advice.budgets.tokens))
    images = ",".join(map(str, advice.budgets.images))
    order = f"--token-budgets {budgets} --max-images {images}: " if budgets else ""
    rows.append(("token budgets", f"{order}{advice.budgets.reason}"))
    rows += [("not run", f"{name}: {why}") for name, why in measured.not_run.items()]
    console.print(facts_table(rows))


def _words(measured: Measured) -> str:
    parts = [f"{measured.images} images", f"compared by {measured.aim}"]
    if measured.target_ms is not None:
        parts.append(f"p90 within {measured.target_ms:g} ms")
    if measured.memory_limit_bytes is not None:
        parts.append(f"at most {size_text(measured.memory_limit_bytes)}")
    parts.append(f"reference {measured.reference} at all tokens")
    parts.append(f"{measured.seconds:.0f} s{'' if measured.complete else ', time was up'}")
    return "; ".join(parts)


def _or_default(value: int, default: str) -> str:
    return str(value) if value else default


def _short(policy: str) -> str:
    """A content policy without its options."""
    return "content" if policy.startswith("content:") else policy


def _quality(trial: Trial, measured: Measured) -> str:
    value = quality_of(trial, measured.quality)
    if value is None:
        return ""
    return f"{value:.3f}" if measured.quality == "similarity" else f"{value:.1%}"


def print_preset(preset: Preset) -> None:
    """What a board limits, and the commands that make a profile on it."""
    console = out_console()
    console.print(f"{preset.title}: {preset.status}", style="bold", markup=False, soft_wrap=True)
    console.print(facts_table(preset_facts(preset)))
    console.print("\nto tune it, on the board:", markup=False)
    for line in preset.commands():
        console.print(line, markup=False, soft_wrap=True, highlight=False)


def preset_facts(preset: Preset) -> list[tuple[str, str]]:
    """A name and a text each."""
    shared = ", of CPU and GPU together" if preset.shared and preset.gpu else ""
    return [
        ("memory", "differs" if preset.memory_gib is None else f"{preset.memory_gib} GB{shared}"),
        ("cores", "differ" if preset.cores is None else str(preset.cores)),
        ("GPU", preset.gpu or "none"),
        ("backend", preset.backend),
        ("precisions", ", ".join(preset.precisions)),
        ("power modes", ", ".join(preset.power_modes) or "none that are read"),
        *(("limit", one) for one in preset.limits),
    ]
