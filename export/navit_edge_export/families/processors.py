"""Whose image processor a checkpoint's pixels come from: that which the installed transformers would run.

transformers itself is not imported: it takes seconds, and a torchvision of another torch stops it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from navit_edge.vocabulary import PROCESSOR_FILTERS, Filter, Processor
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.hub import PROCESSOR_FILES

#: Families of other libraries -> their processor, and why.
_OTHERS: dict[str, tuple[Processor, str]] = {
    "timm-naflexvit": ("timm", "timm's transforms, which resize with Pillow"),
    "vit-pytorch": ("pillow", "the library has no processor"),
    "navit": ("pillow", "default of export"),
}
#: Classes that resize numbers between 0 and 1, not bytes: nothing that a bundle can name gives their pixels.
_OF_FRACTIONS = ("DINOv3ViTImageProcessor",)


def choose_processor(family: str, checkpoint: Checkpoint, resample: Filter) -> tuple[Processor, str]:
    """The processor, and why, for people. ``resample``: the filter of the resize."""
    if family in _OTHERS:
        return _OTHERS[family]
    folder = checkpoint.folder
    if folder is None or not any(folder.has(name) for name in PROCESSOR_FILES):
        return "pillow", "no preprocessor_config.json in the checkpoint"
    version, torchvision = _version("transformers"), _version("torchvision")
    if not version:
        return "pillow", "transformers is not installed"
    name = _class_name(checkpoint)
    runs = f"transformers {version} runs {name or 'the processor of the model type'}"
    if name.removesuffix("Fast").removesuffix("Pil") in _OF_FRACTIONS:
        return "pillow", f"{name} resizes fractions, not bytes: its pixels are within a level of these"
    if int(version.partition(".")[0]) < 5:
        if not name.endswith("Fast"):
            return "pillow", f"{runs} with Pillow"
    elif not torchvision:
        return "pillow", f"{runs} with Pillow, as torchvision is not installed"
    elif _own_code(checkpoint) and not _is_in_transformers(name):
        return "pillow", f"{name or 'the processor'} is the checkpoint's own code, which was not read"
    if resample not in PROCESSOR_FILTERS["torchvision"]:
        return "pillow", f"{runs} with torchvision, whose filter {resample} is not to be had here"
    return "torchvision", f"{runs} with torchvision"


def _class_name(checkpoint: Checkpoint) -> str:
    """Of the processor, by its file; "" if the file leaves it to the model's type."""
    processor = checkpoint.processor
    for key in ("image_processor_type", "feature_extractor_type"):
        if isinstance(name := processor.get(key), str):
            return name.replace("FeatureExtractor", "ImageProcessor")
    return ""


def _own_code(checkpoint: Checkpoint) -> bool:
    found = checkpoint.processor.get("auto_map")
    return isinstance(found, dict) and any(key in found for key in ("AutoImageProcessor", "AutoFeatureExtractor"))


def _is_in_transformers(name: str) -> bool:
    """Whether the installed transformers has a class of this name in its tables; they are read as text."""
    spec = importlib.util.find_spec("transformers")
    folders = [Path(folder) / "models" / "auto" for folder in (spec.submodule_search_locations or ())] if spec else []
    tables = [folder / table for folder in folders for table in ("auto_mappings.py", "image_processing_auto.py")]
    wanted = f'"{name.removesuffix("Fast")}"'
    return bool(name) and any(wanted in table.read_text(encoding="utf-8") for table in tables if table.is_file())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
