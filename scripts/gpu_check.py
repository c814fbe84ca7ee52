"""Everything that a person with a device can run in one command: doctor, build, checks, sessions, load, bench.

    python scripts/gpu_check.py [--bundle DIR] [--backend tensorrt] [--precision LIST] [--output FILE.tar.gz]
    make gpu-check [BUNDLE=DIR] [BACKEND=tensorrt]

Works on a copy of the bundle; without one, exports S/16 with random weights (needs torch, so a PC makes the bundle for
a board). A step that fails, crashes or hangs does not stop the next that can do without it, and Ctrl-C keeps what is
there. Without a usable GPU only doctor runs. "environment", "backend" and "latency" are gpu_proof's own steps
(scripts/proof), here on the engines that are built. The archive holds what each step printed, the reports as JSON, the
plots, and summary.json with versions; no weights, no images, no environment, no name of machine or user.
docs/on-device.md says what to look at. The exit code is 0 if every step passed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from check_steps import STEP_LIMIT_S, Check, Step
from gpu_check_private import Private
from proof import environment
from proof import steps as proof_steps
from proof.settings import Settings

HERE = Path(__file__).resolve().parent
NAVIT_EDGE = (sys.executable, "-m", "navit_edge.cli.main")
BACKENDS = ("tensorrt", "tensorrt-rtx", "openvino")
NEED_AN_ENGINE = ("verify", "conformance", "backend", "latency", "bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="the bundle to build and measure; S/16 is exported if not given")
    parser.add_argument("--backend", choices=BACKENDS, default="tensorrt")
    parser.add_argument("--precision", help="for build-engine, as fp16,bf16; its own default if not given")
    parser.add_argument("--workspace", help="for build-engine, as 2G: bounds the compiler's memory on a small board")
    parser.add_argument("--duration", default="3", help="seconds of each measurement of bench; 0: the least")
    parser.add_argument("--step-limit", type=float, default=STEP_LIMIT_S, help="seconds after which a step is ended")
    parser.add_argument("--output", type=Path, help="default gpu-check-DATE-TIME.tar.gz here")
    arguments = parser.parse_args()
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    output = arguments.output or Path(f"gpu-check-{stamp}.tar.gz")
    if not output.absolute().parent.is_dir():
        sys.exit(f"error: {output}: no such directory; create it first")
    if arguments.bundle is not None and not (arguments.bundle / "manifest.json").is_file():
        sys.exit(f"error: {arguments.bundle} is not a bundle; expected a directory with manifest.json")
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        results = Path(scratch) / f"gpu-check-{stamp}"
        results.mkdir()
        check = Check(folder=results, limit_s=arguments.step_limit)
        problem = ""
        try:
            problem = run_all(check, arguments, Path(scratch))
        except KeyboardInterrupt:
            problem = "interrupted; the archive holds the steps up to here"
        except Exception as error:  # whatever goes wrong here, the archive is what the person has waited for
            problem = f"gpu_check itself failed ({type(error).__name__}: {error}); this is a bug; send the archive"
        finally:
            summary = {
                "schema_version": 1,
                "backend": arguments.backend,
                "date": stamp,
                "versions": environment.versions(),
                "problem": problem or None,
                "steps": [asdict(step) for step in check.steps],
            }
            (results / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
            bundle = {} if arguments.bundle is None else {arguments.bundle.resolve().parent: "BUNDLES"}
            Private({Path(scratch): "SCRATCH", HERE.parent: "CHECKOUT", **bundle}).clean_folder(results)
            with tarfile.open(output, "w:gz") as archive:
                archive.add(results, arcname=results.name, filter=nobody)
    print_summary(check.steps, output)
    if problem:
        sys.exit(f"error: {problem}")
    if any(step.state in ("failed", "skipped") for step in check.steps):
        sys.exit(1)


def nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """An archive names its owner, too."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def run_all(check: Check, arguments: argparse.Namespace, scratch: Path) -> str:
    """The steps, in order. Returns what makes the whole run void, or ""."""
    run_proof_step(check, "environment", arguments)
    if arguments.backend != "openvino" and "GPU 0" not in environment.findings(check.folder / environment.DOCTOR):
        for name in ("build-engine", "doctor-bundle", *NEED_AN_ENGINE):
            check.skip(name, "no usable NVIDIA GPU")
        return (
            f"no usable NVIDIA GPU on this machine, so nothing was built or measured for {arguments.backend}; what "
            "doctor found is in the archive; run this on the device, or rehearse it on the CPU with --backend openvino"
        )
    bundle = scratch / "check.navit"
    if arguments.bundle is not None:
        shutil.copytree(arguments.bundle, bundle)
    elif not check.run("export", [*NAVIT_EDGE, "export", "--model", "s16", "--seed", "0", "-o", bundle]):
        for name in ("build-engine", "doctor-bundle", *NEED_AN_ENGINE):
            check.skip(name, "there is no bundle; make one on a PC and give it with --bundle")
        return ""

    build: list[str | Path] = [*NAVIT_EDGE, "build-engine", bundle, "--backend", arguments.backend, "--force"]
    build += ["--precision", arguments.precision] if arguments.precision else []
    build += ["--workspace", arguments.workspace] if arguments.workspace else []
    build += ["--target", "native"] if arguments.backend == "tensorrt-rtx" else []
    build += ["--require-fused"] if arguments.backend != "openvino" else []
    built = check.run("build-engine", build)
    shutil.copy(bundle / "manifest.json", check.folder / "manifest.json")
    for engine in engines_of(bundle):
        if engine.get("report") and (bundle / engine["report"]).is_file():
            shutil.copy(bundle / engine["report"], check.folder / f"build-{engine['id']}.json")
    check.run("doctor-bundle", [*NAVIT_EDGE, "doctor", bundle, "--json-file", check.folder / "doctor-bundle.json"])
    wanted = arguments.precision.split(",") if arguments.precision else None
    engines = [
        engine["id"]
        for engine in engines_of(bundle)
        if engine["backend"] == arguments.backend and (wanted is None or engine["precision"] in wanted)
    ]
    if not built or not engines:
        for name in NEED_AN_ENGINE:
            check.skip(name, f"no engine of {arguments.backend} was built")
        return ""

    check.run("verify", [*NAVIT_EDGE, "verify", bundle, *(word for name in engines for word in ("--engine", name))])
    if (bundle / "reports" / "parity.json").is_file():
        shutil.copy(bundle / "reports" / "parity.json", check.folder / "verify.json")
    precisions = dict.fromkeys(engine["precision"] for engine in engines_of(bundle) if engine["id"] in engines)
    conformance(check, arguments.backend, list(precisions))
    for name in engines:
        for step in ("backend", "latency"):
            run_proof_step(check, step, arguments, bundle, name)
    plots = find_spec("matplotlib") is not None
    if not plots:
        print("no plots: pip install matplotlib")
    for name in engines:
        bench: list[str | Path] = [*NAVIT_EDGE, "bench", bundle, "--engine", name, "--duration", arguments.duration]
        bench += ["--json-file", check.folder / f"bench-{name}.json"]
        bench += ["--plot", check.folder / f"bench-{name}.png"] if plots else []
        check.run(f"bench-{name}", bench)
    if len(engines) > 1:
        bench = [*NAVIT_EDGE, "bench", bundle, "--duration", arguments.duration]
        bench += [word for name in engines for word in ("--engine", name)]
        bench += ["--json-file", check.folder / "bench-compare.json"]
        bench += ["--plot", check.folder / "bench-compare.png"] if plots else []
        check.run("bench-compare", bench)
    return ""


