"""TensorRT-RTX engines, compiled for real and ahead of time; no GPU, so nothing here runs one.

That attention is fused shows in the activation memory: it grows with the budget, not with its square.
"""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import msgspec
import onnx
import onnx.helper
import pytest
from tiny_bundle import TinyConfig, make_bundle, make_graph

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Budget, EngineGroup
from navit_edge.compile import BuildRequest, CompilerOptions, Event, build_engines, tensorrt_common, tensorrt_rtx
from navit_edge.compile import tensorrt as tensorrt_builder
from navit_edge.compile.job import Emit, Outcome, Task
from navit_edge.compile.report import BuildReport
from navit_edge.errors import BackendError, BundleError, InvalidInputError, MissingPackageError

#: Realistic width, few layers: what is fused does not depend on depth.
SMALL = TinyConfig(width=384, depth=2, heads=6, patch_px=16)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("small") / "small.navit", SMALL)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.navit")


def read_report(bundle: Path, report: str | None) -> BuildReport:
    assert report is not None
    return msgspec.json.decode((bundle / report).read_bytes(), type=BuildReport)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_activation_memory_grows_linearly_with_the_budget(small: Path, tmp_path: Path, precision: str) -> None:
    bundle = shutil.copytree(small, tmp_path / "small.navit")
    events: list[Event] = []
    request = BuildRequest(
        backend="tensorrt-rtx", token_budgets=(8192, 4096), precision=(precision,), targets=("sm86", "sm89", "sm120")
    )
    (engine,) = build_engines(bundle, request, events.append)
    assert [budget.tokens for budget in engine.budgets] == [4096, 8192]
    at_4096, at_8192 = (budget.activation_bytes for budget in engine.budgets)
    assert at_4096 is not None
    assert at_8192 is not None
    scores_bytes = SMALL.heads * 4096 * 4096 * 2  # one T x T table of 16-bit scores
    assert at_4096 < scores_bytes / 2
    assert at_8192 / at_4096 <= 2.2
    assert not [event.note for event in events if event.note]
    report = read_report(bundle, engine.report)
    assert [profile.budget for profile in report.profiles] == list(engine.budgets)


def test_an_unfused_graph_is_noticed_and_said(small: Path, tmp_path: Path) -> None:
    """Float32 attention is not fused: a control for the test above."""
    model = make_graph(TinyConfig(width=384, depth=1, heads=6, patch_px=16), "masked")
    onnx.save(model, tmp_path / "masked.onnx")
    (job,) = tensorrt_rtx.plan(
        manifests.load(small),
        BuildRequest(backend="tensorrt-rtx", token_budgets=(1024, 4096), precision=("fp32",), targets=("sm89",)),
    )
    task = Task(job=job, graph_path=str(tmp_path / "masked.onnx"), output_path=str(tmp_path / "out.plan"))
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt_common.precisions.Conversion, "convert", lambda one: one._model)
        outcome = tensorrt_rtx.build(task, events.append)
    first, last = (budget.activation_bytes for budget in outcome.budgets)
    assert first is not None
    assert last is not None
    assert last / first > 6
    assert outcome.fusion is not None
    assert outcome.fusion.fused is False
    assert [point.tokens for point in outcome.fusion.points] == [4096, 8192, 16384]
    assert (outcome.fusion.bytes_per_token_pair or 0) > 2 * SMALL.heads  # a 16-bit score for each head at least
    (note,) = [event.note for event in events if event.note]
    assert note.startswith("attention is not fused: a build with 4096, 8192 and 16384 tokens takes ")
    required = msgspec.structs.replace(task, require_fused=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt_common.precisions.Conversion, "convert", lambda one: one._model)
        with pytest.raises(BackendError, match=r"is not fused, and --require-fused was given: .* square"):
            tensorrt_rtx.build(required, events.append)


