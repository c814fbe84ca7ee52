"""Which graph an engine is built from: the real library is asked for its packed kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import openvino
import pytest
from tiny_bundle import make_bundle, pack_inputs

from navit_edge import manifest as manifests
from navit_edge.build import BuildRequest, build_engines, lowering
from navit_edge.build.report import BuildReport
from navit_edge.errors import BackendError, BundleError
from navit_edge.manifest import Manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.navit")


def with_packed_graph(manifest: Manifest) -> Manifest:
    """As an exporter of packed graphs would leave it."""
    masked = manifest.graphs[0]
    packed = msgspec.structs.replace(masked, id="packed", lowering="packed")
    return msgspec.structs.replace(manifest, graphs=(*manifest.graphs, packed))


def choose(manifest: Manifest, wanted: str, refusal: str = "") -> lowering.Choice:
    return lowering.choose(manifest, wanted, backend="tensorrt", probe=lambda: refusal)


def test_the_library_is_asked_for_its_packed_kernel_and_its_refusal_is_recognized() -> None:
    import tensorrt_rtx

    refusal = lowering.packed_kernel("tensorrt_rtx", ["sm86", "sm89"])
    assert refusal == f"tensorrt_rtx {tensorrt_rtx.__version__} has no packed attention kernel for sm86+sm89"


def test_a_library_that_cannot_be_asked_has_no_kernel() -> None:
    assert "could not be asked" in lowering.packed_kernel("no_such_library", ["sm86"])


def test_a_library_that_does_not_answer_has_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 1)

    monkeypatch.setattr(subprocess, "run", stuck)
    assert "gave no answer" in lowering.packed_kernel("tensorrt_rtx", ["sm86"])


def test_auto_takes_packed_where_the_bundle_has_the_graph_and_the_library_the_kernel(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    both = with_packed_graph(manifest)
    for found, refusal, taken, reason in (
        (manifest, "", "masked", "auto: the bundle has no packed graph"),
        (both, "it has no kernel", "masked", "auto: it has no kernel"),
        (both, "", "packed", "auto: the library has a kernel for packed attention"),
    ):
        choice = choose(found, "auto", refusal)
        assert (choice.graph.lowering, choice.reason) == (taken, reason)


def test_what_is_asked_for_is_taken_or_refused_with_the_reason(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    both = with_packed_graph(manifest)
    assert choose(both, "masked").graph.lowering == "masked"
    assert choose(both, "packed").graph.lowering == "packed"
    with pytest.raises(BackendError, match="packed for tensorrt: it has no kernel; build with --lowering masked"):
        choose(both, "packed", "it has no kernel")
    with pytest.raises(BackendError, match="has the kernel, but the bundle has no packed graph"):
        choose(manifest, "packed")
    only_padded = msgspec.structs.replace(manifest, graphs=manifest.graphs[1:])
    for wanted in ("auto", "masked"):
        with pytest.raises(BundleError, match="no graph of the lowering 'masked', only padded"):
            choose(only_padded, wanted)


def test_the_report_says_why_masked_was_taken(bundle: Path) -> None:
    request = BuildRequest(backend="tensorrt-rtx", token_budgets=(64,), targets=("sm89",))
    (engine,) = build_engines(bundle, request)
    report = msgspec.json.decode((bundle / str(engine.report)).read_bytes(), type=BuildReport)
    assert (report.lowering, report.lowering_reason) == ("masked", "auto: the bundle has no packed graph")


def test_openvino_builds_the_masked_graph_where_it_is_asked_to(bundle: Path) -> None:
    build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",)))
    (engine,) = build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",), lowering="masked"))
    assert (engine.id, engine.graph) == ("openvino-cpu-masked-fp32", "masked")
    assert [e.graph for e in manifests.load(bundle).engines] == ["padded", "masked"]
    inputs = pack_inputs([(3, 4), (5, 2), (1, 7)])
    session = onnxruntime.InferenceSession(bundle / "graphs" / "masked.onnx")
    compiled = openvino.Core().import_model((bundle / engine.file).read_bytes(), "CPU", dict(engine.options))
    results = compiled(inputs)
    for output, expected in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        np.testing.assert_allclose(results[output.name], expected, atol=1e-5)
