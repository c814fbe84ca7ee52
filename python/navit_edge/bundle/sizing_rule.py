"""The sizing rules: which grid an image gets. As data in the manifest, and as text on the command line.

The C++ reader (csrc/src/bundle/rule_fields.cc) holds the same fields to the same limits; docs/preprocessing.md gives
the formulas and where each comes from.
"""

from __future__ import annotations

from typing import Any

import msgspec

from navit_edge.errors import InvalidInputError
from navit_edge.options import as_json
from navit_edge.vocabulary import FITS, Fit, Rule

#: Up to here a double holds every integer, so that C++ and Python divide the same numbers.
MOST_PIXELS = 2**53
MOST_MERGE = 1024


class Sizing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which grid an image gets (docs/preprocessing.md). A rule reads its own fields; the others keep their defaults."""

    rule: Rule
    max_tokens: int = 0  # token-cap, naflex: most patches of an image
    upscale: bool = False  # token-cap: small images are scaled up to max_tokens, too
    fit: Fit = "resize"  # native
    pad_rgb: tuple[int, int, int] = (0, 0, 0)  # native with pad or crop: colour of what the image does not cover
    merge: int = 0  # smart-resize: sides are multiples of patch_px * merge
    min_pixels: int = 0  # smart-resize
    max_pixels: int = 0  # smart-resize
    longest_px: int = 0  # longest-side
    height_px: int = 0  # fixed
    width_px: int = 0  # fixed


#: Rule -> its fields.
FIELDS: dict[Rule, tuple[str, ...]] = {
    "token-cap": ("max_tokens", "upscale"),
    "native": ("fit", "pad_rgb"),
    "naflex": ("max_tokens",),
    "smart-resize": ("merge", "min_pixels", "max_pixels"),
    "longest-side": ("longest_px",),
    "fixed": ("height_px", "width_px"),
}
RULES = tuple(FIELDS)

_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Sizing)}


def fault(sizing: Sizing, patch_px: int) -> str:
    """What is wrong with the fields of ``sizing``: found, expected, remedy. Empty if nothing is."""
    rule = sizing.rule
    if rule not in FIELDS:
        return f"rule is {rule!r}; known: {', '.join(RULES)}; upgrade navit-edge or export again"
    for name, value in msgspec.structs.asdict(sizing).items():
        if name != "rule" and name not in FIELDS[rule] and value != _DEFAULTS[name]:
            return (
                f"{name} is {value!r}, which the rule {rule!r} does not have; its fields are "
                f"{', '.join(FIELDS[rule])}; leave the others out"
            )
    for name in ("max_tokens", "longest_px"):
        value = getattr(sizing, name)
        if name in FIELDS[rule] and not 1 <= value < 2**31:
            return f"{name} is {value}; expected 1 and up with the rule {rule!r}"
    if rule == "native":
        if sizing.fit not in FITS:
            return f"fit is {sizing.fit!r}; known: {', '.join(FITS)}"
        if not all(0 <= value <= 255 for value in sizing.pad_rgb):
            return f"pad_rgb is {list(sizing.pad_rgb)}; expected three values from 0 to 255"
        if sizing.fit == "resize" and any(sizing.pad_rgb):
            return f"pad_rgb is {list(sizing.pad_rgb)} and fit is 'resize', which leaves no pixel open; leave it out"
    if rule == "smart-resize":
        if not 1 <= sizing.merge <= MOST_MERGE:
            return f"merge is {sizing.merge}; expected 1 to {MOST_MERGE} with the rule 'smart-resize'"
        if not 1 <= sizing.min_pixels <= sizing.max_pixels <= MOST_PIXELS:
            return (
                f"min_pixels is {sizing.min_pixels} and max_pixels is {sizing.max_pixels}; expected "
                "1 <= min_pixels <= max_pixels <= 2^53 with the rule 'smart-resize'"
            )
    if rule == "fixed":
        sides = (sizing.height_px, sizing.width_px)
        if any(side < patch_px or side % patch_px or side >= 2**31 for side in sides):
            return (
                f"height_px is {sides[0]} and width_px is {sides[1]}; expected multiples of the patch side {patch_px} "
                "with the rule 'fixed'"
            )
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
        "longest-side": "longest-side:longest_px=1024",
        "fixed": "fixed:height_px=224,width_px=224",
    }[rule]


def describe(sizing: Sizing) -> str:
    """For people: the rule and its fields, as ``naflex (max_tokens 256)``."""
    values = {name: getattr(sizing, name) for name in FIELDS[sizing.rule]}
    shown = {name: value for name, value in values.items() if name == "fit" or value != _DEFAULTS[name]}
    text = ", ".join(f"{name} {'/'.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in shown.items())
    return f"{sizing.rule} ({text})"


def most_tokens(sizing: Sizing, patch_px: int) -> int | None:
    """Most patches that an image gets; None if the rule has no limit.

    Under smart-resize very long images may get more: its source keeps each side at a cell at least.
    """
    if "max_tokens" in FIELDS[sizing.rule]:
        return sizing.max_tokens
    if sizing.rule == "smart-resize":
        cell = patch_px * sizing.merge
        return max(1, sizing.max_pixels // cell**2) * sizing.merge**2
    if sizing.rule == "longest-side":
        return ((sizing.longest_px - 1) // patch_px + 1) ** 2
    if sizing.rule == "fixed":
        return (sizing.height_px // patch_px) * (sizing.width_px // patch_px)
    return None


def keeps_whole_patches(sizing: Sizing) -> bool:
    """Whether an image of whole patches, and not too many, keeps its grid."""
    return sizing.rule in ("native", "longest-side") or (sizing.rule == "token-cap" and not sizing.upscale)


def to_json(sizing: Sizing) -> str:
    """As in a manifest; what ``_core.resize_targets`` takes."""
    return msgspec.json.encode(sizing, enc_hook=as_json).decode()
