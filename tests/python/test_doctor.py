"""`navit-edge doctor` on a bundle: what it makes of it, and whether its commands mend anything."""

from __future__ import annotations

import functools
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import openvino
import pytest
from command_line import invoke
from doctor_findings import finding, no_vendor, this_machine

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Engine
from navit_edge.cli import doctor as doctor_command
from navit_edge.cli import terminal
from navit_edge.cli.terminal import Terminal
from navit_edge.doctor import Finding, Report, Section, State, examine
from navit_edge.doctor.engines import Machine, needs, reason_of, remedy
from navit_edge.doctor.nvidia import Nvidia
from navit_edge.doctor.rebuild import recipe_of
from navit_edge.machine.jetson import Jetson


@pytest.fixture
def with_engines(built: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the bundle whose engines are the built one with these fields changed."""

    def make(*changes: dict[str, Any]) -> Path:
        bundle = Path(shutil.copytree(built, tmp_path / "my bundle.navit"))
        manifest = manifests.load(bundle)
        engines = tuple(msgspec.structs.replace(manifest.engines[0], **change) for change in changes)
        manifests.save(msgspec.structs.replace(manifest, engines=engines), bundle)
        return bundle

    return make


GPU_ENGINE = {
    "id": "tensorrt-rtx-sm86+sm89-bf16",
    "backend": "tensorrt-rtx",
    "target": "sm86+sm89",
    "precision": "bf16",
    "dynamic_tokens": False,
    "builder": {"tensorrt-rtx": "1.7.1"},
}


# --- bundles, for real


def test_a_bundle_that_runs_here_ends_with_0_and_names_its_engine(built: Path, tmp_path: Path) -> None:
    written = tmp_path / "doctor.json"
    result = invoke("doctor", built, "--json-file", written)
    assert result.exit_code == 0, result.stderr
    assert "runs here with openvino-cpu-fp32" in result.stdout
    content = json.loads(written.read_text())
    assert set(content) == {"schema_version", "bundle", "usable_engines", "broken", "sections"}
    states = {one["state"] for section in content["sections"] for one in section["findings"]}
    assert states <= {"found", "absent", "hint", "problem"}
    assert content["usable_engines"] == ["openvino-cpu-fp32"]
    assert content["broken"] is None


def test_an_engine_for_a_gpu_is_no_failure_where_another_engine_runs(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines({}, GPU_ENGINE)
    report = examine(bundle, probe=this_machine)
    assert report.usable == ("openvino-cpu-fp32",)
    assert not report.broken
    one = finding(report, "engine tensorrt-rtx-sm86+sm89-bf16")
    assert one.state is (State.PROBLEM if finding(report, "NVIDIA driver").state is State.FOUND else State.ABSENT)
    assert one.facts["needs"] == "backend tensorrt-rtx, sm86+sm89, bf16, built with tensorrt-rtx 1.7.1"


def test_a_bundle_of_which_nothing_runs_ends_with_1_and_its_command_mends_it(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines({"builder": {"openvino": "2020.1.0-1-x"}})
    broken = invoke("doctor", bundle, "--json")
    assert broken.exit_code == 1
    assert "built by OpenVINO 2020.1.0-1-x; this is OpenVINO" in broken.stdout
    assert json.loads(broken.stdout)["broken"] in broken.stderr
    assert "error: no engine of the bundle" in broken.stderr
    assert_mended(bundle, "engine openvino-cpu-fp32")


def test_a_bundle_without_engines_gets_the_command_that_builds_one(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines()
    assert_mended(bundle, "engines")


def test_an_altered_engine_gets_the_command_that_builds_it_again(built: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(built, tmp_path / "altered.navit"))
    file = bundle / manifests.load(bundle).engines[0].file
    file.write_bytes(b"altered" + file.read_bytes()[7:])
    assert_mended(bundle, "engine openvino-cpu-fp32")


def test_a_precision_that_this_cpu_lacks_gets_an_engine_that_it_has(with_engines: Callable[..., Path]) -> None:
    lacking = next(
        name
        for name in ("FP16", "BF16")
        if name not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    ).lower()
    bundle = with_engines({"id": "lacking", "precision": lacking})
    assert_mended(bundle, "engine lacking")


def test_an_engine_for_a_gpu_alone_gets_an_engine_for_the_cpu(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines(GPU_ENGINE)
    report = examine(bundle, probe=no_vendor)
    command = finding(report, "engine tensorrt-rtx-sm86+sm89-bf16").remedy[-1]
    assert report.broken
    run_command(command)
    assert not examine(bundle, probe=this_machine).broken


def run_command(command: str) -> None:
    words = shlex.split(command, comments=True)
    assert words[0] == "navit-edge"
    result = invoke(*words[1:])
    assert result.exit_code == 0, result.stderr


def assert_mended(bundle: Path, name: str) -> None:
    """The first command that doctor gives makes doctor content."""
    report = examine(bundle, probe=this_machine)
    assert report.broken
    (command, *_) = finding(report, name).remedy
    run_command(command)
    assert not examine(bundle, probe=this_machine).broken


def test_what_is_no_bundle_is_said_so(tmp_path: Path) -> None:
    result = invoke("doctor", tmp_path / "nowhere.navit")
    assert result.exit_code == 1
    assert "is not a bundle: no such directory" in result.stderr


# --- remedies on machines that are not here


def machine(*capabilities: int, jetson: bool = False, **fields: Any) -> Machine:
    nvidia = Nvidia(
        driver=bool(capabilities),
        capabilities=capabilities,
        cuda="12.8",
        tensorrt=fields.pop("tensorrt", "10.3.0"),
        lean="",
        rtx=fields.pop("rtx", "1.7.1"),
        findings=(),
    )
    board = Jetson(model="Orin", l4t="36.4.3", jetpack="6.2", packages={}) if jetson else None
    fields.setdefault("backends", frozenset({"openvino", "tensorrt", "tensorrt-rtx"}))
    return Machine(nvidia=nvidia, board=board, openvino="2026.4.1", **fields)


@pytest.fixture(scope="module")
def engine(built: Path) -> Engine:
    return manifests.load(built).engines[0]


@pytest.mark.parametrize(
    ("change", "where", "expected"),
    [
        pytest.param(GPU_ENGINE, machine(120), "--backend tensorrt-rtx --precision bf16 --target sm120", id="new card"),
        pytest.param(GPU_ENGINE, machine(75), "--backend tensorrt-rtx --precision fp16 --target sm75", id="no bf16"),
        pytest.param(GPU_ENGINE, machine(87), "--backend tensorrt --precision bf16", id="no RTX for Orin"),
        pytest.param(GPU_ENGINE, machine(86, rtx=""), 'pip install "navit-edge[tensorrt-rtx]"', id="no library"),
        pytest.param(
            GPU_ENGINE, machine(86, backends=frozenset()), "TensorRT_RTX_ROOT=/path/to/TensorRT-RTX pip install .",
            id="no backend",
        ),
        pytest.param(
            GPU_ENGINE, machine(86), "--backend tensorrt-rtx --precision bf16 --target sm86,sm89 --force",
            id="another version",
        ),
        pytest.param(GPU_ENGINE, machine(), "--backend openvino", id="no GPU"),
        pytest.param(
            {"backend": "tensorrt", "target": "sm87", "precision": "fp16"}, machine(87, jetson=True, tensorrt=""),
            "sudo apt install nvidia-jetpack", id="Jetson without TensorRT",
        ),
        pytest.param(
            {"backend": "tensorrt", "target": "sm87", "precision": "fp16"}, machine(87, jetson=True),
            "--backend tensorrt --precision fp16 --force", id="Jetson, another version",
        ),
        pytest.param(
            {"backend": "tensorrt", "target": "sm87", "precision": "fp16"}, machine(86, tensorrt=""),
            "--backend tensorrt --precision fp16", id="Orin's engine on a card",
        ),
    ],
)  # fmt: skip
def test_each_mismatch_gets_its_command(
    engine: Engine, built: Path, change: dict[str, Any], where: Machine, expected: str
) -> None:
    changed = msgspec.structs.replace(engine, **change)
    recipe = recipe_of(built, manifests.load(built), changed)
    (first, *_) = remedy(Path("my bundle.navit"), changed, where, {"error": "x", "kind": "BackendError"}, recipe)
    if expected.startswith("--"):
        expected = f"navit-edge build-engine 'my bundle.navit' {expected}"
    # Budgets, kept from the built engine, stand between target and --force.
    first = first.replace(" --token-budgets 16384 --max-images 1024", "")
    assert first.partition("  #")[0] == expected


def test_commands_for_rtx_cards_are_accepted_by_build_engine(engine: Engine, built: Path) -> None:
    for capability in (75, 120):
        changed = msgspec.structs.replace(engine, **GPU_ENGINE)
        recipe = recipe_of(built, manifests.load(built), changed)
        (command,) = remedy(built, changed, machine(capability), {"error": "x", "kind": "BackendError"}, recipe)
        run_command(f"{command} --dry-run")


def test_a_reason_is_one_line_without_frame_and_advice() -> None:
    error = (
        "engine a cannot run here: built by X 1; this is X 2, which cannot open it; "
        "rebuild it here: navit-edge build-engine BUNDLE\n`navit-edge doctor b` shows how to fix it"
    )
    assert reason_of("a", error) == "built by X 1; this is X 2, which cannot open it"
    lists = "engine a cannot run here: backend 'b' did not load: /y/b.so: bad; install it\ntried:\n  /x/b.so: none"
    assert reason_of("a", lists) == "backend 'b' did not load: /y/b.so: bad"
    assert reason_of("a", "manifest is damaged") == "manifest is damaged"


def test_needs_name_backend_target_precision_and_versions(engine: Engine) -> None:
    assert needs(engine) == f"backend openvino, a CPU, fp32, built with openvino {openvino.get_version()}"


def test_a_command_is_printed_on_one_line_however_narrow_the_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "navit-edge build-engine a_bundle_of_some_length.navit --backend openvino --precision fp32 --force"
    finding = Finding("engine x", State.PROBLEM, "does not run here: it needs something else", remedy=(command,))
    narrow = functools.partial(Terminal, width=60, force_terminal=True, color_system=None)
    monkeypatch.setattr(terminal, "Terminal", narrow)
    doctor_command._print(Report(sections=(Section(name="bundle b", findings=(finding,)),)))
    assert f"    $ {command}" in capsys.readouterr().out.splitlines()
