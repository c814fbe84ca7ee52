"""Options of a build: what is not known is refused with what is."""

from __future__ import annotations

from pathlib import Path

import pytest

from navit_edge.compile.compiler_options import CompilerOptions, parse_size
from navit_edge.compile.request import BuildRequest, parse_numbers, parse_words
from navit_edge.compile.targets import COMPUTE_CAPABILITIES, check_precision, float_precision, precisions_of
from navit_edge.errors import InvalidInputError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "onnx"}, "unknown backend 'onnx'; known: openvino, tensorrt-rtx, tensorrt"),
        (
            {"backend": "openvino", "precision": ("int4",)},
            "unknown precision 'int4'; known: fp32, fp16, bf16, int8, fp8",
        ),
        ({"backend": "openvino", "precision": ("fp16",)}, "precision fp16 for openvino; it can do fp32"),
        ({"backend": "openvino", "targets": ("sm86",)}, "unknown target 'sm86' for openvino; known: cpu"),
        ({"backend": "tensorrt-rtx", "targets": ("sm87",)}, "known: sm75, sm80, sm86, sm89, sm120, sm121"),
        ({"backend": "tensorrt", "targets": ("sm86",)}, "unknown target 'sm86' for tensorrt; known: native"),
        ({"backend": "tensorrt-rtx", "targets": ("sm75",), "precision": ("bf16",)}, "bf16 for sm75; it can do fp16"),
        ({"backend": "tensorrt-rtx", "targets": ("sm75", "sm89"), "precision": ("fp32",)}, "fp32 for sm75; it can do"),
        (
            {"backend": "tensorrt-rtx", "targets": ("sm86", "sm89"), "precision": ("fp8",)},
            "fp8 for sm86; it can do bf16",
        ),
        (
            {"backend": "tensorrt-rtx", "targets": ("sm75",), "precision": ("fp8",)},
            "fp8 for sm75; it can do fp16, int8; fp8 needs sm89",
        ),
        ({"backend": "openvino", "precision": ("fp8",)}, "fp8 for openvino, which computes .* it can do int8, fp32"),
        (
            {"backend": "tensorrt-rtx", "fp32_trunk": True, "precision": ("bf16", "int8")},
            "--fp32-trunk with precision int8, whose layers are not in float32",
        ),
        ({"backend": "tensorrt-rtx", "targets": ("native", "sm86")}, "expected native alone"),
        (
            {"backend": "tensorrt-rtx", "lowering": "fused"},
            "unknown lowering 'fused'; known: auto, masked, padded, packed",
        ),
        ({"backend": "tensorrt-rtx", "lowering": "padded"}, "padded for tensorrt-rtx: .* it can do masked"),
        ({"backend": "tensorrt", "lowering": "padded"}, "padded for tensorrt: .* it can do masked"),
        ({"backend": "openvino", "lowering": "packed"}, "packed for openvino, .* it can do padded, masked"),
        (
            {"backend": "tensorrt-rtx", "strict": True},
            "--strict with precision left to the target; expected --precision",
        ),
        (
            {"backend": "tensorrt-rtx", "strict": True, "precision": ("fp32", "bf16")},
            "--strict with precision fp32,bf16",
        ),
        (
            {"backend": "tensorrt-rtx", "strict": True, "require_fused": True, "precision": ("fp32",)},
            "--strict with --require-fused",
        ),
        (
            {"backend": "tensorrt-rtx", "fp32_trunk": True, "targets": ("sm75", "sm89")},
            "--fp32-trunk for sm75, for which",
        ),
        ({"backend": "tensorrt-rtx", "precision": ("fp8",)}, "fp8 for sm86; it can do bf16"),
        ({"backend": "tensorrt-rtx", "fp32_trunk": True, "precision": ("fp32",)}, "--fp32-trunk with precision fp32"),
        (
            {"backend": "tensorrt-rtx", "timing_cache": Path("x")},
            "--timing-cache with tensorrt-rtx, which times nothing",
        ),
        (
            {"backend": "tensorrt-rtx", "compiler": CompilerOptions(hardware_compatibility="ampere+")},
            "--hardware-compatibility-level with tensorrt-rtx, .* --target sm86,sm89,sm120",
        ),
        (
            {"backend": "tensorrt", "compiler": CompilerOptions(hardware_compatibility="all")},
            "level 'all'; known: none",
        ),
        (
            {"backend": "tensorrt", "compiler": CompilerOptions(profiling_verbosity="loud")},
            "'loud'; known: layer_names",
        ),
        ({"backend": "tensorrt", "compiler": CompilerOptions(optimization_level=6)}, "level 6; expected 0 to 5"),
        ({"backend": "tensorrt", "compiler": CompilerOptions(max_aux_streams=-1)}, "aux streams -1; expected 0 and up"),
        ({"backend": "tensorrt", "compiler": CompilerOptions(workspace_bytes=0)}, "workspace 0; expected a size"),
        ({"backend": "openvino", "token_budgets": (0,)}, "token budget 0; expected 1 to"),
        ({"backend": "openvino", "token_budgets": (1 << 21,)}, "token budget 2097152; expected 1 to 1048576"),
        ({"backend": "openvino", "token_budgets": (8, 8)}, "token budgets 8,8 repeats itself"),
        ({"backend": "openvino", "max_images": (0,)}, "max images 0; expected 1 and up"),
        (
            {"backend": "openvino", "token_budgets": (8, 16, 32), "max_images": (1, 2)},
            r"2 values of max images \(1,2\) for 3 token budgets; expected one for all or one for each",
        ),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        BuildRequest(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "a", "256,", "256;512", "-1", "1.5", "256,x", "9999999999"])
