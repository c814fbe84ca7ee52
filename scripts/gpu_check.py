"""Everything that a person with a device can run in one command: doctor, build, checks, bench; one archive of results.

    python scripts/gpu_check.py [--bundle DIR] [--backend tensorrt] [--precision LIST] [--output FILE.tar.gz]
    make gpu-check [BUNDLE=DIR] [BACKEND=tensorrt]

Works on a copy of the bundle; without one, exports S/16 with random weights (needs torch, so a PC makes the bundle for
a board). A step that fails does not stop the next that can do without it. The archive holds what each step printed, the
reports as JSON, the plots, and summary.json; no weights, no images, no names of machine or user, but paths as the tools
print them. docs/on-device.md says what to look at.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAVIT_EDGE = (sys.executable, "-m", "navit_edge.cli.main")
BACKENDS = ("tensorrt", "tensorrt-rtx", "openvino")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command and what became of it."""

    name: str
    state: str  # "passed" | "failed" | "skipped"
    seconds: float = 0.0
    exit_code: int | None = None
    log: str = ""  # file in the archive
    reason: str = ""  # last line of what it printed, or why it was skipped


@dataclass(kw_only=True)
class Check:
    """Runs steps and keeps their results in a folder."""

    folder: Path
    steps: list[Step] = field(default_factory=list)

    def run(self, name: str, command: Sequence[str | Path]) -> bool:
        """Runs a command with its output in a log and on the screen; whether it succeeded."""
        log = f"{len(self.steps) + 1:02d}-{name}.log"
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        with (self.folder / log).open("w", encoding="utf-8") as file:
            file.write(f"$ {' '.join(str(part) for part in command)}\n")
            file.flush()
            process = subprocess.Popen(
                [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace",
            )  # fmt: skip
            last = error = ""
            for line in process.stdout or ():
                file.write(line)
                sys.stdout.write(line)
                last = line.strip() or last
                error = line.strip() if line.startswith("error: ") else error
            code = process.wait()
        state = "passed" if code == 0 else "failed"
        seconds = round(time.perf_counter() - start, 1)
        reason = (error or last) if code else ""
        self.steps.append(Step(name=name, state=state, seconds=seconds, exit_code=code, log=log, reason=reason))
        return code == 0

    def skip(self, name: str, reason: str) -> None:
        """Says why a step was not run."""
        print(f"\n== {name}: skipped, {reason}", flush=True)
        self.steps.append(Step(name=name, state="skipped", reason=reason))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="the bundle to build and measure; S/16 is exported where not given")
    parser.add_argument("--backend", choices=BACKENDS, default="tensorrt")
    parser.add_argument("--precision", help="for build-engine, as fp16,bf16; its own default where not given")
    parser.add_argument("--workspace", help="for build-engine, as 2G: bounds the compiler's memory on a small board")
    parser.add_argument("--duration", default="3", help="seconds of each measurement of bench")
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
        check = Check(folder=results)
        run_all(check, arguments, Path(scratch))
        summary = {
            "backend": arguments.backend,
            "date": stamp,
            "steps": [asdict(step) for step in check.steps],
            "not_run": ["navit-edge verify: not part of this version; scripts/engine_checks.py stands in for it"],
        }
        (results / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        with tarfile.open(output, "w:gz") as archive:
            archive.add(results, arcname=results.name)
    print_summary(check.steps, output)
    if any(step.state != "passed" for step in check.steps):
        sys.exit(1)


def run_all(check: Check, arguments: argparse.Namespace, scratch: Path) -> None:
    """The steps, in order."""
    check.run("doctor", [*NAVIT_EDGE, "doctor"])
    save_json(check.folder / "doctor.json", [*NAVIT_EDGE, "doctor", "--json"])
    if shutil.which("nvidia-smi") is not None:
        fields = "name,driver_version,memory.total,power.limit,clocks.max.sm"  # no serial number, no other processes
        check.run("nvidia-smi", ["nvidia-smi", f"--query-gpu={fields}", "--format=csv"])
    bundle = scratch / "check.navit"
    if arguments.bundle is not None:
        shutil.copytree(arguments.bundle, bundle)
    elif not check.run("export", [*NAVIT_EDGE, "export", "--model", "s16", "--seed", "0", "-o", bundle]):
        for name in ("build-engine", "doctor-bundle", "engine-checks", "bench"):
            check.skip(name, "there is no bundle; make one on a PC and give it with --bundle")
        return

    build: list[str | Path] = [*NAVIT_EDGE, "build-engine", bundle, "--backend", arguments.backend, "--force"]
    build += ["--precision", arguments.precision] if arguments.precision else []
    build += ["--workspace", arguments.workspace] if arguments.workspace else []
    build += ["--target", "native"] if arguments.backend == "tensorrt-rtx" else []
    build += ["--require-fused"] if arguments.backend != "openvino" else []
    built = check.run("build-engine", build)
    if arguments.backend != "openvino":
        reference: list[str | Path] = [
            *NAVIT_EDGE,
            "build-engine",
            bundle,
            "--backend",
            "openvino",
            "--precision",
            "fp32",
        ]
        check.run("build-reference", reference)  # float32 on the CPU, to compare with
    shutil.copy(bundle / "manifest.json", check.folder / "manifest.json")
    for engine in engines_of(bundle):
        if engine.get("report") and (bundle / engine["report"]).is_file():
            shutil.copy(bundle / engine["report"], check.folder / f"build-{engine['id']}.json")
    check.run("doctor-bundle", [*NAVIT_EDGE, "doctor", bundle])
    save_json(check.folder / "doctor-bundle.json", [*NAVIT_EDGE, "doctor", bundle, "--json"])
    wanted = arguments.precision.split(",") if arguments.precision else None
    engines = [
        engine["id"]
        for engine in engines_of(bundle)
        if engine["backend"] == arguments.backend and (wanted is None or engine["precision"] in wanted)
    ]
    if not built or not engines:
        for name in ("engine-checks", "bench"):
            check.skip(name, f"no engine of {arguments.backend} was built")
        return

    checks: list[str | Path] = [sys.executable, HERE / "engine_checks.py", bundle, "--backend", arguments.backend]
    check.run("engine-checks", [*checks, "--json", check.folder / "engine-checks.json"])
    for name in engines:
        bench: list[str | Path] = [*NAVIT_EDGE, "bench", bundle, "--engine", name, "--duration", arguments.duration]
        bench += ["--json", check.folder / f"bench-{name}.json"]
        try:
            import matplotlib  # noqa: F401

            bench += ["--plot", check.folder / f"bench-{name}.png"]
        except ImportError:
            print("no plot: pip install matplotlib")
        check.run(f"bench-{name}", bench)


def engines_of(bundle: Path) -> list[dict[str, Any]]:
    """The bundle's engines, as the manifest describes them."""
    engines: list[dict[str, Any]] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["engines"]
    return engines


def save_json(path: Path, command: Sequence[str | Path]) -> None:
    """What a command prints on standard output, whatever its exit code."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    path.write_text(done.stdout, encoding="utf-8")


def print_summary(steps: Sequence[Step], output: Path) -> None:
    width = max(len(step.name) for step in steps)
    print("\n== summary")
    for step in steps:
        seconds = f"{step.seconds:7.1f} s" if step.state != "skipped" else " " * 9
        reason = step.reason if len(step.reason) <= 120 else f"{step.reason[:120]}… ({step.log})"
        print(f"{step.state:8}{step.name:{width}}{seconds}  {reason}")
    size = output.stat().st_size / 2**20
    print(f"\n{output} ({size:.1f} MiB): attach it to a report; what is in it stands in docs/on-device.md")


if __name__ == "__main__":
    main()
