"""Dropping patches before the model: judged by PyTorch on the same subset, one image at a time."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import navit_edge as ne
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.model import NaViT
from navit_edge_export.preprocess import GRAPH_INPUTS, pack, prepare
from navit_edge_export.training.token_drop import keep_tokens

Image = npt.NDArray[np.uint8]
Kept = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Noise of sizes that are resized, cropped to whole patches or taken as they are."""
    random = np.random.default_rng(17)
    sizes = [(64, 96), (96, 64), (83, 80), (16, 32), (16, 16), (128, 48), (200, 120)]
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def page(height_px: int, width_px: int) -> Image:
    """Paper, with a block of text in the upper left corner and a hairline of one pixel across."""
    image = np.full((height_px, width_px, 3), 250, np.uint8)
    image[8:24, 8:40] = np.random.default_rng(3).integers(0, 256, (16, 32, 1), np.uint8)
    image[height_px - 40, :] = 200
    return image


@pytest.fixture(scope="module")
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32") as opened:
        yield opened


def kept_of(result: ne.Result) -> Kept:
    rows, cols = result.grid
    return np.arange(rows * cols) if result.kept is None else np.asarray(result.kept, np.int64)


def by_pytorch(model: NaViT, image: Image, result: ne.Result, sizing: Sizing) -> dict[str, torch.Tensor]:
    """What the model gives for the patches that stayed, alone."""
    pixels = prepare(image, patch_px=model.config.patch_px, sizing=sizing)
    whole = pack([pixels], patch_px=model.config.patch_px, prefix_tokens=model.config.prefix_tokens)
    assert tuple(whole.grid_hw[0]) == result.grid
    inputs = keep_tokens(whole, [kept_of(result)]).inputs()
    with torch.no_grad():
        found: dict[str, torch.Tensor] = model(
            **{name: torch.from_numpy(inputs[name]) for name in GRAPH_INPUTS["masked"]}
        )
    return found


