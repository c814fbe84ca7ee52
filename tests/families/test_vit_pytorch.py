"""vit-pytorch's NaViT, both variants, against the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity import GRIDS, Image, Oracle, check_guess, check_parity, check_parity_in_pytorch, normalize, perturb
from torch import nn

from navit_edge.errors import InvalidInputError
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import prepare


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


def oracle_of(theirs: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Oracle:
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
    check_parity(imported.model, oracle_of(theirs, mean, std), tmp_path)


@pytest.mark.parametrize("changes", [{"qk_rmsnorm": False}, {"channels": 4}, {"depth": 3, "heads": 3}])
def test_the_packed_model_is_the_library_one_image_at_a_time(changes: dict[str, object], tmp_path: Path) -> None:
    theirs = make("nested", **changes)
    check_guess(theirs, "vit-pytorch")
    channels = int(str(changes.get("channels", 3)))
    torch.save(theirs.state_dict(), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text(f'{{"channels": {channels}}}')
    imported = import_checkpoint(tmp_path / "model.pt", config=tmp_path / "config.json")
    check_parity_in_pytorch(imported.model, oracle_of(theirs, (0.0,) * channels, (1.0,) * channels))


def test_images_of_whole_patches_within_the_tables_are_left_as_they_are(tmp_path: Path) -> None:
    torch.save(make("plain").state_dict(), tmp_path / "model.pt")
    preprocessing = import_checkpoint(tmp_path / "model.pt").preprocessing
    rng = np.random.default_rng(0)
    for rows, columns in GRIDS:
        image = rng.integers(0, 256, (8 * rows, 8 * columns, 3), np.uint8)
        assert np.array_equal(prepare(image, patch_px=8, sizing=preprocessing.sizing), image)
    large = prepare(rng.integers(0, 256, (900, 300, 3), np.uint8), patch_px=8, sizing=preprocessing.sizing)
    assert max(large.shape) <= 14 * 8


def test_what_the_importer_cannot_read_is_refused_by_name(tmp_path: Path) -> None:
    state = make("plain").state_dict()
    for name, tensor, message in (
        ("pos_embed_frames", torch.zeros(3, 48), "patches span video frames"),
        (
            "to_patch_embedding.1.weight",
            torch.zeros(48, 100),
            "100 features, which are no square of pixels of 3 channels",
        ),
        ("pos_embed_width", torch.zeros(3), r"pos_embed_width is of shape \[3\].*expects 2 dimensions"),
    ):
        torch.save({**state, name: tensor}, tmp_path / "model.pt")
        with pytest.raises(InvalidInputError, match=message):
            import_checkpoint(tmp_path / "model.pt")
