"""Memory: the formula against sums written down here, what inspect says, and resident memory under tiny images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import make_bundle
from typer.testing import CliRunner

from navit_edge import compile as build_package
from navit_edge.bundle import manifest as manifests
from navit_edge.cli.main import app
from navit_edge.compile import BuildRequest
from navit_edge.compile.memory_budget import within_memory
from navit_edge.doctor.finding import State
from navit_edge.doctor.memory import memory_findings
from navit_edge.errors import BackendError, BundleError, InvalidInputError
from navit_edge.memory import engine_memory, memory_plan
from navit_edge.session import Session

ITEM_BYTES = {"uint8": 1, "float16": 2, "int32": 4, "float32": 4}
BUDGETS = (64, 256)
REFUSED = (
    r"needs at least \d+ bytes of memory for packs of 16777216 tokens and 16777216 images; there are \d+ for 1 slot;"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = make_bundle(tmp_path_factory.mktemp("memory") / "tiny.navit")
    build_package.build_engines(
        bundle, build_package.BuildRequest(backend="openvino", precision=("fp32",), token_budgets=BUDGETS)
    )
    return bundle


def test_inputs_and_outputs_are_the_tensors_of_the_largest_pack(built: Path) -> None:
    manifest = manifests.load(built)
    (engine,) = manifest.engines
    (graph,) = (one for one in manifest.graphs if one.id == engine.graph)
    memory = memory_plan(built, engine.id, threads=1)
    assert [(one.tokens, one.images) for one in memory.budgets] == [(one.tokens, one.images) for one in engine.budgets]
    for budget, found in zip(engine.budgets, memory.budgets, strict=True):
        # The longest image that the rule gives, rounded up as packs of an engine of dynamic T are.
        cap = -(-(manifest.preprocess.sizing.max_tokens + manifest.model.prefix_tokens) // 16) * 16
        letters = {"T": budget.tokens, "N": budget.images, "N+1": budget.images + 1, "L": min(budget.tokens, cap)}

        def bytes_of(tensors: object, letters: dict[str, int] = letters) -> int:
            total = 0
            for tensor in tensors:  # type: ignore[attr-defined]
                count = ITEM_BYTES[tensor.dtype]
                for extent in tensor.shape:
                    count *= letters[extent] if isinstance(extent, str) else extent
                total += -(-count // 64) * 64
            return total

        assert found.inputs == bytes_of(graph.inputs)
        assert found.outputs == bytes_of(graph.outputs)
        assert found.total == found.inputs + found.scratch + found.outputs
    assert memory.slot_bytes == memory.budgets[-1].total
    assert memory.session_bytes(3) == 3 * memory.slot_bytes + 2 * memory.budgets[-1].outputs


def test_budgets_that_no_machine_can_hold_are_refused_before_memory_is_taken(built: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.navit"
    shutil.copytree(built, large)
    content = json.loads((large / "manifest.json").read_text())
    (engine,) = content["engines"]
    engine["budgets"] = [{"tokens": 1 << 24, "images": 1 << 24, "target_tokens": 1 << 24}]
    for graph in content["graphs"]:
        for tensor in graph["outputs"]:
            if tensor["name"] == "tokens":
                tensor["shape"] = ["T", 1 << 30]
    (large / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BackendError, match=REFUSED) as caught:
        Session(large)
    assert "build it with smaller --token-budgets and --max-images" in str(caught.value)
    assert memory_plan(large, engine["id"], threads=1).budgets[0].outputs >= 1 << 50  # says so, without taking it


def test_a_budget_above_the_limit_is_refused_by_all_that_read_the_bundle(built: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.navit"
    shutil.copytree(built, large)
    content = json.loads((large / "manifest.json").read_text())
    content["engines"][0]["budgets"][-1] |= {"tokens": 10**8, "target_tokens": 10**8}
    (large / "manifest.json").write_text(json.dumps(content))
    for read in (Session, manifests.load, lambda bundle: memory_plan(bundle, content["engines"][0]["id"], threads=1)):
        with pytest.raises(BundleError, match=r"tokens is 100000000; expected an integer from 1 to 16777216; copy the"):
            read(large)


def test_each_thread_has_scratch_of_its_own(built: Path) -> None:
    (engine,) = manifests.load(built).engines
    scratch = [memory_plan(built, engine.id, threads=threads).budgets[-1].scratch for threads in (1, 2, 3)]
    assert scratch[2] - scratch[1] == scratch[1] - scratch[0] > 0


def test_an_engine_that_is_not_there_and_threads_below_one_are_refused(built: Path) -> None:
    with pytest.raises(BundleError, match="gone"):
        memory_plan(built, "gone")
    (engine,) = manifests.load(built).engines
    with pytest.raises(InvalidInputError, match="threads is -1; expected a number of threads, 1 to 1024"):
        memory_plan(built, engine.id, threads=-1)


def test_inspect_says_the_bytes_per_slot_and_budget(built: Path) -> None:
    (engine,) = manifests.load(built).engines
    memory = memory_plan(built, engine.id)
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    (found,) = json.loads(runner.invoke(app, ["inspect", str(built), "--json"]).stdout)["engines"]
    assert found["memory"]["threads"] == memory.threads
    assert [(one["tokens"], one["total"]) for one in found["memory"]["budgets"]] == [
        (one.tokens, one.total) for one in memory.budgets
    ]
    assert found["memory"]["slot_bytes"] == memory.slot_bytes
    assert found["memory"]["session_bytes"] == {"1": memory.session_bytes(1), "2": memory.session_bytes(2)}
    text = runner.invoke(app, ["inspect", str(built)]).stdout
    assert "host memory with" in text
    assert "scratch" in text


SOAK = """
import os, resource, sys
import numpy as np
import navit_edge as ne

