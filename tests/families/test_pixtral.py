"""Pixtral's vision tower against transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from parity import Image, Oracle, check_parity, normalize, perturb

import navit_edge as ne
from navit_edge_export.families.common import CLIP
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import prepare

CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 256,
}


def make_model(**changes: object) -> transformers.PixtralVisionModel:
    return transformers.PixtralVisionModel(transformers.PixtralVisionConfig(**{**CONFIG, **changes}))


def oracle_of(theirs: torch.nn.Module) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        pixels = normalize(image, *CLIP)[None]
        found = theirs(pixels, image_sizes=torch.tensor([image.shape[:2]]))
        return {"tokens": found.last_hidden_state[0].numpy()}

    return oracle


def test_a_packed_run_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = perturb(make_model(rope_parameters={"rope_type": "axial", "rope_theta": 500.0}))
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "pixtral"
    print(check_parity(imported.model, oracle_of(theirs), tmp_path))


def test_pixels_are_those_of_the_processor(photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path) -> None:
    processor = transformers.PixtralImageProcessorPil(size={"longest_edge": 200}, patch_size=8)
    make_model().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    imported = import_checkpoint(tmp_path)
    assert (imported.model.config.mean, imported.model.config.std) == CLIP
    for image in photographs.values():
        ours = prepare(image, patch_px=8, sizing=imported.preprocessing.sizing, resample=imported.preprocessing.filter)
        found = processor(image, do_rescale=False, do_normalize=False)
        height_px, width_px = found["image_sizes"][0]
        theirs = np.asarray(found["pixel_values"][0])[:, :height_px, :width_px].transpose(1, 2, 0)
        np.testing.assert_array_equal(ours, theirs)


def test_what_an_importer_cannot_represent_is_refused_by_name(tmp_path: Path) -> None:
    make_model(head_dim=32).save_pretrained(tmp_path)
    with pytest.raises(ne.InvalidInputError, match="head_dim is 32; the family pixtral supports 16"):
        import_checkpoint(tmp_path)
