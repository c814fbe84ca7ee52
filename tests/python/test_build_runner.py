"""The process of a build: errors come back typed, nothing is left behind, nothing is built twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from tiny_bundle import make_bundle

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.compile import BuildRequest, CompilerOptions, Event, build_engines, runner
from navit_edge.compile import openvino as openvino_builder
from navit_edge.compile import tensorrt as tensorrt_builder
from navit_edge.compile.job import Task
from navit_edge.errors import BackendError, BundleError

FP32 = BuildRequest(backend="openvino", precision=("fp32",))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.navit")


def listing(bundle: Path) -> list[str]:
    return sorted(str(path.relative_to(bundle)) for path in bundle.rglob("*"))


def task(bundle: Path, *, graph: str = "padded.onnx", output: str = "") -> Task:
    (job,) = openvino_builder.plan(manifests.load(bundle), FP32)
    return Task(job=job, graph_path=str(bundle / "graphs" / graph), output_path=output or str(bundle / "out.blob"))


def children(process: int) -> list[int]:
    listed: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        listed += [int(number) for number in path.read_text().split()]
    return listed


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def test_a_second_build_of_the_same_is_skipped_and_force_repeats_it(bundle: Path) -> None:
    first = build_engines(bundle, FP32)
    before = (bundle / "manifest.json").read_bytes()
    events: list[Event] = []
    assert build_engines(bundle, FP32, events.append) == first
    assert [event.phase for event in events] == ["already built"]
    assert (bundle / "manifest.json").read_bytes() == before
    events.clear()
    build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",), force=True), events.append)
    assert "compiling" in [event.phase for event in events]


def test_an_engine_that_was_altered_or_asked_for_otherwise_is_built_again(bundle: Path) -> None:
    (engine,) = build_engines(bundle, FP32)
    (bundle / engine.file).write_bytes(b"altered")
    (engine,) = build_engines(bundle, FP32)
    hashing.verify_files(bundle, manifests.load(bundle))
    other = BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(512,))
    (engine,) = build_engines(bundle, other)
    assert engine.budgets[0].tokens == 512
    assert manifests.load(bundle).engines == (engine,)


def test_what_the_library_refuses_is_a_backend_error_that_quotes_it(bundle: Path) -> None:
    (bundle / "graphs" / "padded.onnx").write_bytes(b"this is not a graph")
    with pytest.raises(BackendError, match=r"OpenVINO cannot compile graphs/padded\.onnx: .*"):
        runner._run_worker(task(bundle), bundle / "build.log", lambda event: None)


def test_the_traceback_of_the_process_is_the_cause(bundle: Path) -> None:
    with pytest.raises(BackendError) as caught:
        runner._run_worker(task(bundle, graph="gone.onnx"), bundle / "build.log", lambda event: None)
    assert "Traceback" in str(caught.value.__cause__)


def test_a_process_that_crashes_is_a_backend_error_and_leaves_the_bundle_as_it_was(bundle: Path) -> None:
    before = listing(bundle)

    def crash(event: Event) -> None:
        for child in children(os.getpid()):
            os.kill(child, signal.SIGKILL)

    with pytest.raises(BackendError, match="was killed by SIGKILL; the machine may be out of memory"):
        build_engines(bundle, FP32, crash)
    assert listing(bundle) == before


def test_a_full_disk_is_said_and_leaves_the_bundle_as_it_was(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"the disk is full: .*No space left .* bundle is as it was before"):
        runner._run_worker(task(bundle, output="/dev/full"), bundle / "build.log", lambda event: None)


def test_an_interrupted_build_ends_its_process_and_leaves_the_bundle_as_it_was(bundle: Path) -> None:
    before = listing(bundle)
    started: list[int] = []

    def interrupt(event: Event) -> None:
        started.extend(children(os.getpid()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engines(bundle, FP32, interrupt)
    assert len(started) == 1
    assert not alive(started[0])
    assert listing(bundle) == before


def test_an_interrupted_tensorrt_build_is_cancelled_by_its_progress_monitor(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process ends by itself with code 1; a signal would show as a negative code."""
    before = listing(bundle)
    codes: list[int | None] = []
    real = runner._end

    def end(process: subprocess.Popen[bytes], events: IO[bytes]) -> None:
        assert process.poll() is None
        real(process, events)
        codes.append(process.poll())

    def interrupt(event: Event) -> None:
        if event.phase == "compiling":
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_end", end)
    budgets = tuple(64 * i for i in range(1, 13))
    with pytest.raises(KeyboardInterrupt):
        build_engines(bundle, BuildRequest(backend="tensorrt-rtx", token_budgets=budgets), interrupt)
    assert codes == [1]
    assert listing(bundle) == before


