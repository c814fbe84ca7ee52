"""Real builds, ahead of time, of what the exporter makes, S/16 two layers deep, with every option. Nothing here runs an
engine. The whole S/16: test_build_s16.py.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from s16_builds import BUILDS, Photographs, add_quantized_graphs, read_report
from tiny_bundle import make_bundle

from navit_edge.bundle import manifest as manifests
from navit_edge.compile import BuildRequest, CompilerOptions, Event, build_engines
from navit_edge.compile.runner import plan_builds
from navit_edge.errors import BackendError, BundleError
from navit_edge_export.model import NaViTConfig
from navit_edge_export.onnx_export import export_bundle


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(NaViTConfig(depth=2), tmp_path_factory.mktemp("matrix") / "s16x2.navit", lowerings=("masked",))


@pytest.fixture(scope="module")
def quantized(exported: Path, photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_quantized_graphs(exported, photographs, tmp_path_factory.mktemp("images"))


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "s16x2.navit")


@pytest.mark.parametrize(("targets", "precision"), BUILDS)
def test_the_same_build_comes_out_the_same_in_a_process_whose_addresses_moved(
    quantized: Path, tmp_path: Path, targets: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(quantized, tmp_path / "s16x2.navit"))
    request = BuildRequest(
        backend="tensorrt-rtx",
        precision=(precision,),
        targets=tuple(targets.split("+")),
        token_budgets=(64, 256),
        force=True,
    )
    digests = []
    for padding in ("", "x" * 4000):
        monkeypatch.setenv("UNRELATED", padding)  # moves every address in a process that inherits it
        (engine,) = build_engines(bundle, request)
        digests.append(hashlib.sha256((bundle / engine.file).read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_quantized_layers_take_less_room_in_an_engine_than_16_bits(quantized: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(quantized, tmp_path / "s16x2.navit"))
    request = BuildRequest(
        backend="tensorrt-rtx", precision=("int8", "fp8", "bf16"), targets=("sm89",), token_budgets=(256,)
    )
    int8, fp8, bf16 = build_engines(bundle, request)
    weights = 2 * (3 * 384 * 384 + 384 * 384 + 2 * 4 * 384 * 384)  # of the quantized layers
    for engine in (int8, fp8):
        saved = (bundle / bf16.file).stat().st_size - (bundle / engine.file).stat().st_size
        assert saved > 0.8 * weights, "a byte less for each weight"


def test_what_a_dry_run_says_of_a_quantized_graph(quantized: Path) -> None:
    request = BuildRequest(backend="tensorrt-rtx", precision=("int8",), targets=("sm75", "sm89"))
    for item, beside in zip(plan_builds(quantized, request), ("bf16", "fp16"), strict=True):
        preview = item.preview()
        assert preview.operators["Gemm"]["int8"] == 8  # qkv, proj, up and down of two layers
        assert preview.operators["MatMul"][beside] == 6  # attention's, pooling's
        assert set(preview.operators["LayerNormalization"]) == {"fp32"}
        assert set(preview.operators["Softmax"]) == {"fp32"}


def test_without_a_quantized_graph_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    for backend, options in (("tensorrt-rtx", {"targets": ("sm89",)}), ("openvino", {})):
        request = BuildRequest(backend=backend, precision=("int8",), **options)  # type: ignore[arg-type]
        with pytest.raises(BundleError, match="navit-edge quantize BUNDLE --calibration DIR --precision int8"):
            build_engines(bundle, request)


def test_turing_beside_others_gets_an_engine_of_its_own_in_what_it_can_do(bundle: Path) -> None:
    request = BuildRequest(backend="tensorrt-rtx", targets=("sm75", "sm89"), token_budgets=(256,))
    engines = build_engines(bundle, request)
    assert [(engine.target, engine.precision) for engine in engines] == [("sm89", "bf16"), ("sm75", "fp16")]


def test_strict_float32_is_not_fused_and_says_so(bundle: Path) -> None:
    request = BuildRequest(
        backend="tensorrt-rtx", precision=("fp32",), strict=True, targets=("sm89",), token_budgets=(1024, 4096)
    )
    (engine,) = build_engines(bundle, request)
    assert engine.id == "tensorrt-rtx-sm89-fp32-strict"
    report = read_report(bundle, engine.report)
    assert report.fused is False
    assert report.settings == {"--strict": "true"}
    assert any("attention in float32 is not fused" in note for note in report.notes)
    small, large = (budget.activation_bytes or 0 for budget in engine.budgets)
    assert large / small > 8


def test_a_float32_trunk_stays_fused(bundle: Path) -> None:
    request = BuildRequest(
        backend="tensorrt-rtx", fp32_trunk=True, targets=("sm89",), token_budgets=(1024,), require_fused=True
    )
    (engine,) = build_engines(bundle, request)
    assert engine.id.endswith("-fp32-trunk")
    assert read_report(bundle, engine.report).fused is True


def test_an_engine_for_each_budget_holds_that_budget_alone(bundle: Path) -> None:
    request = BuildRequest(
        backend="tensorrt-rtx", engine_per_budget=True, targets=("sm89",), token_budgets=(256, 1024), force=True
    )
    large, small = build_engines(bundle, request)
    assert [engine.id for engine in (large, small)] == ["tensorrt-rtx-sm89-bf16-t1024", "tensorrt-rtx-sm89-bf16-t256"]
    assert [[budget.tokens for budget in engine.budgets] for engine in (large, small)] == [[1024], [256]]
    assert large.file != small.file
    reports = [read_report(bundle, engine.report) for engine in (large, small)]
    assert [report.fused for report in reports] == [True, True]
    assert reports[0].fusion == reports[1].fusion  # proven once
    manifest = manifests.load(bundle)
    assert manifest.engines == (large, small)
    group = manifests.find_engine(manifest, "tensorrt-rtx-sm89-bf16-t256+t1024")
    assert [budget.tokens for budget in group.budgets] == [256, 1024]
    assert all(engine.group is not None and engine.group.members == (small.id, large.id) for engine in (large, small))

    more = BuildRequest(
        backend="tensorrt-rtx", engine_per_budget=True, targets=("sm89",), token_budgets=(256, 1024, 2048)
    )
    events: list[Event] = []
    regrouped = build_engines(bundle, more, events.append)
    assert {event.engine for event in events if event.phase == "already built"} == {large.id, small.id}
    assert [engine.file for engine in regrouped[1:]] == [large.file, small.file]
    manifest = manifests.load(bundle)
    assert {engine.id: engine for engine in manifest.engines} == {engine.id: engine for engine in regrouped}
    assert {engine.group.id for engine in regrouped if engine.group} == {"tensorrt-rtx-sm89-bf16-t256+t1024+t2048"}
    assert [b.tokens for b in manifests.find_engine(manifest, "tensorrt-rtx-sm89-bf16-t256+t1024+t2048").budgets] == [
        256,
        1024,
        2048,
    ]
    assert build_engines(bundle, more) == regrouped


def test_options_of_the_compiler_reach_it_and_the_report(bundle: Path) -> None:
    options = CompilerOptions(
        optimization_level=4,
        workspace_bytes=1 << 30,
        max_aux_streams=1,
        version_compatible=True,
        profiling_verbosity="detailed",
    )
    request = BuildRequest(backend="tensorrt-rtx", targets=("sm89",), token_budgets=(256, 4096), compiler=options)
    (engine,) = build_engines(bundle, request)
    assert engine.options == {"version_compatible": "true"}
    assert read_report(bundle, engine.report).settings == {
        "--builder-optimization-level": "4",
        "--workspace": "1073741824B",
        "--max-aux-streams": "1",
        "--version-compatible": "true",
        "--profiling-verbosity": "detailed",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            CompilerOptions(strip_plan=True),
            "strips weights only with a GPU of the target at hand; leave out --strip-plan",
        ),
        (CompilerOptions(workspace_bytes=1024), "--workspace allows 1024 bytes; raise it or lower --token-budgets"),
    ],
)
def test_what_the_compiler_refuses_because_of_an_option_is_said_with_the_remedy(
    bundle: Path, options: CompilerOptions, message: str
) -> None:
    before = sorted(bundle.rglob("*"))
    request = BuildRequest(backend="tensorrt-rtx", targets=("sm89",), token_budgets=(1024, 4096), compiler=options)
    with pytest.raises(BackendError, match=message):
        build_engines(bundle, request)
    assert sorted(bundle.rglob("*")) == before
