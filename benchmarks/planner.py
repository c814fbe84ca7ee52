"""The planner against what a user would write or pick instead: fill, time, predicted cost; and against the optimum.

    python benchmarks/planner.py [--images 10000] [--bundle DIR] [--rounds 9] [--output benchmarks/planner.json]

With --bundle (one with an OpenVINO engine) the sets of end_to_end.py are run by a session that plans with "auto" and by
one that plans with the engine's own strategy, in turn; the ratio is the median over rounds of the ratio within a round.

Needs binpacking (pip install binpacking) and, for the optimum, OR-Tools (pip install ortools); what is not installed is
left out of the tables and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.vocabulary import STRATEGIES

#: (pixels of a photograph height x width, share) of a camera roll: phones, cameras, screenshots, web.
ROLL = [
    ((3024, 4032), 0.25), ((4032, 3024), 0.15), ((2160, 3840), 0.1), ((1080, 1920), 0.1), ((1920, 1080), 0.05),
    ((768, 1024), 0.1), ((480, 640), 0.1), ((600, 400), 0.05), ((200, 300), 0.05), ((150, 150), 0.05),
]  # fmt: skip
CAP = 1024
PATCH_PX = 16


def distributions(count: int) -> dict[str, list[int]]:
    """Tokens of ``count`` images of several kinds."""
    rng = np.random.default_rng(0)

    def tokens(height: int, width: int) -> int:
        sizing = to_json(Sizing(rule="token-cap", max_tokens=CAP))
        rows, cols = _core.resize_targets(np.array([[height, width]], np.int32), patch_px=PATCH_PX, sizing=sizing)[0]
        return int(rows * cols)

    roll = [ROLL[index][0] for index in rng.choice(len(ROLL), count, p=[share for _, share in ROLL])]
    aspects = np.exp(rng.normal(0, 0.35, count))
    areas = np.exp(rng.uniform(np.log(32), np.log(CAP), count)) * PATCH_PX**2
    return {
        "camera roll": [tokens(height, width) for height, width in roll],
        "photographs, log-uniform": [
            tokens(max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect))))
            for area, aspect in zip(areas, aspects, strict=True)
        ],
        "uniform 1 to 1024": rng.integers(1, CAP + 1, count).tolist(),
    }


def lower_bound(tokens: Sequence[int], budget: int) -> int:
    """Packs that no plan can do without: Martello and Toth's L2, and Fekete and Schepers' dual feasible functions."""
    lengths = np.sort(np.asarray(tokens, np.int64))
    best = math.ceil(int(lengths.sum()) / budget)
    for alpha in np.unique(np.concatenate([[0], lengths[lengths <= budget // 2]])):
        large = int((lengths > budget - alpha).sum())
        middle = lengths[(lengths <= budget - alpha) & (lengths > budget / 2)]
        small = lengths[(lengths <= budget / 2) & (lengths >= alpha)]
        free = len(middle) * budget - int(middle.sum())
        best = max(best, large + len(middle) + max(0, math.ceil((int(small.sum()) - free) / budget)))
    for k in range(1, 101):
        product = (k + 1) * lengths  # u_k(x) = x where (k + 1) x is whole, else floor((k + 1) x) / k
        whole = product % budget == 0
        scaled = np.where(whole, lengths * k, (product // budget) * budget)
        best = max(best, math.ceil(int(scaled.sum()) / (budget * k)))
    return best


def greedy(tokens: Sequence[int], budget: int, max_images: int) -> list[list[int]]:
    """In order of arrival, as a loop in Python."""
    packs: list[list[int]] = []
    used = budget + 1
    for index, length in enumerate(tokens):
        if used + length > budget or len(packs[-1]) >= max_images:
            packs.append([])
            used = 0
        packs[-1].append(index)
        used += length
    return packs


def vit_pytorch(tokens: Sequence[int], budget: int, max_images: int) -> list[list[int]]:
    """vit_pytorch.na_vit.group_images_by_max_seq_len, as it groups, on lengths in place of images: in order of arrival,
    closing a group if the next image does not fit. It knows no limit on images."""
    del max_images
    return greedy(tokens, budget, len(tokens))


def binpacking(tokens: Sequence[int], budget: int, max_images: int) -> list[list[int]]:
    """binpacking.to_constant_volume on (index -> tokens)."""
    del max_images
    from binpacking import to_constant_volume

    return [list(pack) for pack in to_constant_volume(dict(enumerate(tokens)), budget)]


def ours(strategy: str) -> Callable[[Sequence[int], int, int], list[list[int]]]:
    def plan(tokens: Sequence[int], budget: int, max_images: int) -> list[list[int]]:
        return ne.plan(tokens, token_budget=budget, max_images=max_images, strategy=strategy)  # type: ignore[arg-type]

    return plan


def compare(tokens: list[int], budget: int, max_images: int, rounds: int) -> dict[str, dict[str, float]]:
    """Of each planner: packs, fill of the bound, CPU milliseconds, predicted ms of the set on a GPU of S/16."""
    planners: dict[str, Callable[[Sequence[int], int, int], list[list[int]]]] = {
        f"navit-edge {name}": ours(name) for name in STRATEGIES
    }
    planners |= {"greedy, in order (Python)": greedy, "grouping as vit-pytorch's": vit_pytorch}
    if importlib.util.find_spec("binpacking"):
        planners["binpacking"] = binpacking
    bound = lower_bound(tokens, budget)
    cost = _core.assumed_cost(width=384, depth=12, mlp_width=1536, target="gpu")
    rows = {}
    for name, plan in planners.items():
        limit = 1 if name == "binpacking" else rounds  # it takes seconds
        times = []
        for _ in range(limit):
            start = time.process_time()  # one thread; other work on the machine does not count
            packs = plan(tokens, budget, max_images)
            times.append(time.process_time() - start)
        assert sorted(index for pack in packs for index in pack) == list(range(len(tokens)))
        assert all(sum(tokens[index] for index in pack) <= budget for pack in packs)
        squares = sum(length**2 for length in tokens)
        rows[name] = {
            "packs": len(packs),
            "over_bound": len(packs) - bound,
            "fill_of_bound": bound / len(packs),
            "cpu_ms": 1e3 * min(times),
            "most_images": max(len(pack) for pack in packs),
            "predicted_ms": (len(packs) * (cost[0] + cost[1] * budget) + cost[2] * squares) / 1e3,
        }
    return rows


def against_optimum(instances: int) -> dict[str, Any] | None:
    """Packs above OR-Tools' proven optimum on small instances, some of them with a limit on images that binds."""
    if not importlib.util.find_spec("ortools"):
        return None
    from ortools.sat.python import cp_model

    rng = np.random.default_rng(1)
    over: list[int] = []
    unproven = 0
    for number in range(instances):
        count = int(rng.integers(5, 21))
        budget = int(rng.integers(200, 600))
        tokens = rng.integers(8, budget, count).tolist()
        images = int(rng.integers(2, 6)) if number % 2 else count
        planned = len(ne.plan(tokens, token_budget=budget, max_images=images))
        model = cp_model.CpModel()
        lies = [[model.new_bool_var("") for _ in range(planned)] for _ in range(count)]
        used = [model.new_bool_var("") for _ in range(planned)]
        for row in lies:
            model.add_exactly_one(row)
        for pack in range(planned):
            model.add(sum(t * row[pack] for t, row in zip(tokens, lies, strict=True)) <= budget * used[pack])
            model.add(sum(row[pack] for row in lies) <= images)
        for one, following in itertools.pairwise(used):
            model.add(one >= following)
        model.minimize(sum(used))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 2
        solver.parameters.max_time_in_seconds = 20
        if solver.solve(model) == cp_model.OPTIMAL:
            over.append(planned - round(solver.objective_value))
        else:
            unproven += 1
    return {
        "instances": instances, "unproven": unproven, "most_over": max(over), "exact": sum(one == 0 for one in over)
    }  # fmt: skip


