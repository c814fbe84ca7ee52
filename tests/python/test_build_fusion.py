"""Whether attention was fused, from activation memory: arithmetic here, real builds in test_build_matrix.py."""

from __future__ import annotations

import pytest

from navit_edge.bundle.manifest import Budget
from navit_edge.compile import fusion


def budget(tokens: int, bytes_: float | None) -> Budget:
    size = None if bytes_ is None else int(bytes_)
    return Budget(tokens=tokens, images=8, target_tokens=tokens, activation_bytes=size)


def memory(tokens: int, *, pair: float, token: float = 8e3, constant: float = 8e6) -> Budget:
    """A budget whose activations are constant + token·T + pair·T²."""
    return budget(tokens, constant + token * tokens + pair * tokens**2)


@pytest.mark.parametrize(("pair", "fused"), [(0, True), (1, False), (2, False), (12, False), (52, False)])
def test_a_table_of_one_byte_for_each_pair_of_tokens_is_found_by_three_budgets(pair: float, fused: bool) -> None:
    found = fusion.from_probe([memory(t, pair=pair) for t in (4096, 8192, 16384)])
    assert found.fused is fused
    assert found.bytes_per_token_pair == pytest.approx(pair, abs=0.01)
    assert found.method == "probe"


@pytest.mark.parametrize("constant", [0, 1e6, 100e6])
@pytest.mark.parametrize("token", [1e3, 20e3])
def test_neither_constant_nor_linear_memory_is_taken_for_a_table(constant: float, token: float) -> None:
    points = [memory(t, pair=0, token=token, constant=constant) for t in (4096, 8192, 16384)]
    assert fusion.from_probe(points).fused is True


def test_two_budgets_prove_that_the_scores_are_not_in_memory() -> None:
    found = fusion.from_budgets([memory(t, pair=0) for t in (256, 1024, 4096)], heads=6)
    assert found.fused is True
    assert [point.tokens for point in found.points] == [1024, 4096]


@pytest.mark.parametrize("pair", [12, 24])
def test_two_budgets_never_call_scores_in_memory_fused_and_never_prove_them(pair: float) -> None:
    for sizes in ((64, 256), (256, 1024), (1024, 4096), (8192, 16384)):
        assert fusion.from_budgets([memory(t, pair=pair) for t in sizes], heads=6).fused is None


def test_small_budgets_decide_nothing() -> None:
    assert fusion.from_budgets([memory(t, pair=0) for t in (64, 256)], heads=6).fused is None
    assert fusion.from_budgets([memory(256, pair=0)], heads=6).fused is None
    assert fusion.from_budgets([budget(256, None), budget(1024, None)], heads=6).fused is None
    assert fusion.from_probe([budget(t, None) for t in (4096, 8192, 16384)]).fused is None


def test_the_probe_doubles_twice_up_to_the_largest_budget_with_the_same_images() -> None:
    for largest, tokens in ((256, [4096, 8192, 16384]), (32768, [8192, 16384, 32768])):
        probes = fusion.probe_budgets([Budget(tokens=largest, images=3, target_tokens=largest)])
        assert [probe.tokens for probe in probes] == tokens
        assert {probe.images for probe in probes} == {3}
