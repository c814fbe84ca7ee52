"""Policies: which tokens they choose, judged by the sizing reference and the planner."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from policy_cases import ENGINE, under_rule

import navit_edge as ne
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.sizing import target_grid

Photographs = Mapping[str, npt.NDArray[np.uint8]]
P = 16

RULES = {
    "token-cap": Sizing(rule="token-cap", max_tokens=1024),
    "upscaled": Sizing(rule="token-cap", max_tokens=1024, upscale=True),
    "naflex": Sizing(rule="naflex", max_tokens=1024),
    "native": Sizing(rule="native"),
    "cropped": Sizing(rule="native", fit="crop"),
    "longest-side": Sizing(rule="longest-side", longest_px=640),
    "smart-resize": Sizing(rule="smart-resize", merge=2, min_pixels=3136, max_pixels=1003520),
    "patch-budget": Sizing(rule="patch-budget", merge=3, max_tokens=2520),
    "fixed": Sizing(rule="fixed", height_px=224, width_px=224),
}


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The small bundle under every sizing rule, for choosing only: its graphs and engines are left out."""
    folder = tmp_path_factory.mktemp("rules")
    return {name: under_rule(tiny_bundle, sizing, folder / f"{name}.navit") for name, sizing in RULES.items()}


def grids(bundle: Path, sizes: list[tuple[int, int]], policy: ne.Policy, **more: Any) -> list[tuple[int, int]]:
    return [choice.grid for choice in ne.choose(bundle, sizes, policy, engine=ENGINE, **more)]


def tokens_of(bundle: Path, size: tuple[int, int], policy: ne.Policy, **more: Any) -> int:
    (grid,) = grids(bundle, [size], policy, **more)
    return grid[0] * grid[1]


# --- the value


POLICIES = [
    ne.Policy.native(),
    ne.Policy.token_cap(256),
    ne.Policy.preset("fast"),
    ne.Policy.preset("balanced"),
    ne.Policy.preset("quality"),
    ne.Policy.latency(12.5, min_tokens=32),
    ne.Policy.content(min_tokens=32, max_tokens=512, flat=0.01, busy=0.2),
    ne.Policy.cascade(),
    ne.Policy.cascade(64, 0.25, "margin", then=576),
]


def test_policies_compare_hash_pickle_and_print_as_what_they_are() -> None:
    assert len(set(POLICIES)) == len(POLICIES)
    for policy in POLICIES:
        assert ne.Policy.parse(str(policy)) == policy
        assert hash(ne.Policy.parse(str(policy))) == hash(policy)
        assert pickle.loads(pickle.dumps(policy)) == policy
        assert str(policy) in repr(policy)
    assert (POLICIES[5].target_ms, POLICIES[5].min_tokens, POLICIES[5].max_tokens) == (12.5, 32, None)
    assert (POLICIES[6].min_tokens, POLICIES[6].max_tokens, POLICIES[6].flat, POLICIES[6].busy) == (32, 512, 0.01, 0.2)
    assert (POLICIES[7].first, POLICIES[7].accept, POLICIES[7].by, POLICIES[7].then) == (128, 0.8, "probability", None)
    assert (POLICIES[8].first, POLICIES[8].accept, POLICIES[8].by, POLICIES[8].then) == (64, 0.25, "margin", 576)
    assert (POLICIES[8].kind, str(POLICIES[7])) == ("cascade", "cascade:128,0.8")
    with pytest.raises(AttributeError):
        POLICIES[1].max_tokens = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ne.Policy.token_cap(0), "max_tokens of a policy is 0; expected at least 1"),
        (lambda: ne.Policy.preset("best"), "unknown preset 'best'.*known: fast, balanced, quality"),
        (lambda: ne.Policy.latency(0), "0 ms; expected a time above 0"),
        (lambda: ne.Policy.latency(math.nan), "expected a time above 0"),
        (lambda: ne.Policy.content(max_tokens=0), "max_tokens of a policy is 0"),
        (lambda: ne.Policy.content(flat=0.3), "flat 0.3 and busy 0.12; expected"),
        (lambda: ne.Policy.cascade(64, 1.5), "accept of a cascade is 1.5; expected a probability or a margin, 0 to 1"),
        (lambda: ne.Policy.cascade(64, by="luck"), "luck.*probability"),
        (lambda: ne.Policy.cascade(64, then=32), "first 64 and then 32; expected the second pass to have more"),
        (lambda: ne.Policy.parse("latency:20"), 'policy "latency:20": .*unit.*expected native, token-cap:256'),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make: Callable[[], ne.Policy], message: str) -> None:
    with pytest.raises(ne.InvalidInputError, match=message):
        make()