def test_numbers_that_are_none_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInputError, match="such as 256,1024,4096"):
        parse_numbers(text, what="token budgets")


def test_lists_are_read_with_or_without_spaces_and_in_any_case() -> None:
    assert parse_numbers("256, 1024,4096", what="token budgets") == (256, 1024, 4096)
    assert parse_words("SM86, sm89") == ("sm86", "sm89")


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"engine_per_budget": True}, "--engine-per-budget"),
        ({"strict": True}, "--strict"),
        ({"fp32_trunk": True}, "--fp32-trunk"),
        ({"require_fused": True}, "--require-fused"),
        ({"timing_cache": Path("cache")}, "--timing-cache"),
        ({"compiler": CompilerOptions(optimization_level=3)}, "--builder-optimization-level"),
        ({"compiler": CompilerOptions(workspace_bytes=1)}, "--workspace"),
        ({"compiler": CompilerOptions(max_aux_streams=0)}, "--max-aux-streams"),
        ({"compiler": CompilerOptions(version_compatible=True)}, "--version-compatible"),
        ({"compiler": CompilerOptions(hardware_compatibility="ampere+")}, "--hardware-compatibility-level"),
        ({"compiler": CompilerOptions(profiling_verbosity="none")}, "--profiling-verbosity"),
        ({"compiler": CompilerOptions(strip_plan=True)}, "--strip-plan"),
    ],
)
def test_options_of_tensorrt_are_refused_for_openvino(option: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} with openvino, which has no such option"):
        BuildRequest(backend="openvino", **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "able"),
    [
        ("sm75", "fp16 int8"),
        ("sm80", "bf16 fp16 fp32 int8"),
        ("sm86", "bf16 fp16 fp32 int8"),
        ("sm89", "bf16 fp16 fp32 int8 fp8"),
        ("sm120", "bf16 fp16 fp32 int8 fp8"),
        ("sm121", "bf16 fp16 fp32 int8 fp8"),
    ],
)
def test_each_target_says_what_it_can_do(target: str, able: str) -> None:
    assert target in COMPUTE_CAPABILITIES
    assert precisions_of("tensorrt-rtx", target) == tuple(able.split())
    for precision in ("fp32", "fp16", "bf16", "int8", "fp8"):
        if precision in able.split():
            check_precision("tensorrt-rtx", precision, (target,))
        else:
            with pytest.raises(InvalidInputError, match=f"{precision} for {target}; it can do (bf16, )?fp16"):
                check_precision("tensorrt-rtx", precision, (target,))


@pytest.mark.parametrize(
    ("precision", "targets", "beside"),
    [
        ("int8", ("sm75",), "fp16"),
        ("int8", ("sm86", "sm89"), "bf16"),
        ("fp8", ("sm89",), "bf16"),
        ("fp16", ("sm89",), "fp16"),
        ("fp32", ("sm75",), "fp32"),
    ],
)
def test_beside_quantized_layers_computes_what_all_targets_have(
    precision: str, targets: tuple[str, ...], beside: str
) -> None:
    assert float_precision(precision, targets) == beside


def test_tensorrt_itself_computes_float32_on_turing() -> None:
    assert precisions_of("tensorrt", "sm75") == ("fp16", "fp32", "int8")


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512 << 20), ("512M", 512 << 20), ("2G", 2 << 30), ("1.5GiB", 3 << 29), ("64k", 64 << 10), ("100B", 100)],
)
def test_sizes_are_read_as_trtexec_reads_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "2T", "1 2", "1e9"])
def test_sizes_that_are_none_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInputError, match="such as 512"):
        parse_size(text)
