"""Options of a build: what is not known is refused with what is."""

from __future__ import annotations

import pytest

from navit_edge.build.request import BuildRequest, parse_numbers, parse_words
from navit_edge.errors import InvalidInputError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "onnx"}, "unknown backend 'onnx'; known: openvino, tensorrt-rtx, tensorrt"),
        ({"backend": "openvino", "precision": ("int4",)}, "unknown precision 'int4'; known: fp32, fp16, bf16"),
        ({"backend": "openvino", "precision": ("fp16",)}, "precision fp16 for openvino; it can do fp32"),
        ({"backend": "openvino", "targets": ("sm86",)}, "unknown target 'sm86' for openvino; known: cpu"),
        ({"backend": "tensorrt-rtx", "targets": ("sm87",)}, "known: sm75, sm80, sm86, sm89, sm120, sm121"),
        ({"backend": "tensorrt", "targets": ("sm86",)}, "unknown target 'sm86' for tensorrt; known: native"),
        ({"backend": "tensorrt-rtx", "targets": ("sm75",), "precision": ("bf16",)}, "bf16 for sm75; it can do fp16"),
        ({"backend": "tensorrt-rtx", "targets": ("sm75", "sm89"), "precision": ("fp32",)}, "fp32 for sm75; it can do"),
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
