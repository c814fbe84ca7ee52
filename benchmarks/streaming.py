"""Deadlines under load, and throughput of `submit` against `run`.

    python benchmarks/streaming.py [--bundle DIR] [--seconds 20] [--rounds 3] [--output benchmarks/streaming.json]
    python benchmarks/streaming.py --bundle DIR --loads 0.7 --seconds 15 --rounds 1     # three minutes

An open loop: images arrive by a Poisson process whose times are drawn beforehand, whatever the session is doing, and
an image's latency counts from the time it was drawn for, so that a generator that is held up hides nothing (no
coordinated omission). Each image has a deadline of three times what it takes alone on an idle session. Loads are shares
of the capacity: the images per second of `run` on the same images.

Beside what the session does stands what could be done at all: the same arrivals, served one by one by a server that
takes an image's share of a full pack and wastes nothing between two images: first come first served (`in order`), and
always the most urgent of those that can still be on time, the late ones when there is nothing else (`ideal`). Where
even that misses deadlines they cannot be met by scheduling; `latency` shows what a policy gives that spends fewer
tokens while images wait. Its target is twice what the image takes alone, so that a miss of the target is still within
the deadline. `ideal, least` is the best that it could do: the ideal server, every image with the fewest tokens that the
policy gives.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import images as image_sets
import numpy as np
import numpy.typing as npt
from end_to_end import hardware
from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge.bench.open_loop import Load, Times, arrivals, offer, percentiles_ms, submit_all, time_alone
from navit_edge.compile import BuildRequest, build_engines
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.onnx_export import export_bundle

DEADLINE = 3.0  # times the time of an image alone
TARGET = 2.0  # the same of the latency policy
LOADS = (0.3, 0.5, 0.7, 0.9)
AIM_THROUGHPUT = 0.9
AIM_OVERHEAD = 0.02
BATCH = 96  # images of a throughput run

Image = npt.NDArray[np.uint8]


def summary(load: Load) -> dict[str, float]:
    return {
        "met": float(load.met.mean()),
        **percentiles_ms(load.latency_s),
        "tokens_mean": float(load.tokens.mean()),
        "generator_late": load.late_sends,
        "images": len(load.due),
    }


def served(due: Times, service: Times, limit: Times, *, in_order: bool) -> float:
    """Share of deadlines met by a server that takes images one by one, image i for service[i], due within limit[i].

    in_order: first come first served; else the earliest deadline among those that can still be on time, then the rest.
    """
    now = 0.0
    met = 0
    waiting: list[int] = []
    arriving = 0
    while waiting or arriving < len(due):
        if not waiting:
            now = max(now, due[arriving])
        while arriving < len(due) and due[arriving] <= now:
            waiting.append(arriving)
            arriving += 1
        in_time = [i for i in waiting if now + service[i] <= due[i] + limit[i]]
        hopeless = in_order or not in_time
        one = waiting[0] if hopeless else min(in_time, key=lambda i: due[i] + limit[i])
        waiting.remove(one)
        now += service[one]
        met += now <= due[one] + limit[one]
    return met / len(due)


def throughput(session: ne.Session, batch: Sequence[Image], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of `run` and of `submit` on the same images, in turn, `rounds` times."""
    run, submit = [], []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        session.run(batch)
        run.append(time.perf_counter() - start)
        submit.append(submit_all(session, batch))
    return run[1:], submit[1:]  # the first round warms up


def overhead(bundle: Path, batch: Sequence[Image], rounds: int) -> float:
    """Share of a run's wall time that is neither preprocessing nor the engine, one pack after the other: the median."""
    shares = []
    with ne.Session(bundle, device="cpu", slots=1) as session:
        for _ in range(rounds + 1):
            session.run(batch)
            report = session.last_report
            inside = sum(pack["preprocess_us"] + pack["engine_us"] for pack in report["packs"])
            shares.append(1 - inside / report["total_us"])
    return float(statistics.median(shares[1:]))


def least_share(session: ne.Session, batch: Sequence[Image], rounds: int) -> float:
    """Seconds of an image's share of a full pack, with the fewest tokens that a latency policy gives."""
    fewest = ne.Policy.latency(1e-3)
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        session.run(batch, policy=fewest)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / len(batch)