def test_a_text_in_the_place_of_a_policy_is_refused_with_the_call_that_makes_one(tiny_session: ne.Session) -> None:
    with pytest.raises(ne.InvalidInputError, match=re.escape("write Policy('fast')")):
        tiny_session.run([np.zeros((16, 16, 3), np.uint8)], policy="fast")  # type: ignore[arg-type]


def test_a_policy_is_made_of_its_text(tiny_session: ne.Session) -> None:
    for policy in POLICIES:
        assert ne.Policy(str(policy)) == ne.Policy(policy) == policy
    assert ne.Policy("fast") == ne.Policy.preset("fast")
    tiny_session.run([np.zeros((16, 16, 3), np.uint8)], policy=ne.Policy("fast"))
    with pytest.raises(ne.InvalidInputError, match='policy "faster"'):
        ne.Policy("faster")
    for value in (3, None, b"fast", ["fast"]):
        with pytest.raises(
            ne.InvalidInputError, match=r'a policy is made of .*; expected its text, as Policy\("fast"\)'
        ):
            ne.Policy(value)  # type: ignore[arg-type]


# --- tokens


@pytest.mark.parametrize(
    "rule", ["token-cap", "upscaled", "naflex", "native", "longest-side", "smart-resize", "patch-budget"]
)
def test_a_token_cap_gives_the_grid_of_the_sizing_reference(bundles: Mapping[str, Path], rule: str) -> None:
    rng = np.random.default_rng(3)
    sizes = [(int(h), int(w)) for h, w in rng.integers(30, 2000, (150, 2))]
    for cap in (400, 1000) if rule == "smart-resize" else (16, 100, 256, 1000):  # it keeps a cell a side
        for size, found in zip(sizes, grids(bundles[rule], sizes, ne.Policy.token_cap(cap)), strict=True):
            native = target_grid(*size, patch_px=P, sizing=RULES[rule])
            assert found[0] * found[1] <= cap
            if native[0] * native[1] <= cap:
                assert found == native
            elif rule == "longest-side":  # the largest side that keeps the cap
                sides = range(1, 641)
                under = [target_grid(*size, patch_px=P, sizing=Sizing(rule=rule, longest_px=px)) for px in sides]
                assert found[0] * found[1] == max(r * c for r, c in under if r * c <= cap)
            else:
                lowered = {
                    "upscaled": Sizing(rule="token-cap", max_tokens=cap, upscale=True),
                    "naflex": Sizing(rule="naflex", max_tokens=cap),
                    "patch-budget": Sizing(rule="patch-budget", merge=3, max_tokens=cap),
                    "smart-resize": Sizing(
                        rule="smart-resize", merge=2, min_pixels=min(3136, cap * P * P), max_pixels=cap * P * P
                    ),
                }.get(rule, Sizing(rule="token-cap", max_tokens=cap))
                assert found == target_grid(*size, patch_px=P, sizing=lowered)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "fixed"])
@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_presets_keep_their_share_of_the_tokens_and_no_policy_gives_more_than_the_rule(
    bundles: Mapping[str, Path], rule: str, height: int, width: int
) -> None:
    size = (height, width)
    if max(size) > 200 * min(size):  # smart-resize refuses them
        return
    native = tokens_of(bundles[rule], size, ne.Policy.native())
    assert tokens_of(bundles[rule], size, ne.Policy.preset("quality")) == native
    for name, share in (("balanced", 2), ("fast", 4)):
        found = tokens_of(bundles[rule], size, ne.Policy.preset(name))
        most = min(native, max(64, math.ceil(native / share)))
        # A long image under smart-resize keeps a cell a side.
        assert found <= most or (rule == "smart-resize" and found == 4 * math.ceil(found / 4) <= native)
        (grid,) = grids(bundles[rule], [size], ne.Policy.preset(name))
        assert found >= most * 0.6 or min(grid) <= (
            12 if rule == "patch-budget" else 4
        )  # long images have no grid close to the cap


