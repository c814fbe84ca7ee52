"""Merging of tokens: ToMe as tomesd computes it, PiToMe as its paper says, one image at a time; and packs of images."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tomesd.merge import bipartite_soft_matching_random2d
from torch import Tensor

from navit_edge.bundle.merging import Merging, merge_inputs, parse_merging
from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.token_merging import Merged, MergeInputs, TokenMerging

DEPTH, WIDTH, HEADS, HEAD_WIDTH = 12, 24, 2, 8
KEEPS = ("0.75", "0.5", "0.35", "0.2")


def merge_pack(
    merging: Merging,
    tokens: Sequence[Tensor],
    keys: Sequence[Tensor],
    *,
    prefix_tokens: int = 0,
    padding_tokens: int = 0,
    padding_images: int = 0,
) -> Merged:
    """The layer on a pack of images, each [n, D] and [n, H, dh]."""
    lengths = [len(one) for one in tokens]
    rows = sum(lengths) + padding_tokens
    given = merge_inputs(
        merging,
        lengths + [0] * padding_images,
        prefix_tokens=prefix_tokens,
        tokens=rows,
        longest=max(lengths),
    )
    filler = torch.full((padding_tokens, WIDTH), 7.0)
    key_filler = torch.full((padding_tokens, HEADS, HEAD_WIDTH), 7.0)
    positions = torch.tensor(
        [[-1 - i, -1 - i] if i < prefix_tokens else [1, 1] for n in lengths for i in range(n)]
        + [[0, 0]] * padding_tokens,
        dtype=torch.int32,
    )
    return TokenMerging(merging, DEPTH)(
        torch.cat([*tokens, filler]),
        positions.view(rows, 2),
        torch.cat([*keys, key_filler]),
        MergeInputs(**{name.removeprefix("merge_"): torch.from_numpy(value) for name, value in given.items()}),
    )


def random_image(tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tokens in clusters, so that some are much more alike than others: [n, D], [n, H, dh]"""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(tokens // 4, 1), HEADS, HEAD_WIDTH))
    keys = centres[random.integers(0, len(centres), tokens)] + 0.5 * random.normal(size=(tokens, HEADS, HEAD_WIDTH))
    return (
        torch.from_numpy(random.normal(size=(tokens, WIDTH)).astype(np.float32)),
        torch.from_numpy(keys.astype(np.float32)),
    )


def pitome_alone(merging: Merging, tokens: Tensor, keys: Tensor) -> Tensor:
    """PiToMe of one image as its paper has it (arXiv:2405.16148); what each token has become, [n, D]."""
    count = len(tokens)
    leaving = count - math.ceil(count * merging.kept / merging.of - 1e-9)
    margin = 0.9 - 0.9 * merging.layer / DEPTH
    metric = torch.nn.functional.normalize(keys.double().mean(1), dim=-1)
    alike = metric @ metric.T
    energy = torch.where(alike >= margin, alike, torch.exp(alike - margin) - 1).mean(1)
    order = torch.argsort(energy, descending=True, stable=True).tolist()
    targets = math.ceil(leaving / (merging.stride - 1)) if leaving else 0
    mergeable = order[: leaving + targets]
    into = mergeable[:: merging.stride]
    clusters = {token: [token] for token in range(count)}
    for token in mergeable:
        if token not in into:
            best = max(sorted(into), key=lambda other: float(alike[token, other]))
            clusters[best].append(token)
            clusters[token] = clusters[best]
    return torch.stack([tokens[clusters[token]].mean(0) for token in range(count)])


@pytest.mark.parametrize("keep", KEEPS)
def test_tome_merges_what_tomesd_merges(keep: str) -> None:
    merging = parse_merging(f"4:{keep}:tome")
    for seed, count in enumerate((1, 2, 4, 10, 16)):
        patches = count * merging.stride
        tokens, keys = random_image(patches, seed)
        merge, unmerge = bipartite_soft_matching_random2d(
            keys.mean(1)[None], patches, 1, merging.stride, 1, patches - merging.kept_of(patches), no_rand=True
        )
        expected = unmerge(merge(tokens[None]))[0]
        found = merge_pack(merging, [tokens], [keys])
        assert torch.allclose(found.unmerge(found.tokens), expected, atol=1e-5), patches


@pytest.mark.parametrize("keep", KEEPS)
def test_pitome_merges_what_its_paper_says(keep: str) -> None:
    merging = parse_merging(f"4:{keep}:pitome")
    for patches in (1, 2, 3, 5, 7, 16, 31, 64, 97):
        tokens, keys = random_image(patches, patches)
        found = merge_pack(merging, [tokens], [keys])
        assert torch.allclose(found.unmerge(found.tokens), pitome_alone(merging, tokens, keys), atol=1e-5), patches


@pytest.mark.parametrize("method", ["tome", "pitome"])
@pytest.mark.parametrize("keep", KEEPS)
def test_an_image_in_a_pack_merges_as_it_does_alone(method: str, keep: str) -> None:
    merging = parse_merging(f"4:{keep}:{method}", longest=48)  # the longer images have several groups
    images = [random_image(2 + patches, patches) for patches in (1, 40, 2, 100, 49, 3)]
    packed = merge_pack(
        merging,
        [tokens for tokens, _ in images],
        [keys for _, keys in images],
        prefix_tokens=2,
        padding_tokens=5,
        padding_images=3,
    )
    dense = packed.unmerge(packed.tokens)
    begin = row = 0
    for tokens, keys in images:
        alone = merge_pack(merging, [tokens], [keys], prefix_tokens=2)
        left = 2 + merging.kept_of(len(tokens) - 2)
        assert torch.equal(dense[begin : begin + len(tokens)], alone.unmerge(alone.tokens))
        assert torch.equal(packed.tokens[row : row + left], alone.tokens[:left])
        assert torch.equal(packed.sizes[row : row + left], alone.sizes[:left])
        assert float(alone.sizes[:left].sum()) == len(tokens)  # every token is in one
        assert torch.equal(alone.tokens[:2], tokens[:2])  # prefix tokens stay as they are
        assert packed.positions[row : row + 2].tolist() == [[-1, -1], [-2, -2]]
        assert bool((packed.positions[row + 2 : row + left] >= 0).all())
        begin, row = begin + len(tokens), row + left


@pytest.mark.parametrize("method", ["tome", "pitome"])
def test_equal_tokens_merge_by_their_place(method: str) -> None:
    merging = parse_merging(f"4:0.5:{method}")
    tokens = torch.arange(12.0).unsqueeze(1).repeat(1, WIDTH)
    found = merge_pack(merging, [tokens], [torch.ones(12, HEADS, HEAD_WIDTH)])
    assert found.sizes[:6].tolist() == [7, 1, 1, 1, 1, 1]  # every odd one into the first
    assert found.tokens[:6, 0].tolist() == pytest.approx([36 / 7, 2, 4, 6, 8, 10])


@pytest.mark.parametrize("method", ["tome", "pitome"])
def test_nothing_merges_if_all_are_kept(method: str) -> None:
    tokens, keys = random_image(30, 1)
    found = merge_pack(parse_merging(f"0:1:{method}"), [tokens], [keys])
    assert torch.equal(found.tokens[:30], tokens)
    assert torch.equal(found.unmerge(found.tokens), tokens)


def test_every_image_keeps_its_part_of_the_patches_to_the_next_whole_one() -> None:
    for keep in ("1", "0.999", "0.75", "0.5", "0.35", "0.07", "0.001"):
        merging = parse_merging(f"0:{keep}", longest=60)
        for patches in range(1, 300):
            sizes, counts = merging.group_sizes(patches), merging.group_counts(patches)
            assert sum(sizes) == patches
            assert max(sizes) <= merging.group
            assert sum(counts) == merging.kept_of(patches) == math.ceil(round(float(keep) * patches, 9))
            for size, left in zip(sizes, counts, strict=True):
                assert -(-size // merging.stride) <= left <= min(size, merging.slots)


LAYOUTS = json.loads((Path(__file__).parents[1] / "data/merging/layouts.json").read_text())["cases"]


@pytest.mark.parametrize("case", LAYOUTS, ids=lambda case: str(case["name"]))
def test_the_inputs_are_those_that_cpp_makes(case: dict[str, Any]) -> None:
    """C++'s side of it: csrc/tests/pack/merge_layout_test.cc."""
    prefix_tokens, grids = case["prefix_tokens"], case["grids"]
    lengths = [prefix_tokens + rows * columns for rows, columns in grids] + [0] * (case["images"] - len(grids))
    found = merge_inputs(
        msgspec.convert(case["merging"], Merging),
        lengths,
        prefix_tokens=prefix_tokens,
        tokens=case["tokens"],
        longest=case["longest"],
    )
    assert {name: value.tolist() for name, value in found.items()} == case["expect"]


def test_there_are_layouts() -> None:
    assert len(LAYOUTS) >= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4", "expected LAYER:KEEP"),
        ("4:0.5:tome:x", "expected LAYER:KEEP"),
        ("four:0.5", "expected LAYER:KEEP"),
        ("4:half", "expected LAYER:KEEP"),
        ("4:1/0", "expected LAYER:KEEP"),
        ("4:nan", "expected LAYER:KEEP"),
        ("4:0", "merge keeps 0 of"),
        ("4:-0.5", "merge keeps -0.5 of"),
        ("4:1.01", "merge keeps 1.01 of"),
        ("4:1e-9", "merge keeps 1e-9 of"),
        ("4:0.5:best", 'method of merging "best" is unknown; expected one of tome, pitome'),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_merging(text)
