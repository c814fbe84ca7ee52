"""scripts/gpu_check.py, rehearsed with the CPU's engines: what it runs and leaves behind, and which faults it finds."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import navit_edge as ne


def run_gpu_check(repository: Path, bundle: Path, output: Path) -> subprocess.CompletedProcess[str]:
    script = repository / "scripts" / "gpu_check.py"
    command = [sys.executable, str(script), "--backend", "openvino", "--bundle", str(bundle), "--output", str(output)]
    return subprocess.run(
        [*command, "--precision", "fp32", "--duration", "0"], capture_output=True, text=True, check=False, timeout=300
    )


def contents(archive: Path) -> dict[str, bytes]:
    """File name without the folder -> bytes."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        return {Path(member.name).name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def engine_checks(repository: Path) -> Iterator[Any]:
    sys.path.insert(0, str(repository / "scripts"))
    import engine_checks as module

    yield module
    sys.path.remove(str(repository / "scripts"))


def test_one_command_leaves_one_archive_with_every_result_and_the_bundle_as_it_was(
    repository: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in tiny_bundle.rglob("*") if path.is_file()}
    done = run_gpu_check(repository, tiny_bundle, tmp_path / "results.tar.gz")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.read_bytes() for path in tiny_bundle.rglob("*") if path.is_file()} == before

    files = contents(tmp_path / "results.tar.gz")
    summary = json.loads(files["summary.json"])
    assert {step["state"] for step in summary["steps"]} == {"passed"}
    engine = "openvino-cpu-fp32"
    bench = json.loads(files[f"bench-{engine}.json"])
    assert bench["engine"] == engine
    assert files[f"bench-{engine}.png"].startswith(b"\x89PNG")
    assert json.loads(files["engine-checks.json"])[engine]["failures"] == []
    assert json.loads(files[f"build-{engine}.json"])["id"] == engine
    assert json.loads(files["doctor-bundle.json"])
    assert any("verify" in line for line in summary["not_run"])
    assert not [name for name in files if name.endswith((".bin", ".blob", ".onnx", ".plan"))], "weights were packed"


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
    assert steps["bench"]["state"] == steps["engine-checks"]["state"] == "skipped"
    assert steps["doctor"]["state"] == "passed"


def test_what_is_no_bundle_is_refused_before_anything_runs(repository: Path, tmp_path: Path) -> None:
    done = run_gpu_check(repository, tmp_path, tmp_path / "results.tar.gz")
    assert done.returncode == 1
    assert "is not a bundle" in done.stderr
    assert not (tmp_path / "results.tar.gz").exists()


def test_the_checks_pass_a_right_engine_and_name_a_wrong_one(tiny_bundle: Path, engine_checks: Any) -> None:
    manifest = ne.load_manifest(tiny_bundle)
    engine = next(one for one in manifest.engines if one.precision == "fp32")
    images = engine_checks.make_images(manifest)
    name, right = engine_checks.float32_reference(tiny_bundle, manifest, "tensorrt", images)
    found = engine_checks.examine(tiny_bundle, manifest, engine, images, (name, right))
    assert found["failures"] == []
    assert found["most images in a pack"] > 1
    assert found["least cosine to float32"] > 0.99999

    # Every image with the outputs of another: what a mixed-up order or a leak between images would look like.
    pooled = [{key: value for key, value in one.items() if key != "tokens"} for one in right]
    rotated = [*pooled[1:], pooled[0]]
    failures = engine_checks.examine(tiny_bundle, manifest, engine, images, (name, rotated))["failures"]
    assert len(failures) == 1
    assert failures[0].startswith(f"least cosine to {name}")


def test_differences_are_relative_to_the_largest_value_of_each_output(engine_checks: Any) -> None:
    import numpy as np

    theirs = [{"logits": np.array([4.0, -8.0], np.float32)}, {"logits": np.array([1.0, 2.0], np.float32)}]
    ours = [{"logits": np.array([4.0, -8.0], np.float32)}, {"logits": np.array([1.0, 1.0], np.float32)}]
    assert engine_checks.largest_difference(ours, theirs) == pytest.approx(1 / 8)
    assert engine_checks.same_bits(ours[:1], theirs[:1])
    assert not engine_checks.same_bits(ours, theirs)
    assert engine_checks.least_cosine(ours, theirs) == pytest.approx(3 / np.sqrt(2 * 5))


@pytest.mark.parametrize("change", ["leak", "noise", "infinite"])
def test_a_leak_between_images_noise_and_infinities_are_found(
    tiny_bundle: Path, engine_checks: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The same checks on a session whose outputs are spoilt on the way."""
    import numpy as np

    manifest = ne.load_manifest(tiny_bundle)
    engine = next(one for one in manifest.engines if one.precision == "fp32")
    rng = np.random.default_rng(0)
    honest = engine_checks.outputs_of

    def spoilt(results: Any) -> Any:
        outputs = honest(results)
        if change == "leak":
            outputs[-1]["logits"] += 1e-6 * sum(one["embedding"].sum() for one in outputs[:-1])
        elif change == "noise":
            for one in outputs:
                one["logits"] += rng.normal(0, 1e-5, one["logits"].shape).astype(np.float32)
        else:
            outputs[-1]["logits"][0] = np.inf
        return outputs

    monkeypatch.setattr(engine_checks, "outputs_of", spoilt)
    images = engine_checks.make_images(manifest)
    failures = engine_checks.examine(tiny_bundle, manifest, engine, images, None)["failures"]
    expected = {"leak": "others unchanged", "noise": "the same run twice", "infinite": "not finite"}[change]
    assert any(expected in failure for failure in failures), failures
