"""The TensorRT backend on stand-ins for NVIDIA's libraries (tests/simulator), through navit_edge.Session.

This shows OUR HOST LOGIC: budgets, copies, contexts, CUDA graphs, errors. It does not show how NVIDIA's libraries or a
GPU behave: the stand-ins check documented rules and compute with OpenVINO. What a device does, only a device shows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_build as trt

BUDGETS = [(64, 4), (256, 8), (1024, 16)]
OUTPUTS = ("logits", "embedding", "tokens")
NO_CAPTURE = "fallback: TensorRT refuses the capture: enqueueV3: a layer cannot be captured"


@pytest.fixture(scope="module")
def tree() -> Path:
    return trt.build()


@pytest.fixture(scope="module")
def stand_ins(tree: Path) -> list[Path]:
    return [tree / "simulator" / name for name in ("cuda", "cudart", "nvinfer")]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("simulated") / "simulated.navit"))
    plan = trt.simulated_plan(path / "graphs" / "masked.onnx", BUDGETS)
    trt.with_tensorrt_engine(path, plan, BUDGETS)
    return path


@pytest.fixture(scope="module")
def images_file(photographs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, **photographs)
    return path


@pytest.fixture(scope="module")
def two_images_file(photographs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image for the smallest budget and one for the next."""
    path = tmp_path_factory.mktemp("images") / "two.npz"
    np.savez(path, eye=photographs["eye"], cat=photographs["cat"])
    return path


@pytest.fixture(scope="module")
def pytorch_results(photographs: Any, pytorch_alone: Callable[..., Any]) -> list[dict[str, Any]]:
    return [pytorch_alone(image) for image in photographs.values()]


@pytest.mark.parametrize(
    ("options", "settings", "graph", "host_memory"),
    [
        ({}, {}, "captured", "pinned"),
        ({"cuda_graph": "on"}, {}, "captured", "pinned"),
        ({"cuda_graph": "off"}, {}, "off: option cuda_graph", "pinned"),
        ({}, {"NAVIT_EDGE_SIM_NO_CAPTURE": "1"}, NO_CAPTURE, "pinned"),
        ({"host_memory": "mapped"}, {}, "captured", "mapped"),
        ({}, {"NAVIT_EDGE_SIM_INTEGRATED": "1"}, "captured", "mapped"),
    ],
    ids=["default", "graphs", "no graphs", "capture refused", "mapped memory", "integrated GPU"],
)
def test_simulated_every_result_is_pytorchs_packed_alone_and_replayed(
    tree: Path,
    stand_ins: list[Path],
    bundle: Path,
    images_file: Path,
    pytorch_results: list[dict[str, Any]],
    tmp_path: Path,
    options: dict[str, str],
    settings: dict[str, str],
    graph: str,
    host_memory: str,
) -> None:
    results = tmp_path / "results.npz"
    report = trt.rehearse(
        "numerics",
        libraries=stand_ins,
        settings=settings,
        bundle=bundle,
        backend=tree / "lib",
        images=images_file,
        results=results,
        options=options,
    )
    assert report["violations"] == []
    assert report["live"] == {}
    assert "simulated GPU" in report["device"]
    assert (report["events"].get("replay", 0) > 0) == (graph == "captured")
    assert report["events"]["enqueue"] > 0
    _check_engine_report(report, graph, host_memory)
    with np.load(results) as made:
        assert len(made.files) == len(OUTPUTS) * len(pytorch_results) * 4
        for place, expected in enumerate(pytorch_results):
            for how in ("together0", "together1", "together2", "alone"):
                for name in OUTPUTS:
                    found = made[f"{how}_{place}_{name}"]
                    np.testing.assert_allclose(found, expected[name], atol=2e-4, err_msg=f"{how} {place} {name}")