def test_each_option_that_decides_the_engine_is_part_of_its_key(bundle: Path) -> None:
    options: list[dict[str, object]] = [
        {},
        {"precision": ("fp16",)},
        {"precision": ("fp32",)},
        {"precision": ("fp32",), "strict": True},
        {"fp32_trunk": True},
        {"targets": ("sm86",)},
        {"token_budgets": (256,)},
        {"max_images": (4,)},
        {"compiler": CompilerOptions(optimization_level=5)},
        {"compiler": CompilerOptions(workspace_bytes=1 << 30)},
        {"compiler": CompilerOptions(max_aux_streams=1)},
        {"compiler": CompilerOptions(version_compatible=True)},
        {"compiler": CompilerOptions(profiling_verbosity="detailed")},
        {"compiler": CompilerOptions(strip_plan=True)},
    ]
    keys = []
    for option in options:
        (item,) = runner.plan_builds(bundle, BuildRequest(backend="tensorrt-rtx", **option))  # type: ignore[arg-type]
        keys += item.keys
    assert len(set(keys)) == len(options)
    (same,) = runner.plan_builds(bundle, BuildRequest(backend="tensorrt-rtx", require_fused=True, lowering="masked"))
    assert same.keys == (keys[0],)  # what only checks or explains is not


def test_the_version_of_the_library_and_of_the_driver_are_part_of_the_key(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(version: str, driver: str) -> set[str]:
        fake = SimpleNamespace(__version__=version, Builder=object)
        monkeypatch.setattr(tensorrt_builder, "_import_tensorrt", lambda: fake)
        monkeypatch.setattr(tensorrt_builder, "device_capability", lambda: 87)
        monkeypatch.setattr("navit_edge.machine.driver.driver_versions", lambda: {"cuda-driver": driver})
        (item,) = runner.plan_builds(bundle, BuildRequest(backend="tensorrt"))
        return set(item.keys)

    assert len(keys("10.8.0.1", "12.6") | keys("10.8.0.2", "12.6") | keys("10.8.0.1", "12.8")) == 3
    assert keys("10.8.0.1", "12.6") == keys("10.8.0.1", "12.6")


def test_an_engine_whose_fusion_was_not_proven_is_built_again_where_that_is_required(bundle: Path) -> None:
    request = BuildRequest(backend="tensorrt-rtx", token_budgets=(512, 4096), targets=("sm89",))
    strictly = BuildRequest(backend="tensorrt-rtx", token_budgets=(512, 4096), targets=("sm89",), require_fused=True)
    build_engines(bundle, request)
    for wanted, phases in ((request, {"already built"}), (strictly, {"proving fusion"}), (strictly, {"already built"})):
        events: list[Event] = []
        build_engines(bundle, wanted, events.append)
        assert phases <= {event.phase for event in events}


def test_a_killed_build_takes_its_process_along_and_the_next_build_sweeps_what_it_left(bundle: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from navit_edge.compile import BuildRequest, build_engines
        def kill(event):
            for path in Path("/proc/self/task").glob("*/children"):
                print(path.read_text(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        build_engines(Path(sys.argv[1]), BuildRequest(backend="openvino", precision=("fp32",)), kill)
    """
    before = listing(bundle)
    command = [sys.executable, "-c", textwrap.dedent(script), str(bundle)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    workers = [int(number) for number in done.stdout.split()]
    assert len(workers) == 1
    deadline = time.monotonic() + 60
    while alive(workers[0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(workers[0])
    assert manifests.load(bundle).engines == ()
    assert listing(bundle) != before
    build_engines(bundle, FP32)
    assert not [name for name in listing(bundle) if name.startswith(".")]


def test_the_working_directory_lends_the_build_no_modules(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise RuntimeError('this is not the library')")
    monkeypatch.chdir(tmp_path)
    (engine,) = build_engines(Path(bundle.name), FP32)
    assert engine.id == "openvino-cpu-fp32"


def test_two_builds_at_once_both_add_their_engine(bundle: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from navit_edge.compile import BuildRequest, build_engines
        backend, precision = sys.argv[2:]
        build_engines(Path(sys.argv[1]), BuildRequest(backend=backend, precision=(precision,), token_budgets=(64,)))
    """
    wanted = [("openvino", "fp32"), ("tensorrt-rtx", "fp16")]
    command = [sys.executable, "-c", textwrap.dedent(script), str(bundle)]
    processes = [subprocess.Popen([*command, *pair]) for pair in wanted]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    manifest = manifests.load(bundle)
    assert {(engine.backend, engine.precision) for engine in manifest.engines} == set(wanted)
    hashing.verify_files(bundle, manifest)