def measure(
    bundle: Path, images: Sequence[Image], loads: Sequence[float], seconds: float, rounds: int, console: Console
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    batch = [images[i] for i in rng.integers(0, len(images), BATCH)]
    with console.status("overhead"):
        outside = overhead(bundle, batch, rounds)
    with ne.Session(bundle, device="cpu") as session:
        with console.status("throughput"):
            run, submit = throughput(session, batch, rounds)
        alone = np.array([time_alone(session, image) for image in images])
        per_second = BATCH / statistics.median(run)
        # An image's share of a full pack, in proportion to what it takes alone.
        packed = alone * (1 / per_second) / alone.mean()
        report: dict[str, Any] = {
            "engine": session.engine,
            "images_per_second_run": per_second,
            "submit_over_run": statistics.median(r / s for r, s in zip(run, submit, strict=True)),
            "overhead": outside,
            "alone_ms": [1e3 * float(alone.min()), 1e3 * float(alone.max())],
            "loads": [],
        }
        with console.status("fewest tokens"):
            least = np.full(len(images), least_share(session, batch, rounds))
        policies: dict[str, list[Any]] = {
            "native": [None] * len(images),
            "latency": [ne.Policy.latency(1e3 * TARGET * float(one)) for one in alone],
        }
        for share in loads:
            due = arrivals(share * per_second, seconds, rng)
            chosen = rng.integers(0, len(images), len(due))
            row: dict[str, Any] = {
                "load": share,
                "in_order": served(due, packed[chosen], DEADLINE * alone[chosen], in_order=True),
                "ideal": served(due, packed[chosen], DEADLINE * alone[chosen], in_order=False),
                "ideal_least": served(due, least[chosen], DEADLINE * alone[chosen], in_order=False),
            }
            for name, of_images in policies.items():
                with console.status(f"load {share:.0%}, {name}"):
                    offered = offer(session, images, due, chosen, limits=DEADLINE * alone, policies=of_images)
                row[name] = summary(offered)
            report["loads"].append(row)
    return report


def show(report: dict[str, Any], console: Console) -> None:
    for name, one in report["sets"].items():
        low, high = one["alone_ms"]
        table = Table(
            title=f"{name}: an image alone takes {low:.1f} to {high:.1f} ms; run gives "
            f"{one['images_per_second_run']:.1f} images/s, submit {one['submit_over_run']:.2f} times as many "
            f"(aim: {AIM_THROUGHPUT}); outside of preprocessing and engine {one['overhead']:.2%} "
            f"(aim: {AIM_OVERHEAD:.0%})"
        )
        for column in ("load", "policy", "met", "p50 ms", "p99 ms", "tokens", "in order", "ideal", "ideal, least"):
            table.add_column(column, justify="left" if column == "policy" else "right")
        for row in one["loads"]:
            for policy in ("native", "latency"):
                got = row[policy]
                table.add_row(
                    f"{row['load']:.0%}",
                    policy,
                    f"{got['met']:.1%}",
                    f"{got['latency_ms_p50']:.1f}",
                    f"{got['latency_ms_p99']:.1f}",
                    f"{got['tokens_mean']:.0f}",
                    f"{row['in_order']:.1%}",
                    f"{row['ideal']:.1%}",
                    f"{row['ideal_least']:.1%}" if policy == "latency" else "",
                )
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="an S/16 bundle with an OpenVINO engine; made if not given")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="shares of the capacity")
    parser.add_argument("--rounds", type=int, default=3, help="of the throughput comparison")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("streaming.json"))
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = arguments.bundle
        if bundle is None:
            with console.status("exporting S/16 and building its engine"):
                bundle = export_bundle(NaViTConfig(), Path(scratch) / "s16.navit", seed=0)
                build_engines(bundle, BuildRequest(backend="openvino"))
        report: dict[str, Any] = {"hardware": hardware(), "seconds": arguments.seconds, "sets": {}}
        for name, grids in (
            ("224 x 224", [(14, 14)]),
            ("small", image_sets.small_grids()[:8]),
            ("mixed", image_sets.mixed_grids()),
        ):
            report["sets"][name] = measure(
                bundle, image_sets.images_of(grids), arguments.loads, arguments.seconds, arguments.rounds, console
            )
    show(report, console)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