def _check_engine_report(report: dict[str, Any], graph: str, host_memory: str) -> None:
    """What the engine says of itself, before and after its runs, is what the stand-ins saw."""
    before, after = report["before"], report["engine"]
    assert after["library"] == "TensorRT"
    assert after["library_version"] == trt.VERSION
    assert after["library_path"].endswith("/nvinfer/libnvinfer.so.10")
    assert after["library_found"] == "libnvinfer.so.10 of the dynamic loader's own places"
    assert after["cuda_driver"] == "CUDA 12.8"
    assert after["device"] == "simulated GPU, no NVIDIA hardware (sm89)"
    assert after["slots"] == 2
    assert after["host_memory"] == host_memory
    assert after["arena_bytes_per_slot"] == 1024 * 4096  # the largest budget's, as the plan says
    assert [budget["shapes"] for budget in after["budgets"]] == [f"{tokens} tokens" for tokens, _ in BUDGETS]
    assert [budget["arena_bytes"] for budget in after["budgets"]] == [tokens * 4096 for tokens, _ in BUDGETS]
    assert "broken" not in after
    used = {tokens for packs in report["packs"] for tokens in packs}
    alone = {64, 256}  # what single images of the photographs need
    off = graph if graph.startswith("off") else "not yet"
    assert [budget["cuda_graph"] for budget in before["budgets"]] == [off] * len(BUDGETS)
    for budget, (tokens, _) in zip(after["budgets"], BUDGETS, strict=True):
        assert budget["cuda_graph"] == (graph if tokens in used | alone else off)
    # A fallback is told once for each budget, in the report and as a warning; nothing else is.
    reason = graph.removeprefix("fallback: ") if graph.startswith("fallback") else ""
    told = [
        f"packs of {tokens} tokens run without a CUDA graph, so slower: {reason}" for tokens in sorted(used | alone)
    ]
    assert after["warnings"] == (told if reason else [])
    assert sorted(report["warnings"]) == sorted(f"engine tensorrt-test: {text}" for text in after["warnings"])


def test_simulated_packs_use_several_budgets_and_the_smallest_that_holds_them(
    tree: Path, stand_ins: list[Path], bundle: Path, images_file: Path, two_images_file: Path, tmp_path: Path
) -> None:
    used = set()
    for images in (images_file, two_images_file):
        common = {"bundle": bundle, "backend": tree / "lib", "images": images, "results": tmp_path / "results.npz"}
        report = trt.rehearse("numerics", libraries=stand_ins, repeats=1, **common)
        assert report["violations"] == []
        used |= {tokens for packs in report["packs"] for tokens in packs}
    assert len(used) >= 2, used
    assert used <= {tokens for tokens, _ in BUDGETS}


