"""scripts/gpu_check.py, rehearsed with the CPU's engines: what it runs and leaves behind, and which faults it finds."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import navit_edge as ne


def run_gpu_check(
    repository: Path,
    bundle: Path,
    output: Path,
    *options: str,
    backend: str = "openvino",
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    script = repository / "scripts" / "gpu_check.py"
    command = [sys.executable, str(script), "--backend", backend, "--bundle", str(bundle), "--output", str(output)]
    # The suite runs whole in `make test`; here two of its tests show that the step reaches it.
    few = "-k 'results_come_in_input_order or same_run_gives_the_same_bits'"
    return subprocess.run(
        [*command, "--precision", "fp32", "--duration", "0", *options], capture_output=True, text=True, check=False,
        timeout=300, env={**os.environ, "PYTEST_ADDOPTS": few, **(environment or {})},
    )  # fmt: skip


def contents(archive: Path) -> dict[str, bytes]:
    """File name without the folder -> bytes."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        return {Path(member.name).name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def test_one_command_leaves_one_archive_with_every_result_and_the_bundle_as_it_was(
    repository: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in tiny_bundle.rglob("*") if path.is_file()}
    secrets = {
        "MY_API_TOKEN": "s3cr3t-value-1",
        "HTTPS_PROXY": "http://me:hunter22@127.0.0.1:9",
        "USER": "jdoe-private",
    }
    done = run_gpu_check(repository, tiny_bundle, tmp_path / "results.tar.gz", environment=secrets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.read_bytes() for path in tiny_bundle.rglob("*") if path.is_file()} == before

    files = contents(tmp_path / "results.tar.gz")
    summary = json.loads(files["summary.json"])
    assert {step["state"] for step in summary["steps"]} == {"passed"}
    names = [step["name"] for step in summary["steps"]]
    assert names == [
        "environment",
        "build-engine",
        "doctor-bundle",
        "verify",
        "conformance",
        "backend-openvino-cpu-fp32",
        "latency-openvino-cpu-fp32",
        "bench-openvino-cpu-fp32",
    ]
    assert b"2 passed" in files["05-conformance.log"]
    assert summary["versions"]["navit-edge"] == ne.__version__
    assert summary["problem"] is None
    engine = "openvino-cpu-fp32"
    bench = json.loads(files[f"bench-{engine}.json"])
    assert bench["engine"] == engine
    assert files[f"bench-{engine}.png"].startswith(b"\x89PNG")
    (certificate,) = json.loads(files["verify.json"])["engines"]
    assert certificate["engine"] == engine
    assert all(check["holds"] for check in certificate["checks"])
    assert json.loads(files[f"build-{engine}.json"])["id"] == engine
    assert json.loads(files["doctor-bundle.json"])
    assert json.loads(files["doctor.json"])["schema_version"] == 1
    for shared in ("environment", f"backend-{engine}", f"latency-{engine}"):
        found = json.loads(files[f"{shared}.json"])
        assert found["checks"]
        assert all(check["holds"] for check in found["checks"])
    assert json.loads(files[f"latency-{engine}.json"])["values"]["what_ran"] == f"{engine}, built on openvino"
    assert not [name for name in files if name.endswith((".bin", ".blob", ".onnx", ".plan"))], "weights were packed"

    for name, content in files.items():
        for private in ("s3cr3t-value-1", "hunter22", "jdoe-private", str(tmp_path), str(repository)):
            assert private.encode() not in content, f"{private} stands in {name}"
    with tarfile.open(tmp_path / "results.tar.gz") as tar:
        assert {(member.uname, member.gname, member.uid) for member in tar.getmembers()} == {("", "", 0)}


def test_a_build_that_fails_is_in_the_archive_with_its_error_and_what_needs_it_is_skipped(
    repository: Path, bundle_copy: Path, tmp_path: Path
) -> None:
    graph = bundle_copy / "graphs" / "padded.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    done = run_gpu_check(repository, bundle_copy, tmp_path / "results.tar.gz")
    assert done.returncode == 1
    files = contents(tmp_path / "results.tar.gz")
    steps = {step["name"]: step for step in json.loads(files["summary.json"])["steps"]}
    assert steps["build-engine"]["state"] == "failed"
    assert "padded.onnx" in steps["build-engine"]["reason"]
    assert b"padded.onnx" in files[steps["build-engine"]["log"]]
    assert steps["bench"]["state"] == steps["verify"]["state"] == "skipped"
    assert steps["backend"]["state"] == steps["latency"]["state"] == "skipped"
    assert steps["environment"]["state"] == "passed"