def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

bundle, count = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
sizes = [(8, 8), (4, 12), (9, 5), (16, 8)]
images = [rng.integers(0, 256, (*sizes[i % 4], 3), np.uint8) for i in range(64)]
session = ne.Session(bundle, threads=2)
kept = None
def go(images_to_run: int) -> None:
    global kept
    for _ in range(images_to_run // 64):
        kept = session.run(images)
go(max(640, count // 5))
before = resident()
go(count)
after = resident()
print(before, after)
"""


def test_resident_memory_stays_flat_over_many_tiny_images(built: Path) -> None:
    """NAVIT_EDGE_SOAK_IMAGES sets how many: a soak test runs a million."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    count = os.environ.get("NAVIT_EDGE_SOAK_IMAGES", "20000")
    ran = subprocess.run(
        [sys.executable, "-c", SOAK, str(built), count], capture_output=True, text=True, check=False, timeout=7200
    )
    assert ran.returncode == 0, ran.stderr
    before, after = map(int, ran.stdout.split())
    print(f"{count} images: {before / 2**20:.1f} MiB after warm-up, {after / 2**20:.1f} MiB at the end")
    assert after < 1.02 * before


def test_an_engine_takes_its_file_and_its_copy_and_grows_with_tokens_slots_and_shapes(built: Path) -> None:
    (engine,) = manifests.load(built).engines
    file = manifests.load(built).files[engine.file].bytes
    one = engine_memory(built, engine.id)
    assert one.weights == pytest.approx(2.35 * file, abs=1)  # float32: as it was read, and as the CPU wants it
    assert one.total == one.library + one.weights + one.activations + one.shapes
    assert engine_memory(built, engine.id, slots=3).activations == pytest.approx(3 * one.activations, abs=2)
    many = engine_memory(built, engine.id, tokens=512)
    assert engine_memory(built, engine.id, tokens=1024).activations == pytest.approx(2 * many.activations, abs=2)
    kept = [engine_memory(built, engine.id, capacity=capacity).shapes for capacity in (16, 32, 48)]
    assert kept[2] - kept[1] == pytest.approx(kept[1] - kept[0], abs=2)


def test_a_limit_that_cannot_hold_is_refused_with_the_numbers(built: Path) -> None:
    with pytest.raises(BackendError, match=r"needs at least \d+ MiB \(\d+ MiB that the process holds") as caught:
        Session(built, max_memory="20MiB")
    text = str(caught.value)
    assert "for weights" in text
    assert "max_memory is 20 MiB; raise max_memory" in text


def test_a_session_with_a_limit_says_what_it_needs_and_holds_less_pixels(built: Path) -> None:
    (engine,) = manifests.load(built).engines
    with Session(built, engine=engine.id) as free, Session(built, engine=engine.id, max_memory="4GiB") as limited:
        memory = limited.engine_report["memory"]
        assert memory["max_bytes"] == 4 << 30
        assert memory["left_bytes"] == (4 << 30) - memory["predicted"]["total_bytes"]
        assert memory["resident_bytes"] <= 4 << 30
        assert limited.decoder.options.max_run_bytes == min(4 << 30, memory["left_bytes"] // 2)
        assert "max_bytes" not in free.engine_report["memory"]
        assert free.engine_report["memory"]["predicted"]["spare_bytes"] == 0


@pytest.mark.parametrize("value", ["512 parrots", "", "MiB", "-1MiB", "1.5GiB"])
def test_a_text_that_is_no_size_is_refused(built: Path, value: str) -> None:
    with pytest.raises(InvalidInputError, match=r"max_memory is .*; expected a number of bytes, .* as '512MiB'"):
        Session(built, max_memory=value)


def test_a_build_chooses_the_largest_budget_that_fits_into_the_memory(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    manifest = manifests.load(bundle)

    def tokens_for(memory_bytes: int) -> int:
        asked = BuildRequest(backend="openvino", precision=("fp32",), memory_bytes=memory_bytes)
        (tokens,) = within_memory(bundle, manifest, asked).token_budgets
        return tokens

    def fits(memory_bytes: int) -> bool:
        try:
            return tokens_for(memory_bytes) >= 64
        except InvalidInputError:
            return False

    with pytest.raises(InvalidInputError, match=r"memory 50 MiB; a process with an engine of \d+ tokens") as refused:
        tokens_for(50 << 20)
    most = int(str(refused.value).split(" needs ")[1].split()[0]) << 20
    least = most - (1 << 20)
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if fits(middle) else (middle, most)
    assert 64 <= tokens_for(most) < tokens_for(most + (1 << 20)) < tokens_for(most + (4 << 30)) == 16384
    with pytest.raises(InvalidInputError, match="--memory with tensorrt"):
        BuildRequest(backend="tensorrt", memory_bytes=1 << 30)


def test_doctor_compares_the_engines_with_what_the_process_may_have(built: Path) -> None:
    manifest = manifests.load(built)
    (enough,) = memory_findings(built, manifest, 1 << 30)
    assert enough.state is State.FOUND
    (little,) = memory_findings(built, manifest, 64 << 20)
    assert little.state is State.PROBLEM
    assert "this process may have 64 MiB" in little.text
    assert little.remedy == (f"navit-edge build-engine {built} --backend openvino --memory 64MiB",)
