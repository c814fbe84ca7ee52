"""Reads a family's own config: what an importer can't represent is refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeGuard, TypeVar

from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import AlphaRule, Filter
from navit_edge_export.families.checkpoint import Checkpoint

V = TypeVar("V")

#: Activations by transformers' names -> by ours (mlps.ACTIVATIONS).
HF_ACTIVATIONS = {
    "gelu": "erf",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "quick_gelu": "quick",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
_MOST_SHOWN = 120  # letters of a value in a message
#: Pillow's numbers of filters, as processors store them.
PIL_FILTERS: tuple[Filter, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


class Fields:
    """The fields of a config, each read once by name and checked."""

    def __init__(self, family: str, values: Mapping[str, Any], *, where: str = "config.json") -> None:
        """``where`` the fields stand, for messages."""
        self._family = family
        self._values = values
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def refuse(self, name: str, supported: str) -> NoReturn:
        """Raises InvalidInputError: the field, its value, and what is supported."""
        found = repr(self._values[name]) if name in self._values else "missing"
        found = found if len(found) <= _MOST_SHOWN else f"{found[:_MOST_SHOWN]}..."
        raise InvalidInputError(f"{self._where}: {name} is {found}; the family {self._family} supports {supported}")

    def integer(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number from ``least`` up; ``default`` if it is missing."""
        value = self._values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.refuse(name, f"whole numbers from {least} up")
        return value

    def number(self, name: str, default: float | None = None, *, above: float = -math.inf) -> float:
        """A finite number."""
        value = self._values.get(name, default)
        if not _is_number(value) or not value > above:
            self.refuse(name, "a number" if above == -math.inf else f"numbers above {above:g}")
        return float(value)

    def section(self, name: str) -> dict[str, Any]:
        """An object of fields; an empty one if it is missing."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            self.refuse(name, "an object of fields")
        return value or {}

    def flag(self, name: str, default: bool | None = None) -> bool:
        """true or false"""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, "true and false")
        return value

    def choice(self, name: str, choices: Mapping[Any, V], default: Any = None) -> V:
        """One of the keys of ``choices``, as its value."""
        value = self._values.get(name, default)
        if not isinstance(value, (str, int, float, bool, type(None))) or value not in choices:
            self.refuse(name, ", ".join(repr(known) for known in choices))
        return choices[value]

    def expect(self, name: str, *supported: Any) -> None:
        """The field is missing, or one of these."""
        if name in self._values and self._values[name] not in supported:
            self.refuse(name, " and ".join(repr(value) for value in supported))

    def square_side(self, name: str, default: int) -> int:
        """The side of a square of so many entries."""
        value = self.integer(name, default)
        side = math.isqrt(value)
        if side * side != value:
            self.refuse(name, "squares, as 256")
        return side

    def table_side(self, name: str, default: int, *, patch_px: int) -> int:
        """How many whole patches a side of so many pixels has."""
        side_px = self.integer(name, default)
        if side_px < patch_px:
            self.refuse(name, f"sides of at least a patch, {patch_px}")
        return side_px // patch_px


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def vision_values(family: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """The fields of the vision model, which a config of the whole model has under ``vision_config``."""
    config = checkpoint.config
    if config.get("vision_config", {}) is None:
        Fields(family, config).refuse("vision_config", "an object of fields")
    return Fields(family, config).section("vision_config") if "vision_config" in config else config


def read_patch_px(fields: Fields, values: Mapping[str, Any], name: str = "patch_size", default: int = 16) -> int:
    """A patch side, given as a number or as two equal ones."""
    value: object = values.get(name, default)
    if isinstance(value, (list, tuple)):
        if len(value) != 2 or value[0] != value[1]:
            fields.refuse(name, "square patches")
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        fields.refuse(name, "whole numbers from 1 up")
    return value


def read_pixels(
    family: str, checkpoint: Checkpoint, *, channels: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of pixels / 255 of a transformers image processor, one number a channel; ``mean`` and ``std`` if
    it does not say."""
    fields = Fields(family, checkpoint.processor, where="preprocessor_config.json")
    fields.expect("do_rescale", True, None)
    factor = checkpoint.processor.get("rescale_factor")
    if factor is not None and not (_is_number(factor) and abs(factor * 255 - 1) < 1e-6):
        fields.refuse("rescale_factor", "1/255")
    if checkpoint.processor.get("do_normalize") is False:
        return (0.0,) * channels, (1.0,) * channels
    found = []
    for name, default in (("image_mean", mean), ("image_std", std)):
        value = checkpoint.processor.get(name)
        if value is None and len(default) != channels:
            raise InvalidInputError(
                f"the config of {checkpoint.path} says images of {channels} channels, and no file says their {name}; "
                f"the family {family} supports {len(default)} channels"
            )
        value = default if value is None else value
        values = [value] * channels if _is_number(value) else value
        if not isinstance(values, (list, tuple)) or not all(_is_number(v) for v in values):
            fields.refuse(name, "a number for each channel")
        if len(values) != channels or (name == "image_std" and min(values) <= 0):
            fields.refuse(name, f"{channels} numbers, one for each channel" + ("; above 0" * (name == "image_std")))
        found.append(tuple(float(v) for v in values))
    return found[0], found[1]


def expect_patches(family: str, checkpoint: Checkpoint, patch_px: int) -> Fields:
    """Fields of the processor, whose patches have to be those of the model: it would give other grids."""
    fields = Fields(family, checkpoint.processor, where="preprocessor_config.json")
    fields.expect("patch_size", patch_px, {"height": patch_px, "width": patch_px}, None)
    fields.expect("do_resize", True, None)
    return fields


def read_alpha(family: str, checkpoint: Checkpoint, *, converts: bool) -> AlphaRule:
    """What a transformers image processor makes of transparency: if it converts to RGB, it lays the image over white
    (``image_transforms.convert_to_rgb``). ``converts``: whether it does if the checkpoint does not say; if it
    does not, images come from ``load_image``, which drops alpha."""
    fields = Fields(family, checkpoint.processor, where="preprocessor_config.json")
    value = checkpoint.processor.get("do_convert_rgb")
    if value is not None and not isinstance(value, bool):
        fields.refuse("do_convert_rgb", "true and false")
    return "composite" if (converts if value is None else value) else "drop"


def read_filter(family: str, checkpoint: Checkpoint, default: Filter) -> Filter:
    """The filter of the resize of a transformers image processor."""
    fields = Fields(family, checkpoint.processor, where="preprocessor_config.json")
    value = checkpoint.processor.get("resample")
    if value is None:
        return default
    if not isinstance(value, int) or not 0 <= value < len(PIL_FILTERS):
        fields.refuse("resample", "Pillow's filters, 0 to 5")
    return PIL_FILTERS[value]
