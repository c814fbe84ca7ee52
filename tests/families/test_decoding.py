"""What an export records of decoding is what the family's own loader and processor do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm.data
import transformers
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.kimi_k25.image_processing_kimi_k25 import Kimi_K25ImageProcessor
from transformers.models.paddleocr_vl.image_processing_paddleocr_vl import PaddleOCRVLImageProcessor

import navit_edge as ne
from navit_edge.decode import DecodeOptions
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.registry import DEFAULT_PREPROCESSING, FAMILIES, find

#: Family -> its image processor, as its configuration on the hub names it.
PROCESSORS = {
    "qwen2-vl": transformers.Qwen2VLImageProcessor,
    "qwen2.5-vl": transformers.Qwen2VLImageProcessor,
    "qwen3-vl": transformers.Qwen2VLImageProcessor,
    "pixtral": transformers.PixtralImageProcessor,
    "dinov2": transformers.BitImageProcessor,
    "siglip2": transformers.Siglip2ImageProcessor,
    "moonvit": Kimi_K25ImageProcessor,
    "paddleocr-vl": PaddleOCRVLImageProcessor,
}
#: What ``read_preprocessing`` reads of the families' configs.
CONFIG = SimpleNamespace(patch_px=8, merge=2, table_side=4, num_classes=0, rows=4, columns=4, architecture={})


def transparent() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (24, 40, 4), np.uint8))


def preprocessing_of(family: str, **processor: object):  # type: ignore[no-untyped-def]
    checkpoint = Checkpoint(path=Path("checkpoint"), tensors={}, processor=dict(processor))
    return find(family).load_module().read_preprocessing(CONFIG, checkpoint)


@pytest.mark.parametrize("family", PROCESSORS)
@pytest.mark.parametrize("said", [None, True])
def test_transparency_becomes_what_the_familys_processor_makes_of_it(family: str, said: bool | None) -> None:
    processor = PROCESSORS[family]()
    converts = processor.do_convert_rgb if said is None else said
    own = preprocessing_of(family, **({} if said is None else {"do_convert_rgb": said}))
    image = transparent()
    if converts:
        expected = np.moveaxis(np.asarray(processor.process_image(image, do_convert_rgb=True)), 0, -1)
    else:  # it takes three channels, and has them from load_image
        expected = np.asarray(load_image(image))
    assert expected.shape == (24, 40, 3)
    assert own.alpha == ("composite" if converts else "drop")
    assert np.array_equal(ne.to_rgb(image, alpha=own.alpha), expected)


def test_qwen_sees_white_behind_transparent_pixels() -> None:
    assert preprocessing_of("qwen2.5-vl").alpha == "composite"
    clear = np.zeros((8, 8, 4), np.uint8)
    assert (ne.to_rgb(clear, alpha=preprocessing_of("qwen2.5-vl").alpha) == 255).all()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm's ImageDataset leaves its file open
def test_every_family_records_whether_its_loader_turns_images(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    block = Image.Exif()
    block[274] = 6
    transparent().convert("RGB").save(path, exif=block, quality=95)
    by_transformers, by_timm = np.asarray(load_image(str(path))), np.asarray(timm.data.ImageDataset(tmp_path)[0][0])
    assert by_transformers.shape == (40, 24, 3)
    for family in FAMILIES:
        if family.name == "timm-naflexvit":
            rule, expected = "as-decoded", by_timm
            source = (Path(timm.__file__).parents[0] / "data" / "dataset.py").read_text()
            assert "exif" not in source
        elif family.name == "navit":
            rule, expected = DEFAULT_PREPROCESSING.orientation, by_transformers
        else:
            rule, expected = preprocessing_of(family.name).orientation, by_transformers
        assert np.array_equal(ne.to_rgb(path, decode=DecodeOptions(orientation=rule)), expected), family.name  # type: ignore[arg-type]