@pytest.mark.parametrize(("width", "heads"), [(192, 3), (768, 12), (1024, 16)])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_fusion_is_proven_at_every_width(tmp_path: Path, width: int, heads: int, precision: str) -> None:
    bundle = make_bundle(tmp_path / "wide.navit", TinyConfig(width=width, depth=1, heads=heads, patch_px=16))
    request = BuildRequest(
        backend="tensorrt-rtx", token_budgets=(256,), precision=(precision,), targets=("sm89",), require_fused=True
    )
    (engine,) = build_engines(bundle, request)
    fusion = read_report(bundle, engine.report).fusion
    assert fusion is not None
    assert fusion.fused
    assert abs(fusion.bytes_per_token_pair or 0) < 0.25


def test_sm75_gets_an_engine_of_its_own_in_fp16(bundle: Path) -> None:
    request = BuildRequest(backend="tensorrt-rtx", token_budgets=(64, 256), targets=("sm89", "sm75", "sm86"))
    engines = build_engines(bundle, request)
    assert [(engine.id, engine.target, engine.precision) for engine in engines] == [
        ("tensorrt-rtx-sm86+sm89-bf16", "sm86+sm89", "bf16"),
        ("tensorrt-rtx-sm75-fp16", "sm75", "fp16"),
    ]
    for engine in engines:
        assert engine.file == f"engines/{engine.id}.plan"
        assert engine.graph == "masked"
        assert (engine.strategy, engine.dynamic_tokens) == ("first-fit-decreasing", False)
        assert [(b.tokens, b.images, b.target_tokens) for b in engine.budgets] == [(64, 2, 64), (256, 8, 256)]
        assert all(budget.activation_bytes for budget in engine.budgets)
        report = read_report(bundle, engine.report)
        assert report.details["compute_capabilities"] == engine.target.split("+")
        assert report.engine_bytes == (bundle / engine.file).stat().st_size
        shapes = report.profiles[1].shapes
        assert shapes["patches"].min == shapes["patches"].opt == shapes["patches"].max == (256, 48)
        assert shapes["grid_hw"].max == (8, 2)
        assert set(report.versions) == {"tensorrt-rtx", "onnx"}
    hashing.verify_files(bundle, manifests.load(bundle))


def test_a_second_build_gives_the_same_bytes(bundle: Path) -> None:
    request = BuildRequest(
        backend="tensorrt-rtx", token_budgets=(64,), precision=("fp16",), targets=("sm86",), force=True
    )
    first, second = ((bundle / build_engines(bundle, request)[0].file).read_bytes() for _ in range(2))
    assert first == second


def test_images_may_be_given_for_each_budget(bundle: Path) -> None:
    request = BuildRequest(backend="tensorrt-rtx", token_budgets=(256, 64), max_images=(3, 100))
    assert tensorrt_common.make_budgets(request) == (
        Budget(tokens=64, images=64, target_tokens=64),
        Budget(tokens=256, images=3, target_tokens=256),
    )


def test_what_the_parser_refuses_is_quoted(bundle: Path, tmp_path: Path) -> None:
    model = make_graph(TinyConfig(), "masked")
    model.graph.node.append(onnx.helper.make_node("Det", ["tokens"], ["unused"], name="determinant"))
    onnx.save(model, tmp_path / "masked.onnx")
    (job,) = tensorrt_rtx.plan(
        manifests.load(bundle), BuildRequest(backend="tensorrt-rtx", token_budgets=(64,), targets=("sm89",))
    )
    task = Task(job=job, graph_path=str(tmp_path / "masked.onnx"), output_path=str(tmp_path / "out.plan"))
    with pytest.raises(BackendError, match=r"tensorrt-rtx .* cannot parse graphs/masked\.onnx: .*Det \(determinant\)"):
        tensorrt_rtx.build(task, lambda event: None)


