"""Whole preprocessings against transformers' and timm's image processors, and which of them a checkpoint's is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import timm.data.naflex_transforms
import torch
import transformers
from PIL import Image
from torchvision import transforms as timm_uses
from transformers.models.gemma4.image_processing_gemma4 import Gemma4ImageProcessor
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.glm46v.image_processing_glm46v import Glm46VImageProcessor
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.hunyuan_vl.image_processing_hunyuan_vl import HunYuanVLImageProcessor
from transformers.models.hunyuan_vl.image_processing_pil_hunyuan_vl import HunYuanVLImageProcessorPil
from transformers.models.kimi_k25.image_processing_kimi_k25 import Kimi_K25ImageProcessor
from transformers.models.paddleocr_vl.image_processing_paddleocr_vl import PaddleOCRVLImageProcessor
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import navit_edge as ne
from navit_edge import _core
from navit_edge.bundle.manifest import Preprocess, processor_of
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.oracle.reference import patches_of
from navit_edge.vocabulary import Filter, Processor
from navit_edge_export.families.checkpoint import Checkpoint, LocalFolder
from navit_edge_export.families.processors import choose_processor
from navit_edge_export.families.registry import find
from navit_edge_export.preprocess import normalize

Image8 = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

#: Where a CPU lacks AVX2, torchvision resizes bilinear images as floats: no bytes to compare with.
VECTORS = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
#: Family -> the classes that transformers has for it, the sizing that they are told, and the patch side.
CASES: dict[str, tuple[dict[Processor, Any], dict[str, Any], int]] = {
    "siglip2": (
        {"torchvision": transformers.Siglip2ImageProcessor, "pillow": transformers.Siglip2ImageProcessorPil},
        {"max_num_patches": 90, "patch_size": 8},
        8,
    ),
    "qwen2-vl": (
        {"torchvision": transformers.Qwen2VLImageProcessor, "pillow": Qwen2VLImageProcessorPil},
        {"size": {"shortest_edge": 64 * 64, "longest_edge": 160 * 160}, "patch_size": 8},
        8,
    ),
    "pixtral": (
        {"torchvision": transformers.PixtralImageProcessor, "pillow": transformers.PixtralImageProcessorPil},
        {"size": {"longest_edge": 150}, "patch_size": 8},
        8,
    ),
    "paddleocr-vl": (
        {"torchvision": PaddleOCRVLImageProcessor, "pillow": PaddleOCRVLImageProcessorPil},
        {"size": {"shortest_edge": 64 * 64, "longest_edge": 160 * 160}, "patch_size": 8},
        8,
    ),
    "glm4v": (
        {"torchvision": Glm46VImageProcessor, "pillow": Glm46VImageProcessorPil},
        {"size": {"shortest_edge": 2 * 64 * 64, "longest_edge": 2 * 160 * 160}, "patch_size": 8},
        8,
    ),
    "hunyuan-vl": (
        {"torchvision": HunYuanVLImageProcessor, "pillow": HunYuanVLImageProcessorPil},
        {"size": {"shortest_edge": 64 * 64, "longest_edge": 160 * 160}, "patch_size": 8},
        8,
    ),
    "gemma4": (
        {"torchvision": Gemma4ImageProcessor, "pillow": Gemma4ImageProcessorPil},
        {"max_soft_tokens": 70, "patch_size": 8},
        8,
    ),
    "dinov2": (
        {"torchvision": transformers.BitImageProcessor, "pillow": transformers.BitImageProcessorPil},
        {"size": {"height": 112, "width": 154}, "do_center_crop": False},
        14,
    ),
}
#: What ``read_preprocessing`` reads of the families' configs.
CONFIG = SimpleNamespace(patch_px=8, merge=3, table_side=4, num_classes=0, rows=4, columns=4, architecture={})


@pytest.fixture(scope="module")
def images(photographs: Mapping[str, Image8]) -> list[Image8]:
    """Photographs, and noise: of odd sides, and tall ones, which Pillow 13 resizes down first."""
    rng = np.random.default_rng(0)
    sizes = ((37, 61), (501, 83), (97, 640), (230, 231))
    return [*photographs.values(), *(rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes)]


def ours(image: Image8, pre: Preprocess) -> Image8:
    """The runtime's pixels [height_px, width_px, 3], from its patches."""
    grid = _core.resize_targets(
        np.array([image.shape[:2]], np.int32), patch_px=pre.patch_px, sizing=to_json(pre.sizing)
    )
    rows, columns = (int(side) for side in grid[0])
    manifest: Any = SimpleNamespace(preprocess=pre, frames=1)
    cells = patches_of(image, (rows, columns), manifest).reshape(rows, columns, pre.patch_px, pre.patch_px, 3)
    return np.ascontiguousarray(cells.transpose(0, 2, 1, 3, 4)).reshape(rows * pre.patch_px, columns * pre.patch_px, 3)


