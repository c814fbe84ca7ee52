"""Augmentation against Pillow, mixtures against timm and against their definitions, rates against scipy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision_operators  # noqa: F401  before timm
from PIL import Image, ImageEnhance
from scipy import stats

from navit_edge.errors import InvalidInputError
from navit_edge_export.training.augment import Augment, crop, over
from navit_edge_export.training.dataset import ArrayDataset
from navit_edge_export.training.loader import PackMaker
from navit_edge_export.training.mix import Mix, blend, cut, partners
from navit_edge_export.training.packing import ImageSpec, PackSpec
from navit_edge_export.training.recipe import Recipe
from navit_edge_export.training.token_drop import TokenDrop, drop_rates

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_is_changed_by_default_but_the_size() -> None:
    assert np.array_equal(Augment().apply(PIXELS, 40, 60, rng()), PIXELS)
    resized = np.asarray(Image.fromarray(PIXELS).resize((32, 24), Image.Resampling.BILINEAR))
    assert np.array_equal(Augment().apply(PIXELS, 24, 32, rng()), resized)
    assert np.array_equal(Augment(flip=1.0).apply(PIXELS, 24, 32, rng()), resized[:, ::-1])


def test_crops_keep_the_aspect_have_the_asked_area_and_reach_every_corner() -> None:
    large = np.zeros((300, 700, 3), np.uint8)
    for share in (0.1, 0.5, 1.0):
        part = crop(large, share, 0.3, 0.9)
        assert part.shape[0] / part.shape[1] == pytest.approx(3 / 7, rel=0.02)
        assert part.shape[0] * part.shape[1] == pytest.approx(share * 210_000, rel=0.02)
    assert np.array_equal(crop(PIXELS, 0.25, 0, 0), PIXELS[:20, :30])
    assert np.array_equal(crop(PIXELS, 0.25, 1, 1), PIXELS[20:, 30:])


@pytest.mark.parametrize(
    ("option", "enhancer"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_colours_change_as_pillows_do(option: str, enhancer: type) -> None:
    """Pillow rounds its gray image; that is one step of 255, times the factor."""
    draws = np.array([0.75, 0.75, 0.75, 1.0])  # a factor of 1 + 0.5 * 0.4
    found = Augment(**{option: 0.4})._colour(PIXELS, draws).astype(int)
    expected = np.asarray(enhancer(Image.fromarray(PIXELS)).enhance(1.2)).astype(int)
    assert np.abs(found - expected).max() <= 2
    gray = Augment(gray=1.0)._colour(PIXELS, np.zeros(4))
    assert np.abs(gray[..., 0].astype(int) - np.asarray(Image.fromarray(PIXELS).convert("L"))).max() <= 1


def test_transparent_images_are_laid_over_the_background_as_pillow_does() -> None:
    image = rng(1).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    for colour in ((255, 255, 255), (10, 200, 30)):
        below = Image.new("RGBA", (11, 9), (*colour, 255))
        expected = np.asarray(Image.alpha_composite(below, Image.fromarray(image)).convert("RGB")).astype(int)
        assert np.abs(over(image, np.array(colour)).astype(int) - expected).max() <= 1
    seen = {tuple(Augment(background="random").apply(image * 0, 9, 11, rng(s))[0, 0]) for s in range(5)}
    assert len(seen) == 5
    half = [tuple(Augment(background="half-white").apply(image * 0, 9, 11, rng(s))[0, 0]) for s in range(60)]
    assert 15 <= half.count((255, 255, 255)) <= 45
    assert len(set(half)) == 61 - half.count((255, 255, 255))
    assert (Augment().apply(image * 0, 9, 11, rng()) == 255).all()


def test_images_and_labels_mix_as_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.data import Mixup

    pair = rng(2).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    theirs = Mixup(mixup_alpha=0.4, num_classes=2, label_smoothing=0.0)
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (0.3, False))
    images = torch.from_numpy(pair.transpose(0, 3, 1, 2)).double()
    mixed, labels = theirs(images, torch.tensor([0, 1]))
    ours = blend(pair[0], pair[1], 0.3).astype(float)
    assert np.abs(ours - mixed[0].numpy().transpose(1, 2, 0)).max() <= 0.5 + 1e-4  # rounded
    assert labels[0].tolist() == pytest.approx([0.3, 0.7])


def test_a_cut_takes_whole_patches_of_the_partner_and_says_what_is_left() -> None:
    image, partner = np.zeros((40, 56, 3), np.uint8), np.full((40, 56, 3), 255, np.uint8)
    shares = []
    for seed in range(50):
        mixed, share = cut(image, partner, 0.6, 8, rng(seed))
        cells = mixed.reshape(5, 8, 7, 8, 3)
        assert (cells.min((1, 3, 4)) == cells.max((1, 3, 4))).all(), "a patch shows one image"
        assert share == pytest.approx(1 - mixed.mean() / 255)
        shares.append(share)
    assert np.mean(shares) == pytest.approx(0.6, abs=0.1)


def test_shares_are_drawn_from_beta_distributions() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    draw = rng(3)
    shares = [Mix(mixup=0.8).apply(image, image, 8, draw)[1] for _ in range(2000)]
    assert stats.kstest(shares, stats.beta(0.8, 0.8).cdf).pvalue > 1e-3


def test_partners_share_the_grid_and_are_used_once() -> None:
    grids = [(2, 3), (3, 2), (2, 3), (1, 1), (2, 3), (3, 2)]
    found = partners(grids, rng())
    assert found[3] is None
    others = [other for other in found if other is not None]
    assert sorted(others) == [0, 1, 2, 4, 5]
    assert all(grids[i] == grids[other] and i != other for i, other in enumerate(found) if other is not None)


def test_targets_say_what_share_of_each_image_a_pack_shows() -> None:
    """Black images of class 0 and white ones of class 1: the mean of a mixture is the target of class 1."""
    images = [np.full((16, 16 + 8 * (i % 3), 3), 255 * (i % 2), np.uint8) for i in range(12)]
    data = ArrayDataset(images=images, labels=np.arange(12) % 2, class_names=("black", "white"))
    specs = tuple(ImageSpec(i, 2, 2 + i % 3, 2 * (2 + i % 3)) for i in (0, 1, 2, 3, 4, 7, 11))
    for mix in (
        Mix(mixup=1.0),
        Mix(cutmix=1.0),
        Mix(mixup=0.5, cutmix=0.5, probability=0.5),
        Mix(mixup=1, across=False),
    ):
        made = PackMaker(dataset=data, patch_px=8, mix=mix)[PackSpec((0, 0, 0), specs, 0)]
        assert made is not None
        assert made.targets.sum(1) == pytest.approx(np.ones(7))
        for n in range(7):
            shown = made.pack.patches[made.pack.segment_ids == n].mean() / 255
            assert shown == pytest.approx(made.targets[n, 1], abs=3e-3)
    assert len({round(float(t), 6) for t in made.targets[:, 1]}) > 2


def test_drop_rates_are_those_of_their_distributions() -> None:
    beta = TokenDrop(kind="beta", rate=0.5, max_rate=0.8, deviation=0.2)
    mean = 0.5 / 0.8
    strength = mean * (1 - mean) / 0.2**2 - 1
    rates = drop_rates(beta, [64] * 4000, rng(5))
    oracle = stats.beta(mean * strength, (1 - mean) * strength, scale=0.8)
    assert stats.kstest(rates, oracle.cdf).pvalue > 1e-3
    assert math.isclose(oracle.std(), 0.8 * 0.2)
    by_size = TokenDrop(kind="resolution", min_rate=0.2, max_rate=0.6, min_tokens=100, max_tokens=500, deviation=0.05)
    rates = drop_rates(by_size, [300] * 4000, rng(6))
    assert stats.kstest(rates, stats.truncnorm(-2, 2, loc=0.4, scale=0.05).cdf).pvalue > 1e-3


def test_options_without_a_meaning_are_refused() -> None:
    for make in (lambda: Augment(crop=0.0), lambda: Augment(flip=2.0), lambda: Augment(background="blue")):
        with pytest.raises(InvalidInputError):
            make()
    with pytest.raises(InvalidInputError, match="probability of 0 to 1"):
        Mix(probability=2.0)


def test_the_recipes_of_the_examples_are_recipes(repository: Path) -> None:
    found = sorted((repository / "examples" / "train").glob("*.json"))
    assert len(found) >= 2
    for path in found:
        recipe = Recipe.from_file(path)
        assert recipe.data.startswith(str(path.parent)), "paths are beside the recipe"