POLICIES = [
    ne.Policy.drop("random", keep=0.75),
    ne.Policy.drop("random", keep=0.35, seed=5),
    ne.Policy.drop("random", keep=0.001),
    ne.Policy.token_cap(12).with_drop("random", keep=0.5),
    ne.Policy.drop("blank"),
    ne.Policy.drop(lambda pixels, grid: np.indices(grid).sum(0) % 2 == 0),
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_what_is_left_gives_what_pytorch_gives_for_it_alone(
    tiny_model: NaViT, tiny_bundle: Path, session: ne.Session, images: list[Image], policy: ne.Policy
) -> None:
    sizing = ne.load_manifest(tiny_bundle).preprocess.sizing
    if policy.max_tokens is not None:
        sizing = Sizing(rule="token-cap", max_tokens=policy.max_tokens)
    given = [*images, page(160, 128)]
    for image, result in zip(given, session.run(given, policy=policy), strict=True):
        expected = by_pytorch(tiny_model, image, result, sizing)
        assert result.tokens is not None
        assert result.embedding is not None
        assert len(result.tokens) == len(kept_of(result))
        prefix = tiny_model.config.prefix_tokens
        assert result.token_count == len(kept_of(result)) + prefix
        np.testing.assert_allclose(result.tokens, expected["tokens"][prefix:].numpy(), atol=2e-5)
        np.testing.assert_allclose(result.embedding, expected["embedding"][0].numpy(), atol=2e-5)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_alone_and_packed_an_image_keeps_the_same_patches(
    session: ne.Session, images: list[Image], policy: ne.Policy
) -> None:
    given = [*images, page(160, 128)]
    together = session.run(given, policy=policy)
    assert max(result.pack for result in together) + 1 < len(given)
    for image, packed in zip(given, together, strict=True):
        alone = session.submit(image, policy=policy).result()
        assert np.array_equal(kept_of(alone), kept_of(packed))
        assert alone.reason == packed.reason
        assert alone.embedding is not None
        assert packed.embedding is not None
        np.testing.assert_allclose(alone.embedding, packed.embedding, atol=1e-5)


def test_pixels_of_a_dropped_patch_change_nothing(session: ne.Session) -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    mask = np.random.default_rng(2).random((4, 6)) < 0.5
    policy = ne.Policy.drop(mask)
    other = image.copy()
    for row, column in np.argwhere(~mask):
        other[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] ^= 255
    (before,), (after,) = (session.run([one], policy=policy) for one in (image, other))
    assert before.tokens is not None
    assert np.array_equal(kept_of(before), np.flatnonzero(mask))
    assert np.array_equal(before.tokens, np.asarray(after.tokens))
    assert np.array_equal(np.asarray(before.embedding), np.asarray(after.embedding))


def test_blank_patches_go_but_for_a_ring_around_what_is_there(session: ne.Session) -> None:
    image = page(160, 128)
    (result,) = session.run([image], policy=ne.Policy.drop("blank"))
    assert result.grid == (10, 8)
    patches = image.reshape(10, 16, 8, 16, 3).transpose(0, 2, 1, 3, 4).reshape(10, 8, -1, 3).astype(int)
    busy = (patches.max(2) - patches.min(2) > 16).any(-1)
    padded = np.pad(busy, 1)
    ring = np.any([padded[y : y + 10, x : x + 8] for y in range(3) for x in range(3)], axis=0)
    assert np.array_equal(kept_of(result), np.flatnonzero(ring))
    assert busy[7].all()  # the hairline counts, faint as it is
    assert result.reason == f"drop blank: {ring.sum()} of 80 patches kept"
    (all_of_it,) = session.run([image], policy=ne.Policy.drop("blank", range=0))
    assert np.array_equal(kept_of(all_of_it), kept_of(result))
    (white,) = session.run([np.full((64, 64, 3), 255, np.uint8)], policy=ne.Policy.drop("blank"))
    assert kept_of(white).tolist() == [0]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (whole,) = session.run([noise], policy=ne.Policy.drop("blank"))
    (native,) = session.run([noise])
    assert (whole.kept, whole.reason, native.kept, native.reason) == (None, "", None, "")
    assert np.array_equal(np.asarray(whole.tokens), np.asarray(native.tokens))


def test_who_is_packed_beside_a_page_keeps_all_its_patches(session: ne.Session) -> None:
    noise = np.random.default_rng(9).integers(0, 256, (64, 96, 3), np.uint8)
    policy = ne.Policy.drop("blank")
    (alone,) = session.run([noise], policy=policy)
    for order in ([page(160, 128), noise], [noise, page(160, 128)], [page(64, 64), noise, page(160, 128)]):
        results = session.run(order, policy=policy)
        beside = next(result for image, result in zip(order, results, strict=True) if image is noise)
        assert beside.kept is None
        np.testing.assert_allclose(np.asarray(beside.tokens), np.asarray(alone.tokens), atol=1e-5)


def test_random_patches_are_the_same_each_run_and_the_share_that_was_asked(session: ne.Session) -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    kept = {}
    for seed in (0, 1):
        policy = ne.Policy.drop("random", keep=0.5, seed=seed)
        (first,), (second,) = session.run([image], policy=policy), session.run([image], policy=policy)
        assert np.array_equal(kept_of(first), kept_of(second))
        assert len(kept_of(first)) == 18
        kept[seed] = kept_of(first)
    assert not np.array_equal(kept[0], kept[1])
    # On average each patch stays as often as another.
    often = np.zeros(36)
    for seed in range(60):
        (choice,) = session.run([image], policy=ne.Policy.drop("random", keep=0.5, seed=seed))
        often[kept_of(choice)] += 1
    assert often.min() > 10
    assert often.max() < 50


def test_tokens_lie_on_the_grid_again(session: ne.Session) -> None:
    image = np.random.default_rng(4).integers(0, 256, (64, 96, 3), np.uint8)
    (result,) = session.run([image], policy=ne.Policy.drop("random", keep=0.5))
    assert result.tokens is not None
    grid = result.on_grid(fill=-1.0)
    assert grid.shape == (4, 6, result.tokens.shape[1])
    flat = grid.reshape(24, -1)
    assert np.array_equal(flat[kept_of(result)], result.tokens)
    assert (np.delete(flat, kept_of(result), axis=0) == -1).all()
    assert result.on_grid(np.arange(12)).shape == (4, 6)
    with pytest.raises(ne.InvalidInputError, match="expected a row for each patch that the model saw"):
        result.on_grid(np.arange(24))
    (native,) = session.run([image])
    assert np.array_equal(native.on_grid().reshape(24, -1), np.asarray(native.tokens))
    for other in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert np.array_equal(kept_of(other), kept_of(result))
        assert other.reason == result.reason


def test_a_mask_of_another_grid_fails_its_image_alone(session: ne.Session, images: list[Image]) -> None:
    results = session.run(images, policy=ne.Policy.drop(np.ones((4, 6), bool)), on_error="return")
    assert results[0].error is None
    assert isinstance(results[1].error, ne.InvalidInputError)
    assert "has 4 x 6 patches (rows x columns); the image gets a grid of 6 x 4" in str(results[1].error)
    (nothing,) = session.run(images[:1], policy=ne.Policy.drop(np.zeros((4, 6), bool)))
    assert kept_of(nothing).tolist() == [0]


def test_a_function_that_fails_fails_its_image(session: ne.Session, images: list[Image]) -> None:
    seen = []

    def choose(pixels: Image, grid: tuple[int, int]) -> npt.NDArray[np.bool_]:
        seen.append((pixels.copy(), grid))
        if grid == (6, 4):
            raise ValueError("no such grid here")
        return np.ones(grid if grid != (1, 2) else (2, 1), bool)

    results = session.run(images, policy=ne.Policy.drop(choose), on_error="return")
    assert all(np.array_equal(pixels, image) for (pixels, _), image in zip(seen, images, strict=True))
    assert "raised ValueError: no such grid here" in str(results[1].error)
    assert "gave 2 x 1 values for a grid of 1 x 2" in str(results[3].error)
    assert [result.error is None for result in results] == [True, False, True, False, True, True, True]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ne.Policy.drop("random"), "needs keep"),
        (lambda: ne.Policy.drop("random", keep=0), "keep of a drop is 0; expected the share"),
        (lambda: ne.Policy.drop("random", keep=1.5), "keep of a drop is 1.5; expected the share"),
        (lambda: ne.Policy.drop("random", keep=float("nan")), "expected the share"),
        (lambda: ne.Policy.drop("blank", keep=0.5), "keep is no option of a drop by blank"),
        (lambda: ne.Policy.drop("blank", range=256), "range of a drop is 256; expected"),
        (lambda: ne.Policy.drop("edges"), 'drop "edges" is unknown; expected "blank", "random"'),
        (lambda: ne.Policy.drop(np.ones((2, 2))), "expected bool \\[rows, cols\\]"),
        (lambda: ne.Policy.drop(np.ones(4, bool)), "with 1 dimensions; expected bool"),
        (lambda: ne.Policy.drop(np.ones((0, 4), bool)), "a mask of 0 x 4 patches"),
        (lambda: ne.Policy.cascade(9).with_drop(np.ones((2, 2), bool)), "a cascade runs an image on two grids"),
        (lambda: ne.Policy("fast+slow"), "cannot be combined"),
        (lambda: ne.Policy("drop:random,range=3"), "which has keep=SHARE and seed=N"),
        (lambda: ne.Policy("drop:mask"), "a text holds no mask"),
        (lambda: pickle.dumps(ne.Policy.drop(np.ones((2, 2), bool))), "cannot be pickled"),
    ],
)
def test_a_drop_that_makes_no_sense_is_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(ne.InvalidInputError, match=says):
        make()


