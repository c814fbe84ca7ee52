"""What any NVIDIA GPU can prove without TensorRT, in eight minutes: our back end, the graphs' numbers, packing, rates.

    python scripts/gpu_proof.py --device cuda [--bundle DIR] [--output DIR]
    python scripts/gpu_proof.py --device cpu [--quick]      # the same steps, rehearsed

Each step is a process with a limit of its own and writes DIR/STEP.json after each result; a step that fails, crashes or
runs over takes no other with it. Run again, with the same --output, only the steps run that have not passed. Nothing of
the device is set or reset. All kernels are PyTorch's: no figure here is one of TensorRT's. docs/gpu.md says what is
shown. The exit code is 0 if every step passed. Without --bundle, a Ti/16 with random weights is exported. --libraries
is what `make gpu-proof` compiles: our TensorRT back end, the stand-in for TensorRT, a simulated CUDA for --device cpu.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from check_steps import Check, Step
from proof import steps
from proof.results import write_json
from proof.settings import Settings
from proof.steps import STEPS, ProofStep

from navit_edge.machine.probe import run_probe

HERE = Path(__file__).resolve().parent
SUMMARY = "summary.json"
LIBRARIES = HERE.parent / "build" / "stand-ins"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True, help="cpu rehearses every step")
    parser.add_argument("--bundle", type=Path, help="a NaViT's bundle; Ti/16 is exported if not given")
    parser.add_argument("--output", type=Path, default=Path("gpu-proof"), help="folder of the results")
    parser.add_argument("--libraries", type=Path, default=LIBRARIES, help="folder of the back end and the stand-ins")
    parser.add_argument("--quick", action="store_true", help="with --device cpu: the least sizes, in seconds")
    parser.add_argument("--again", action="store_true", help="run the steps that have passed, too")
    parser.add_argument("--steps", default=",".join(step.name for step in STEPS), help="of these only")
    arguments = parser.parse_args()
    wanted = arguments.steps.split(",")
    unknown = [name for name in wanted if name not in {step.name for step in STEPS}]
    if unknown:
        sys.exit(f"error: no step {unknown[0]!r}; expected some of {', '.join(step.name for step in STEPS)}")
    if arguments.quick and arguments.device != "cpu":
        sys.exit("error: --quick is for --device cpu; leave it out")
    if arguments.bundle is not None and not (arguments.bundle / "manifest.json").is_file():
        sys.exit(f"error: {arguments.bundle} is not a bundle; expected a directory with manifest.json")
    if not (arguments.libraries / "stand_in_on_cuda").is_dir():
        sys.exit(
            f"error: no stand_in_on_cuda in {arguments.libraries}; expected what `make gpu-proof` compiles; run that"
        )
    if arguments.device == "cuda" and not run_probe("cuda").get("gpus"):
        sys.exit("error: the NVIDIA driver finds no GPU; check nvidia-smi, or rehearse with --device cpu")
    if arguments.quick:  # at these sizes, threads wait longer for each other than they compute
        os.environ["OMP_NUM_THREADS"] = "1"
    arguments.output.mkdir(parents=True, exist_ok=True)
    ran = run_all(arguments, wanted)
    print_table(ran, arguments.output)
    if any(step["state"] != "passed" for step in ran.values()):
        sys.exit(1)


def run_all(arguments: argparse.Namespace, wanted: list[str]) -> dict[str, Any]:
    """Runs what has not passed; step -> what became of it. Written to summary.json after each."""
    folder: Path = arguments.output
    told = {"device": arguments.device, "quick": arguments.quick, "bundle": str(arguments.bundle or "")}
    before = _read(folder / SUMMARY)
    done: dict[str, Any] = before.get("steps", {}) if before.get("settings") == told and not arguments.again else {}
    check = Check(folder=folder)
    bundle = arguments.bundle
    if bundle is None:
        bundle = folder / "ti16.navit"
        if not (bundle / "manifest.json").is_file():
            command = [sys.executable, "-m", "navit_edge.cli.main", "export", "--model", "ti16", "-o", str(bundle)]
            if not check.run("export", command, limit_s=300):
                return {"export": asdict(check.steps[-1])}
    for step in STEPS:
        if step.name not in wanted:
            continue
        if done.get(step.name, {}).get("state") == "passed":
            print(f"\n== {step.name}: passed before; --again runs it again")
            continue
        done[step.name] = asdict(run_step(check, step, arguments, bundle))
        write_json(folder / SUMMARY, {"schema_version": 1, "settings": told, "steps": done})
    return done


def run_step(check: Check, step: ProofStep, arguments: argparse.Namespace, bundle: Path) -> Step:
    """One step in a process of its own."""
    file = check.folder.resolve() / f"{step.name}.json"
    file.unlink(missing_ok=True)  # of a run before
    settings = Settings(
        device=arguments.device, quick=arguments.quick, bundle=bundle.resolve(), libraries=arguments.libraries.resolve()
    )
    told = (step.name, file, step.limit_s, settings)
    check.run_function(step.name, steps.run_step, told, preload=steps.PRELOADED, limit_s=step.limit_s)
    return check.steps[-1]


def print_table(ran: dict[str, Any], folder: Path) -> None:
    """States, then what was found."""
    print("\n== summary (PyTorch's kernels, none of TensorRT's)")
    shows = {step.name: step.shows for step in STEPS}
    for name, step in ran.items():
        print(f"{step['state']:8}{name:13}{step['seconds']:7.1f} s  {step['reason'] or shows.get(name, '')}")
    packing = _read(folder / "packing.json").get("values", {})
    for row in packing.get("rows", ()):
        if "us" in row:
            graph = f"{row['graph_us']:12.0f}" if "graph_us" in row else f"{'':12}"
            timed = f"{row['us']:12.0f} us{graph}{row['tflops']:8.2f} TFLOP/s"
            print(f"  {row['size']:12}{row['load']:14}{row['form']:8}{timed}")
    backend = _read(folder / "backend.json").get("values", {})
    for case, told in backend.items():
        if isinstance(told, dict) and "images_per_s" in told:
            print(f"  {case:24}{told['images_per_s']:12.0f} images/s")
    if backend:
        print(f"  ({backend['what_ran']})")
    latency = _read(folder / "latency.json").get("values", {})
    for row in latency.get("loads", ()):
        for budget in row["budgets"]:
            waited = f"{budget['latency_ms_p50']:9.1f} ms p50{budget['latency_ms_p99']:9.1f} ms p99"
            kept = f"{budget['met']:7.1%} in time, packs {budget['fill']:.0%} full"
            print(f"  load {row['share_of_peak']:<6g}{budget['tokens']:6} tokens{waited}{kept}")
    if latency:
        print(f"  ({latency['what_ran']})")
    for stage, rate in _read(folder / "pixels.json").get("values", {}).get("images_per_s", {}).items():
        print(f"  {stage:12}{rate:12.0f} images/s")
    print(f"\n{folder}: send this folder (the JSON files and logs)")


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


if __name__ == "__main__":
    main()
