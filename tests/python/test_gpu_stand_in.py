"""The stand-in for TensorRT on CUDA (tests/gpu), its host half on the simulated CUDA: what it refuses.

Whole sessions on it are a step of the rehearsal in test_gpu_proof.py. Nothing here shows how NVIDIA's libraries behave.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_build as trt
import torch
from onnx_sessions import open_graph, run_graph

from navit_edge_export.preprocess import pack


@pytest.fixture(autouse=True)
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))


@pytest.fixture(scope="module")
def refusals(repository: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    command = [sys.executable, str(repository / "tests" / "gpu" / "refusals.py"), str(trt.build()), str(tiny_bundle)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NAVIT_EDGE_")}
    environment |= {"PYTHONPATH": str(repository / "scripts"), "OMP_NUM_THREADS": "1"}
    folder = str(tmp_path_factory.mktemp("refusals"))
    done = subprocess.run([*command, folder], env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_simulated_a_plan_that_is_none_of_its_own_is_refused_with_what_to_do(refusals: Any) -> None:
    for case, reason in (
        ("no plan", "magic tag mismatch"),
        ("a model that no one captured", "this process has captured no graphs of other; capture them first"),
    ):
        assert "cannot open the engine" in refusals[case]
        assert reason in refusals[case]
        assert "rebuild it here" in refusals[case]


def test_simulated_a_graph_is_one_passs_at_a_time(refusals: Any) -> None:
    too_many = "more contexts of a profile than graphs of it were captured; capture one for each slot"
    assert too_many in refusals["two slots of one graph"]
    assert too_many in refusals["a graph that another session has"]
    assert refusals["closed again"] == refusals["afterwards"] == ""


def test_simulated_a_capture_that_is_refused_is_the_error_where_graphs_are_demanded(refusals: Any) -> None:
    said = refusals["graphs demanded of a plan that refuses captures"]
    assert "no CUDA graph: TensorRT refuses the capture: a layer cannot be captured" in said
    assert "option cuda_graph=auto runs without one" in said


def test_simulated_refusals_break_no_rule_and_keep_nothing(refusals: Any) -> None:
    assert refusals["unknown calls"] == 0
    assert refusals["broken rules"] == []
    assert refusals["alive"] == {}


def test_simulated_a_node_that_nothing_waits_for_is_a_broken_rule(refusals: Any) -> None:
    broken = refusals["a child graph that nothing waits for"]
    assert broken == ["a capture ended with work that the stream does not wait for"]


def test_simulated_driver_calls_no_function_that_a_runtime_of_nvidias_may_take_the_place_of() -> None:
    """PyTorch for CUDA makes the names of its libcudart visible to every library that is opened after it."""
    file = trt.build() / "simulator" / "cuda" / "libcuda.so.1"
    shown = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", str(file)], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in shown.splitlines()]
    assert any("simulator" in name for name in names)
    assert [name for name in names if name.startswith("cuda")] == []


@pytest.mark.parametrize("lowering", ["masked", "padded"])
def test_a_bound_graph_computes_again_what_its_inputs_hold_then(tiny_bundle: Path, lowering: str) -> None:
    from proof.graph_numbers import random_images
    from proof.onnx_on_torch import Bound, Graph, load

    file = tiny_bundle / "graphs" / f"{lowering}.onnx"
    grids = ((4, 6), (3, 3), (2, 5))
    first, *others = (
        pack(random_images(order, seed=seed), patch_px=16, padding_tokens=3, padding_images=1, min_longest=24).inputs()
        for seed, order in enumerate((grids, grids[::-1], grids))
    )
    graph = Graph(load(file), device="cpu")
    given = {name: torch.from_numpy(np.array(first[name])) for name in graph.inputs}
    bound = Bound(graph, given)
    for inputs in others:
        for name, tensor in given.items():
            tensor.copy_(torch.from_numpy(np.asarray(inputs[name])))
        found = bound.again()
        for name, value in run_graph(open_graph(file), inputs).items():
            assert np.abs(found[name].numpy() - value).max() < 1e-5 * np.abs(value).max()
