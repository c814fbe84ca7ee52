"""The steps of scripts/proof that open sessions, on an engine that was built: what `make gpu-check` runs of them.

On the stand-in for TensorRT they are part of the rehearsal in test_gpu_proof.py. Here the engine is OpenVINO's, or one
of TensorRT's on the stand-ins of tests/simulator, which show our host logic and not how NVIDIA's libraries behave.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorrt_build as trt

if TYPE_CHECKING:
    from proof.backend import Bench
    from proof.results import Results
    from proof.subject import Subject

BUDGETS = [(64, 4), (256, 8)]
ENGINE = "openvino-cpu-fp32"


@pytest.fixture(autouse=True)
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))


@pytest.fixture
def results(scripts: None, tmp_path: Path) -> Results:
    from proof.results import Results

    return Results(file=tmp_path / "step.json", limit_s=1e9)


@pytest.fixture
def subject(scripts: None, tiny_bundle: Path, tmp_path: Path) -> Iterator[Subject]:
    from proof import subject as subjects
    from proof.settings import Settings

    settings = Settings(device="cpu", quick=True, bundle=tiny_bundle, backend="openvino", engine=ENGINE)
    with subjects.opened(settings, tmp_path / "unused.navit") as one:
        yield one


@pytest.fixture
def bench(subject: Subject) -> Bench:
    from proof import backend
    from proof.settings import Settings

    images = backend.random_images(5)
    settings = Settings(device="cpu", quick=True)
    return backend.Bench(subject=subject, images=images, expected=backend._expected(settings, subject, images))


def step(name: str, repository: Path, bundle: Path, file: Path, tree: Path) -> dict[str, Any]:
    """A step on TensorRT's engine of a bundle, in a process that finds the simulated libraries; its JSON."""
    folders = [tree / "simulator" / name for name in ("cuda", "cudart", "nvinfer")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NAVIT_EDGE_")}
    environment |= {
        "LD_LIBRARY_PATH": ":".join(map(str, folders)), "PYTHONPATH": str(repository / "scripts"),
        "NAVIT_EDGE_TENSORRT_DIR": str(repository / "tests" / "simulator"),  # no wheel of NVIDIA's
    }  # fmt: skip
    command = [sys.executable, "-m", "proof.steps", name, "--device", "cpu", "--quick", "--bundle", str(bundle)]
    command += ["--file", str(file), "--limit", "200", "--libraries", str(tree)]
    command += ["--backend", "tensorrt", "--engine", "tensorrt-test"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_simulated_the_steps_judge_an_engine_of_tensorrts_that_was_built(
    repository: Path, bundle_copy: Path, tmp_path: Path
) -> None:
    tree = trt.build()
    trt.with_tensorrt_engine(bundle_copy, trt.simulated_plan(bundle_copy / "graphs" / "masked.onnx", BUDGETS), BUDGETS)
    found = step("backend", repository, bundle_copy, tmp_path / "backend.json", tree)
    names = [check["name"] for check in found["checks"]]
    assert found["values"]["what_ran"] == "tensorrt-test, built on tensorrt"
    for due in (
        "one slot: 1 slots", "CUDA graphs demanded: CUDA graphs: captured", "no CUDA graphs: CUDA graphs: off",
        "mapped memory: mapped memory", "copied memory: pinned memory",
        "foreign plans, no plan of TensorRT's: says 'TensorRT 10.14.1 cannot open the engine'",
        "8 sessions: bytes that the device has not back",
    ):  # fmt: skip
        assert due in names
    assert not [name for name in names if "stand-in" in name or "too little memory" in name]
    loads = step("latency", repository, bundle_copy, tmp_path / "latency.json", tree)["values"]["loads"]
    assert [load["share_of_peak"] for load in loads] == [0.5, 0.7, 0.9]
    assert {budget["tokens"] for load in loads for budget in load["budgets"]} <= {64, 256}


def test_a_session_that_mixes_images_up_is_found(bench: Bench, results: Results) -> None:
    from proof import backend
    from proof.settings import Settings

    settings = Settings(device="cpu", quick=True)
    backend._examine(backend.DEFAULT, bench, settings, results)
    assert results.failed == []
    pooled = [{"embedding": one["embedding"]} for one in bench.expected[::-1]]
    backend._close("mixed up", _embeddings(bench), pooled, bench, results)
    assert results.failed == ["mixed up, relative difference", "mixed up, cosine"]


def _embeddings(bench: Bench) -> list[Any]:
    """Results of which only the embedding is there."""
    with bench.subject.session(slots=1) as session:
        return [
            SimpleNamespace(logits=None, embedding=result.embedding, tokens=None)
            for result in session.run(list(bench.images))
        ]


def test_memory_that_sessions_keep_is_found(bench: Bench, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    from proof import backend
    from proof.subject import Subject

    free = iter(range(1 << 40, 0, -(8 << 20)))  # each session keeps eight MiB
    leaking = SimpleNamespace(free_bytes=lambda: next(free))
    monkeypatch.setattr(Subject, "opened_cuda", lambda self: leaking)
    backend._come_and_go(bench, results, count=5)
    assert results.failed == []
    backend._come_and_go(bench, results, count=6)
    assert results.failed == ["6 sessions: bytes that the device has not back"]


def test_a_result_under_load_that_is_another_images_is_found(subject: Subject) -> None:
    from proof import latency

    images = latency.images_for(subject, 4)
    with subject.session() as session:
        alone = [session.submit(image).result() for image in images]
        limits, due, chosen = np.full(len(images), 60.0), np.zeros(8), np.arange(8) % len(images)
        load, apart = latency.offered(session, images, due, chosen, limits=limits, alone=alone)
        assert apart <= subject.limit.max_relative
        assert load.met.all()
        assert list(load.tokens) == [alone[i].token_count for i in chosen]
        _, apart = latency.offered(session, images, due, chosen, limits=limits, alone=alone[::-1])
        assert apart > subject.limit.max_relative


def test_images_of_a_load_are_told_apart_by_the_budget_that_they_ran_in() -> None:
    from proof.latency import by_budget

    from navit_edge.bench.open_loop import Load

    load = Load(
        due=np.array([0.0, 1.0, 2.0, 3.0]), done=np.array([0.010, 1.020, 2.030, 3.500]), limit=np.full(4, 0.1),
        tokens=np.array([32, 64, 100, 156]), packs=np.array([0, 1, 2, 2]), pack_tokens=np.array([64, 64, 256, 256]),
        late_sends=0.0,
    )  # fmt: skip
    small, large = by_budget(load)
    assert (small["tokens"], small["images"], small["packs"], small["met"]) == (64, 2, 2, 1.0)
    assert (small["fill"], small["most_fill"]) == (0.75, 1.0)
    assert (large["tokens"], large["images"], large["packs"], large["met"]) == (256, 2, 1, 0.5)
    assert (large["fill"], large["most_fill"]) == (1.0, 1.0)
    assert small["latency_ms_p50"] == pytest.approx(10)
    assert large["latency_ms_p99"] == pytest.approx(500)


def test_every_budget_has_an_image_and_none_is_beyond_the_largest(subject: Subject) -> None:
    from proof.latency import images_for

    patches = [image.shape[0] * image.shape[1] // 16**2 for image in images_for(subject, 12)]
    assert len(patches) == 12
    assert max(patches) <= subject.budgets[-1]
    assert min(patches) >= 1
