"""Errors as a person meets them: the fix first, a few lines, the rest behind --debug."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import COMMAND, invoke

from navit_edge.bundle import manifest as manifests
from navit_edge.cli import common
from navit_edge.errors import BackendError


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return bundle


def run(bundle: Path, *options: str, debug: bool = False) -> list[str]:
    """The lines on standard error of a run that fails."""
    arguments = [*COMMAND, *(["--debug"] if debug else []), "run", str(bundle), __file__, *options]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (("run",), "error: BUNDLE is missing"),
        (("run", "b", "i", "--device", "tpu"), "error: --device: 'tpu' is not one of 'auto', 'cpu', 'gpu', 'npu'"),
        (("run", "b", "i", "--top-k", "many"), "error: --top-k: expected a whole number"),
        (("inspect", "b", "c"), "error: c: unexpected"),
        (("inspect", "b", "--explode"), "error: --explode: no such option"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_first_and_then_how_the_command_is_used(arguments: tuple[str, ...], first: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert [line.partition(" [OPTIONS]")[0] for line in result.stderr.splitlines()] == [
        first,
        f"usage: navit-edge {arguments[0]}",
    ]
    assert f"navit-edge {arguments[0]} --help" in result.stderr


def test_an_unknown_command_is_named_and_help_leads_to_the_known_ones() -> None:
    first, second = invoke("inspekt").stderr.splitlines()
    assert first.startswith("error: inspekt: no such command")
    assert second.endswith("(navit-edge --help)")


def test_a_gpu_asked_of_a_bundle_for_cpus_is_told_what_is_there_and_never_openvino(built: Path) -> None:
    (line,) = run(built, "--device", "gpu")
    engine = manifests.load(built).engines[0].id
    assert f"{built} has no engine for device gpu; it has {engine} (cpu, " in line
    assert f"or build one: `navit-edge build-engine {built} --backend tensorrt-rtx`" in line
    assert "--backend openvino" not in line


def test_no_engine_runs_here_names_doctor_and_lists_what_was_tried_only_with_debug(bundle_copy: Path) -> None:
    def elsewhere(manifest: dict[str, Any]) -> None:
        for engine in manifest["engines"]:
            engine["backend"] = "imaginary"

    edit(bundle_copy, elsewhere)
    lines = run(bundle_copy)
    assert lines[0] == (
        f"error: no engine of the bundle {bundle_copy} can run here; "
        f"`navit-edge doctor {bundle_copy}` shows how to fix it:"
    )
    assert len(lines) == 2
    assert lines[1].endswith("name the directory of its plug-in in NAVIT_EDGE_BACKEND_DIR")
    assert not any("no such file" in line for line in lines)
    loud = run(bundle_copy, debug=True)
    assert sum("libnavit_edge_imaginary.so: no such file" in line for line in loud) >= 2
    assert any("Traceback" in line for line in loud)


def test_debug_ends_with_its_command(bundle_copy: Path) -> None:
    edit(bundle_copy, lambda manifest: manifest.pop("engines"))
    for options, shown in (((), False), (("--debug",), True), ((), False)):
        assert ("Traceback" in invoke(*options, "run", bundle_copy, __file__).stderr) == shown
    assert not os.environ.get("NAVIT_EDGE_DEBUG")


def test_an_engine_of_another_release_of_openvino_is_rebuilt_by_the_command_that_is_shown(bundle_copy: Path) -> None:
    def older(manifest: dict[str, Any]) -> None:
        for engine in manifest["engines"]:
            engine["builder"]["openvino"] = "2024.0.0-1-old"

    edit(bundle_copy, older)
    lines = run(bundle_copy)
    assert len(lines) == 2
    assert "built by OpenVINO 2024.0.0-1-old; this is OpenVINO " in lines[1]
    assert f"navit-edge build-engine {bundle_copy} --backend openvino" in lines[1]


def test_a_long_error_is_cut_with_the_rest_behind_debug(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> None:
        raise BackendError("\n".join(f"line {k}" for k in range(40)))

    monkeypatch.setattr(manifests, "load", fails)
    lines = invoke("inspect", built).stderr.splitlines()
    assert lines[:2] == ["error: line 0", "  line 1"]
    assert len(lines) == common.MOST_LINES
    assert lines[-1] == "  and 29 more lines, which --debug shows"
    assert "  line 39" in invoke("--debug", "inspect", built).stderr.splitlines()
