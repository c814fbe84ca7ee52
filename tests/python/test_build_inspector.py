"""What TensorRT's inspector says of an engine, as it stands in the build report. The library is a stand-in with its
interface: no engine opens on a machine without a GPU.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from navit_edge.compile import inspector
from navit_edge.compile.fusion import Fusion

#: Names in the forms that TensorRT 10 gives: strings at layer_names_only, objects at detailed.
NAMES = ["Reformatting CopyNode for patches", "__myl_Move_0", "_gemm_mha_v2_0x1f", "__myl_Fc_3", "_gemm_mha_v2_0x2e"]


def library(answer: str, *, opens: bool = True) -> Any:
    engine = SimpleNamespace(
        create_engine_inspector=lambda: SimpleNamespace(get_engine_information=lambda form: answer)
    )
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if opens else None)
    return SimpleNamespace(
        Runtime=lambda log: runtime, LayerInformationFormat=SimpleNamespace(JSON="json"), __version__="10.14"
    )


LOG = SimpleNamespace(last_error=lambda: "no CUDA device")


@pytest.mark.parametrize("layers", [NAMES, [{"Name": name, "LayerType": "kgen"} for name in NAMES]])
def test_kernels_of_fused_attention_are_found_by_name(layers: list[Any]) -> None:
    found = inspector.describe(library(json.dumps({"Layers": layers})), b"plan", LOG)
    assert found == {"layers": 5, "attention_kernels": ["_gemm_mha_v2_0x1f", "_gemm_mha_v2_0x2e"]}


@pytest.mark.parametrize(
    ("trt", "why"),
    [
        (library("", opens=False), "the engine does not open here: no CUDA device"),
        (library("no JSON"), "the inspector's answer has another form"),
        (library("{}"), "the inspector's answer has another form"),
        (library('{"Layers": []}'), "build with --profiling-verbosity layer_names_only"),
        (SimpleNamespace(), "Runtime"),
    ],
)
def test_where_there_is_no_answer_the_report_says_why(trt: Any, why: str) -> None:
    found = inspector.describe(trt, b"plan", LOG)
    assert list(found) == ["inspector"]
    assert why in found["inspector"]


def test_names_decide_only_what_memory_leaves_open() -> None:
    names = {"attention_kernels": ["_gemm_mha_v2_0x1f", "_gemm_mha_v2_0x2e"]}
    open_question = Fusion(fused=None, evidence="one budget alone decides nothing")
    found = inspector.add_evidence(open_question, names, depth=2)
    assert (found.fused, found.method) == (True, "inspector")
    assert found.evidence.startswith("the inspector names 2 kernels of fused attention, such as _gemm_mha_v2_0x1f")
    assert inspector.add_evidence(open_question, names, depth=3).fused is None
    not_fused = Fusion(fused=False, evidence="memory grows with the square", method="probe")
    assert inspector.add_evidence(not_fused, names, depth=2).fused is False
    assert inspector.add_evidence(open_question, {"attention_kernels": []}, depth=2) == open_question
