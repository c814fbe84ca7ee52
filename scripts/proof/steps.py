"""The steps of gpu_proof in order of worth, three of which gpu_check runs too, and the process that runs one of them.

python -m proof.steps NAME --device DEVICE --bundle DIR --file FILE.json --limit SECONDS --libraries DIR [--quick]
    [--backend BACKEND --engine ID]
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from proof.results import Results
from proof.settings import Settings


@dataclass(frozen=True)
class ProofStep:
    """shows: for the table. limit_s: after which it is ended; all together are eight minutes."""

    name: str
    module: str
    shows: str
    limit_s: float


STEPS = (
    ProofStep("environment", "proof.environment", "machine, versions, doctor", 25),
    ProofStep("lean", "proof.lean", "NVIDIA's lean runtime refuses a foreign plan", 15),
    ProofStep("backend", "proof.backend", "our TensorRT back end on this driver, on a stand-in for TensorRT", 60),
    ProofStep("numbers", "proof.graph_numbers", "masked and padded graphs in every precision, in PyTorch", 90),
    ProofStep("packing", "proof.packing", "forms of attention on packs, in PyTorch", 140),
    ProofStep("pixels", "proof.pixels", "decode, preprocess, copy, model: images/s", 40),
    ProofStep("latency", "proof.latency", "deadlines under load, on a stand-in for TensorRT", 40),
    ProofStep("memcheck", "proof.memcheck", "compute-sanitizer on the back end", 70),
)


#: What every step needs and what takes long to import.
PRELOADED = ("torch", "onnx", "navit_edge.bundle.publish")


def run_step(name: str, file: Path, limit_s: float, settings: Settings) -> None:
    """Runs one step; ends the process with 1 if a check of it does not hold."""
    step = next(step for step in STEPS if step.name == name)
    results = Results(file=file, limit_s=limit_s)
    importlib.import_module(step.module).run(settings, results)
    if results.failed:
        sys.exit(f"error: {len(results.failed)} of {len(results.checks)} checks do not hold, as: {results.failed[0]}")
    print(f"{len(results.checks)} checks hold; {sum(os.times()[:4]):.1f} s of CPU")


def main() -> None:
    """One step, for what starts it as a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=[step.name for step in STEPS])
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--libraries", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--backend", default="", help="of a built engine, in place of the stand-in")
    parser.add_argument("--engine", default="", help="its id")
    arguments = parser.parse_args()
    settings = Settings(
        device=arguments.device, quick=arguments.quick, bundle=arguments.bundle,
        libraries=arguments.libraries.resolve(), backend=arguments.backend, engine=arguments.engine,
    )  # fmt: skip
    run_step(arguments.name, arguments.file, arguments.limit, settings)


if __name__ == "__main__":
    main()
