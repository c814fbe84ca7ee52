"""The words of options and manifests are the same in Python and in C++."""

from __future__ import annotations

from typing import get_args

import pytest

from navit_edge import _core, vocabulary
from navit_edge.bundle.sizing_rule import FIELDS

CPP = _core.vocabularies()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rule", get_args(vocabulary.Rule)),
        ("rule", tuple(FIELDS)),
        ("fit", vocabulary.FITS),
        ("enlarge", vocabulary.ENLARGEMENTS),
        ("filter", vocabulary.FILTERS),
        ("processor", vocabulary.PROCESSORS),
        ("alpha", vocabulary.ALPHA_RULES),
        ("orientation", vocabulary.ORIENTATIONS),
        ("icc", vocabulary.ICC_RULES),
        ("lowering", vocabulary.LOWERINGS),
        ("output", vocabulary.OUTPUTS),
        ("precision", vocabulary.PRECISIONS),
        ("overflow", get_args(vocabulary.Overflow)),
        ("strategy", vocabulary.STRATEGIES),
        ("attention", get_args(vocabulary.AttentionCost)),
        ("scores", vocabulary.SCORES),
    ],
)
def test_python_and_cpp_have_the_same_words_in_the_same_order(name: str, words: tuple[str, ...]) -> None:
    assert words == CPP[name]


@pytest.mark.parametrize(
    ("name", "words"), [("device", get_args(vocabulary.Device)), ("precision", get_args(vocabulary.EnginePrecision))]
)
def test_a_session_may_leave_the_choice_open(name: str, words: tuple[str, ...]) -> None:
    assert words == ("auto", *CPP[name])
