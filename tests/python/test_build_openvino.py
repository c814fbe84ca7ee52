"""OpenVINO engines: numbers against ONNX Runtime, for both precisions, from the one exported file."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import openvino
import pytest
from tiny_bundle import make_bundle, pack_inputs

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Budget, Sizing
from navit_edge.compile import BuildRequest, Event, build_engines
from navit_edge.compile import openvino as builder
from navit_edge.compile.report import BuildReport
from navit_edge.errors import BundleError, InvalidInputError, MissingPackageError

GRIDS = [(3, 4), (5, 2), (1, 7)]
TOLERANCE = {"fp32": 1e-5, "bf16": 6e-2}  # of outputs whose standard deviation is 0.5 to 1
HAS_BF16 = "bf16" in builder.cpu_precisions()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = make_bundle(tmp_path_factory.mktemp("openvino") / "tiny.navit")
    build_engines(bundle, BuildRequest(backend="openvino"))
    return bundle


def test_without_options_there_is_an_engine_for_each_precision_of_the_cpu_best_first(built: Path) -> None:
    manifest = manifests.load(built)
    expected = ["bf16", "fp32"] if HAS_BF16 else ["fp32"]
    assert [engine.precision for engine in manifest.engines] == expected
    assert [engine.id for engine in manifest.engines] == [f"openvino-cpu-{precision}" for precision in expected]
    assert {engine.file for engine in manifest.engines} == {"engines/openvino-cpu.blob"}
    for engine in manifest.engines:
        assert (engine.backend, engine.target, engine.graph) == ("openvino", "cpu", "padded")
        assert (engine.strategy, engine.dynamic_tokens) == ("similar-length", True)
        assert engine.budgets == (Budget(tokens=16384, images=1024, target_tokens=builder.TARGET_TOKENS),)
        assert engine.builder == {"openvino": openvino.get_version()}
    hashing.verify_files(built, manifest)


def test_each_engine_gives_the_numbers_of_onnx_runtime_in_its_own_precision(built: Path) -> None:
    session = onnxruntime.InferenceSession(built / "graphs" / "padded.onnx")
    inputs = pack_inputs(GRIDS, padded=True)
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
    error = {}
    for engine in manifests.load(built).engines:
        blob = (built / engine.file).read_bytes()
        compiled = openvino.Core().import_model(blob, "CPU", dict(engine.options))
        results = compiled(inputs)
        error[engine.precision] = max(np.abs(results[name] - value).max() for name, value in expected.items())
        assert error[engine.precision] <= TOLERANCE[engine.precision]
    if HAS_BF16:  # else the hint would have no effect
        assert error["bf16"] > 10 * error["fp32"]


def test_one_engine_takes_packs_of_any_size(built: Path) -> None:
    engine = next(engine for engine in manifests.load(built).engines if engine.precision == "fp32")
    compiled = openvino.Core().import_model((built / engine.file).read_bytes(), "CPU", dict(engine.options))
    session = onnxruntime.InferenceSession(built / "graphs" / "padded.onnx")
    for grids in ([(1, 1)], [(16, 16)], [(2, 3)] * 40):
        inputs = pack_inputs(grids, padded=True)
        results = compiled(inputs)
        for output, expected in zip(session.get_outputs(), session.run(None, inputs), strict=True):
            np.testing.assert_allclose(results[output.name], expected, atol=1e-5)


def test_the_report_says_how_the_engine_was_made(built: Path) -> None:
    manifest = manifests.load(built)
    for engine in manifest.engines:
        assert engine.report is not None
        report = msgspec.json.decode((built / engine.report).read_bytes(), type=BuildReport)
        assert report.id == engine.id
        assert report.peak_memory_bytes > 50e6
        assert report.engine_bytes == (built / engine.file).stat().st_size
        assert 0 < report.details["seconds"]["compile"] < report.seconds < 60
        assert report.versions["openvino"].startswith(openvino.__version__.split("-")[0])
        assert report.built_from == {
            name: manifest.files[name] for name in ("graphs/padded.onnx", "graphs/weights.bin")
        }
        (profile,) = report.profiles
        assert profile.budget == engine.budgets[0]
        assert profile.shapes["patches"].max == (16384, 48)
        assert profile.shapes["attention_index"].max == (1024, 16384)
        assert str(built) not in (built / engine.report).read_text()


def test_budgets_and_images_bound_the_one_dynamic_budget(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    request = BuildRequest(
        backend="openvino", token_budgets=(256, 1024), max_images=(16, 64), precision=("fp32",), targets=("cpu",)
    )
    (engine,) = build_engines(bundle, request)
    assert engine.budgets == (Budget(tokens=1024, images=64, target_tokens=min(builder.TARGET_TOKENS, 1024)),)


@pytest.mark.parametrize(
    "sizing",
    [
        Sizing(rule="token-cap", max_tokens=256),
        Sizing(rule="naflex", max_tokens=256),
        Sizing(rule="smart-resize", merge=2, min_pixels=256, max_pixels=256 * 16),
        Sizing(rule="longest-side", longest_px=64),
        Sizing(rule="fixed", height_px=64, width_px=64),
    ],
    ids=lambda sizing: sizing.rule,
)
def test_a_budget_below_the_largest_image_is_said(sizing: Sizing, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    manifest = manifests.load(bundle)
    preprocess = msgspec.structs.replace(manifest.preprocess, sizing=sizing)
    manifests.save(msgspec.structs.replace(manifest, preprocess=preprocess), bundle)
    events: list[Event] = []
    build_engines(bundle, BuildRequest(backend="openvino", token_budgets=(128,), precision=("fp32",)), events.append)
    (note,) = [event.note for event in events if event.note]
    assert note.startswith("the largest budget is 128 tokens, but preprocessing lets images of 256 through")


def test_bf16_is_refused_before_the_build_where_the_cpu_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "cpu_precisions", lambda: ("fp32",))
    bundle = make_bundle(tmp_path / "tiny.navit")
    with pytest.raises(InvalidInputError, match="bf16 for openvino on this CPU; it can do fp32"):
        build_engines(bundle, BuildRequest(backend="openvino", precision=("bf16",)))
    assert manifests.load(bundle).engines == ()
    (engine,) = build_engines(bundle, BuildRequest(backend="openvino"))
    assert engine.precision == "fp32"


def test_without_openvino_the_command_that_installs_it_is_given(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises((MissingPackageError, ImportError), match=r'pip install "navit-edge\[openvino\]"'):
        build_engines(built, BuildRequest(backend="openvino"))


def test_an_altered_graph_is_not_built(tmp_path: Path, built: Path) -> None:
    bundle = shutil.copytree(built, tmp_path / "tiny.navit")
    with (bundle / "graphs" / "weights.bin").open("r+b") as file:
        file.write(b"\x01\x02")
    with pytest.raises(BundleError, match=r"weights\.bin was altered"):
        build_engines(bundle, BuildRequest(backend="openvino", force=True))
