"""Fills a folder with all that `scripts/gpu_proof.py` needs on a machine with a GPU and no network, and tries it.

    python scripts/gpu_proof_kit.py [--output .kit] [--try]
    make gpu-proof-kit

The other machine has Python 3.12, torch, onnx and numpy; the kit brings navit-edge, what it imports, our TensorRT back
end and the stand-ins, NVIDIA's lean runtime, two models without their weights, which are drawn by a seed, and run.sh.
It is under 60 MiB. --try: unpacks it in an environment that has nothing else, and runs it with --device cpu.
"""

from __future__ import annotations

import argparse
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from proof.seeded import strip
from proof.unpack import SUMS, lines

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "gpu-proof-kit"
PYTHON = "3.12"
MOST_BYTES = 60 << 20
LEAN = "tensorrt-lean-cu13-libs==10.16.1.11"
LEAN_NAME = "libnvinfer_lean.so.10"
#: Of what `pip download` is asked for: what navit-edge imports. numpy, torch and onnx are the machine's own.
LEFT_TO_THE_MACHINE = ("numpy",)
MODELS = ("ti16", "s16")
#: What the machine has, for --try.
MACHINES_OWN = ("numpy", "onnx", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / ".kit", help="the folder, which is emptied first")
    parser.add_argument("--try", dest="tried", action="store_true", help="run it in an empty environment")
    arguments = parser.parse_args()
    kit = arguments.output.resolve()
    WORK.mkdir(parents=True, exist_ok=True)
    interpreter = find_python()
    if kit.exists():
        shutil.rmtree(kit)
    (kit / "wheels").mkdir(parents=True)
    add_wheels(kit / "wheels", interpreter)
    add_libraries(kit / "libraries")
    for model in MODELS:
        add_bundle(kit, model)
    add_scripts(kit)
    (kit / SUMS).write_text("\n".join(lines(kit)) + "\n", encoding="utf-8")
    weigh(kit)
    if arguments.tried:
        try_it(kit, interpreter)


def weigh(kit: Path) -> None:
    """Says what it holds; ends the program if that is too much."""
    files = {file: file.stat().st_size for file in kit.rglob("*") if file.is_file()}
    size = sum(files.values())
    print(f"{kit}: {size / 2**20:.1f} MiB in {len(files)} files")
    for file in sorted(files, key=lambda one: -files[one])[:8]:
        print(f"  {files[file] / 2**20:6.1f} MiB  {file.relative_to(kit)}")
    if size > MOST_BYTES:
        sys.exit(f"error: the kit is {size / 2**20:.1f} MiB; expected at most {MOST_BYTES >> 20}; leave something out")


def find_python() -> str:
    """Of the version that the other machine has."""
    done = run("bash", "scripts/find_python.sh", PYTHON, capture=True)
    return done.strip()


def run(*command: str | Path, capture: bool = False, environment: dict[str, str] | None = None) -> str:
    """In the checkout; what it printed if that is wanted. Ends the program if it fails."""
    print(f"$ {' '.join(map(str, command))}", flush=True)
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, text=True, check=False,
        stdout=subprocess.PIPE if capture else None,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"error: {command[0]} ended with {done.returncode}; what it said is above")
    return done.stdout or ""


def add_wheels(folder: Path, interpreter: str) -> None:
    """navit-edge's, compiled for that Python, and those of what it imports."""
    venv = WORK / "venv"
    python = venv / "bin" / "python"
    if not python.exists():
        run(interpreter, "-m", "venv", venv)
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    constrained = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    install = (*pip, "install", "--quiet", "--no-compile")
    run(*install, "-r", "requirements-build.txt", environment=constrained)
    run(*install, "--no-deps", "-r", "requirements-headers.txt", environment=constrained)
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder,
        "-C", "cmake.define.NAVIT_EDGE_TENSORRT=ON", "-C", "cmake.define.NAVIT_EDGE_OPENVINO=OFF",
        "-C", f"build-dir={WORK / 'wheel'}", ".",
        environment={**os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"})  # fmt: skip
    ours = next(folder.glob("navit_edge-*.whl"))
    run(*pip, "download", "--quiet", "--only-binary", ":all:", "--dest", folder, ours, environment=constrained)
    for name in LEFT_TO_THE_MACHINE:
        for wheel in folder.glob(f"{name}-*.whl"):
            wheel.unlink()


def add_libraries(folder: Path) -> None:
    """The back end, the stand-ins and the lean runtime, in the folders where `gpu_proof.py` looks."""
    tools = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run("cmake", "--preset", "stand-ins", f"-DPython_EXECUTABLE={sys.executable}", environment=tools)
    run("cmake", "--build", "--preset", "stand-ins", environment=tools)
    built = ROOT / "build" / "stand-ins"
    for name in (
        "lib/libnavit_edge_tensorrt.so", "stand_in_on_cuda/libnvinfer.so.10", "simulator/cuda/libcuda.so.1",
        "simulator/cudart/libcudart.so.12",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built / name, folder / name)  # what a link names
    packed = WORK / f"{LEAN}.xz"
    if not packed.exists():
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        only = ("--no-deps", "--only-binary", ":all:", "--dest", WORK)
        run(*pip, "download", "--quiet", *only, LEAN, environment={**os.environ, "PIP_CONSTRAINT": ""})
        wheel = next(WORK.glob("tensorrt_lean_cu13_libs-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            library = archive.read(next(name for name in archive.namelist() if name.endswith(LEAN_NAME)))
        part = packed.with_suffix(".part")
        part.write_bytes(lzma.compress(library, preset=6))
        part.rename(packed)
        wheel.unlink()
    (folder / "lean").mkdir()
    shutil.copyfile(packed, folder / "lean" / f"{LEAN_NAME}.xz")


def add_bundle(kit: Path, model: str) -> None:
    """A model of random weights, without them."""
    bundle = WORK / f"{model}.navit"
    if not (bundle / "manifest.json").is_file():
        run(sys.executable, "-m", "navit_edge.cli.main", "export", "--model", model, "--seed", "0", "-o", bundle)
    strip(bundle, kit / bundle.name)


def add_scripts(kit: Path) -> None:
    """What runs there."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts" / "proof", kit / "scripts" / "proof", ignore=ignored)
    for name in ("gpu_proof.py", "check_steps.py"):
        shutil.copy(ROOT / "scripts" / name, kit / "scripts" / name)
    (kit / "scripts" / "proof" / "run.sh").rename(kit / "run.sh")


def try_it(kit: Path, interpreter: str) -> None:
    """In an environment of that Python with what the other machine has, without this checkout and its variables."""
    venv, place = WORK / "machine", WORK / "tried"
    python = venv / "bin" / "python"
    if not python.exists():
        run(interpreter, "-m", "venv", venv)
        index = run(python, "scripts/torch_index.py", capture=True).split()
        environment = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
        run(python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *index, *MACHINES_OWN,
            environment=environment)  # fmt: skip
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(kit, place / "kit")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(place), "PYTHON": str(python)}
    command = ["bash", str(place / "kit" / "run.sh"), "--device", "cpu", "--quick", "--output", str(place / "results")]
    done = subprocess.run(command, cwd=place, env=bare, check=False)
    if done.returncode != 0:
        sys.exit(f"error: the kit does not run in an empty environment (exit code {done.returncode}); see above")
    print(f"it runs in an empty environment: {place / 'results'}")


if __name__ == "__main__":
    main()
