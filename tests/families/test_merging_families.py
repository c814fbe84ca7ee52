"""Which families merge tokens, and that a pack of images gives what each gives alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity import draw_images
from tiny_checkpoints import save_tiny

from navit_edge.bundle.merging import parse_merging
from navit_edge.errors import InvalidInputError
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.preprocess import graph_inputs, pack

GRIDS = ((5, 7), (1, 1), (2, 3), (6, 4))
TOLERANCE = 2e-5  # of an output's largest value
MERGING = parse_merging("0:0.5", longest=16)  # the larger images have several groups


def tiny(family: str, folder: Path) -> PackedModel:
    model = import_checkpoint(save_tiny(family, folder / family)).model
    assert isinstance(model, PackedModel)
    return model.eval()


@pytest.mark.parametrize("lowering", ["masked", "padded"])
@pytest.mark.parametrize("family", ["dinov2", "siglip2"])
def test_packed_images_merge_as_each_does_alone(family: str, lowering: str, tmp_path: Path) -> None:
    model = tiny(family, tmp_path)
    plain = model.forward_images(draw_images(GRIDS[:1], model.config.patch_px))["embedding"]
    model.with_merging(MERGING)
    images = draw_images(GRIDS, model.config.patch_px)
    assert not torch.allclose(model.forward_images(images[:1])["embedding"], plain, atol=1e-4)
    prefix = model.config.prefix_tokens
    packed = pack(images, patch_px=model.config.patch_px, prefix_tokens=prefix, padding_tokens=5, padding_images=2)
    inputs = packed.inputs(MERGING, prefix_tokens=prefix)
    with torch.no_grad():
        found = model(**{name: torch.from_numpy(inputs[name]) for name in graph_inputs(lowering, MERGING)})
        for n, image in enumerate(images):
            for name, alone in model.forward_images([image]).items():
                own = found[name][packed.segment_ids == n] if name == "tokens" else found[name][n : n + 1]
                assert own.shape == alone.shape
                assert float((own - alone).abs().max()) <= TOLERANCE * float(alone.abs().max()), name
    assert np.isfinite(found["embedding"].detach().numpy()).all()


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("pixtral", "turn queries and keys by each token's place"),
        ("dinov3", "turn queries and keys by each token's place"),
        ("qwen2.5-vl", "turn queries and keys by each token's place"),
    ],
)
def test_other_families_are_refused_by_name(family: str, reason: str, tmp_path: Path) -> None:
    model = tiny(family, tmp_path)
    with pytest.raises(InvalidInputError, match=f"{model.family} cannot merge tokens: .*{reason}"):
        model.with_merging(MERGING)


def test_a_block_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = tiny("dinov2", tmp_path)
    with pytest.raises(InvalidInputError, match=f"dinov2 has the blocks 0 to {model.config.depth - 1}"):
        model.with_merging(parse_merging("99:0.5"))
