"""SigLIP2-NaFlex against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from parity import Image, check_parity, normalize, perturb

from navit_edge_export.families.registry import import_checkpoint

CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_patches": 36,
    "patch_size": 8,
}


def patchify(image: Image, patch: int, mean: float = 0.5, std: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

    pixels = normalize(image, (mean,) * 3, (std,) * 3).numpy()
    grid = torch.tensor([[image.shape[0] // patch, image.shape[1] // patch]])
    return torch.from_numpy(np.ascontiguousarray(convert_image_to_patches(pixels, patch)))[None], grid


def test_a_packed_run_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = perturb(transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**CONFIG)))
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "siglip2"

    def oracle(image: Image) -> dict[str, np.ndarray]:
        pixels, grid = patchify(image, 8)
        found = theirs(pixels, torch.ones(pixels.shape[:2], dtype=torch.int64), grid)
        return {"tokens": found.last_hidden_state[0].numpy(), "embedding": found.pooler_output[0].numpy()}

    print(check_parity(imported.model, oracle, tmp_path))
