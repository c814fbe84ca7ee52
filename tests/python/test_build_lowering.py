"""Which graph an engine is built from: the real library is asked for its packed kernel."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto
from tiny_bundle import make_bundle, pack_inputs

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Budget, Manifest
from navit_edge.compile import BuildRequest, build_engines, lowering, packed_attention, runner, tensorrt_common
from navit_edge.compile.job import Profile
from navit_edge.compile.report import BuildReport
from navit_edge.errors import BackendError, BundleError

LOWERINGS = ("masked", "padded", "packed")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.navit")


@pytest.fixture
def packed_bundle(tmp_path: Path) -> Path:
    """With a packed graph, as `export --lowerings masked,padded,packed` leaves it."""
    return make_bundle(tmp_path / "packed.navit", lowerings=LOWERINGS)


def choose(manifest: Manifest, wanted: str, refusal: str = "", *, strict: bool = False) -> lowering.Choice:
    return lowering.choose(manifest, wanted, backend="tensorrt", probe=lambda: refusal, strict=strict)


def question(module: str = "tensorrt_rtx", targets: tuple[str, ...] = ("sm86", "sm89")) -> lowering.Question:
    return lowering.Question(
        module=module, targets=targets, types=("bf16", "fp16"), tokens=256, images=8, heads=4, head_width=64
    )


def test_the_library_is_asked_for_its_packed_kernel_and_its_refusal_is_recognized() -> None:
    import tensorrt_rtx

    refusal = lowering.packed_kernel(question())
    assert refusal == f"tensorrt_rtx {tensorrt_rtx.__version__} has no packed attention kernel for sm86+sm89"


def test_a_library_that_knows_another_form_of_the_operation_has_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT 11.0 takes the lengths two places later; here the graph is of that form, the library of the other."""
    import tensorrt_rtx

    def misplaced(*inputs: str, name: str) -> onnx.NodeProto:
        node = make_node(*inputs, name=name)
        node.input[:] = [*node.input[:4], "", "", *node.input[4:]]
        return node

    make_node = packed_attention.make_node
    monkeypatch.setattr(packed_attention, "make_node", misplaced)
    refusal = lowering._probe(question())
    assert "does not know the operation TRT_Attention in the form of TensorRT 11.1" in refusal
    assert tensorrt_rtx.__version__ in refusal


def test_the_question_is_the_models_attention_at_its_largest_budget(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    largest = Budget(tokens=1024, images=32, target_tokens=1024)
    asked = lowering.question(manifest, "tensorrt_rtx", ["sm89"], precisions=("bf16", "fp32", "fp16"), largest=largest)
    assert asked == lowering.Question(
        module="tensorrt_rtx",
        targets=("sm89",),
        types=("bf16", "fp16"),  # fp32 keeps attention in fp16
        tokens=1024,
        images=32,
        heads=4,
        head_width=16,
    )
    for kind, element in (("bf16", TensorProto.BFLOAT16), ("fp16", TensorProto.FLOAT16)):
        (node,) = lowering.probe_model(asked, kind).graph.node
        values = {value.name: value.type.tensor_type for value in lowering.probe_model(asked, kind).graph.input}
        assert [d.dim_value for d in values[node.input[0]].shape.dim] == [1024, 4, 16]
        assert [d.dim_value for d in values[node.input[4]].shape.dim] == [34]  # 32 images, the padding, and the end
        assert values["q"].elem_type == element


def test_a_library_that_cannot_be_asked_has_no_kernel() -> None:
    assert "could not be asked" in lowering.packed_kernel(question("no_such_library"))


def test_a_library_that_does_not_answer_has_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 1)

    monkeypatch.setattr(subprocess, "run", stuck)
    assert "gave no answer" in lowering.packed_kernel(question())


def test_auto_takes_packed_where_the_bundle_has_the_graph_and_the_library_the_kernel(
    bundle: Path, packed_bundle: Path
) -> None:
    manifest, both = manifests.load(bundle), manifests.load(packed_bundle)
    for found, refusal, taken, reason in (
        (manifest, "", "masked", "auto: the bundle has no packed graph"),
        (both, "it has no kernel", "masked", "auto: it has no kernel"),
        (both, "", "packed", "auto: the library has a kernel for packed attention"),
    ):
        choice = choose(found, "auto", refusal)
        assert (choice.graph.lowering, choice.reason) == (taken, reason)


def test_what_is_asked_for_is_taken_or_refused_with_the_reason(bundle: Path, packed_bundle: Path) -> None:
    manifest, both = manifests.load(bundle), manifests.load(packed_bundle)
    assert choose(both, "masked").graph.lowering == "masked"
    assert choose(both, "packed").graph.lowering == "packed"
    with pytest.raises(BackendError, match="packed for tensorrt: it has no kernel; build with --lowering masked"):
        choose(both, "packed", "it has no kernel")
    with pytest.raises(BackendError, match=r"no packed graph; export the model again with .*packed"):
        choose(manifest, "packed")
    only_padded = msgspec.structs.replace(manifest, graphs=manifest.graphs[1:])
    for wanted in ("auto", "masked"):
        with pytest.raises(BundleError, match="no graph of the lowering 'masked', only padded"):
            choose(only_padded, wanted)


def test_strict_takes_no_packed_attention_since_it_computes_in_16_bits(packed_bundle: Path) -> None:
    both = manifests.load(packed_bundle)
    choice = choose(both, "auto", strict=True)
    assert (choice.graph.lowering, choice.reason) == (
        "masked",
        "auto: packed attention is computed in 16 bits, and --strict asks for float32",
    )
    with pytest.raises(BackendError, match="--strict asks for float32; build with --lowering masked"):
        choose(both, "packed", strict=True)


def test_tensorrt_rtx_takes_masked_where_packed_is_refused_and_says_so(packed_bundle: Path) -> None:
    import tensorrt_rtx

    why = f"tensorrt_rtx {tensorrt_rtx.__version__} has no packed attention kernel for sm89"
    request = BuildRequest(backend="tensorrt-rtx", token_budgets=(64,), targets=("sm89",))
    (engine,) = build_engines(packed_bundle, request)
    report = msgspec.json.decode((packed_bundle / str(engine.report)).read_bytes(), type=BuildReport)
    assert (engine.graph, report.lowering_reason) == ("masked", f"auto: {why}")
    with pytest.raises(BackendError, match=f"packed for tensorrt-rtx: {why}; build with --lowering masked"):
        build_engines(packed_bundle, replace(request, lowering="packed"))


def test_the_packed_graph_is_built_where_the_kernel_is_said_to_be_there(
    packed_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan, and the real builder's refusal of the whole graph: of its kernel, not of anything else."""
    monkeypatch.setattr(lowering, "packed_kernel", lambda asked: "")
    request = BuildRequest(backend="tensorrt-rtx", token_budgets=(64, 256), max_images=(4,), targets=("sm89",))
    (planned,) = runner.plan_builds(packed_bundle, request)
    job = planned.job
    assert job.graph.lowering == "packed"
    assert job.lowering_reason == "auto: the library has a kernel for packed attention"
    profiles = tensorrt_common.build_profiles(job)
    assert [p["cu_seqlens"] for p in profiles] == [Profile(min=(5,), opt=(5,), max=(5,))] * 2
    with pytest.raises(BackendError, match=r"cannot build tensorrt-rtx-sm89-bf16-packed: .*no fused kernel") as caught:
        build_engines(packed_bundle, request)
    assert str(caught.value).endswith("; build with --lowering masked")


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
