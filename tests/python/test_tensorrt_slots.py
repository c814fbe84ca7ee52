"""An engine of the TensorRT backend without a session: slots, their memory, graphs, messages, faults; on stand-ins.

Like test_tensorrt_simulated.py this shows OUR HOST LOGIC, not how NVIDIA's libraries or a GPU behave.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorrt_build as trt
from tiny_bundle import make_bundle, pack_inputs

OUTPUTS = ("logits", "embedding", "tokens")
BUDGETS = [(64, 4), (256, 8)]
#: Images of each pack; the first two packs are of the smaller budget.
GRIDS = [[(3, 4), (2, 2)], [(5, 5)], [(8, 8), (7, 6), (1, 9)], [(12, 10), (4, 4), (6, 3), (2, 7)]]


@pytest.fixture(scope="module")
def tree() -> Path:
    return trt.build()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """packs.npz with every pack padded to its budget, exact.npz without padding, and the ONNX file."""
    path = tmp_path_factory.mktemp("slots")
    make_bundle(path / "tiny.navit")
    for name, padded in (("packs", True), ("exact", False)):
        arrays = {}
        for index, grids in enumerate(GRIDS):
            tokens, images = BUDGETS[index // 2]
            sizes = {"tokens": tokens, "images": images} if padded else {}
            for key, value in pack_inputs(grids, seed=index, **sizes).items():
                arrays[f"{index}/{key}"] = value
        np.savez(path / f"{name}.npz", **arrays)
    (path / "test.plan").write_bytes(trt.simulated_plan(_onnx(path), BUDGETS))
    return path


@pytest.fixture(scope="module")
def oracle(place: Path) -> list[dict[str, npt.NDArray[np.float32]]]:
    """ONNX Runtime's outputs of each pack."""
    import onnxruntime

    session = onnxruntime.InferenceSession(_onnx(place))
    with np.load(place / "packs.npz") as packs:
        inputs = [
            {name.split("/")[1]: packs[name] for name in packs.files if name.startswith(f"{index}/")}
            for index in range(len(GRIDS))
        ]
    return [dict(zip(OUTPUTS, session.run(list(OUTPUTS), pack), strict=True)) for pack in inputs]


@pytest.fixture
def rehearse(tree: Path, place: Path, tmp_path: Path) -> Any:
    """Runs a scenario on the packs; gives its report."""

    def call(scenario: str, *, settings: dict[str, str] | None = None, **arguments: Any) -> Any:
        if scenario in ("slots", "lent"):
            arguments["results"] = tmp_path / "results.npz"
        return trt.rehearse(
            scenario,
            libraries=[tree / "simulator" / name for name in ("cuda", "cudart", "nvinfer")],
            settings=settings,
            **{"backend": tree / "lib", "plan": place / "test.plan", "packs": place / "packs.npz", **arguments},
        )

    return call


def _onnx(place: Path) -> Path:
    return place / "tiny.navit" / "graphs" / "masked.onnx"


def _clean(report: dict[str, Any]) -> None:
    assert report["violations"] == []
    assert report["live"] == {}


def _check_against(oracle: list[dict[str, npt.NDArray[np.float32]]], results: Path, count: int) -> None:
    """Each array of the results, named .../PACK/OUTPUT, is ONNX Runtime's on the rows that hold images."""
    with np.load(results) as made:
        assert len(made.files) == count * len(OUTPUTS)
        for key in made.files:
            pack, name = key.split("/")[-2:]
            grids = GRIDS[int(pack)]
            used = sum(rows * cols for rows, cols in grids) if name == "tokens" else len(grids)
            np.testing.assert_allclose(made[key][:used], oracle[int(pack)][name][:used], atol=1e-4, err_msg=key)


@pytest.mark.parametrize("host_memory", ["copied", "mapped"])
def test_simulated_two_slots_run_at_once_and_give_onnx_runtimes_results(
    rehearse: Any, oracle: Any, tmp_path: Path, host_memory: str
) -> None:
    report = rehearse("slots", options={"host_memory": host_memory})
    assert report["failures"] == []
    _clean(report)
    # Each slot has one captured graph for each budget, and all its packs of that budget go through it: two packs of
    # other images, segments and positions, in turn, each with its own numbers.
    assert report["events"]["enqueue"] == 4
    assert report["events"]["capture"] == 4
    assert report["events"]["replay"] == 2 * 8 * 4 - 4
    assert [budget["cuda_graph"] for budget in report["engine"]["budgets"]] == ["captured", "captured"]
    assert report["engine"]["slots"] == 2
    _check_against(oracle, tmp_path / "results.npz", 2 * 8 * 4)