def arranged(family: str, processor: Any, pixels: Values, patch_px: int) -> Values:
    """Normalized pixels [height_px, width_px, 3] in the layout of the family's ``pixel_values``."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if family in ("siglip2", "gemma4"):
        rows, columns = pixels.shape[0] // patch_px, pixels.shape[1] // patch_px
        cells = pixels.reshape(rows, patch_px, columns, patch_px, 3).transpose(0, 2, 1, 3, 4)
        return cells.reshape(rows * columns, -1)
    if family in ("qwen2-vl", "paddleocr-vl", "glm4v", "hunyuan-vl"):
        frames = 2 if family in ("qwen2-vl", "glm4v") else 1
        if processor.backend == "pil":
            return np.asarray(processor.patchify(planes, patch_px, 2, frames)[0])
        return np.asarray(processor.patchify(torch.from_numpy(planes)[None], patch_px, 2, frames)[0][0])
    return planes


@pytest.mark.parametrize("family", CASES)
@pytest.mark.parametrize("whose", ["torchvision", "pillow"])
def test_no_value_differs_from_the_pixel_values_of_either_processor(
    family: str, whose: Processor, images: list[Image8], tmp_path: Path
) -> None:
    if whose == "torchvision" and not VECTORS:
        pytest.skip("torchvision resizes 8-bit pixels as floats on this CPU")
    classes, options, patch_px = CASES[family]
    processor = classes[whose](**options)
    processor.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "preprocessor_config.json").read_text())
    own = find(family).load_module().read_preprocessing(CONFIG, checkpoint_of(tmp_path, said))
    sizing = Sizing(rule="fixed", height_px=112, width_px=154) if family == "dinov2" else own.sizing
    pre = Preprocess(
        sizing=sizing,
        filter=own.filter,
        patch_px=patch_px,
        channels=3,
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        alpha=own.alpha,
        processor=whose,
    )
    transparent = np.dstack([images[0], np.linspace(0, 255, images[0].size // 3).reshape(images[0].shape[:2])])
    pictures = [*map(Image.fromarray, images), Image.fromarray(transparent.astype(np.uint8))]
    for picture in pictures[: None if own.alpha == "composite" else -1]:
        theirs = np.asarray(processor(picture, return_tensors="np")["pixel_values"])
        pixels = normalize(ours(ne.to_rgb(picture, alpha=own.alpha), pre), pre.mean, pre.std, processor=whose)
        found = arranged(family, processor, pixels, patch_px)
        theirs = theirs.reshape(-1, *theirs.shape[-found.ndim + 1 :])[: len(found)]
        if family == "gemma4":  # it only divides by 255: another last bit, of the same bytes
            np.testing.assert_allclose(found, theirs, rtol=1e-6)
            found, theirs = np.rint(found * 255), np.rint(theirs * 255)
        assert np.array_equal(found, theirs)


def test_no_value_differs_from_timms_transforms(images: list[Image8]) -> None:
    sizing = Sizing(rule="naflex", max_tokens=60)
    pre = Preprocess(
        sizing=sizing, filter="bicubic", patch_px=8, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3),
        processor="timm",
    )  # fmt: skip
    theirs = timm_uses.Compose(
        [
            timm.data.naflex_transforms.ResizeToSequence(8, max_seq_len=60, interpolation="bicubic"),
            timm.data.transforms.MaybeToTensor(),
            timm_uses.Normalize(mean=torch.tensor(pre.mean), std=torch.tensor(pre.std)),
        ]
    )
    for image in images:
        pixels = normalize(ours(image, pre), pre.mean, pre.std, processor="timm")
        assert np.array_equal(pixels.transpose(2, 0, 1), theirs(Image.fromarray(image)).numpy())


def checkpoint_of(folder: Path, processor: Mapping[str, object]) -> Checkpoint:
    return Checkpoint(path=folder, tensors={}, processor=dict(processor), folder=LocalFolder(folder))


#: Family -> its image processor, as its configuration on the hub names it.
PUBLISHED = {
    "qwen2-vl": transformers.Qwen2VLImageProcessor,
    "pixtral": transformers.PixtralImageProcessor,
    "dinov2": transformers.BitImageProcessor,
    "siglip2": transformers.Siglip2ImageProcessor,
    "moonvit": Kimi_K25ImageProcessor,
    "paddleocr-vl": PaddleOCRVLImageProcessor,
}


@pytest.mark.parametrize("family", PUBLISHED)
@pytest.mark.parametrize("suffix", ["", "Fast"])
def test_the_processor_is_that_which_transformers_takes_by_default(family: str, suffix: str, tmp_path: Path) -> None:
    PUBLISHED[family]().save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    said = json.loads(file.read_text())
    said["image_processor_type"] += suffix
    file.write_text(json.dumps(said))
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    found, reason = choose_processor(family, checkpoint_of(tmp_path, said), "bicubic")
    assert found == {"torchvision": "torchvision", "pil": "pillow"}[theirs.backend]
    assert said["image_processor_type"] in reason
    assert transformers.__version__ in reason


@pytest.mark.parametrize(
    ("said", "resample", "reason"),
    [
        (None, "bicubic", "no preprocessor_config.json"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "lanczos", "whose filter lanczos is not to be had here"),
        ({"image_processor_type": "DINOv3ViTImageProcessorFast"}, "bilinear", "resizes fractions"),
        (
            {"image_processor_type": "KimiVLImageProcessor", "auto_map": {"AutoImageProcessor": "own.KimiVL"}},
            "bicubic",
            "KimiVLImageProcessor is the checkpoint's own code",
        ),
    ],
)
def test_otherwise_the_pixels_are_pillows_and_the_reason_is_said(
    said: dict[str, object] | None, resample: Filter, reason: str, tmp_path: Path
) -> None:
    if said is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = choose_processor("siglip2", checkpoint_of(tmp_path, said or {}), resample)
    assert found[0] == "pillow"
    assert reason in found[1]


@pytest.mark.parametrize(
    ("versions", "name", "whose", "reason"),
    [
        ({"transformers": "", "torchvision": "0.28.0"}, "BitImageProcessor", "pillow", "transformers is not installed"),
        ({"transformers": "5.23.0", "torchvision": ""}, "BitImageProcessor", "pillow", "torchvision is not installed"),
        ({"transformers": "4.57.1", "torchvision": "0.28.0"}, "BitImageProcessor", "pillow", "4.57.1 runs BitImagePro"),
        ({"transformers": "4.57.1", "torchvision": "0.28.0"}, "BitImageProcessorFast", "torchvision", "4.57.1 runs"),
    ],
)
def test_the_processor_depends_on_what_is_installed(
    versions: dict[str, str], name: str, whose: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("navit_edge_export.families.processors._version", versions.__getitem__)
    said = {"image_processor_type": name}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = choose_processor("dinov2", checkpoint_of(tmp_path, said), "bicubic")
    assert found[0] == whose
    assert reason in found[1]


def test_timms_and_vit_pytorchs_checkpoints_have_their_own() -> None:
    assert choose_processor("timm-naflexvit", checkpoint_of(Path("x"), {}), "bicubic")[0] == "timm"
    assert choose_processor("vit-pytorch", checkpoint_of(Path("x"), {}), "bilinear")[0] == "pillow"


def test_a_manifest_without_a_processor_says_pillow() -> None:
    half = (0.5, 0.5, 0.5)
    pre = Preprocess(sizing=Sizing(rule="native"), filter="box", patch_px=4, channels=3, mean=half, std=half)
    assert processor_of(pre) == "pillow"