def test_simulated_threads_of_one_session_do_not_disturb_each_other(
    tree: Path, stand_ins: list[Path], bundle: Path, images_file: Path
) -> None:
    report = trt.rehearse("threads", libraries=stand_ins, bundle=bundle, backend=tree / "lib", images=images_file)
    assert report["wrong"] == []
    assert report["violations"] == []
    assert report["live"] == {}


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_simulated_a_fault_at_any_call_gives_a_clear_error_and_no_leak(
    tree: Path, stand_ins: list[Path], bundle: Path, two_images_file: Path, mode: str
) -> None:
    swept = trt.rehearse(
        "faults",
        libraries=stand_ins,
        bundle=bundle,
        backend=tree / "lib",
        images=two_images_file,
        options={"cuda_graph": mode},
    )
    assert {fault["call"] for fault in swept["loading"]} >= {"cuInit", "cuDriverGetVersion", "cudaGetDeviceCount"}
    for fault in swept["loading"]:
        assert len(fault["message"]) > 60, fault

    # These may fail in silence: the device's name, what releasing says, and a capture, which plain enqueueing replaces.
    silent = {"cuDeviceGetName", "cudaMemGetInfo", "cudaSetDevice"}
    silent |= {"cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaGraphDestroy", "cudaGraphExecDestroy"}
    captures = {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags", "enqueueV3"}
    seen: dict[str, set[str]] = {}
    for step in swept["steps"]:
        where = f"{step['failed_call']}: {step}"
        call = step["failed_call"]
        assert step["violations"] == [], where
        assert step["live"] == {}, where
        assert step["wrong"] == 0, where
        assert step["after"] in ("not opened", "works", "broken"), where
        if call and call not in silent and not (mode == "auto" and call in captures):
            assert step["errors"], where
        for error in step["errors"]:
            kind, _, text = error.partition(": ")
            assert kind in ("BackendError", "InvalidInputError"), where
            assert len(text) > 60, where
        if call == "cudaMalloc" or call == "cudaHostAlloc":
            assert "out of memory" in step["errors"][0], where
            assert "1024 tokens" in step["errors"][0], where
            assert "free without the slots" in step["errors"][0], where
        if step["after"] == "broken":  # every later run fails at once, with the first cause
            first, *later = step["errors"]
            cause = first.partition("CUDA failed, so this engine is broken: ")[2].partition(";")[0]
            assert cause, where
            assert later, where
            for error in later:  # after three of them the session says so without asking the engine
                assert f"broken since an earlier run: {cause}" in error or (
                    "the session is broken: three packs in a row failed" in error and cause in error
                ), where
        seen.setdefault(call, set()).add(step["after"])
    expected = {"cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync", "cudaStreamSynchronize", "enqueueV3", "setInputShape"}
    expected |= {"deserializeCudaEngine", "createExecutionContext", "setTensorAddress", "createInferRuntime"}
    if mode != "off":
        expected |= {
            "cudaStreamBeginCapture",
            "cudaStreamEndCapture",
            "cudaGraphInstantiateWithFlags",
            "cudaGraphLaunch",
        }
    assert expected <= set(seen)
    assert "broken" in seen["cudaMemcpyAsync"]
    assert "broken" in seen["cudaStreamSynchronize"]
    assert seen["enqueueV3"] == {"works"}  # TensorRT's own refusal is this run's, not the engine's


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DEVICES": "0"}, ["the NVIDIA driver finds no GPU", "expected at least one", "CUDA_VISIBLE_DEVICES"]),
        ({"DRIVER_TOO_OLD": "1"}, ["driver is too old", "CUDA 12.8", "upgrade the driver"]),
        ({"CAPABILITY": "87"}, ["built for sm89", "is sm87", "navit-edge build-engine"]),
        ({"CAPABILITY": "90"}, ["built for sm89", "is sm90", "--backend tensorrt\n"]),
        ({"TENSORRT_VERSION": "8601"}, ["is TensorRT 8.6.1", "expected major version 10", "TensorRT_ROOT"]),
        ({"TENSORRT_VERSION": "110100"}, ["is TensorRT 11.1.0", "expected major version 10"]),
        ({"TENSORRT_VERSION": "100100"}, ["is TensorRT 10.1.0", "10.3.0 or later"]),
        ({"TENSORRT_VERSION": "100300"}, ["built by TensorRT 10.14.1", "this is 10.3.0", "rebuild it"]),
        (
            {"NO_MEMORY_FOR_WEIGHTS": "1"},
            ["too little memory for its weights", "8192.0 MiB of 8192.0 MiB free", "--precision"],
        ),
        ({"MEMORY_MIB": "2"}, ["out of memory", "64 tokens: 0.2 MiB", "1024 tokens: 4.0 MiB", "2.0 MiB of 2.0 MiB"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_simulated_what_does_not_fit_the_machine_is_named_with_its_remedy(
    tree: Path, stand_ins: list[Path], bundle: Path, settings: dict[str, str], expected: list[str]
) -> None:
    found = trt.rehearse(
        "open",
        libraries=stand_ins,
        settings={f"NAVIT_EDGE_SIM_{name}": value for name, value in settings.items()},
        bundle=bundle,
        backend=tree / "lib",
    )
    assert found["type"] == "BackendError", found
    for part in expected:
        assert part in found["message"], found["message"]


def test_simulated_a_version_compatible_engine_opens_with_a_later_library(
    tree: Path, stand_ins: list[Path], bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy.navit"))
    _replace_engine(copy, trt.simulated_plan(copy / "graphs" / "masked.onnx", BUDGETS), version="10.3.0")
    arguments = {"libraries": stand_ins, "bundle": copy, "backend": tree / "lib"}
    assert "built by TensorRT 10.3.0" in trt.rehearse("open", **arguments)["message"]
    assert "simulated GPU" in trt.rehearse("open", options={"version_compatible": "true"}, **arguments)["device"]


def test_simulated_the_lean_runtime_that_a_plan_needs_is_loaded_or_asked_for(
    tree: Path, stand_ins: list[Path], bundle: Path, tmp_path: Path
) -> None:
    lean = tree / "simulator" / "nvinfer" / "libnvinfer.so.10"
    arguments = {"libraries": stand_ins, "backend": tree / "lib"}
    assert "simulated GPU" in trt.rehearse("open", bundle=bundle, options={"lean_runtime": lean}, **arguments)["device"]
    missing = tmp_path / "libnvinfer_lean.so.10"
    refused = trt.rehearse("open", bundle=bundle, options={"lean_runtime": missing}, **arguments)["message"]
    assert f"option lean_runtime names {missing}, which does not open" in refused

    copy = Path(shutil.copytree(bundle, tmp_path / "copy.navit"))
    _replace_engine(copy, b"of another version")
    refused = trt.rehearse("open", bundle=copy, options={"version_compatible": "true"}, **arguments)["message"]
    assert "option lean_runtime=/path/libnvinfer_lean.so" in refused


def test_simulated_a_plan_that_does_not_deserialize_says_what_the_library_said(
    tree: Path, stand_ins: list[Path], bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy.navit"))
    _replace_engine(copy, b"damaged")
    found = trt.rehearse("open", libraries=stand_ins, bundle=copy, backend=tree / "lib")
    assert found["type"] == "BackendError"
    assert "cannot open the engine (7 bytes)" in found["message"]
    assert "magic tag mismatch" in found["message"]
    assert "rebuild it here" in found["message"]


def test_simulated_profiles_that_differ_from_the_budgets_are_refused_with_both(
    tree: Path, stand_ins: list[Path], bundle: Path, images_file: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy.navit"))
    _replace_engine(copy, trt.simulated_plan(copy / "graphs" / "masked.onnx", [(32, 4), (128, 8)]))
    with pytest.raises(
        AssertionError, match=r"the inputs have the shapes patches \[1024, .*the engine takes patches \[32, "
    ):
        trt.rehearse(
            "numerics",
            libraries=stand_ins,
            bundle=copy,
            backend=tree / "lib",
            images=images_file,
            results=tmp_path / "results.npz",
        )


def test_simulated_a_driver_without_tensorrt_gives_the_error_of_the_missing_library(
    tree: Path, stand_ins: list[Path], bundle: Path
) -> None:
    found = trt.rehearse("open", libraries=stand_ins[:2], bundle=bundle, backend=tree / "lib")
    assert found["type"] == "BackendError"
    assert "no TensorRT library" in found["message"]
    assert "libnvinfer.so.10" in found["message"]
    assert "sudo apt install" in found["message"]
    assert "no NVIDIA driver" not in found["message"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cuda_graph": "maybe"}, "expected auto, on or off"),
        ({"host_memory": "pinned"}, "expected auto, mapped or copied"),
        ({"cuda_device": "3"}, "CUDA finds 1 GPUs"),
        ({"tensorrt_dir": "lib"}, "expected an absolute path"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_simulated_an_option_with_another_value_is_refused(
    tree: Path, stand_ins: list[Path], bundle: Path, options: dict[str, str], expected: str
) -> None:
    found = trt.rehearse("open", libraries=stand_ins, bundle=bundle, backend=tree / "lib", options=options)
    assert expected in found["message"]


def _replace_engine(bundle: Path, plan: bytes, **changes: Any) -> None:
    import msgspec

    from navit_edge.bundle import manifest as manifests
    from navit_edge.bundle import publish

    manifest = manifests.load(bundle)
    others = tuple(engine for engine in manifest.engines if engine.backend != "tensorrt")
    publish.seal(bundle, msgspec.structs.replace(manifest, engines=others))
    trt.with_tensorrt_engine(bundle, plan, BUDGETS, **changes)
