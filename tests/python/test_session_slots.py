"""Several packs in flight, and engines of one budget each run as a group, through the TensorRT backend on stand-ins.

This shows OUR HOST LOGIC (tests/simulator/README.md), with real numbers: the stand-ins compute the bundle's ONNX, and
PyTorch, one image at a time, judges.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorrt_build as trt

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle import publish
from navit_edge.bundle.manifest import Budget, Engine, EngineGroup
from navit_edge.errors import BackendError, BundleError, InvalidInputError

OUTPUTS = ("logits", "embedding", "tokens")
BUDGETS = [(64, 4), (128, 6), (256, 8)]
GROUP = "tensorrt-test-t64+t128+t256"
MEMBERS = tuple(f"tensorrt-test-t{tokens}" for tokens, _ in BUDGETS)
WHOLE = "tensorrt-test"


@pytest.fixture(scope="module")
def tree() -> Path:
    return trt.build()


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle with an engine that has all budgets, and a group of engines that have one each."""
    path = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("flight") / "flight.navit"))
    onnx = path / "graphs" / "masked.onnx"
    trt.with_tensorrt_engine(path, trt.simulated_plan(onnx, BUDGETS), BUDGETS)
    manifest = manifests.load(path)
    whole = next(engine for engine in manifest.engines if engine.id == WHOLE)
    members: list[Engine] = []
    for name, (tokens, images) in zip(MEMBERS, BUDGETS, strict=True):
        budget = Budget(tokens=tokens, images=images, target_tokens=tokens)
        group = EngineGroup(id=GROUP, members=MEMBERS)
        (path / f"engines/{name}.plan").write_bytes(trt.simulated_plan(onnx, [(tokens, images)]))
        members.insert(
            0, msgspec.structs.replace(whole, id=name, budgets=(budget,), file=f"engines/{name}.plan", group=group)
        )
    publish.seal(path, msgspec.structs.replace(manifest, engines=(*manifest.engines, *members)))
    return path


@pytest.fixture(scope="module")
def images_file(photographs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, **photographs, thumb=photographs["cat"][:160, :140])
    return path


@pytest.fixture(scope="module")
def pytorch_results(images_file: Path, pytorch_alone: Callable[..., Any]) -> list[dict[str, Any]]:
    with np.load(images_file) as images:
        return [pytorch_alone(images[name]) for name in images.files]