def has_gpu() -> bool:
    from navit_edge.machine.probe import run_probe

    return bool(run_probe("cuda").get("gpus"))


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_the_run_ends_at_once_says_so_and_keeps_what_doctor_found(
    repository: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    done = run_gpu_check(repository, tiny_bundle, tmp_path / "results.tar.gz", backend="tensorrt")
    assert done.returncode == 1
    assert "error: no usable NVIDIA GPU on this machine, so nothing was built or measured for tensorrt" in done.stderr
    files = contents(tmp_path / "results.tar.gz")
    steps = {step["name"]: step["state"] for step in json.loads(files["summary.json"])["steps"]}
    assert steps.pop("environment") == "passed"
    assert set(steps) == {"build-engine", "doctor-bundle", "verify", "conformance", "backend", "latency", "bench"}
    assert set(steps.values()) == {"skipped"}
    assert json.loads(files["doctor.json"])["schema_version"] == 1


@pytest.fixture(scope="module")
def scripts(repository: Path) -> Iterator[None]:
    sys.path.insert(0, str(repository / "scripts"))
    yield
    sys.path.remove(str(repository / "scripts"))


def test_a_step_that_hangs_is_ended_and_the_next_one_runs(tmp_path: Path, scripts: None) -> None:
    from check_steps import Check

    check = Check(folder=tmp_path, limit_s=1.0)
    assert not check.run("hangs", [sys.executable, "-u", "-c", "import signal; print('here'); signal.pause()"])
    assert check.run("works", [sys.executable, "-c", "print('fine')"])
    assert not check.run("crashes", [sys.executable, "-c", "import os; os.abort()"])
    first, second, third = check.steps
    assert (first.state, first.reason) == ("failed", "error: no end within 1 s; it said last: here")
    assert (second.state, third.state, third.exit_code) == ("passed", "failed", -6)


def test_a_fault_of_the_script_itself_still_leaves_the_archive(
    repository: Path, tiny_bundle: Path, tmp_path: Path, scripts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu_check

    def faulty(check: Any, arguments: Any, scratch: Path) -> str:
        check.run("first", [sys.executable, "-c", "print('worked')"])
        raise KeyError("unforeseen")

    monkeypatch.setattr(gpu_check, "run_all", faulty)
    output = tmp_path / "results.tar.gz"
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--bundle", str(tiny_bundle), "--output", str(output)])
    with pytest.raises(SystemExit, match="gpu_check itself failed"):
        gpu_check.main()
    files = contents(output)
    assert b"worked" in files["01-first.log"]
    assert "unforeseen" in json.loads(files["summary.json"])["problem"]


def test_names_folders_and_secrets_are_taken_out_of_every_text(tmp_path: Path, scripts: None) -> None:
    from gpu_check_private import Private

    private = Private(
        {Path("/scratch/x1"): "SCRATCH"},
        environment={"HF_TOKEN": "hf_abcdef123", "AUTHOR": "short", "PATH": "/usr/bin", "PIP_PASSWORD": "pw"},
        user="jdoe",
        host="desk7.example.org",
        home=Path("/home/jdoe"),
    )
    text = (
        "/home/jdoe/models/a.navit in /scratch/x1/check.navit on desk7 (desk7.example.org), /data/jdoe/x, "
        "hf_abcdef123, https://jdoe:pw@index.example.org/simple, jdoes, /home/jdoe2/y"
    )
    assert private.clean(text) == (
        "~/models/a.navit in SCRATCH/check.navit on HOST (HOST), /data/USER/x, "
        "***, https://***@index.example.org/simple, jdoes, /home/jdoe2/y"
    )
    (tmp_path / "a.log").write_text(text)
    (tmp_path / "a.png").write_bytes(b"\x89PNG jdoe")
    private.clean_folder(tmp_path)
    assert "jdoe/" not in (tmp_path / "a.log").read_text()
    assert (tmp_path / "a.png").read_bytes() == b"\x89PNG jdoe"


def test_this_machines_own_names_are_known_to_it(scripts: None) -> None:
    from gpu_check_private import Private

    cleaned = Private({}).clean(f"at {socket.gethostname()} in {Path.home()}/x by {getpass.getuser()}")
    if len(socket.gethostname()) > 2 and socket.gethostname() != "localhost":
        assert socket.gethostname() not in cleaned.split()
    assert f"{Path.home()}/x" not in cleaned


def test_what_is_no_bundle_is_refused_before_anything_runs(repository: Path, tmp_path: Path) -> None:
    done = run_gpu_check(repository, tmp_path, tmp_path / "results.tar.gz")
    assert done.returncode == 1
    assert "is not a bundle" in done.stderr
    assert not (tmp_path / "results.tar.gz").exists()