def run_proof_step(
    check: Check, name: str, arguments: argparse.Namespace, bundle: Path = Path(), engine: str = ""
) -> None:
    """A step that `make gpu-proof` runs too, there on a stand-in (proof/steps.py), here on ``engine``."""
    shown = f"{name}-{engine}" if engine else name
    settings = Settings(
        device="cpu" if arguments.backend == "openvino" else "cuda", quick=float(arguments.duration) == 0,
        bundle=bundle, backend=arguments.backend, engine=engine,
    )  # fmt: skip
    told = (name, check.folder / f"{shown}.json", check.limit_s, settings)
    check.run_function(shown, proof_steps.run_step, told, preload=("navit_edge",))


def conformance(check: Check, backend: str, precisions: Sequence[str]) -> None:
    """The suite that every backend must pass, on a small model that it exports itself and builds for this backend."""
    suite = HERE.parent / "tests" / "conformance"
    missing = [name for name in ("pytest", "torch", "onnxscript", "skimage", "sklearn") if find_spec(name) is None]
    if not suite.is_dir() or missing:
        what = f"it needs {', '.join(missing)}" if missing else "this is no checkout of navit-edge"
        check.leave_out("conformance", f"{what} (pip install -r requirements-dev.txt)")
        return
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite]
    floats = [precision for precision in precisions if precision in ("fp32", "fp16", "bf16")]
    if not floats:
        check.leave_out("conformance", f"its small model is not quantized, and the engines are {', '.join(precisions)}")
        return
    wanted = {"NAVIT_EDGE_CONFORMANCE_BACKEND": backend, "NAVIT_EDGE_CONFORMANCE_PRECISIONS": ",".join(floats)}
    check.run("conformance", command, environment=wanted, cwd=HERE.parent)


def engines_of(bundle: Path) -> list[dict[str, Any]]:
    """The bundle's engines, as the manifest describes them."""
    engines: list[dict[str, Any]] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["engines"]
    return engines


def print_summary(steps: Sequence[Step], output: Path) -> None:
    width = max(len(step.name) for step in steps)
    print("\n== summary")
    for step in steps:
        seconds = f"{step.seconds:7.1f} s" if step.state != "skipped" else " " * 9
        reason = step.reason if len(step.reason) <= 120 else f"{step.reason[:120]}… ({step.log})"
        print(f"{step.state:8}{step.name:{width}}{seconds}  {reason}")
    size = output.stat().st_size / 2**10
    print(f"\n{output} ({size:.0f} KiB): attach it to a report; what is in it stands in docs/on-device.md")


if __name__ == "__main__":
    main()
