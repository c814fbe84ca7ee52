"""What `navit-edge evaluate` is asked for, and which head a bundle's outputs allow."""

from __future__ import annotations

from typing import Any

import pytest

from navit_edge.errors import InvalidInputError
from navit_edge.evaluate import EvaluateRequest
from navit_edge.evaluate.request import chosen_head
from navit_edge.vocabulary import HEADS


@pytest.mark.parametrize(
    ("head", "outputs", "train", "expected"),
    [
        ("auto", ["logits", "embedding"], False, "classifier"),
        ("retrieval", ["embedding"], False, "retrieval"),
        ("linear", ["embedding"], True, "linear"),
        ("zero-shot", ["logits", "embedding"], False, "zero-shot"),
        ("zero-shot", ["logits"], False, "needs the output embedding, and the bundle gives logits"),
        ("zero-shot", ["embedding"], True, "learns from no images; leave --train out"),
        ("auto", ["embedding"], False, "gives no logits, so it has no classifier; give --head knn or"),
        ("classifier", ["embedding"], False, "needs the output logits, and the bundle gives embedding"),
        ("knn", ["logits"], True, "needs the output embedding, and the bundle gives logits"),
        ("retrieval", ["embedding"], True, "learns from no images; leave --train out"),
        ("auto", ["logits"], True, "--train goes with --head knn or --head linear"),
    ],
)
def test_a_head_goes_with_what_the_bundle_gives(head: Any, outputs: list[str], train: bool, expected: str) -> None:
    request = EvaluateRequest(head=head)
    if expected in HEADS:
        assert chosen_head(request, dict.fromkeys(outputs, 8), train=train) == expected
    else:
        with pytest.raises(InvalidInputError, match=expected):
            chosen_head(request, dict.fromkeys(outputs, 8), train=train)


@pytest.mark.parametrize(
    "options",
    [
        {"policies": ["quick"]},
        {"precisions": ["fp7"]},
        {"caps": [-1]},
        {"margin": 1.0},
        {"recall": [0]},
        {"head": "x"},
        {"head": "knn", "classes": ["a cat"]},
    ],
)
def test_a_wrong_request_is_refused_where_it_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        EvaluateRequest(**options)
