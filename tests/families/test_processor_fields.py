"""Each field of each image processor, changed: our pixels change as transformers' do, or it is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_gemma4
import test_glm4v
import test_hunyuan_vl
import test_moonvit_paddleocr
import test_pixtral
import test_qwen_vl
import test_siglip2
from PIL import Image
from test_processors import CASES, Image8, arranged, ours

from navit_edge.bundle.manifest import Preprocess
from navit_edge.errors import InvalidInputError
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import normalize

#: Family -> model, processor, what it is told. Those whose own size is ours, too; DINOv2's is told the grid's
#: (test_dinov2.py).
PROCESSORS: dict[str, tuple[Callable[[], Any], Any, Mapping[str, Any]]] = {
    name: (make, CASES[name][0]["pillow"], CASES[name][1])
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
    "glm4v": (
        test_glm4v.make,
        test_glm4v.Glm4vImageProcessorPil,
        {"size": {name: 2 * value for name, value in _EDGES.items()}, "patch_size": 8},  # of two frames
    ),
    "hunyuan-vl": (test_hunyuan_vl.make, test_hunyuan_vl.HunYuanVLImageProcessorPil, {"size": _EDGES, "patch_size": 8}),
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
    "pixtral": ({"longest_edge": 96}, {"height": 96, "width": 96}, {"shortest_edge": 96}, {"height": 96, "width": 64}),
}


def changed(family: str, name: str, value: object) -> Iterator[object]:
    if name == "size":
        yield from SIZES[family]
    elif name in OTHERS:
        yield from (other for other in OTHERS[name] if other != value)
    elif isinstance(value, bool) or name.startswith("do_"):
        yield not value
    elif isinstance(value, int):
        yield 2 * value


@pytest.mark.parametrize("family", PROCESSORS)
def test_a_changed_field_changes_our_pixels_as_transformers_or_is_refused_by_name(family: str, tmp_path: Path) -> None:
    make, kind, options = PROCESSORS[family]
    make().save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    pictures: list[Image8] = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((37, 61), (230, 231), (150, 40), (7, 90))]
    fields = {name: value for name, value in kind(**options).to_dict().items() if name not in GENERIC}
    same, refused, impossible, wrong = [], [], [], []
    for name, value in fields.items():
        for other in changed(family, name, value):
            what = f"{name} = {other!r}"
            try:
                processor = kind(**{**options, name: other})
                theirs = [
                    np.asarray(processor(Image.fromarray(one), return_tensors="np")["pixel_values"]) for one in pictures
                ]
            except Exception:  # transformers has no such processor
                impossible.append(what)
                continue
            processor.save_pretrained(tmp_path)
            try:
                found = import_checkpoint(tmp_path)
            except InvalidInputError as error:
                (refused if name in str(error) else wrong).append(what if name in str(error) else f"{what}: {error}")
                continue
            differences = _compare(family, found, processor, pictures, theirs)
            (wrong if differences else same).append(f"{what}{differences}")
    print(family, "the same:", same, "refused:", refused, "impossible:", impossible)
    assert not wrong, "\n".join(wrong)
    assert len(same) >= 3


def _compare(family: str, found: Any, processor: Any, pictures: list[Image8], theirs: list[Any]) -> str:
    config, own = found.model.config, found.preprocessing
    pre = Preprocess(
        sizing=own.sizing, filter=own.filter, patch_px=config.patch_px, channels=3, mean=config.mean, std=config.std,
        alpha=own.alpha, processor="pillow",
    )  # fmt: skip
    mean, std = pre.mean, pre.std
    if family == "gemma4":  # what its tower does with pixels is a part of them
        mean, std = tuple(m - s for m, s in zip(mean, std, strict=True)), tuple(2 * s for s in std)
    for picture, expected in zip(pictures, theirs, strict=True):
        pixels = normalize(ours(picture, pre), mean, std, processor="pillow")
        if frames := FRAMES.get(family):
            planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
            mine = np.asarray(processor.patchify(planes, pre.patch_px, 2, frames)[0])
        else:
            mine = arranged(family, processor, pixels, pre.patch_px)
        values = expected.reshape(-1, *expected.shape[-mine.ndim + 1 :])
        if mine.shape[1:] != values.shape[1:] or len(mine) > len(values):
            return f": {mine.shape} of {picture.shape}; theirs {expected.shape}"
        if not np.allclose(mine, values[: len(mine)], atol=1e-5):
            return f": by {np.abs(mine - values[: len(mine)]).max():.2e}"
    return ""