def sessions(bundle: Path, rounds: int, console: Console) -> dict[str, Any]:
    """Times of "auto" and of the engine's own strategy on the end-to-end sets, in the same rounds."""
    import images as image_sets

    out: dict[str, Any] = {}
    for name, grids in (("mixed", image_sets.mixed_grids()), ("small", image_sets.small_grids())):
        images = image_sets.images_of(grids)
        engine = ne.load_manifest(bundle).engines[0]
        pair = {strategy: ne.Session(bundle, strategy=strategy) for strategy in (engine.strategy, "auto")}
        seconds: dict[str, list[float]] = {strategy: [] for strategy in pair}
        for number in range(rounds + 1):
            order = list(pair.items())
            for strategy, session in order if number % 2 else reversed(order):
                with console.status(f"{name}, round {number} of {rounds}: {strategy}"):
                    start = time.perf_counter()
                    session.run(images)
                    seconds[strategy].append(time.perf_counter() - start)
        ratios = [own / auto for own, auto in zip(seconds[engine.strategy][1:], seconds["auto"][1:], strict=True)]
        out[name] = {
            "engine": engine.id,
            "cost": "measured" if pair["auto"].last_report["cost_measured"] else "assumed",
            "packs": {strategy: len(session.last_report["packs"]) for strategy, session in pair.items()},
            "predicted_ms": {strategy: session.last_report["predicted_us"] / 1e3 for strategy, session in pair.items()},
            "median_ms": {strategy: 1e3 * statistics.median(own[1:]) for strategy, own in seconds.items()},
            "auto_speedup": statistics.median(ratios),
            "ratios": ratios,
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("planner.json"))
    arguments = parser.parse_args()
    console = Console()
    report: dict[str, Any] = {"images": arguments.images, "rounds": arguments.rounds, "sets": {}}
    for package in ("binpacking", "ortools"):
        if not importlib.util.find_spec(package):
            console.print(f"left out: {package} is not installed; pip install {package}", style="yellow")
    for name, tokens in distributions(arguments.images).items():
        budget = 4096
        rows = compare(tokens, budget, 1024, arguments.rounds)
        report["sets"][name] = {"budget": budget, "mean_tokens": statistics.fmean(tokens), "planners": rows}
        table = Table(
            title=f"{name}: {len(tokens)} images, {statistics.fmean(tokens):.0f} tokens each, packs of {budget}"
        )
        for column in ("planner", "packs", "over the bound", "fill of the bound", "CPU ms", "predicted ms"):
            table.add_column(column, justify="left" if column == "planner" else "right")
        for planner, row in rows.items():
            table.add_row(
                planner, str(row["packs"]), str(row["over_bound"]), f"{row['fill_of_bound']:.2%}",
                f"{row['cpu_ms']:.2f}", f"{row['predicted_ms']:.0f}",
            )  # fmt: skip
        console.print(table)
    report["optimum"] = against_optimum(arguments.instances)
    console.print("against OR-Tools:", report["optimum"])
    if arguments.bundle is not None:
        report["sessions"] = sessions(arguments.bundle, arguments.rounds, console)
        for name, row in report["sessions"].items():
            console.print(f"{name}: auto is {row['auto_speedup']:.3f} times as fast as {row['engine']}'s own", row)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
