"""`navit-edge bench --calibrate`: the cost model of an engine, measured, shown and stored in the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.cli.common import echo_json, err_console, json_text, make_progress, out_console
from navit_edge.errors import InvalidInputError
from navit_edge.place import write_file
from navit_edge.tables import number, print_table

if TYPE_CHECKING:
    from navit_edge.bench import Calibration
    from navit_edge.bundle.manifest import Manifest

_UNIT = {"padded": "N · L²", "segments": "Σ l²", "whole": "T²"}


def calibrate_engine(
    bundle: Path, manifest: Manifest, *, session_options: Mapping[str, Any], as_json: bool, json_file: Path | None
) -> None:
    """Times packs, fits, prints (JSON if ``as_json``), and stores the result."""
    import navit_edge as ne
    from navit_edge.bench import calibration
    from navit_edge.bundle.edit import set_cost
    from navit_edge.machine.host import Host
    from navit_edge.planning import CostModel

    console = err_console()
    session = ne.Session(bundle, **session_options)
    engine = next((one for one in manifest.engines if one.id == session.engine), None)
    if engine is None:
        members = next(one.group.members for one in manifest.engines if one.group and one.group.id == session.engine)
        raise InvalidInputError(
            f"{session.engine} is a group of engines; expected one engine to measure; run it with --engine for each of "
            f"{', '.join(members)}"
        )
    if engine.strategy != "auto":  # one pack a run, as the engine's own strategy makes it
        session = ne.Session(bundle, **{**session_options, "engine": engine.id}, strategy=engine.strategy)
    console.print(f"engine {session.engine} on {session.device}", soft_wrap=True, markup=False)
    with make_progress(console) as progress:
        task = progress.add_task("timing packs", total=calibration.ROUNDS, phase="")
        found = calibration.calibrate(
            manifest,
            session,
            CostModel.of(bundle, engine.id).attention,
            threads=session_options["threads"] or Host.read().cores,
            seconds=calibration.SECONDS,
            on_round=lambda done: progress.update(
                task, completed=min(done, calibration.ROUNDS), phase=f"round {done + 1}"
            ),
        )
        progress.remove_task(task)
    set_cost(bundle, engine.id, found.cost, budgets=engine.budgets)
    if as_json:
        echo_json(found.as_json())
    else:
        _print(found, manifest)
    if json_file is not None:
        write_file(json_file, (json_text(found.as_json()) + "\n").encode())
        console.print(f"wrote {json_file}", soft_wrap=True, markup=False)
    console.print(f"stored in {bundle / 'manifest.json'}", soft_wrap=True, markup=False)


def _print(found: Calibration, manifest: Manifest) -> None:
    from rich.text import Text

    console = out_console()
    engine = next(one for one in manifest.engines if one.id == found.engine)
    unit = _UNIT[found.attention]
    columns = ["tokens", "images", "longest", unit, "measured\nms", "predicted\nms", "residual\nms", "error"]
    print_table(
        console,
        f"timed packs, the median of {found.rounds} each",
        list(map(number, columns)),
        [
            (
                str(pack.tokens),
                str(pack.images),
                str(pack.longest),
                str(pack.scores),
                f"{pack.measured_us / 1e3:.2f}",
                f"{pack.predicted_us / 1e3:.2f}",
                f"{(pack.predicted_us - pack.measured_us) / 1e3:+.2f}",
                f"{pack.error:+.1%}",
            )
            for pack in found.packs
        ],
    )
    console.print()
    shown = found.cost.budgets[:1] if engine.dynamic_tokens else found.cost.budgets
    for budget, cost in zip(engine.budgets, shown, strict=False):
        who = "" if engine.dynamic_tokens else f"budget {budget.tokens}: "
        per_token = f" + {cost.us_per_token:.4g} µs · T" if engine.dynamic_tokens else ""
        console.print(
            Text(f"{who}time = {cost.fixed_us / 1e3:.4g} ms{per_token} + {cost.us_per_score:.4g} µs · {unit}")
        )
    worst = found.worst
    console.print(
        Text(
            f"R² {found.cost.r_squared:.4f}; {found.cost.mean_error:.1%} off in the mean of {found.cost.packs} packs, "
            f"at worst {worst.error:+.1%} ({worst.images} images, {worst.tokens} tokens)"
        )
    )