@pytest.mark.parametrize(
    "text",
    ["drop:blank", "drop:blank,range=4", "drop:random,keep=0.5", "fast+drop:random,keep=0.25,seed=9",
     "latency:20ms+drop:blank", "cascade:9,0.5+drop:blank", "content:min_tokens=4,flat=0.02,busy=0.12+drop:blank"],
)  # fmt: skip
def test_drops_combine_with_other_policies(session: ne.Session, images: list[Image], text: str) -> None:
    policy = ne.Policy(text)
    assert str(policy) == text
    assert ne.Policy(str(policy)) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy
    for result in session.run([*images, page(160, 128)], policy=policy):
        rows, cols = result.grid
        assert result.tokens is not None
        assert len(result.tokens) == len(kept_of(result)) <= rows * cols
        if len(kept_of(result)) < rows * cols:
            assert f"{len(kept_of(result))} of {rows * cols} patches kept" in result.reason


def test_the_plan_counts_what_is_kept(tiny_bundle: Path, session: ne.Session) -> None:
    image = page(160, 128)
    engine = session.engine
    for policy in (ne.Policy.drop("blank"), ne.Policy.drop("random", keep=0.5)):
        (choice,) = ne.choose(tiny_bundle, [image], policy, engine=engine)
        (result,) = session.run([image], policy=policy)
        assert (choice.tokens, choice.grid, choice.reason) == (result.token_count, result.grid, result.reason)
    tokens = sum(pack["tokens"] for pack in session.last_report["packs"])
    assert tokens == result.token_count


def test_a_session_that_remembers_knows_what_was_dropped(tiny_bundle: Path) -> None:
    image = page(160, 128)
    with ne.Session(tiny_bundle, precision="fp32", cache_bytes=1 << 20) as session:
        texts = ["native", "drop:blank", "drop:random,keep=0.5", "drop:random,keep=0.5,seed=1", "drop:blank,range=255"]
        first = {text: session.run([image], policy=ne.Policy(text))[0] for text in texts}
        assert not any(result.cached for result in first.values())
        for text, before in first.items():
            (again,) = session.run([image], policy=ne.Policy(text))
            assert again.cached
            assert np.array_equal(kept_of(again), kept_of(before))
            assert (again.token_count, again.reason) == (before.token_count, before.reason)
            assert np.array_equal(np.asarray(again.tokens), np.asarray(before.tokens))


def test_models_that_merge_patches_refuse_by_name(tiny_bundle: Path, bundle_copy: Path) -> None:
    import json

    path = bundle_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["preprocess"]["sizing"] = {
        "rule": "smart-resize", "merge": 2, "min_pixels": 1024, "max_pixels": 65536,
    }  # fmt: skip
    path.write_text(json.dumps(manifest))
    with pytest.raises(ne.InvalidInputError, match="merges cells of 2 x 2 patches"):
        ne.choose(bundle_copy, [(64, 64)], ne.Policy.drop("blank"), engine=ne.load_manifest(bundle_copy).engines[0].id)
