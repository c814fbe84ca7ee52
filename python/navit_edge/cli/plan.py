"""`navit-edge plan`: which images would share a pack, how full the packs are, and how long they should take."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from navit_edge.cli.common import (
    DebugOption,
    JsonOption,
    check_bundle_first,
    command,
    echo_json,
    err_console,
    out_console,
)
from navit_edge.cli.decoding import decoding
from navit_edge.cli.image_sizes import ImagesArgument, SizesOption
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.errors import InvalidInputError
from navit_edge.tables import Column, number, print_table, text
from navit_edge.text import key_of, shown
from navit_edge.vocabulary import STRATEGIES

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Engine, Manifest
    from navit_edge.planning import Plan, PlanLimits
    from navit_edge.policy import Choice, Policy


@command
@decoding
def plan(
    bundle: Annotated[Path, typer.Argument(help="Bundle with an engine.", metavar="BUNDLE", show_default=False)],
    images: ImagesArgument = None,
    sizes: SizesOption = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Engine to plan for (inspect lists them).", show_default="the first of the bundle", metavar="ID"
        ),
    ] = "",
    strategy: Annotated[str, typer.Option(help="How to pack: " + ", ".join(STRATEGIES) + ".", metavar="NAME")] = "auto",
    deadline: Annotated[
        float | None,
        typer.Option(
            min=0, help="Finish as many images as possible within MS milliseconds.", metavar="MS", show_default=False
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="Tokens per image: native, fast, balanced, quality, token-cap:N, latency:20ms, cascade:N,0.8 or "
            "content (navit-edge docs policies); alone or with +drop:blank, +drop:random,keep=0.5 (navit-edge docs "
            "tokens).",
            metavar="POLICY",
        ),
    ] = "native",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of the session.", show_default="all cores")] = 0,
    as_json: JsonOption = False,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Draw the packs to FILE.", metavar="FILE.png", show_default=False)
    ] = None,
    debug: DebugOption = False,
    *,
    decode: DecodeOptions,
) -> None:
    """Show which images would share a pack, without running any.

    The engine's cost model predicts the times. It is measured if `bench
    --calibrate` has run, else assumed from the model's sizes. The exit code
    is 1 if an image is larger than every budget. With a policy, a table
    shows what each image gets, and why, if one run has all of them.
    """
    import navit_edge as ne
    from navit_edge.cli.image_sizes import given_sizes
    from navit_edge.planning import PlanLimits, plan_packs

    if strategy not in STRATEGIES:
        raise typer.BadParameter(f"strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    check_bundle_first("plan", bundle, images or ())
    manifest = ne.load_manifest(bundle)
    chosen = engine_of(manifest, engine, bundle=str(bundle))
    if plot_file is not None:
        from navit_edge.picture import check_picture

        check_picture(plot_file, purpose="plan --plot")
    chosen_policy = ne.Policy.parse(policy)
    given = given_sizes(images or [], sizes, Decoder(decode, Recorded.of(manifest.preprocess)))
    for reason in given.refused:
        err_console().print(f"left out: {reason}", style="yellow", soft_wrap=True, markup=False)
    names, pixels = given.expanded()
    by_pixels = chosen_policy.kind == "content" or chosen_policy.drops_by == "blank"
    if by_pixels and sizes is not None:
        raise InvalidInputError(f"policy {chosen_policy} needs pixels; give images instead of --sizes")
    contents = names if by_pixels else pixels
    choices = ne.choose(bundle, contents, chosen_policy, engine=chosen.id, together=len(pixels), decode=decode)
    tokens = [choice.tokens for choice in choices]
    limits = PlanLimits.of(bundle, chosen, strategy=strategy, threads=threads)
    made = plan_packs(tokens, limits, deadlines_ms=deadline)
    if as_json:
        names = [key_of(name) for name in names]
        described = describe(chosen, limits, made, names, tokens)
        described["policy"] = str(chosen_policy)
        described["choices"] = [
            {"image": name, "grid": list(choice.grid), "tokens": choice.tokens, "reason": choice.reason}
            for name, choice in zip(names, choices, strict=True)
        ]
        echo_json(described)
    else:
        if str(chosen_policy) != "native":
            _print_choices(chosen_policy, names, choices)
        _print(manifest, chosen, limits, made, names, tokens)
    if plot_file is not None:
        from navit_edge.planning.picture import draw

        draw(made, limits, names, tokens, title=f"{manifest.name}: {chosen.id}", path=plot_file)
        err_console().print(f"wrote {plot_file}", soft_wrap=True, markup=False)


def _print_choices(policy: Policy, names: list[str], choices: list[Choice]) -> None:
    """What the policy makes of each image; of equal lines one, with how often it comes."""
    from collections import Counter

    counted = Counter(
        (name, choice.grid, choice.tokens, choice.reason) for name, choice in zip(names, choices, strict=True)
    )
    rows = []
    for (name, (grid_rows, grid_cols), tokens, reason), count in counted.items():
        often = f" ({count} times)" if count > 1 else ""
        rows.append(
            (
                shown(Path(name).name) + often,
                f"{grid_rows} × {grid_cols}",
                str(tokens),
                shown(reason or "all tokens"),
            )
        )
    columns = [Column("image", whole=False), Column("grid"), number("tokens"), text(f"policy {policy}")]
    print_table(out_console(), "", columns, rows)
    out_console().print()


def engine_of(manifest: Manifest, engine: str, *, bundle: str = "BUNDLE") -> Engine:
    """The engine of that id, or the first. Raises InvalidInputError, naming those there are."""
    ids = [one.id for one in manifest.engines]
    if not ids:
        raise InvalidInputError(
            f"bundle {manifest.name} has no engine to plan for; build one: "
            f"navit-edge build-engine {shlex.quote(bundle)} --backend openvino"
        )
    if engine and engine not in ids:
        raise InvalidInputError(f"bundle {manifest.name} has no engine {engine!r}; it has {', '.join(ids)}")
    return manifest.engines[ids.index(engine) if engine else 0]


def capacity_of(limits: PlanLimits, pack: Any) -> int:
    """T of a pack as the engine computes it."""
    return int(pack.tokens) if limits.cost.dynamic_tokens else limits.budgets[pack.budget][0]


def describe(engine: Engine, limits: PlanLimits, made: Plan, names: list[str], tokens: list[int]) -> dict[str, Any]:
    """The plan as JSON values."""
    capacity = sum(capacity_of(limits, pack) for pack in made.packs)
    return {
        "engine": engine.id,
        "strategy": made.strategy,
        "cost": "measured" if limits.cost.measured else "assumed",
        "streams": limits.streams,
        "images": len(tokens),
        "tokens": sum(tokens),
        "computed_tokens": capacity,
        "fill": sum(tokens) / capacity,
        "predicted_ms": made.predicted_ms,
        "late": [{"index": index, "image": names[index]} for index in made.late],
        "packs": [
            {
                "images": [names[index] for index in pack.images],
                "indices": list(pack.images),
                "tokens": pack.tokens,
                "longest": pack.longest,
                "budget_tokens": limits.budgets[pack.budget][0],
                "fill": pack.tokens / capacity_of(limits, pack),
                "predicted_ms": pack.predicted_ms,
                "finish_ms": pack.finish_ms,
            }
            for pack in made.packs
        ],
    }


def _print(
    manifest: Manifest, engine: Engine, limits: PlanLimits, made: Plan, names: list[str], tokens: list[int]
) -> None:
    from rich.text import Text

    console = out_console()
    padded = limits.cost.attention == "padded"
    apart = ", " if console.width > 100 else "\n"
    rows = []
    for at, pack in enumerate(made.packs):
        scores = len(pack.images) * pack.longest**2 / sum(tokens[index] ** 2 for index in pack.images)
        listed = apart.join(shown(Path(names[index]).name) for index in pack.images[:4])
        rows.append(
            (
                str(at),
                str(len(pack.images)),
                str(pack.tokens),
                str(limits.budgets[pack.budget][0]) if len(limits.budgets) > 1 else "",
                f"{pack.tokens / capacity_of(limits, pack):.0%}",
                str(pack.longest),
                f"{scores:.2f} ×" if padded else "",
                f"{pack.predicted_ms:.1f}",
                f"{pack.finish_ms:.1f}",
                listed + (f"{apart}…" if len(pack.images) > 4 else ""),
            )
        )
    figures = ("pack", "images", "tokens", "budget", "fill", "longest", "padded", "predicted\nms", "done at\nms")
    print_table(console, "", [*map(number, figures), text("holds")], rows)
    console.print()
    facts = describe(engine, limits, made, names, tokens)
    source = "measured by bench --calibrate" if limits.cost.measured else "assumed from the model's sizes"
    streams = "two streams" if limits.streams == 2 else "one stream"
    console.print(
        f"{manifest.name}, {engine.id}: {len(tokens)} images, {sum(tokens)} tokens in {len(made.packs)} packs, "
        f"{facts['fill']:.1%} full; predicted {made.predicted_ms:.1f} ms on {streams} (cost {source}); "
        f"packed by {made.strategy}",
        soft_wrap=True,
        markup=False,
    )
    if padded:
        console.print("padded: scores that padded attention computes, over those that exist", style="dim")
    if made.late:
        listed = ", ".join(names[index] for index in made.late[:5]) + (", …" if len(made.late) > 5 else "")
        console.print(
            Text(f"{len(made.late)} images are predicted to miss their deadline: {listed}", style="yellow"),
            soft_wrap=True,
        )
