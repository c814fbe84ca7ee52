"""MoonViT (Kimi) and PaddleOCR-VL's vision tower against transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from parity import Image, Oracle, check_guess, check_parity, normalize, perturb
from transformers.models.kimi_k25.configuration_kimi_k25 import Kimi_K25VisionConfig
from transformers.models.kimi_k25.modeling_kimi_k25 import Kimi_K25VisionModel
from transformers.models.paddleocr_vl.configuration_paddleocr_vl import PaddleOCRVisionConfig
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil
from transformers.models.paddleocr_vl.modeling_paddleocr_vl import PaddleOCRVisionModel

import navit_edge as ne
from navit_edge_export.families.common import CLIP, HALF
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import prepare

SHARED = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "patch_size": 8,
    "rope_parameters": {"rope_type": "axial", "rope_theta": 500.0},
}
#: Even: PaddleOCR-VL and Kimi know no others.
GRIDS = ((4, 10), (2, 6), (12, 2), (2, 2), (10, 14), (4, 10))


def make_moonvit(**changes: object) -> torch.nn.Module:
    model: torch.nn.Module = Kimi_K25VisionModel(
        Kimi_K25VisionConfig(**{**SHARED, "pos_emb_height": 7, "pos_emb_width": 7, **changes})
    )
    return model


def make_paddle(**changes: object) -> torch.nn.Module:
    model: torch.nn.Module = PaddleOCRVisionModel(PaddleOCRVisionConfig(**{**SHARED, "image_size": 56, **changes}))
    return model


def patches_of(
    image: Image, mean: tuple[float, ...], std: tuple[float, ...], side: int = 8
) -> tuple[torch.Tensor, torch.Tensor]:
    """[T, C, P, P] and (1, rows, columns)"""
    patches, rows, columns = PaddleOCRVLImageProcessorPil().patchify(normalize(image, mean, std).numpy(), side, 2, 1)
    return torch.from_numpy(patches), torch.tensor([[1, rows, columns]])


def moonvit_oracle(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        pixels, grid = patches_of(image, *HALF, theirs.config.patch_size)
        return {"tokens": theirs(pixels, grid_thw=grid).last_hidden_state.numpy()}

    return oracle


def paddle_oracle(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        pixels, grid = patches_of(image, *CLIP, theirs.config.patch_size)
        return {"tokens": theirs(pixels[None], grid_thw=grid).last_hidden_state.flatten(0, -2).numpy()}

    return oracle


def test_moonvit_packed_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = perturb(make_moonvit())
    check_guess(theirs, "moonvit")
    theirs.save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "moonvit"
    print(check_parity(imported.model, moonvit_oracle(theirs), tmp_path, grids=GRIDS))


def test_paddleocr_packed_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = perturb(make_paddle())
    theirs.save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "paddleocr-vl"
    print(check_parity(imported.model, paddle_oracle(theirs), tmp_path, grids=GRIDS))


def test_pixels_are_those_of_paddleocrs_processor(
    photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    processor = PaddleOCRVLImageProcessorPil(size={"shortest_edge": 64 * 64, "longest_edge": 200 * 200}, patch_size=8)
    make_paddle().save_pretrained(tmp_path)  # type: ignore[operator]
    processor.save_pretrained(tmp_path)
    preprocessing = import_checkpoint(tmp_path).preprocessing
    for image in photographs.values():
        ours = prepare(image, patch_px=8, sizing=preprocessing.sizing, resample=preprocessing.filter)
        found = processor(image, do_rescale=False, do_normalize=False)
        rows, columns = found["image_grid_thw"][0][1:]
        assert ours.shape == (rows * 8, columns * 8, 3)
        theirs = processor.patchify(ours.transpose(2, 0, 1), 8, 2, 1)[0]
        np.testing.assert_array_equal(theirs, found["pixel_values"])


def test_what_an_importer_cannot_represent_is_refused_by_name(tmp_path: Path) -> None:
    make_moonvit(merge_kernel_size=[1, 1]).save_pretrained(tmp_path / "a")  # type: ignore[operator]
    with pytest.raises(ne.InvalidInputError, match=r"merge_kernel_size is .1, 1.; the family moonvit supports"):
        import_checkpoint(tmp_path / "a")
    make_moonvit(pos_emb_width=9).save_pretrained(tmp_path / "b")  # type: ignore[operator]
    with pytest.raises(ne.InvalidInputError, match="pos_emb_width is 9; the family moonvit supports 7"):
        import_checkpoint(tmp_path / "b")
    make_paddle(image_size=7).save_pretrained(tmp_path / "c")  # type: ignore[operator]
    with pytest.raises(ne.InvalidInputError, match="image_size is 7; the family paddleocr-vl supports sides"):
        import_checkpoint(tmp_path / "c")
