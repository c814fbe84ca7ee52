"""What a cascade saves and costs: accuracy, tokens and images/s of cascades beside those of single passes.

    python benchmarks/cascade.py BUNDLE.navit DATA [--first 36] [--by probability] [--rounds 5] [--json FILE]

DATA has class folders with the names of the bundle's labels. Each policy runs all images in one `run`, decoded before;
images/s is the median of the rounds, in which the policies take turns, so run it on an idle machine. Everything else
repeats on any machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import navit_edge as ne
from navit_edge.compile.report import host_description
from navit_edge.evaluate.metrics import share

ACCEPT = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def policies(first: int, by: str) -> list[ne.Policy]:
    return [
        ne.Policy.token_cap(first),
        ne.Policy.native(),
        *(ne.Policy.cascade(first, accept, by) for accept in ACCEPT),
    ]


def row_of(policy: ne.Policy, results: list[ne.Result], labels: list[str]) -> dict[str, Any]:
    right = share(
        sum(result.top_k(1)[0].label == label for result, label in zip(results, labels, strict=True)), len(results)
    )
    return {
        "policy": str(policy),
        "accepted": sum(result.sizing.startswith("accepted") for result in results) / len(results),
        "again": sum(result.sizing.startswith("run again") for result in results) / len(results),
        "right": right.count,
        "images": len(results),
        "top_1": right.value,
        "top_1_low": right.low,
        "top_1_high": right.high,
        "tokens_per_image": statistics.fmean(result.total_token_count for result in results),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--first", type=int, default=36)
    parser.add_argument("--by", default="probability", choices=("probability", "margin"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    files = sorted(path for path in args.data.glob("*/*") if path.is_file())
    labels = [path.parent.name for path in files]
    with ne.Session(args.bundle, precision=args.precision) as session:
        images = [session.decoder.decode(path).image for path in files]
        chosen = policies(args.first, args.by)
        times: list[list[float]] = [[] for _ in chosen]
        rows = [row_of(policy, session.run(images, policy=policy), labels) for policy in chosen]
        for _ in range(args.rounds):
            for policy, of_policy in zip(chosen, times, strict=True):
                start = time.perf_counter()
                session.run(images, policy=policy)
                of_policy.append(time.perf_counter() - start)
        for row, of_policy in zip(rows, times, strict=True):
            row["images_per_s"] = len(images) / statistics.median(of_policy) if of_policy else None
        report = {"host": host_description(), "engine": session.engine, "rounds": args.rounds, "rows": rows}

    table = Table()
    for name in ("policy", "accepted", "again", "top-1", "95 %", "tokens", "images/s"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for row in rows:
        table.add_row(
            row["policy"],
            f"{row['accepted']:.1%}",
            f"{row['again']:.1%}",
            f"{row['right']} of {row['images']}: {row['top_1']:.1%}",
            f"{row['top_1_low']:.1%} to {row['top_1_high']:.1%}",
            f"{row['tokens_per_image']:.1f}",
            "" if row["images_per_s"] is None else f"{row['images_per_s']:.0f}",
        )
    Console(width=140).print(table)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