def test_a_rule_of_one_size_refuses_every_policy_that_would_choose_another(bundles: Mapping[str, Path]) -> None:
    for policy in (ne.Policy.preset("fast"), ne.Policy.latency(1000), ne.Policy.content(), ne.Policy.token_cap(195)):
        with pytest.raises(ne.InvalidInputError, match=r"policy .*: the bundle's sizing rule fixed gives every image"):
            ne.choose(bundles["fixed"], [(100, 100)], policy, engine=ENGINE)
    assert grids(bundles["fixed"], [(100, 100)], ne.Policy.token_cap(196)) == [(14, 14)]


# --- latency


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 2500),
    width=st.integers(1, 2500),
    target_ms=st.floats(0.2, 40),
    waiting_ms=st.sampled_from([0.0, 0.0, 1.0, 7.0]),
)
def test_a_latency_target_gets_the_most_tokens_that_the_planner_predicts_in_time(
    bundles: Mapping[str, Path], height: int, width: int, target_ms: float, waiting_ms: float
) -> None:
    bundle, policy = bundles["token-cap"], ne.Policy.latency(target_ms, min_tokens=16)
    manifest = ne.load_manifest(bundle)
    engine = next(one for one in manifest.engines if one.id == ENGINE)
    limits = ne.PlanLimits.of(bundle, engine)

    def result_ms(tokens: int) -> float:
        return waiting_ms + ne.plan_packs([tokens], limits).packs[0].predicted_ms

    (choice,) = ne.choose(bundle, [(height, width)], policy, engine=ENGINE, waiting_ms=waiting_ms)
    native = tokens_of(bundle, (height, width), ne.Policy.native())
    if choice.reason == "":
        assert choice.tokens == native
        assert result_ms(native) <= target_ms * (1 + 1e-9)
        return
    if "cannot be met" in choice.reason:
        assert choice.tokens <= 16
        assert result_ms(choice.tokens) > target_ms * (1 - 1e-9)
        return
    assert result_ms(choice.tokens) <= target_ms * (1 + 1e-9)
    steps = (tokens_of(bundle, (height, width), ne.Policy.token_cap(cap)) for cap in range(choice.tokens, native + 1))
    larger = next(tokens for tokens in steps if tokens > choice.tokens)
    assert result_ms(larger) > target_ms * (1 - 1e-9) or larger <= 16


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 2500), st.integers(1, 2500)),
    targets=st.tuples(st.floats(0.1, 60), st.floats(0.1, 60)).map(sorted),
    waits=st.tuples(st.floats(0, 30), st.floats(0, 30)).map(sorted),
    together=st.tuples(st.integers(1, 50), st.integers(1, 50)).map(sorted),
)
def test_more_time_never_gives_fewer_tokens_and_more_work_never_more(
    bundles: Mapping[str, Path],
    size: tuple[int, int],
    targets: list[float],
    waits: list[float],
    together: list[int],
) -> None:
    def tokens(target: float, waiting: float, images: int) -> int:
        policy = ne.Policy.latency(target)
        return tokens_of(bundles["token-cap"], size, policy, waiting_ms=waiting, together=images)

    least = tokens(targets[0], waits[1], together[1])
    assert least <= tokens(targets[1], waits[1], together[1])
    assert least <= tokens(targets[0], waits[0], together[1])
    assert least <= tokens(targets[0], waits[1], together[0])


