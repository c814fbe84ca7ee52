"""The sizing rules: which grid an image gets. As data in the manifest, and as text on the command line.

csrc/src/bundle/rule_fields.cc holds the fields to their limits; docs/preprocessing.md gives the formulas.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from navit_edge import _core
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.options import as_json
from navit_edge.vocabulary import Enlarge, Fit, Rule


class Sizing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which grid an image gets (docs/preprocessing.md). A rule reads its own fields; the others keep their defaults."""

    rule: Rule
    max_tokens: int = 0  # token-cap, naflex, patch-budget, navit-resize (before sides are filled up): most patches
    upscale: bool = False  # token-cap: small images are scaled up to max_tokens, too
    fit: Fit = "resize"  # native
    pad_rgb: tuple[int, int, int] = (0, 0, 0)  # native with pad or crop, navit-resize: colour of what no image covers
    merge: int = 0  # smart-resize, longest-side, patch-budget, navit-resize: sides are multiples of patch_px * merge
    min_pixels: int = 0  # smart-resize
    max_pixels: int = 0  # smart-resize
    enlarge: Enlarge = "off"  # smart-resize: of images with a side below patch_px * merge, which gets that
    longest_px: int = 0  # longest-side, navit-resize
    height_px: int = 0  # fixed
    width_px: int = 0  # fixed


#: Rule -> its fields.
FIELDS: dict[Rule, tuple[str, ...]] = {
    "token-cap": ("max_tokens", "upscale"),
    "native": ("fit", "pad_rgb"),
    "naflex": ("max_tokens",),
    "smart-resize": ("merge", "min_pixels", "max_pixels", "enlarge"),
    "longest-side": ("longest_px", "merge"),
    "fixed": ("height_px", "width_px"),
    "patch-budget": ("merge", "max_tokens"),
    "navit-resize": ("max_tokens", "longest_px", "merge", "pad_rgb"),
}
RULES = tuple(FIELDS)

_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Sizing)}


def fault(sizing: Sizing, patch_px: int) -> str:
    """What is wrong with the fields of ``sizing``, as the C++ reader says it: found, expected. "" if nothing is."""
    try:
        _core.resize_targets(np.empty((0, 2), np.int32), patch_px=patch_px, sizing=to_json(sizing))
    except (BundleError, InvalidInputError) as error:
        return str(error).removeprefix("sizing: ")
    return ""


def parse(text: str, *, max_tokens: int | None = None) -> Sizing:
    """``RULE`` or ``RULE:key=value,…`` as ``navit-edge export --sizing`` takes it.

    A colour is written as three numbers with ``/`` between them. ``max_tokens`` goes to the rules that have such a
    field, if the text does not give it. Limits that need the patch side are for ``fault``.

    Raises InvalidInputError: found, expected, remedy.
    """
    rule, _, rest = text.partition(":")
    if rule not in FIELDS:
        raise InvalidInputError(
            f'sizing rule "{rule}" is unknown; expected one of {", ".join(RULES)}; write RULE:key=value,…'
        )
    values: dict[str, Any] = {"rule": rule}
    for item in rest.split(",") if rest else ():
        name, equals, value = item.partition("=")
        if name not in FIELDS[rule] or not equals:
            raise InvalidInputError(
                f'--sizing has "{item}"; expected {example(rule)}; {rule} takes {", ".join(FIELDS[rule])}'
            )
        if name in values:
            raise InvalidInputError(f'--sizing "{text}" gives {name} twice; give it once')
        values[name] = value.split("/") if name == "pad_rgb" else value
    if max_tokens is not None and "max_tokens" in FIELDS[rule]:
        values.setdefault("max_tokens", max_tokens)
    try:
        return msgspec.convert(values, type=Sizing, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f'--sizing "{text}": {error}; expected {example(rule)}') from None


def example(rule: str) -> str:
    """How the rule is written on the command line."""
    return {
        "token-cap": "token-cap:max_tokens=1024,upscale=true",
        "native": "native:fit=pad,pad_rgb=124/116/104",
        "naflex": "naflex:max_tokens=256",
        "smart-resize": "smart-resize:merge=2,min_pixels=3136,max_pixels=1003520",
        "longest-side": "longest-side:longest_px=1024,merge=2",
        "fixed": "fixed:height_px=224,width_px=224",
        "patch-budget": "patch-budget:merge=3,max_tokens=2520",
        "navit-resize": "navit-resize:max_tokens=16384,longest_px=7168,merge=2,pad_rgb=0/0/0",
    }[rule]


def describe(sizing: Sizing) -> str:
    """For people: the rule and its fields, as ``naflex (max_tokens 256)``."""
    values = {name: getattr(sizing, name) for name in FIELDS[sizing.rule]}
    shown = {name: value for name, value in values.items() if name == "fit" or value != _DEFAULTS[name]}
    text = ", ".join(f"{name} {'/'.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in shown.items())
    return f"{sizing.rule} ({text})"


def most_tokens(sizing: Sizing, patch_px: int) -> int | None:
    """Most patches that an image gets; None if the rule has no limit.

    Under smart-resize very long images may get more: its source keeps each side at a cell at least. Under navit-resize
    images with a side below some patches may, too: its source counts whole patches.
    """
    if sizing.rule == "patch-budget":
        return sizing.max_tokens // sizing.merge**2 * sizing.merge**2
    if sizing.rule == "navit-resize":  # whole patches are counted, and then each side is filled up to whole cells
        side = max(1, min(sizing.longest_px // patch_px, sizing.max_tokens))
        sides = side + -(-sizing.max_tokens // side) + 1
        return sizing.max_tokens + (sizing.merge + 1) * sides + sizing.merge**2
    if "max_tokens" in FIELDS[sizing.rule]:
        return sizing.max_tokens
    if sizing.rule == "smart-resize":
        cell = patch_px * sizing.merge
        return max(1, sizing.max_pixels // cell**2) * sizing.merge**2
    if sizing.rule == "longest-side":
        merge = max(1, sizing.merge)
        return (((sizing.longest_px - 1) // (patch_px * merge) + 1) * merge) ** 2
    if sizing.rule == "fixed":
        return (sizing.height_px // patch_px) * (sizing.width_px // patch_px)
    return None


def keeps_whole_patches(sizing: Sizing) -> bool:
    """Whether an image of whole patches, and not too many, keeps its grid."""
    if sizing.rule == "longest-side":
        return sizing.merge <= 1
    return sizing.rule == "native" or (sizing.rule == "token-cap" and not sizing.upscale)


def to_json(sizing: Sizing) -> str:
    """As in a manifest; what ``_core.resize_targets`` takes."""
    return msgspec.json.encode(sizing, enc_hook=as_json).decode()
