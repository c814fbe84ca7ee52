"""The words of ``navit_edge.vocabulary`` are those that the C++ core knows, in its order."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import navit_edge as ne
from navit_edge import _core, vocabulary
from navit_edge.bundle import sizing_rule
from navit_edge.errors import BundleError, InvalidInputError

#: Where a word stands in a manifest -> the words.
FIELDS = {
    "preprocess.filter": vocabulary.FILTERS,
    "preprocess.alpha": vocabulary.ALPHA_RULES,
    "preprocess.orientation": vocabulary.ORIENTATIONS,
    "preprocess.icc": vocabulary.ICC_RULES,
    "preprocess.sizing.rule": get_args(vocabulary.Rule),
    "graphs.0.lowering": vocabulary.LOWERINGS,
    "graphs.0.quantization": ("none", *vocabulary.QUANTIZED),
    "engines.0.precision": vocabulary.PRECISIONS,
    "engines.0.float_precision": vocabulary.FLOATS,
    "engines.0.strategy": vocabulary.STRATEGIES,
}


@pytest.fixture(scope="module")
def base(repository: Path) -> dict[str, Any]:
    corpus = json.loads((repository / "tests" / "manifests" / "corpus.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = corpus["base"]
    return found


def words_in(message: str) -> tuple[str, ...]:
    match = re.search(r"(?:expected one of|known:) ([\w, -]+)", message)
    assert match is not None, message
    return tuple(match[1].split(", "))


@pytest.mark.parametrize("field", FIELDS)
def test_a_manifest_has_the_words_of_the_vocabulary(base: dict[str, Any], field: str) -> None:
    document: Any = copy.deepcopy(base)
    *way, last = field.split(".")
    place = document
    for part in way:
        place = place[int(part) if part.isdigit() else part]
    place[last] = "another"
    with pytest.raises(BundleError) as caught:
        _core.check_manifest(json.dumps(document).encode(), source="m")
    assert words_in(str(caught.value)) == FIELDS[field]


def test_every_sizing_rule_has_its_fields() -> None:
    assert tuple(sizing_rule.FIELDS) == get_args(vocabulary.Rule)


def test_the_resize_takes_every_filter() -> None:
    for filter in vocabulary.FILTERS:
        assert ne.resize(np.zeros((4, 4, 3), np.uint8), (2, 2), filter).shape == (2, 2, 3)


def test_the_planner_has_the_words_of_the_vocabulary() -> None:
    cost: dict[str, Any] = {"attention": "another"}
    plans: dict[tuple[str, ...], dict[str, Any]] = {
        vocabulary.STRATEGIES: {"strategy": "another"},
        get_args(vocabulary.AttentionCost): {"cost": ne.CostModel(budgets=((1.0, 1.0, 1.0),), **cost)},
    }
    for words, option in plans.items():
        with pytest.raises(InvalidInputError) as caught:
            ne.plan_packs([16], ne.PlanLimits(budgets=((64, 4, 64, 0),), **option))
        assert words_in(str(caught.value)) == words


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("device", get_args(vocabulary.Device)),
        ("precision", get_args(vocabulary.EnginePrecision)),
        ("overflow", tuple(word for word in get_args(vocabulary.Overflow) if word != "split")),  # refused, with the why
    ],
)
def test_a_session_has_the_words_of_the_vocabulary(tiny_bundle: Path, option: str, words: tuple[str, ...]) -> None:
    given: dict[str, Any] = {option: "another"}
    with pytest.raises(InvalidInputError) as caught:
        ne.Session(tiny_bundle, **given)
    assert words_in(str(caught.value)) == words
