"""The steps of gpu_proof in order of worth, and the process that runs one of them.

python -m proof.steps NAME --device DEVICE --bundle DIR --file FILE.json --limit SECONDS --libraries DIR [--quick]
"""

from __future__ import annotations

import argparse
import importlib
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
    ProofStep("environment", "proof.environment", "machine, versions, doctor", 40),
    ProofStep("backend", "proof.backend", "our TensorRT back end on this driver, on a stand-in for TensorRT", 60),
    ProofStep("numbers", "proof.graph_numbers", "masked and padded graphs in every precision, in PyTorch", 90),
    ProofStep("packing", "proof.packing", "forms of attention on packs, in PyTorch", 160),
    ProofStep("pixels", "proof.pixels", "decode, preprocess, copy, model: images/s", 50),
    ProofStep("memcheck", "proof.memcheck", "compute-sanitizer on the back end", 80),
)


def main() -> None:
    """Runs one step. The exit code is 1 if a check of it does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=[step.name for step in STEPS])
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--libraries", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    step = next(step for step in STEPS if step.name == arguments.name)
    results = Results(file=arguments.file, limit_s=arguments.limit)
    settings = Settings(
        device=arguments.device, quick=arguments.quick, bundle=arguments.bundle, libraries=arguments.libraries.resolve()
    )
    importlib.import_module(step.module).run(settings, results)
    if results.failed:
        sys.exit(f"error: {len(results.failed)} of {len(results.checks)} checks do not hold, as: {results.failed[0]}")
    print(f"{len(results.checks)} checks hold")


if __name__ == "__main__":
    main()