def test_a_run_under_a_latency_target_is_predicted_to_be_done_by_it(
    tiny_bundle: Path, photographs: Photographs
) -> None:
    images = list(photographs.values())
    with ne.Session(tiny_bundle, precision="fp32") as other:
        other.run(images)
        alone_ms = other.last_report["predicted_us"] / 1e3
    session = ne.Session(tiny_bundle, precision="fp32")  # which has measured nothing
    results = session.run(images, policy=ne.Policy.latency(0.6 * alone_ms, min_tokens=1))
    assert session.last_report["predicted_us"] / 1e3 <= 0.6 * alone_ms
    reduced = [result for result in results if " of " in result.reason]
    assert reduced
    for result in reduced:
        assert re.fullmatch(
            r"latency [\d.]+ ms( cannot be met)?: \d+ of \d+ tokens \(predicted [\d.]+ ms for 8 images, cost assumed\)"
            r"(; missed by [\d.]+ ms)?",
            result.reason,
        )


def test_a_missed_latency_target_is_said_and_counted(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    with ne.Session(tiny_bundle, precision="fp32") as session:
        late = session.run([path], policy=ne.Policy.latency(1e-3))[0]
        assert re.search(r"; missed by [\d.]+ ms$", late.sizing)
        assert "missed by" in session.submit(path, policy=ne.Policy.latency(1e-3)).result().reason
        assert session.submit(path, policy=ne.Policy.latency(3.6e6)).result().sizing == ""
        assert session.metrics.stats()["targets"] == {"met": 1, "missed": 2}


# --- sessions


def test_a_capped_image_has_the_bits_of_a_session_with_that_cap(tiny_bundle: Path, photographs: Photographs) -> None:
    images = list(photographs.values())
    session = ne.Session(tiny_bundle, precision="fp32")
    for cap in (9, 100):
        expected = ne.Session(tiny_bundle, precision="fp32", max_tokens_per_image=cap).run(images)
        for found, wanted in zip(session.run(images, policy=ne.Policy.token_cap(cap)), expected, strict=True):
            assert (found.grid, found.scale, wanted.reason) == (wanted.grid, wanted.scale, "")
            assert np.array_equal(found.embedding, wanted.embedding)
            native = tokens_of(tiny_bundle, found.pixels, ne.Policy.native())
            kept = found.grid[0] * found.grid[1]
            assert found.reason == (f"token cap {cap}: {kept} of {native} tokens" if kept < native else "")


def test_a_run_names_its_policy_or_takes_the_sessions(tiny_bundle: Path) -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    session = ne.Session(tiny_bundle, precision="fp32", policy=ne.Policy.preset("fast"))
    assert session.run([image])[0].grid == (8, 8)
    assert session.run([image])[0].reason == "fast: 64 of 256 tokens"
    assert session.run([image], policy=ne.Policy.native())[0].grid == (16, 16)
    assert session.run([image], policy=ne.Policy.preset("quality"))[0].reason == ""


def test_a_policy_makes_an_image_fit_a_small_budget(small_budget_bundle: Path) -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    session = ne.Session(small_budget_bundle, engine=ENGINE)
    with pytest.raises(ne.OverBudgetError):
        session.run([image])
    for policy in (ne.Policy.preset("fast"), ne.Policy.latency(1000)):
        (result,) = session.run([image], policy=policy)
        assert result.grid == (8, 8)


def test_the_choice_without_a_session_is_that_of_the_session(tiny_bundle: Path, photographs: Photographs) -> None:
    images = list(photographs.values())
    session = ne.Session(tiny_bundle, engine=ENGINE)
    for policy in POLICIES:
        if str(policy).startswith("latency"):  # a session has measured, and counts what it has done before the choice
            continue
        choices = ne.choose(tiny_bundle, images, policy, engine=ENGINE, together=len(images))
        if policy.first is not None:  # a cascade: what is chosen is its first pass
            capped = session.run(images, policy=ne.Policy.token_cap(policy.first))
            assert [choice.grid for choice in choices] == [result.grid for result in capped]
            continue
        for choice, result in zip(choices, session.run(images, policy=policy), strict=True):
            assert (choice.grid, choice.tokens, choice.reason) == (result.grid, result.token_count, result.reason)
