"""`navit-edge plan-budgets`: which token budgets to build an engine with, for the images that are expected."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from navit_edge.tables import Column, number, print_table, text

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.planning.budgets import BudgetChoice


@command
@decoding
def plan_budgets(
    bundle: Annotated[Path, typer.Argument(help="Bundle; it needs no engine.", metavar="BUNDLE", show_default=False)],
    images: ImagesArgument = None,
    sizes: SizesOption = None,
    budgets: Annotated[
        int,
        typer.Option("--count", "-k", "--budgets", min=1, max=16, help="Largest number of token budgets.", metavar="K"),
    ] = 3,
    images_per_run: Annotated[
        str,
        typer.Option(help="How many images arrive at once: one or more numbers, equally likely.", metavar="LIST"),
    ] = "1,4,16,64",
    max_budget: Annotated[
        int,
        typer.Option(
            "--max-token-budget",
            "--max-budget",
            min=64,
            help="Largest token budget; activations grow with it.",
            metavar="TOKENS",
        ),
    ] = 8192,
    backend: Annotated[
        str, typer.Option(help="Backend for the printed command: tensorrt-rtx or tensorrt.", metavar="NAME")
    ] = "tensorrt-rtx",
    engine: Annotated[
        str,
        typer.Option(
            help="Use the times of this engine, measured by bench --calibrate.",
            metavar="ID",
            show_default="assumed from the model's sizes",
        ),
    ] = "",
    as_json: JsonOption = False,
    debug: DebugOption = False,
    *,
    decode: DecodeOptions,
) -> None:
    """Choose the token budgets and images per pack that take the least expected time.

    For engines that pad packs to their budget (TensorRT). The command draws
    runs from the images' sizes and chooses budgets by dynamic programming.
    The runtime's own planner plans the result, beside the best powers of
    two and the largest budget alone.
    """
    import navit_edge as ne
    from navit_edge.cli.image_sizes import given_sizes, token_counts
    from navit_edge.compile.request import parse_numbers
    from navit_edge.errors import InvalidInputError
    from navit_edge.planning.budgets import REPORT_RUNS, choose_budgets

    try:
        per_run = parse_numbers(images_per_run, what="images per run")
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error
    if backend not in ("tensorrt-rtx", "tensorrt"):
        raise typer.BadParameter(f"backend {backend!r}; expected tensorrt-rtx or tensorrt, which pad packs to a budget")
    check_bundle_first("plan-budgets", bundle, images or ())
    manifest = ne.load_manifest(bundle)
    cost, source = _cost(bundle, manifest, engine)
    given = given_sizes(images or [], sizes, Decoder(decode, Recorded.of(manifest.preprocess)))
    for reason in given.refused:
        err_console().print(f"left out: {reason}", style="yellow", soft_wrap=True, markup=False)
    tokens = token_counts(manifest, given.sizes)

    def choose(count: int, *, powers_of_two: bool = False) -> BudgetChoice:
        return choose_budgets(
            tokens,
            given.counts,
            count=count,
            images_per_run=per_run,
            cost=cost,
            max_tokens=max_budget,
            powers_of_two=powers_of_two,
        )

    chosen = choose(budgets)
    rows = {"chosen": chosen, f"best {budgets} powers of two": choose(budgets, powers_of_two=True)}
    if budgets > 1:
        rows["best single budget"] = choose(1)
    order = (
        f"navit-edge build-engine {shlex.quote(str(bundle))} --backend {backend} "
        f"--token-budgets {','.join(map(str, chosen.tokens))} --max-images {','.join(map(str, chosen.images))}"
    )
    if as_json:
        echo_json(
            {
                "images": sum(given.counts),
                "images_per_run": list(per_run),
                "runs": REPORT_RUNS,
                "cost": {"fixed_us": cost[0], "us_per_token": cost[1], "us_per_score": cost[2], "source": source},
                **{name.replace(" ", "_"): row.as_json() for name, row in rows.items()},
                "command": order,
            }
        )
        return
    _print(rows, chosen)
    console = out_console()
    console.print()
    console.print(
        f"{REPORT_RUNS} runs of {', '.join(map(str, per_run))} images drawn from {sum(given.counts)} images of "
        f"{min(tokens)} to {max(tokens)} tokens; times {source}",
        soft_wrap=True,
        markup=False,
    )
    console.print(f"\n{order}", soft_wrap=True, markup=False)


def _cost(bundle: Path, manifest: Manifest, engine: str) -> tuple[tuple[float, float, float], str]:
    """(fixed_us, us_per_token, us_per_score) of a pack by its budget, and where that is from."""
    from navit_edge.bench.budget_cost import assumed_cost, measured_cost
    from navit_edge.cli.plan import engine_of

    if not engine:
        return assumed_cost(manifest), "assumed from the model's sizes: only their proportions count"
    found = engine_of(manifest, engine, bundle=str(bundle))
    through = "" if found.dynamic_tokens else ", a line through its budgets"
    return measured_cost(found, str(bundle)), f"measured of {engine}{through}"


def _print(rows: dict[str, BudgetChoice], chosen: BudgetChoice) -> None:
    columns = [text(""), Column("budgets\n(tokens × images)"), Column("share of\npacks")]
    columns += map(number, ("fill", "packs\na run", "ms\na run", "against\nchosen"))
    print_table(
        out_console(),
        "",
        columns,
        [
            (
                name,
                "\n".join(f"{tokens} × {images}" for tokens, images in zip(row.tokens, row.images, strict=True)),
                "\n".join(f"{share:.0%}" for share in row.used),
                f"{row.fill:.1%}",
                f"{row.packs_per_run:.2f}",
                f"{row.ms_per_run:.2f}",
                f"{row.ms_per_run / chosen.ms_per_run:.2f} ×",
            )
            for name, row in rows.items()
        ],
    )