def test_what_the_compiler_refuses_is_quoted(bundle: Path, tmp_path: Path) -> None:
    (job,) = tensorrt_rtx.plan(
        manifests.load(bundle),
        BuildRequest(backend="tensorrt-rtx", token_budgets=(64,), precision=("bf16",), targets=("sm89",)),
    )
    job = msgspec.structs.replace(job, compute_capabilities=("sm75",))  # past the check that refuses it
    graph = str(bundle / "graphs" / "masked.onnx")
    with pytest.raises(BackendError, match=r"cannot build tensorrt-rtx-sm89-bf16: .*sm75"):
        tensorrt_rtx.build(Task(job=job, graph_path=graph, output_path=str(tmp_path / "x")), lambda event: None)


def test_without_tensorrt_rtx_the_command_that_installs_it_is_given(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "navit-edge\[tensorrt-rtx\]"'):
        build_engines(bundle, BuildRequest(backend="tensorrt-rtx"))


# --- tensorrt: the same code; what of it runs without a GPU


def test_without_tensorrt_the_remedy_fits_the_machine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for machine, remedy in (("x86_64", "python3-libnvinfer"), ("aarch64", "nvidia-jetpack")):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        with pytest.raises(MissingPackageError, match=remedy):
            build_engines(bundle, BuildRequest(backend="tensorrt"))


def fake_tensorrt(monkeypatch: pytest.MonkeyPatch, version: str, capability: int) -> None:
    fake = SimpleNamespace(__version__=version, Builder=object)
    monkeypatch.setattr(tensorrt_builder, "_import_tensorrt", lambda: fake)
    monkeypatch.setattr(tensorrt_builder, "device_capability", lambda: capability)


@pytest.mark.parametrize(
    ("version", "capability", "options", "kind", "message"),
    [
        ("8.6.1", 87, {}, BackendError, "TensorRT 8.6 is installed; expected 10.3 or later"),
        ("10.14.1", 75, {"precision": ("bf16",)}, InvalidInputError, "bf16 for sm75; it can do fp16, fp32"),
        (
            "10.14.1",
            86,
            {"precision": ("fp8",)},
            InvalidInputError,
            "fp8 for sm86; it can do bf16, fp16, fp32, int8; fp8 needs",
        ),
        ("10.14.1", 89, {"precision": ("fp8",)}, BundleError, "no masked graph in fp8, .*: navit-edge quantize BUNDLE"),
        (
            "10.14.1",
            75,
            {"compiler": CompilerOptions(hardware_compatibility="ampere+")},
            InvalidInputError,
            r"ampere\+ on sm75; expected sm80",
        ),
    ],
)
def test_tensorrt_refuses_what_would_go_wrong(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    capability: int,
    options: dict[str, object],
    kind: type[Exception],
    message: str,
) -> None:
    fake_tensorrt(monkeypatch, version, capability)
    with pytest.raises(kind, match=message):
        tensorrt_builder.plan(manifests.load(bundle), BuildRequest(backend="tensorrt", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("capability", "precision"), [(75, "fp16"), (87, "bf16")])
def test_tensorrt_plans_for_the_gpu_of_this_machine(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capability: int, precision: str
) -> None:
    fake_tensorrt(monkeypatch, "10.14.1.48", capability)
    (job,) = tensorrt_builder.plan(manifests.load(bundle), BuildRequest(backend="tensorrt"))
    assert job.name == f"tensorrt-sm{capability}-{precision}"
    assert [budget.tokens for budget in job.budgets] == [256, 1024, 4096]


@pytest.mark.parametrize(
    ("version", "asked", "expected"),
    [
        ("10.3.0.26", False, [[4096], [1024], [256]]),
        ("10.7.0", False, [[4096], [1024], [256]]),
        ("10.8.0", False, [[256, 1024, 4096]]),
        ("10.8.0", True, [[4096], [1024], [256]]),
    ],
)
def test_where_several_profiles_are_unsafe_each_budget_gets_an_engine_the_largest_first(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, version: str, asked: bool, expected: list[list[int]]
) -> None:
    fake_tensorrt(monkeypatch, version, 87)
    request = BuildRequest(backend="tensorrt", engine_per_budget=asked)
    jobs = tensorrt_builder.plan(manifests.load(bundle), request)
    assert [[budget.tokens for budget in job.budgets] for job in jobs] == expected
    if len(jobs) > 1:
        assert [job.engines[0].id for job in jobs] == [f"tensorrt-sm87-bf16-t{t}" for (t,) in expected]
        for job in jobs:
            assert job.engines[0].group == EngineGroup(
                id="tensorrt-sm87-bf16-t256+t1024+t4096",
                members=("tensorrt-sm87-bf16-t256", "tensorrt-sm87-bf16-t1024", "tensorrt-sm87-bf16-t4096"),
            )
        notes = " ".join(jobs[0].notes)
        assert "a session opens them together" in notes
        assert "run --engine tensorrt-sm87-bf16-t256+t1024+t4096" in notes
        assert ("wrong numbers for engines with several profiles" in notes) == (not asked)
        assert not any(job.notes for job in jobs[1:])


def test_one_budget_needs_no_engine_of_its_own(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tensorrt(monkeypatch, "10.3.0.26", 87)
    (job,) = tensorrt_builder.plan(manifests.load(bundle), BuildRequest(backend="tensorrt", token_budgets=(1024,)))
    assert job.name == "tensorrt-sm87-bf16"
    assert job.engines[0].group is None
    assert job.notes == ()


def test_without_a_driver_the_two_ways_out_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(BackendError, match=r"no NVIDIA driver here .*run the build on the target, or .*tensorrt-rtx"):
        tensorrt_builder.device_capability()


def test_tensorrt_builds_by_the_same_code(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX's module stands in for TensorRT's, of which it has the interface, given a target to compile for."""
    import tensorrt_rtx as trt

    def plan() -> Task:
        fake_tensorrt(monkeypatch, "10.14.1", 89)
        (job,) = tensorrt_builder.plan(manifests.load(bundle), BuildRequest(backend="tensorrt", token_budgets=(64,)))
        graph = str(bundle / "graphs" / "masked.onnx")
        return Task(job=job, graph_path=graph, output_path=str(tmp_path / "out.plan"))

    real = tensorrt_common.build

    def build_for_sm89(task: Task, emit: Emit, library: tensorrt_common.Library) -> Outcome:
        def configure(config: trt.IBuilderConfig) -> None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(trt.ComputeCapability.SM89, 0)

        return real(task, emit, dataclasses.replace(library, configure=configure))

    cache = tmp_path / "timing.cache"
    task = msgspec.structs.replace(plan(), timing_cache_path=str(cache))
    monkeypatch.setattr(tensorrt_builder, "_import_tensorrt", lambda: trt)
    monkeypatch.setattr(tensorrt_common, "build", build_for_sm89)
    outcome = tensorrt_builder.build(task, lambda event: None)
    assert (tmp_path / "out.plan").stat().st_size > 100_000
    assert outcome.builder == {"tensorrt": trt.__version__}
    assert outcome.budgets[0].activation_bytes
    assert outcome.fusion is not None
    assert outcome.fusion.fused is None  # one small budget proves nothing, and a second build costs minutes on a device
    first = cache.read_bytes()
    assert first
    assert not list(tmp_path.glob(".timing*"))
    proven = msgspec.structs.replace(task, require_fused=True, timing_cache_path=None)
    fusion = tensorrt_builder.build(proven, lambda event: None).fusion
    assert fusion is not None
    assert fusion.fused is True
    cache.write_bytes(b"not a cache")
    with pytest.raises(BackendError, match=r"timing\.cache is no timing cache of this version and this GPU; remove it"):
        tensorrt_builder.build(task, lambda event: None)
    assert cache.read_bytes() == b"not a cache"