@pytest.fixture
def fly(tree: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a scenario of tests/simulator/flight.py on the stand-ins."""
    monkeypatch.setattr(trt, "REHEARSAL", trt.REPOSITORY / "tests" / "simulator" / "flight.py")
    libraries = [tree / "simulator" / name for name in ("cuda", "cudart", "nvinfer")]

    def run(scenario: str, **arguments: Any) -> Any:
        return trt.rehearse(scenario, libraries=libraries, **{"bundle": bundle, "backend": tree / "lib", **arguments})

    return run


@pytest.mark.parametrize("host_memory", ["copied", "mapped"])
def test_simulated_slots_keep_packs_in_flight_and_change_no_result(
    fly: Callable[..., Any],
    images_file: Path,
    pytorch_results: list[dict[str, Any]],
    tmp_path: Path,
    host_memory: str,
) -> None:
    wanted = (1, 2, 3)
    report = fly(
        "runs",
        images=images_file,
        results=tmp_path / "results.npz",
        sessions=[{"engine": WHOLE, "slots": slots} for slots in wanted],
        options={"host_memory": host_memory},
    )
    assert report["violations"] == []
    assert report["live"] == {}
    for slots, session in zip(wanted, report["sessions"], strict=True):
        assert session["slots"] == slots
        together, *alone = session["packs"][1:]
        assert len(together) > 3
        # Of two runs, since on a busy machine the packs of one may end before the last slot has its first.
        assert max(session["most_in_flight"][:2]) == slots
        assert {pack["slot"] for pack in together} == set(range(slots))
        assert {pack["engine"] for pack in together} == {WHOLE}
        for (pack,) in alone:
            assert pack["slot"] == 0
        ends = [pack["start_us"] + pack["preprocess_us"] + pack["engine_us"] for pack in together]
        overlapping = [later["start_us"] < end for later, end in zip(together[1:], ends, strict=False)]
        assert any(overlapping) == (slots > 1)
    with np.load(tmp_path / "results.npz") as made:
        for key in made.files:
            session, turn, image, name = key.split("/")
            expected = pytorch_results[int(image)][name]
            np.testing.assert_allclose(made[key], expected, atol=2e-4, err_msg=key)
            if session != "0":
                np.testing.assert_array_equal(made[key], made[f"0/{turn}/{image}/{name}"], err_msg=key)


def test_simulated_a_group_gives_every_pack_to_the_engine_of_its_budget(
    fly: Callable[..., Any], images_file: Path, pytorch_results: list[dict[str, Any]], tmp_path: Path
) -> None:
    report = fly(
        "runs",
        images=images_file,
        results=tmp_path / "results.npz",
        sessions=[{"engine": GROUP}, {"engine": WHOLE}, {"engine": MEMBERS[-1]}],
    )
    assert report["violations"] == []
    assert report["live"] == {}
    group, whole, largest = report["sessions"]
    assert (group["engine"], group["slots"], group["most_in_flight"][0]) == (GROUP, 2, 2)
    used = set()
    for of_group, of_whole in zip(group["packs"], whole["packs"], strict=True):
        for pack, same in zip(of_group, of_whole, strict=True):
            assert pack["engine"] == f"tensorrt-test-t{pack['budget_tokens']}"
            assert pack["capacity"] == pack["budget_tokens"]
            assert [pack[key] for key in ("images", "tokens", "capacity")] == [
                same[key] for key in ("images", "tokens", "capacity")
            ]
            used.add(pack["engine"])
    assert used == set(MEMBERS)
    assert {pack["engine"] for packs in largest["packs"] for pack in packs} == {MEMBERS[-1]}
    assert {pack["capacity"] for packs in largest["packs"] for pack in packs} == {256}
    with np.load(tmp_path / "results.npz") as made:
        assert len(made.files) == 3 * len(OUTPUTS) * 3 * len(pytorch_results)
        for key in made.files:
            _, _, image, name = key.split("/")
            np.testing.assert_allclose(made[key], pytorch_results[int(image)][name], atol=2e-4, err_msg=key)


def test_simulated_memory_for_one_slot_gives_one_by_default_and_an_error_where_two_were_asked_for(
    fly: Callable[..., Any],
) -> None:
    little = {"settings": {"NAVIT_EDGE_SIM_MEMORY_MIB": "2"}, "engine": WHOLE}
    asked = fly("error", slots=2, **little)
    assert asked["type"] == "BackendError"
    assert "out of memory at slot 2 of 2" in asked["message"]
    default = fly("error", **little)
    assert default["slots"] == 1
    assert "; one pack at a time, since 2 slots did not open: " in default["detail"]
    assert "out of memory at slot 2 of 2" in default["detail"]
    assert (asked["live"], default["live"]) == ({}, {})
    plenty = fly("error", engine=WHOLE)
    assert plenty["slots"] == 2
    assert "one pack at a time" not in plenty["detail"]


def test_simulated_memory_that_does_not_do_for_a_group_names_the_engine_and_leaves_nothing(
    fly: Callable[..., Any],
) -> None:
    found = fly("error", settings={"NAVIT_EDGE_SIM_MEMORY_MIB": "3"}, engine=GROUP, slots=2)
    assert found["type"] == "BackendError"
    assert f"the group {GROUP} needs all its engines, and tensorrt-test-t" in found["message"]
    assert "out of memory" in found["message"]
    assert found["live"] == {}


def test_simulated_a_fault_with_packs_in_flight_gives_its_cause_and_no_leak(
    fly: Callable[..., Any], photographs: Any, tmp_path: Path
) -> None:
    np.savez(tmp_path / "three.npz", **{name: photographs[name][:200, :220] for name in ("astronaut", "cat", "page")})
    swept = fly("faults", images=tmp_path / "three.npz", slots=2, engine=WHOLE, stride=7)
    assert swept["most_in_flight"] == 2
    # enqueueV3 may be the capture, which plain enqueueing replaces.
    silent = {"cudaSetDevice", "enqueueV3", "cudaStreamBeginCapture", "cudaStreamEndCapture"}
    silent |= {"cudaGraphInstantiateWithFlags", "cudaGraphDestroy"}
    seen = set()
    for step in swept["steps"]:
        where = f"{step['failed_call']}: {step}"
        # enqueueV3's refusal does not tell a slot that CUDA failed in another, so it goes on and asks.
        assert [rule for rule in step["violations"] if "after an error that ends all work" not in rule] == [], where
        assert step["live"] == {}, where
        assert step["wrong"] == 0, where
        assert step["after"] in ("works", "broken"), where
        assert step["failed_call"], where
        if step["failed_call"] not in silent:
            assert step["errors"], where
        if step["after"] == "broken":  # both packs may meet the fault; it is the one cause of every error
            causes = [set(re.findall(r"failed: (cudaError\w+|simulated error)", error)) for error in step["errors"]]
            assert causes, where
            assert len(causes[0]) == 1, where
            assert all(cause == causes[0] for cause in causes), where
        seen.add((step["failed_call"], step["after"]))
    assert ("cudaMemcpyAsync", "broken") in seen
    assert len(seen) > 2


def test_simulated_a_group_is_run_measured_and_shown_by_the_commands(
    tree: Path, bundle: Path, photographs: Any, tmp_path: Path
) -> None:
    from PIL import Image

    Image.fromarray(photographs["eye"]).save(tmp_path / "eye.png")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NAVIT_EDGE_")}
    environment["LD_LIBRARY_PATH"] = ":".join(str(tree / "simulator" / name) for name in ("cuda", "cudart", "nvinfer"))
    environment["NAVIT_EDGE_BACKEND_DIR"] = str(tree / "lib")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        code = "from navit_edge.cli.main import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=True
        )

    ran = command("run", str(bundle), str(tmp_path / "eye.png"), "--engine", GROUP, "--slots", "2", "--json")
    assert f"engine {GROUP} on " in ran.stderr
    assert json.loads(ran.stdout)["tokens"] <= 64
    quick = ("--iterations", "1", "--duration", "0", "--warmup", "0")
    measured = json.loads(command("bench", str(bundle), "--engine", GROUP, "--slots", "3", *quick, "--json").stdout)
    assert (measured["engine"], measured["slots"]) == (GROUP, 3)
    assert measured["budgets"] == [tokens for tokens, _ in BUDGETS]
    assert {budget for pack in measured["packs"] for budget in pack["budgets"]} == set(measured["budgets"])
    shown = command("inspect", str(bundle)).stdout
    assert shown.count(f"of group {GROUP}") == len(MEMBERS)


@pytest.mark.parametrize("change", ["missing", "altered"])
def test_a_group_lacking_a_file_is_refused_by_its_name_before_anything_runs(
    tree: Path, bundle: Path, tmp_path: Path, fly: Callable[..., Any], change: str
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy.navit"))
    file = copy / "engines" / f"{MEMBERS[1]}.plan"
    if change == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes().replace(b"128 6", b"128 7"))
    found = fly("error", bundle=copy, engine=GROUP)
    assert found["type"] == "BundleError"
    assert f"the group {GROUP} needs all its engines, and {MEMBERS[1]} cannot be opened" in found["message"]
    assert ("is missing" if change == "missing" else "was altered") in found["message"]
    assert found["live"] == {}
    assert "slots" in fly("error", bundle=copy, engine=MEMBERS[0])


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_on_a_cpu_slots_change_no_result_either(
    tiny_bundle: Path, images_file: Path, pytorch_results: list[dict[str, Any]], slots: int
) -> None:
    session = ne.Session(tiny_bundle, precision="fp32", threads=2, slots=slots)
    with np.load(images_file) as images:
        pixels = [images[name] for name in images.files] * 3
    results = session.run(pixels)
    assert session.slots == slots
    packs = session.last_report["packs"]
    assert session.last_report["most_in_flight"] == min(slots, len(packs))
    for index, result in enumerate(results):
        for name in OUTPUTS:
            expected = pytorch_results[index % len(pytorch_results)][name]
            np.testing.assert_allclose(getattr(result, name), expected, atol=2e-4)


def test_a_number_of_slots_that_makes_no_sense_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(
        InvalidInputError, match="slots is -1; expected a number of packs, 1 to 64, or 0 for as many as pay"
    ):
        ne.Session(tiny_bundle, slots=-1)


def test_a_manifest_whose_group_contradicts_itself_is_refused(bundle: Path) -> None:
    manifest = manifests.load(bundle)

    def with_group(group: EngineGroup) -> manifests.Manifest:
        *others, last = manifest.engines
        return msgspec.structs.replace(manifest, engines=(*others, msgspec.structs.replace(last, group=group)))

    for group, message in (
        (EngineGroup(id=WHOLE, members=MEMBERS), "expected an id that is no engine's"),
        (EngineGroup(id="a b", members=MEMBERS), r'group\.id is "a b"; expected letters'),
        (EngineGroup(id=GROUP, members=MEMBERS[:1]), "two or more engines"),
        (EngineGroup(id=GROUP, members=MEMBERS[1:]), "each once and '.*' among them"),
        (EngineGroup(id=GROUP, members=(MEMBERS[0], *MEMBERS)), "two or more engines, each once"),
    ):
        with pytest.raises(BundleError, match=message):
            manifests.check(with_group(group), source="it")
    assert [b.tokens for b in manifests.find_engine(manifest, GROUP).budgets] == [64, 128, 256]
    assert manifests.find_engine(manifest, MEMBERS[0]).budgets[0].tokens == 64
    with pytest.raises(BundleError, match=r"has no engine 'nope'; it has: .*tensorrt-test"):
        manifests.find_engine(manifest, "nope")


def test_an_incomplete_group_is_passed_over_with_what_it_lacks(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy.navit"))
    manifest = manifests.load(copy)
    kept = tuple(engine for engine in manifest.engines if engine.id not in (MEMBERS[0], WHOLE))
    manifests.save(msgspec.structs.replace(manifest, engines=kept), copy)
    session = ne.Session(copy, precision="fp32")
    assert session.engine == "openvino-cpu-fp32"
    (name, usable, detail), *_ = session.candidates
    assert (name, usable) == (GROUP, False)
    assert f"lacks its engine {MEMBERS[0]}; build it again" in detail
    with pytest.raises(BackendError, match=f"lacks its engine {MEMBERS[0]}"):
        ne.Session(copy, engine=GROUP)
