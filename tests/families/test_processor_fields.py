"""Each field of each image processor, changed: our pixels change as transformers' do, or it is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
import transformers
from PIL import Image
from test_processors import CASES, VECTORS, Image8, Values, arranged, ours
from transformers.models.kimi_k25.image_processing_kimi_k25 import Kimi_K25ImageProcessor

from navit_edge.bundle.manifest import Preprocess
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import PROCESSOR_FILTERS, Processor
from navit_edge_export.families.common import CLIP
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import normalize


@dataclasses.dataclass(frozen=True)
class Case:
    """A family's processor, and what it is told."""

    make: Callable[[], Any]  # the model
    kind: Any  # of the processor
    options: Mapping[str, Any]
    whose: Processor = "pillow"  # its pixels
    levels: float = 0.0  # by which its 8-bit values may differ from ours
    #: What it is asked for beside, given the pixels that we make of the image: (height, width).
    asked: Callable[[tuple[int, int]], Mapping[str, Any]] = lambda _: {}


def whole(size: tuple[int, int]) -> Mapping[str, Any]:
    """Our size, for processors whose own, of one square for every image, is not what an export takes."""
    return {"size": {"height": size[0], "width": size[1]}, "do_center_crop": False}


PROCESSORS = {
    name: Case(make, CASES[name][0]["pillow"], CASES[name][1])
    for name, make in {
        "siglip2": test_siglip2.make,
        "qwen2-vl": lambda: test_qwen_vl.make("qwen2-vl"),
        "pixtral": test_pixtral.make_model,
        "paddleocr-vl": test_moonvit_paddleocr.make_paddle,
        "gemma4": test_gemma4.make,
    }.items()
}
_EDGES = {"shortest_edge": 64 * 64, "longest_edge": 160 * 160}
PROCESSORS |= {
    "glm4v": Case(
        test_glm4v.make,
        test_glm4v.Glm4vImageProcessorPil,
        {"size": {name: 2 * value for name, value in _EDGES.items()}, "patch_size": 8},  # of two frames
    ),
    "hunyuan-vl": Case(
        test_hunyuan_vl.make, test_hunyuan_vl.HunYuanVLImageProcessorPil, {"size": _EDGES, "patch_size": 8}
    ),
    "dinov2": Case(
        lambda: transformers.Dinov2Model(transformers.Dinov2Config(**test_dinov2.CONFIG)),
        transformers.BitImageProcessorPil,
        {},
        asked=whole,
    ),
    "dinov3": Case(test_dinov3.make_model, transformers.DINOv3ViTImageProcessor, {}, levels=1.01, asked=whole),
    "radio": Case(test_radio.make_model, transformers.CLIPImageProcessorPil, {}, asked=whole),
    "moonvit": Case(
        test_moonvit_paddleocr.make_moonvit,
        Kimi_K25ImageProcessor,
        {"size": {"max_height": 20, "max_width": 20}, "max_patches": 300, "patch_size": 8},
        "torchvision",
    ),
    "mistral3": Case(
        test_mistral3.make_mistral3,
        transformers.PixtralImageProcessorPil,
        {"size": {"longest_edge": 200}, "patch_size": 14},
        asked=lambda _: {"patch_size": 28},  # as PixtralProcessor does
    ),
    "lfm2-vl": Case(
        test_lfm2_vl.make_model,
        transformers.Lfm2VlImageProcessor,
        {"min_image_tokens": 9, "max_image_tokens": 30, "do_image_splitting": False, "encoder_patch_size": 16},
        "torchvision",
    ),
}
#: Frames that an image counts as, of those that arrange patches in blocks of 2 x 2.
FRAMES = {"qwen2-vl": 2, "glm4v": 2, "paddleocr-vl": 1, "hunyuan-vl": 1}
#: What says nothing of pixels: the kind of array, the device, what is done with videos.
GENERIC = frozenset(
    {"data_format", "device", "disable_grouping", "image_processor_type", "input_data_format", "return_tensors"}
    | {"processor_class", "auto_map", "image_seq_length", "temporal_patch_size", "default_to_square"}
)
#: Fields of another form than a flag or a number: what they are changed to.
OTHERS: dict[str, tuple[object, ...]] = {
    "resample": (0, 1, 2, 3, 4, 5),
    "rescale_factor": (1 / 128,),
    "image_mean": ([0.1, 0.2, 0.3], 0.25),
    "image_std": ([0.1, 0.2, 0.3], 0.25),
    "crop_size": ({"height": 64, "width": 64},),
    "pad_size": ({"height": 64, "width": 64},),
    "patch_size": (16,),
    "merge_size": (1, 4),
    "min_pixels": (100 * 100,),
    "max_pixels": (48 * 48,),
}
SIZES = {
    "glm4v": ({"shortest_edge": 2 * 100 * 100, "longest_edge": 2 * 128 * 128}, {"height": 64, "width": 64}),
    "hunyuan-vl": ({"shortest_edge": 100 * 100, "longest_edge": 128 * 128}, {"height": 64, "width": 64}),
    "qwen2-vl": ({"shortest_edge": 100 * 100, "longest_edge": 128 * 128}, {"height": 64, "width": 64}),
    "paddleocr-vl": ({"shortest_edge": 100 * 100, "longest_edge": 128 * 128}, {"height": 64, "width": 64}),
    "dinov2": (),  # the size is ours
    "dinov3": (),
    "radio": (),
    "moonvit": ({"max_height": 10, "max_width": 10}, {"max_height": 10, "max_width": 12}),
    "lfm2-vl": ({"height": 64, "width": 64},),
    "mistral3": ({"longest_edge": 96}, {"height": 96, "width": 96}, {"shortest_edge": 96}),
    "pixtral": ({"longest_edge": 96}, {"height": 96, "width": 96}, {"shortest_edge": 96}, {"height": 96, "width": 64}),
}


