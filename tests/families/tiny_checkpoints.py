"""A small checkpoint of each family, as its library saves it: a row for each row of the registry.

    path = save_tiny("siglip2", folder)

A new family needs a row here; ``test_every_family.py`` fails without one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import test_dinov2
import test_dinov3
import test_gemma4
import test_glm4v
import test_hunyuan_vl
import test_lfm2_vl
import test_mistral3
import test_moonvit_paddleocr
import test_pixtral
import test_qwen_vl
import test_radio
import test_siglip2
import test_vit_pytorch
import torch
from parity import perturb
from timm_cases import make_timm, save_folder

from navit_edge_export.model import NaViT, NaViTConfig, save_checkpoint

#: Saves a checkpoint in a folder that is there and empty; returns what export takes.
Save = Callable[[Path], Path]


def _pretrained(make: Callable[[], Any], **processor: object) -> Save:
    """A model of transformers, and its processor's fields if there are any."""

    def save(folder: Path) -> Path:
        perturb(make()).save_pretrained(folder)  # type: ignore[operator]
        if processor:
            (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        return folder

    return save


def _navit(folder: Path) -> Path:
    model = perturb(NaViT(NaViTConfig(width=32, depth=1, heads=2, patch_px=8, num_classes=5)))
    save_checkpoint(model, folder / "model.safetensors")
    return folder / "model.safetensors"


def _vit_pytorch(folder: Path) -> Path:
    torch.save(test_vit_pytorch.make("plain").state_dict(), folder / "model.pt")
    return folder / "model.pt"


def _dinov2() -> Any:
    model, config, changes = test_dinov2.FORMS["registers"]
    return model(config(**{**test_dinov2.CONFIG, **changes}))


#: Family -> what saves its checkpoint.
TINY: dict[str, Save] = {
    "navit": _navit,
    "vit-pytorch": _vit_pytorch,
    "timm-naflexvit": lambda folder: save_folder(make_timm("par-gap"), "par-gap", folder / "timm"),
    "siglip2": _pretrained(test_siglip2.make, max_num_patches=64),
    "dinov2": _pretrained(_dinov2),
    "dinov3": _pretrained(test_dinov3.make_model),
    "pixtral": _pretrained(test_pixtral.make_model, size={"longest_edge": 128}),
    **{name: _pretrained(lambda name=name: test_qwen_vl.make(name)) for name in test_qwen_vl.MAKE},
    "gemma4": _pretrained(lambda: test_gemma4.make_whole("gemma4"), max_soft_tokens=70),
    "glm4v": _pretrained(test_glm4v.make),
    "hunyuan-vl": _pretrained(
        lambda: test_hunyuan_vl.make(num_hidden_layers=1, hidden_size=128, intermediate_size=256, text_hidden_size=96),
        size={"shortest_edge": 64 * 64, "longest_edge": 128 * 128},
        patch_size=8,
    ),
    "radio": _pretrained(test_radio.make_model),
    "mistral3": _pretrained(test_mistral3.make_mistral3, size={"longest_edge": 128}),
    "lfm2-vl": _pretrained(test_lfm2_vl.make_model, min_image_tokens=4, max_image_tokens=16),
    "moonvit": _pretrained(lambda: test_moonvit_paddleocr.make_whole("moonvit")),
    "paddleocr-vl": _pretrained(
        test_moonvit_paddleocr.make_paddle, size={"shortest_edge": 64 * 64, "longest_edge": 128 * 128}, patch_size=8
    ),
}


def save_tiny(family: str, folder: Path) -> Path:
    """Saves the family's checkpoint in a new folder; returns what export takes."""
    folder.mkdir(parents=True)
    return TINY[family](folder)
