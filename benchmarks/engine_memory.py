"""What `navit-edge inspect` predicts a process to grow by, against what it grows by, and limits against peaks.

    python benchmarks/engine_memory.py S16.navit [B16.navit …] [--limits 384MiB,512MiB] [--packs 400]

Each engine of a CPU runs in a process of its own, with one slot: images of ever new sizes, then one pack of the longest
image. With --limits each limit gets a process, too: its peak must stay below. Prints a table, and JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from navit_edge.bench.plateau import batches
from navit_edge.bundle.manifest import load
from navit_edge.errors import NavitEdgeError
from navit_edge.machine.host import Host
from navit_edge.machine.process_memory import PeakMemory, resident_bytes
from navit_edge.memory import engine_memory
from navit_edge.options import byte_count


def run_here(bundle: str, engine: str, packs: int, limit: int) -> dict[str, Any]:
    """In this process: what it holds before, and at most."""
    from navit_edge.session import Session

    before, peak = resident_bytes() or 0, PeakMemory()
    try:
        session = Session(bundle, engine=engine, overflow="downscale", max_memory=limit, slots=0 if limit else 1)
    except NavitEdgeError as error:
        return {"refused": str(error)}
    report = session.engine_report["memory"]
    count = 0
    for turn, batch in enumerate(batches(Path(bundle))):
        if turn % 2:
            count += len({future.result().pack for future in [session.submit(image) for image in batch]})
        else:
            session.run(batch)
            count += len(session.last_report["packs"])
        if count >= packs:
            break
    return {
        "before_bytes": before,
        "peak_bytes": peak.peak_bytes(),
        "slots": session.slots,
        "report": report,
    }


def in_a_process(*asked: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--here", json.dumps(asked)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def mib(count: int | None) -> str:
    return "-" if count is None else f"{count / (1 << 20):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--limits", default="")
    parser.add_argument("--packs", type=int, default=400)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(run_here(*json.loads(given.here))))
        return
    print(f"{Host.read().cpu}; MiB; {given.packs} packs of ever new shapes in a process of its own\n")
    rows = []
    for bundle in given.bundles:
        for engine in (one.id for one in load(bundle).engines if one.target.startswith("cpu")):
            found = in_a_process(str(bundle), engine, given.packs, 0)
            predicted = engine_memory(bundle, engine).process_bytes
            grown = found["peak_bytes"] - found["before_bytes"]
            error = predicted / grown - 1
            rows.append({"bundle": bundle.name, "engine": engine, "predicted": predicted, **found})
            print(
                f"{bundle.name} {engine}: predicted {mib(predicted)}, grew by {mib(grown)} ({error:+.1%})", flush=True
            )
            for text in filter(None, given.limits.split(",")):
                limit = byte_count(text) or 0
                kept = in_a_process(str(bundle), engine, given.packs, limit)
                rows.append({"bundle": bundle.name, "engine": engine, "limit": limit, **kept})
                if "refused" in kept:
                    print(f"  limit {mib(limit)}: refused: {kept['refused']}", flush=True)
                    continue
                verdict = "stays under" if kept["peak_bytes"] <= limit else "IS BEYOND"
                total = kept["report"]["predicted"]["total_bytes"]
                print(f"  limit {mib(limit)}: peak {mib(kept['peak_bytes'])} {verdict}; predicted {mib(total)}, "
                      f"{kept['slots']} slots", flush=True)  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps({"cpu": Host.read().cpu, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
