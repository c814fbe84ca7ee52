"""vit-pytorch's NaViT, both variants, against the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity import Image, check_parity, normalize, perturb
from torch import nn

from navit_edge_export.families.registry import import_checkpoint


def make(variant: str, **changes: object) -> nn.Module:
    import vit_pytorch.na_vit
    import vit_pytorch.na_vit_nested_tensor

    module = vit_pytorch.na_vit if variant == "plain" else vit_pytorch.na_vit_nested_tensor
    fields = {"image_size": (8 * 14, 8 * 16), "patch_size": 8, "num_classes": 7, "dim": 48, "depth": 1, "heads": 2}
    model = module.NaViT(**{**fields, "mlp_dim": 96, "dim_head": 32, **changes})
    for name, buffer in model.named_buffers():  # na_vit keeps biases of its norms as zeros
        if name.endswith("beta"):
            buffer.copy_(0.2 * torch.randn(buffer.shape, generator=torch.Generator().manual_seed(3)))
    return perturb(model)


def oracle_of(theirs: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
    seen: dict[str, torch.Tensor] = {}
    theirs.transformer.register_forward_hook(lambda module, inputs, output: seen.update(tokens=output))
    theirs.to_latent.register_forward_hook(lambda module, inputs, output: seen.update(embedding=output))

    def oracle(image: Image) -> dict[str, np.ndarray]:
        logits = theirs([normalize(image, mean, std)])
        tokens = seen["tokens"].values() if seen["tokens"].is_nested else seen["tokens"][0]
        return {"tokens": tokens.numpy(), "embedding": seen["embedding"][0].numpy(), "logits": logits[0].numpy()}

    return oracle


@pytest.mark.parametrize(
    ("variant", "mean", "std"),
    [("plain", (0.0,) * 3, (1.0,) * 3), ("nested", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))],
)
def test_a_packed_run_is_the_library_one_image_at_a_time(
    variant: str, mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path
) -> None:
    theirs = make(variant)
    torch.save(theirs.state_dict(), tmp_path / "model.pt")
    processor = {} if variant == "plain" else {"image_mean": list(mean), "image_std": list(std)}
    imported = import_checkpoint(tmp_path / "model.pt", processor=processor)
    assert imported.family == "vit-pytorch"
    print(variant, check_parity(imported.model, oracle_of(theirs, mean, std), tmp_path))
