"""The command line as a whole: its help, and how a command ends: wrong usage, failures, bugs, interrupts."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import COMMAND, invoke, words
from tiny_bundle import TinyConfig, make_bundle

from navit_edge import compile as build_package
from navit_edge.bundle import manifest as manifests


def test_help_lists_the_commands_and_each_has_its_own() -> None:
    text = invoke("--help").stdout
    for name in ("export", "quantize", "build-engine", "run", "inspect", "bench", "doctor"):
        assert name in text
        result = invoke(name, "--help")
        assert result.exit_code == 0
        assert "Usage: " in result.stdout
    assert 'pip install "navit-edge[export]"' in invoke("export", "--help").stdout


def test_the_version_is_shown() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("navit-edge ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["explode"],
        ["run"],
        ["export", "--model", "s17", "-o", "x.navit"],
        ["export", "--model", "s16"],
        ["export", "-o", "x.navit"],
        ["build-engine", "x.navit", "--surprise"],
        ["run", "x.navit", "a.png", "--device", "tpu"],
        ["run", "x.navit", "a.png", "--top-k", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "onnx"], "unknown backend 'onnx'; known: openvino, tensorrt-rtx, tensorrt"),
        (["--precision", "int4"], "unknown precision 'int4'; known: fp32, fp16, bf16, int8, fp8"),
        (
            ["--backend", "tensorrt-rtx", "--precision", "fp8"],
            "fp8 for sm86; it can do bf16, fp16, fp32, int8; fp8 needs sm89",
        ),
        (["--strip-plan", "--workspace", "1G"], "--workspace, --strip-plan with openvino, which has no such option"),
        (["--backend", "tensorrt", "--workspace", "much"], "workspace 'much'; expected a size such as 512"),
        (["--lowering", "packed"], "lowering packed for openvino, which has no such kernel; it can do padded, masked"),
        (
            ["--backend", "tensorrt-rtx", "--target", "sm87"],
            "unknown target 'sm87' for tensorrt-rtx; known: sm75, sm80",
        ),
        (["--backend", "tensorrt-rtx", "--target", "sm75", "--precision", "bf16"], "bf16 for sm75; it can do fp16"),
        (["--token-budgets", "256,many"], "token budgets '256,many'; expected whole numbers"),
        (["--token-budgets", "0"], "token budget 0; expected 1 to"),
        (["--max-images", "1,2"], "expected one for all or one for each"),
    ],
)
def test_a_build_that_is_asked_for_wrongly_ends_with_2_and_what_is_known(
    built: Path, options: list[str], message: str
) -> None:
    result = invoke("build-engine", built, *options)
    assert result.exit_code == 2
    assert message in words(result.stderr)


def test_a_failure_ends_with_1_and_one_paragraph(tmp_path: Path) -> None:
    for command in (["inspect"], ["build-engine"], ["run"]):
        tail = ["a.png"] if command == ["run"] else []
        done = subprocess.run(
            [*COMMAND, *command, str(tmp_path / "gone.navit"), *tail], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        assert "gone.navit" in lines[0]


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_traceback_is_shown_only_with_debug(tmp_path: Path, place: str) -> None:
    arguments = ["inspect", str(tmp_path / "gone.navit")]
    with_debug = ["--debug", *arguments] if place == "before" else [*arguments, "--debug"]
    for args, shown in ((arguments, False), (with_debug, True)):
        done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == shown
        assert "error: " in done.stderr


def test_a_bug_is_called_one(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise TypeError("unforeseen")

    monkeypatch.setattr(manifests, "load", broken)
    result = invoke("inspect", built)
    assert result.exit_code == 1
    assert "unexpected TypeError: unforeseen; this is a bug" in result.stderr


def test_an_interrupt_ends_with_130(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_package, "build_engines", interrupted)
    result = invoke("build-engine", built)
    assert result.exit_code == 130
    assert result.stderr.strip().endswith("interrupted")


def test_ctrl_c_during_a_build_ends_it_and_leaves_the_bundle_as_it_was(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "wide.navit", TinyConfig(width=384, depth=6, heads=6, patch_px=16))
    before = sorted(bundle.rglob("*"))
    budgets = ",".join(str(256 * i) for i in range(1, 17))
    command = [*COMMAND, "build-engine", str(bundle), "--backend", "tensorrt-rtx", "--token-budgets", budgets]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored where tests run with &
    )
    deadline = time.monotonic() + 60
    while not list(bundle.glob(".building-*/build.log")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert sorted(bundle.rglob("*")) == before


def test_a_reader_that_leaves_early_is_no_error(built: Path) -> None:
    command = [*COMMAND, "inspect", str(built), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
