"""SigLIP2-NaFlex against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from engines import build_rtx
from parity import Image, Oracle, check_guess, check_parity, check_parity_in_pytorch, normalize, perturb
from torch import nn
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    Siglip2ImageProcessorPil,
    convert_image_to_patches,
)
from transformers.models.siglip2.image_processing_siglip2 import Siglip2ImageProcessor

from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import Processor
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import patchify, prepare

VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_patches": 36,
    "patch_size": 8,
}
TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def make(kind: str = "Siglip2VisionModel", **changes: Any) -> nn.Module:
    vision = {**VISION, **changes}
    if kind == "Siglip2VisionModel":
        return perturb(transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**vision)))
    config = transformers.Siglip2Config(vision_config=vision, text_config=TEXT, num_labels=5)
    return perturb(getattr(transformers, kind)(config))


def oracle_of(model: nn.Module) -> Oracle:
    vision: Any = getattr(model, "vision_model", model)
    side = vision.config.patch_size

    def oracle(image: Image) -> dict[str, np.ndarray]:
        pixels = convert_image_to_patches(normalize(image, (0.5,) * 3, (0.5,) * 3).numpy(), side)
        inputs = {
            "pixel_values": torch.from_numpy(np.ascontiguousarray(pixels))[None],
            "pixel_attention_mask": torch.ones(1, len(pixels), dtype=torch.int64),
            "spatial_shapes": torch.tensor([[image.shape[0] // side, image.shape[1] // side]]),
        }
        found = vision(**inputs)
        outputs = {"tokens": found.last_hidden_state[0].numpy()}
        if hasattr(model, "classifier"):
            outputs["embedding"] = found.last_hidden_state[0].mean(0).numpy()
            outputs["logits"] = model(**inputs).logits[0].numpy()
        elif found.pooler_output is not None:
            outputs["embedding"] = found.pooler_output[0].numpy()
        return outputs

    return oracle


def test_a_packed_run_of_the_graphs_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = make()
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "siglip2"
    check_parity(imported.model, oracle_of(theirs), tmp_path)


def test_attention_is_fused_in_an_engine_of_tensorrt_rtx(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has packages for x86-64 only")
    make(num_hidden_layers=1).save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    model = import_checkpoint(tmp_path / "folder").model
    bundle = export_bundle(model, tmp_path / "fused.navit", outputs=("tokens",), lowerings=("masked",))
    build_rtx(bundle, ("sm86",), "bf16")


@pytest.mark.parametrize(
    ("kind", "changes", "outputs"),
    [
        ("Siglip2Model", {"hidden_act": "gelu", "layer_norm_eps": 1e-3}, ("embedding", "tokens")),
        ("Siglip2ForImageClassification", {}, ("logits", "embedding", "tokens")),
        ("Siglip2VisionModel", {"vision_use_head": False, "num_channels": 3}, ("tokens",)),
    ],
)
def test_the_packed_model_is_transformers_one_image_at_a_time(
    kind: str, changes: dict[str, Any], outputs: tuple[str, ...], tmp_path: Path
) -> None:
    theirs = make(kind, **changes)
    check_guess(theirs, "siglip2")
    theirs.save_pretrained(tmp_path / "folder", max_shard_size="100KB")
    assert len(list((tmp_path / "folder").glob("*.safetensors"))) > 1, "expected shards and an index"
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.model.config.outputs() == outputs
    check_parity_in_pytorch(imported.model, oracle_of(theirs))
    assert imported.preprocessing.labels == (tuple(f"LABEL_{n}" for n in range(5)) if "logits" in outputs else ())


@pytest.mark.parametrize("processor", [Siglip2ImageProcessorPil, Siglip2ImageProcessor])
def test_patches_are_those_of_transformers_processor(processor: type, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    theirs = processor(patch_size=8, max_num_patches=40, do_rescale=False, do_normalize=False)
    theirs.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**saved, "do_rescale": True, "do_normalize": True}))
    own = import_checkpoint(tmp_path).preprocessing
    assert (own.sizing.rule, own.sizing.max_tokens, own.filter) == ("naflex", 40, "bilinear")
    assert own.processor == "torchvision"  # what AutoImageProcessor takes, whichever class has saved its fields
    whose: Processor = "pillow" if processor is Siglip2ImageProcessorPil else "torchvision"
    vectors = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # else torchvision resizes floats
    rng = np.random.default_rng(5)
    for size in ((50, 70), (300, 200), (11, 190), (640, 480), (8, 8), (33, 1)):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        found = theirs(PIL.Image.fromarray(image), return_tensors="np")
        grid = tuple(found["spatial_shapes"][0])
        expected = found["pixel_values"][0][: grid[0] * grid[1]]
        ours = prepare(image, patch_px=8, sizing=own.sizing, resample=own.filter, processor=whose)
        assert (ours.shape[0] // 8, ours.shape[1] // 8) == grid
        levels = np.abs(patchify(ours, 8).astype(int) - expected.astype(int)).max()
        assert levels <= (0 if vectors or whose == "pillow" else 1)


@pytest.mark.parametrize(
    ("where", "field", "value", "message"),
    [
        ("config", "hidden_act", "mish", "hidden_act is 'mish'; the family siglip2 supports 'gelu'"),
        ("config", "num_patches", 35, "num_patches is 35; the family siglip2 supports squares"),
        ("config", "patch_size", [8, 4], r"patch_size is \[8, 4\]; the family siglip2 supports square patches"),
        ("preprocessor_config", "rescale_factor", 0.5, "rescale_factor is 0.5; the family siglip2 supports 1/255"),
        ("preprocessor_config", "do_resize", False, "do_resize is False; the family siglip2 supports True"),
        ("preprocessor_config", "image_mean", [0.5], "image_mean is .*3 numbers, one for each channel"),
        ("preprocessor_config", "resample", 9, "resample is 9; the family siglip2 supports Pillow's filters"),
    ],
)
def test_what_the_importer_cannot_represent_is_refused_by_name(
    where: str, field: str, value: object, message: str, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    path = tmp_path / f"{where}.json"
    fields = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**fields, field: value}))
    with pytest.raises(InvalidInputError, match=message):
        import_checkpoint(tmp_path)