def changed(family: str, name: str, value: object) -> Iterator[object]:
    if name == "size":
        yield from SIZES[family]
    elif name in OTHERS:
        yield from (other for other in OTHERS[name] if other != value)
    elif isinstance(value, bool) or name.startswith("do_"):
        yield not value
    elif isinstance(value, int | float):
        yield 2 * value


@pytest.mark.parametrize("family", PROCESSORS)
def test_a_changed_field_changes_our_pixels_as_transformers_or_is_refused_by_name(family: str, tmp_path: Path) -> None:
    case = PROCESSORS[family]
    if case.whose == "torchvision" and not VECTORS:
        pytest.skip("torchvision resizes 8-bit pixels as floats on this CPU")
    case.make().save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    sizes = ((37, 61), (230, 231), (150, 40), (7, 90))
    pictures: list[Image8] = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    fields = {name: value for name, value in case.kind(**case.options).to_dict().items() if name not in GENERIC}
    same, refused, impossible, wrong = [], [], [], []
    for name, value in fields.items():
        for other in changed(family, name, value):
            what = f"{name} = {other!r}"
            try:
                processor = case.kind(**{**case.options, name: other})
                for one in pictures:
                    theirs_of(case, processor, one, (48, 80))
            except Exception:  # transformers has no such processor
                impossible.append(what)
                continue
            processor.save_pretrained(tmp_path)
            try:
                found = import_checkpoint(tmp_path)
            except InvalidInputError as error:
                (refused if name in str(error) else wrong).append(what if name in str(error) else f"{what}: {error}")
                continue
            if found.preprocessing.filter not in PROCESSOR_FILTERS[case.whose]:
                assert found.preprocessing.processor == "pillow"  # and export says that this filter is not to be had
                refused.append(what)
                continue
            differences = _compare(family, found, processor, pictures)
            (wrong if differences else same).append(f"{what}{differences}")
    print(family, "the same:", same, "refused:", refused, "impossible:", impossible)
    assert not wrong, "\n".join(wrong)
    assert len(same) >= 3


def theirs_of(case: Case, processor: Any, picture: Image8, size: tuple[int, int]) -> Any:
    """Their values of an image, asked for ``size`` if that is not the processor's own."""
    return np.asarray(processor(Image.fromarray(picture), return_tensors="np", **case.asked(size))["pixel_values"])


def _compare(family: str, found: Any, processor: Any, pictures: list[Image8]) -> str:
    case = PROCESSORS[family]
    config, own = found.model.config, found.preprocessing
    pre = Preprocess(
        sizing=own.sizing, filter=own.filter, patch_px=config.patch_px, channels=3, mean=config.mean, std=config.std,
        alpha=own.alpha, processor=case.whose,
    )  # fmt: skip
    mean, std = pre.mean, pre.std
    if family == "gemma4":  # what its tower does with pixels is a part of them
        mean, std = tuple(m - s for m, s in zip(mean, std, strict=True)), tuple(2 * s for s in std)
    for picture in pictures:
        pixels = normalize(ours(picture, pre), mean, std, processor=case.whose)
        expected = theirs_of(case, processor, picture, pixels.shape[:2])
        if family == "radio":  # its tower does that first
            inner = [np.array(values, np.float32)[:, None, None] for values in CLIP]
            expected = (expected - inner[0]) / inner[1]
        mine = _layout(family, processor, pixels, pre.patch_px)
        values = expected.reshape(-1, *expected.shape[-mine.ndim + 1 :])
        if mine.shape[1:] != values.shape[1:] or len(mine) > len(values):
            return f": {mine.shape} of {picture.shape}; theirs {expected.shape}"
        if not np.allclose(mine, values[: len(mine)], atol=1e-5 + case.levels / 255 / min(std)):
            return f": by {np.abs(mine - values[: len(mine)]).max():.2e}"
    return ""


def _layout(family: str, processor: Any, pixels: Values, patch_px: int) -> Values:
    """Normalized pixels [height_px, width_px, 3] in the layout of the family's ``pixel_values``."""
    if frames := FRAMES.get(family):
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return np.asarray(processor.patchify(planes, patch_px, 2, frames)[0])
    if family in ("lfm2-vl", "moonvit"):
        rows, columns = pixels.shape[0] // patch_px, pixels.shape[1] // patch_px
        cells = pixels.reshape(rows, patch_px, columns, patch_px, 3).swapaxes(1, 2).reshape(-1, patch_px, patch_px, 3)
        return cells.transpose(0, 3, 1, 2) if family == "moonvit" else cells.reshape(len(cells), -1)
    return arranged(family, processor, pixels, patch_px)