@pytest.mark.parametrize(
    ("settings", "copies"),
    [
        ({}, [4, 3]),  # one copy for each input and each output, and no write to page-locked memory
        ({"NAVIT_EDGE_SIM_INTEGRATED": "1"}, [0, 0]),
    ],
    ids=["discrete", "integrated"],
)
def test_simulated_inputs_in_the_engines_own_memory_are_not_copied_on_the_host(
    rehearse: Any, oracle: Any, tmp_path: Path, settings: dict[str, str], copies: list[int]
) -> None:
    report = rehearse("lent", settings=settings)
    _clean(report)
    assert report["copies"] == [copies] * 14
    _check_against(oracle, tmp_path / "results.npz", 2 * 14)
    assert report["none"] == [None, None, None]  # of an output, of no tensor, of more than the largest budget
    assert "no slot 2" in report["refused"][0]
    assert "nothing under 'nothing'; expected report" in report["refused"][1]
    whole, *cut = report["cut"]
    assert cut == [whole[:19], ""]


@pytest.mark.parametrize(
    ("mode", "graphs"),
    [("auto", "off: the shapes of this budget vary from pack to pack"), ("on", "captured")],
)
def test_simulated_an_engine_that_takes_exact_lengths_makes_graphs_only_where_they_are_asked_for(
    rehearse: Any, oracle: Any, place: Path, tmp_path: Path, mode: str, graphs: str
) -> None:
    plan = tmp_path / "exact.plan"
    plan.write_bytes(trt.simulated_plan(_onnx(place), [((1, 64), (1, 4)), ((65, 256), (1, 8))]))
    report = rehearse("slots", plan=plan, packs=place / "exact.npz", repeats=4, options={"cuda_graph": mode})
    assert report["failures"] == []
    _clean(report)
    assert [budget["cuda_graph"] for budget in report["engine"]["budgets"]] == [graphs, graphs]
    assert (report["events"].get("capture", 0) > 4) == (mode == "on")  # anew for each change of shape
    _check_against(oracle, tmp_path / "results.npz", 2 * 4 * 4)


@pytest.mark.parametrize("thread", ["the caller's", "TensorRT's"])
def test_simulated_each_slot_is_told_its_own_error(rehearse: Any, thread: str) -> None:
    report = rehearse("refusals", settings={"NAVIT_EDGE_SIM_REFUSE_ENQUEUE": "1" if thread == "the caller's" else "2"})
    for (tokens, _), told in zip(BUDGETS, report["told"], strict=True):
        assert len(told) == 5
        for text in told:
            own = f"enqueueV3: refused at {tokens} tokens"
            # What a thread of TensorRT's own says while two slots run is nobody's for certain, and told as that.
            assert own in text or (thread == "TensorRT's" and "it may be another's" in text), text
    _clean(report)


@pytest.mark.parametrize("host_memory", ["copied", "mapped"])
def test_simulated_opening_running_and_closing_again_and_again_leaves_nothing(rehearse: Any, host_memory: str) -> None:
    report = rehearse("leaks", options={"host_memory": host_memory})
    _clean(report)
    assert report["alive"] == [{}] * len(report["alive"])
    half = len(report["memory_kib"]) // 2
    assert report["memory_kib"][-1] - report["memory_kib"][half] < 4096  # KiB over the last 15 lives


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_simulated_a_fault_at_any_call_while_two_slots_run_is_told_and_leaks_nothing(rehearse: Any, mode: str) -> None:
    swept = rehearse("faults_in_flight", options={"cuda_graph": mode})
    check_faults_in_flight(swept["steps"], captures=mode == "auto")


def check_faults_in_flight(steps: Iterable[dict[str, Any]], *, captures: bool) -> None:
    seen: dict[str, set[str]] = {}
    for step in steps:
        where = str(step)
        assert step["violations"] == [], where
        assert step["live"] == {}, where
        assert step["wrong"] == 0, where
        for error in step["errors"]:
            assert len(error) > 60, where
        # One CUDA error ends the engine for both slots; any other leaves it whole.
        assert step["after"] in (["not opened"], ["works", "works"], ["broken", "broken"]), where
        assert (step["after"] == ["broken", "broken"]) == bool(step.get("broken")), where
        if step["after"] == ["broken", "broken"]:
            assert step["errors"], where
            assert all("CUDA failed" in error or "this engine is broken" in error for error in step["errors"]), where
        if "call" in step:
            assert step["failed_call"] == step["call"], where
            assert step["in_flight"], where
        seen.setdefault(step["failed_call"], set()).add(step["after"][0])
    assert seen["cudaMemcpyAsync"] == {"broken"}
    assert "broken" in seen["cudaStreamSynchronize"]
    assert seen["enqueueV3"] == {"works"}
    if captures:
        assert {"cudaStreamBeginCapture", "cudaStreamEndCapture"} <= set(seen)
        assert seen["cudaGraphLaunch"] == {"broken"}
