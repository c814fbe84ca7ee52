"""scripts/gpu_proof.py, rehearsed on the CPU: its steps, its interpreter of ONNX, and that it finds what is wrong."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import tensorrt_build as trt
import torch
from onnx_sessions import open_graph, run_graph

from navit_edge.bundle import manifest as manifests
from navit_edge.verify.verify import TOLERANCES
from navit_edge_export.preprocess import pack

if TYPE_CHECKING:
    from proof.results import Results

STEPS = ["environment", "lean", "backend", "numbers", "packing", "pixels", "latency", "memcheck"]
LOWERINGS = ("masked", "padded")
CASES = {
    "two slots", "one slot", "CUDA graphs demanded", "no CUDA graphs", "captures refused", "mapped memory",
    "copied memory",
}  # fmt: skip
FORMS = {"masked", "varlen", "padded", "alone"}
SIMULATED = "rehearsed on a simulated CUDA, on the CPU: no figure of a GPU"
#: What has to be among the checks of a step: the beginning of its name, and whether it is a number with a limit.
DUE = {
    "lean": [("lean runtime", False)],
    "backend": [
        ("two slots: 2 slots", False), ("one slot: 1 slots", False), ("mapped memory: mapped memory", False),
        ("copied memory: pinned memory", False), ("captures refused: CUDA graphs: fallback", False),
        ("too little memory: says 'out of memory at slot 1 of 1'", False),
        ("foreign plans, no plan of TensorRT's: says 'rebuild it here'", False),
        ("foreign plans, a plan of another version: says 'the engine was built by TensorRT 10.3.0", False),
        ("8 sessions: bytes that the device has not back", True), ("two slots: together, relative difference", True),
    ],
    "packing": [("forms without coefficients of the cost model", True), ("tiny, masked, us: mean error", True)],
    "latency": [
        ("each image alone runs in the smallest budget that holds it", False), ("budgets that images need", True),
        *((f"load {share}: {what}", True) for share in (0.5, 0.7, 0.9) for what in ("as alone", "deadlines that")),
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))


@pytest.fixture
def results(scripts: None, tmp_path: Path) -> Results:
    from proof.results import Results

    return Results(file=tmp_path / "step.json", limit_s=1e9)


def test_the_rehearsal_on_a_cpu_passes_every_step(repository: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    libraries = trt.build()
    command = [sys.executable, str(repository / "scripts" / "gpu_proof.py"), "--device", "cpu", "--quick"]
    command += ["--bundle", str(tiny_bundle), "--output", str(tmp_path / "proof")]
    command += ["--libraries", str(libraries)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads((tmp_path / "proof" / "summary.json").read_text())["steps"]
    assert list(steps) == STEPS
    found = {name: json.loads((tmp_path / "proof" / f"{name}.json").read_text()) for name in steps}
    assert all(check["holds"] for step in found.values() for check in step["checks"])
    assert all(step["checks"] for name, step in found.items() if name != "memcheck")
    assert found["memcheck"]["values"] == {"left_out": "no CUDA"}
    for name, due in DUE.items():
        for begins, limited in due:
            checks = [check for check in found[name]["checks"] if check["name"].startswith(begins)]
            assert checks, f"{name} has no check {begins!r}"
            assert all(("most" in check or "least" in check) == limited for check in checks)
    backend = found["backend"]["values"]
    assert backend["what_ran"] == SIMULATED
    timed = {name: told for name, told in backend.items() if isinstance(told, dict) and "run_us" in told}
    assert set(timed) == CASES
    assert all(told["label"] == SIMULATED for told in timed.values())
    assert backend["events of the simulated CUDA"]["child graph"] > 0
    assert backend["events of the simulated CUDA"]["replay"] > backend["events of the simulated CUDA"]["child graph"]
    assert f"({SIMULATED})" in done.stdout
    latency = found["latency"]["values"]
    assert latency["left_out"] == []
    assert [row["share_of_peak"] for row in latency["loads"]] == [0.5, 0.7, 0.9]
    for row in latency["loads"]:
        assert row["label"] == SIMULATED
        assert row["images"] == sum(budget["images"] for budget in row["budgets"]) > 0
        assert {budget["tokens"] for budget in row["budgets"]} <= {64, 256}
        assert all(0 < budget["fill"] <= 1 for budget in row["budgets"])
    assert set(found["numbers"]["values"]) == {
        f"{one} {mode}" for one in LOWERINGS for mode in ("fp32", "bf16", "fp16")
    }
    rows = found["packing"]["values"]["rows"]
    assert {row["form"] for row in rows} == FORMS
    assert not [row for row in rows if "error" in row]
    assert found["packing"]["values"]["left_out"] == []
    assert set(found["pixels"]["values"]["images_per_s"]) == {"decode", "preprocess", "copy", "model"}
    assert "none of TensorRT's" in done.stdout


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_the_interpreter_gives_what_onnx_runtime_gives(tiny_bundle: Path, lowering: str) -> None:
    from proof.graph_numbers import FEW, random_images
    from proof.onnx_on_torch import Graph, load

    file = tiny_bundle / "graphs" / f"{lowering}.onnx"
    inputs = pack(random_images(FEW, seed=3), patch_px=16, padding_tokens=5, padding_images=1).inputs()
    expected = run_graph(open_graph(file), inputs)
    narrow = Graph(load(file), device="cpu").run(inputs)
    wide = Graph(load(file), device="cpu", wide=True).run(inputs)
    for name, value in expected.items():
        scale = np.abs(value).max()
        assert np.abs(narrow[name] - value).max() < 1e-5 * scale
        assert np.abs(wide[name] - value).max() < 1e-5 * scale
        assert not np.array_equal(wide[name], wide[name].astype(np.float32)), "float64 has more digits than float32"


def leaking(model: onnx.ModelProto) -> None:
    """Every token attends to every other: ids are compared with themselves."""
    of_ids = {
        node.output[0] for node in model.graph.node if node.op_type == "Unsqueeze" and node.input[0] == "segment_ids"
    }
    (equal,) = [node for node in model.graph.node if node.op_type == "Equal" and of_ids.issuperset(node.input)]
    equal.input[1] = equal.input[0]


def test_a_graph_whose_images_see_each_other_is_found(
    tiny_bundle: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proof import graph_numbers
    from proof.settings import Settings

    settings = Settings(device="cpu", quick=True, bundle=tiny_bundle)
    graph = next(one for one in manifests.load(tiny_bundle).graphs if one.lowering == "masked")
    images = graph_numbers.random_images(graph_numbers.FEW, seed=0)
    limit = TOLERANCES["fp32"]
    load: Callable[[Path], onnx.ModelProto] = graph_numbers.load

    def broken(file: Path) -> onnx.ModelProto:
        model = load(file)
        leaking(model)
        return model

    good = graph_numbers.Model(graph, None, settings=settings, prefix=0).run(images)[:-1]
    monkeypatch.setattr(graph_numbers, "load", broken)
    model = graph_numbers.Model(graph, graph_numbers.Mode("fp32"), settings=settings, prefix=0)
    graph_numbers.examine(model, images, good, limit, "leaking", results)
    failed = " ".join(results.failed)
    assert "leaking: other pixels in the other images change nothing" in failed
    assert "leaking: other bytes in the padding change nothing" in failed
    assert "leaking: against float64, tokens" in failed


def test_a_form_that_attends_to_other_images_is_told_from_one_that_does_not() -> None:
    from proof import packing

    blocks = packing.Blocks(packing.TINY, device="cpu", dtype=torch.float32)
    load = packing.loads((96,), uniform_total=96, uniform=(16,))[0]
    assert sum(load.lengths) == 96
    assert len(load.lengths) > 1
    x = torch.randn(96, packing.TINY.width, generator=torch.Generator().manual_seed(0))
    alone = packing.form_of("alone", blocks, load, x)[0]()
    masked = packing.form_of("masked", blocks, load, x)[0]()
    assert packing.worst_token(masked, alone) < packing.MOST_APART[torch.float32]
    flex, kernel = packing.form_of("flex", blocks, load, x)  # left out of the quick rehearsal
    assert kernel == "flex_attention"
    assert packing.worst_token(flex(), alone) < packing.MOST_APART[torch.float32]
    mixed = blocks.run(x[None], packing.dense)[0]
    assert packing.worst_token(mixed, alone) > packing.MOST_APART[torch.bfloat16]


def test_coefficients_of_the_cost_model_are_found_again() -> None:
    from proof.packing import _costs

    rows: list[dict[str, Any]] = [
        {"size": "S", "form": "masked", "computed_tokens": t, "scores": s, "us": 100 + 0.5 * t + 2e-4 * s}
        for t, s in ((64, 64**2), (256, 256**2), (1024, 1024**2), (1024, 4 * 256**2), (4096, 4096**2))
    ]
    (cost,) = _costs(rows).values()
    assert cost["fixed_us"] == pytest.approx(100, rel=1e-6)
    assert cost["us_per_token"] == pytest.approx(0.5, rel=1e-6)
    assert cost["us_per_score"] == pytest.approx(2e-4, rel=1e-6)


def test_the_limits_of_all_steps_are_eight_minutes() -> None:
    from proof.steps import STEPS as STEPS_OF_THE_KIT

    assert [step.name for step in STEPS_OF_THE_KIT] == STEPS
    assert sum(step.limit_s for step in STEPS_OF_THE_KIT) == 480


def test_a_check_holds_within_its_limits_only_and_nan_never_does(results: Results) -> None:
    assert results.check("within", 1.0, most=1.0)
    assert not results.check("above", 1.1, most=1.0)
    assert not results.check("below", 0.9, least=1.0)
    assert not results.check("nan", float("nan"), most=1.0)
    assert not results.check("false", False)
    assert results.failed == ["above", "below", "nan", "false"]
    assert [check["value"] for check in json.loads(results.file.read_text())["checks"]] == [1.0, 1.1, 0.9, None, False]


def test_a_second_run_runs_what_has_not_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_proof
    from check_steps import Step

    ran: list[str] = []
    fails = {"packing"}

    def run_step(check: object, step: Any, arguments: object, bundle: object) -> Step:
        ran.append(step.name)
        return Step(name=step.name, state="failed" if step.name in fails else "passed", reason="")

    monkeypatch.setattr(gpu_proof, "run_step", run_step)
    wanted = STEPS

    def run(**changed: object) -> list[str]:
        ran.clear()
        given = {"device": "cpu", "quick": True, "bundle": tmp_path, "output": tmp_path, "again": False, **changed}
        gpu_proof.run_all(argparse.Namespace(**given), wanted)
        return list(ran)

    assert run() == wanted
    assert run() == ["packing"]
    fails.clear()
    assert run() == ["packing"]
    assert run() == []
    assert run(again=True) == wanted
    assert run(quick=False) == wanted, "other sizes are other results"


def test_a_step_that_runs_over_is_ended_with_what_it_started_and_the_next_runs(tmp_path: Path) -> None:
    from check_steps import Check

    sleeper = "import subprocess, sys; print('begun', flush=True); subprocess.run(['sleep', '100'])"
    check = Check(folder=tmp_path)
    assert not check.run("slow", [sys.executable, "-c", sleeper], limit_s=2)
    assert check.run("next", [sys.executable, "-c", "pass"])
    assert [step.state for step in check.steps] == ["failed", "passed"]
    assert "no end within 2 s" in check.steps[0].reason


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "cuda", "--quick"], "--quick is for --device cpu"),
        (["--device", "cpu", "--steps", "numbers,power"], "no step 'power'; expected some of environment, lean"),
        (["--device", "cpu", "--bundle", "nowhere.navit"], "is not a bundle; expected a directory with manifest.json"),
        (
            ["--device", "cpu", "--libraries", "nowhere"],
            "no stand_in_on_cuda in nowhere; expected what `make gpu-proof`",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    import gpu_proof

    monkeypatch.setattr(sys, "argv", ["gpu_proof.py", *arguments])
    with pytest.raises(SystemExit, match=says):
        gpu_proof.main()
